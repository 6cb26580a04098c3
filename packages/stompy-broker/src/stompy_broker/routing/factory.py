"""Where queues are made: the only place that knows of what class they are."""

from __future__ import annotations

from stompy_broker.destinations.names import RETAINED, scheduled_for
from stompy_broker.destinations.policy import Policy
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.interface import NAMED, QueueKind, RestorableQueue
from stompy_broker.routing.queue import LocalQueue
from stompy_broker.routing.retained_queue import RetainedQueue
from stompy_broker.routing.schedule_queue import ScheduleQueue
from stompy_broker.routing.services import Services
from stompy_broker.routing.standing_queue import StandingQueue
from stompy_broker.routing.stream_queue import StreamQueue
from stompy_broker.store.interface import MessageStore


class QueueFactory:
    """Makes queues that live in this process, all of one group.

    Attributes:
        home: the place of the group of the queues of single connections, among all groups.
    """

    home = 0

    def group(
        self, number: int, store: MessageStore, now_ms: int, disk: Watermark, stalled: Watermark
    ) -> QueueGroup:
        """Make a group; see `QueueGroup`."""
        return QueueGroup(number, store, now_ms, disk, stalled)

    def group_of(self, name: str) -> int:
        """The place among all groups of the one that a named queue belongs to."""
        return 0

    def queue(
        self,
        destination: str,
        name: str,
        policy: Policy,
        kind: QueueKind,
        services: Services,
        group: QueueGroup,
    ) -> RestorableQueue:
        """Make a queue.

        Args:
            destination: as clients write it.
            name: without prefix.
            policy: how it behaves.
            kind: what it is for.
            services: of the broker.
            group: which it belongs to.
        """
        if scheduled_for(name):
            return ScheduleQueue(destination, name, policy, kind, services, group)
        if name == RETAINED:
            return RetainedQueue(destination, name, policy, kind, services, group)
        if policy.is_stream:
            return StreamQueue(destination, name, policy, kind, services, group)
        if policy.non_destructive and kind == NAMED:
            return StandingQueue(destination, name, policy, kind, services, group)
        if policy.non_destructive:
            policy = policy.model_copy(update={"non_destructive": False})
        return LocalQueue(destination, name, policy, kind, services, group)
