"""One subscription to the broker's own topics, ``/topic/$SYS.…``.

It is no consumer of a queue: nothing is stored for it and nothing is counted. What it is offered
is shared with everybody who asked for the same. A client that does not keep up gets the newest
snapshot when it has room again, and misses those between; of events it misses the oldest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from stompy.admin.rows import Kind
from stompy.admin.snapshot import ROWS, SINGLE, Format, Mode, field_names
from stompy.errors import ErrorCode, ProtocolError
from stompy.protocol.headers import Version, escape
from stompy_broker.destinations.matcher import Matcher
from stompy_broker.destinations.names import Destination, check_pattern
from stompy_broker.message import Message
from stompy_broker.selectors.selector import Selector
from stompy_broker.session.output import OutputBuffer

SYSTEM = "$SYS."
_EVENTS = "$SYS.event."
_QUEUE = "$SYS.queue."
_PLAIN = tuple(kind for kind in ROWS if kind not in (Kind.QUEUE, Kind.EVENT))

DEFAULT_INTERVAL, LEAST_INTERVAL, MOST_INTERVAL = 1000, 250, 3_600_000
"""Milliseconds between two snapshots."""

EVENTS_WAITING = 256
"""Events that wait for a client that does not keep up."""

_Word = TypeVar("_Word", Format, Mode)

_LONGEST_NUMBER = 9

_REFUSED = (
    "no-local",
    "activemq.noLocal",
    "durable",
    "durable-subscription-name",
    "activemq.subscriptionName",
)


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """What one stream of snapshots holds; whoever asks for the same shares it.

    Attributes:
        kind: what the rows are.
        name: of the queue, for `Kind.QUEUE`.
        format: how rows are written.
        mode: whether everything is repeated each time.
        interval_ms: between two snapshots.
        fields: which fields, in the order of the schema.
        own: whether without the rows of other brokers of the cluster: it is one of those that asks.
    """

    kind: Kind
    name: str
    format: Format
    mode: Mode
    interval_ms: int
    fields: tuple[str, ...]
    own: bool = False

    @property
    def topic(self) -> str:
        """Where it is published, without prefix."""
        return f"{SYSTEM}{self.kind}.{self.name}" if self.name else f"{SYSTEM}{self.kind}"


class SysSubscription:
    """A subscription to ``$SYS`` topics: writes what it is offered while there is room.

    Args:
        subscription_id: the client's id; None for a 1.0 client that gave none.
        output: where to.
        version: how.
        own: id of the connection, told in the header ``self``.
        note: what of its headers has no effect, told in the header ``note``; empty = nothing.
        selector: which messages it takes, by their headers; None = all of them.

    Attributes:
        written: messages so far.
        octets: size of their bodies.
        dropped: snapshots and events that were missed.
        closed: whether it has ended.
        selector: which messages it takes; None = all of them.
    """

    def __init__(
        self,
        subscription_id: str | None,
        output: OutputBuffer,
        version: Version,
        own: str,
        note: str = "",
        selector: Selector | None = None,
    ) -> None:
        self.selector = selector
        self.written = 0
        self.octets = 0
        self.dropped = 0
        self.closed = False
        self._output = output
        self._version = version
        self._room = True
        self._writing: deque[Message] = deque()
        self._newest: dict[StreamSpec, Sequence[Message]] = {}
        self._events: deque[Message] = deque(maxlen=EVENTS_WAITING)
        prefix = "MESSAGE\n"
        if subscription_id is not None:
            prefix += f"subscription:{escape(subscription_id, version)}\n"
        if note:
            prefix += f"note:{escape(note, version)}\n"
        prefix += f"self:{own}\nmessage-id:"
        self._prefix = prefix.encode("utf-8", "surrogateescape")

    def behind(self, stream: StreamSpec) -> bool:
        """Whether a snapshot of a stream still waits, so that the next takes its place."""
        return stream in self._newest

    def offer(self, stream: StreamSpec, pages: Sequence[Message]) -> None:
        """Write a snapshot, now or when there is room; it takes the place of one that waits."""
        selector = self.selector
        if selector is not None:
            pages = [page for page in pages if selector.matches(page)]
            if not pages:
                return
        self.dropped += stream in self._newest
        self._newest[stream] = pages
        self._write()

    def tell(self, event: Message) -> None:
        """Write an event, now or when there is room."""
        if self.selector is not None and not self.selector.matches(event):
            return
        self.dropped += len(self._events) == EVENTS_WAITING
        self._events.append(event)
        self._write()

    def resume(self) -> None:
        """Write what waits, now that the output has room again."""
        self._room = not self.closed
        self._write()

    def clear(self) -> None:
        """Forget everything that waits: the subscription has ended."""
        self.closed = True
        self._room = False
        self._writing.clear()
        self._newest.clear()
        self._events.clear()

    def _write(self) -> None:
        writing = self._writing
        while self._room:
            if not writing and not self._take_next():
                return
            message = writing.popleft()
            self.written += 1
            self.octets += len(message.body or b"")
            self._room = self._output.put_message(self._prefix, message.tail(self._version))

    def _take_next(self) -> bool:
        """Choose what is next: events in their order, then the snapshot that waits longest."""
        if self._events:
            self._writing.extend(self._events)
            self._events.clear()
        elif self._newest:
            self._writing.extend(self._newest.pop(next(iter(self._newest))))
        return bool(self._writing)


def read_streams(
    destination: Destination, headers: Mapping[str, str], *, clustered: bool = False
) -> tuple[list[StreamSpec], str | None]:
    """Read what a SUBSCRIBE to ``/topic/$SYS.…`` asks for.

    Args:
        destination: the topic.
        headers: of the SUBSCRIBE.
        clustered: whether the broker belongs to a cluster.

    Returns:
        The streams of snapshots, and the pattern of the events; None = no events.

    Raises:
        ProtocolError: there is nothing of that name, or a header does not fit.
    """
    _check_headers(headers)
    check_pattern(destination.name)
    name = destination.name
    if name.startswith(_QUEUE) and name != _QUEUE:
        return [_stream(Kind.QUEUE, name.removeprefix(_QUEUE), headers, clustered)], None
    if name.startswith(_EVENTS) and name != _EVENTS:
        return [], name.removeprefix(_EVENTS)
    matcher: Matcher[str] = Matcher()
    matcher.add(name, name)
    kinds = [kind for kind in _PLAIN if matcher.match(f"{SYSTEM}{kind}")]
    if not clustered and len(kinds) > 1:
        # Who wants everything gets nothing about what there is not; who asks for it is told so.
        kinds.remove(Kind.CLUSTER)
    if not kinds:
        known = ", ".join(f"$SYS.{kind}" for kind in _PLAIN)
        raise ProtocolError(
            ErrorCode.BAD_DESTINATION,
            f"there is no topic {name[:200]!r}; there are {known}, $SYS.queue.<name> "
            "and $SYS.event.<object>.<action>",
        )
    everything = name in ("$SYS.>", "$SYS.#")
    streams = [_stream(kind, "", headers, clustered) for kind in kinds]
    return streams, ">" if everything else None


def remarks(
    streams: Sequence[StreamSpec], headers: Mapping[str, str], *, clustered: bool = False
) -> str:
    """Say what of the headers of a SUBSCRIBE has no effect; empty = nothing.

    It is no error: a later version of the client may know fields that this one does not.

    Args:
        streams: what was read of it.
        headers: of the SUBSCRIBE.
        clustered: whether the broker belongs to a cluster.
    """
    words = []
    if not clustered and any(stream.kind is Kind.CLUSTER for stream in streams):
        words.append("this broker belongs to no cluster")
    known = {name for stream in streams for name in field_names(stream.kind, clustered=clustered)}
    asked = {word.strip() for word in headers.get("fields", "").split(",")} - {""}
    unknown = sorted(asked - known) if streams else []
    if unknown:
        words.append(f"there is no field {', '.join(unknown)[:200]}")
    given = headers.get("interval")
    if streams and given is not None and given.lstrip("0") != str(streams[0].interval_ms):
        words.append(f"the interval is {streams[0].interval_ms} ms")
    return "; ".join(words)


def _check_headers(headers: Mapping[str, str]) -> None:
    if headers.get("ack", "auto") != "auto":
        raise ProtocolError(ErrorCode.BAD_HEADER, "$SYS topics are read with ack:auto")
    found = next((name for name in _REFUSED if headers.get(name, "false") != "false"), None)
    if found is not None:
        raise ProtocolError(ErrorCode.BAD_HEADER, f"$SYS topics do not have {found!r}")


def _stream(kind: Kind, name: str, headers: Mapping[str, str], clustered: bool) -> StreamSpec:
    names = field_names(kind, clustered=clustered)
    asked = headers.get("fields", "")
    if asked:
        some = {word.strip() for word in asked.split(",")}
        key = "name" if "name" in names else "id"
        # Others belong to kinds that were asked for together, or to later versions.
        names = tuple(field for field in names if field in some or field == key)
    single = kind in SINGLE
    return StreamSpec(
        kind,
        name,
        Format.OBJECTS if single else _one_of(Format, "format", headers, Format.OBJECTS),
        Mode.FULL if single else _one_of(Mode, "mode", headers, Mode.FULL),
        _interval(headers.get("interval", str(DEFAULT_INTERVAL))),
        names,
    )


def _one_of(words: type[_Word], name: str, headers: Mapping[str, str], usual: _Word) -> _Word:
    try:
        return words(headers.get(name, usual))
    except ValueError:
        raise ProtocolError(
            ErrorCode.BAD_HEADER, f"{name} must be one of {', '.join(words)}"
        ) from None


def _interval(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > _LONGEST_NUMBER:
        raise ProtocolError(
            ErrorCode.BAD_HEADER, f"interval must be milliseconds, not {text[:40]!r}"
        )
    return min(max(int(text), LEAST_INTERVAL), MOST_INTERVAL)
