"""When browsers may go on: one after the other, and seldom while the broker has much to do.

Looking is less urgent than messages that come and go. So after each page of a browser there is a
short pause. If the event loop has worked in it, there is other work, and that gets most of the
time. Its own processor time tells: that a machine is busy with other things is no reason to wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from stompy_broker.timers import Clock

_PAUSE = 0.001
"""Seconds between two pages, at least."""

_BUSY = 0.0005
"""So much work in a pause, in seconds, is other work."""

_SHARE = 16
"""Pages get one part in so many of the time, if there is other work."""

_LONGEST = 0.25
"""Seconds between two pages at most, whatever the last one took."""


class BrowsePace:
    """Lets the browsers of a broker go on, each in its turn.

    Args:
        clock: the broker's.

    Attributes:
        spent: gives the processor time that the event loop has spent, in seconds.
    """

    def __init__(self, clock: Clock) -> None:
        self.spent = clock.now
        self._clock = clock
        self._timer = clock.timer(self._next)
        self._waiting: deque[Callable[[], None]] = deque()
        self._ended_at = 0.0
        self._spent = 0.0
        self._took = 0.0
        self._waits = False

    def wait(self, go_on: Callable[[], None]) -> None:
        """Have somebody go on when it is its turn."""
        self._waiting.append(go_on)
        if len(self._waiting) == 1:
            self._waits = False
            self._timer.set(self._clock.now() + _PAUSE)

    def forget(self, go_on: Callable[[], None]) -> None:
        """Do not call somebody who waits, because it has ended."""
        if go_on in self._waiting:
            self._waiting.remove(go_on)

    def _next(self) -> None:
        if not self._waiting:
            return
        begun = self.spent()
        if not self._waits and begun - self._spent > _BUSY:
            pause = min(self._took * (_SHARE - 1), _LONGEST)
            if self._clock.now() < self._ended_at + pause:
                self._waits = True
                self._timer.set(self._ended_at + pause)
                return
        self._waits = False
        try:
            self._waiting.popleft()()
        finally:
            self._ended_at = self._clock.now()
            self._spent = self.spent()
            self._took = self._spent - begun
            if self._waiting:
                self._timer.set(self._ended_at + _PAUSE)
