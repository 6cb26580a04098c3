"""``%%stomp sql`` in a notebook: a cell that is one SELECT. Loaded by ``%load_ext stompy.magic``.

>>> %%stomp sql broker --queue orders  # doctest: +SKIP
... SELECT state, count(*) n FROM messages GROUP BY 1

The line names what is asked: a variable that holds a client or a broker with a method ``sql``, or a
URL; without one it is ``$STOMPY_URL``, else the broker on this machine.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from typing import Protocol, cast

from stompy.broker_tables import sql
from stompy.data_table import DataTable
from stompy.sync.client import STOMPClient, connect

_URL = "stomp://127.0.0.1:61613"
_USAGE = "%%stomp sql [VARIABLE or URL] [--queue NAME]… [--into VARIABLE]"


class Shell(Protocol):
    """What an extension needs of IPython."""

    user_ns: dict[str, object]

    def register_magic_function(
        self, function: Callable[[str, str], object], magic_kind: str, magic_name: str
    ) -> None:
        """Make a magic known."""


class _HasSql(Protocol):
    def sql(self, query: str, *, queues: list[str]) -> DataTable:
        """Answer one SELECT."""


def load_ipython_extension(shell: Shell) -> None:
    """Make the magic known to a notebook."""

    def stomp(line: str, cell: str) -> DataTable | None:
        return run(line, cell, shell.user_ns)

    stomp.__doc__ = f"Ask a broker by SQL.\n\n{_USAGE}"
    shell.register_magic_function(stomp, "cell", "stomp")


def run(line: str, cell: str, variables: Mapping[str, object]) -> DataTable | None:
    """Carry out a cell.

    Args:
        line: what stands behind ``%%stomp``.
        cell: the lines below it.
        variables: of the notebook; with ``--into`` what comes of it goes there.

    Returns:
        What comes of it, unless it went into a variable.

    Raises:
        SqlError: the query cannot be, or took too long.
        ValueError: the line is not as it should be.
    """
    words = shlex.split(line)
    if not words or words.pop(0) != "sql":
        raise ValueError(f"write {_USAGE}")
    queues, places = _options(words, "--queue"), _options(words, "--into")
    if len(words) > 1 or len(places) > 1 or any(word.startswith("--") for word in words):
        raise ValueError(f"write {_USAGE}")
    asked = words[0] if words else os.environ.get("STOMPY_URL") or _URL
    table = _ask(variables.get(asked, asked), cell, queues)
    if not places:
        return table
    cast(dict[str, object], variables)[places[0]] = table
    return None


def _options(words: list[str], name: str) -> list[str]:
    """Take an option out of the words of a line; gives its values."""
    found = []
    while name in words:
        at = words.index(name)
        if at + 1 == len(words):
            raise ValueError(f"{name} needs a name; write {_USAGE}")
        found.append(words[at + 1])
        del words[at : at + 2]
    return found


def _ask(asked: object, query: str, queues: list[str]) -> DataTable:
    if isinstance(asked, STOMPClient):
        return sql(asked, query, queues=queues)
    if isinstance(asked, str):
        if "://" not in asked:
            raise ValueError(f"there is no variable {asked!r}, and it is no URL")
        with connect(asked) as client:
            return sql(client, query, queues=queues)
    if not hasattr(asked, "sql"):
        raise ValueError(f"a {type(asked).__name__} cannot be asked by SQL")
    return cast(_HasSql, asked).sql(query, queues=queues)
