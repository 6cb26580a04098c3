"""Where reading a stream begins, as SUBSCRIBE and operators write it."""

from __future__ import annotations

import pytest

from stompy_broker.routing.reading import FROM_FIRST, FROM_NEXT, StartAt, StreamStart, read_start


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("first", FROM_FIRST),
        ("next", FROM_NEXT),
        (" last ", StreamStart(StartAt.LAST)),
        ("offset=0", StreamStart(StartAt.OFFSET, 0)),
        ("17", StreamStart(StartAt.OFFSET, 17)),
        ("-17", StreamStart(StartAt.BACK, 17)),
        ("last=3", StreamStart(StartAt.BACK, 3)),
        ("timestamp=1700000000", StreamStart(StartAt.TIME, 1_700_000_000_000)),
        ("timestamp=1700000000123", StreamStart(StartAt.TIME, 1_700_000_000_123)),
        ("timestamp=100000000000", StreamStart(StartAt.TIME, 10**14)),
        ("age=1h", StreamStart(StartAt.AGE, 3_600_000)),
        ("age=2D", StreamStart(StartAt.AGE, 2 * 86_400_000)),
    ],
)
def test_all_that_says_where(text: str, start: StreamStart) -> None:
    assert read_start(text) == start


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "offset=",
        "offset=-1",
        "offset=1.5",
        "offset=x",
        "offset=٣",
        "timestamp=now",
        "since=5",
        "age=1",
        "age=h",
        "age=1 fortnight",
        "First",
        "9" * 19,
        "first=1",
    ],
)
def test_what_says_nothing_is_told_so(text: str) -> None:
    with pytest.raises(ValueError, match="must be "):
        read_start(text)
