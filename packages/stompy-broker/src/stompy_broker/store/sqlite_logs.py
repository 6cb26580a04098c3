"""The logs of a store on disk, as the event loop sees them (**hot path**).

What is told goes into the store's batch; the writer's thread packs it (`LogTables`). What is asked
is a job of that thread. After a commit it also deletes blocks that were cut off and merges small
ones, a few at a time and with other jobs in between.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol, TypeVar

from stompy_broker.message import OVERHEAD, Message
from stompy_broker.store.entry_log import (
    NO_ENTRIES,
    PAGE_BYTES,
    EntryLogs,
    LogEnds,
    LogPage,
    OffsetFound,
    PageRead,
    WantedValues,
    make_entry,
)
from stompy_broker.store.log_changes import LogChanges, LogState
from stompy_broker.store.log_reading import DamagedEntries, LogRead
from stompy_broker.store.log_tables import StoredLog
from stompy_broker.store.tables import Tables
from stompy_broker.store.writer import Writer
from stompy_broker.timers import Clock

log = logging.getLogger("stompy_broker.store")

_RETRY_SECONDS = 1.0

_TIDY_SECONDS = 10.0
"""After how long that is tried again which could not be tidied."""

_FEW_ROWS = 8
"""So many small blocks of a log are merged when there is nothing else to do."""

_Answer = TypeVar("_Answer")


class LogBatches(Protocol):
    """What logs ask of their store."""

    def log_changes(self) -> LogChanges:
        """The changes of logs in the batch, which is written soon."""
        ...

    def sync(self, done: Callable[[], None]) -> None:
        """Call ``done`` once everything told so far is safe."""
        ...

    def entries_damaged(self, damaged: DamagedEntries) -> None:
        """Say that entries are not what was written any more."""
        ...

    def logs_tidied(self) -> None:
        """Give room back to the disk when there is nothing else to do."""
        ...


class SQLiteLogs(EntryLogs):
    """The logs in ``messages.db``.

    Args:
        store: whose batches they are part of.
        tables: what is in the file.
        writer: the thread that reads and writes it.
        clock: for trying again.

    Attributes:
        damaged: how many entries were found to be.
    """

    def __init__(self, store: LogBatches, tables: Tables, writer: Writer, clock: Clock) -> None:
        self.damaged = 0
        self._store = store
        self._changes = store.log_changes
        self._tables = tables
        self._writer = writer
        self._clock = clock
        self._said: set[tuple[str, int]] = set()
        self._is_tidying = False
        self._tidies_from = 0.0
        self._closed = False
        self._logs: dict[str, LogState] = {}
        readers = tables.logs.readers(tables.connection)
        for name, stored in tables.logs.logs.items():
            self._logs[name] = _restored(stored, readers.get(name, {}))

    def ends(self) -> Mapping[str, LogEnds]:
        """Where each log begins and ends."""
        return {name: _ends(state) for name, state in self._logs.items()}

    def ends_of(self, log: str) -> LogEnds:
        """Where one log begins and ends."""
        state = self._logs.get(log)
        return NO_ENTRIES if state is None else _ends(state)

    def safe_next(self, log: str) -> int:
        """The offset behind the last entry that was written."""
        state = self._logs.get(log)
        return 0 if state is None else state.safe

    def readers(self, log: str) -> Mapping[str, int]:
        """The readers that a log has."""
        state = self._logs.get(log)
        return {} if state is None else dict(state.readers)

    # -- what happens -------------------------------------------------------------------------

    def append(
        self,
        log: str,
        message: Message,
        filter_value: str | None = None,
        payload: bytes = b"",
        stamp: bytes | None = None,
    ) -> int:
        """Put an entry into the batch."""
        state = self._logs.get(log)
        if state is None:
            state = self._logs[log] = LogState()
        offset = state.next
        at = message.stamp if stamp is None else stamp
        entry = make_entry(
            (offset, message.sequence, at, message.head, message.body, filter_value, payload)
        )
        size = message.size - OVERHEAD + len(payload)
        state.next = offset + 1
        state.total += size
        if not state.oldest:
            state.oldest = entry.received_at
        self._changes().append(log, state, entry, size)
        return offset

    def cut(self, log: str, first: int) -> None:
        """Put a new beginning of a log into the batch."""
        state = self._touch(log)
        state.first = min(max(state.first, first), state.next)
        self._changes().cuts[log] = state.first

    def keep_reader(self, log: str, name: str, offset: int | None) -> None:
        """Put the place of a reader, or its end, into the batch."""
        state = self._touch(log)
        if offset is None:
            state.readers.pop(name, None)
        else:
            state.readers[name] = offset
        self._changes().readers[log, name] = offset

    def _touch(self, log: str) -> LogState:
        state = self._logs.get(log)
        if state is None:
            state = self._logs[log] = LogState()
        self._changes().states[log] = state
        return state

    def drop(self, log: str) -> None:
        """Put the end of a log into the batch."""
        if self._logs.pop(log, None) is not None:
            self._changes().drop(log)

    # -- what is asked ------------------------------------------------------------------------

    def read(
        self,
        log: str,
        offset: int,
        done: PageRead,
        *,
        limit: int = PAGE_BYTES,
        wanted: WantedValues | None = None,
    ) -> None:
        """Have the writer's thread read a page, once there is something safe to read."""
        state = self._logs.get(log)
        if state is None:
            done(LogPage([], 0, 0))
            return
        offset = max(offset, state.first)
        if offset >= state.next:
            done(LogPage([], state.next, 0))
        elif offset >= state.safe:
            self._store.sync(partial(self.read, log, offset, done, limit=limit, wanted=wanted))
        else:
            self._ask(
                lambda: self._tables.logs.read(self._tables.connection, log, offset, limit, wanted),
                partial(self._read, done),
            )

    def _read(self, done: PageRead, read: LogRead) -> None:
        for one in read.damaged:
            # Its end is the same for whoever comes to it, from wherever.
            if (one.log, one.next) not in self._said:
                self._said.add((one.log, one.next))
                self.damaged += one.next - one.first
                self._store.entries_damaged(one)
        done(read.page)

    def find_time(self, log: str, time: int, found: OffsetFound) -> None:
        """Have the writer's thread search."""
        self._find(
            log,
            lambda: self._tables.logs.find_time(self._tables.connection, log, time),
            found,
        )

    def find_bytes(self, log: str, limit: int, found: OffsetFound) -> None:
        """Have the writer's thread search."""
        self._find(
            log,
            lambda: self._tables.logs.find_bytes(self._tables.connection, log, limit),
            found,
        )

    def _find(self, log: str, job: Callable[[], int], found: OffsetFound) -> None:
        state = self._logs.get(log)
        if state is None:
            found(0)
            return
        answered = partial(self._found, state, found)
        if state.safe < state.next:
            self._store.sync(partial(self._ask, job, answered))
        else:
            self._ask(job, answered)

    def _found(self, state: LogState, found: OffsetFound, offset: int) -> None:
        # It may have been cut since.
        found(min(max(offset, state.first), state.next))

    def _ask(self, job: Callable[[], _Answer], done: Callable[[_Answer], None]) -> None:
        self._writer.ask(job, done, partial(self._cannot, job, done))

    def _cannot(
        self, job: Callable[[], _Answer], done: Callable[[_Answer], None], error: Exception
    ) -> None:
        if not self._closed:
            log.error("a log cannot be read: %s; trying again", error)
            self._clock.timer(partial(self._ask, job, done)).set(self._clock.now() + _RETRY_SECONDS)

    # -- what the store says ------------------------------------------------------------------

    def written(self, changes: LogChanges) -> None:
        """Take note of what is safe now."""
        for name, state in changes.states.items():
            entries = changes.entries.get(name)
            if entries:
                state.safe = entries[-1].offset + 1
            stored = self._tables.logs.logs.get(name)
            if stored is not None:
                state.number = stored.number
        self.tidy()

    def tidy(self, *, is_idle: bool = False) -> None:
        """Delete what was cut off and merge small blocks, if there is something of the kind."""
        tables = self._tables.logs
        if self._is_tidying or self._closed or self._clock.now() < self._tidies_from:
            return
        if is_idle and not self._writer.busy:
            tables.merges |= {
                name for name, stored in tables.logs.items() if stored.rows >= _FEW_ROWS
            }
        if tables.is_untidy:
            self._is_tidying = True
            self._writer.ask(self._tidy, self._tidied, self._cannot_tidy)

    def _tidy(self) -> StoredLog | None:
        tables, connection = self._tables.logs, self._tables.connection
        swept = tables.sweep(connection)
        if swept is None and tables.merges:
            tables.merge(connection, next(iter(tables.merges)))
        return swept

    def _tidied(self, swept: StoredLog | None) -> None:
        self._is_tidying = False
        if swept is not None:
            for state in self._logs.values():
                if state.number == swept.number:
                    state.gone, state.oldest = swept.gone, swept.oldest
        if self._tables.logs.is_untidy:
            self.tidy()
        elif not self._closed:
            self._store.logs_tidied()

    def _cannot_tidy(self, error: Exception) -> None:
        # What is written after a while tries again.
        self._is_tidying = False
        self._tidies_from = self._clock.now() + _TIDY_SECONDS
        log.warning("small blocks of logs could not be merged or deleted: %s", error)

    def close(self) -> None:
        """Begin nothing any more."""
        self._closed = True


def _restored(stored: StoredLog, readers: dict[str, int]) -> LogState:
    state = LogState()
    state.number, state.first, state.next = stored.number, stored.first, stored.next
    state.safe, state.total, state.gone = stored.next, stored.total, stored.gone
    state.oldest, state.readers = stored.oldest, readers
    return state


def _ends(state: LogState) -> LogEnds:
    return LogEnds(state.first, state.next, state.total - state.gone, state.oldest)
