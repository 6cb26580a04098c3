"""What was, in little memory: rings of samples, one for each tick.

A queue that does not change costs nothing: its ring is filled up when it is read or next written,
with the same level and no traffic.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from math import sqrt
from operator import mul

SAMPLES = 120
"""Samples of a queue: two minutes at one each second."""
LONG = 600
"""Samples of what somebody looks at."""


_LEAST = 10
_STEADY = 3.0


def grows_steadily(values: Sequence[float]) -> bool:
    """Whether a level rises through all its ups and downs.

    The line that fits best has to rise by more than the level strays from it, several times over: a
    level that is constant but for noise does not grow, and one that gains in bursts does.
    """
    count = len(values)
    if count < _LEAST or values[-1] <= values[0]:
        return False
    middle, mean = (count - 1) / 2, sum(values) / count
    spread = count * (count * count - 1) / 12
    slope = (sumprod(range(count), values) - count * middle * mean) / spread
    rise = slope * (count - 1)
    squares = sumprod(values, values) - count * mean * mean - slope * slope * spread
    stray = sqrt(max(squares, 0) / count)
    return rise >= 1 and rise > _STEADY * stray


def sumprod(first: Iterable[float], second: Iterable[float]) -> float:
    """The sum of the products of two rows of numbers."""
    return float(sum(map(mul, first, second)))


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

    def ends(self, which: int, samples: int) -> tuple[float, float, int]:
        """The first and the last of the latest samples of one number, and their distance."""
        kept = len(self._values) // self._count
        if not kept:
            return 0.0, 0.0, 0
        apart = min(samples, kept) - 1
        last = (self._at or len(self._values)) - self._count
        first = (last - apart * self._count) % len(self._values)
        return self._values[first + which], self._values[last + which], apart

    def latest(self, which: int, samples: int) -> array[float]:
        """The last samples of one number, oldest first."""
        kept = len(self._values) // self._count
        first = kept - min(samples, kept)
        if not self._at:
            return self._values[first * self._count + which :: self._count]
        begin = (self._at + first * self._count) % len(self._values)
        if begin < self._at:
            return self._values[begin + which : self._at : self._count]
        return (
            self._values[begin + which :: self._count]
            + self._values[which : self._at : self._count]
        )

    def grow(self, size: int) -> None:
        """Remember more from now on."""
        if size > self.size:
            self._values = self._values[self._at :] + self._values[: self._at]
            self._at, self.size = 0, size
