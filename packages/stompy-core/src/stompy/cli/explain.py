"""``stompy explain``: where a message would go, who would get it and who not, and why."""

from __future__ import annotations

import argparse
import json

from stompy.admin.command import CommandError, Reply, Request
from stompy.admin.explanation import RouteExplanation
from stompy.admin.snapshot import COMMAND_DESTINATION
from stompy.cli.console import FAILED, OK, TIMED_OUT, harmless, put, say
from stompy.cli.options import (
    Commands,
    add_command,
    add_destination,
    at_least,
    open_client,
    seconds,
)
from stompy.errors import STOMPTimeout

_LARGEST = 1 << 40

_DETAILS = """\
examples:
  stompy explain /queue/orders -H customer:7
  stompy explain /topic/prices.tea -H n:3 --user alice
  stompy explain /queue/orders --json | jq .gets

Nothing is sent. The broker has to be stompy-broker, and your role there monitor at least.
"""


def add_to(commands: Commands) -> None:
    """Make the command known."""
    command = add_command(
        commands, "explain", _explain, "say who would get a message, and why", _DETAILS
    )
    add_destination(command)
    command.add_argument(
        "--body-bytes",
        metavar="N",
        type=at_least(0, _LARGEST, "bytes"),
        default=0,
        help="size of the body (default: 0)",
    )
    command.add_argument("--user", help="who would send it (default: you)")
    command.add_argument(
        "--timeout", metavar="S", type=seconds, default=10.0, help="for the answer (default: 10)"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")


def _explain(options: argparse.Namespace) -> int:
    args: dict[str, object] = {
        "destination": options.destination,
        "headers": dict(options.header),
        "body_bytes": options.body_bytes,
    }
    if options.user is not None:
        args["user"] = options.user
    request = Request("route.explain", args)
    try:
        with open_client(options) as client:
            answer = client.request(COMMAND_DESTINATION, request.to_json(), timeout=options.timeout)
        result = Reply.from_json(answer.body, answer.headers).checked()
    except STOMPTimeout:
        say(f"no answer within {options.timeout:g} s; is it a stompy-broker?")
        return TIMED_OUT
    except CommandError as error:
        say(error.message)
        return FAILED
    if options.json:
        put(json.dumps(result))
    else:
        for line in str(RouteExplanation.from_json(result)).split("\n"):
            put(harmless(line))
    return OK
