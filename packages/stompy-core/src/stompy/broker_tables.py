"""SQL over a broker elsewhere: what a query needs is asked for, and the query runs here.

The broker carries out no SQL. What waits in queues is browsed, and the other tables are snapshots
of the admin topics, so a user sees what the rights and the role allow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from time import monotonic

from stompy.admin.command import CommandError, CommandErrorCode, Reply, Request
from stompy.admin.rows import Kind, Row
from stompy.admin.snapshot import COMMAND_DESTINATION, TOPIC_PREFIX, Table, key_of, read_page
from stompy.admin.sql_tables import (
    EVENTS,
    HISTORY,
    KINDS,
    MESSAGES,
    TABLES,
    VIEWS,
    row_values,
    shown_message,
)
from stompy.data_table import DataTable, Value
from stompy.errors import STOMPTimeout
from stompy.history_table import history_rows, sql_values
from stompy.sql_query import MOST_BYTES, SECONDS, SqlError, SqlQuery
from stompy.sync.client import STOMPClient

_QUEUE = "/queue/"


def sql(
    client: STOMPClient,
    query: str,
    parameters: Sequence[Value] | Mapping[str, Value] = (),
    *,
    queues: Iterable[str] = (),
    timeout: float = 10.0,
    seconds: float = SECONDS,
    most_bytes: int = MOST_BYTES,
) -> DataTable:
    """Ask a broker by SQL: one SELECT over what is there now, carried out here.

    >>> stompy.sql(client, "SELECT queue, count(*) n FROM messages GROUP BY 1")  # doctest: +SKIP

    Args:
        client: connected to a stompy-broker. The queues that are asked about have to be named, or
            the user needs the role ``monitor``.
        query: one SELECT from ``messages``, ``dead_letters``, ``queues``, ``connections``,
            ``subscriptions``, ``events`` and ``history``, which takes the role ``operator``.
        parameters: for the question marks and names in it.
        queues: whose messages and history to read; all queues by default.
        timeout: seconds to wait for each answer of the broker.
        seconds: how long the query may take, once everything is here.
        most_bytes: how large its rows may be together, and also what comes of it.

    Raises:
        SqlError: the query cannot be, or took too long or too much memory.
        STOMPError: the broker refused.
        STOMPTimeout: it did not answer in time.
    """
    wanted = SqlQuery(query, TABLES, VIEWS)
    rows: dict[str, Iterable[Sequence[Value]]] = {}
    for name, columns in wanted.needs.items():
        if name == MESSAGES:
            names = [one.removeprefix(_QUEUE) for one in queues]
            names = names or [
                key_of(Kind.QUEUES, row) for row in _snapshot(client, Kind.QUEUES, timeout)
            ]
            rows[name] = _messages(client, names, columns, timeout, most_bytes)
        elif name == HISTORY:
            rows[name] = _history(client, queues, columns, timeout, most_bytes)
        elif name == EVENTS:
            rows[name] = [row_values(TABLES[name], row) for row in _events(client, timeout)]
        else:
            found = _snapshot(client, KINDS[name], timeout)
            rows[name] = [row_values(TABLES[name], row) for row in found]
    return DataTable(*wanted.run(rows, parameters, seconds=seconds, most_bytes=most_bytes))


def _messages(
    client: STOMPClient, queues: Iterable[str], columns: set[str], timeout: float, most: int
) -> list[tuple[Value, ...]]:
    found: list[tuple[Value, ...]] = []
    size = 0
    for queue in queues:
        browsing = client.browse(
            f"{_QUEUE}{queue}", state="all", headers_only="body" not in columns, timeout=timeout
        )
        for message in browsing:
            size += len(message.Body)
            if size > most:
                raise SqlError(
                    "the messages are too large together; name fewer queues, or do not read body"
                )
            found.append(shown_message(queue, message))
    return found


def _history(
    client: STOMPClient, queues: Iterable[str], columns: set[str], timeout: float, most: int
) -> list[tuple[Value, ...]]:
    """What has left some queues, or all that keep a history."""
    names = [one.removeprefix(_QUEUE) for one in queues]
    if not names:
        asked = client.request(
            COMMAND_DESTINATION, Request("history.list").to_json(), timeout=timeout
        )
        told = Reply.from_json(asked.Body, asked.Headers).checked()
        names = [one["queue"] for one in told["histories"]]
    found: list[tuple[Value, ...]] = []
    size = 0
    body = "full" if "body" in columns else "none"
    for name in names:
        try:
            for row in history_rows(client, {"queue": name, "body": body}, timeout):
                size += _ROW + (row.get("size") or 0)
                if size > most:
                    words = "the history is too large; name fewer queues, or ask for less of it"
                    raise SqlError(words)
                found.append(sql_values(row))
        except CommandError as error:
            if error.code not in _NO_HISTORY:
                raise
    return found


_NO_HISTORY = (CommandErrorCode.CONFLICT, CommandErrorCode.NOT_FOUND)
"""How a broker says that a queue keeps none."""


_ROW = 300
"""About so many octets one row of the history costs beside its message."""


def _snapshot(client: STOMPClient, kind: Kind, timeout: float) -> list[Row]:
    table = Table(kind)
    with client.subscription(f"{TOPIC_PREFIX}{kind}", "auto", timeout=timeout) as pages:
        deadline = monotonic() + timeout
        while not table.add(read_page(pages.get(max(0.0, deadline - monotonic())).Body)):
            pass
    return list(table.now())


def _events(client: STOMPClient, timeout: float) -> list[Row]:
    """The last events, which come before the answer to a command."""
    rows: list[Row] = []
    topic = f"{TOPIC_PREFIX}event.>"
    with client.subscription(topic, "auto", timeout=timeout) as events:
        client.request(COMMAND_DESTINATION, Request("broker.help").to_json(), timeout=timeout)
        with suppress(STOMPTimeout):
            while True:
                rows += read_page(events.get(0).Body).rows
    return rows
