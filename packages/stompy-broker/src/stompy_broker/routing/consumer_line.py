"""Consumers that wait for the next message of a queue, in turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from stompy_broker.routing.consumer import Consumer

_NOT_PAUSED: frozenset[str] = frozenset()


class ConsumerLine:
    """Who waits, first one first.

    Attributes:
        waiting: who is given the next message; nobody while the queue is paused. Never replaced,
            so that the queue may keep it at hand.
        end: where those line up who want a message: the same, unless the queue is paused.
    """

    __slots__ = ("_pauses", "end", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Consumer] = deque()
        self.end = self.waiting
        self._pauses = _NOT_PAUSED

    def leave(self, consumers: Iterable[Consumer]) -> None:
        """Take consumers out of line: one, or many together."""
        leaving = [consumer for consumer in consumers if consumer.waiting]
        for consumer in leaving:
            consumer.waiting = False
        line = self.end
        if len(leaving) == 1:
            line.remove(leaving[0])
        elif leaving:
            staying = [consumer for consumer in line if consumer.waiting]
            line.clear()
            line.extend(staying)

    def pause(self, reason: str) -> None:
        """Give nobody anything until `proceed` was called with that reason, and all others."""
        self._pauses |= {reason}
        if self.end is self.waiting:
            self.end = deque(self.waiting)
            self.waiting.clear()  # who is handing out stops

    def proceed(self, reason: str) -> bool:
        """Go on, if nothing else is in the way; say whether it is so."""
        self._pauses -= {reason}
        if self._pauses:
            return False
        if self.end is not self.waiting:
            self.waiting.extend(self.end)
            self.end = self.waiting
        return True
