"""The tables of a data directory as a store uses them: one batch in, everything out.

Whoever calls `Tables.write` is alone at that time: the writer's thread, or the event loop's while
that one is idle.

**Few steps.** The interpreter's lock is given away at every step of a statement and taken again
only some milliseconds later when the event loop is busy. So rows are written many to a statement.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path

from stompy_broker.destination import Kind
from stompy_broker.store.base import Restored, StoredSubscription
from stompy_broker.store.batch import Batch
from stompy_broker.store.directory import open_database, translated
from stompy_broker.store.rows import PRIORITY, restored_messages

_ROWS = 128
"""Rows to a statement."""

_COLUMNS = (
    "sequence, queue, received, deliveries, failures, due, holder, expires, flags, message_id, "
    "head, body"
)

Row = tuple[int, int, int, int, int, int, int, int, int, bytes | None, bytes, bytes]


class Tables:
    """What is in the database of a data directory.

    Args:
        file: the database; made if need be.

    Attributes:
        connection: the only one that there is.
        queues: the numbers of the queues that have messages, by destination.

    Raises:
        StoreError: it is damaged, not ours, newer than this program, or cannot be opened.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.connection = open_database(file)
        self.queues: dict[str, int] = dict(
            self.connection.execute("SELECT destination, id FROM queue")
        )

    # -- what survived ------------------------------------------------------------------------

    def restore(self) -> Iterator[Restored]:
        """Every message on disk, without its body.

        Raises:
            StoreError: the file is damaged.
        """
        unused = set(self.queues)
        with translated(self._file):
            for restored in restored_messages(self.connection, self.queues):
                unused.discard(restored.destination)
                yield restored
            self._forget_queues(unused)

    def _forget_queues(self, destinations: Iterable[str]) -> None:
        """Take back the numbers of queues that have no message."""
        for destination in destinations:
            self.connection.execute("DELETE FROM queue WHERE destination = ?", (destination,))
            del self.queues[destination]

    def set_up_queues(self) -> Mapping[str, Mapping[str, str]]:
        """The set-up of queues on disk."""
        rows = self.connection.execute("SELECT queue, headers FROM settings")
        return {name: json.loads(headers) for name, headers in rows}

    def subscriptions(self) -> list[StoredSubscription]:
        """Every durable subscription on disk."""
        rows = self.connection.execute("SELECT name, pattern, settings FROM subscription")
        return [StoredSubscription(*row) for row in rows]

    def bodies(self, sequences: Sequence[int]) -> list[tuple[int, bytes]]:
        """The bodies of messages that are there, with their sequences.

        Raises:
            sqlite3.Error: they cannot be read.
        """
        rows: list[tuple[int, bytes]] = []
        for at in range(0, len(sequences), _ROWS):
            some = sequences[at : at + _ROWS]
            marks = ",".join("?" * len(some))
            rows += self.connection.execute(
                f"SELECT sequence, body FROM message WHERE sequence IN ({marks})", some
            )
        return rows

    # -- what comes in ------------------------------------------------------------------------

    def write(self, batch: Batch) -> None:
        """Make a batch safe, all of it or nothing.

        Raises:
            sqlite3.Error: it cannot be written.
        """
        connection = self.connection
        known = len(self.queues)
        try:
            connection.execute("BEGIN IMMEDIATE")
            self._name_queues(batch)
            self._write_messages(batch)
            self._write_settings(batch)
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            for destination in list(self.queues)[known:]:
                del self.queues[destination]
            raise
        for destination in self._gone(batch):
            self.queues.pop(destination, None)
        batch.safe = True

    def _write_messages(self, batch: Batch) -> None:
        _many(
            self.connection,
            f"INSERT OR REPLACE INTO message ({_COLUMNS}) VALUES {{}}",
            "(?,?,?,?,?,?,?,?,?,?,?,?)",
            self._rows(batch),
        )
        _many(
            self.connection,
            "UPDATE message SET deliveries = n.column2, failures = n.column3, due = n.column4, "
            "holder = n.column5 FROM (VALUES {}) AS n WHERE sequence = n.column1",
            "(?,?,?,?,?)",
            [
                (sequence, *noted)
                for sequence, noted in batch.noted.items()
                if sequence not in batch.appended
            ],
        )
        _many(
            self.connection,
            "DELETE FROM message WHERE sequence IN ({})",
            "?",
            [(sequence,) for sequence in batch.removed],
        )

    def _write_settings(self, batch: Batch) -> None:
        connection = self.connection
        for destination in self._gone(batch):
            connection.execute("DELETE FROM queue WHERE destination = ?", (destination,))
        for name, headers in batch.settings.items():
            connection.execute("DELETE FROM settings WHERE queue = ?", (name,))
            if headers is not None:
                connection.execute("INSERT INTO settings VALUES (?,?)", (name, json.dumps(headers)))
        for name, kept in batch.kept.items():
            connection.execute("DELETE FROM subscription WHERE name = ?", (name,))
            if kept is not None:
                connection.execute(
                    "INSERT INTO subscription VALUES (?,?,?)", (name, kept.pattern, kept.settings)
                )

    def _gone(self, batch: Batch) -> list[str]:
        """The destinations of queues that ended, and did not begin again in this batch."""
        gone = [name for name, headers in batch.settings.items() if headers is None]
        if not gone:
            return []
        begun = {destination for destination, _ in batch.appended.values()}
        names = (f"{Kind.QUEUE.value}{name}" for name in gone)
        return [name for name in names if name in self.queues and name not in begun]

    def _name_queues(self, batch: Batch) -> None:
        """Give numbers to the queues that have none."""
        for destination in {destination for destination, _ in batch.appended.values()}:
            if destination not in self.queues:
                cursor = self.connection.execute(
                    "INSERT INTO queue (destination) VALUES (?)", (destination,)
                )
                assert cursor.lastrowid is not None
                self.queues[destination] = cursor.lastrowid

    def _rows(self, batch: Batch) -> list[Row]:
        rows: list[Row] = []
        noted, queues = batch.noted.get, self.queues
        received, last_stamp = 0, b""
        for sequence, (destination, message) in batch.appended.items():
            head = message.head
            if message.stamp is not last_stamp:
                received, last_stamp = message.received_at, message.stamp
            now = noted(sequence) or (message.deliveries, message.failures, 0, 0)
            flags = head.sized | head.stamped << 1 | head.priority << PRIORITY
            rows.append(
                (
                    sequence,
                    queues[destination],
                    received,
                    *now,
                    message.expires,
                    flags,
                    head.message_id,
                    head.block,
                    message.body or b"",
                )
            )
        return rows


def _many(
    connection: sqlite3.Connection, statement: str, row: str, rows: Sequence[tuple[object, ...]]
) -> None:
    """Run a statement for many rows, as few times as possible, with few different texts."""
    size, at = _ROWS, 0
    while at < len(rows):
        while size > len(rows) - at:
            size //= 2
        values = list(chain.from_iterable(rows[at : at + size]))
        connection.execute(_text(statement, row, size), values)
        at += size


@lru_cache(maxsize=64)
def _text(statement: str, row: str, size: int) -> str:
    return statement.format(",".join([row] * size))
