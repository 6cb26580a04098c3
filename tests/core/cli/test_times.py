"""How a command line says times."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta

import pytest

from stompy.cli.times import moment, span, start


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90", timedelta(seconds=90)),
        ("1.5", timedelta(seconds=1.5)),
        ("500ms", timedelta(milliseconds=500)),
        ("15m", timedelta(minutes=15)),
        ("1h30m", timedelta(minutes=90)),
        ("7d", timedelta(days=7)),
        ("2w", timedelta(weeks=2)),
        ("0", timedelta()),
    ],
)
def test_spans(text: str, expected: timedelta) -> None:
    assert span(text) == expected


@pytest.mark.parametrize("text", ["", "x", "-5", "1h30", "30 m", "1y", "99999999999w", "٣"])
def test_what_is_no_span(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        span(text)


def test_moments() -> None:
    assert moment("2027-01-01T09:00+01:00") == datetime(2027, 1, 1, 8, tzinfo=UTC)
    assert moment("2027-01-01T09:00Z") == datetime(2027, 1, 1, 9, tzinfo=UTC)
    here = moment("2027-01-01 09:00")
    assert here == datetime(2027, 1, 1, 9).astimezone()
    for text in ("tomorrow", "", "2027-13-01", "09:00"):
        with pytest.raises(argparse.ArgumentTypeError):
            moment(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("first", "first"),
        ("next", "next"),
        ("first-unread", "first-unread"),
        ("17", 17),
        ("-5", -5),
        ("last=5", "last=5"),
        ("age=2h", "age=2h"),
        ("timestamp=1700000000", "timestamp=1700000000"),
        ("2027-01-01T09:00+01:00", datetime(2027, 1, 1, 8, tzinfo=UTC)),
    ],
)
def test_places_in_a_stream(text: str, expected: object) -> None:
    assert start(text) == expected


@pytest.mark.parametrize("text", ["", "begin", "1.5", "--5", "age=", "age=1 h", "pages=3", "09:00"])
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not first"):
        start(text)
