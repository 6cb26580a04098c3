"""The rows of schedules: what is to come later, and when."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from functools import partial
from operator import attrgetter
from typing import NamedTuple

from stompy.admin.rows import ScheduledRow
from stompy.errors import ProtocolError
from stompy_broker.admin.asking import ask
from stompy_broker.admin.cluster_status import ClusterStatus, lives_here
from stompy_broker.admin.tasks import Steps
from stompy_broker.destinations.names import scheduled_for
from stompy_broker.message import Message
from stompy_broker.routing.interface import Browse, Queue
from stompy_broker.routing.router import Router
from stompy_broker.routing.selection import EVERYTHING, Selection
from stompy_broker.schedules.headers import read_schedule
from stompy_broker.schedules.schedule_spec import ScheduleSpec

MOST_ROWS = 1000
"""So many schedules of a broker are shown, those that are due next."""

_AT_ONCE = 100


class Schedule(NamedTuple):
    """A schedule as it was found.

    Attributes:
        due: when it is due next.
        message: what is to come.
        queue: where that waits.
        spec: what it says of its time.
    """

    due: int
    message: Message
    queue: Queue
    spec: ScheduleSpec

    @property
    def job_id(self) -> str:
        """What the messages say that come of it."""
        return self.spec.name or self.message.message_id


class ScheduleSnapshots:
    """Makes rows of schedules.

    Args:
        router: where they wait.
        cluster: which the broker belongs to.
    """

    def __init__(self, router: Router, cluster: ClusterStatus | None = None) -> None:
        self._router = router
        self._cluster = cluster

    def queues(self) -> list[Queue]:
        """The queues of this broker in which schedules wait."""
        queues = [queue for queue in self._router.queues.values() if scheduled_for(queue.name)]
        return [queue for queue in queues if lives_here(self._cluster, queue)]

    def rows(self) -> Steps[list[ScheduledRow]]:
        """Make rows of those that are due next."""
        found = yield from self.find(self.queues(), EVERYTHING, MOST_ROWS)
        rows = []
        for number, one in enumerate(found, 1):
            rows.append(self.row(one))
            if number % _AT_ONCE == 0:
                yield None
        return rows

    def find(
        self, queues: Iterable[Queue], selection: Selection, most: int | None, bodies: int = 0
    ) -> Steps[list[Schedule]]:
        """Find schedules, next one first.

        Args:
            queues: where.
            selection: which; the ids in it are message-ids, or names of schedules.
            most: how many at most; None = all.
            bodies: the most bytes of messages that are wanted with their bodies.
        """
        found: list[Schedule] = []
        zone = "UTC" if self._router.firing is None else self._router.firing.zone
        for queue in queues:
            look = Browse(selection, most=most, bodies=bodies)
            browsed = yield from ask(partial(queue.browse, look))
            some = []
            for number, (message, due) in enumerate(
                zip(browsed.messages, browsed.due, strict=True), 1
            ):
                some.append(Schedule(due, message, queue, spec_of(message, zone)))
                if number % _AT_ONCE == 0:
                    yield None
            found = list(heapq.merge(found, some, key=attrgetter("due")))[:most]
            yield None
        return found

    def row(self, one: Schedule) -> ScheduledRow:
        """Make the row of a schedule."""
        spec, message, job = one.spec, one.message, one.job_id
        destination, fired = scheduled_for(one.queue.name), message.deliveries
        left = 0 if not spec.recurs else -1
        if spec.cron is None and spec.repeat > 0:
            left = max(spec.repeat - fired, 0)
        return ScheduledRow(
            id=f"{destination} {job}" if spec.name else job,
            job_id=job,
            name=spec.name,
            destination=destination,
            message_id=message.message_id,
            sent_at=message.received_at,
            next_at=one.due,
            delay_ms=max(spec.delay, 0),
            period_ms=spec.period,
            repeat_left=left,
            cron="" if spec.cron is None else spec.cron.text,
            zone="" if spec.cron is None else spec.cron.zone,
            fired=fired,
            bytes=message.size,
            broker=None if self._cluster is None else self._cluster.broker,
            group=None if self._cluster is None else one.queue.group.number,
        )


def spec_of(message: Message, zone: str) -> ScheduleSpec:
    """What a message that waits says of its time."""
    try:
        return read_schedule(message.head.headers(), zone) or ScheduleSpec()
    except ProtocolError:  # it was taken by a broker that knew more
        return ScheduleSpec()
