"""Messages as rows of the database, read back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping

from stompy_broker.message import DoubtfulMessage, Message, MessageHead, stamp
from stompy_broker.store.base import Restored

SIZED, STAMPED, PRIORITY = 1, 2, 2
"""The flags of a row: two bits, then the priority."""

_HEADS = 128
"""So many different heads are remembered while messages are restored."""


def restored_messages(
    connection: sqlite3.Connection, queues: Mapping[str, int]
) -> Iterator[Restored]:
    """Every message on disk by sequence, without its body.

    Args:
        connection: an open database.
        queues: the numbers of the queues by destination.

    Raises:
        sqlite3.Error: the database is damaged.
    """
    names = {number: destination for destination, number in queues.items()}
    heads: dict[tuple[object, ...], MessageHead] = {}
    at, last_received = b"", -1
    (doubtful,) = connection.execute("SELECT doubtful FROM state").fetchone()
    rows = connection.execute(
        "SELECT sequence, queue, received, deliveries, failures, due, holder, expires, flags, "
        "message_id, head, length(body) FROM message ORDER BY sequence"
    )
    for sequence, queue, received, deliveries, failures, due, holder, expires, *others in rows:
        flags, message_id, block, length = others
        key = (block, flags, message_id)
        head = heads.get(key)
        if head is None:
            if len(heads) > _HEADS:
                heads.clear()
            head = heads[key] = restored_head(block, flags, message_id)
        if received != last_received:
            at, last_received = stamp(received), received
        kind = DoubtfulMessage if sequence <= doubtful else Message
        message = kind(sequence, head, None, at, deliveries, failures, length=length)
        message.expires = expires
        if queue not in names:
            raise sqlite3.DatabaseError(f"message {sequence} is in no queue")
        yield Restored(names[queue], message, due, holder)


def restored_head(block: bytes, flags: int, message_id: bytes | None) -> MessageHead:
    """The head of a message as its row tells it."""
    return MessageHead(
        block,
        sized=bool(flags & SIZED),
        stamped=bool(flags & STAMPED),
        priority=flags >> PRIORITY,
        message_id=message_id,
    )
