"""What the logs of a data directory hold, and what is damaged, while no broker uses it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from stompy.errors import ProtocolError
from stompy_broker.store.entry_log import PAGE_BYTES, LogEntry
from stompy_broker.store.log_reading import DamagedEntries, LogReading
from stompy_broker.store.log_rows import OFFSET_BITS
from stompy_broker.store.log_tables import LogTables, StoredLog


@dataclass(frozen=True, slots=True)
class LogCount:
    """What one log has on disk.

    Attributes:
        log: its name.
        first: the offset of the first entry that can be read.
        next: the offset behind the last.
        blocks: how many rows that are.
        bytes: headers, bodies and payloads.
        readers: whose places are kept.
    """

    log: str
    first: int
    next: int
    blocks: int
    bytes: int
    readers: dict[str, int]


@dataclass(frozen=True, slots=True)
class ExportedEntry:
    """An entry of a log as it is on disk.

    Attributes:
        log: its log.
        offset: its place there.
        message_id: as consumers see it.
        sequence: of the message.
        received_at: milliseconds since the epoch.
        filter_value: what readers may ask for; None = it has none.
        headers: as they are passed on.
        body: the body; None = it was damaged before it came into the log.
        payload: what else the broker keeps with it.
    """

    log: str
    offset: int
    message_id: str
    sequence: int
    received_at: int
    filter_value: str | None
    headers: dict[str, str]
    body: bytes | None
    payload: bytes


def count_logs(connection: sqlite3.Connection) -> list[LogCount]:
    """What each log has, by name.

    Raises:
        sqlite3.Error: the database is damaged.
    """
    tables = LogTables(connection)
    readers = tables.readers(connection)
    found = []
    for name, log in sorted(tables.logs.items()):
        (blocks,) = connection.execute(
            "SELECT count(*) FROM log_block WHERE place >= ? AND place < ?",
            (log.base, log.base + (1 << OFFSET_BITS)),
        ).fetchone()
        places = readers.get(name, {})
        found.append(LogCount(name, log.first, log.next, blocks, log.total - log.gone, places))
    return found


def check_logs(connection: sqlite3.Connection) -> list[str]:
    """Everything that is wrong with logs; empty when all is well.

    Raises:
        sqlite3.Error: the database is damaged.
    """
    tables = LogTables(connection)
    missing = connection.execute(
        f"SELECT place >> {OFFSET_BITS} AS log, count(*) FROM log_block "
        "WHERE log NOT IN (SELECT id FROM entry_log) GROUP BY log"
    )
    found = [f"log {number} is missing, and has {count} blocks" for number, count in missing]
    for name, log in tables.logs.items():
        damaged: list[DamagedEntries] = []
        for _ in _entries(connection, name, log, damaged):
            pass
        found += map(_said, damaged)
    return found


def export_logs(connection: sqlite3.Connection, problems: list[str]) -> Iterator[ExportedEntry]:
    """Every entry of every log that can be read; the rest is told in ``problems``."""
    try:
        tables = LogTables(connection)
    except sqlite3.Error as error:
        problems.append(f"the names of logs cannot be read: {error}")
        return
    for name, log in tables.logs.items():
        damaged: list[DamagedEntries] = []
        try:
            for entry in _entries(connection, name, log, damaged):
                yield _exported_entry(name, entry)
        except sqlite3.Error as error:
            problems.append(f"log {name} cannot be read to its end: {error}")
        problems += map(_said, damaged)


def _said(damaged: DamagedEntries) -> str:
    log, first, behind, reason = damaged
    return f"entries {first} to {behind - 1} of log {log} are damaged: {reason}"


def _entries(
    connection: sqlite3.Connection, name: str, log: StoredLog, damaged: list[DamagedEntries]
) -> Iterator[LogEntry]:
    at = log.first
    while at < log.next:
        read = LogReading(connection, name, log.base, log.next).read(at, PAGE_BYTES, None)
        damaged += read.damaged
        yield from read.page.entries
        at = read.page.next


def _exported_entry(log: str, entry: LogEntry) -> ExportedEntry:
    message = entry.message()
    try:
        headers = entry.head.headers()
    except (ProtocolError, ValueError):
        headers = {}
    return ExportedEntry(
        log,
        entry.offset,
        message.message_id,
        entry.sequence,
        entry.received_at,
        entry.filter_value,
        headers,
        entry.body,
        entry.payload,
    )
