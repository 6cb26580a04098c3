"""The command line ``stompy``: messages, and a look at a broker, from a shell.

The exit codes are part of the contract; ``stompy --help`` lists them.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from stompy import __version__
from stompy.cli.bench import add_to as add_bench
from stompy.cli.browse import add_to as add_browse
from stompy.cli.console import FAILED, INTERRUPTED, OK, USAGE, UsageError, say
from stompy.cli.explain import add_to as add_explain
from stompy.cli.messages import add_to as add_messages
from stompy.cli.options import EPILOG, Command
from stompy.cli.ping import add_to as add_ping
from stompy.cli.schedules import add_to as add_schedules
from stompy.cli.sql import add_to as add_sql
from stompy.errors import STOMPException
from stompy.transport.tls import as_options

_LONGEST = 13
"""Cells of the longest name of a command, with what stands before it."""

_EXAMPLES = """\
examples:
  stompy send /queue/greetings "Hello, world"
  stompy listen /queue/greetings -n 1
  stompy browse /queue/greetings
  stompy ping
"""


class _Overview(argparse.RawDescriptionHelpFormatter):
    """Has the names of commands and what they do in one line; the longest would else be alone."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog)
        self._action_max_length = _LONGEST


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code.

    Raises:
        SystemExit: wrong usage, or ``--help``.
    """
    # What goes wrong ends in the one line below; the library is not to say it, too.
    logging.getLogger("stompy").addHandler(logging.NullHandler())
    options = _parsed(argv)
    command: Command = options.command
    try:
        return command(options)
    except UsageError as error:
        say(as_options(str(error)))
        return USAGE
    except BrokenPipeError:
        # Nobody reads any more; the interpreter must not stumble over that at its end.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except (STOMPException, OSError) as error:
        say(as_options(str(error)))
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options, wherever BODY stands: argparse takes it for missing behind ``DEST --option``."""
    parser = _parser()
    options, rest = parser.parse_known_args(argv)
    plain = rest[:1] == ["--"]
    if plain:
        rest = rest[1:]
    if (
        len(rest) == 1
        and (plain or not rest[0].startswith("-"))
        and getattr(options, "body", "") is None
    ):
        options.body = rest[0]
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stompy",
        description="Send and receive messages with any STOMP broker, and see how it does.",
        epilog=f"{_EXAMPLES}\n{EPILOG}",
        formatter_class=_Overview,
    )
    parser.add_argument("--version", action="version", version=f"stompy {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add_to in (
        add_messages,
        add_browse,
        add_schedules,
        add_sql,
        add_explain,
        add_ping,
        add_bench,
    ):
        add_to(commands)
    return parser
