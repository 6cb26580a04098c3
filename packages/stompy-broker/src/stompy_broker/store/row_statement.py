"""A statement for many rows: as few steps as possible, with few different texts.

The interpreter's lock is given away at every step of a statement and taken again only some
milliseconds later when the event loop is busy. So rows are written many to a statement.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain

ROWS = 128
"""Rows to a statement."""


def run_for_many(
    connection: sqlite3.Connection, statement: str, row: str, rows: Sequence[tuple[object, ...]]
) -> None:
    """Run a statement for many rows.

    Args:
        connection: an open database.
        statement: its text, with braces where the rows stand.
        row: what stands there for each row.
        rows: the values.

    Raises:
        sqlite3.Error: it cannot be run.
    """
    size, at = ROWS, 0
    while at < len(rows):
        while size > len(rows) - at:
            size //= 2
        values = list(chain.from_iterable(rows[at : at + size]))
        connection.execute(_text(statement, row, size), values)
        at += size


@lru_cache(maxsize=64)
def _text(statement: str, row: str, size: int) -> str:
    return statement.format(",".join([row] * size))
