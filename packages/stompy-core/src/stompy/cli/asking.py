"""Commands of operators, asked from a shell: the request, its answer, and what may go wrong."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from stompy.admin.command import CommandError, Reply, Request
from stompy.admin.snapshot import COMMAND_DESTINATION
from stompy.cli.console import FAILED, OK, TIMED_OUT, say
from stompy.cli.options import open_client
from stompy.errors import STOMPTimeout


def ask(
    options: argparse.Namespace, request: Request, show: Callable[[Mapping[str, Any]], None]
) -> int:
    """Ask the broker that is meant, and show what it answers; the exit code.

    Args:
        options: what the parser has read, ``timeout`` with it.
        request: what is asked.
        show: writes the result.
    """
    try:
        with open_client(options) as client:
            answer = client.request(COMMAND_DESTINATION, request.to_json(), timeout=options.timeout)
        show(Reply.from_json(answer.body, answer.headers).checked())
    except STOMPTimeout:
        say(f"no answer within {options.timeout:g} s; is it a stompy-broker?")
        return TIMED_OUT
    except CommandError as error:
        say(error.message)
        return FAILED
    return OK
