"""``stompy browse``: what is in a queue, without taking it."""

from __future__ import annotations

import argparse

from stompy.cli.console import OK, TIMED_OUT, UsageError, given_output, say
from stompy.cli.messages import FORMATS, add_format, add_selector, write_out
from stompy.cli.options import (
    Commands,
    add_command,
    add_destination,
    at_least,
    open_client,
    seconds,
    tell,
)
from stompy.cli.output import Output
from stompy.errors import STOMPTimeout

_MOST = 10**15
_STATES = ("present", "ready", "unacked", "delayed", "scheduled", "all")

_DETAILS = """\
examples:
  stompy browse /queue/orders
  stompy browse /queue/orders -n 10 --selector "customer = 'smith' AND total > 100"
  stompy browse /queue/DLQ.orders --format json | jq .headers
  stompy browse /queue/orders --state unacked --headers-only --format json

Messages stay where they are; nothing is delivered or counted. Every broker that shows messages over
STOMP will do; --state, --headers-only, --since and --follow are for stompy-broker.
"""


def add_to(commands: Commands) -> None:
    """Make the command known."""
    command = add_command(commands, "browse", _browse, "look at the messages of a queue", _DETAILS)
    add_destination(command)
    number = at_least(0, _MOST, "messages")
    command.add_argument("-n", "--count", metavar="COUNT", type=number, help="so many at most")
    command.add_argument(
        "--offset", metavar="COUNT", type=number, default=0, help="leave out so many first"
    )
    add_selector(command)
    command.add_argument(
        "--state",
        choices=_STATES,
        default="present",
        help="where they are (default: present: ready, or with a consumer)",
    )
    command.add_argument("--headers-only", action="store_true", help="without bodies")
    command.add_argument(
        "--since",
        metavar="MS",
        type=at_least(0, _MOST, "milliseconds"),
        help="only what came then or later, in milliseconds since 1970",
    )
    command.add_argument("--follow", action="store_true", help="go on with what comes later")
    command.add_argument(
        "--timeout",
        metavar="S",
        type=seconds,
        default=10.0,
        help="for the broker's answer (default: 10)",
    )
    add_format(command)


def _browse(options: argparse.Namespace) -> int:
    write = FORMATS[options.format]
    given_output()
    output = Output()
    with open_client(options) as client, output.watched(client.close):
        try:
            browsing = client.browse(
                options.destination,
                selector=options.selector,
                state=options.state,
                offset=options.offset,
                limit=options.count,
                headers_only=options.headers_only,
                follow=options.follow,
                since=options.since,
                headers=dict(options.header),
                timeout=options.timeout,
            )
            for message in browsing:
                if output.gone:
                    raise BrokenPipeError("nobody reads the output any more")
                with output.busy:
                    write_out(write(message))
        except STOMPTimeout:
            say(f"{options.destination} was not shown within {options.timeout:g} s")
            return TIMED_OUT
        except ValueError as error:
            raise UsageError(str(error)) from error
        tell(
            options,
            f"{browsing.browsed} message{'s' * (browsing.browsed != 1)} in {options.destination}",
        )
    return OK
