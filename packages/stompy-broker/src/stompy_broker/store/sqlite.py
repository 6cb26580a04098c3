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
* **A lone sender waits for nobody.** Where one client at a time waits for a receipt, its batch is
  written as soon as its bytes were worked through, and its receipt leaves at once, each a turn of
  the event loop sooner. Measured with ``benchmarks/peers.py``, *durable, window 1*: 8 % more.
* **Trouble is waited out.** A batch that cannot be written stays, and is tried again each second
  until it can, together with what came after it: what was consumed meanwhile needs no room any
  more. Until then nobody is told that anything is safe.
* **Producers stop before the disk is full**, or nothing could be settled any more
  (`stompy_broker.store.room`). That is trouble, too.
* **The WAL stays short.** It is carried over to the database on the writer's thread after every
  16 MiB or so, not within a commit that somebody waits for.

The file is locked for as long as the broker runs (`stompy_broker.store.directory`).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path
from queue import SimpleQueue

from stompy_broker.clock import Clock
from stompy_broker.destination import Kind
from stompy_broker.message import Message
from stompy_broker.store.base import Done, Restored, StoredSubscription, StoreStats
from stompy_broker.store.batch import Batch
from stompy_broker.store.directory import FILE, lock_directory, open_database, translated
from stompy_broker.store.room import Room
from stompy_broker.store.rows import PRIORITY, restored_messages

log = logging.getLogger("stompy_broker.store")

LAZY_SECONDS = 0.02
"""How long a change that nobody waits for may stay unwritten. Most are taken back before."""

RETRY_SECONDS = 1.0

ROOM_SECONDS = 10.0
"""How often is looked whether others have filled the disk; after each checkpoint as well."""

_SMALL, _SMALL_PAGES = 8, 64
"""Changes and pages in a batch that may be written in place."""

_QUICK_SECONDS = 0.001
"""While commits take less, small batches are written in place."""

_ROWS = 128
"""Rows to a statement."""

_WAL_PAGES = 4096
"""Pages written, by a rough count, after which the WAL is carried over to the database."""

_COLUMNS = "sequence, queue, received, deliveries, due, expires, flags, message_id, head, body"

Row = tuple[int, int, int, int, int, int, int, bytes | None, bytes, bytes]


class SQLiteStore:
    """Messages in ``messages.db`` of a directory.

    Args:
        directory: where; made if need be.
        clock: for lazy writing and for trying again.
        soon: calls a function at the end of the present turn of the event loop.
        post: the same, from the writer's thread.
        written: told the messages that have reached the disk, so that bodies can be let go.
        troubled: told whenever trouble begins and ends.
        disk_free: bytes that must be left on the disk; 0 = no matter.
        released: called when the only one who waited for a commit was told, so that the answer can
            go out at once.

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
        disk_free: int = 0,
        released: Callable[[], None] = lambda: None,
    ) -> None:
        self.trouble = ""
        self._failure = ""  # of the last write
        self._shortage = ""  # of room
        self._room = Room(directory, disk_free)
        self._file = directory / FILE
        self._soon = soon
        self._post = post
        self._tell_written = written
        self._tell_troubled = troubled
        self._tell_released = released
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
        self._batch = Batch()
        self._writing: Batch | None = None
        self._busy = 0  # reads and checkpoints that the writer's thread has to do
        self._pages = 0  # written since the last checkpoint
        self._commits = 0
        self._commit_seconds = 0.0  # a running average
        self._closed = False
        self._flush_is_due = False
        self._asked = 0  # how many wait for a commit since the last turn
        self._alone = False  # whether one did in the turn before
        self._lazily = clock.alarm(self._flush)
        self._again = clock.alarm(self._try_again)
        self._look_again = clock.alarm(self._have_looked)
        self._look_again.set(clock.now() if disk_free else None)
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="stompy-store", daemon=True)
        self._thread.start()

    def stats(self) -> StoreStats:
        """How it is doing."""
        size = free = 0
        with contextlib.suppress(OSError):  # a lost volume; `trouble` will say so
            size, free = self._room.used(), self._room.free()
        return StoreStats(
            self.trouble,
            size,
            free,
            self._batch.size + (0 if self._writing is None else self._writing.size),
            self._commits,
            self._commit_seconds,
        )

    # -- what survived ------------------------------------------------------------------------

    def restore(self) -> Iterator[Restored]:
        """Every message on disk, without its body.

        Raises:
            StoreError: the file is damaged.
        """
        unused = set(self._queues)
        with translated(self._file):
            for restored in restored_messages(self._connection, self._queues):
                unused.discard(restored.destination)
                yield restored
            self._forget_queues(unused)

    def _forget_queues(self, destinations: Iterable[str]) -> None:
        """Take back the numbers of queues that have no message."""
        for destination in destinations:
            self._connection.execute("DELETE FROM queue WHERE destination = ?", (destination,))
            del self._queues[destination]

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

    def holds(self, message: Message) -> bool:
        """Unless it is still in a batch."""
        sequence, writing = message.sequence, self._writing
        if sequence in self._batch.appended:
            return False
        return writing is None or sequence not in writing.appended

    def load(self, messages: Sequence[Message], done: Done) -> None:
        """Bodies come from disk: who has none was written before."""
        self._busy += 1
        self._jobs.put(partial(self._read, {m.sequence: m for m in messages}, done))

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
        self._asked += 1
        self._flush_soon()

    def heard(self) -> None:
        """A sender who was alone in the turn before need not wait for others to join in."""
        if self._alone and self._asked == 1 and self._batch.waiting:
            self._flush()

    def close(self) -> None:
        """Write everything, say that all is in order, unlock. Who waits is not told any more."""
        self._closed = True
        self._jobs.put(None)
        self._thread.join()
        try:
            for batch in (self._writing, self._batch):
                if batch is not None and not batch.safe and not batch.empty:
                    self._write(batch)
            self._connection.execute("UPDATE state SET clean = 1")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            log.error("%s: the last changes could not be written: %s", self._file, error)
        self._connection.close()
        os.close(self._lock)

    # -- handing over -------------------------------------------------------------------------

    def _flush_lazily(self) -> None:
        self._flush_is_due = True
        self._lazily.set(self._clock.now() + LAZY_SECONDS)

    def _flush_soon(self) -> None:
        self._flush_is_due = True
        if self._writing is None and len(self._batch.waiting) == 1:
            self._soon(self._end_turn)

    def _end_turn(self) -> None:
        self._alone, self._asked = self._asked == 1, 0
        self._flush()

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
        batch, self._batch = self._batch, Batch()
        self._writing = batch
        in_place = (
            self._commit_seconds < _QUICK_SECONDS
            and not self._busy
            and batch.size <= _SMALL
            and batch.pages <= _SMALL_PAGES
        )
        if not in_place:
            self._jobs.put(partial(self._write_and_tell, batch))
            return
        try:
            self._write(batch)
        except Exception as error:
            self._failed(error)
        else:
            self._written(batch)

    def _written(self, batch: Batch) -> None:
        if self._closed:
            return
        if self._failure:
            log.warning("%s: can be written again", self._file)
            self._failure = ""
            self._review()
        self._writing = None
        self._commits += 1
        if self._pages > _WAL_PAGES:
            self._pages = 0
            self._busy += 1
            self._jobs.put(self._checkpoint)
        self._release(batch)
        self._tell_written(self._still_waiting(batch))
        if self._batch.waiting:
            self._flush()
        elif self._flush_is_due:
            self._lazily.set(self._clock.now() + LAZY_SECONDS)

    def _still_waiting(self, batch: Batch) -> Iterator[Message]:
        """The messages of a batch that nobody was given meanwhile."""
        moved = {*batch.noted, *self._batch.noted, *self._batch.removed}
        for sequence, (_, message) in batch.appended.items():
            if sequence not in moved:
                yield message

    def _release(self, batch: Batch) -> None:
        waiting, batch.waiting = batch.waiting, []
        for done in waiting:
            try:
                done()
            except Exception:
                # The others are not to wait for ever because of one.
                log.exception("fault in what was to follow a commit")
        if len(waiting) == 1:
            self._tell_released()

    def _failed(self, error: Exception) -> None:
        if self._closed:
            return
        begins, self._failure = not self._failure, str(error) or type(error).__name__
        if begins:
            log.error(
                "%s: cannot be written: %s; trying again each second",
                self._file,
                self._failure,
                exc_info=_ours(error),
            )
        self._review()
        self._again.set(self._clock.now() + RETRY_SECONDS)

    def _review(self) -> None:
        """Say what is wrong just now, and tell when that begins and ends."""
        was, self.trouble = self.trouble, self._failure or self._shortage
        if bool(was) != bool(self.trouble):
            self._tell_troubled(bool(self.trouble))

    def _try_again(self) -> None:
        batch = self._writing
        if batch is not None:
            later, self._batch = self._batch, Batch()
            batch.absorb(later)
            self._jobs.put(partial(self._write_and_tell, batch))

    def _give(
        self, wanted: Mapping[int, Message], rows: Sequence[tuple[int, bytes]], done: Done
    ) -> None:
        """The answer to `load`. A body that is not there stays None."""
        self._busy -= 1
        for sequence, body in rows:
            wanted[sequence].body = body
        if len(rows) < len(wanted):
            log.error("%s: %d bodies are not there", self._file, len(wanted) - len(rows))
        done()

    def _cannot_read(self, wanted: Mapping[int, Message], done: Done, error: Exception) -> None:
        self._busy -= 1
        log.error("%s: cannot be read: %s; trying again", self._file, error, exc_info=_ours(error))
        retry = self._clock.alarm(lambda: self.load(list(wanted.values()), done))
        retry.set(self._clock.now() + RETRY_SECONDS)

    def _have_looked(self) -> None:
        self._busy += 1
        self._jobs.put(self._look)

    def _looked(self, shortage: str) -> None:
        self._busy -= 1
        if self._closed:
            return
        if shortage and not self._shortage:
            log.error("%s: takes no more messages: %s", self._file, shortage)
        elif self._shortage and not shortage:
            log.warning("%s: takes messages again: there is room", self._file)
        self._shortage = shortage
        self._review()
        if self._room.mark:
            wait = RETRY_SECONDS if shortage else ROOM_SECONDS
            self._look_again.set(self._clock.now() + wait)

    # -- the writer's thread ------------------------------------------------------------------

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _write_and_tell(self, batch: Batch) -> None:
        try:
            self._write(batch)
        except Exception as error:
            # On a full disk there may be room in the WAL once it was carried over.
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._post(partial(self._failed, error))
        else:
            self._post(partial(self._written, batch))

    def _read(self, wanted: Mapping[int, Message], done: Done) -> None:
        sequences, rows = list(wanted), []
        try:
            for at in range(0, len(sequences), _ROWS):
                some = sequences[at : at + _ROWS]
                marks = ",".join("?" * len(some))
                rows += self._connection.execute(
                    f"SELECT sequence, body FROM message WHERE sequence IN ({marks})", some
                ).fetchall()
        except Exception as error:
            self._post(partial(self._cannot_read, wanted, done, error))
        else:
            self._post(partial(self._give, wanted, rows, done))

    def _checkpoint(self) -> None:
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as error:
            log.warning("%s: the WAL could not be carried over: %s", self._file, error)
        self._look()

    def _look(self) -> None:
        try:
            shortage = self._room.look(self._connection)
        except (sqlite3.Error, OSError) as error:
            shortage = f"it cannot be told how much room is left: {error}"
        self._post(partial(self._looked, shortage))

    def _write(self, batch: Batch) -> None:
        connection, begun = self._connection, time.perf_counter()
        known = len(self._queues)
        try:
            connection.execute("BEGIN IMMEDIATE")
            self._name_queues(batch)
            self._write_messages(batch)
            self._write_settings(batch)
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            for destination in list(self._queues)[known:]:
                del self._queues[destination]
            raise
        for destination in self._gone(batch):
            self._queues.pop(destination, None)
        batch.safe = True
        self._pages += batch.pages
        self._commit_seconds += (time.perf_counter() - begun - self._commit_seconds) / 8

    def _write_messages(self, batch: Batch) -> None:
        _many(
            self._connection,
            f"INSERT OR REPLACE INTO message ({_COLUMNS}) VALUES {{}}",
            "(?,?,?,?,?,?,?,?,?,?)",
            self._rows(batch),
        )
        _many(
            self._connection,
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
            self._connection,
            "DELETE FROM message WHERE sequence IN ({})",
            "?",
            [(sequence,) for sequence in batch.removed],
        )

    def _write_settings(self, batch: Batch) -> None:
        connection = self._connection
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
        return [name for name in names if name in self._queues and name not in begun]

    def _name_queues(self, batch: Batch) -> None:
        """Give numbers to the queues that have none."""
        for destination in {destination for destination, _ in batch.appended.values()}:
            if destination not in self._queues:
                cursor = self._connection.execute(
                    "INSERT INTO queue (destination) VALUES (?)", (destination,)
                )
                assert cursor.lastrowid is not None
                self._queues[destination] = cursor.lastrowid

    def _rows(self, batch: Batch) -> list[Row]:
        rows: list[Row] = []
        noted, queues = batch.noted.get, self._queues
        received, last_stamp = 0, b""
        for sequence, (destination, message) in batch.appended.items():
            head = message.head
            if message.stamp is not last_stamp:
                received, last_stamp = message.received_at, message.stamp
            deliveries, due = noted(sequence) or (message.deliveries, 0)
            flags = head.sized | head.stamped << 1 | head.priority << PRIORITY
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


def _ours(error: Exception) -> Exception | None:
    """Anything but SQLite's own words is a fault of ours, and its place is of interest."""
    return None if isinstance(error, sqlite3.Error) else error


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
