"""NATS' client protocol without input and output: bytes become events, and wishes bytes.

A foreign client takes 15 times as long for a message, most of it for tasks and futures that nobody
here needs. So this speaks just what a log asks of a server: PUB and HPUB, SUB, MSG and HMSG.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

_CRLF = b"\r\n"

_LONGEST_LINE = 1 << 20
"""An INFO names all the servers of a cluster; everything else is far shorter."""

_LARGEST = 64 * 1024 * 1024
"""Servers take at most so much in one message."""

_USUAL_PAYLOAD = 1024 * 1024

_VERSION_LINE = b"NATS/1.0"

_STATUS_DIGITS = 3


class NATSError(Exception):
    """A server cannot be used, or has refused something; the text says why."""


class NATSProtocolError(NATSError):
    """What came is not NATS' protocol."""


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server says about itself.

    Attributes:
        name: of the server, unique in its cluster.
        version: as three numbers.
        max_payload: bytes that it takes in one message, header included.
        tls_required: whether it goes on with TLS only.
        tls_available: whether it can.
        jetstream: whether it stores anything.
        leaving: whether it is about to stop, and asks its clients to go elsewhere.
        others: host and port of the servers that it knows.
    """

    name: str = ""
    version: tuple[int, ...] = ()
    max_payload: int = _USUAL_PAYLOAD
    tls_required: bool = False
    tls_available: bool = False
    jetstream: bool = False
    leaving: bool = False
    others: tuple[str, ...] = ()


class NATSMessage(NamedTuple):
    """What came to one of our subscriptions.

    Attributes:
        subject: where it was sent.
        number: of the subscription.
        reply: where an answer goes; empty = nowhere.
        body: what it says.
        status: a number that the server itself says, 503 for instance; 0 = none.
        headers: by name, as they were written; of those that repeat the last.
    """

    subject: str
    number: int
    reply: str
    body: bytes
    status: int = 0
    headers: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class ServerFault:
    """What a server complains about.

    Attributes:
        text: in its words.
    """

    text: str

    @property
    def fatal(self) -> bool:
        """Whether it closes the connection: all but what is about a single subject."""
        return not self.text.lower().startswith(("permissions violation", "invalid subject"))


class Ping(NamedTuple):
    """The server wants to hear a PONG."""


class Pong(NamedTuple):
    """The server has worked through all that was before our PING."""


Event = ServerInfo | NATSMessage | ServerFault | Ping | Pong


@dataclass(slots=True)
class _Pending:
    """A message whose line was read; so many bytes of it are yet to come."""

    message: NATSMessage
    head: int
    total: int


class Parser:
    """Makes events of what a server sends, however it is cut.

    Once it has raised, it cannot be used any more.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0  # so many bytes hold no end of a line
        self._pending: _Pending | None = None

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes, and give what is complete now.

        Raises:
            NATSProtocolError: they are something else.
        """
        buffer = self._buffer
        buffer += data
        events: list[Event] = []
        at = 0
        while True:
            pending = self._pending
            if pending is None:
                end = buffer.find(_CRLF, max(at, self._searched))
                if end < 0:
                    if len(buffer) - at > _LONGEST_LINE:
                        raise NATSProtocolError(f"a line of more than {_LONGEST_LINE} bytes")
                    self._searched = max(at, len(buffer) - 1)
                    break
                line = bytes(buffer[at:end])
                at, self._searched = end + 2, 0
                event = self._read_line(line)
                if event is not None:
                    events.append(event)
            else:
                end = at + pending.total
                if len(buffer) < end + 2:
                    break
                if buffer[end : end + 2] != _CRLF:
                    raise NATSProtocolError("a message is longer than its line says")
                events.append(_complete(pending, bytes(memoryview(buffer)[at:end])))
                self._pending = None
                at = end + 2
        del buffer[:at]
        self._searched = max(0, self._searched - at)
        return events

    def _read_line(self, line: bytes) -> Event | None:
        verb, _, rest = line.partition(b" ")
        match verb.upper():
            case b"MSG":
                self._pending = _expect(rest, with_head=False)
                return None
            case b"HMSG":
                self._pending = _expect(rest, with_head=True)
                return None
            case b"PING":
                return Ping()
            case b"PONG":
                return Pong()
            case b"+OK":
                return None
            case b"-ERR":
                return ServerFault(_text(rest).strip().strip("'"))
            case b"INFO":
                return _read_info(rest)
        raise NATSProtocolError(f"{_text(line[:40])!r} is none of its lines")


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "replace")


_FEWEST, _MOST = 3, 4
"""Words in the line of a MSG: subject, subscription, perhaps where an answer goes, length."""


def _expect(rest: bytes, *, with_head: bool) -> _Pending:
    words = rest.split()
    try:
        total = int(words.pop())
        head = int(words.pop()) if with_head else 0
        if not (_FEWEST - 1 <= len(words) <= _MOST - 1 and 0 <= head <= total <= _LARGEST):
            raise ValueError
        reply = words[2].decode() if len(words) == _MOST - 1 else ""
        message = NATSMessage(words[0].decode(), int(words[1]), reply, b"")
    except (ValueError, IndexError):
        raise NATSProtocolError(f"MSG {_text(rest[:80])!r} makes no sense") from None
    return _Pending(message, head, total)


def _complete(pending: _Pending, octets: bytes) -> NATSMessage:
    message = pending.message
    if not pending.head:
        return message._replace(body=octets)
    status, headers = read_headers(octets[: pending.head])
    return message._replace(body=octets[pending.head :], status=status, headers=headers)


def read_headers(head: bytes) -> tuple[int, dict[str, str]]:
    """The status of a message, or 0, and its headers.

    Raises:
        NATSProtocolError: they are something else.
    """
    first, *lines = head.split(_CRLF)
    if not first.startswith(_VERSION_LINE):
        raise NATSProtocolError(f"{_text(first[:40])!r} begins no headers")
    code = first[len(_VERSION_LINE) :].strip()[:_STATUS_DIGITS]
    if code and not code.isdigit():
        raise NATSProtocolError(f"{_text(code)!r} is no status")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if colon:
            headers[_text(name)] = _text(value).strip()
    return int(code or 0), headers


def _read_info(rest: bytes) -> ServerInfo:
    try:
        told = json.loads(rest)
        return ServerInfo(
            name=str(told.get("server_name", "")),
            version=read_version(str(told.get("version", ""))),
            max_payload=int(told.get("max_payload", _USUAL_PAYLOAD)),
            tls_required=bool(told.get("tls_required")),
            tls_available=bool(told.get("tls_available")),
            jetstream=bool(told.get("jetstream")),
            leaving=bool(told.get("ldm")),
            others=tuple(map(str, told.get("connect_urls") or ())),
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise NATSProtocolError(f"INFO makes no sense: {error}") from None


def read_version(text: str) -> tuple[int, ...]:
    """The numbers of a version; what stands behind a hyphen does not count."""
    numbers = text.removeprefix("v").partition("-")[0].split(".")
    return tuple(int(number) for number in numbers if number.isdigit())


@dataclass(frozen=True, slots=True)
class NATSLogin:
    """How to log in.

    Attributes:
        user: its name; empty = none.
        password: of the user.
        token: instead of both.
    """

    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)


def connect(name: str, version: str, login: NATSLogin, *, tls: bool) -> bytes:
    """The line that a client introduces itself with."""
    options: dict[str, object] = {
        "verbose": False,
        "pedantic": False,
        "tls_required": tls,
        "lang": "python",
        "name": name,
        "version": version,
        "protocol": 1,
        "headers": True,
        "no_responders": True,
    }
    if login.token:
        options["auth_token"] = login.token
    elif login.user:
        options["user"] = login.user
        options["pass"] = login.password
    return b"CONNECT %b\r\n" % json.dumps(options).encode()


PING = b"PING\r\n"
PONG = b"PONG\r\n"


def check_subject(subject: str) -> str:
    """A subject as it may stand in a line.

    Raises:
        ValueError: it cannot.
    """
    if not subject or not subject.isprintable() or any(map(str.isspace, subject)):
        raise ValueError(f"{subject!r} is no subject")
    return subject


def publish(
    subject: str, body: bytes, *, reply: str = "", headers: Mapping[str, str] | None = None
) -> bytes:
    """A message to a subject.

    Raises:
        ValueError: a subject or header that would tear the line.
    """
    target = check_subject(subject).encode()
    if reply:
        target += b" " + check_subject(reply).encode()
    if not headers:
        return b"PUB %b %d\r\n%b\r\n" % (target, len(body), body)
    head = write_headers(headers)
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (target, len(head), len(head) + len(body), head, body)


def write_headers(headers: Mapping[str, str]) -> bytes:
    """Headers as they stand before a body.

    Raises:
        ValueError: one would tear its line.
    """
    for name, value in headers.items():
        torn = "\r" in value or "\n" in value or not name.isprintable()
        if torn or not name or ":" in name or " " in name:
            raise ValueError(f"{name!r}: {value!r} is no header")
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return b"NATS/1.0\r\n%b\r\n" % lines.encode()


def subscribe(subject: str, number: int) -> bytes:
    """A subscription, numbered by the client.

    Raises:
        ValueError: it is no subject.
    """
    return b"SUB %b %d\r\n" % (check_subject(subject).encode(), number)


def unsubscribe(number: int) -> bytes:
    """The end of a subscription."""
    return b"UNSUB %d\r\n" % number
