"""Curves made of characters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stompy_monitor.tables.sparkline import curve, curves, shrink, sparkline, steps

VALUES = st.lists(st.floats(0, 1e9), max_size=300)


def test_idle_and_steady_do_not_look_alike():
    assert sparkline([0] * 4, 4) == "▁▁▁▁"
    assert sparkline([7] * 4, 4) == "▆▆▆▆"


def test_the_newest_value_is_at_the_right():
    assert sparkline([1, 0], 5)[-2:] == "▆▁"
    assert curve([0, 0, 0, 9], 4, 1)[0][-1] != " "


def test_peaks_survive_shrinking():
    assert shrink([0, 9, 0, 0], 2) == [9, 0]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(1, 7), st.integers(0, 99))
def test_the_steps_of_a_trend_do_not_move_with_the_time(values, every, tick):
    before, now = steps(values, every, tick), steps([*values, 5], every, tick + 1)
    assert before[:-1] == now[: len(before) - 1]
    assert max(before) == max(values)


@given(VALUES, st.integers(1, 40), st.integers(1, 6), st.booleans())
def test_everything_has_the_size_it_should_have(values, width, height, ascii_only):
    lines = curve(values, width, height, ascii_only=ascii_only)
    assert [len(line) for line in lines] == [width] * height
    line = sparkline(values, width, ascii_only=ascii_only)
    assert len(line) == width
    assert not ascii_only or "".join((*lines, line)).isascii()


@pytest.mark.parametrize("ascii_only", [False, True])
def test_two_curves_have_one_scale(ascii_only):
    high, low = [86.0] * 30, [43.0] * 30
    same = curves([high, high], 15, 4, ascii_only=ascii_only)
    assert {number for line in same for text, number in line if text.strip()} == {1}
    assert curves([high, low], 15, 4, ascii_only=ascii_only) != same
    one = curve(high, 15, 4, ascii_only=ascii_only)
    both = ["".join(text for text, _ in line) for line in same]
    assert both == [line.replace("#", "o") for line in one]
    tones = [{n for text, n in line if text.strip()} for line in curves([high, low], 15, 4)]
    assert tones[0] == {0}
    assert {1} in tones[1:]


@given(st.lists(VALUES, min_size=1, max_size=3), st.integers(1, 40), st.integers(1, 6))
def test_several_curves_have_the_size_of_one(series, width, height):
    for ascii_only in (False, True):
        lines = curves(series, width, height, ascii_only=ascii_only)
        assert [sum(len(text) for text, _ in line) for line in lines] == [width] * height
