"""A database written anew while no broker runs, as short as it can be."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import NamedTuple

from stompy_broker.store.base import StoreError
from stompy_broker.store.directory import FILE, compact, lock_directory, translated
from stompy_broker.store.tables import Tables


class Compaction(NamedTuple):
    """What came of it.

    Attributes:
        before: bytes of the files.
        after: the same.
        dropped: damaged messages that were deleted.
    """

    before: int
    after: int
    dropped: int


def compact_directory(directory: Path, *, drop_damaged: bool = False) -> Compaction:
    """Write the database of a data directory anew, and bring it up to date.

    Args:
        directory: where it is.
        drop_damaged: whether to delete the messages that were set aside.

    Raises:
        StoreError: it is in use, absent, damaged, not ours, or there is no room for it.
    """
    file = directory / FILE
    if not file.is_file():
        raise StoreError(f"{directory}: holds no {FILE}")
    lock = lock_directory(directory)
    try:
        before = _size(file)
        tables = Tables(file)
        try:
            dropped = tables.drop_damaged() if drop_damaged else 0
            _rewrite(tables.connection, file)
            tables.connection.execute("UPDATE state SET clean = 1")
            tables.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            tables.connection.close()
        return Compaction(before, _size(file), dropped)
    finally:
        os.close(lock)


def _rewrite(connection: sqlite3.Connection, file: Path) -> None:
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    try:
        with translated(file):
            compact(connection)
    except StoreError as error:
        mib = -(-2 * (pages - free) * size // 1024**2)
        raise StoreError(
            f"{error}; it is as it was. {mib} MiB of free disk are needed, twice what is in use, "
            "also where temporary files go (SQLITE_TMPDIR)"
        ) from None


def _size(file: Path) -> int:
    return sum(one.stat().st_size for one in file.parent.glob(f"{FILE}*"))
