"""A table as lines of text, for a shell. Pure.

What stands in a table was written by others, so nothing in the lines for people steers a terminal.
"""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable, Iterator

from stompy.data_table import DataTable
from stompy.notebook import visible

_WIDEST = 60


def table_lines(table: DataTable, form: str, *, narrow: bool = False) -> Iterator[str]:
    """Write a table as lines.

    Args:
        table: it.
        form: one of `FORMS`.
        narrow: whether long values are cut off, where people read.
    """
    if table.names:
        yield from _FORMS[form](table, narrow)


def _columns(table: DataTable, narrow: bool) -> Iterator[str]:
    cells = [list(table.names), *([_cell(value, narrow) for value in row] for row in table.rows)]
    sides = list(zip(*cells, strict=True))
    widths = [max(map(len, column)) for column in sides]
    numbers = [
        bool(table.rows) and all(isinstance(row[at], int | float | None) for row in table.rows)
        for at in range(len(widths))
    ]
    for row in cells:
        padded = [
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, numbers, strict=True)
        ]
        yield "  ".join(padded).rstrip()


def _cell(value: object, narrow: bool) -> str:
    if value is None:
        return ""
    text = f"{len(value)} bytes" if isinstance(value, bytes) else visible(str(value))
    return text if not narrow or len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"


def _objects(table: DataTable, narrow: bool) -> Iterator[str]:
    for row in table:
        yield json.dumps({name: _plain(value) for name, value in row.items()})


def _plain(value: object) -> object:
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _separated(table: DataTable, narrow: bool) -> Iterator[str]:
    for row in (table.names, *table.rows):
        buffer = io.StringIO()
        octets = (_plain(value) for value in row)
        values = (value["base64"] if isinstance(value, dict) else value for value in octets)
        csv.writer(buffer, lineterminator="").writerow(values)
        yield buffer.getvalue()


_FORMS: dict[str, Callable[[DataTable, bool], Iterator[str]]] = {
    "table": _columns,
    "json": _objects,
    "csv": _separated,
}
FORMS = tuple(_FORMS)
"""``table``: columns for people; ``json``: an object a line; ``csv``."""
