"""How much room a data directory has left.

On a disk that is full to the last byte not even the settling of messages can be written: the WAL
cannot grow, and cannot be carried over to a database that cannot grow. So producers have to stop
before that, while there is room for their consumers' acknowledgements.

What was settled gives its pages back to the database, not to the file system, so both count. What
is in the WAL only makes the database longer once it is carried over, and counts as if it had been.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

from stompy_broker.store.directory import FILE

SPARE = 16 * 1024 * 1024
"""So much more than the mark there has to be before more is stored again."""

_MIB = 1024 * 1024


class DiskSpace:
    """The room in one data directory, against a mark.

    Args:
        directory: the data directory.
        mark: bytes that must be left; 0 = no mark.

    Attributes:
        mark: bytes that must be left.
    """

    def __init__(self, directory: Path, mark: int) -> None:
        self.mark = mark
        self._directory = directory
        self._short = False

    def free(self) -> int:
        """Bytes left on the disk.

        Raises:
            OSError: the file system does not tell.
        """
        return shutil.disk_usage(self._directory).free

    def used(self) -> int:
        """The length of the files."""
        return sum(entry.stat().st_size for entry in os.scandir(self._directory))

    def look(self, connection: sqlite3.Connection) -> str:
        """Why nothing more should be stored; empty when there is room.

        Raises:
            OSError: the file system does not tell.
            sqlite3.Error: the database does not.
        """
        if not self.mark:
            return ""
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        length = (self._directory / FILE).stat().st_size
        left = self.free() - max(0, pages * size - length)
        if self._short or left < self.mark:
            (unused,) = connection.execute("PRAGMA freelist_count").fetchone()
            left += unused * size
        self._short = left < self.mark + SPARE * self._short
        if not self._short:
            return ""
        return (
            f"{left // _MIB} MiB are left on its disk, less than limits.disk_free, "
            f"which is {self.mark // _MIB} MiB"
        )
