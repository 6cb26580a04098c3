"""What the headers of a client's frames mean, where that takes more than a look."""

from __future__ import annotations

from collections.abc import Mapping

from stompy.errors import ErrorCode, ProtocolError
from stompy.protocol.frame import AckMode

PREFETCH_HEADERS = ("prefetch-count", "activemq.prefetchSize", "prefetch")

_TRUE = frozenset(("true", "1", "yes"))
_FALSE = frozenset(("false", "0", "no"))

_LONGEST_NUMBER = 12


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
        ProtocolError: it is no number.
    """
    name = next((name for name in PREFETCH_HEADERS if name in headers), None)
    return usual if name is None else whole_number(name, headers[name])


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
