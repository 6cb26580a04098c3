"""The messages of a queue as a table: a row for each, and its headers as a dictionary."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Literal, get_args

from stompy.data_table import DataTable
from stompy_broker.admin.queries import FoundMessage

BodyForm = Literal["auto", "text", "bytes", "json", "none"]
"""How bodies stand in a table; see `QueueView.table`."""

FORMS: tuple[str, ...] = get_args(BodyForm)
"""The words for it."""

COLUMNS = (
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
)
"""Columns before the body. Times are milliseconds since the epoch, None where there is none."""


def message_table(messages: Iterable[FoundMessage], body: BodyForm) -> DataTable:
    """Make a table of messages.

    Args:
        messages: what was found, with bodies unless none are wanted.
        body: how these stand in it.
    """
    rows: list[list[object]] = []
    objects: list[Mapping[str, object]] = []
    for message, state, due in messages:
        headers = message.head.text_headers()
        row: list[object] = [
            message.sequence,
            message.message_id,
            state.value,
            message.head.priority,
            message.deliveries,
            message.received_at,
            due or None,
            message.expires or None,
            message.size,
            headers.get("content-type"),
            headers,
        ]
        if body != "none":
            octets = message.body or b""
            row.append(_in_form(octets, body))
            objects.append(_as_object(octets) if body == "json" else {})
        rows.append(row)
    if body == "none":
        return DataTable(COLUMNS, rows)
    keys = list(dict.fromkeys(key for one in objects for key in one))
    for row, one in zip(rows, objects, strict=True):
        row += [one.get(key) for key in keys]
    return DataTable((*COLUMNS, "body", *(f"body.{key}" for key in keys)), rows)


def _in_form(octets: bytes, form: BodyForm) -> str | bytes:
    if form == "bytes":
        return octets
    if form == "text":
        return octets.decode("utf-8", "replace")
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets


def _as_object(octets: bytes) -> Mapping[str, object]:
    """The JSON object that a body is; empty if it is none."""
    try:
        value = json.loads(octets)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
