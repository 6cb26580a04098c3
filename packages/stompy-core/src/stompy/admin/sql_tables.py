"""The tables that SQL sees of a broker: their columns, and rows as values. Pure."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence

from stompy.admin.rows import (
    ConnectionRow,
    Event,
    Kind,
    QueueRow,
    ReaderRow,
    RetainedRow,
    Row,
    SubscriptionRow,
)
from stompy.admin.settlements import HISTORY_COLUMNS
from stompy.data_table import Value
from stompy.protocol.frame import STOMPFrame

MESSAGES = "messages"
EVENTS = "events"
HISTORY = "history"

MESSAGE_COLUMNS = (
    "queue",
    "sequence",
    "message_id",
    "state",
    "priority",
    "deliveries",
    "received_at",
    "due_at",
    "expires_at",
    "size",
    "content_type",
    "headers",
    "body",
)

KINDS: Mapping[str, Kind] = {
    "queues": Kind.QUEUES,
    "connections": Kind.CONNECTIONS,
    "subscriptions": Kind.SUBSCRIPTIONS,
    "readers": Kind.READERS,
    "retained": Kind.RETAINED,
}
"""The tables that are snapshots of the admin topics."""


def _fields(kind: type[Row]) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


TABLES: Mapping[str, tuple[str, ...]] = {
    MESSAGES: MESSAGE_COLUMNS,
    "queues": _fields(QueueRow),
    "connections": _fields(ConnectionRow),
    "subscriptions": _fields(SubscriptionRow),
    "readers": _fields(ReaderRow),
    "retained": _fields(RetainedRow),
    EVENTS: _fields(Event),
    HISTORY: HISTORY_COLUMNS,
}
"""All tables and their columns."""


def _header(name: str) -> str:
    return f"json_extract(headers, '$.\"{name}\"')"


VIEWS: Mapping[str, str] = {
    "dead_letters": (
        f"SELECT {', '.join(MESSAGE_COLUMNS)}, "
        f"{_header('x-last-death-queue')} AS died_in, "
        f"{_header('x-last-death-reason')} AS reason, "
        f"CAST({_header('x-death-count')} AS INTEGER) AS deaths, "
        f"{_header('x-death-time')} AS died_at, "
        f"{_header('x-death-info')} AS info, "
        f"{_header('original-destination')} AS origin "
        f"FROM messages WHERE {_header('x-last-death-reason')} IS NOT NULL"
    )
}
"""Tables that are made of others."""

ABSENT: Mapping[str, str] = {
    "history": "there is no table history here; ask the broker that runs on these files"
}
"""Tables that somebody may look for in the files of a broker."""


def row_values(columns: Sequence[str], row: Row) -> tuple[Value, ...]:
    """The values of a row; what is no single value as JSON."""
    return tuple(_value(getattr(row, name)) for name in columns)


def _value(value: object) -> Value:
    if value is None or isinstance(value, float | bytes):
        return value
    if isinstance(value, int):  # also what is true or false
        return int(value)
    if isinstance(value, str):
        return str(value)
    return json.dumps(value, default=_plain)


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return str(value)


_OF_DELIVERY = frozenset(
    ("ack", "delivery-count", "due-at", "expires-at", "message-id", "redelivered", "state")
) | {"subscription", "body-length"}
"""Headers that tell of a look, and not of the message."""


def shown_message(queue: str, frame: STOMPFrame) -> tuple[Value, ...]:
    """The row of a message that a browser was shown.

    Args:
        queue: the name of its queue.
        frame: the MESSAGE.
    """
    headers = frame.Headers
    kept = {name: value for name, value in headers.items() if name not in _OF_DELIVERY}
    message_id = headers.get("message-id", "")
    length = _whole(headers.get("body-length")) or len(frame.Body)
    return (
        queue,
        _whole(message_id),
        message_id,
        headers.get("state", "ready"),
        _whole(headers.get("priority", "4")),
        _whole(headers.get("delivery-count")),
        _whole(headers.get("timestamp")),
        _whole(headers.get("due-at")),
        _whole(headers.get("expires-at")),
        length + sum(len(name) + len(value) + 2 for name, value in kept.items()) + _OVERHEAD,
        headers.get("content-type"),
        json.dumps(kept),
        body_value(frame.Body),
    )


def body_value(body: bytes) -> str | bytes:
    """A body as text if it is UTF-8, else as it is."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body


_OVERHEAD = 200
"""Bytes that the broker adds to the size of a message."""


def _whole(text: str | None) -> int | None:
    """A number of a header; None if it is none that a table can hold."""
    if text is None or not (text.isascii() and text.isdigit()) or int(text) >= 1 << 63:
        return None
    return int(text)
