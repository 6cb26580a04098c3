"""Duplicate ids as rows of the database, in the order of their messages."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from stompy_broker.store.base import StoredId
from stompy_broker.store.batch import IdRow
from stompy_broker.store.directory import translated
from stompy_broker.store.row_statement import run_for_many

log = logging.getLogger("stompy_broker.store")


class DuplicateRows:
    """The duplicate ids in the database of a data directory.

    Args:
        file: the database, for the log.
        connection: opens it.
    """

    def __init__(self, file: Path, connection: sqlite3.Connection) -> None:
        self._file = file
        rows = connection.execute("SELECT destination, id FROM duplicate_destination")
        self._numbers: dict[str, int] = dict(rows)
        self._new: list[str] = []

    def restore(self, connection: sqlite3.Connection) -> Iterator[StoredId]:
        """Every duplicate id, by sequence.

        Args:
            connection: an open database.

        Raises:
            StoreError: the file is damaged.
        """
        names = {number: name for name, number in self._numbers.items()}
        damaged = 0
        with translated(self._file):
            rows = connection.execute(
                "SELECT destination, sequence, value, until, shown FROM duplicate_id "
                "ORDER BY sequence"
            )
            for number, sequence, value, until, shown in rows:
                name = names.get(number)
                numbers = isinstance(until, int) and isinstance(shown, int)
                if isinstance(name, str) and isinstance(value, bytes) and numbers:
                    yield StoredId(name, sequence, value, until, shown)
                else:
                    damaged += 1
        if damaged:
            log.error(
                "%s: %d duplicate ids are damaged, and known no longer: messages with them are "
                "taken again",
                self._file,
                damaged,
            )

    def write(
        self, connection: sqlite3.Connection, kept: Iterable[IdRow], dropped: Sequence[int]
    ) -> None:
        """Write ids that came, and take out others, within a transaction.

        Args:
            connection: an open database.
            kept: those that came.
            dropped: sequences of the others.

        Raises:
            sqlite3.Error: they cannot be written.
        """
        rows = []
        for destination, sequence, value, until, shown in kept:
            number = self._numbers.get(destination)
            if number is None:
                number = self._number(connection, destination)
            rows.append((sequence, number, until, shown, value))
        run_for_many(
            connection,
            "INSERT OR REPLACE INTO duplicate_id (sequence, destination, until, shown, value) "
            "VALUES {}",
            "(?,?,?,?,?)",
            rows,
        )
        run_for_many(
            connection,
            "DELETE FROM duplicate_id WHERE sequence IN ({})",
            "?",
            [(sequence,) for sequence in dropped],
        )

    def _number(self, connection: sqlite3.Connection, destination: str) -> int:
        cursor = connection.execute(
            "INSERT INTO duplicate_destination (destination) VALUES (?)", (destination,)
        )
        assert cursor.lastrowid is not None
        self._numbers[destination] = cursor.lastrowid
        self._new.append(destination)
        return cursor.lastrowid

    def written(self) -> None:
        """Take note that all that was written is there."""
        self._new.clear()

    def forget_unwritten(self) -> None:
        """Take note that the last write is not there."""
        for destination in self._new:
            del self._numbers[destination]
        self._new.clear()
