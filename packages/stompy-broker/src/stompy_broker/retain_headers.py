"""Headers of SEND that say that a message of a topic is kept for who subscribes later. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from stompy.errors import ErrorCode, ProtocolError

RETAIN: Final = ("x-retain", "ActiveMQ.Retain")
"""By which a sender asks for that: our name, and that of ActiveMQ."""

PLAIN_RETAIN: Final = "retain"
"""The same with exactly ``true``; any other value is the application's own."""

RETAINED: Final = "ActiveMQ.Retained"
"""On a message that was kept, beside ``retain:true``: it was there before who gets it came."""

RETAIN_HEADERS: Final = frozenset((*RETAIN, PLAIN_RETAIN))
"""All that may ask for it."""

_TAKEN_OFF: Final = (*RETAIN, RETAINED)
_TRUE: Final = frozenset(("true", "1", "yes"))
_FALSE: Final = frozenset(("false", "0", "no"))
_MARKS: Final = (b"x-retain:", b"ActiveMQ.Retain:", b"retain:true\n")


def asks_to_retain(headers: Mapping[str, str]) -> bool:
    """Whether headers ask that a message is kept; what they may not say counts as yes.

    ``retain:true`` beside `RETAINED` says that the message was kept elsewhere: whoever passes on
    what it got, with all headers, does not ask for anything.
    """
    if RETAIN_HEADERS.isdisjoint(headers):
        return False
    for name in RETAIN:
        word = headers.get(name, "").strip().lower()
        if word and word not in _FALSE:
            return True
    return headers.get(PLAIN_RETAIN) == "true" and headers.get(RETAINED, "").lower() != "true"


def check_retain(headers: Mapping[str, str]) -> None:
    """Check that headers that ask that a message is kept can be understood.

    Raises:
        ProtocolError: a value is neither yes nor no, or two names disagree.
    """
    said: dict[str, bool] = {}
    for name in RETAIN:
        word = headers.get(name, "").strip().lower()
        if word and word not in _TRUE | _FALSE:
            raise ProtocolError(
                ErrorCode.BAD_HEADER, f"{name} must be true or false, not {word[:40]!r}"
            )
        if word:
            said[name] = word in _TRUE
    if headers.get(PLAIN_RETAIN) == "true" and headers.get(RETAINED, "").lower() != "true":
        said[PLAIN_RETAIN] = True
    if len(set(said.values())) > 1:
        raise ProtocolError(
            ErrorCode.BAD_HEADER, f"{' and '.join(said)} mean the same, and disagree"
        )


def may_ask_to_retain(block: bytes) -> bool:
    """Whether a header block may ask for it, so that it is worth reading."""
    return _MARKS[0] in block or _MARKS[1] in block or _MARKS[2] in block


def without_retain(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of a message that asks that it is kept, without what asks for that."""
    return {
        name: value
        for name, value in headers.items()
        if name not in _TAKEN_OFF and (name != PLAIN_RETAIN or value != "true")
    }
