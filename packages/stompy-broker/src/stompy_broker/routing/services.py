"""What a local queue needs from the broker around it."""

from __future__ import annotations

from typing import Protocol

from stompy_broker.destinations.names import Destination
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message, MessageHead
from stompy_broker.routing.chores import Shift
from stompy_broker.routing.flow_control import Loans, Pressure
from stompy_broker.routing.turn import Turn
from stompy_broker.store.base import MessageStore
from stompy_broker.timers import Clock


class GivesUp(Protocol):
    """A queue that gives up messages."""

    destination: str
    name: str
    policy: Policy
    private: bool
    durable: bool
    volatile: bool
    final: bool
    expired: int
    dropped: int
    dead_lettered: int


class Services(Protocol):
    """What a queue needs from the broker around it."""

    clock: Clock
    pressure: Pressure
    loans: Loans
    disk: Pressure
    store: MessageStore

    turn: Turn
    shift: Shift

    def wall(self) -> int:
        """Milliseconds since the epoch."""
        ...

    def note_time(self) -> None:
        """Messages published from now on carry the present time."""
        ...

    def admit(self, destination: Destination, head: MessageHead) -> None:
        """Whether `republish` would take a message."""
        ...

    def republish(
        self, destination: Destination, head: MessageHead, body: bytes, deliveries: int
    ) -> None:
        """Publish what was delivered so often before, elsewhere; `admit` was asked before."""
        ...

    def grave(self, queue: GivesUp, cause: str) -> str:
        """Where messages go that this queue gives up; empty = they are dropped."""
        ...

    def bury(self, queue: GivesUp, message: Message, cause: str, reason: str) -> bool:
        """Take a message that this queue gives up: a dead letter, or dropped; false: it cannot."""
        ...
