"""Stores without an event loop: the test ends the turns, and sees every statement that is run."""

from __future__ import annotations

import shutil
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, cast

from tests.support.house import Time, make_router

from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message
from stompy_broker.routing.router import Router
from stompy_broker.store import directory
from stompy_broker.store.base import StoredId, StoredSubscription
from stompy_broker.store.batch import Damaged
from stompy_broker.store.directory import FILE
from stompy_broker.store.entry_log import LogPage
from stompy_broker.store.interface import MessageStore
from stompy_broker.store.log_reading import DamagedEntries
from stompy_broker.store.memory import MemoryStore
from stompy_broker.store.sqlite import SQLiteStore, StoreListener

PATIENCE = 10.0
"""Seconds after which a writer that should have answered counts as stuck."""


@contextmanager
def short_wal() -> Iterator[None]:
    """Stores that are opened meanwhile do not lay out their WAL: it takes time, and copies do."""
    usual, directory.WAL_BYTES = directory.WAL_BYTES, 0
    yield
    directory.WAL_BYTES = usual


class Turns:
    """An event loop's turns, ended by hand.

    Attributes:
        time: the clock that stores and queues go by.
    """

    def __init__(self) -> None:
        self.time = Time()
        self._soon: deque[Callable[[], None]] = deque()
        self._posted: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def soon(self, action: Callable[[], None]) -> None:
        """Do something at the end of the turn."""
        self._soon.append(action)

    def post(self, action: Callable[[], None]) -> None:
        """The same, from another thread."""
        self._posted.put(action)

    def end(self) -> None:
        """End a turn: do what was put off and what other threads have posted until now."""
        for _ in range(self._posted.qsize()):
            self._soon.append(self._posted.get())
        for _ in range(len(self._soon)):
            self._soon.popleft()()

    def until(self, condition: Callable[[], object]) -> None:
        """Let turns pass until something holds."""
        while not condition():
            self.end()
            if not condition() and not self._soon:
                self._soon.append(self._posted.get(timeout=PATIENCE))


class Tapped:
    """A database connection that tells of each statement before it runs and after.

    Args:
        connection: the real one.
        tap: given the statement, and whether it has run. What it raises, the statement raises.
    """

    def __init__(self, connection: sqlite3.Connection, tap: Callable[[str, bool], None]) -> None:
        self._connection = connection
        self._tap = tap

    def execute(self, statement: str, values: Iterable[Any] = ()) -> sqlite3.Cursor:
        """Run a statement."""
        self._tap(statement, False)
        cursor = self._connection.execute(statement, tuple(values))
        self._tap(statement, True)
        return cursor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class Shelf:
    """A place where a store keeps things, and the store that is open there just now.

    Args:
        directory: where SQLite keeps its files; None = in memory.

    Attributes:
        store: the open store.
        router: who is told what is on disk, as in a broker; None = nobody.
        written: sequences that were told to be on disk.
        trouble: what was told about trouble, in order.
        damaged: messages and entries of logs that were told to be damaged.
    """

    def __init__(self, directory: Path | None) -> None:
        self.directory = directory
        self.turns = Turns()
        self.router: Router | None = None
        self.written: list[int] = []
        self.trouble: list[bool] = []
        self.damaged: list[Damaged | DamagedEntries] = []
        self.store: MessageStore = MemoryStore(durable=True)
        if directory is not None:
            self.store = self._open(directory)

    def _open(self, directory: Path) -> SQLiteStore:
        return SQLiteStore(
            directory,
            self.turns.time.clock,
            self.turns.soon,
            self.turns.post,
            listener=StoreListener(self._on_disk, self._troubled, damaged=self.damaged.append),
        )

    def _on_disk(self, messages: Iterable[Message]) -> None:
        written = list(messages)
        self.written += [message.sequence for message in written]
        if self.router is not None:
            self.router.on_disk(written)

    def _troubled(self, trouble: bool) -> None:
        self.trouble.append(trouble)
        if self.router is not None:
            self.router.store_troubled(trouble)

    @property
    def sqlite(self) -> SQLiteStore:
        """The open store, which is on disk."""
        assert isinstance(self.store, SQLiteStore)
        return self.store

    def tap(self, tap: Callable[[str, bool], None]) -> None:
        """Be told of every statement; see `Tapped`."""
        real = self.sqlite.tables.connection
        self.sqlite.tables.connection = cast(sqlite3.Connection, Tapped(real, tap))

    def sync(self) -> None:
        """Wait until everything told so far is safe."""
        safe: list[bool] = []
        self.store.sync(lambda: safe.append(True))
        self.turns.until(lambda: safe)

    def load(self, *messages: Message) -> None:
        """Wait until messages have their bodies back."""
        loaded: list[bool] = []
        self.store.load(messages, lambda: loaded.append(True))
        self.turns.until(lambda: loaded)

    def reopen(self) -> None:
        """Close the store and open it again."""
        self.leave()
        self.crash()

    def leave(self) -> None:
        """Close the store in good order."""
        self.store.close()

    def crash(self) -> None:
        """Open the store again, after `leave` or without."""
        self.router = None
        if self.directory is not None:
            self.turns = Turns()
            self.store = self._open(self.directory)

    def route(self, *policies: Policy, memory_mark: int = 1 << 30, disk_mark: int = 0) -> Router:
        """A router on this store, which restores what is there."""
        self.router = make_router(
            self.turns.time,
            *policies,
            memory_mark=memory_mark,
            disk_mark=disk_mark,
            store=self.store,
        )
        self.router.registry.restore()
        return self.router

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    def copy(self, target: Path) -> Path:
        """Copy the files as they are: what a crash would leave. No statement may be running."""
        assert self.directory is not None
        target.mkdir()
        for file in self.directory.glob(f"{FILE}*"):
            shutil.copyfile(file, target / file.name)
        return target


@dataclass(frozen=True)
class Kept:
    """One restored message, all of it, so that two can be compared."""

    destination: str
    sequence: int
    block: bytes
    told: tuple[bool, bool, bool, int, bytes | None]
    stamp: bytes
    deliveries: int
    due: int
    expires: int
    size: int
    body: bytes | None


@dataclass(frozen=True)
class KeptLog:
    """One log, all of it, so that two can be compared."""

    first: int
    next: int
    readers: dict[str, int]
    entries: tuple[tuple[object, ...], ...]


@dataclass(frozen=True)
class Contents:
    """Everything that a store has kept."""

    messages: tuple[Kept, ...]
    queues: dict[str, dict[str, str]]
    subscriptions: tuple[StoredSubscription, ...]
    logs: dict[str, KeptLog]
    ids: tuple[StoredId, ...] = ()


def contents(shelf: Shelf) -> Contents:
    """Everything that a store has kept. For a store that was just opened."""
    ids = tuple(shelf.store.ids())
    restored = list(shelf.store.restore())
    assert all(entry.message.body is None for entry in restored)
    shelf.load(*(entry.message for entry in restored))
    kept = []
    for entry in restored:
        message, head = entry.message, entry.message.head
        told = (head.sized, head.stamped, head.persistent, head.priority, head.message_id)
        kept.append(
            Kept(
                entry.destination,
                message.sequence,
                head.block,
                told,
                message.stamp,
                message.deliveries,
                entry.due,
                message.expires,
                message.size,
                message.body,
            )
        )
    subscriptions = sorted(shelf.store.subscriptions(), key=lambda kept: kept.name)
    queues = {name: dict(headers) for name, headers in shelf.store.queues().items()}
    return Contents(tuple(kept), queues, tuple(subscriptions), logs_of(shelf), ids)


def page_of(shelf: Shelf, log: str, offset: int, **how: Any) -> LogPage:
    """Wait for one page of a log."""
    pages: list[LogPage] = []
    shelf.store.logs.read(log, offset, pages.append, **how)
    shelf.turns.until(lambda: pages)
    return pages[0]


def logs_of(shelf: Shelf) -> dict[str, KeptLog]:
    """All logs of a store, read to their ends; none if it keeps none."""
    if not shelf.store.keeps_logs:
        return {}
    found = {}
    for name, ends in shelf.store.logs.ends().items():
        entries: list[tuple[object, ...]] = []
        at = ends.first
        while at < ends.next:
            page = page_of(shelf, name, at)
            entries += [(*one[:3], one.head.block, *one[4:]) for one in page.entries]
            at = page.next
        readers = dict(shelf.store.logs.readers(name))
        found[name] = KeptLog(ends.first, ends.next, readers, tuple(entries))
    return found


def contents_of(directory: Path) -> Contents:
    """Everything that the files of a data directory hold."""
    shelf = Shelf(directory)
    try:
        return contents(shelf)
    finally:
        shelf.close()
