"""The past of queues as a table: what has left them, who had it and when, and how that ended."""

from __future__ import annotations

import json
import math
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import uuid4

from stompy.admin.command import Reply, Request
from stompy.admin.settlements import HISTORY_COLUMNS, SettlementKind
from stompy.admin.snapshot import COMMAND_DESTINATION
from stompy.data_table import DataTable, Value
from stompy.sync.client import STOMPClient

Moment = datetime | timedelta | int
"""A datetime, or a timedelta: so long ago; or milliseconds since the epoch, of which a negative
number is so long before now."""

_COMMAND: Final = "queue.history"


def history(  # noqa: PLR0913 -- each chooses by something else
    client: STOMPClient,
    queue: str,
    *,
    since: Moment = 0,
    until: Moment = 0,
    outcomes: Sequence[SettlementKind | str] = (),
    selector: str | None = None,
    ids: Sequence[str] | None = None,
    limit: int | None = None,
    bodies: bool = False,
    timeout: float = 10.0,
) -> DataTable:
    """Give what has left a queue, and every delivery that ended, oldest first.

    >>> table = stompy.history(client, "orders", since=timedelta(hours=1))  # doctest: +SKIP
    >>> table.to_pandas().groupby("outcome").size()  # doctest: +SKIP

    Args:
        client: connected to a stompy-broker, with the role ``operator`` and the right to browse the
            queue.
        queue: its name, with or without ``/queue/``. It may have ended.
        since: settled then or later: a datetime, a timedelta (so long ago), or milliseconds since
            1970, of which a negative number is so long before now; 0 = from the beginning.
        until: settled before that, as ``since``; 0 = until now.
        outcomes: a list of what became of the messages; empty = anything.
        selector: an expression that the headers of what left match.
        ids: a list of message-ids; None = any.
        limit: rows at most; None = all.
        bodies: whether bodies are wanted, as octets.
        timeout: seconds to wait for each answer of the broker.

    Returns:
        A row for each settlement, with the columns of ``stompy.admin.HISTORY_COLUMNS``. Headers are
        dictionaries; `DataTable` makes a data frame, a table of Arrow or one of DuckDB of it.

    Raises:
        CommandError: the broker refused, or the queue keeps no history.
        STOMPTimeout: it did not answer in time.
        TypeError: ``outcomes`` or ``ids`` is one text and no list, or a time is none.
        ValueError: a timedelta that is not ago.
    """
    for name, some in (("outcomes", outcomes), ("ids", ids)):
        if isinstance(some, str):
            raise TypeError(f"{name}= is a list: {name}=[{str(some)!r}]")
    args: dict[str, Any] = {
        "queue": queue,
        "from": _milliseconds("since", since),
        "to": _milliseconds("until", until),
        "outcomes": [str(one) for one in outcomes],
        "body": "full" if bodies else "none",
    }
    args |= {"selector": selector, "ids": None if ids is None else list(ids), "limit": limit}
    given = {name: value for name, value in args.items() if value is not None}
    rows = (
        tuple(_value(row, name) for name in HISTORY_COLUMNS)
        for row in history_rows(client, given, timeout)
    )
    return DataTable(HISTORY_COLUMNS, rows)


def history_rows(
    client: STOMPClient, args: Mapping[str, Any], timeout: float
) -> Iterator[Mapping[str, Any]]:
    """Give the rows of the command ``queue.history`` as they come.

    Args:
        client: asks.
        args: of the command.
        timeout: seconds to wait for each answer.

    Raises:
        CommandError: the broker refused.
        STOMPTimeout: it did not answer in time.
    """
    address, number = f"/temp-queue/history-{uuid4()}", str(uuid4())
    with client.subscription(address, "auto", timeout=timeout) as answers:
        client.message(
            COMMAND_DESTINATION,
            Request(_COMMAND, args).to_json(),
            headers={"reply-to": address, "correlation-id": number},
        )
        final = False
        while not final:
            answer = answers.get(timeout)
            reply = Reply.from_json(answer.Body, answer.Headers)
            final = reply.final
            yield from reply.checked().get("rows", ())


def sql_values(row: Mapping[str, Any]) -> tuple[Value, ...]:
    """The row as a table of SQL has it.

    Args:
        row: as the command tells it.
    """
    values = {name: _value(row, name) for name in HISTORY_COLUMNS}
    headers, body = values["headers"], values["body"]
    values["headers"] = None if headers is None else json.dumps(headers)
    if isinstance(body, bytes):
        try:
            values["body"] = body.decode()
        except UnicodeDecodeError:
            values["body"] = body
    return tuple(values[name] for name in HISTORY_COLUMNS)


def _value(row: Mapping[str, Any], name: str) -> Any:
    value: Any = row.get(name)
    if name == "sequence":
        return int(value)
    if name == "content_type":
        return (row.get("headers") or {}).get("content-type")
    if name == "body" and value is not None:
        return b64decode(value) if row.get("encoding") == "base64" else value.encode()
    return value


def _milliseconds(name: str, moment: Moment) -> int:
    """Give a time as the command takes it, by the clock of the broker where it is so long ago."""
    if isinstance(moment, datetime):
        return round(moment.timestamp() * 1000)
    if isinstance(moment, timedelta):
        if moment <= timedelta(0):
            raise ValueError(f"{name}= is how long ago, not {moment!r}")
        return -math.ceil(moment / timedelta(milliseconds=1))
    if isinstance(moment, bool) or not isinstance(moment, int):
        raise TypeError(
            f"{name}= is a datetime, a timedelta, or a whole number of milliseconds, not {moment!r}"
        )
    return moment
