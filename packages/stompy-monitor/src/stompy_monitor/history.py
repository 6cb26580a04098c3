"""What was, in little memory: rings of samples, one for each tick.

A queue that does not change costs nothing: its ring is filled up when it is read or next written,
with the same level and no traffic.
"""

from __future__ import annotations

from array import array

SAMPLES = 120
"""Samples of a queue: two minutes at one each second."""
LONG = 600
"""Samples of what somebody looks at."""


class History:
    """Levels and flows of one row: a level stays when nothing comes, a flow is then zero.

    One array holds all numbers of a sample side by side, and the samples as a ring.
    """

    __slots__ = ("_at", "_count", "_levels", "_tick", "_values", "size")

    def __init__(self, levels: int, flows: int, size: int = SAMPLES) -> None:
        self.size = size
        self._count = levels + flows
        self._levels = levels
        self._values = array("f")
        self._at = 0
        self._tick = -1

    def add(self, tick: int, levels: list[float], flows: list[float]) -> None:
        """The sample of a tick; a second one for the same tick is not taken."""
        if tick <= self._tick:
            return
        if self._tick >= 0 and tick > self._tick + 1:
            self.fill(tick - 1)
        self._put(array("f", levels + flows))
        self._tick = tick

    def fill(self, tick: int) -> None:
        """Catch up to a tick, without a change in between."""
        if self._tick < 0 or tick <= self._tick:
            return
        end = self._at or len(self._values)
        rest = self._values[end - self._count : end]
        rest[self._levels :] = array("f", [0.0] * (self._count - self._levels))
        for _ in range(min(tick - self._tick, self.size)):
            self._put(rest)
        self._tick = tick

    def _put(self, sample: array[float]) -> None:
        if len(self._values) < self.size * self._count:
            self._values.extend(sample)
        else:
            self._values[self._at : self._at + self._count] = sample
            self._at = (self._at + self._count) % len(self._values)

    def values(self, which: int) -> list[float]:
        """All samples of one number, oldest first: the levels come first, then the flows."""
        at, every = self._at, self._count
        return [*self._values[at + which :: every], *self._values[which:at:every]]

    def grow(self, size: int) -> None:
        """Remember more from now on."""
        if size > self.size:
            self._values = self._values[self._at :] + self._values[: self._at]
            self._at, self.size = 0, size
