"""``stompy sql``: one SELECT over what a broker holds just now."""

from __future__ import annotations

import argparse
import sys

from stompy.broker_tables import sql
from stompy.cli.console import FAILED, OK, TIMED_OUT, UsageError, given_output, put, say
from stompy.cli.options import Commands, add_command, open_client, seconds
from stompy.errors import STOMPTimeout
from stompy.sql_query import SECONDS, SqlError
from stompy.table_text import FORMS, table_lines

_DETAILS = """\
examples:
  stompy sql "SELECT queue, count(*) n FROM messages GROUP BY 1"
  stompy sql stomp://broker:61613 "SELECT name, ready FROM queues WHERE ready > 100"
  stompy sql --queue orders "SELECT body ->> '$.customer' c, count(*) FROM messages GROUP BY 1"
  stompy sql --queue orders "SELECT outcome, count(*) FROM history GROUP BY 1"
  stompy sql --format csv "SELECT origin, reason, count(*) FROM dead_letters GROUP BY 1, 2"

tables: messages, dead_letters, queues, connections, subscriptions, events, history
The broker has to be stompy-broker. It shows what is there, and the SELECT runs here: nothing is
consumed or changed. You need the right to browse the queues; their names, unless --queue says them,
and the other tables take the role monitor, history the role operator.
"""


def add_to(commands: Commands) -> None:
    """Make the command known."""
    command = add_command(commands, "sql", _sql, "ask what a broker holds, by SQL", _DETAILS)
    command.add_argument(
        "words",
        metavar="[URL] SELECT",
        nargs="+",
        help="the broker, unless --url says it; the query",
    )
    command.add_argument(
        "--queue",
        metavar="NAME",
        action="append",
        default=[],
        help="read only the messages of this queue; may be repeated",
    )
    command.add_argument(
        "--format",
        choices=FORMS,
        default="table",
        help="table: columns of text; json: an object a line; csv (default: table)",
    )
    command.add_argument(
        "--seconds", metavar="S", type=seconds, default=SECONDS, help="for the query (default: 5)"
    )
    command.add_argument(
        "--timeout", metavar="S", type=seconds, default=10.0, help="for each answer (default: 10)"
    )


def _sql(options: argparse.Namespace) -> int:
    *url, query = options.words
    if len(url) > 1:
        raise UsageError("one URL and one SELECT are wanted; put the SELECT into quotation marks")
    if url:
        options.url = url[0]
    given_output()
    try:
        with open_client(options) as client:
            found = sql(
                client,
                query,
                queues=options.queue,
                timeout=options.timeout,
                seconds=options.seconds,
            )
    except SqlError as error:
        say(str(error))
        return FAILED
    except STOMPTimeout as error:
        say(f"{error}; is it a stompy-broker, and may you see that?")
        return TIMED_OUT
    for line in table_lines(found, options.format, narrow=sys.stdout.isatty()):
        put(line)
    return OK
