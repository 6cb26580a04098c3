"""What readers need of the queue whose messages they read."""

from __future__ import annotations

from abc import abstractmethod

from stompy.compiler import mypyc_attr
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.interface import QueueIdentity
from stompy_broker.routing.message_source import MessageSource
from stompy_broker.routing.reader_message import ReaderMessage
from stompy_broker.timers import Clock


@mypyc_attr(allow_interpreted_subclasses=True)
class ReaderOwner:
    """Has readers: says what holds for all of them, and does what none can do by itself.

    Attributes:
        identity: of the queue.
        source: what is read.
        memory: where what readers have is added up.
        clock: rings.
        paused: whether nobody is given anything.
    """

    __slots__ = ("clock", "identity", "memory", "paused", "source")

    def __init__(
        self, identity: QueueIdentity, source: MessageSource, memory: Watermark, clock: Clock
    ) -> None:
        self.identity = identity
        self.source = source
        self.memory = memory
        self.clock = clock
        self.paused = False

    @abstractmethod
    def give_up(self, message: ReaderMessage, cause: str, reason: str) -> bool:
        """Have a copy of a message become a dead letter; false: it cannot be now."""

    @abstractmethod
    def keep_place(self, name: str, place: int) -> None:
        """Keep the place before which everything is settled that was read under a name."""
