"""SQL over rows that were taken down before: one SELECT, in memory, with bounds.

The rows are put into tables of a SQLite database that exists in memory and for one query. A query
comes from a person who may be mistaken, or mean harm, so it holds that

* nothing but reading these tables is possible: no file, no setting, no other database,
* it ends after some seconds, and takes no more memory than it may, or raises `SqlError`,
* no function takes longer than linear in what it is given.

Which tables and columns a query reads is known before there are any rows, so that nobody has to
gather what is not asked for.
"""

from __future__ import annotations

import difflib
import sqlite3
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from time import monotonic
from typing import Final

from stompy.data_table import Value

SECONDS: Final = 5.0
"""A query takes no longer, unless told otherwise."""

MOST_BYTES: Final = 100 * 1024 * 1024
"""Neither the rows it reads nor those it gives are larger together, unless told otherwise."""

LONGEST_VALUE: Final = 16 * 1024 * 1024
"""Bytes of one value; what is longer is NULL."""

_PAGE: Final = 4096
_STEPS: Final = 10_000
"""Instructions of SQLite between two looks at the clock."""
_AT_ONCE: Final = 500
_SET: Final = 64
"""Characters that may be cut off together from the ends of a text."""

_LIMITS: Final = {
    sqlite3.SQLITE_LIMIT_LENGTH: LONGEST_VALUE + 1024,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 64 * 1024,
    sqlite3.SQLITE_LIMIT_COLUMN: 500,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 200,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    sqlite3.SQLITE_LIMIT_VDBE_OP: 50_000,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 500,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}

_ALLOWED: Final = frozenset(
    (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
)
_FORBIDDEN_FUNCTIONS: Final = frozenset(("load_extension", "fts3_tokenizer", "edit", "writefile"))


class SqlError(Exception):
    """A query that cannot be, or took more than it may; the text says what to do."""


class SqlQuery:
    """One SELECT.

    Args:
        text: it.
        tables: the tables that there are, and their columns.
        views: more of them, each made of those by a SELECT.
        absent: tables that might be expected, and why there are none.

    Attributes:
        needs: the tables that it reads, and which columns of each.

    Raises:
        SqlError: it is no SELECT, or reads what there is not.
    """

    def __init__(
        self,
        text: str,
        tables: Mapping[str, Sequence[str]],
        views: Mapping[str, str] | None = None,
        absent: Mapping[str, str] | None = None,
    ) -> None:
        self._text = text
        self._tables = tables
        self._views = views or {}
        self._absent = absent or {}
        self.needs: dict[str, set[str]] = {}
        if text.lstrip()[:7].lower() == "explain":
            raise SqlError("EXPLAIN is not possible here; write a SELECT")
        with closing(self._database()) as database:
            database.set_authorizer(self._note)
            try:
                # It is not carried out, only read.
                database.execute(f"EXPLAIN {text}").close()
            except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
                # What has parameters was read by then, and they come when it is carried out.
                if "binding" not in str(error):
                    raise self._error(error) from None

    def run(
        self,
        rows: Mapping[str, Iterable[Sequence[Value]]],
        parameters: Sequence[Value] | Mapping[str, Value] = (),
        *,
        seconds: float = SECONDS,
        most_bytes: int = MOST_BYTES,
    ) -> tuple[list[str], list[tuple[Value, ...]]]:
        """Carry it out.

        Args:
            rows: of the tables that it needs, with all their columns.
            parameters: for the question marks and names in it.
            seconds: how long it may take.
            most_bytes: how large the rows may be together, and also what comes of it.

        Returns:
            Names of columns, and rows.

        Raises:
            SqlError: it failed, or took too long or too much memory.
        """
        with closing(self._database()) as database:
            database.execute(f"PRAGMA max_page_count = {max(64, most_bytes // _PAGE)}")
            try:
                for name in self.needs:
                    _fill(database, name, len(self._tables[name]), rows.get(name, ()))
                guard = _Guard(seconds, most_bytes)
                database.execute("PRAGMA query_only = ON")
                database.set_authorizer(_authorize)
                database.set_progress_handler(guard.look, _STEPS)
                try:
                    return self._fetch(database, parameters, most_bytes)
                except (sqlite3.Error, sqlite3.Warning, OverflowError) as error:
                    raise (guard.verdict or self._error(error)) from None
            except (sqlite3.Error, MemoryError) as error:
                raise self._error(error) from None

    def _fetch(
        self,
        database: sqlite3.Connection,
        parameters: Sequence[Value] | Mapping[str, Value],
        most_bytes: int,
    ) -> tuple[list[str], list[tuple[Value, ...]]]:
        cursor = database.execute(self._text, parameters)
        names = [column[0] for column in cursor.description or ()]
        found: list[tuple[Value, ...]] = []
        size = 0
        while some := cursor.fetchmany(_AT_ONCE):
            found += some
            size += sum(sys.getsizeof(value) for row in some for value in row)
            if size > most_bytes:
                raise SqlError(
                    f"what comes of it is larger than {_mebibytes(most_bytes)}; add LIMIT, or name "
                    "the columns"
                )
        return _unique(names), found

    # -- the database -----------------------------------------------------------------------

    def _database(self) -> sqlite3.Connection:
        database = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        for kind, most in _LIMITS.items():
            database.setlimit(kind, most)
        database.execute(f"PRAGMA page_size = {_PAGE}")
        # On disk it could grow as fast as the disk lets it; memory is watched where that can be.
        database.execute(f"PRAGMA temp_store = {'MEMORY' if _memory_in_use() else 'FILE'}")
        for name, columns in self._tables.items():
            database.execute(f"CREATE TABLE {_quoted(name)} ({', '.join(map(_quoted, columns))})")
        for name, select in self._views.items():
            database.execute(f"CREATE VIEW {_quoted(name)} AS {select}")
        _replace_functions(database)
        for name in ("json_each", "json_tree"):
            # Made known now, for which there is no authority later.
            database.execute(f"SELECT 1 FROM {name}('[]')").close()
        return database

    def _note(
        self,
        action: int,
        first: str | None,
        second: str | None,
        database: str | None,
        inner: str | None,
    ) -> int:
        """Note what is read."""
        if action == sqlite3.SQLITE_READ and first is not None and first in self._tables:
            self.needs.setdefault(first, set()).update((second,) if second else ())
        return _authorize(action, first, second, database, inner)

    def _other_column(self, name: str) -> str:
        """What somebody may have meant who named a column that is not there."""
        name = name.rpartition(".")[2]
        known = sorted({column for columns in self._tables.values() for column in columns})
        near = difflib.get_close_matches(name, known, n=1)
        if near:
            return f"there is {near[0]}"
        return f"SELECT * shows them all; the header {name} is headers ->> '{name}'"

    def _error(self, error: BaseException) -> SqlError:
        words = str(error) or type(error).__name__
        if isinstance(error, SqlError):
            return error
        if words.startswith("no such table: "):
            name = words.removeprefix("no such table: ").removeprefix("main.").lower()
            if name in self._absent:
                return SqlError(self._absent[name])
            known = ", ".join(sorted((*self._tables, *self._views)))
            return SqlError(f"{words}; there are {known}")
        if "not authorized" in words or "prohibited" in words or "query_only" in words:
            return SqlError("only one SELECT that reads these tables is possible here")
        if "user-defined function" in words:
            return SqlError(
                "a function was given too much: replace() makes at most "
                f"{_mebibytes(LONGEST_VALUE)}, and trim() takes {_SET} characters"
            )
        if "one statement" in words:
            return SqlError("only one statement is possible here")
        if "disk is full" in words or isinstance(error, MemoryError):
            return SqlError(
                "the rows that it reads are too large together; read fewer queues, or no bodies"
            )
        if words.startswith("no such column: "):
            words += f"; {self._other_column(words.removeprefix('no such column: '))}"
        return SqlError(words)


class _Guard:
    """Ends a query that takes too long, or too much memory."""

    def __init__(self, seconds: float, most_bytes: int) -> None:
        self.verdict: SqlError | None = None
        self._seconds = seconds
        self._deadline = monotonic() + seconds
        self._most_bytes = most_bytes
        self._begun_with = _memory_in_use()

    def look(self) -> bool:
        """Look at clock and memory; true ends the query."""
        if monotonic() > self._deadline:
            self.verdict = SqlError(f"it took longer than {self._seconds:g} s")
        elif self._begun_with and _memory_in_use() - self._begun_with > 2 * self._most_bytes:
            self.verdict = SqlError(
                f"it took more memory than it may; {_mebibytes(self._most_bytes)} are for what it "
                "sorts and keeps"
            )
        return self.verdict is not None


def _authorize(
    action: int,
    first: str | None,
    second: str | None,
    database: str | None,
    inner: str | None,
) -> int:
    if action not in _ALLOWED:
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _FORBIDDEN_FUNCTIONS:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def _fill(
    database: sqlite3.Connection, name: str, columns: int, rows: Iterable[Sequence[Value]]
) -> None:
    marks = ", ".join("?" * columns)
    database.execute("BEGIN")
    database.executemany(f"INSERT INTO {_quoted(name)} VALUES ({marks})", map(_bounded, rows))
    database.execute("COMMIT")


def _bounded(row: Sequence[Value]) -> list[Value]:
    return [
        None
        if isinstance(value, str | bytes)
        and len(value) > LONGEST_VALUE // 4
        and _length(value) > LONGEST_VALUE
        else value
        for value in row
    ]


def _length(value: str | bytes) -> int:
    return len(value.encode()) if isinstance(value, str) else len(value)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _unique(names: Sequence[str]) -> list[str]:
    """The names of columns, told apart where two are the same."""
    seen: dict[str, int] = {}
    told = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        told.append(name if seen[name] == 1 else f"{name}:{seen[name]}")
    return told


def _mebibytes(size: int) -> str:
    return f"{size / (1024 * 1024):g} MiB"


def _memory_in_use() -> int:
    """Bytes of memory that the process has; 0 where that cannot be read quickly."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0


# -- functions whose own ones can be made to take for ever -------------------------------------


def _replace_functions(database: sqlite3.Connection) -> None:
    def put(name: str, count: int, function: object) -> None:
        database.create_function(name, count, function, deterministic=True)  # type: ignore[arg-type]

    put("instr", 2, _instr)
    put("replace", 3, _replace)
    for name, ends in (("ltrim", "l"), ("rtrim", "r"), ("trim", "lr")):
        put(name, 2, _trimmer(ends))


def _instr(text: Value, part: Value) -> int | None:
    if text is None or part is None:
        return None
    if isinstance(text, bytes) and isinstance(part, bytes):
        return text.find(part) + 1
    return _text(text).find(_text(part)) + 1


def _replace(text: Value, part: Value, by: Value) -> str | None:
    if text is None or part is None or by is None:
        return None
    whole, old, new = _text(text), _text(part), _text(by)
    if not old:
        return whole
    if len(whole) + max(0, len(new) - len(old)) * whole.count(old) > LONGEST_VALUE:
        raise ValueError("string or blob too big")
    return whole.replace(old, new)


def _trimmer(ends: str) -> object:
    def trim(text: Value, characters: Value) -> str | None:
        if text is None or characters is None:
            return None
        whole, some = _text(text), _text(characters)
        if len(some) > _SET:
            raise ValueError(f"more than {_SET} characters to trim")
        if not some:
            return whole
        whole = whole.lstrip(some) if "l" in ends else whole
        return whole.rstrip(some) if "r" in ends else whole

    return trim


def _text(value: Value) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else str(value)
