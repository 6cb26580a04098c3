"""Who takes part in one reader, and who of them is given the next message.

Mostly it is one consumer. Those who read under one name share it by turns, the highest priority
first, or one of them is given everything (`ActiveConsumer`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from stompy_broker.routing.active_consumer import ActiveConsumer
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.interface import QueueIdentity
from stompy_broker.timers import Clock


class ReaderLine:
    """The consumers of one reader.

    Args:
        queue: that they read.
        clock: rings.
        hand_out: has the reader hand out.

    Attributes:
        consumers: who takes part.
        waiting: who is given messages, the one whose turn it is first.
    """

    __slots__ = ("_active", "_clock", "_hand_out", "_queue", "consumers", "waiting")

    def __init__(self, queue: QueueIdentity, clock: Clock, hand_out: Callable[[], None]) -> None:
        self._queue = queue
        self._clock = clock
        self._hand_out = hand_out
        self._active: ActiveConsumer | None = None  # None = nobody asks to be the only one
        self.consumers: dict[Consumer, None] = {}
        self.waiting: deque[Consumer] = deque()

    @property
    def active(self) -> Consumer | None:
        """Who is given everything; None = nobody is just now, or all take part."""
        return None if self._active is None else self._active.active

    def come(self, consumer: Consumer) -> None:
        """Let a consumer take part."""
        if consumer.terms.single_active and self._active is None:
            present = list(self.consumers)
            self._active = ActiveConsumer(
                self._queue, self._clock, self._line_up_again, self._hand_out, present
            )
        self.consumers[consumer] = None
        if self._active is not None:
            self._active.come(consumer)

    def go(self, consumer: Consumer) -> None:
        """Let a consumer go."""
        self.consumers.pop(consumer, None)
        self.leave((consumer,))
        if self._active is not None and not self._active.go(consumer):
            self._active = None

    def wait(self, consumer: Consumer) -> bool:
        """Have a consumer wait for a message; say whether it may be given one."""
        if consumer.waiting or consumer not in self.consumers:
            return False
        consumer.waiting = True
        if self._active is not None and not self._active.admits(consumer):
            return False
        self.waiting.append(consumer)
        return True

    def leave(self, consumers: Iterable[Consumer]) -> None:
        """Have consumers wait no more."""
        leaving = [one for one in consumers if one.waiting]
        if self._active is not None:
            self._active.leave(leaving)
        for one in leaving:
            one.waiting = False
            if one in self.waiting:
                self.waiting.remove(one)

    def _line_up_again(self) -> None:
        """Have everybody who waits line up again: somebody else is active, or nobody."""
        active = self._active
        if active is None:
            return
        line = [*self.waiting, *active.take_bench()]
        self.waiting.clear()
        for one in line:
            if active.admits(one):
                self.waiting.append(one)

    def in_turn(self) -> Consumer:
        """Who gets the next message: of the highest priority the one that waits longest."""
        waiting = self.waiting
        best = waiting[0]
        if len(waiting) > 1:
            for one in waiting:
                if one.terms.priority > best.terms.priority:
                    best = one
        return best

    def had_turn(self, consumer: Consumer, *, more: bool) -> None:
        """Put a consumer last in turn, or out of line if it wants no more."""
        waiting = self.waiting
        if len(waiting) == 1:
            if not more:
                waiting.clear()
                consumer.waiting = False
            return
        waiting.remove(consumer)
        if more:
            waiting.append(consumer)
        else:
            consumer.waiting = False

    def close(self) -> None:
        """Have nobody take part any more."""
        self.leave(list(self.consumers))
        self.consumers.clear()
        if self._active is not None:
            self._active.close()
