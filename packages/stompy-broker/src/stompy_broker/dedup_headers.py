"""Headers by which a sender says that a message is to be taken once. Pure.

A *duplicate id* is what a sender calls a message in its own words: who sends it again, because it
does not know what became of it, gives the same one. Four names mean the same; the broker passes on
the one that came.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from stompy.errors import ErrorCode, ProtocolError

DUPLICATE_ID: Final = ("dedup-id", "_AMQ_DUPL_ID", "x-deduplication-header", "Nats-Msg-Id")
"""What the sender calls the message: our name, and those of Artemis, RabbitMQ's plug-in, NATS."""

DUPLICATE_TTL: Final = ("dedup-ttl", "x-cache-ttl")
"""For how many milliseconds the id is known, if not for as long as the policy says."""

DUPLICATE_MODE: Final = "dedup-mode"
"""When a message with a known id is dropped."""

WINDOW: Final = "window"
"""While the id is among the last ones of its destination."""
QUEUED: Final = "queued"
"""While a message with it is in the queue."""
THROTTLE: Final = "throttle"
"""For a time after the first one."""
DEBOUNCE: Final = "debounce"
"""Never: it takes the place of the one that waits for its time, and waits anew."""

MODES: Final = (WINDOW, QUEUED, THROTTLE, DEBOUNCE)

NAMING: Final = DUPLICATE_ID[:2]
"""Those of the names that most senders write."""

FOUND_AT: Final = 3
"""Where the values of `NAMING` begin among those that `SendHeads` finds."""

DUPLICATE_HEADERS: Final = frozenset((*DUPLICATE_ID, *DUPLICATE_TTL, DUPLICATE_MODE))
"""All that a SEND may say about it."""

ORIGINAL: Final = "original-dedup-id"
"""What a dead letter calls it, so that who sends one back sends something new."""

LONGEST: Final = 256
"""Bytes of an id."""

LONGEST_TTL: Final = 366 * 24 * 3600 * 1000
"""A year, in milliseconds."""


class DuplicateId:
    """What a sender calls a message, so that it is taken once.

    Args:
        value: the id.
        ttl: for how many milliseconds it is known; 0 = as the policy says.
        mode: when another message with it is dropped: one of `MODES`.

    Attributes:
        value: as above.
        ttl: as above.
        mode: as above.
    """

    __slots__ = ("mode", "ttl", "value")

    def __init__(self, value: bytes, ttl: int = 0, mode: str = WINDOW) -> None:
        self.value = value
        self.ttl = ttl
        self.mode = mode


def found_id(found: Sequence[bytes | None] | None) -> DuplicateId | None:
    """The id among the values that `SendHeads` found in a SEND; None = there is none.

    Raises:
        ProtocolError: two of them differ, or it is too long.
    """
    assert found is not None
    first, second = found[FOUND_AT], found[FOUND_AT + 1]
    value = second if first is None else first
    if value is None:
        return None
    if first is not None and second is not None and first != second:
        raise _disagree({name: value.decode() for name in NAMING}, NAMING)
    if len(value) > LONGEST:
        raise _too_long(len(value))
    return DuplicateId(value)


def read_duplicate_id(headers: Mapping[str, str]) -> DuplicateId | None:
    """Read what a SEND says of it; None = nothing.

    Raises:
        ProtocolError: two headers mean the same and differ, or one means nothing.
    """
    if DUPLICATE_HEADERS.isdisjoint(headers):
        return None
    value = _one_of(headers, DUPLICATE_ID)
    ttl, mode = _one_of(headers, DUPLICATE_TTL), headers.get(DUPLICATE_MODE, "")
    if not value:
        if ttl or mode:
            said = DUPLICATE_MODE if mode else DUPLICATE_TTL[0]
            raise _bad(f"{said} says for how long an id is known, and there is no {_FIRST}")
        return None
    octets = value.encode("utf-8", "surrogateescape")
    if len(octets) > LONGEST:
        raise _too_long(len(octets))
    if mode and mode not in MODES:
        raise _bad(f"{DUPLICATE_MODE} must be {', '.join(MODES)}, not {mode[:40]!r}")
    found = DuplicateId(octets, _milliseconds(ttl), mode or WINDOW)
    if mode == THROTTLE and not found.ttl:
        raise _bad(f"{DUPLICATE_MODE}:{THROTTLE} needs {DUPLICATE_TTL[0]}: for how long")
    if mode in (QUEUED, DEBOUNCE) and ttl:
        raise _bad(f"{DUPLICATE_MODE}:{mode} goes by no time, and {DUPLICATE_TTL[0]} gives one")
    return found


_FIRST: Final = DUPLICATE_ID[0]


def _one_of(headers: Mapping[str, str], names: tuple[str, ...]) -> str:
    found = ""
    for name in names:
        value = headers.get(name, "")
        if value and found and value != found:
            raise _disagree(headers, names)
        found = found or value
    return found


def _milliseconds(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()) or not 0 < int(text[:15]) <= LONGEST_TTL:
        raise _bad(
            f"{DUPLICATE_TTL[0]} must be a whole number of milliseconds from 1 to {LONGEST_TTL}, "
            f"not {text[:40]!r}"
        )
    return int(text)


def _disagree(headers: Mapping[str, str], names: tuple[str, ...]) -> ProtocolError:
    there = " and ".join([name for name in names if headers.get(name)])
    return _bad(f"{there} mean the same, and differ")


def _too_long(length: int) -> ProtocolError:
    return _bad(f"{_FIRST} has {length} bytes; {LONGEST} are the limit")


def _bad(text: str) -> ProtocolError:
    return ProtocolError(ErrorCode.BAD_HEADER, text)


def without_duplicate_id(headers: dict[str, str]) -> None:
    """Have the headers of a dead letter tell what its sender called it, and no more."""
    if DUPLICATE_HEADERS.isdisjoint(headers):
        return
    value = _one_of(headers, DUPLICATE_ID)
    for name in DUPLICATE_HEADERS:
        headers.pop(name, None)
    if value:
        headers.setdefault(ORIGINAL, value)
