"""What the headers of a client's frames mean, where that takes more than a look."""

from __future__ import annotations

from collections.abc import Mapping

from stompy.errors import ErrorCode, ProtocolError
from stompy.protocol.frame import AckMode

PREFETCH_HEADERS = ("prefetch-count", "activemq.prefetchSize", "prefetch")

_TRUE = frozenset(("true", "1", "yes"))
_FALSE = frozenset(("false", "0", "no"))

_LONGEST_NUMBER = 12
_HIGHEST = 1 << 31


def ack_mode(headers: Mapping[str, str]) -> AckMode:
    """How a SUBSCRIBE wants to acknowledge.

    Raises:
        ProtocolError: in a way that there is not.
    """
    value = headers.get("ack", "auto")
    try:
        return AckMode(value)
    except ValueError:
        modes = ", ".join(AckMode)
        raise ProtocolError(
            ErrorCode.BAD_HEADER, f"ack must be one of {modes}, not {value[:40]!r}"
        ) from None


def prefetch(headers: Mapping[str, str], usual: int) -> int:
    """How many deliveries a SUBSCRIBE wants before it has to acknowledge.

    Raises:
        ProtocolError: it is no number, or said twice and differently.
    """
    names = [name for name in PREFETCH_HEADERS if name in headers]
    if not names:
        return usual
    if len(names) > 1:
        given(headers, PREFETCH_HEADERS)
    return whole_number(names[0], headers[names[0]])


def given(headers: Mapping[str, str], names: tuple[str, ...]) -> tuple[str, str]:
    """The header that is there of several names for one thing: its name and value.

    Returns:
        The first name and an empty text if there is none.

    Raises:
        ProtocolError: two of them are there, and say different things.
    """
    found = [(name, headers[name]) for name in names if headers.get(name)]
    for name, value in found[1:]:
        if value != found[0][1]:
            raise ProtocolError(
                ErrorCode.BAD_HEADER,
                f"{found[0][0]} and {name} mean the same; they are {found[0][1][:40]!r} and "
                f"{value[:40]!r}",
            )
    return found[0] if found else (names[0], "")


def limit(name: str, value: str) -> int:
    """The value of a header that is a number, or -1 for none; an empty one is -1 as well.

    Raises:
        ProtocolError: it is neither.
    """
    return -1 if value in ("", "-1") else whole_number(name, value)


def priority(name: str, value: str) -> int:
    """The priority of a consumer that a header says, or 0 if it says nothing.

    Raises:
        ProtocolError: it is no whole number of 32 bits.
    """
    number = (
        -whole_number(name, value[1:]) if value[:1] == "-" else whole_number(name, value or "0")
    )
    if not -_HIGHEST <= number < _HIGHEST:
        raise ProtocolError(
            ErrorCode.BAD_HEADER,
            f"{name} must be from {-_HIGHEST} to {_HIGHEST - 1}, not {number}",
        )
    return number


def whole_number(name: str, value: str) -> int:
    """The value of a header that is a number.

    Raises:
        ProtocolError: it is none.
    """
    if not (value.isascii() and value.isdigit()) or len(value) > _LONGEST_NUMBER:
        raise ProtocolError(
            ErrorCode.BAD_HEADER, f"{name} must be a whole number, not {value[:40]!r}"
        )
    return int(value)


def boolean(name: str, value: str, words: str = "true or false") -> bool:
    """The value of a header that is true or false.

    Args:
        name: of the header.
        value: of the header.
        words: what it may be, for the error.

    Raises:
        ProtocolError: it is neither.
    """
    word = value.lower()
    if word not in _TRUE and word not in _FALSE:
        raise ProtocolError(ErrorCode.BAD_HEADER, f"{name} must be {words}, not {value[:40]!r}")
    return word in _TRUE
