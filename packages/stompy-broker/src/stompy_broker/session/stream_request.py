"""What a SUBSCRIBE says of how it reads a stream: its headers, read once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.lasting import NAME_HEADERS
from stompy_broker.routing.reading import (
    FIRST_UNREAD,
    FROM_FIRST,
    FROM_NEXT,
    Reading,
    StreamStart,
    read_start,
)
from stompy_broker.session.header_values import boolean, given

OFFSET: Final = "x-stream-offset"
NAMES: Final = ("x-stream-consumer", *NAME_HEADERS)
"""Under which its place is kept."""

_RETROACTIVE: Final = "activemq.retroactive"
_TRACKING: Final = "x-stream-automatic-offset-tracking"
_FILTER: Final = "x-stream-filter"
_UNFILTERED: Final = "x-stream-match-unfiltered"
_SHARE: Final = "share"
_HEADERS: Final = frozenset((OFFSET, *NAMES, _RETROACTIVE, _TRACKING, _FILTER, _UNFILTERED, _SHARE))

_LONGEST_NAME: Final = 255
_MOST_FILTERS: Final = 64


def read_reading(headers: Mapping[str, str]) -> Reading | None:
    """Read how a SUBSCRIBE reads a stream; None = it says nothing of it.

    Args:
        headers: of the frame.

    Raises:
        ProtocolError: one of them does not fit.
    """
    if _HEADERS.isdisjoint(headers):
        return None
    name, tracks = _name(headers)
    start, resumes = _start(headers, named=bool(name))
    reading = Reading(
        start,
        bool(name) and (resumes or tracks),
        name,
        _filters(headers),
        _says(headers, _UNFILTERED),
        _shares(headers, name),
    )
    return None if reading == Reading() else reading


def _name(headers: Mapping[str, str]) -> tuple[str, bool]:
    """The name under which its place is kept, and whether that comes before any other place."""
    header, name = given(headers, NAMES)
    tracks = _says(headers, _TRACKING)
    if tracks and not name:
        header, name = "id", headers.get("id", "")
        if not name:
            raise ProtocolError(
                ErrorCode.MISSING_HEADER,
                f"{_TRACKING} keeps the place of a reader under its 'id', which is not there",
            )
    if len(name) > _LONGEST_NAME or not name.isprintable():
        raise ProtocolError(
            ErrorCode.BAD_HEADER,
            f"{header} names a reader by at most {_LONGEST_NAME} characters that can be printed",
        )
    return name, tracks


def _start(headers: Mapping[str, str], *, named: bool) -> tuple[StreamStart, bool]:
    """Where it begins, and whether a place that was kept goes before that."""
    text = headers.get(OFFSET, "").strip()
    if _says(headers, _RETROACTIVE):
        if text not in ("", "first"):
            raise ProtocolError(
                ErrorCode.BAD_HEADER,
                f"{_RETROACTIVE} means {OFFSET}:first, and {OFFSET} is {text[:40]!r}",
            )
        return FROM_FIRST, False
    if not text:
        return FROM_NEXT, True
    if text == FIRST_UNREAD:
        if not named:
            raise ProtocolError(
                ErrorCode.BAD_HEADER,
                f"{OFFSET}:{FIRST_UNREAD} is where a reader stopped, whose name x-stream-consumer "
                "says",
            )
        return FROM_FIRST, True
    try:
        return read_start(text), False
    except ValueError as error:
        raise ProtocolError(ErrorCode.BAD_HEADER, f"{OFFSET} {error}") from None


def _filters(headers: Mapping[str, str]) -> frozenset[str]:
    text = headers.get(_FILTER, "")
    filters = frozenset([value.strip() for value in text.split(",")]) - {""}
    if "," in text and not filters:  # a list of nothing does not mean everything
        raise ProtocolError(ErrorCode.BAD_HEADER, f"{_FILTER} {text[:40]!r} names no value")
    if len(filters) > _MOST_FILTERS:
        raise ProtocolError(
            ErrorCode.BAD_HEADER,
            f"{_FILTER} has {len(filters)} values; {_MOST_FILTERS} are the most",
        )
    return filters


def _shares(headers: Mapping[str, str], name: str) -> bool:
    """Whether it shares the messages with others of its name."""
    word = headers.get(_SHARE, "")
    if not word or (word != name and not boolean(_SHARE, word, "true, false or the reader's name")):
        return False
    if not name:
        raise ProtocolError(
            ErrorCode.BAD_HEADER,
            f"{_SHARE} is for readers of one name, which x-stream-consumer says",
        )
    return True


def _says(headers: Mapping[str, str], name: str) -> bool:
    word = headers.get(name)
    return bool(word) and boolean(name, word or "")
