"""The tables of logs: a block is a row, found by its place.

The place of a block is the number of its log and the offset of its first entry in one integer, the
key of the table: so the blocks of a log stand one behind the other, are found without an index, and
go from the front without leaving holes. Beside its own times and bytes a row has the latest time,
the highest sequence and the bytes of all blocks up to it: what never falls can be searched.

**Few steps.** As in `stompy_broker.store.tables`: SQLite gives the interpreter's lock away at every
step, so a search is one statement, and small blocks that are to be merged are read in one step.

**Damage.** The columns of a row have a checksum, and its data ends with one that covers both. A
block that does not fit stays where it is, is given to nobody, and is read past.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from stompy_broker.store.entry_log import LogEntry, LogPage, WantedValues
from stompy_broker.store.log_block import BLOCK_BYTES, BLOCK_ENTRIES, BlockError, pack_blocks
from stompy_broker.store.log_changes import LogChanges
from stompy_broker.store.log_reading import LogRead, LogReading
from stompy_broker.store.log_rows import (
    BLOCK,
    HEADER,
    OFFSET_BITS,
    Row,
    block_row,
    check_header,
    joined,
    read_block,
    split_rows,
)

_TAKEN_OVER: Final = 128
"""So many bodies are taken over at a time."""

_SWEPT: Final = 32
"""So many blocks go at a time."""

_MERGED: Final = 128
"""So many rows behind the last full block are merged at a time."""

_TO_MERGE = f"""
SELECT {joined()} FROM (
    SELECT *, sum(length) OVER (ORDER BY place) - length AS before,
        total - content - first_value(total - content) OVER (ORDER BY place) AS filled
    FROM (
        SELECT * FROM log_block WHERE place >= ?1 AND place < ?2 ORDER BY place LIMIT {_MERGED}
    )
) WHERE before < {2 * BLOCK_ENTRIES} AND filled < ?3
"""
"""A part of the small blocks behind the last full one, in one step."""

_MIDDLE: Final = "(low + high) / 2"
_LOW: Final = f"iif(is_below, {_MIDDLE} + 1, low)"
_HIGH: Final = f"iif(is_below, high, {_MIDDLE})"
_IS_BELOW: Final = (
    "(SELECT {{below}} FROM log_block WHERE place <= {} AND place >= :base "
    "ORDER BY place DESC LIMIT 1)"
)

_SEARCH: Final = f"""
WITH RECURSIVE search (low, high, is_below) AS (
    VALUES (:first, :last, {_IS_BELOW.format("(:first + :last) / 2")})
    UNION ALL
    SELECT {_LOW}, {_HIGH}, {_IS_BELOW.format(f"({_LOW} + {_HIGH}) / 2")}
    FROM search WHERE low < high
)
SELECT low FROM search WHERE low >= high
"""
"""Finds the first place of those in a row for which something does not hold any more."""


class StoredLog(NamedTuple):
    """A log as it is on disk.

    Attributes:
        number: of its blocks.
        first: the offset of the first entry that can be read.
        next: the offset behind the last.
        latest: the latest time of any of its entries.
        sequence: the highest of their messages.
        total: bytes of all entries that it ever had.
        gone: those of the blocks that are not there any more.
        oldest: the earliest time in its first block; 0 = it has none.
        merged: the offset behind the last block that is not to be merged with others.
        rows: how many blocks follow.
    """

    number: int
    first: int = 0
    next: int = 0
    latest: int = 0
    sequence: int = 0
    total: int = 0
    gone: int = 0
    oldest: int = 0
    merged: int = 0
    rows: int = 0

    @property
    def base(self) -> int:
        """The place of its offset 0."""
        return self.number << OFFSET_BITS

    @property
    def is_to_be_merged(self) -> bool:
        """Whether it has very many small blocks."""
        return self.rows >= _MERGED


Bodies = Callable[[Sequence[int]], Mapping[int, bytes]]


class LogTables:
    """The logs in a database.

    Whoever calls its verbs is alone at that time, as with `Tables`.

    Args:
        connection: an open database.

    Attributes:
        logs: the logs by name.
        merges: the names of those that are to be merged.
        cuts: the names of those that may have blocks that nobody can read any more.
        dropped: the numbers of logs that have gone, and may have blocks.

    Raises:
        sqlite3.Error: it is damaged.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.logs: dict[str, StoredLog] = {}
        self.merges: set[str] = set()
        self.cuts: set[str] = set()
        self.dropped: list[int] = []
        self._fresh: dict[str, StoredLog | None] = {}  # of the batch that is being written
        rows = connection.execute("SELECT id, name, first FROM entry_log").fetchall()
        for number, name, first in rows:
            if name is None:
                self.dropped.append(number)
            else:
                self.logs[name] = _find_log(connection, number, first)
                if first:
                    self.cuts.add(name)

    @property
    def last_sequence(self) -> int:
        """The highest sequence of a message in any of them."""
        return max((log.sequence for log in self.logs.values()), default=0)

    @property
    def is_untidy(self) -> bool:
        """Whether there is something to `sweep` or to `merge`."""
        return bool(self.cuts or self.dropped or self.merges)

    def readers(self, connection: sqlite3.Connection) -> dict[str, dict[str, int]]:
        """The offsets of all readers, by log and name."""
        names = {log.number: name for name, log in self.logs.items()}
        found: dict[str, dict[str, int]] = {}
        for number, reader, offset in connection.execute(
            "SELECT log, name, next FROM log_reader"
        ).fetchall():
            if number in names:
                found.setdefault(names[number], {})[reader] = offset
        return found

    # -- what comes in ------------------------------------------------------------------------

    def write(self, connection: sqlite3.Connection, changes: LogChanges, bodies: Bodies) -> None:
        """Write changes within a transaction; `confirm` or `forget` has to follow.

        Args:
            connection: the database.
            changes: what is to be written.
            bodies: gives bodies of messages that are on disk.

        Raises:
            sqlite3.Error: it cannot be written.
        """
        self._fresh = {}
        for name in changes.dropped:
            self._drop(connection, name)
        for name, entries in changes.entries.items():
            log = self._log(connection, name)
            self._fresh[name] = _write_entries(connection, log, _with_bodies(entries, bodies))
        for name, first in changes.cuts.items():
            log = self._log(connection, name)
            if first > log.first:
                connection.execute(
                    "UPDATE entry_log SET first = ? WHERE id = ?", (first, log.number)
                )
                self._fresh[name] = log._replace(first=first, next=max(first, log.next))
        self._write_readers(connection, changes.readers)

    def confirm(self) -> None:
        """Take note that what was written last is safe."""
        for name, log in self._fresh.items():
            before = self.logs.pop(name, None)
            if before is not None and (log is None or log.number != before.number):
                self.dropped.append(before.number)
            if log is not None:
                self.logs[name] = log
                if log.is_to_be_merged:
                    self.merges.add(name)
                if before is not None and log.first > before.first:
                    self.cuts.add(name)
        self._fresh = {}

    def forget(self) -> None:
        """Take note that what was written last is not there."""
        self._fresh = {}

    def _log(self, connection: sqlite3.Connection, name: str) -> StoredLog:
        log = self._fresh.get(name, self.logs.get(name))
        if log is None:
            cursor = connection.execute(
                "INSERT INTO entry_log (name, first) VALUES (?, 0)", (name,)
            )
            assert cursor.lastrowid is not None
            log = self._fresh[name] = StoredLog(cursor.lastrowid)
        return log

    def _drop(self, connection: sqlite3.Connection, name: str) -> None:
        log = self.logs.get(name)
        if log is not None:
            # Its number stays in use until its blocks have gone.
            connection.execute("UPDATE entry_log SET name = NULL WHERE id = ?", (log.number,))
            connection.execute("DELETE FROM log_reader WHERE log = ?", (log.number,))
            self._fresh[name] = None

    def _write_readers(
        self, connection: sqlite3.Connection, readers: Mapping[tuple[str, str], int | None]
    ) -> None:
        kept, gone = [], []
        for (name, reader), offset in readers.items():
            number = self._log(connection, name).number
            if offset is None:
                gone.append((number, reader))
            else:
                kept.append((number, reader, offset))
        connection.executemany("INSERT OR REPLACE INTO log_reader VALUES (?,?,?)", kept)
        connection.executemany("DELETE FROM log_reader WHERE log = ? AND name = ?", gone)

    # -- reading ------------------------------------------------------------------------------

    def read(
        self,
        connection: sqlite3.Connection,
        name: str,
        offset: int,
        limit: int,
        wanted: WantedValues | None,
    ) -> LogRead:
        """Read a page; see `EntryLogs.read`.

        Raises:
            sqlite3.Error: it cannot be read just now.
        """
        log = self.logs.get(name)
        if log is None:
            return LogRead(LogPage([], 0, 0), [])
        at = min(max(offset, log.first), log.next)
        return LogReading(connection, name, log.base, log.next).read(at, limit, wanted)

    def find_time(self, connection: sqlite3.Connection, name: str, time: int) -> int:
        """Find the first entry of a time, or later; see `EntryLogs.find_time`.

        Raises:
            sqlite3.Error: it cannot be read just now.
        """
        log = self.logs.get(name)
        if log is None:
            return 0
        if log.latest < time or log.first == log.next:
            return log.next
        place = _search(connection, log, "latest < :limit", time)
        row = connection.execute(
            f"SELECT {BLOCK} FROM log_block WHERE place <= ? AND place >= ? "
            "ORDER BY place DESC LIMIT 1",
            (place, log.base),
        ).fetchone()
        try:
            found = read_block(row).offset_at(time)
        except BlockError:
            found = place - log.base
        return min(max(found, log.first), log.next)

    def find_bytes(self, connection: sqlite3.Connection, name: str, limit: int) -> int:
        """Find where to cut; see `EntryLogs.find_bytes`.

        Raises:
            sqlite3.Error: it cannot be read just now.
        """
        log = self.logs.get(name)
        if log is None:
            return 0
        if log.total - log.gone <= limit or log.first == log.next:
            return log.first
        place = _search(connection, log, "total - content < :limit", log.total - limit)
        (start,) = connection.execute(
            "SELECT max(place) FROM log_block WHERE place <= ? AND place >= ?", (place, log.base)
        ).fetchone()
        return log.first if start is None else max(log.first, start - log.base)

    # -- what is done in between --------------------------------------------------------------

    def sweep(self, connection: sqlite3.Connection) -> StoredLog | None:
        """Delete some blocks that nobody can read any more.

        Returns:
            Their log as it is now; None = there were none.

        Raises:
            sqlite3.Error: they cannot be deleted.
        """
        if self.dropped:
            number = self.dropped[-1]
            if not _delete_blocks(connection, number << OFFSET_BITS, (number + 1) << OFFSET_BITS):
                connection.execute("DELETE FROM entry_log WHERE id = ?", (number,))
                self.dropped.pop()
            return StoredLog(number)
        while self.cuts:
            name = next(iter(self.cuts))
            log = self.logs.get(name)
            if log is not None:
                (start,) = connection.execute(
                    "SELECT max(place) FROM log_block WHERE place <= ? AND place >= ?",
                    (log.base + log.first, log.base),
                ).fetchone()
                end = log.base + log.first if log.first == log.next else start
                if end is not None and _delete_blocks(connection, log.base, end):
                    gone, oldest = _front(connection, log)
                    log = self.logs[name] = log._replace(gone=gone, oldest=oldest)
                    return log
            self.cuts.discard(name)
        return None

    def merge(self, connection: sqlite3.Connection, name: str) -> None:
        """Make few blocks of many small ones at the end of a log, a part of them at a time.

        Raises:
            sqlite3.Error: it cannot be written.
        """
        self.merges.discard(name)
        log = self.logs.get(name)
        if log is None:
            return
        start, end = log.base + max(log.merged, log.first), log.base + log.next
        (text,) = connection.execute(_TO_MERGE, (start, end, BLOCK_BYTES)).fetchone()
        rows = split_rows(text)
        try:
            blocks = [read_block(row) for row in rows]
            entries = [entry for block in blocks for entry in block.entries()]
        except BlockError:
            # Who reads it will say so.
            self.logs[name] = log._replace(merged=log.next, rows=0)
            return
        if not blocks:
            self.logs[name] = log._replace(merged=log.next, rows=0)
            return
        packed = list(pack_blocks(entries))
        last = packed[-1]
        is_full = _is_full(last.length, last.content)
        if len(packed) < len(blocks):
            before = connection.execute(
                "SELECT latest, sequence FROM log_block WHERE place < ? AND place >= ? "
                "ORDER BY place DESC LIMIT 1",
                (rows[0][0], log.base),
            ).fetchone()
            latest, sequence = before or (0, 0)
            total, merged = rows[0][6] - rows[0][5], []
            for block in packed:
                latest, sequence = max(latest, block.latest), max(sequence, block.sequence)
                total += block.content
                merged.append(block_row(log.base, block, latest, sequence, total))
            _replace(connection, rows[0][0], rows[-1][0], merged)
        else:
            is_full = True  # there is nothing to gain
        left = log.rows - len(blocks) + (not is_full)
        self.logs[name] = log = log._replace(
            merged=last.next if is_full else last.first, rows=max(0, left)
        )
        if log.is_to_be_merged:
            self.merges.add(name)


def _is_full(length: int, content: int) -> bool:
    return length * 2 > BLOCK_ENTRIES or content * 2 > BLOCK_BYTES


def _with_bodies(entries: list[LogEntry], bodies: Bodies) -> Iterator[LogEntry]:
    """Entries with the bodies that are on disk only, which are not all in memory at once."""
    for at in range(0, len(entries), _TAKEN_OVER):
        some = entries[at : at + _TAKEN_OVER]
        missing = [entry.sequence for entry in some if entry.body is None]
        if not missing:
            yield from some
            continue
        found = bodies(missing)
        for entry in some:
            if entry.body is None:
                yield entry._replace(body=found.get(entry.sequence))
            else:
                yield entry


def _write_entries(
    connection: sqlite3.Connection, log: StoredLog, entries: Iterable[LogEntry]
) -> StoredLog:
    for block in pack_blocks(entries):
        alone = not log.rows and _is_full(block.length, block.content)
        log = log._replace(
            next=block.next,
            latest=max(log.latest, block.latest),
            sequence=max(log.sequence, block.sequence),
            total=log.total + block.content,
            oldest=log.oldest or block.oldest,
            merged=block.next if alone else log.merged,
            rows=0 if alone else log.rows + 1,
        )
        _insert(connection, [block_row(log.base, block, log.latest, log.sequence, log.total)])
    return log


def _insert(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    connection.executemany(
        f"INSERT OR REPLACE INTO log_block ({BLOCK}) VALUES (?,?,?,?,?,?,?,?,?,?)", rows
    )


def _replace(connection: sqlite3.Connection, first: int, last: int, rows: Sequence[Row]) -> None:
    """Put rows in place of others."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("DELETE FROM log_block WHERE place >= ? AND place <= ?", (first, last))
        _insert(connection, rows)
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _delete_blocks(connection: sqlite3.Connection, start: int, end: int) -> bool:
    """Delete a few blocks at the front of a range; says whether there were some."""
    (last,) = connection.execute(
        "SELECT max(place) FROM (SELECT place FROM log_block "
        "WHERE place >= ? AND place < ? ORDER BY place LIMIT ?)",
        (start, end, _SWEPT),
    ).fetchone()
    if last is None:
        return False
    connection.execute("DELETE FROM log_block WHERE place >= ? AND place <= ?", (start, last))
    return True


def _search(connection: sqlite3.Connection, log: StoredLog, below: str, limit: int) -> int:
    (place,) = connection.execute(
        _SEARCH.replace("{below}", below),
        {
            "first": log.base + log.first,
            "last": log.base + log.next - 1,
            "base": log.base,
            "limit": limit,
        },
    ).fetchone()
    return int(place)


def _find_log(connection: sqlite3.Connection, number: int, first: int) -> StoredLog:
    """A log as its rows tell it."""
    log = StoredLog(number, first, first, merged=first)
    end = log.base + (1 << OFFSET_BITS)
    rows = connection.execute(
        f"SELECT {HEADER} FROM log_block WHERE place >= ? AND place < ? "
        "ORDER BY place DESC LIMIT 20",
        (log.base, end),
    )
    offset = None
    for row in rows:
        offset = row[0] - log.base if offset is None else offset
        if not check_header(row):
            # Behind a damaged block goes on what cannot have been in it.
            start = row[0] - log.base
            after = start + row[1] if start == offset else offset + BLOCK_ENTRIES
            log = log._replace(next=max(first, after), latest=row[3], sequence=row[4], total=row[6])
            break
    else:
        if offset is not None:
            log = log._replace(next=max(first, offset + BLOCK_ENTRIES))
    gone, oldest = _front(connection, log)
    return log._replace(gone=gone, oldest=oldest, merged=log.next)


def _front(connection: sqlite3.Connection, log: StoredLog) -> tuple[int, int]:
    """The bytes of the blocks that have gone, and the earliest time of the first that is there."""
    rows = connection.execute(
        f"SELECT {HEADER} FROM log_block WHERE place >= ? AND place < ? ORDER BY place LIMIT 20",
        (log.base, log.base + (1 << OFFSET_BITS)),
    )
    for row in rows:
        if not check_header(row):
            return row[6] - row[5], row[2]
    return log.total, 0
