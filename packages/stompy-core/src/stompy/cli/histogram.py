"""How long things took, without keeping every time: counts in buckets. Pure.

Buckets grow with the time. One is at most a thirty-second part as wide as what it holds, so a
percentile is right within about three per cent. Times are whole nanoseconds.
"""

from __future__ import annotations

from collections.abc import Iterable

_FINE = 32
_SHIFT = _FINE.bit_length()


class Histogram:
    """Counts of times.

    Attributes:
        count: how many times there are.
        lowest: the shortest; 0 when there is none.
        highest: the longest.
    """

    __slots__ = ("_counts", "count", "highest", "lowest")

    def __init__(self) -> None:
        self.count = self.lowest = self.highest = 0
        self._counts: dict[int, int] = {}

    def record(self, time: int) -> None:
        """One more time; one below zero counts as zero."""
        time = max(time, 0)
        bucket = _bucket_of(time)
        self._counts[bucket] = self._counts.get(bucket, 0) + 1
        self.lowest = min(self.lowest, time) if self.count else time
        self.highest = max(self.highest, time)
        self.count += 1

    def percentile(self, percent: float) -> int:
        """A time that so many per cent of all do not exceed; 0 when there is none."""
        wanted = max(1.0, self.count * percent / 100)
        seen = 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            if seen >= wanted:
                return min(self.highest, max(self.lowest, _top_of(bucket)))
        return self.highest

    def octaves(self) -> list[tuple[int, int, int]]:
        """Buckets to look at: from, to, how many; each up to twice as long as the one before."""
        octaves: dict[int, int] = {}
        for bucket, count in self._counts.items():
            octave = _top_of(bucket).bit_length()
            octaves[octave] = octaves.get(octave, 0) + count
        if not octaves:
            return []
        return [
            ((1 << octave) >> 1, 1 << octave, octaves.get(octave, 0))
            for octave in range(min(octaves), max(octaves) + 1)
        ]

    @classmethod
    def merged(cls, parts: Iterable[Histogram]) -> Histogram:
        """All times of several."""
        whole = cls()
        for part in parts:
            if part.count:
                whole.lowest = min(whole.lowest, part.lowest) if whole.count else part.lowest
                whole.highest = max(whole.highest, part.highest)
                whole.count += part.count
                for bucket, count in part._counts.items():
                    whole._counts[bucket] = whole._counts.get(bucket, 0) + count
        return whole


def _bucket_of(time: int) -> int:
    """Short times have a bucket each; of longer ones the first bits count."""
    if time < _FINE:
        return time
    shift = time.bit_length() - _SHIFT
    return (shift + 1) * _FINE + (time >> shift) - _FINE


def _top_of(bucket: int) -> int:
    """The longest time in a bucket."""
    if bucket < _FINE:
        return bucket
    shift, first_bits = bucket // _FINE - 1, bucket % _FINE + _FINE
    return ((first_bits + 1) << shift) - 1
