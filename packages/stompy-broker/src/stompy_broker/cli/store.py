"""The sub-commands ``stompy-broker store``, which look into a data directory."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from stompy.admin.sql_tables import (
    ABSENT,
    MESSAGE_COLUMNS,
    MESSAGES,
    VIEWS,
    body_value,
)
from stompy.data_table import DataTable, Value
from stompy.sql_query import SqlError, SqlQuery
from stompy.table_text import FORMS, table_lines
from stompy_broker.cli.console import EXIT_NOT_SOUND, complain, print_table
from stompy_broker.destinations.names import RETAINED, DestinationKind
from stompy_broker.store.base import StoreError
from stompy_broker.store.compaction import compact_directory
from stompy_broker.store.inspection import Exported, Inspection, Stats, inspected
from stompy_broker.store.log_inspection import ExportedEntry

_EPILOG = """
\b
Exit status:
  0  everything is in order
  1  damage was found, or the directory is absent, in use, or cannot be read
  2  wrong usage
"""


@click.group(epilog=_EPILOG)
def store() -> None:
    """Look into a data directory that no broker uses, or make it smaller.

    Locks the directory meanwhile. All but `compact` change nothing in the database.
    """


_DIRECTORY = click.argument(
    "directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=False)
)


@store.command("check", epilog=_EPILOG)
@_DIRECTORY
def store_check(directory: Path) -> None:
    """Look through the database in DIR for damage, and print each finding."""
    with _inspected(directory) as inspection:
        findings = inspection.check()
    for finding in findings:
        click.echo(finding)
    if findings:
        sys.exit(EXIT_NOT_SOUND)
    click.echo(f"{directory}: no damage found")


@store.command("stats", epilog=_EPILOG)
@_DIRECTORY
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; times in ms.")
def store_stats(directory: Path, as_json: bool) -> None:
    """Print what DIR holds: queues, logs, durable subscriptions, files.

    A stream is a log, and so is what was in a queue that keeps its history.
    """
    with _inspected(directory) as inspection:
        stats = inspection.stats()
    if as_json:
        click.echo(json.dumps(asdict(stats)))
    else:
        _print_stats(stats)


@store.command("export", epilog=_EPILOG)
@_DIRECTORY
def store_export(directory: Path) -> None:
    """Print every message in DIR, a JSON object a line.

    After the messages of queues come those of streams and of what was, with the log's name and
    their offset there.

    Of a damaged database it prints what can be read, and tells on standard error what cannot.
    """
    try:
        with _inspected(directory) as inspection:
            for message in inspection.export():
                click.echo(_json_line(message))
            for entry in inspection.export_logs():
                click.echo(_json_entry(entry))
            sys.stdout.flush()
            problems = inspection.problems
    except BrokenPipeError:
        # Who reads has had enough. Nothing more may be written there, not even at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_NOT_SOUND)
    for problem in problems:
        complain(problem)
    if problems:
        sys.exit(EXIT_NOT_SOUND)


@store.command("sql", epilog=_EPILOG)
@_DIRECTORY
@click.argument("query", metavar="SELECT")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMS),
    default="table",
    help="Columns of text, an object a line, or CSV (default: table).",
)
def store_sql(directory: Path, query: str, form: str) -> None:
    """Answer one SELECT from the messages in DIR.

    The tables are messages and dead_letters, as the command "stompy sql" has them of a broker
    that runs. Of a damaged database they hold what can be read.
    """
    try:
        wanted = SqlQuery(query, {MESSAGES: MESSAGE_COLUMNS}, VIEWS, ABSENT)
        with _inspected(directory) as inspection:
            found_rows = (one for one in inspection.export() if not one.retained)
            rows = map(_sql_row, found_rows) if MESSAGES in wanted.needs else ()
            found = DataTable(*wanted.run({MESSAGES: rows}))
            problems = inspection.problems
    except SqlError as error:
        complain(str(error))
        sys.exit(EXIT_NOT_SOUND)
    for line in table_lines(found, form, narrow=sys.stdout.isatty()):
        click.echo(line)
    for problem in problems:
        complain(problem)


def _sql_row(message: Exported) -> tuple[Value, ...]:
    return (
        (message.destination or "").removeprefix("/queue/") or None,
        message.sequence,
        message.message_id,
        "ready",
        message.priority,
        message.deliveries,
        message.received_at,
        None,
        message.expires or None,
        len(message.body),
        message.headers.get("content-type"),
        json.dumps(message.headers),
        body_value(message.body),
    )


@store.command("compact", epilog=_EPILOG)
@_DIRECTORY
@click.option("--drop-damaged", is_flag=True, help="Delete damaged messages that were set aside.")
def store_compact(directory: Path, drop_damaged: bool) -> None:
    """Write the database in DIR anew, as short as it can be.

    A database that was made by this release gives room back by itself; one of before does so once
    it was compacted. Needs as much free disk as is in use, twice.
    """
    try:
        done = compact_directory(directory, drop_damaged=drop_damaged)
    except StoreError as error:
        complain(str(error))
        sys.exit(EXIT_NOT_SOUND)
    click.echo(f"{directory}: {done.before} bytes before, {done.after} after")
    if drop_damaged:
        click.echo(f"damaged messages deleted: {done.dropped}")


@contextlib.contextmanager
def _inspected(directory: Path) -> Iterator[Inspection]:
    try:
        with inspected(directory) as inspection:
            yield inspection
    except StoreError as error:
        complain(str(error))
        sys.exit(EXIT_NOT_SOUND)


def _json_line(message: Exported) -> str:
    fields = asdict(message)
    fields["body_base64"] = base64.b64encode(fields.pop("body")).decode()
    return json.dumps(fields)


def _json_entry(entry: ExportedEntry) -> str:
    fields = asdict(entry)
    body, payload = fields.pop("body"), fields.pop("payload")
    fields["body_base64"] = None if body is None else base64.b64encode(body).decode()
    fields["payload_base64"] = base64.b64encode(payload).decode()
    return json.dumps(fields)


def _print_stats(stats: Stats) -> None:
    print_table(
        ("queue", "messages", "bytes", "oldest"),
        [
            (
                _named(queue.destination),
                str(queue.messages),
                str(queue.bytes),
                "" if queue.oldest is None else _time(queue.oldest),
            )
            for queue in stats.queues
        ],
    )
    click.echo()
    if stats.logs:
        print_table(
            ("log", "first", "next", "bytes", "readers"),
            [
                (log.log, str(log.first), str(log.next), str(log.bytes), str(len(log.readers)))
                for log in stats.logs
            ],
        )
        click.echo()
    print_table(
        ("durable subscription", "topics"), [(s.name, s.pattern) for s in stats.subscriptions]
    )
    click.echo()
    if stats.damaged:
        click.echo(f"damaged messages that were set aside: {stats.damaged}\n")
    print_table(("file", "bytes"), [(name, str(size)) for name, size in stats.files.items()])


def _named(destination: str | None) -> str:
    """A queue, for people."""
    if destination == f"{DestinationKind.QUEUE.value}{RETAINED}":
        return "(kept by topics)"
    return destination or "(queue missing)"


def _time(milliseconds: int) -> str:
    try:
        at = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return str(milliseconds)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
