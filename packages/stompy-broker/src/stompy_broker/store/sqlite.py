"""The store on disk: SQLite in a data directory.

How it keeps its promises:

* **One connection, one writer thread.** The event loop gathers changes here; the `Writer` takes all
  that were gathered since it last looked and writes them as one transaction (group commit). WAL and
  ``synchronous=FULL``: when COMMIT returns, the batch is on disk.
* **Whole turns.** A batch is handed over between two turns of the event loop, so what one turn
  told, a COMMIT of many frames for instance, is in one transaction.
* **What is settled in time is never written.** A message removed before its batch was handed over
  is taken out of the batch.
* **Small batches are written in place.** Waking a thread and being woken by it takes as long as a
  commit on a quick disk. So while commits are quick and the writer is idle, a batch of a few
  changes is written on the event loop's thread.
* **A lone sender waits for nobody.** Where one client at a time waits for a receipt, its batch is
  written as soon as its bytes were worked through, and its receipt leaves at once, each a turn of
  the event loop sooner. Measured with ``benchmarks/peers.py``, *durable, window 1*: 8 % more.
* **What is being settled is waited for.** Where consumers keep up, most of a batch is taken out of
  it again. When it is due, or full, those who tell much are held back until it is empty, as long as
  it gets smaller quickly, so that nothing of it has to be written. Measured with
  ``benchmarks/store.py``, *queue, client-individual*, by CPU
  seconds: twice as many messages, and a twentieth of the bytes written.
* **A batch has an upper size.** Who tells much in one read while the writer is behind is read no
  further until what it told is on its way to the disk; then it may go on, one client a turn. So
  who asks for little waits for two batches at most, and what is not written yet is bounded.
* **Trouble is waited out.** A batch that cannot be written stays, and is tried again each second
  until it can, together with what came after it: what was consumed meanwhile needs no room any
  more. Until then nobody is told that anything is safe.
* **Producers stop before the disk is full**, or nothing could be settled any more
  (`stompy_broker.store.disk_space`). That is trouble, too.
* **The WAL stays short.** It is carried over to the database on the writer's thread after every
  16 MiB or so, not within a commit that somebody waits for.
* **Disk space comes back.** When nothing was written for a moment, pages that are free are given
  back to the disk, a few at a time, and a WAL that one large change has made long is cut.

The file is locked for as long as the broker runs (`stompy_broker.store.directory`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from stompy_broker.message import Message
from stompy_broker.store.base import (
    Callback,
    Restored,
    StoredId,
    StoredSubscription,
    StoreStats,
    call_all,
)
from stompy_broker.store.batch import Batch, Damaged
from stompy_broker.store.directory import FILE, lock_directory
from stompy_broker.store.disk_space import DiskSpace
from stompy_broker.store.interface import MessageStore
from stompy_broker.store.log_changes import LogChanges
from stompy_broker.store.log_reading import DamagedEntries
from stompy_broker.store.paused_senders import PausedSenders
from stompy_broker.store.sqlite_logs import SQLiteLogs
from stompy_broker.store.tables import Tables
from stompy_broker.store.writer import Writer
from stompy_broker.timers import Clock

log = logging.getLogger("stompy_broker.store")

LAZY_SECONDS = 0.015
"""How long a change that nobody waits for may stay unwritten, and half as long again while most of
its batch are taken back."""

RETRY_SECONDS = 1.0

DISK_SECONDS = 10.0
"""How often is looked whether others have filled the disk; after each checkpoint as well."""

IDLE_SECONDS = 2.0
"""After so long without a commit room is given back to the disk."""

_SHRINK_SECONDS = 0.02
"""How long it pauses between two steps of that."""

_SMALL, _SMALL_PAGES = 8, 64
"""Changes and pages in a batch that may be written in place."""

_QUICK_SECONDS = 0.001
"""While commits take less, small batches are written in place."""

_DRAIN_SECONDS, _SETTLED_SHARE = 0.002, 16
"""A batch is waited for while as much as this share of it is settled within each such time, ..."""

_FEW = 16
"""... until so few new messages are left in it."""

_BATCH = 1 * 1024 * 1024
"""The weight of a batch (`Batch.weight`) from which on nobody is to tell much more."""

_MUCH = 64 * 1024
"""Who tells less in one read need not wait, unless there are very many of them."""

_OVERLOADED = 4
"""At how many times the weight everybody waits who tells anything."""


@dataclass(frozen=True, slots=True)
class StoreListener:
    """What is called when something happens in a store.

    Attributes:
        written: told the messages that have reached the disk, so that bodies can be let go.
        troubled: told whenever trouble begins and ends.
        released: called when the only one who waited for a commit was told, so that the answer can
            go out at once.
        damaged: told of each message, and of entries of logs, that turn out not to be what was
            written any more.
    """

    written: Callable[[Iterable[Message]], None] = lambda messages: None
    troubled: Callable[[bool], None] = lambda trouble: None
    released: Callable[[], None] = lambda: None
    damaged: Callable[[Damaged | DamagedEntries], None] = lambda damaged: None


class SQLiteStore(MessageStore):
    """Messages in ``messages.db`` of a directory.

    Args:
        directory: where; made if need be.
        clock: for lazy writing and for trying again.
        soon: calls a function at the end of the present turn of the event loop.
        post: the same, from the writer's thread.
        disk_free: bytes that must be left on the disk; 0 = no matter.
        listener: is told what happens.

    Attributes:
        tables: what is in the file.

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
        disk_free: int = 0,
        listener: StoreListener | None = None,
    ) -> None:
        self.trouble = ""
        self._failure = ""  # of the last write
        self._shortage = ""  # of room
        self._disk_space = DiskSpace(directory, disk_free)
        self._file = directory / FILE
        self._soon = soon
        self._listener = listener or StoreListener()
        self._clock = clock
        self._lock = lock_directory(directory)
        try:
            self.tables = Tables(self._file)
        except BaseException:
            os.close(self._lock)
            raise
        self._batch = Batch()
        self._writing: Batch | None = None
        self._commits = 0
        self._closed = False
        self._flush_is_due = False
        self._asked = 0  # how many wait for a commit since the last turn
        self._alone = False  # whether one did in the turn before
        self._paused = PausedSenders(self._has_room, soon)
        self._draining = False  # whether those who tell much wait until the batch is settled
        self._settled = 0  # of the batch, when it was looked at
        self._told_at = 0.0  # when the batch began
        self._lazy_timer = clock.timer(self._when_due)
        self._retry_timer = clock.timer(self._retry)
        self._disk_timer = clock.timer(self._look)
        self._idle_timer = clock.timer(self._shrink)
        self._idle_timer.set(clock.now() + IDLE_SECONDS)
        self._disk_timer.set(clock.now() if disk_free else None)
        self._writer = Writer(self.tables, self._file, self._disk_space, post)
        self._logs = SQLiteLogs(self, self.tables, self._writer, clock)
        if not self.tables.marked:
            log.error(
                "%s: its disk is full; what waits can be consumed, and what is consumed is written "
                "when there is room",
                self._file,
            )
            self._batch.marks = True
            self._soon(self._flush)

    @property
    def keeps_logs(self) -> bool:
        """Yes, each block of entries as a row."""
        return True

    @property
    def logs(self) -> SQLiteLogs:
        """Its logs, in the same file."""
        return self._logs

    @property
    def last_sequence(self) -> int:
        """Of what was there when it was opened."""
        return self.tables.last_sequence

    def stats(self) -> StoreStats:
        """How it is doing."""
        size = free = 0
        with contextlib.suppress(OSError):  # a lost volume; `trouble` will say so
            size, free = self._disk_space.used(), self._disk_space.free()
        return StoreStats(
            self.trouble,
            size,
            free,
            self._batch.size + (0 if self._writing is None else self._writing.size),
            self._commits,
            self._writer.commit_seconds,
            len(self.tables.damaged) + self._logs.damaged,
        )

    # -- what survived ------------------------------------------------------------------------

    def restore(self) -> Iterator[Restored]:
        """Every message on disk, without its body.

        Raises:
            StoreError: the file is damaged.
        """
        known = set(self.tables.damaged)
        yield from self.tables.restore()
        for damaged in self.tables.damaged.values():
            if damaged.sequence not in known:
                self._say_damaged(damaged)
        if self.tables.damaged:
            log.warning(
                "%s: %d damaged messages are set aside; `stompy-broker store check` lists them",
                self._file,
                len(self.tables.damaged),
            )

    def _say_damaged(self, damaged: Damaged) -> None:
        log.error(
            "%s: message %d of %s is damaged: %s; it is given to nobody, and stays in the file "
            "for `stompy-broker store export`",
            self._file,
            *damaged,
        )
        self._listener.damaged(damaged)

    def entries_damaged(self, damaged: DamagedEntries) -> None:
        """Say that entries of a log are read past."""
        log.error(
            "%s: log %s is damaged from entry %d to before %d: %s; they are given to nobody, and "
            "what is left of them stays in the file",
            self._file,
            *damaged,
        )
        self._listener.damaged(damaged)

    def queues(self) -> Mapping[str, Mapping[str, str]]:
        """The set-up of queues on disk."""
        return self.tables.set_up_queues()

    def subscriptions(self) -> list[StoredSubscription]:
        """Every durable subscription on disk."""
        return self.tables.subscriptions()

    # -- what happens -------------------------------------------------------------------------

    def append(self, destination: str, message: Message) -> None:
        """Put a message into the batch, from which it is taken if it is removed soon."""
        batch = self._batch
        batch.appended[message] = destination
        batch.bytes += message.size
        if not self._flush_is_due:
            self._flush_lazily()

    def mark_delivered(
        self, message: Message, deliveries: int, due: int = 0, holder: int = 0
    ) -> None:
        """Put into the batch how often a message was delivered, and who has it."""
        failures = 0 if message.redelivery is None else message.redelivery.failures
        self._batch.delivery_states[message] = (deliveries, failures, due, holder)
        if not self._flush_is_due:
            self._flush_lazily()

    def remove(self, message: Message) -> None:
        """Take a message out of the batch if it is there; have it deleted otherwise."""
        batch = self._batch
        batch.delivery_states.pop(message, None)
        if batch.appended.pop(message, None) is not None:
            batch.bytes -= message.size
            batch.taken_back += 1
            return
        if message.sequence in self.tables.damaged:
            return
        batch.removed.append(message.sequence)
        if not self._flush_is_due:
            self._flush_lazily()

    def pass_on(self, sequence: int) -> None:
        """Have the message go first that had this sequence."""
        self._batch.passed_on.add(sequence)

    def is_written(self, message: Message) -> bool:
        """Whether it is in no batch any more."""
        if message in self._batch.appended:
            return False
        return self._writing is None or message not in self._writing.appended

    def load(self, messages: Sequence[Message], done: Callback) -> None:
        """Have bodies read from disk: who has none was written before."""
        wanted = {message.sequence: message for message in messages}
        self._writer.read(
            list(wanted),
            partial(self._loaded, wanted, done),
            partial(self._cannot_read, wanted, done),
        )

    def keep_queue(self, name: str, headers: Mapping[str, str] | None) -> None:
        """Put the set-up of a queue, or its end, into the batch."""
        self._batch.settings[name] = headers
        self._flush_lazily()

    def keep_subscription(self, subscription: StoredSubscription) -> None:
        """Put a durable subscription into the batch."""
        self._batch.kept[subscription.name] = subscription
        self._flush_lazily()

    def drop_subscription(self, name: str) -> None:
        """Put the end of a durable subscription into the batch."""
        self._batch.kept[name] = None
        self._flush_lazily()

    def log_changes(self) -> LogChanges:
        """The changes of logs in the batch, which is written soon."""
        if not self._flush_is_due:
            self._flush_lazily()
        changes = self._batch.logs
        if changes is None:
            changes = self._batch.logs = LogChanges()
        return changes

    def ids(self) -> Iterator[StoredId]:
        """Every duplicate id on disk."""
        return self.tables.duplicate_ids.restore(self.tables.connection)

    def keep_id(
        self, destination: str, sequence: int, value: bytes, until: int, shown: int = 0
    ) -> None:
        """Put a duplicate id into the batch."""
        self._batch.ids[sequence] = (destination, sequence, value, until, shown)
        if not self._flush_is_due:
            self._flush_lazily()

    def drop_ids(self, sequences: Sequence[int]) -> None:
        """Take duplicate ids out of the batch that are there; have the others deleted."""
        batch = self._batch
        for sequence in sequences:
            if batch.ids.pop(sequence, None) is None:
                batch.dropped_ids.append(sequence)
        if not self._flush_is_due:
            self._flush_lazily()

    def sync(self, done: Callback) -> None:
        """Call ``done`` after the next commit; it begins at the end of this turn if none is on."""
        if self._batch.empty and self._writing is None:
            # All that was told is safe already.
            done()
            return
        self._batch.waiting.append(done)
        self._asked += 1
        self._flush_soon()

    @property
    def busy(self) -> bool:
        """Whether the writer writes or reads."""
        return self._writing is not None or self._writer.busy > 0

    @property
    def gathered(self) -> int:
        """The weight of the batch."""
        return self._batch.weight

    def end_of_read(self, before: int) -> bool:
        """Write for a sender who was alone in the turn before; hold back one who told too much."""
        # A lone sender's receipt leaves a turn of the event loop sooner like this: 8 % more
        # messages (``benchmarks/peers.py``, *durable, window 1*).
        if self._alone and self._asked == 1 and self._batch.waiting:
            self._flush()
            return False
        gathered = self._batch.weight
        if self._draining:
            if len(self._batch.appended) > _FEW:
                return gathered - before >= _MUCH
            self._flush()
            return False
        # Where most is settled little is to wait at a time, so that it is settled soon.
        settles = self._batch.taken_back > len(self._batch.appended)
        if gathered < (_BATCH // 4 if settles else _BATCH):
            return False
        if self._writing is None:
            return self._flush_or_drain() and gathered - before >= _MUCH
        # The writer is behind. Who tells little need not wait, unless there are very many of them.
        much = gathered - before >= _MUCH
        return not self.trouble and (much or before < gathered >= _BATCH * _OVERLOADED)

    def wait(self, go_on: Callable[[], None]) -> None:
        """Call ``go_on`` when there is room in a batch, in the order of who asked."""
        self._paused.add(go_on)

    def forget(self, go_on: Callable[[], None]) -> None:
        """Do not call ``go_on`` any more."""
        self._paused.forget(go_on)

    def close(self) -> None:
        """Write everything, say that all is in order, unlock. Who waits is not told any more."""
        self._closed = True
        self._logs.close()
        self._writer.stop()
        try:
            for batch in (self._writing, self._batch):
                if batch is not None and not batch.safe and not batch.empty:
                    self._writer.write_here(batch)
            self.tables.connection.execute("UPDATE state SET clean = 1")
            self.tables.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            log.error("%s: the last changes could not be written: %s", self._file, error)
        self.tables.connection.close()
        os.close(self._lock)

    # -- handing over -------------------------------------------------------------------------

    def _flush_lazily(self) -> None:
        self._flush_is_due, self._told_at = True, self._clock.now()
        self._lazy_timer.set(self._told_at + LAZY_SECONDS)

    def _when_due(self) -> None:
        self._flush_or_drain()

    def _flush_soon(self) -> None:
        self._flush_is_due = True
        if self._writing is None and len(self._batch.waiting) == 1:
            self._soon(self._end_turn)

    def _end_turn(self) -> None:
        self._alone, self._asked = self._asked == 1, 0
        self._flush()

    def _flush_or_drain(self) -> bool:
        """Write what is due, unless it is being settled; say whether it waits for that."""
        batch, now = self._batch, self._clock.now()
        left, settled = len(batch.appended), batch.taken_back + len(batch.removed)
        if not self._draining:
            self._settled = 0
        self._draining = (
            (settled - self._settled) * _SETTLED_SHARE > left > _FEW
            and now < self._told_at + LAZY_SECONDS * 3 / 2
            and not (batch.waiting or self._writing or self.trouble)
        )
        self._settled = settled
        if self._draining:
            self._lazy_timer.set(now + _DRAIN_SECONDS)
            return True
        self._flush()
        return False

    def _flush(self) -> None:
        """Give the writer what was gathered, unless it is still busy."""
        self._draining = False
        if self._writing is None:
            self._flush_is_due = False
            self._lazy_timer.cancel()
            if not self._batch.empty:
                self._hand_over()
            else:
                self._confirm(self._batch)
                self._paused.resume()

    def _hand_over(self) -> None:
        batch, self._batch = self._batch, Batch()
        self._writing = batch
        self._paused.resume()
        writer = self._writer
        # Waking the thread and being woken by it takes as long as a commit on a quick disk.
        in_place = (
            writer.commit_seconds < _QUICK_SECONDS
            and not writer.busy
            and batch.size <= _SMALL
            and batch.pages <= _SMALL_PAGES
        )
        if not in_place:
            writer.write(batch, partial(self._written, batch), self._failed)
            return
        try:
            writer.write_here(batch)
        except Exception as error:
            self._failed(error)
        else:
            self._written(batch)

    def _has_room(self) -> bool:
        return bool(self.trouble) or self._batch.weight < _BATCH

    def _written(self, batch: Batch) -> None:
        if self._closed:
            return
        if self._failure:
            log.warning("%s: can be written again", self._file)
            self._failure = ""
            self._update_trouble()
        self._writing = None
        self._commits += 1
        self._idle_timer.set(self._clock.now() + IDLE_SECONDS)
        if batch.logs is not None:
            self._logs.written(batch.logs)
        self._writer.checkpoint_if_due(self._looked)
        # Receipts first: somebody waits for them. Bodies may leave memory after that.
        self._confirm(batch)
        self._listener.written(self._still_waiting(batch))
        # Who asked meanwhile, or told much, is not to wait for the lazy timer.
        if self._batch.waiting or self._batch.weight >= _BATCH:
            self._flush_or_drain()
            return
        self._paused.resume()
        if self._flush_is_due:
            self._lazy_timer.set(self._clock.now() + LAZY_SECONDS)

    def _still_waiting(self, batch: Batch) -> Iterator[Message]:
        """The messages of a batch that nobody was given meanwhile."""
        moved = {*batch.delivery_states, *self._batch.delivery_states}
        gone = set(self._batch.removed)
        for message in batch.appended:
            if message not in moved and message.sequence not in gone:
                yield message

    def _confirm(self, batch: Batch) -> None:
        waiting, batch.waiting = batch.waiting, []
        call_all(waiting)
        if len(waiting) == 1:
            self._listener.released()

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
        self._update_trouble()
        self._retry_timer.set(self._clock.now() + RETRY_SECONDS)

    def _update_trouble(self) -> None:
        """Say what is wrong just now, and tell when that begins and ends."""
        was, self.trouble = self.trouble, self._failure or self._shortage
        if self.trouble:
            # Who needs the disk waits for its recovery, the others for nobody.
            self._paused.resume()
        if bool(was) != bool(self.trouble):
            self._listener.troubled(bool(self.trouble))

    def _retry(self) -> None:
        batch = self._writing
        if batch is not None:
            # With what came after it: what was consumed meanwhile needs no room any more.
            later, self._batch = self._batch, Batch()
            batch.absorb(later)
            self._writer.write(batch, partial(self._written, batch), self._failed)

    # -- what the writer answers --------------------------------------------------------------

    def _loaded(
        self,
        wanted: Mapping[int, Message],
        done: Callback,
        bodies: Mapping[int, bytes],
        damaged: Sequence[Damaged],
    ) -> None:
        """Give the messages of `load` their bodies. One that is not there or damaged stays None."""
        for sequence, body in bodies.items():
            wanted[sequence].body = body
        for one in damaged:
            if one.sequence not in self.tables.damaged:
                self.tables.damaged[one.sequence] = one
                self._batch.damaged.append(one)
                self._say_damaged(one)
                self._flush_lazily()
        missing = len(wanted) - len(bodies) - len(damaged)
        if missing:
            log.error("%s: %d bodies are not there", self._file, missing)
        done()

    def _cannot_read(self, wanted: Mapping[int, Message], done: Callback, error: Exception) -> None:
        log.error("%s: cannot be read: %s; trying again", self._file, error, exc_info=_ours(error))
        retry = self._clock.timer(lambda: self.load(list(wanted.values()), done))
        retry.set(self._clock.now() + RETRY_SECONDS)

    def _shrink(self) -> None:
        """Give room back to the disk, unless there is something to write."""
        if self._writing is None and self._batch.empty and not self.trouble:
            self._logs.tidy(is_idle=True)
            self._writer.shrink(self._shrunk)
        else:
            self._idle_timer.set(self._clock.now() + IDLE_SECONDS)

    def _shrunk(self, more: bool) -> None:
        if more and not self._closed:
            self._idle_timer.set(self._clock.now() + _SHRINK_SECONDS)

    def logs_tidied(self) -> None:
        """Give room back to the disk in a while."""
        self._idle_timer.set(self._clock.now() + IDLE_SECONDS)

    def _look(self) -> None:
        self._writer.look(self._looked)

    def _looked(self, shortage: str) -> None:
        if self._closed:
            return
        if shortage and not self._shortage:
            log.error("%s: takes no more messages: %s", self._file, shortage)
        elif self._shortage and not shortage:
            log.warning("%s: takes messages again: there is room", self._file)
        self._shortage = shortage
        self._update_trouble()
        if self._disk_space.mark:
            wait = RETRY_SECONDS if shortage else DISK_SECONDS
            self._disk_timer.set(self._clock.now() + wait)


def _ours(error: Exception) -> Exception | None:
    """Keep for the log what is not of SQLite: it is a fault of ours, and its place matters."""
    return None if isinstance(error, sqlite3.Error) else error
