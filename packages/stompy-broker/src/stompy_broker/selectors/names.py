"""What a name in a selector stands for, and how it is read of a message (**hot path**).

A header is looked for in the header lines as they are passed on, and nothing else is taken apart.
What the broker writes on a MESSAGE stands in no line and is taken from the message. Beside headers
there are the names that JMS and Artemis have for some.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

from stompy.protocol.headers import Version, escape
from stompy_broker.header_text import as_text, unescaped
from stompy_broker.message import OVERHEAD, Message

Reader = Callable[[Message, bytes], str | None]
"""Reads a value of a message and its header lines, of which each has LF before and behind it."""

_LF: Final = 10

_SCHEMES = {
    "/queue/": "queue://",
    "/topic/": "topic://",
    "/temp-queue/": "temp-queue://",
    "/temp-topic/": "temp-topic://",
    "/amq/queue/": "queue://",
    "/reply-queue/": "temp-queue://",
    "/reply-topic/": "temp-topic://",
    "/remote-temp-queue/": "temp-queue://",
}


def lines_of(message: Message) -> bytes:
    """The header lines in which `value_at` looks."""
    return b"\n" + message.head.block


@lru_cache(maxsize=1024)
def line_begin(name: str) -> bytes:
    """What a header's line begins with, the LF before it included."""
    written = escape(name, Version.V1_2)
    return f"\n{written}:".encode("utf-8", "surrogateescape")


def value_at(lines: bytes, begin: bytes) -> str | None:
    """The value of the first line that begins so, decoded; None if there is none."""
    start = lines.find(begin)
    if start < 0:
        return None
    start += len(begin)
    octets = lines[start : lines.index(_LF, start)]
    try:
        value = octets.decode()
    except UnicodeDecodeError:
        return as_text(unescaped(octets.decode("utf-8", "surrogateescape")))
    return unescaped(value) if "\\" in value else value


def reader_of(name: str) -> Reader | None:
    """What reads a name that is not just a header; None if it is one."""
    return _READERS.get(name)


def varies(name: str) -> bool:
    """Whether messages of one header block can differ in it."""
    return name in _VARYING


def text_of(name: str, message: Message) -> str | None:
    """What a selector sees for a name in a message; None if there is no such header."""
    lines = lines_of(message)
    reader = _READERS.get(name)
    return value_at(lines, line_begin(name)) if reader is None else reader(message, lines)


def _header(name: str) -> Reader:
    begin = line_begin(name)
    return lambda _message, lines: value_at(lines, begin)


def _first_of(*names: str) -> Reader:
    begins = tuple(map(line_begin, names))

    def read_first(_message: Message, lines: bytes) -> str | None:
        for begin in begins:
            value = value_at(lines, begin)
            if value is not None:
                return value
        return None

    return read_first


def _destination(name: str) -> Reader:
    begin = line_begin(name)

    def read_destination(_message: Message, lines: bytes) -> str | None:
        value = value_at(lines, begin)
        if value is None or "://" in value:
            return value
        if not value.startswith("/"):
            return f"queue://{value}"
        for prefix, scheme in _SCHEMES.items():
            if value.startswith(prefix):
                return scheme + value[len(prefix) :]
        return value  # JMS has no name for it

    return read_destination


def _address(_message: Message, lines: bytes) -> str | None:
    value = _DESTINATION(_message, lines)
    return None if value is None else value.rpartition("://")[2]


_DESTINATION = _destination("destination")
_CONTENT_LENGTH = line_begin("content-length")
_TIMESTAMP = line_begin("timestamp")


def _content_length(message: Message, lines: bytes) -> str | None:
    told = value_at(lines, _CONTENT_LENGTH)
    return str(message.size - OVERHEAD - len(message.head.block)) if told is None else told


def _timestamp(message: Message, lines: bytes) -> str | None:
    told = value_at(lines, _TIMESTAMP)
    return str(message.received_at) if told is None else told


def _size(message: Message, _lines: bytes) -> str:
    return str(message.size - OVERHEAD)


def _message_id(message: Message, _lines: bytes) -> str | None:
    # On a topic and on a route it is asked before any queue has given the message its number.
    return message.message_id if message.sequence else None


def _redelivered(message: Message, _lines: bytes) -> str:
    return "false" if message.redelivery is None else "true"


def _delivery_count(message: Message, _lines: bytes) -> str:
    return str(message.deliveries + 1)


def _expiration(message: Message, _lines: bytes) -> str:
    if not message.expires and message.head.traits.can_expire:
        # On a topic and on a route it is asked before any queue has taken the message.
        return str(message.head.ends_at(message.received_at))
    return str(message.expires)


def _priority(message: Message, _lines: bytes) -> str:
    return str(message.head.traits.priority)


def _delivery_mode(message: Message, _lines: bytes) -> str:
    return "PERSISTENT" if message.head.traits.persistent else "NON_PERSISTENT"


def _durable(message: Message, _lines: bytes) -> str:
    return "DURABLE" if message.head.traits.persistent else "NON_DURABLE"


_GROUP = _first_of("JMSXGroupID", "_AMQ_GROUP_ID", "x-group-id")

_READERS: Mapping[str, Reader] = {
    "content-length": _content_length,
    "delivery-count": _delivery_count,
    "message-id": _message_id,
    "redelivered": _redelivered,
    "timestamp": _timestamp,
    "AMQAddress": _address,
    "AMQDurable": _durable,
    "AMQExpiration": _expiration,
    "AMQGroupID": _GROUP,
    "AMQPriority": _priority,
    "AMQSize": _size,
    "AMQTimestamp": _timestamp,
    "AMQUserID": _header("JMSXUserID"),
    "JMSCorrelationID": _header("correlation-id"),
    "JMSDeliveryMode": _delivery_mode,
    "JMSDestination": _DESTINATION,
    "JMSExpiration": _expiration,
    "JMSMessageID": _message_id,
    "JMSPriority": _priority,
    "JMSRedelivered": _redelivered,
    "JMSReplyTo": _destination("reply-to"),
    "JMSTimestamp": _timestamp,
    "JMSType": _header("type"),
    "JMSXDeliveryCount": _delivery_count,
    "JMSXGroupID": _GROUP,
}

_VARYING = frozenset(
    name
    for name, reader in _READERS.items()
    if reader
    in (
        _content_length,
        _delivery_count,
        _expiration,
        _message_id,
        _redelivered,
        _size,
        _timestamp,
    )
)
