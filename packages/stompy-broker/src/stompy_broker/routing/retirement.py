"""When queues and durable subscriptions are looked for that nobody used for a while."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from stompy_broker.routing.interface import Queue
from stompy_broker.timers import Clock

_SECONDS = 0.5
"""They are looked for at most this often, ..."""

_AT_ONCE = 1000
"""... and so many at a time, because there may be very many, ..."""

_PAUSE = 0.001
"""... with this pause for others to have their turn; seconds."""


class Retirement:
    """The next look at the queues of a broker.

    Args:
        clock: rings.
        queues: by name.
        idle_seconds: how often to look, if nothing comes up before.
        look: looks at one, and calls `within` if it is to be looked at again.
    """

    def __init__(
        self,
        clock: Clock,
        queues: Mapping[str, Queue],
        idle_seconds: float,
        look: Callable[[Queue], None],
    ) -> None:
        self._clock = clock
        self._queues = queues
        self._idle_seconds = idle_seconds
        self._look = look
        self._left: list[Queue] = []
        self._timer = clock.timer(self._go_round)
        self._next = self._soonest = clock.now() + idle_seconds
        self._timer.set(self._next)

    def within(self, seconds: float) -> None:
        """Look that soon, if that is sooner; 0 = no matter."""
        if not seconds:
            return
        when = self._clock.now() + max(seconds, _SECONDS)
        self._soonest = min(self._soonest, when)
        if when < self._next and not self._left:
            self._next = when
            self._timer.set(when)

    def _go_round(self) -> None:
        now = self._clock.now()
        if not self._left:
            self._left = list(self._queues.values())
            self._soonest = now + self._idle_seconds
        for queue in self._left[-_AT_ONCE:]:
            if self._queues.get(queue.name) is queue:
                self._look(queue)
        del self._left[-_AT_ONCE:]
        self._next = now + _PAUSE if self._left else max(self._soonest, now + _SECONDS)
        self._timer.set(self._next)
