"""Work is done in slices, in turn: nobody's input keeps the others waiting for long (**hot path**).

One read may bring 256 KiB, and what these cost is the client's choice: a thousand messages, or
forty thousand pongs. So a connection works on slices that take about a millisecond each, and what
is left of its read waits here. So do clients that are written to as fast as they read, for more.
One turn of the event loop gives all that wait together a few milliseconds, in their order; between
two turns everybody else is served.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

BUDGET = 0.005
"""Seconds for all that wait, in one turn of the event loop."""
_LONG, _SHORT = 0.002, 0.0005
"""Seconds: a slice that takes longer is too large, one that takes less could be larger."""
LEAST, FIRST, MOST = 128, 512, 256 * 1024
"""Bytes of a slice. Few frames fit into the least, because one alone may be dear: a SEND to a topic
that has ten thousand subscriptions. A read that is as short is not measured."""
MODEST = 16 * 1024
"""Bytes of a read that need not wait behind others, unless the slice is smaller."""


class Scheduled(Protocol):
    """A connection whose input waits, or that waits for more."""

    def run_slice(self) -> None:
        """Work on one slice; call `FairScheduler.wait` again if there is more."""
        ...


class FairScheduler:
    """Gives each that waits its turn, in their order.

    Args:
        soon: calls a function at the next turn of the event loop.
        now: gives the time in seconds.
    """

    def __init__(
        self, soon: Callable[[Callable[[], None]], object], now: Callable[[], float]
    ) -> None:
        self._soon = soon
        self.now = now
        self._waiting: deque[Scheduled] = deque()
        self._asked = False

    @property
    def busy(self) -> bool:
        """Whether anybody waits for a turn."""
        return bool(self._waiting)

    def wait(self, who: Scheduled) -> None:
        """Give it a turn, once, behind those that wait already."""
        self._waiting.append(who)
        if not self._asked:
            self._asked = True
            self._soon(self._run)

    def _run(self) -> None:
        waiting = self._waiting
        end = self.now() + BUDGET
        self._asked = True  # whoever waits again does not ask
        try:
            while waiting:
                waiting.popleft().run_slice()
                if self.now() >= end:
                    break
        finally:
            self._asked = bool(waiting)
            if waiting:
                self._soon(self._run)


def next_slice(size: int, worked: int, seconds: float) -> int:
    """How large the next slice is to be.

    Args:
        size: of slices so far.
        worked: bytes that were worked on now.
        seconds: that they took.
    """
    if seconds > _LONG:
        # Not all the way at once: the machine may have stood still, not the slice been dear.
        return max(LEAST, size // 4, min(size, int(worked * (_LONG / 2) / seconds)))
    if seconds < _SHORT and worked >= size:
        return min(MOST, size * 2)
    return size
