"""The tables of a data directory as a store uses them: one batch in, everything out.

Whoever calls `Tables.write` is alone at that time: the writer's thread, or the event loop's while
that one is idle.

**A body is stored once.** Messages that came one after the other with the very same body, as those
do that a topic gives to its durable subscribers, share it: their rows name a row of the table
``body``, which counts them and goes with the last one. Rows of other messages are as they would be
without that.

**Few steps.** The interpreter's lock is given away at every step of a statement and taken again
only some milliseconds later when the event loop is busy. So rows are written many to a statement.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stompy_broker.destinations.names import DestinationKind
from stompy_broker.store.base import Restored, StoredSubscription
from stompy_broker.store.batch import Batch, Damaged
from stompy_broker.store.directory import (
    can_shrink,
    lay_out_wal,
    mark_in_use,
    open_database,
    translated,
)
from stompy_broker.store.duplicate_rows import DuplicateRows
from stompy_broker.store.log_tables import LogTables
from stompy_broker.store.row_statement import ROWS, run_for_many
from stompy_broker.store.rows import (
    CONTENT,
    PRIORITY,
    UNKNOWN_QUEUE,
    check_content,
    checksum,
    checksum_of_head,
    restored_messages,
)

_COLUMNS = (
    "sequence, queue, received, deliveries, failures, due, holder, expires, flags, message_id, "
    "head, body, checksum"
)

_SHARED_BYTES = 256
"""Smaller bodies are not worth a row of their own."""

_KEPT_PAGES, _GIVEN_PAGES = 1024, 512
"""So many free pages are kept for what comes; so many are given back in one go."""

log = logging.getLogger("stompy_broker.store")

_LONG_WAL = 20 * 1024 * 1024
"""A WAL that is longer was needed for one large change, and is cut."""

_BODY = 11
"""The place of the body in a row."""

_NEW = (0, 0, 0, 0)
"""The counts of a message that was never delivered: see `DeliveryState`."""

Row = tuple[object, ...]


def _is_name(value: object) -> bool:
    """Whether it is text. One flipped bit makes another type of it."""
    return isinstance(value, str)


def _read_setup(name: object, headers: str) -> Mapping[str, str]:
    """The set-up of a queue as a row tells it.

    Raises:
        ValueError: it cannot be read.
        TypeError: it is something else.
    """
    setup: object = json.loads(headers)
    if not (_is_name(name) and isinstance(setup, dict) and all(map(_is_name, setup.values()))):
        raise TypeError("it is something else")
    return setup


class Tables:
    """What is in the database of a data directory.

    Args:
        file: the database; made if need be.

    Attributes:
        connection: the only one that there is.
        queues: the numbers of the queues that have messages, by destination.
        damaged: messages that are given to nobody, by sequence.
        logs: the logs that are there.
        duplicate_ids: the duplicate ids.
        last_sequence: the highest one of all messages that were there, or whose ids are.
        marked: whether the database could be marked as being in use; see `Batch.marks`.

    Raises:
        StoreError: it is damaged, not ours, newer than this program, or cannot be opened.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.connection, self.marked = open_database(file)
        with translated(file):
            rows = self.connection.execute("SELECT destination, id FROM queue")
            self.queues: dict[str, int] = {name: number for name, number in rows if _is_name(name)}
        self.damaged = {
            row[0]: Damaged(*row)
            for row in self.connection.execute("SELECT sequence, destination, reason FROM damaged")
        }
        rows = self.connection.execute(
            "SELECT max(sequence) FROM message UNION ALL SELECT max(sequence) FROM damaged "
            "UNION ALL SELECT max(sequence) FROM duplicate_id"
        )
        with translated(file):
            self.logs = LogTables(self.connection)
        self.last_sequence: int = max(self.logs.last_sequence, *(last or 0 for (last,) in rows))
        self.duplicate_ids = DuplicateRows(file, self.connection)
        (shares,) = self.connection.execute("SELECT EXISTS (SELECT 1 FROM body)").fetchone()
        self._shares = bool(shares)
        self._can_shrink = can_shrink(self.connection)

    # -- what survived ------------------------------------------------------------------------

    def restore(self) -> Iterator[Restored]:
        """Every message on disk, without its body.

        Raises:
            StoreError: the file is damaged.
        """
        unused, known = set(self.queues), set(self.damaged)
        with translated(self._file):
            for restored in restored_messages(
                self.connection, self.queues, self.damaged, all_maybe_redelivered=not self.marked
            ):
                unused.discard(restored.destination)
                yield restored
            if self.marked:
                self._forget_queues(unused)
                self._set_aside([self.damaged[one] for one in self.damaged.keys() - known])

    def _forget_queues(self, destinations: Iterable[str]) -> None:
        """Take back the numbers of queues that have no message."""
        for destination in destinations:
            self.connection.execute("DELETE FROM queue WHERE destination = ?", (destination,))
            del self.queues[destination]

    def set_up_queues(self) -> Mapping[str, Mapping[str, str]]:
        """The set-up of queues on disk."""
        found: dict[str, Mapping[str, str]] = {}
        with translated(self._file):
            for name, headers in self.connection.execute("SELECT queue, headers FROM settings"):
                try:
                    found[name] = _read_setup(name, headers)
                except (TypeError, ValueError) as error:
                    log.error(
                        "%s: the set-up of queue %r is damaged: %s; it goes by its policy",
                        self._file,
                        name,
                        error,
                    )
        return found

    def subscriptions(self) -> list[StoredSubscription]:
        """Every durable subscription on disk."""
        with translated(self._file):
            rows = self.connection.execute("SELECT name, pattern, settings FROM subscription")
            return [StoredSubscription(*row) for row in rows]

    def bodies(self, sequences: Sequence[int]) -> tuple[dict[int, bytes], list[Damaged]]:
        """The bodies of messages that are there, by sequence, and those that are damaged.

        Raises:
            sqlite3.Error: they cannot be read just now.
        """
        bodies: dict[int, bytes] = {}
        damaged: list[Damaged] = []
        for at in range(0, len(sequences), ROWS):
            some = sequences[at : at + ROWS]
            try:
                rows: Iterable[Sequence[Any]] = self._contents(some)
            except sqlite3.DatabaseError as error:
                _raise_unless_damage(error)
                rows = self._one_by_one(some, damaged)
            for row in rows:
                if reason := check_content(row):
                    damaged.append(Damaged(row[0], self._name(row[1]), reason))
                else:
                    bodies[row[0]] = row[7]
        return bodies, damaged

    def _contents(self, sequences: Sequence[int]) -> list[Sequence[Any]]:
        marks = ",".join("?" * len(sequences))
        return self.connection.execute(
            f"SELECT {CONTENT} FROM message WHERE sequence IN ({marks})", sequences
        ).fetchall()

    def _one_by_one(
        self, sequences: Sequence[int], damaged: list[Damaged]
    ) -> Iterator[Sequence[Any]]:
        """The rows among them that SQLite can read."""
        for sequence in sequences:
            try:
                yield from self._contents([sequence])
            except sqlite3.DatabaseError as error:
                _raise_unless_damage(error)
                damaged.append(Damaged(sequence, UNKNOWN_QUEUE, f"it cannot be read: {error}"))

    def _name(self, number: object) -> str:
        found = (name for name, queue in self.queues.items() if queue == number)
        return next(found, UNKNOWN_QUEUE)

    # -- room on the disk ---------------------------------------------------------------------

    def give_back(self) -> bool:
        """Give some free pages back to the disk, if there are many; whether there are more.

        Raises:
            sqlite3.Error: it cannot be written.
        """
        (free,) = self.connection.execute("PRAGMA freelist_count").fetchone()
        if free <= _KEPT_PAGES or not self._can_shrink:
            return False
        step = min(_GIVEN_PAGES, free - _KEPT_PAGES)
        # `execute` would make one step, which frees one page.
        self.connection.executescript(f"PRAGMA incremental_vacuum({step})")
        # Or the WAL would grow by all that moves.
        self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        return True

    def trim(self) -> bool:
        """Carry the WAL over to the database and make both as short as they can be, if need be.

        Raises:
            sqlite3.Error: it cannot be written.
            OSError: the files cannot be looked at.
        """
        wal = self._file.with_name(f"{self._file.name}-wal")
        (pages,) = self.connection.execute("PRAGMA page_count").fetchone()
        (size,) = self.connection.execute("PRAGMA page_size").fetchone()
        if wal.stat().st_size <= _LONG_WAL and self._file.stat().st_size <= pages * size:
            return False
        self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        lay_out_wal(self._file)
        return True

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
            if batch.marks:
                mark_in_use(connection, crashed=True)
            if batch.logs is not None:
                self.logs.write(connection, batch.logs, self._bodies_to_keep)
            self._name_queues(batch)
            # A message has come that has the place of one that goes; else what goes, goes last.
            removed, passed_on = batch.removed, batch.passed_on
            if passed_on:
                self._remove([sequence for sequence in removed if sequence in passed_on])
                removed = [sequence for sequence in removed if sequence not in passed_on]
            self._write_messages(batch)
            self._remove(removed)
            if batch.ids or batch.dropped_ids:
                self.duplicate_ids.write(connection, batch.ids.values(), batch.dropped_ids)
            self._write_settings(batch)
            self._set_aside(batch.damaged)
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            for destination in list(self.queues)[known:]:
                del self.queues[destination]
            self.logs.forget()
            self.duplicate_ids.forget_unwritten()
            raise
        for destination in self._gone(batch):
            self.queues.pop(destination, None)
        if batch.logs is not None:
            self.logs.confirm()
        self.duplicate_ids.written()
        batch.safe = True

    def _bodies_to_keep(self, sequences: Sequence[int]) -> Mapping[int, bytes]:
        """The bodies of messages that go into a log, as far as they are there."""
        bodies, damaged = self.bodies(sequences)
        for one in damaged:
            log.error("%s: message %d of %s is damaged: %s", self._file, *one)
        return bodies

    def _write_messages(self, batch: Batch) -> None:
        run_for_many(
            self.connection,
            f"INSERT OR REPLACE INTO message ({_COLUMNS}) VALUES {{}}",
            "(?,?,?,?,?,?,?,?,?,?,?,?,?)",
            self._rows(batch),
        )
        run_for_many(
            self.connection,
            "UPDATE message SET deliveries = n.column2, failures = n.column3, due = n.column4, "
            "holder = n.column5 FROM (VALUES {}) AS n WHERE sequence = n.column1",
            "(?,?,?,?,?)",
            [
                (message.sequence, *state)
                for message, state in batch.delivery_states.items()
                if message not in batch.appended
            ],
        )

    def _remove(self, sequences: Sequence[int]) -> None:
        if self._shares:
            self._let_go_of_bodies(sequences)
        run_for_many(
            self.connection,
            "DELETE FROM message WHERE sequence IN ({})",
            "?",
            [(sequence,) for sequence in sequences],
        )

    def _let_go_of_bodies(self, sequences: Sequence[int]) -> None:
        """Count off the messages that are about to go; a body that nobody has any more goes, too.

        Messages may be named that are not there, or named twice.
        """
        connection, unique = self.connection, list(set(sequences))
        gone: Counter[int] = Counter()
        for at in range(0, len(unique), ROWS):
            some = unique[at : at + ROWS]
            marks = ",".join("?" * len(some))
            rows = connection.execute(
                f"SELECT body FROM message WHERE sequence IN ({marks}) "
                "AND typeof(body) = 'integer'",
                some,
            )
            gone.update(body for (body,) in rows)
        connection.executemany(
            "UPDATE body SET messages = messages - ? WHERE id = ?",
            [(count, body) for body, count in gone.items()],
        )
        connection.executemany(
            "DELETE FROM body WHERE id = ? AND messages <= 0", [(body,) for body in gone]
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

    def _set_aside(self, damaged: Sequence[Damaged]) -> None:
        """From now on they are given to nobody."""
        self.connection.executemany(
            "INSERT OR IGNORE INTO damaged VALUES (?,?,strftime('%s','now') * 1000,?)", damaged
        )

    def drop_damaged(self) -> int:
        """Delete the messages that were set aside; says how many there were.

        Raises:
            sqlite3.Error: they cannot be deleted.
        """
        sequences = list(self.damaged)
        with self.connection:
            self.connection.execute("BEGIN IMMEDIATE")
            self._remove(sequences)
            self.connection.execute("DELETE FROM damaged")
        self.damaged.clear()
        return len(sequences)

    def _gone(self, batch: Batch) -> list[str]:
        """The destinations of queues that ended, and did not begin again in this batch."""
        gone = [name for name, headers in batch.settings.items() if headers is None]
        if not gone:
            return []
        begun = set(batch.appended.values())
        names = (f"{DestinationKind.QUEUE.value}{name}" for name in gone)
        return [name for name in names if name in self.queues and name not in begun]

    def _name_queues(self, batch: Batch) -> None:
        """Give numbers to the queues that have none."""
        for destination in set(batch.appended.values()):
            if destination not in self.queues:
                cursor = self.connection.execute(
                    "INSERT INTO queue (destination) VALUES (?)", (destination,)
                )
                assert cursor.lastrowid is not None
                self.queues[destination] = cursor.lastrowid

    def _rows(self, batch: Batch) -> list[Row]:
        rows: list[Row] = []
        state_of, queues = batch.delivery_states.get, self.queues
        received, flags, queue, of_head = 0, 0, 0, 0
        last: tuple[object, ...] = ()
        message_id: bytes | None = None
        before, first = b"", 0  # the body of the message before, and the first one that had it
        shared: dict[int, list[int]] = {}  # places in `rows`, by the first message with a body
        for message, destination in batch.appended.items():
            sequence, head, expires = message.sequence, message.head, message.expires
            alike = (head, message.stamp, destination, expires)
            if alike != last:
                last, received, queue = alike, message.received_at, queues[destination]
                flags = head.sized | head.stamped << 1 | head.priority << PRIORITY
                message_id = head.message_id
                of_head = checksum_of_head(queue, received, expires, flags, message_id, head.block)
            now = state_of(message) or (
                _NEW if message.redelivery is None else (*message.redelivery, 0, 0)
            )
            body = message.body or b""
            if message_id is not None:
                before = b""  # it may have the place of one whose body others have yet
            elif body is not before:
                before, first = body, sequence
            elif len(body) >= _SHARED_BYTES:
                shared.setdefault(first, [len(rows) - 1]).append(len(rows))
            rows.append(
                (
                    sequence,
                    queue,
                    received,
                    *now,
                    expires,
                    flags,
                    message_id,
                    head.block,
                    body,
                    checksum(of_head, sequence, body),
                )
            )
        if shared:
            self._share(shared, rows)
        return rows

    def _share(self, shared: Mapping[int, Sequence[int]], rows: list[Row]) -> None:
        """Store bodies once, and have the rows at these places name them."""
        self._shares = True
        self.connection.executemany(
            "INSERT INTO body VALUES (?,?,?)",
            [(first, len(places), rows[places[0]][_BODY]) for first, places in shared.items()],
        )
        for first, places in shared.items():
            for place in places:
                rows[place] = (*rows[place][:_BODY], first, rows[place][-1])


def _raise_unless_damage(error: sqlite3.DatabaseError) -> None:
    """Pass on what may be better in a while, and faults of ours."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_CORRUPT:
        raise error
