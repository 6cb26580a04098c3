"""The messages of queues as rows of a table, looked at in steps. Nothing about them changes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Set
from functools import partial

from stompy.admin.sql_tables import body_value
from stompy.data_table import Value
from stompy.sql_query import SqlError
from stompy_broker.admin.asking import ask, look_through
from stompy_broker.admin.tasks import Steps
from stompy_broker.message import Message
from stompy_broker.routing.interface import Browse, Browsed, Queue
from stompy_broker.routing.message_state import MessageState
from stompy_broker.routing.selection import Selection

_EVERYWHERE = frozenset(MessageState)
PAGE_MESSAGES, PAGE_BYTES = 1000, 1024 * 1024
"""What is looked at in one step."""


def message_rows(
    queues: Iterable[Queue], columns: Set[str], most_bytes: int
) -> Steps[list[tuple[Value, ...]]]:
    """Make the rows of all messages that are in some queues now, wherever they are.

    Args:
        queues: them.
        columns: those that are wanted; the others are NULL where they would cost something.
        most_bytes: how large they may be together.

    Raises:
        SqlError: they are larger.
    """
    bodies = "body" in columns
    ends: list[tuple[Queue, int]] = []
    for queue in queues:
        look = Browse(most=0, states=_EVERYWHERE)
        told: Browsed = yield from ask(partial(queue.browse, look))
        ends.append((queue, told.last))
    found: list[tuple[Value, ...]] = []
    size = 0
    for queue, last in ends:

        def take(page: Browsed, queue: Queue = queue) -> int:
            nonlocal size
            for message, state, due in zip(page.messages, page.states, page.due, strict=True):
                if bodies and message.body is None:
                    continue  # it left before its body was read
                size += message.size if bodies else message.ram_on_disk
                found.append(_row(queue, message, state, due or None, columns))
            if size > most_bytes:
                raise SqlError(
                    "the messages are too large together; name fewer queues, or do not read body"
                )
            return len(page.messages)

        look = Browse(
            Selection(up_to=last),
            most=PAGE_MESSAGES,
            bodies=PAGE_BYTES if bodies else 0,
            states=_EVERYWHERE,
        )
        yield from look_through(queue, look, None, take)
        yield None
    return found


def _row(
    queue: Queue, message: Message, state: MessageState, due: int | None, columns: Set[str]
) -> tuple[Value, ...]:
    headers: dict[str, str] = {}
    if "headers" in columns or "content_type" in columns:
        headers = message.head.text_headers()
        headers.setdefault("timestamp", str(message.received_at))
        length = message.size - message.ram_on_disk
        headers.setdefault("content-length", str(length))
    return (
        queue.name,
        message.sequence,
        message.message_id,
        state.value,
        message.head.priority,
        message.deliveries + (state is MessageState.UNACKED),
        message.received_at if message.stamp else None,
        due,
        message.expires or None,
        message.size,
        headers.get("content-type"),
        json.dumps(headers) if "headers" in columns else None,
        body_value(message.body) if "body" in columns and message.body is not None else None,
    )
