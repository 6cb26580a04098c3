"""When a queue has to look for messages whose time is over: one timer, however many there are."""

from __future__ import annotations

from collections.abc import Callable

from stompy_broker.routing.ready_list import ReadyList
from stompy_broker.timers import Clock

_SECONDS = 1.0
"""Expired messages in the middle of a queue are looked for at most this often, ..."""
_MESSAGES = 100_000
"""... and that much less often for each so many messages that have to be looked at."""


class Expiry:
    """The next look at the messages of a queue.

    Args:
        clock: rings.
        wall: gives the time in milliseconds since the epoch.
        look: looks, and calls `look_again`.
    """

    __slots__ = ("_clock", "_next", "_timer", "_wall")

    def __init__(self, clock: Clock, wall: Callable[[], int], look: Callable[[], None]) -> None:
        self._clock = clock
        self._wall = wall
        self._timer = clock.timer(look)
        self._next = 0

    def watch(self, expires: int) -> None:
        """Look when this time comes, in milliseconds since the epoch: a message ends then."""
        if not self._next or expires < self._next:
            self._next = expires
            self._timer.set(self._clock.now() + max(0.0, (expires - self._wall()) / 1000))

    def look_again(self, ready: ReadyList) -> None:
        """Look again when the next message ends, but not too soon: all were just looked at."""
        self._next = min((message.expires for message in ready if message.expires), default=0)
        if self._next:
            pause = _SECONDS * max(1.0, len(ready) / _MESSAGES)
            wait = max(pause, (self._next - self._wall()) / 1000)
            self._timer.set(self._clock.now() + wait)

    def end(self) -> None:
        """Look for expired messages no more."""
        self._timer.end()
