"""Rows with named columns, for people and for data libraries. Pure; loads none of those by itself.

pandas takes any Python object as a value. The others want one kind of value in a column, so for
them a column of texts and octets becomes octets, a dictionary of texts a map, and one in which
kinds are mixed otherwise the JSON of each value.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Final, overload

if TYPE_CHECKING:
    import duckdb
    import pandas
    import polars
    import pyarrow

Value = None | int | float | str | bytes
"""What stands in one column of one row, where a database gave it."""

_SHOWN_ROWS: Final = 10
_SHOWN_CELL: Final = 40
_LARGEST: Final = 2**63
"""Whole numbers below this are whole numbers to everybody."""


class _Kind(Enum):
    """What a column holds, for who wants to know."""

    TRUTH = "truth"
    WHOLE = "whole"
    NUMBER = "number"
    TEXT = "text"
    OCTETS = "octets"
    MAP = "map"
    NOTHING = "nothing"


class DataTable:
    """Rows with named columns; what is asked for as a table, or by SQL, comes as one.

    Iteration gives a dictionary for each row. Made once and not changed.

    Args:
        names: of the columns.
        rows: a value for each column.

    Attributes:
        names: of the columns, in their order.
        rows: tuples of a value for each column.
    """

    __slots__ = ("names", "rows")

    def __init__(self, names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        self.names = tuple(names)
        self.rows = [tuple(row) for row in rows]

    def column(self, name: str) -> list[object]:
        """Give all values of a column.

        Raises:
            KeyError: there is no such column.
        """
        if name not in self.names:
            raise KeyError(f"no column {name!r}; there are {', '.join(self.names)}")
        place = self.names.index(name)
        return [row[place] for row in self.rows]

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, object]]:
        """Give each row as a dictionary."""
        return (dict(zip(self.names, row, strict=True)) for row in self.rows)

    @overload
    def __getitem__(self, place: int) -> dict[str, object]: ...

    @overload
    def __getitem__(self, place: slice) -> DataTable: ...

    def __getitem__(self, place: int | slice) -> dict[str, object] | DataTable:
        """Give one row as a dictionary, or some rows as a table."""
        if isinstance(place, slice):
            return DataTable(self.names, self.rows[place])
        return dict(zip(self.names, self.rows[place], strict=True))

    def __eq__(self, other: object) -> bool:
        """Whether names and rows are the same."""
        if not isinstance(other, DataTable):
            return NotImplemented
        return self.names == other.names and self.rows == other.rows

    __hash__ = None  # type: ignore[assignment]  # rows may hold what has none

    def __repr__(self) -> str:
        """The first rows, in columns."""
        lines = [self.names] + [tuple(map(_cell, row)) for row in self.rows[:_SHOWN_ROWS]]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        told = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
        if len(self.rows) > _SHOWN_ROWS:
            told.append(f"… {len(self.rows):,} rows")
        return "\n".join(told)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from stompy.notebook import grid_html  # noqa: PLC0415 -- needed in notebooks only

        return grid_html(self.names, self.rows)

    def to_pandas(self) -> pandas.DataFrame:
        """Make a data frame of it.

        Whole numbers stay whole also where some are missing. A value that is a dictionary or a list
        stays one.

        Raises:
            ModuleNotFoundError: there is no pandas.
        """
        import pandas  # noqa: PLC0415 -- not a dependency

        frame = pandas.DataFrame.from_records(self.rows, columns=list(self.names))
        for place in range(len(self.names)):
            values = [row[place] for row in self.rows]
            if None in values and _kind_of(values) is _Kind.WHOLE:
                series = pandas.Series(values, dtype="Int64", index=frame.index)
                frame.isetitem(place, series)
        return frame

    def to_polars(self) -> polars.DataFrame:
        """Make a data frame of Polars; dictionaries of texts become structs.

        Raises:
            ModuleNotFoundError: there is no polars.
            ValueError: two columns of one name.
        """
        import polars  # noqa: PLC0415 -- not a dependency

        kinds = {
            _Kind.TRUTH: polars.Boolean(),
            _Kind.WHOLE: polars.Int64(),
            _Kind.NUMBER: polars.Float64(),
            _Kind.TEXT: polars.String(),
            _Kind.OCTETS: polars.Binary(),
            _Kind.NOTHING: polars.Null(),
        }
        made = []
        for name, kind, values in self._uniform():
            if kind is _Kind.MAP:
                keys = dict.fromkeys(key for one in values if isinstance(one, dict) for key in one)
                fields = polars.Struct(dict.fromkeys(keys, polars.String()))
                made.append(polars.Series(name, values, dtype=fields))
            else:
                made.append(polars.Series(name, values, dtype=kinds[kind]))
        return polars.DataFrame(made)

    def to_arrow(self) -> pyarrow.Table:
        """Make a table of Arrow; dictionaries of texts become maps.

        Raises:
            ModuleNotFoundError: there is no pyarrow.
        """
        import pyarrow  # noqa: PLC0415 -- not a dependency

        kinds = {
            _Kind.TRUTH: pyarrow.bool_(),
            _Kind.WHOLE: pyarrow.int64(),
            _Kind.NUMBER: pyarrow.float64(),
            _Kind.TEXT: pyarrow.string(),
            _Kind.OCTETS: pyarrow.binary(),
            _Kind.MAP: pyarrow.map_(pyarrow.string(), pyarrow.string()),
            _Kind.NOTHING: pyarrow.null(),
        }
        arrays = []
        for _, kind, values in self._uniform():
            told = [list(one.items()) if isinstance(one, dict) else one for one in values]
            arrays.append(pyarrow.array(told, type=kinds[kind]))
        return pyarrow.Table.from_arrays(arrays, names=list(self.names))

    def to_duckdb(self, connection: duckdb.DuckDBPyConnection, name: str) -> None:
        """Make it a view of a connection to DuckDB, which reads it and cannot change it.

        Args:
            connection: as ``duckdb.connect()`` gives it.
            name: of the view.

        Raises:
            ModuleNotFoundError: there is no pyarrow.
        """
        connection.register(name, self.to_arrow())

    def _uniform(self) -> Iterator[tuple[str, _Kind, list[object]]]:
        """Each column with values of one kind."""
        for place, name in enumerate(self.names):
            values = [row[place] for row in self.rows]
            kind = _kind_of(values)
            if kind is None:
                yield name, _Kind.TEXT, [None if one is None else _json(one) for one in values]
            elif kind is _Kind.OCTETS:
                yield name, kind, [one.encode() if isinstance(one, str) else one for one in values]
            elif kind is _Kind.NUMBER:
                yield name, kind, [float(one) if isinstance(one, int) else one for one in values]
            else:
                yield name, kind, values


def _kind_of(values: Iterable[object]) -> _Kind | None:
    """What kind all values are, those left out that are missing; None = several."""
    kinds = {_kind(value) for value in values if value is not None}
    if not kinds:
        return _Kind.NOTHING
    if kinds == {_Kind.WHOLE, _Kind.NUMBER}:
        return _Kind.NUMBER
    if kinds == {_Kind.TEXT, _Kind.OCTETS}:
        return _Kind.OCTETS
    return kinds.pop() if len(kinds) == 1 else None


def _kind(value: object) -> _Kind | None:
    if isinstance(value, bool):
        return _Kind.TRUTH
    if isinstance(value, int):
        return _Kind.WHOLE if -_LARGEST <= value < _LARGEST else None
    if isinstance(value, float):
        return _Kind.NUMBER
    if isinstance(value, str):
        return _Kind.TEXT
    if isinstance(value, bytes):
        return _Kind.OCTETS
    if isinstance(value, Mapping) and all(isinstance(one, str) for one in value.values()):
        return _Kind.MAP
    return None


def _json(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    return json.dumps(value, ensure_ascii=False, default=str)


def _cell(value: object) -> str:
    from stompy.notebook import visible  # noqa: PLC0415 -- needed by who looks only

    text = "" if value is None else _json(value) if isinstance(value, dict | list) else str(value)
    return visible(text if len(text) <= _SHOWN_CELL else f"{text[: _SHOWN_CELL - 1]}…")
