"""When browsers may go on: one after the other, and seldom while the broker has much to do.

Looking is less urgent than messages that come and go. So after each page of a browser there is a
pause, in which a broker without other work does nothing. Where the pause turns out longer than it
was asked for, there was other work, and that gets most of the time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from stompy_broker.timers import Clock

_PAUSE = 0.001
"""Seconds between two pages, at least."""

_LATE = 0.003
"""A pause that took so long, in seconds, tells of other work."""

_SHARE = 16
"""Pages get one part in so many of the time, if there is other work."""

_LONGEST = 0.25
"""Seconds between two pages at most, whatever the last one took."""


class BrowsePace:
    """Lets the browsers of a broker go on, each in its turn.

    Args:
        clock: the broker's.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._timer = clock.timer(self._next)
        self._waiting: deque[Callable[[], None]] = deque()
        self._ended_at = 0.0
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
        begun = self._clock.now()
        since = begun - self._ended_at
        if not self._waits and since > _LATE:
            pause = min(self._took * (_SHARE - 1), _LONGEST)
            if since < pause:
                self._waits = True
                self._timer.set(self._ended_at + pause)
                return
        self._waits = False
        try:
            self._waiting.popleft()()
        finally:
            self._ended_at = self._clock.now()
            self._took = self._ended_at - begun
            if self._waiting:
                self._timer.set(self._ended_at + _PAUSE)
