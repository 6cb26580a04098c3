"""What a local queue needs from the broker around it."""

from __future__ import annotations

from typing import Protocol

from stompy_broker.destinations.names import Destination
from stompy_broker.events import Events
from stompy_broker.message import MessageHead, Redelivery
from stompy_broker.routing.answers import Done
from stompy_broker.routing.batching import WorkBudget
from stompy_broker.routing.dead_letters import DeadLetters
from stompy_broker.routing.delivery_times import CurrentTime
from stompy_broker.routing.duplicate_book import DuplicateBook
from stompy_broker.routing.firing import Firing
from stompy_broker.routing.flow_control import Loans, Watermark
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.histories import Histories
from stompy_broker.routing.retained_messages import RetainedMessages
from stompy_broker.routing.retained_table import RetainedTable
from stompy_broker.routing.user_storage import StorageBook
from stompy_broker.routing.wait_times import WaitTimes
from stompy_broker.timers import Clock


class Services(Protocol):
    """What the queues of one broker share.

    Attributes:
        clock: rings.
        memory: memory in use, but for loans.
        loans: memory in use that only single clients can give back.
        dead_letters: takes what queues give up.
        events: told of what happens to queues.
        current_time: the time of what is going on.
        work_budget: says how much may be done in one go.
        wait_times: how long messages were in their queues, once somebody asked.
        firing: publishes what was sent to come later; None = nobody does yet.
        storage: what users have in queues; None = nobody wants to know.
        retained: what topics keep for who subscribes later.
        retained_messages: gives it to who does.
        histories: the past of queues.
        duplicates: the duplicate ids of all destinations.
    """

    clock: Clock
    memory: Watermark
    loans: Loans
    dead_letters: DeadLetters
    events: Events
    current_time: CurrentTime
    work_budget: WorkBudget
    wait_times: WaitTimes
    firing: Firing | None
    storage: StorageBook | None
    retained: RetainedTable
    retained_messages: RetainedMessages
    histories: Histories
    duplicates: DuplicateBook

    def wall(self) -> int:
        """Milliseconds since the epoch."""
        ...

    def note_time(self) -> None:
        """Have messages that are published from now on carry the present time."""
        ...

    def admit(self, destination: Destination, head: MessageHead, done: Done) -> None:
        """Whether `republish` would take a message."""
        ...

    def leave_together(self, group: QueueGroup, destination: Destination) -> bool:
        """Have what leaves a group in this turn, and comes to a destination, be one change.

        Returns:
            False: that cannot be, because another broker has part in it.
        """
        ...

    def republish(
        self,
        destination: Destination,
        head: MessageHead,
        body: bytes,
        earlier: Redelivery | None,
        done: Done | None = None,
    ) -> None:
        """Publish what was delivered before, elsewhere; `admit` was asked before."""
        ...

    def queue_left(self, name: str, done: Done) -> None:
        """End a named queue that its last consumer has left; call ``done`` when that is safe."""
        ...
