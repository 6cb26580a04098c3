"""What a SUBSCRIBE with ``browser:true`` or ``browser:follow`` asks for: its headers, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.names import Destination, check_browsable
from stompy_broker.routing.message_state import MessageState
from stompy_broker.routing.reading import StreamStart
from stompy_broker.routing.selection import Selection
from stompy_broker.selectors.selector import compile_selector
from stompy_broker.session.header_values import boolean, whole_number
from stompy_broker.session.stream_request import read_reading

BROWSER = "browser"

_FOLLOW = "follow"
_STATES = {
    "present": frozenset((MessageState.READY, MessageState.UNACKED)),
    "ready": frozenset((MessageState.READY,)),
    "unacked": frozenset((MessageState.UNACKED,)),
    "delayed": frozenset((MessageState.DELAYED,)),
    "scheduled": frozenset((MessageState.SCHEDULED,)),
    "all": frozenset(MessageState),
}
_LONGEST_TIME = 15


@dataclass(frozen=True, slots=True)
class BrowseRequest:
    """What a client wants to look at.

    Attributes:
        destination: a queue, or a pattern of queues.
        id: the client's id for it; None if a 1.0 client gave none.
        selection: which messages, beside where they are.
        states: where they are.
        offset: how many of those to leave out first.
        limit: how many to show at most; None = all.
        headers_only: whether without their bodies.
        follow: whether to show what comes later as well.
        start: where in a stream to begin; None = at its oldest message.
    """

    destination: Destination
    id: str | None
    selection: Selection
    states: frozenset[MessageState]
    offset: int
    limit: int | None
    headers_only: bool
    follow: bool
    start: StreamStart | None = None


def wants_to_browse(headers: Mapping[str, str]) -> bool:
    """Whether a SUBSCRIBE asks to look at messages only.

    Raises:
        ProtocolError: it says neither yes nor no.
    """
    value = headers.get(BROWSER)
    if value is None:
        return False
    return value == _FOLLOW or boolean(BROWSER, value or "false", f"true, false or {_FOLLOW}")


def read_browse(
    destination: Destination, headers: Mapping[str, str], *, is_stream: bool = False
) -> BrowseRequest:
    """Read what a SUBSCRIBE with ``browser:true`` asks for.

    Args:
        destination: what it looks at.
        headers: of the frame.
        is_stream: whether that is a stream.

    Raises:
        ProtocolError: it is no queue, or a header does not fit.
    """
    check_browsable(destination)
    reading = read_reading(headers) if is_stream else None
    limit = headers.get("browser-limit")
    return BrowseRequest(
        destination,
        headers.get("id"),
        Selection(selector=_selector(headers), since=_time(headers)),
        _states(headers.get("browser-state", "present")),
        whole_number("browser-offset", headers.get("browser-offset", "0")),
        None if limit is None else whole_number("browser-limit", limit),
        boolean("browser-headers-only", headers.get("browser-headers-only", "false")),
        headers.get(BROWSER) == _FOLLOW,
        None if reading is None else reading.start,
    )


def _states(word: str) -> frozenset[MessageState]:
    states = _STATES.get(word)
    if states is None:
        words = ", ".join(_STATES)
        raise ProtocolError(
            ErrorCode.BAD_HEADER, f"browser-state must be one of {words}, not {word[:40]!r}"
        )
    return states


def _selector(headers: Mapping[str, str]) -> str:
    text = headers.get("selector")
    return "" if text is None else compile_selector(text).text


def _time(headers: Mapping[str, str]) -> int:
    value = headers.get("browser-timestamp", "0")
    if not (value.isascii() and value.isdigit()) or len(value) > _LONGEST_TIME:
        raise ProtocolError(
            ErrorCode.BAD_HEADER,
            f"browser-timestamp must be milliseconds since the epoch, not {value[:40]!r}",
        )
    return int(value)
