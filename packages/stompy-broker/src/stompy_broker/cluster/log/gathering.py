"""When the next record of a log begins: at once, or when those are in it who were just told.

Who has a window of messages sends as many again as it was told are safe. If the next record begins
at once, half of the window is in each of two records by turns, and servers spend twice as much on
them: a record costs them more than what is in it. Measured with ``benchmarks/cluster.py``: twice
the rate of *durable, window 256*.
"""

from __future__ import annotations

from collections.abc import Callable

from stompy_broker.timers import Clock

GATHER_SECONDS = 0.002
"""How long a record waits at most for those who were just told."""

_SHARE = 4
"""It waits for one in so many parts of the time that a record takes."""


class Gathering:
    """Decides whether a record waits a moment for more.

    Args:
        clock: for the moment.
        begin: begins the record.

    Attributes:
        expected: how many are to wait for the record, until it is begun at once.
    """

    def __init__(self, clock: Clock, begin: Callable[[], None]) -> None:
        self.expected = 0
        self._clock = clock
        self._until = 0.0
        self._timer = clock.timer(begin)

    def told(self, expected: int, seconds: float) -> None:
        """A record is stored.

        Args:
            expected: how many were waiting for it, and for the next one already.
            seconds: how long a record takes.
        """
        self.expected = expected
        self._until = self._clock.now() + min(seconds / _SHARE, GATHER_SECONDS)

    def holds(self, waiting: int) -> bool:
        """Whether a record that so many wait for should wait; then it is begun in a moment."""
        if waiting >= self.expected or self._clock.now() >= self._until:
            return False
        self._timer.set(self._until)
        return True

    def begun(self) -> None:
        """The record is on its way."""
        self.expected = 0
        self._timer.cancel()

    def end(self) -> None:
        """Begin nothing any more."""
        self._timer.end()
