"""What clients leave behind is ended in steps, because one may have ten thousand subscriptions."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice

from stompy_broker.timers import Clock

AT_ONCE = 50
"""Steps at a time, of all clients together, ..."""

_PAUSE = 0.001
"""... and the pause between; seconds."""


class Leaving:
    """Those who have left, first one first.

    Args:
        clock: begins the next steps.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: deque[Iterator[object]] = deque()
        self._timer = clock.timer(self._go_on)

    def add(self, steps: Iterator[object]) -> None:
        """Take steps for a client, some at a time, behind those who have left before."""
        self._waiting.append(steps)
        if len(self._waiting) == 1:
            self._timer.set(self._clock.now() + _PAUSE)

    def finish(self) -> None:
        """Take all steps that are left, now: the broker stops."""
        while self._waiting:
            self._step()

    def _go_on(self) -> None:
        try:
            self._step()
        finally:
            # Who fails has no steps left, and the others go on.
            if self._waiting:
                self._timer.set(self._clock.now() + _PAUSE)

    def _step(self) -> None:
        left = AT_ONCE
        while self._waiting and left > 0:
            taken = sum(1 for _ in islice(self._waiting[0], left))
            left -= taken
            if left > 0:
                self._waiting.popleft()
