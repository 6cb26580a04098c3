"""Times in buckets: what a percentile says is right within three per cent."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stompy.cli.histogram import Histogram

times = st.lists(st.integers(0, 10**12), min_size=1, max_size=200)


def of(numbers: list[int]) -> Histogram:
    histogram = Histogram()
    for number in numbers:
        histogram.record(number)
    return histogram


@given(times, st.floats(0, 100))
def test_percentiles_are_near_the_truth(numbers: list[int], percent: float):
    rank = max(1.0, len(numbers) * percent / 100)
    truth = next(n for i, n in enumerate(sorted(numbers), 1) if i >= rank)
    told = of(numbers).percentile(percent)
    assert truth <= told <= truth * 1.04


@given(times)
def test_ends_and_count_are_exact(numbers: list[int]):
    histogram = of(numbers)
    assert (histogram.lowest, histogram.highest) == (min(numbers), max(numbers))
    assert histogram.count == len(numbers)
    assert histogram.percentile(100) == max(numbers)


@given(times, times)
def test_merging_is_as_good_as_recording_together(first: list[int], second: list[int]):
    merged, together = Histogram.merged([of(first), Histogram(), of(second)]), of(first + second)
    for percent in (0, 10, 50, 90, 99.9, 100):
        assert merged.percentile(percent) == together.percentile(percent)
    assert (merged.lowest, merged.count) == (together.lowest, together.count)


@given(times)
def test_octaves_hold_every_time_once(numbers: list[int]):
    octaves = of(numbers).octaves()
    for low, high, count in octaves:
        assert count == sum(low <= number < high for number in numbers)
    assert sum(count for _, _, count in octaves) == len(numbers)
    assert all(high == next_low for (_, high, _), (next_low, _, _) in pairwise(octaves))


def test_nothing_was_recorded():
    histogram = Histogram()
    assert histogram.percentile(50) == histogram.count == histogram.highest == 0
    assert histogram.octaves() == []


def test_a_clock_that_went_back():
    assert of([-5]).percentile(50) == 0


@pytest.mark.parametrize("number", [31, 32, 33, 63, 64, 1023, 1024, 2**40])
def test_at_the_edges_of_buckets(number: int):
    histogram = of([number, 2**60])
    assert number <= histogram.percentile(50) <= number * 1.04
