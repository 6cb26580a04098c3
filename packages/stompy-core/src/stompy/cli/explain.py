"""``stompy explain``: where a message would go, who would get it and who not, and why."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from stompy.admin.command import Request
from stompy.admin.explanation import RouteExplanation
from stompy.cli.asking import ask
from stompy.cli.console import harmless, put
from stompy.cli.options import Commands, add_command, add_destination, at_least, seconds

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

    def show(result: Mapping[str, Any]) -> None:
        if options.json:
            put(json.dumps(result))
            return
        for line in str(RouteExplanation.from_json(result)).split("\n"):
            put(harmless(line))

    return ask(options, Request("route.explain", args), show)
