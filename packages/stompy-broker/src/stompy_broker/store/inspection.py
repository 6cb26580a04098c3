"""A look into a data directory that no broker uses: check, count, save. Changes nothing in it.

The directory is locked meanwhile, so no broker starts on it. SQLite is kept from writing: a
database whose WAL is empty is opened as unchangeable. One with a WAL, as a crash leaves it, is
opened for reading without SQLite's own locks, which it could not take in a file that it may not
write to; its changes are read from the WAL, and stay there.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import sys
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from stompy.errors import ProtocolError
from stompy_broker.destinations.names import RETAINED, DestinationKind
from stompy_broker.store.base import StoredSubscription, StoreError
from stompy_broker.store.directory import FILE, damage, lock_directory, translated
from stompy_broker.store.log_inspection import (
    ExportedEntry,
    LogCount,
    check_logs,
    count_logs,
    export_logs,
)
from stompy_broker.store.rows import BODY_LENGTH, CONTENT, check_content, restored_head
from stompy_broker.store.schema import STEPS, check_ours

_FINDINGS = 100
"""At most so many of SQLite's findings are told."""

_LAST = 2**63 - 1
_INNER_PAGE = 5

_WAL_MAGIC = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")

_ROW = f"SELECT {CONTENT}, deliveries FROM message"


_RETAINED = f"{DestinationKind.QUEUE.value}{RETAINED}"
"""The queue of what topics keep."""

_Row = tuple[Any, ...]
"""As it was read: in a damaged database anything may stand anywhere."""


@dataclass(frozen=True, slots=True)
class QueueCount:
    """What one queue has on disk.

    Attributes:
        destination: the queue; None for messages whose queue is missing.
        messages: how many.
        bytes: their headers and bodies.
        oldest: when the oldest came, in milliseconds since the epoch; None without messages.
    """

    destination: str | None
    messages: int
    bytes: int
    oldest: int | None


@dataclass(frozen=True, slots=True)
class Stats:
    """What a data directory holds.

    Attributes:
        queues: by destination.
        logs: streams, and what was in queues, by name.
        subscriptions: the durable ones, by name.
        damaged: messages that a broker has set aside; they are not counted in their queues.
        files: the length of each file of the database, by name.
    """

    queues: list[QueueCount]
    logs: list[LogCount]
    subscriptions: list[StoredSubscription]
    damaged: int
    files: dict[str, int]


@dataclass(frozen=True, slots=True)
class Exported:
    """A message as it is on disk.

    Attributes:
        destination: its queue; None when that cannot be read.
        message_id: as consumers see it.
        sequence: its place.
        received_at: milliseconds since the epoch.
        deliveries: begun so far.
        expires: milliseconds since the epoch, or 0.
        priority: 0 to 9.
        headers: as they are passed on.
        body: the body.
        damaged: in what way it is not what was written any more; empty = it is.
        retained: whether it is what a topic keeps for who subscribes later; ``destination`` is
            that topic then.
    """

    destination: str | None
    message_id: str
    sequence: int
    received_at: int
    deliveries: int
    expires: int
    priority: int
    headers: dict[str, str]
    body: bytes
    damaged: str
    retained: bool = False


class Inspection:
    """A data directory, locked and open for reading. Get one from `inspected`.

    Attributes:
        problems: what `export` could not read.
    """

    def __init__(self, file: Path, connection: sqlite3.Connection) -> None:
        self.problems: list[str] = []
        self._leaf_starts: list[int] | None = None
        self._file = file
        self._connection = connection

    def check(self) -> list[str]:
        """Everything that is wrong; empty when all is well."""
        try:
            found = damage(self._connection, _FINDINGS, thorough=True)
            found += self._without_queue()
            found += self._garbled_settings()
            found += self._miscounted_bodies()
            found += self._damaged_messages()
            found += check_logs(self._connection)
        except sqlite3.Error as error:
            return [f"{self._file}: cannot be looked through: {error}"]
        return found

    def _without_queue(self) -> list[str]:
        rows = self._connection.execute(
            "SELECT queue, count(*), min(sequence) FROM message "
            "WHERE queue NOT IN (SELECT id FROM queue) "
            "AND sequence NOT IN (SELECT sequence FROM damaged) GROUP BY queue"
        )
        return [
            f"queue {queue} is missing, and has {count} messages; the first is {first}"
            for queue, count, first in rows
        ]

    def _garbled_settings(self) -> list[str]:
        rows = self._connection.execute(
            "SELECT 'the set-up of queue ' || queue, headers FROM settings UNION ALL "
            "SELECT 'the durable subscription ' || name, settings FROM subscription"
        )
        found = []
        for what, text in rows:
            try:
                garbled = not isinstance(json.loads(text), dict)
            except (TypeError, ValueError):
                garbled = True
            if garbled:
                found.append(f"{what} is garbled: no broker starts on it")
        return found

    def _miscounted_bodies(self) -> list[str]:
        rows = self._connection.execute(
            "SELECT id, messages, count(shared) FROM body LEFT JOIN "
            "(SELECT body AS shared FROM message WHERE typeof(body) = 'integer') "
            "ON shared = id GROUP BY id HAVING messages != count(shared)"
        )
        return [
            f"body {number} is shared by {there} messages, and counts {counted}"
            for number, counted, there in rows
        ]

    def _damaged_messages(self) -> list[str]:
        """Those that a broker has set aside, and those that no broker has come across yet."""
        aside = self._set_aside()
        found = [
            f"message {sequence} of {destination} is set aside: {reason}"
            for sequence, (destination, reason) in aside.items()
        ]
        names = self._names()
        for row in self._connection.execute(f"SELECT {CONTENT} FROM message"):
            if len(found) > _FINDINGS:
                found.append("there may be more of them")
                break
            if row[0] not in aside and (reason := check_content(row)):
                found.append(f"message {row[0]} of {names.get(row[1])} is damaged: {reason}")
        return found

    def _set_aside(self) -> dict[int, tuple[str, str]]:
        rows = self._connection.execute("SELECT sequence, destination, reason FROM damaged")
        return {sequence: (destination, reason) for sequence, destination, reason in rows}

    def stats(self) -> Stats:
        """What there is.

        Raises:
            StoreError: the database is damaged.
        """
        with translated(self._file):
            queues = self._connection.execute(
                "SELECT destination, count(sequence), "
                f"coalesce(sum(length(head) + {BODY_LENGTH}), 0), min(received) "
                "FROM queue LEFT JOIN message ON queue = id "
                "AND sequence NOT IN (SELECT sequence FROM damaged) GROUP BY id "
                f"UNION ALL SELECT NULL, count(*), sum(length(head) + {BODY_LENGTH}), "
                "min(received) "
                "FROM message WHERE queue NOT IN (SELECT id FROM queue) "
                "AND sequence NOT IN (SELECT sequence FROM damaged) HAVING count(*) > 0 "
                "ORDER BY destination"
            )
            subscriptions = self._connection.execute(
                "SELECT name, pattern, settings FROM subscription ORDER BY name"
            )
            return Stats(
                [QueueCount(*row) for row in queues],
                count_logs(self._connection),
                [StoredSubscription(*row) for row in subscriptions],
                len(self._set_aside()),
                {
                    file.name: file.stat().st_size
                    for file in sorted(self._file.parent.glob(f"{FILE}*"))
                },
            )

    def export(self) -> Iterator[Exported]:
        """Every message that can be read, by sequence; the rest is told in `problems`."""
        names, aside = self._names(), self._set_aside_if_readable()
        for row in self._rows():
            try:
                message = _exported(names, row)
            except (ProtocolError, TypeError, ValueError, OverflowError) as error:
                self.problems.append(f"message {row[0]} cannot be read: {error}")
                continue
            if message.sequence in aside:
                destination, reason = aside[message.sequence]
                message = replace(message, destination=destination, damaged=reason)
            if message.damaged:
                self.problems.append(f"message {message.sequence} is damaged: {message.damaged}")
            elif message.destination is None:
                self.problems.append(f"message {message.sequence} is in no queue that is known")
            yield message

    def export_logs(self) -> Iterator[ExportedEntry]:
        """Every entry of logs that can be read; the rest is told in `problems`."""
        return export_logs(self._connection, self.problems)

    def _set_aside_if_readable(self) -> dict[int, tuple[str, str]]:
        try:
            return self._set_aside()
        except sqlite3.Error as error:
            self.problems.append(f"it cannot be told which messages were set aside: {error}")
            return {}

    def _names(self) -> dict[int, str]:
        names: dict[int, str] = {}
        try:
            rows = self._connection.execute("SELECT id, destination FROM queue NOT INDEXED")
            for row in rows:
                names[row[0]] = row[1]
        except sqlite3.Error as error:
            self.problems.append(f"the names of queues cannot all be read: {error}")
        return names

    def _rows(self) -> Iterator[_Row]:
        """The rows of messages; what is damaged is stepped over."""
        at: int | None = -_LAST
        while at is not None:
            try:
                for row in self._connection.execute(
                    f"{_ROW} WHERE sequence >= ? ORDER BY sequence", (at,)
                ):
                    if row[0] >= at:  # a damaged page may lead back
                        at = row[0] + 1
                        yield row
                return
            except sqlite3.Error as error:
                at = self._next(at, error)

    def _next(self, at: int, error: sqlite3.Error) -> int | None:
        """Where to go on when nothing can be read from a place."""
        try:
            bad = self._first(at)
        except sqlite3.Error:
            beyond = self._beyond(at)
            end = "to the end" if beyond is None else f"to {beyond - 1}"
            start = "from the start" if at == -_LAST else f"from {at}"
            self.problems.append(f"messages {start} {end} cannot be read: {error}")
            return beyond
        if bad is None:
            self.problems.append(f"messages may be missing at the end: {error}")
            return None
        self.problems.append(f"message {bad} cannot be read: {error}")
        return bad + 1

    def _first(self, at: int) -> int | None:
        """The sequence of the first message from a place on, whether it can be read or not.

        Raises:
            sqlite3.Error: the place is damaged.
        """
        found = self._connection.execute(
            "SELECT sequence FROM message WHERE sequence >= ? ORDER BY sequence LIMIT 1", (at,)
        ).fetchone()
        return None if found is None else max(found[0], at)

    def _beyond(self, bad: int) -> int | None:
        """The first message after a damaged place, or None.

        The file tells where its leaves begin. Where it does not, because that is damaged as well or
        still in the WAL: gropes upward in growing steps. Where that led over sound places to a
        second damaged one, groping downward from there finds them.
        """
        leaves = self._leaves()
        for place in leaves[bisect_right(leaves, bad) :]:
            if self._sound(place):
                return self._first(place)
        bad = max(bad, 0)  # sequences are positive
        sound = self._grope(bad, _LAST)
        good = None
        while sound is not None:
            good = self._edge(bad, sound)
            sound = self._grope(good - 1, bad)
        return None if good is None else self._first(good)

    def _leaves(self) -> list[int]:
        """Where the table's leaves begin, from its inner pages, which are read past SQLite."""
        if self._leaf_starts is None:
            try:
                (root,) = self._connection.execute(
                    "SELECT rootpage FROM sqlite_master WHERE name = 'message'"
                ).fetchone()
                (size,) = self._connection.execute("PRAGMA page_size").fetchone()
                starts = set(_leaf_starts(self._file, root, size))
                self._leaf_starts = sorted(start for start in starts if start <= _LAST)
            except (sqlite3.Error, OSError, TypeError):
                self._leaf_starts = []
        return self._leaf_starts

    def _grope(self, bad: int, end: int) -> int | None:
        """A sound place between a damaged one and an end, or None."""
        step, way = 1, 1 if end > bad else -1
        while step < abs(end - bad):
            if self._sound(bad + way * step):
                return bad + way * step
            step *= 2
        return None

    def _edge(self, bad: int, good: int) -> int:
        """A sound place right after a damaged one, between two such places."""
        while good - bad > 1:
            middle = (bad + good) // 2
            if self._sound(middle):
                good = middle
            else:
                bad = middle
        return good

    def _sound(self, at: int) -> bool:
        try:
            self._first(at)
        except sqlite3.Error:
            return False
        return True


@contextlib.contextmanager
def inspected(directory: Path) -> Iterator[Inspection]:
    """Lock a data directory, and open its database for reading.

    Raises:
        StoreError: it is in use, absent, not ours, of another release, or cannot be read at all.
    """
    file = directory / FILE
    if not file.is_file():
        raise StoreError(f"{directory}: holds no {FILE}")
    lock = lock_directory(directory)
    try:
        with translated(file):
            connection = _open(file)
        with contextlib.closing(connection):
            yield Inspection(file, connection)
    finally:
        os.close(lock)


def _open(file: Path) -> sqlite3.Connection:
    wal = file.with_name(f"{file.name}-wal")
    how = "vfs=unix-none" if _is_wal(wal) else "immutable=1"
    # Bound to the lock on the directory: nobody else may write while these are in use.
    connection = sqlite3.connect(
        f"file:{quote(str(file.absolute()))}?mode=ro&{how}", uri=True, isolation_level=None
    )
    try:
        if sys.version_info >= (3, 12):
            connection.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)
        # So that there is no shared memory beside the WAL.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        check_ours(connection, str(file))
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version < len(STEPS):
            raise StoreError(
                f"{file} has version {version}, this program reads {len(STEPS)}; "
                "start a broker of this release on it once"
            )
    except BaseException:
        connection.close()
        raise
    return connection


def _is_wal(file: Path) -> bool:
    """Whether there is a WAL to be read. SQLite ignores what is none, and may delete it."""
    try:
        with file.open("rb") as stream:
            return stream.read(len(_WAL_MAGIC[0])) in _WAL_MAGIC
    except FileNotFoundError:
        return False


def _leaf_starts(file: Path, root: int, size: int) -> Iterator[int]:
    """The smallest rowid that each leaf of a table may hold, but for the first.

    See *B-tree Pages* in SQLite's description of its file format. What is no inner page of a table
    is passed over.
    """
    with file.open("rb") as stream:
        pages, seen = [root], set[int]()
        while pages:
            number = pages.pop()
            if number < 1 or number in seen:
                continue
            seen.add(number)
            stream.seek((number - 1) * size)
            page = stream.read(size)
            if len(page) < size or page[0] != _INNER_PAGE:
                continue
            pages.append(int.from_bytes(page[8:12], "big"))
            for cell in range(int.from_bytes(page[3:5], "big")):
                at = int.from_bytes(page[12 + 2 * cell : 14 + 2 * cell], "big")
                pages.append(int.from_bytes(page[at : at + 4], "big"))
                yield _varint(page[at + 4 : at + 13]) + 1


def _varint(data: bytes) -> int:
    value = 0
    for octet in data[:8]:
        value = value << 7 | octet & 0x7F
        if octet < 0x80:  # noqa: PLR2004 -- the last one has no high bit
            return value
    return value << 8 | data[-1] if data else 0


def _exported(names: dict[int, str], row: _Row) -> Exported:
    sequence, queue, received, expires, flags, message_id, block, body, _, deliveries = row
    if not (isinstance(block, bytes) and isinstance(body, bytes)):
        raise TypeError("its row is garbled")
    shown = message_id if isinstance(message_id, bytes) else b"%d" % sequence
    head = restored_head(block, flags, shown)
    damaged = check_content(row[:-1])
    try:
        headers = head.headers()
    except (ProtocolError, ValueError):
        headers, damaged = {}, damaged or "its headers cannot be read"
    destination = names.get(queue)
    retained = destination == _RETAINED
    return Exported(
        headers.get("destination", destination) if retained else destination,
        shown.decode("utf-8", "surrogateescape"),
        sequence,
        received,
        deliveries,
        expires,
        head.priority,
        headers,
        body,
        damaged,
        retained,
    )
