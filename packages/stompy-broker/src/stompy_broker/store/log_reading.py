"""Reading a log from the database, page by page, and past what is damaged."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Final, NamedTuple

from stompy_broker.store.entry_log import LogEntry, LogPage, WantedValues
from stompy_broker.store.log_block import BLOCK_ENTRIES, BlockError, may_have
from stompy_broker.store.log_rows import BLOCK, Row, check_header, joined, read_block, split_rows

_LOOKED_AT: Final = 128
"""So many blocks are looked at for one page, if nobody wants what is in them."""


class DamagedEntries(NamedTuple):
    """Entries of a log that are not what was written any more.

    Attributes:
        log: their log.
        first: the offset of the first.
        next: the offset behind the last.
        reason: what is wrong with them.
    """

    log: str
    first: int
    next: int
    reason: str


class LogRead(NamedTuple):
    """What came of reading.

    Attributes:
        page: what can be given.
        damaged: what cannot.
    """

    page: LogPage
    damaged: list[DamagedEntries]


class LogReading:
    """One look into a log.

    Args:
        connection: the database.
        log: the name of the log.
        base: the place of its first offset.
        end: the offset behind its last entry.
    """

    def __init__(self, connection: sqlite3.Connection, log: str, base: int, end: int) -> None:
        self._connection = connection
        self._log = log
        self._base = base
        self._end = end
        self._at = 0
        self._entries: list[LogEntry] = []
        self._size = 0
        self._damaged: list[DamagedEntries] = []

    def read(self, offset: int, limit: int, wanted: WantedValues | None) -> LogRead:
        """Read from an offset on until there are so many bytes.

        Raises:
            sqlite3.Error: it cannot be read just now.
        """
        self._at = offset
        going_on = True
        while going_on and self._at < self._end:
            try:
                if wanted is None:
                    going_on = self._read_all(limit)
                else:
                    going_on = self._read_wanted(limit, wanted)
            except sqlite3.DatabaseError as error:
                raise_unless_damage(error)
                self._lose(self._beyond(self._at), f"it cannot be read: {error}")
        lost = sum(one.next - one.first for one in self._damaged)
        return LogRead(LogPage(self._entries, self._at, lost), self._damaged)

    def _read_all(self, limit: int) -> bool:
        """Read on; says whether that is to be done again."""
        rows = self._connection.execute(
            f"SELECT {BLOCK} FROM log_block WHERE place >= ? AND place < ? ORDER BY place",
            (self._start(), self._base + self._end),
        )
        for row in rows:
            if not self._take(row, None):
                return True
            if self._size >= limit:
                return False
        self._lose(self._end, "it is not there")
        return False

    def _read_wanted(self, limit: int, wanted: WantedValues) -> bool:
        """Read the blocks that have something that is wanted; the others are passed over."""
        (text,) = self._connection.execute(
            f"SELECT {joined(data=False)} FROM (SELECT * FROM log_block "
            f"WHERE place >= ? AND place < ? ORDER BY place LIMIT {_LOOKED_AT})",
            (self._start(), self._base + self._end),
        ).fetchone()
        headers = split_rows(text)
        if not headers:
            self._lose(self._end, "it is not there")
        for header in headers:
            if wrong := check_header(header):
                return self._lose_block(header[0], wrong)
            if not may_have(header[8], wanted):
                self._at = header[0] - self._base + header[1]
                continue
            row = self._connection.execute(
                f"SELECT {BLOCK} FROM log_block WHERE place = ?", (header[0],)
            ).fetchone()
            if not self._take(row, wanted):
                return True
            if self._size >= limit:
                return False
        return False

    def _take(self, row: Row, wanted: WantedValues | None) -> bool:
        """Take in a block; says whether that could be read."""
        start = row[0] - self._base
        if start > self._at and wanted is None:
            self._lose(start, "it is not there")
        try:
            block = read_block(row)
            entries = block.entries(wanted)
        except BlockError as error:
            self._lose_block(row[0], str(error))
            return False
        if entries and entries[0].offset < self._at:
            entries = [entry for entry in entries if entry.offset >= self._at]
        self._entries += entries
        self._size += block.content
        self._at = block.next
        return True

    def _start(self) -> int:
        """The place of the block that an offset is in."""
        (place,) = self._connection.execute(
            "SELECT max(place) FROM log_block WHERE place <= ? AND place >= ?",
            (self._base + self._at, self._base),
        ).fetchone()
        return self._base if place is None else int(place)

    # -- damage -------------------------------------------------------------------------------

    def _lose(self, to: int, reason: str) -> None:
        """Go on at an offset, and say that what is before it cannot be read."""
        if to > self._at:
            self._damaged.append(DamagedEntries(self._log, self._at, to, reason))
            self._at = to

    def _lose_block(self, place: int, reason: str) -> bool:
        # How long it is can be told by the next one only.
        self._at = max(self._at, place - self._base)
        self._lose(self._first(place + 1), reason)
        return True

    def _first(self, place: int) -> int:
        """The offset of the first block from a place on.

        Raises:
            sqlite3.Error: the place is damaged.
        """
        (found,) = self._connection.execute(
            "SELECT min(place) FROM log_block WHERE place >= ? AND place < ?",
            (place, self._base + self._end),
        ).fetchone()
        return self._end if found is None else int(found) - self._base

    def _beyond(self, bad: int) -> int:
        """The offset of the first block behind one that SQLite cannot read."""
        try:
            # Most of a block is not where its place is.
            return self._first(self._start() + 1)
        except sqlite3.DatabaseError as error:
            raise_unless_damage(error)
        sound = next((at for at in self._steps(bad) if self._is_sound(at)), None)
        if sound is None:
            return self._end
        while sound - bad > 1:
            middle = (bad + sound) // 2
            if self._is_sound(middle):
                sound = middle
            else:
                bad = middle
        return self._first(self._base + sound)

    def _steps(self, at: int) -> Iterator[int]:
        step = BLOCK_ENTRIES
        while at + step < self._end:
            yield at + step
            step *= 2

    def _is_sound(self, offset: int) -> bool:
        try:
            self._first(self._base + offset)
        except sqlite3.DatabaseError as error:
            raise_unless_damage(error)
            return False
        return True


def raise_unless_damage(error: sqlite3.DatabaseError) -> None:
    """Pass on what may be better in a while, and faults of ours."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_CORRUPT:
        raise error
