"""Spans of time as people write them."""

from datetime import timedelta

import pytest

from stompy_broker.durations import seconds_of


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        (0, 0.0),
        (1.5, 1.5),
        (timedelta(days=2), 172_800.0),
        ("30 days", 2_592_000.0),
        ("1 day", 86_400.0),
        ("1 h 30 min", 5400.0),
        ("2 hours, 1 second", 7201.0),
        ("500ms", 0.5),
        ("1.5 Weeks", 907_200.0),
        ("10s", 10.0),
        ("3 d", 259_200.0),
    ],
)
def test_a_span_is_read(duration, seconds) -> None:
    assert seconds_of(duration) == seconds


@pytest.mark.parametrize(
    "duration",
    [
        "",
        "30",
        "days",
        "30 lightyears",
        "1 month",
        "-1 day",
        -1,
        float("inf"),
        float("nan"),
        "1 h x",
    ],
)
def test_what_is_no_span_is_refused(duration) -> None:
    with pytest.raises(ValueError, match="time"):
        seconds_of(duration)
