"""The rows of topics that keep a message for who subscribes later."""

from __future__ import annotations

from stompy.admin.rows import RetainedRow
from stompy_broker.admin.tasks import Steps
from stompy_broker.destinations.names import topic_text
from stompy_broker.message import Message
from stompy_broker.routing.router import Router

_AT_ONCE = 500


def retained_row(topic: str, message: Message, broker: str | None = None) -> RetainedRow:
    """Make the row of one topic.

    Args:
        topic: its name.
        message: that it keeps.
        broker: id of this broker in its cluster; None = there is none.
    """
    return RetainedRow(
        name=topic,
        destination=topic_text(topic),
        message_id=message.message_id,
        size=message.size,
        received_at=message.received_at,
        expires_at=message.expires or None,
        persistent=message.head.persistent,
        broker=broker,
    )


def retained_rows(router: Router, broker: str | None = None) -> Steps[list[RetainedRow]]:
    """Make rows of all of them, in the order in which the messages came.

    Args:
        router: where they are.
        broker: id of this broker in its cluster; None = there is none.
    """
    rows: list[RetainedRow] = []
    for number, (topic, message) in enumerate(list(router.retained.messages.items()), 1):
        rows.append(retained_row(topic, message, broker))
        if number % _AT_ONCE == 0:
            yield None
    return rows
