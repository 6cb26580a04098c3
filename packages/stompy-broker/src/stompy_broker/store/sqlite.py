"""The store on disk: SQLite in a data directory.

How it keeps its promises:

* **One connection, one writer thread.** The event loop gathers changes; the writer takes all that
  were gathered since it last looked and writes them as one transaction (group commit). WAL and
  ``synchronous=FULL``: when COMMIT returns, the batch is on disk.
* **Whole turns.** A batch is handed over between two turns of the event loop, so what one turn
  told, a COMMIT of many frames for instance, is in one transaction.
* **What is settled in time is never written.** A message removed before its batch was handed over
  is taken out of the batch.
* **Few steps.** The interpreter's lock is given away at every step of a statement and taken again
  only some milliseconds later when the event loop is busy. So rows are written many to a
  statement.
* **Small batches are written in place.** Waking a thread and being woken by it takes as long as a
  commit on a quick disk. So while commits are quick and the writer is idle, a batch of a few
  changes is written on the event loop's thread.
* **Trouble is waited out.** A batch that cannot be written stays, and is tried again each second
  until it can. Meanwhile nobody is told that anything is safe.

The file is locked for as long as the broker runs. Nothing else may open it, because SQLite before
3.51.3 can damage a WAL that two connections write and checkpoint at the same instant.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path
from queue import SimpleQueue

from stompy_broker.clock import Clock
from stompy_broker.message import Message, MessageHead, stamp
from stompy_broker.store.base import Done, Restored, StoredSubscription, StoreError
from stompy_broker.store.schema import migrate

log = logging.getLogger("stompy_broker.store")

FILE = "messages.db"
LOCK = "lock"

LAZY_SECONDS = 0.02
"""How long a change that nobody waits for may stay unwritten. Most are taken back before."""

RETRY_SECONDS = 1.0

_SMALL = 8
"""Changes in a batch that may be written in place."""

_QUICK_SECONDS = 0.001
"""While commits take less, small batches are written in place."""

_ROWS = 128
"""Rows to a statement."""

_CHECK_BELOW = 1024**3
"""A database that was not closed properly is looked through for damage up to this size."""

_SIZED, _STAMPED, _PRIORITY = 1, 2, 2  # flags: two bits, then the priority

_COLUMNS = "sequence, queue, received, deliveries, due, expires, flags, message_id, head, body"

Row = tuple[int, int, int, int, int, int, int, bytes | None, bytes, bytes]


@dataclass(slots=True)
class _Batch:
    """What becomes safe together."""

    appended: dict[int, tuple[str, Message]] = field(default_factory=dict)
    noted: dict[int, tuple[int, int]] = field(default_factory=dict)
    removed: list[int] = field(default_factory=list)
    kept: dict[str, StoredSubscription | None] = field(default_factory=dict)
    settings: dict[str, Mapping[str, str] | None] = field(default_factory=dict)
    waiting: list[Done] = field(default_factory=list)
    safe: bool = False

    @property
    def size(self) -> int:
        subscriptions_and_queues = len(self.kept) + len(self.settings)
        messages = len(self.appended) + len(self.noted) + len(self.removed)
        return messages + subscriptions_and_queues

    @property
    def empty(self) -> bool:
        return not (self.appended or self.noted or self.removed or self.kept or self.settings)


class SQLiteStore:
    """Messages in ``messages.db`` of a directory.

    Args:
        directory: where; made if need be.
        clock: for lazy writing and for trying again.
        soon: calls a function at the end of the present turn of the event loop.
        post: the same, from the writer's thread.
        written: told the messages that have reached the disk, so that bodies can be let go.
        troubled: told whenever trouble begins and ends.

    Raises:
        StoreError: the directory is in use, damaged, not ours, or cannot be written to.
    """

    durable = True

    def __init__(
        self,
        directory: Path,
        clock: Clock,
        soon: Callable[[Callable[[], None]], object],
        post: Callable[[Callable[[], None]], object],
        written: Callable[[Iterable[Message]], None] = lambda messages: None,
        troubled: Callable[[bool], None] = lambda trouble: None,
    ) -> None:
        self.trouble = ""
        self._file = directory / FILE
        self._soon = soon
        self._post = post
        self._tell_written = written
        self._tell_troubled = troubled
        self._clock = clock
        self._lock = lock_directory(directory)
        try:
            self._connection = open_database(self._file)
            self._queues: dict[str, int] = dict(
                self._connection.execute("SELECT destination, id FROM queue")
            )
        except BaseException:
            os.close(self._lock)
            raise
        self._batch = _Batch()
        self._writing: _Batch | None = None
        self._loading = 0
        self._commit_seconds = 0.0  # a running average
        self._flush_is_due = False
        self._lazily = clock.alarm(self._flush)
        self._again = clock.alarm(self._try_again)
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="stompy-store", daemon=True)
        self._thread.start()

    # -- what survived ------------------------------------------------------------------------

    def restore(self) -> Iterator[Restored]:
        """Every message on disk, without its body."""
        names = {number: destination for destination, number in self._queues.items()}
        heads: dict[tuple[object, ...], MessageHead] = {}
        rows = self._connection.execute(
            "SELECT sequence, queue, received, deliveries, due, expires, flags, message_id, head, "
            "length(body) FROM message ORDER BY sequence"
        )
        for sequence, queue, received, deliveries, due, expires, flags, *rest in rows:
            message_id, block, length = rest
            key = (block, flags, message_id)
            head = heads.get(key)
            if head is None:
                if len(heads) > _ROWS:
                    heads.clear()
                head = heads[key] = MessageHead(
                    block,
                    sized=bool(flags & _SIZED),
                    stamped=bool(flags & _STAMPED),
                    priority=flags >> _PRIORITY,
                    message_id=message_id,
                )
            message = Message(sequence, head, None, stamp(received), deliveries, length=length)
            message.expires = expires
            yield Restored(names[queue], message, due)

    def queues(self) -> Mapping[str, Mapping[str, str]]:
        """The set-up of queues on disk."""
        rows = self._connection.execute("SELECT queue, headers FROM settings")
        return {name: json.loads(headers) for name, headers in rows}

    def subscriptions(self) -> list[StoredSubscription]:
        """Every durable subscription on disk."""
        rows = self._connection.execute("SELECT name, pattern, settings FROM subscription")
        return [StoredSubscription(*row) for row in rows]

    # -- what happens -------------------------------------------------------------------------

    def append(self, destination: str, message: Message) -> None:
        """To be written, unless it is removed soon."""
        self._batch.appended[message.sequence] = (destination, message)
        if not self._flush_is_due:
            self._flush_lazily()

    def note(self, message: Message, deliveries: int, due: int = 0) -> None:
        """To be written, unless it is removed soon."""
        self._batch.noted[message.sequence] = (deliveries, due)
        if not self._flush_is_due:
            self._flush_lazily()

    def remove(self, message: Message) -> None:
        """Taken back if it was not written yet; to be deleted otherwise."""
        batch, sequence = self._batch, message.sequence
        batch.noted.pop(sequence, None)
        if batch.appended.pop(sequence, None) is None:
            batch.removed.append(sequence)
            if not self._flush_is_due:
                self._flush_lazily()

    def load(self, messages: Sequence[Message], done: Done) -> None:
        """Bodies come from disk, or from what waits to be written."""
        by_sequence = {message.sequence: message for message in messages}

        def read() -> None:
            marks = ",".join("?" * len(by_sequence))
            try:
                rows = self._connection.execute(
                    f"SELECT sequence, body FROM message WHERE sequence IN ({marks})",
                    list(by_sequence),
                ).fetchall()
            except sqlite3.Error as error:
                self._post(partial(self._cannot_read, messages, done, error))
                return
            self._post(lambda: give(rows))

        def give(rows: list[tuple[int, bytes]]) -> None:
            self._loading -= 1
            for sequence, body in rows:
                by_sequence[sequence].body = body
            done()

        self._loading += 1
        self._jobs.put(read)

    def keep_queue(self, name: str, headers: Mapping[str, str] | None) -> None:
        """To be written."""
        self._batch.settings[name] = headers
        self._flush_lazily()

    def keep_subscription(self, subscription: StoredSubscription) -> None:
        """To be written."""
        self._batch.kept[subscription.name] = subscription
        self._flush_lazily()

    def drop_subscription(self, name: str) -> None:
        """To be deleted."""
        self._batch.kept[name] = None
        self._flush_lazily()

    def sync(self, done: Done) -> None:
        """With the next commit, which begins at the end of this turn if the writer is idle."""
        if self._batch.empty and self._writing is None:
            done()
            return
        self._batch.waiting.append(done)
        self._flush_soon()

    def close(self) -> None:
        """Write everything, say that all is in order, unlock."""
        if self._writing is None and not self._batch.empty:
            self._hand_over()
        self._jobs.put(None)
        self._thread.join()
        for batch in (self._writing, self._batch):
            if batch is not None and not batch.safe and not batch.empty:
                try:
                    self._write(batch)
                except sqlite3.Error as error:
                    log.error("%s: the last changes could not be written: %s", self._file, error)
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("UPDATE state SET clean = 1")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()
        os.close(self._lock)

    # -- handing over -------------------------------------------------------------------------

    def _flush_lazily(self) -> None:
        self._flush_is_due = True
        self._lazily.set(self._clock.now() + LAZY_SECONDS)

    def _flush_soon(self) -> None:
        self._flush_is_due = True
        if self._writing is None and len(self._batch.waiting) == 1:
            self._soon(self._flush)

    def _flush(self) -> None:
        """Give the writer what was gathered, unless it is still busy."""
        if self._writing is None:
            self._flush_is_due = False
            self._lazily.cancel()
            if not self._batch.empty:
                self._hand_over()
            else:
                self._release(self._batch)

    def _hand_over(self) -> None:
        batch, self._batch = self._batch, _Batch()
        self._writing = batch
        if self._commit_seconds < _QUICK_SECONDS and not self._loading and batch.size <= _SMALL:
            try:
                self._write(batch)
            except sqlite3.Error as error:
                self._failed(error)
            else:
                self._written(batch)
        else:
            self._jobs.put(partial(self._write_and_tell, batch))

    def _written(self, batch: _Batch) -> None:
        if self.trouble:
            log.warning("%s: can be written again", self._file)
            self.trouble = ""
            self._tell_troubled(False)
        self._writing = None
        self._release(batch)
        self._tell_written(message for _, message in batch.appended.values())
        if self._batch.waiting:
            self._flush()
        elif self._flush_is_due:
            self._lazily.set(self._clock.now() + LAZY_SECONDS)

    def _release(self, batch: _Batch) -> None:
        waiting, batch.waiting = batch.waiting, []
        for done in waiting:
            done()

    def _failed(self, error: sqlite3.Error) -> None:
        if not self.trouble:
            log.error("%s: cannot be written: %s; trying again each second", self._file, error)
            self._tell_troubled(True)
        self.trouble = str(error)
        self._again.set(self._clock.now() + RETRY_SECONDS)

    def _try_again(self) -> None:
        batch = self._writing
        if batch is not None:
            self._jobs.put(partial(self._write_and_tell, batch))

    def _cannot_read(self, messages: Sequence[Message], done: Done, error: sqlite3.Error) -> None:
        self._loading -= 1
        log.error("%s: cannot be read: %s; trying again", self._file, error)
        retry = self._clock.alarm(lambda: self.load(messages, done))
        retry.set(self._clock.now() + RETRY_SECONDS)

    # -- the writer's thread ------------------------------------------------------------------

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _write_and_tell(self, batch: _Batch) -> None:
        try:
            self._write(batch)
        except sqlite3.Error as error:
            self._post(partial(self._failed, error))
        else:
            self._post(partial(self._written, batch))

    def _write(self, batch: _Batch) -> None:
        connection, begun = self._connection, time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        new_queues: list[str] = []
        try:
            new_queues = self._name_queues(batch)
            _many(
                connection,
                f"INSERT OR REPLACE INTO message ({_COLUMNS}) VALUES {{}}",
                "(?,?,?,?,?,?,?,?,?,?)",
                self._rows(batch),
            )
            _many(
                connection,
                "UPDATE message SET deliveries = n.column2, due = n.column3 "
                "FROM (VALUES {}) AS n WHERE sequence = n.column1",
                "(?,?,?)",
                [
                    (sequence, *noted)
                    for sequence, noted in batch.noted.items()
                    if sequence not in batch.appended
                ],
            )
            _many(
                connection,
                "DELETE FROM message WHERE sequence IN ({})",
                "?",
                [(sequence,) for sequence in batch.removed],
            )
            for name, headers in batch.settings.items():
                connection.execute("DELETE FROM settings WHERE queue = ?", (name,))
                if headers is not None:
                    connection.execute(
                        "INSERT INTO settings VALUES (?,?)", (name, json.dumps(headers))
                    )
            for name, kept in batch.kept.items():
                connection.execute("DELETE FROM subscription WHERE name = ?", (name,))
                if kept is not None:
                    connection.execute(
                        "INSERT INTO subscription VALUES (?,?,?)",
                        (name, kept.pattern, kept.settings),
                    )
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            for destination in new_queues:
                del self._queues[destination]
            raise
        batch.safe = True
        self._commit_seconds += (time.perf_counter() - begun - self._commit_seconds) / 8

    def _name_queues(self, batch: _Batch) -> list[str]:
        """Give numbers to the queues that have none."""
        destinations = {destination for destination, _ in batch.appended.values()}
        new = [destination for destination in destinations if destination not in self._queues]
        for destination in new:
            cursor = self._connection.execute(
                "INSERT INTO queue (destination) VALUES (?)", (destination,)
            )
            assert cursor.lastrowid is not None
            self._queues[destination] = cursor.lastrowid
        return new

    def _rows(self, batch: _Batch) -> list[Row]:
        rows: list[Row] = []
        noted, queues = batch.noted.get, self._queues
        received, last_stamp = 0, b""
        for sequence, (destination, message) in batch.appended.items():
            head = message.head
            if message.stamp is not last_stamp:
                received, last_stamp = message.received_at, message.stamp
            deliveries, due = noted(sequence) or (message.deliveries, 0)
            flags = head.sized | head.stamped << 1 | head.priority << _PRIORITY
            rows.append(
                (
                    sequence,
                    queues[destination],
                    received,
                    deliveries,
                    due,
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


def lock_directory(directory: Path) -> int:
    """Lock a data directory for this process; gives the descriptor that holds the lock.

    Raises:
        StoreError: another process has it, or it cannot be written to.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"{directory}: cannot be used: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(descriptor, 20).decode() or "another process"
        os.close(descriptor)
        raise StoreError(f"{directory}: in use by the broker with process id {holder}") from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())
    return descriptor


def open_database(file: Path) -> sqlite3.Connection:
    """Open, bring up to date, and look for damage if it was not closed properly.

    Raises:
        StoreError: it is damaged, not ours, newer than this program, or cannot be opened.
    """
    try:
        connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")
        connection.execute("PRAGMA checkpoint_fullfsync = ON")
        connection.execute("PRAGMA wal_autocheckpoint = 8192")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        connection.execute("PRAGMA cache_size = -65536")
        migrate(connection, str(file))
        (clean,) = connection.execute("SELECT clean FROM state").fetchone()
        if not clean:
            _look_for_damage(connection, file)
        connection.execute("UPDATE state SET clean = 0")
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"{file}: cannot be used: {error}; `stompy-broker store check` looks through it, and "
            "`stompy-broker store export` saves what can be read"
        ) from None
    return connection


def _look_for_damage(connection: sqlite3.Connection, file: Path) -> None:
    size = file.stat().st_size
    if size > _CHECK_BELOW:
        log.warning("%s: not closed properly, and too large to be checked now", file)
        return
    found = [row[0] for row in connection.execute("PRAGMA quick_check(5)")]
    if found != ["ok"]:
        raise sqlite3.DatabaseError(f"damaged: {'; '.join(found)}")
    log.info("%s: was not closed properly; no damage found", file)
