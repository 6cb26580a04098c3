"""When a queue has to look for messages whose time is over: one timer, however many there are.

Where all messages have a time to live, they usually end in the order in which they came. Then only
the first ones are looked at; else all of them, which takes long where very many wait.
"""

from __future__ import annotations

from collections.abc import Callable

from stompy_broker.message import Message
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
        look: looks, by `take_out`.
        all_end: whether every message of the queue has a time to live.
    """

    __slots__ = ("_all_end", "_clock", "_last", "_next", "_orderly", "_timer", "_wall")

    def __init__(
        self,
        clock: Clock,
        wall: Callable[[], int],
        look: Callable[[], None],
        *,
        all_end: bool = False,
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._timer = clock.timer(look)
        self._next = 0
        self._all_end = self._orderly = all_end
        self._last = 0  # when the last message ends, while they are orderly

    def append(self, expires: int) -> None:
        """Look when a message ends that is the last one now, in milliseconds since the epoch.

        One that never ends (0) may have been stored under another policy.
        """
        self._orderly = self._orderly and 0 < expires >= self._last
        self._last = expires
        if expires:
            self.watch(expires)

    def watch(self, expires: int) -> None:
        """Look when a message ends that has come back to its place."""
        if not self._next or expires < self._next:
            self._next = expires
            self._timer.set(self._clock.now() + max(0.0, (expires - self._wall()) / 1000))

    def take_out(self, ready: ReadyList) -> list[Message]:
        """Take out the messages whose time is over, and look again when the next one ends."""
        now = self._wall()
        if self._orderly and ready.parking is None and not (ready.heap or ready.delayed):
            over = ready.take_first_expired(now)
            self._next, pause = ready.fifo[0].expires if ready.fifo else 0, _SECONDS
        else:
            over = ready.take_out_expired(now)
            self._next = min((message.expires for message in ready if message.expires), default=0)
            # Not too soon: all were just looked at.
            pause = _SECONDS * max(1.0, len(ready) / _MESSAGES)
        if self._next:
            self._timer.set(self._clock.now() + max(pause, (self._next - now) / 1000))
        elif not ready:
            self._orderly, self._last = self._all_end, 0
        return over

    def renew(self, *, all_end: bool) -> None:
        """Take note that from now on every message has a time to live, or not any more."""
        self._all_end = all_end
        self._orderly = self._orderly and all_end

    def end(self) -> None:
        """Look for expired messages no more."""
        self._timer.end()
