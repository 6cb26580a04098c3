"""When a queue has to look for messages whose time is over: one timer, however many there are."""

from __future__ import annotations

from collections.abc import Callable

from stompy_broker.routing.ready_list import Line
from stompy_broker.timers import Clock

_SECONDS = 1.0
"""Expired messages in the middle of a queue are looked for at most this often, ..."""
_MESSAGES = 100_000
"""... and that much less often for each so many messages that have to be looked at."""


class Expiry:
    """The next look.

    Args:
        clock: rings.
        wall: gives the time in milliseconds since the epoch.
        look: looks, and calls `look_again`.
    """

    def __init__(self, clock: Clock, wall: Callable[[], int], look: Callable[[], None]) -> None:
        self._clock = clock
        self._wall = wall
        self._timer = clock.timer(look)
        self._next = 0

    def watch(self, expires: int) -> None:
        """A message waits that ends at this time, in milliseconds since the epoch."""
        if not self._next or expires < self._next:
            self._next = expires
            self._timer.set(self._clock.now() + max(0.0, (expires - self._wall()) / 1000))

    def look_again(self, line: Line) -> None:
        """What waits was looked through: again when the next one ends, but not too soon."""
        self._next = min((message.expires for message in line if message.expires), default=0)
        if self._next:
            pause = _SECONDS * max(1.0, len(line) / _MESSAGES)
            wait = max(pause, (self._next - self._wall()) / 1000)
            self._timer.set(self._clock.now() + wait)

    def end(self) -> None:
        """Nobody waits any more."""
        self._timer.end()
