"""Consumers that wait for the next message of a queue, in turn."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Iterable

from stompy_broker.message import Message
from stompy_broker.routing.batching import Work
from stompy_broker.routing.consumer import Consumer

_NOT_PAUSED: frozenset[str] = frozenset()


class TurnKeeper(Work):
    """Says who takes what, where consumers choose."""

    __slots__ = ()

    @abstractmethod
    def attach(self, consumer: Consumer) -> None:
        """Have a consumer take part."""

    @abstractmethod
    def next_for(self, message: Message) -> Consumer | None:
        """Who would get a message if it came now; None = nobody."""

    @abstractmethod
    def leave(self, consumers: Iterable[Consumer]) -> None:
        """Have consumers wait no more, wherever they stand."""

    @abstractmethod
    def detach(self, consumer: Consumer) -> None:
        """Have a consumer take part no more."""


class ConsumerLine:
    """Who waits, first one first.

    Attributes:
        waiting: who is given the next message; nobody while the queue is paused. Never replaced,
            so that the queue may keep it at hand. Nobody is in it while consumers choose, either.
        end: where those line up who want a message: the same, unless the queue is paused, or its
            consumers choose.
        paused: whether nobody is given anything.
    """

    __slots__ = ("_keeper", "_pauses", "end", "paused", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Consumer] = deque()
        self.end = self.waiting
        self._pauses = _NOT_PAUSED
        self.paused = False
        self._keeper: TurnKeeper | None = None

    def leave(self, consumers: Iterable[Consumer]) -> None:
        """Take consumers out of line: one, or many together."""
        leaving = [consumer for consumer in consumers if consumer.waiting]
        if self._keeper is not None:
            self._keeper.leave(leaving)
            for consumer in leaving:
                consumer.waiting = False
            return
        for consumer in leaving:
            consumer.waiting = False
        line = self.end
        if len(leaving) == 1:
            line.remove(leaving[0])
        elif leaving:
            staying = [consumer for consumer in line if consumer.waiting]
            line.clear()
            line.extend(staying)

    def next_for(self, message: Message) -> Consumer | None:
        """Who would get a message if it came now; None = nobody."""
        if self._keeper is not None:
            return self._keeper.next_for(message)
        return self.waiting[0] if self.waiting else None

    def come(self, consumer: Consumer) -> bool:
        """Let a consumer take part where consumers choose; false: they do not."""
        if self._keeper is None:
            return False
        self._keeper.attach(consumer)
        return True

    def go(self, consumer: Consumer) -> None:
        """Take a consumer out of line for good."""
        self.leave((consumer,))
        if self._keeper is not None:
            self._keeper.detach(consumer)

    def pause(self, reason: str) -> None:
        """Give nobody anything until `proceed` was called with that reason, and all others."""
        self._pauses |= {reason}
        self.paused = True
        if self.end is self.waiting:
            self.end = deque(self.waiting)
            self.waiting.clear()  # who is handing out stops

    def proceed(self, reason: str) -> bool:
        """Go on, if nothing else is in the way; say whether it is so."""
        self._pauses -= {reason}
        self.paused = bool(self._pauses)
        if self._pauses:
            return False
        if self._keeper is None:
            self._join_end()
        return True

    def _join_end(self) -> None:
        if self.end is not self.waiting:
            self.waiting.extend(self.end)
            self.end = self.waiting

    def begin_choosing(self, keeper: TurnKeeper) -> None:
        """Give nobody the next message as it is: somebody else says who takes what."""
        self._keeper = keeper
        if self.end is self.waiting:
            self.end = deque(self.waiting)
            self.waiting.clear()

    def end_choosing(self, turns: Iterable[Consumer]) -> None:
        """Give each message to who is first in line, again.

        Args:
            turns: who waited before those in ``end``, in turn.
        """
        self._keeper = None
        self.end.extendleft(reversed(list(turns)))
        if not self._pauses:
            self._join_end()
