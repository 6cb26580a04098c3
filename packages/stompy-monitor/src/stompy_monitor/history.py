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


class Ring:
    """The last samples of one number, oldest first."""

    __slots__ = ("_next", "_values", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._values = array("f")
        self._next = 0

    def add(self, value: float) -> None:
        """The newest sample; the oldest goes when there are too many."""
        if len(self._values) < self.size:
            self._values.append(value)
        else:
            self._values[self._next] = value
            self._next = (self._next + 1) % self.size

    def values(self) -> list[float]:
        """All samples."""
        return [*self._values[self._next :], *self._values[: self._next]]

    def grown(self, size: int) -> Ring:
        """A ring of another size with the newest of these samples."""
        ring = Ring(size)
        for value in self.values()[-size:]:
            ring.add(value)
        return ring


class History:
    """Levels and flows of one row: a level stays when nothing comes, a flow is then zero."""

    __slots__ = ("_last", "_tick", "flows", "levels")

    def __init__(self, levels: int, flows: int, size: int = SAMPLES) -> None:
        self.levels = tuple(Ring(size) for _ in range(levels))
        self.flows = tuple(Ring(size) for _ in range(flows))
        self._tick = -1
        self._last: tuple[float, ...] = (0.0,) * levels

    def add(self, tick: int, levels: tuple[float, ...], flows: tuple[float, ...]) -> None:
        """The sample of a tick; a second one for the same tick is not taken."""
        if tick <= self._tick:
            return
        self.fill(tick - 1)
        for ring, value in zip(self.levels, levels, strict=True):
            ring.add(value)
        for ring, value in zip(self.flows, flows, strict=True):
            ring.add(value)
        self._tick, self._last = tick, levels

    def fill(self, tick: int) -> None:
        """Catch up to a tick, without a change in between."""
        if self._tick < 0:
            return
        missed = min(tick - self._tick, self._size)
        for _ in range(missed):
            for ring, value in zip(self.levels, self._last, strict=True):
                ring.add(value)
            for ring in self.flows:
                ring.add(0.0)
        self._tick = max(self._tick, tick)

    def grow(self, size: int) -> None:
        """Remember more from now on."""
        if size > self._size:
            self.levels = tuple(ring.grown(size) for ring in self.levels)
            self.flows = tuple(ring.grown(size) for ring in self.flows)

    @property
    def _size(self) -> int:
        return (*self.levels, *self.flows)[0].size
