"""Where and what a reader of a stream reads, as its SUBSCRIBE says it. Pure."""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from stompy_broker.destinations.stream_settings import read_age

_LONGEST: Final = 18
"""Digits of a number; more than any offset and any time has."""

_MILLISECONDS: Final = 10**11
"""A time beyond this is in milliseconds: in seconds it would be in the year 5138."""


class StartAt(Enum):
    """What the number of a `StreamStart` counts."""

    FIRST = "first"
    LAST = "last"
    NEXT = "next"
    OFFSET = "offset"
    TIME = "time"
    AGE = "age"
    BACK = "back"


class StreamStart(NamedTuple):
    """Where in a stream reading begins.

    Attributes:
        at: the oldest message there is; the last one; only what is still to come; an offset; the
            first message at or after a time; the same, so long ago; or the last few messages.
        number: the offset; milliseconds since the epoch; milliseconds ago; or how many.
    """

    at: StartAt
    number: int = 0


FROM_FIRST: Final = StreamStart(StartAt.FIRST)
FROM_NEXT: Final = StreamStart(StartAt.NEXT)

FIRST_UNREAD: Final = "first-unread"
"""Says: where this name stopped, or at the first message if it has never read."""

_WORDS: Final = {
    "first": FROM_FIRST,
    "last": StreamStart(StartAt.LAST),
    "next": FROM_NEXT,
}


class Reading(NamedTuple):
    """What a reader of a stream asks for.

    Attributes:
        start: where it begins.
        resumes: whether a place that is kept under its name goes before that.
        name: under which its place is kept; empty = it is not.
        filters: only messages with one of these filter values are for it; empty = all are.
        unfiltered: whether messages without a filter value are for it as well.
        shared: whether readers of one name share the messages; else one of them reads, and the
            others stand by.
    """

    start: StreamStart = FROM_NEXT
    resumes: bool = False
    name: str = ""
    filters: frozenset[str] = frozenset()
    unfiltered: bool = False
    shared: bool = False


def read_start(text: str) -> StreamStart:
    """Read where reading begins.

    Args:
        text: ``first``, ``last``, ``next``, ``offset=N`` or ``N``, ``timestamp=SECONDS`` (or
            milliseconds), ``age=1h``, ``last=N`` or ``-N``.

    Raises:
        ValueError: it says nothing of the kind.
    """
    word = text.strip()
    known = _WORDS.get(word)
    if known is not None:
        return known
    name, equals, value = word.partition("=")
    if not equals:
        name, value = ("last", word[1:]) if word.startswith("-") else ("offset", word)
    if name == "age":
        return StreamStart(StartAt.AGE, read_age(value))
    if not (value.isascii() and value.isdigit()) or len(value) > _LONGEST:
        raise _unknown(text)
    number = int(value)
    if name == "offset":
        return StreamStart(StartAt.OFFSET, number)
    if name == "timestamp":
        return StreamStart(StartAt.TIME, number if number > _MILLISECONDS else number * 1000)
    if name == "last":
        return StreamStart(StartAt.BACK, number)
    raise _unknown(text)


def _unknown(text: str) -> ValueError:
    return ValueError(
        "must be first, last, next, offset=N, timestamp=SECONDS, age=1h or last=N, not "
        f"{text[:40]!r}"
    )
