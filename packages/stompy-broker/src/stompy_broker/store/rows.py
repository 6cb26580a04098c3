"""Messages as rows of the database: how they are read back, and their checksums.

SQLite does not notice when a disk gives back other bits than were written, unless they are its own.
So each message has a checksum over all of its row that never changes. What does not fit is damaged:
it is given to nobody, and its row stays where it is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from zlib import crc32

from stompy_broker.message import (
    Message,
    MessageHead,
    MessageTraits,
    earlier_deliveries,
    group_in,
    retains_in,
    stamp,
)
from stompy_broker.store.base import Restored
from stompy_broker.store.batch import Damaged

SIZED, STAMPED, PRIORITY = 1, 2, 2
"""The flags of a row: two bits, then the priority."""


def _of_body(what: str) -> str:
    return (
        "CASE typeof(message.body) WHEN 'integer' "
        f"THEN (SELECT {what.format('shared.body')} FROM body AS shared "
        "WHERE shared.id = message.body) "
        f"ELSE {what.format('message.body')} END"
    )


BODY = _of_body("{}")
"""The body of a row, wherever it is."""

BODY_LENGTH = _of_body("length({})")
"""Its length; written like this SQLite need not read the body."""

CONTENT = f"sequence, queue, received, expires, flags, message_id, head, {BODY}, checksum"
"""What `check_content` looks at."""

UNKNOWN_QUEUE = "?"
"""Instead of a destination, where it cannot be told any more."""

_LAST = 2**63 - 1

_HEADS = 128
"""So many different heads are remembered while messages are restored."""


def checksum_of_head(
    queue: int, received: int, expires: int, flags: int, message_id: bytes | None, head: bytes
) -> int:
    """What the checksums of messages that differ in place and body only have in common."""
    return crc32(
        head, crc32(b"%d %d %d %d %b" % (queue, received, expires, flags, message_id or b""))
    )


def checksum(of_head: int, sequence: int, body: bytes) -> int:
    """Of a message. A single bit that changes anywhere gives another one."""
    return crc32(body, (of_head ^ sequence ^ sequence >> 32) & 0xFFFFFFFF)


def check_content(row: Sequence[Any]) -> str:
    """What is wrong with a row of `CONTENT`, as it came from the disk; empty = nothing."""
    sequence, queue, received, expires, flags, message_id, head, body, expected = row
    try:
        of_head = checksum_of_head(queue, received, expires, flags, message_id, head)
        found = checksum(of_head, sequence, body)
    except (TypeError, ValueError, OverflowError) as error:
        return f"its row is garbled: {error}"
    return "" if expected in (None, found) else "its checksum does not fit"


def restored_messages(
    connection: sqlite3.Connection,
    queues: Mapping[str, int],
    damaged: dict[int, Damaged],
    *,
    all_maybe_redelivered: bool = False,
) -> Iterator[Restored]:
    """Every message on disk by sequence, without its body.

    Args:
        connection: an open database.
        queues: the numbers of the queues by destination.
        damaged: messages that are passed over. Those whose row makes no sense are added.
        all_maybe_redelivered: whether each may have been delivered without a trace.

    Raises:
        sqlite3.Error: the database is damaged.
    """
    names = {number: destination for destination, number in queues.items()}
    heads: dict[tuple[object, ...], MessageHead] = {}
    at, last_received = b"", -1
    (doubtful,) = connection.execute("SELECT doubtful FROM state").fetchone()
    if all_maybe_redelivered:
        doubtful = _LAST
    rows = connection.execute(
        "SELECT sequence, queue, received, deliveries, failures, due, holder, expires, flags, "
        "message_id, head, "
        f"{BODY_LENGTH} FROM message ORDER BY sequence"
    )
    for sequence, queue, received, deliveries, failures, due, holder, expires, *others in rows:
        if sequence in damaged:
            continue
        flags, message_id, block, length = others
        try:
            key = (block, flags, message_id)
            head = heads.get(key)
            if head is None:
                if len(heads) > _HEADS:
                    heads.clear()
                head = heads[key] = restored_head(block, flags, message_id)
            if received != last_received:
                at, last_received = stamp(received), received
            past = earlier_deliveries(
                deliveries + 0, failures + 0, perhaps_more=sequence <= doubtful
            )
            message = Message(sequence, head, None, at, past, length=length)
            message.expires = expires + 0
            restored = Restored(names[queue], message, due + 0, holder + 0)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            known = names.get(queue, UNKNOWN_QUEUE) if isinstance(queue, int) else UNKNOWN_QUEUE
            reason = _wrong_with(connection, sequence)
            if not reason and known is UNKNOWN_QUEUE:
                raise sqlite3.DatabaseError(f"message {sequence} is in no queue") from None
            reason = reason or f"its row is garbled: {error}"
            damaged[sequence] = Damaged(sequence, known, reason)
            continue
        yield restored


def _wrong_with(connection: sqlite3.Connection, sequence: int) -> str:
    row = connection.execute(
        f"SELECT {CONTENT} FROM message WHERE sequence = ?", (sequence,)
    ).fetchone()
    return check_content(row)


def restored_head(block: bytes, flags: int, message_id: bytes | None) -> MessageHead:
    """The head of a message as its row tells it."""
    traits = MessageTraits(
        sized=bool(flags & SIZED),
        stamped=bool(flags & STAMPED),
        priority=flags >> PRIORITY,
        message_id=message_id,
        grouping=group_in(block),
        retains=retains_in(block),
    )
    return MessageHead(block, traits)
