"""What the commands have in common on the command line: the broker, headers, numbers."""

from __future__ import annotations

import argparse
import os
import threading
from collections.abc import Callable, Iterable
from typing import TypeAlias

from stompy.cli.console import UsageError, say
from stompy.session.address import Address
from stompy.session.failover import read_addresses
from stompy.sync.client import STOMPClient, connect
from stompy.transport.tls import TLS

DEFAULT_URL = "stomp://127.0.0.1:61613"

Command = Callable[[argparse.Namespace], int]
"""Runs with what the parser has read; gives the exit code."""

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""Where commands are added."""

EPILOG = """\
the broker:
  --url URL, else $STOMPY_URL, else stomp://127.0.0.1:61613
  A URL may hold login, passcode and virtual host: stomp://me:secret@host:61613/vhost
  With stomps:// the connection is encrypted, with ws:// and wss:// it is a WebSocket.
  --passcode is seen by whoever may list processes; $STOMPY_PASSCODE is not.
  The password of a --key-file comes from $STOMPY_KEY_PASSWORD.

exit codes:
  0    done; also when the reader of a pipe has had enough
  1    the broker cannot be reached, hung up or refused, or schedules found none that is meant; one
       line on stderr says why
  2    wrong usage
  3    time-out: listen had fewer than COUNT messages, request no reply, ping no answer
  4    request: nobody consumes there (stompy-broker says so at once)
  5    request: it was given up: a consumer refused it, or the queue is full
  130  interrupted
"""


def add_command(
    commands: Commands, name: str, run: Command, summary: str, details: str
) -> argparse.ArgumentParser:
    """A command with the options that all have in common.

    Args:
        commands: where it belongs.
        name: its name.
        run: what it does.
        summary: one line, in small letters.
        details: examples and what else to know.
    """
    command = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"{details}\n{EPILOG}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--url", help="the broker")
    command.add_argument("--login", help="login id")
    command.add_argument("--passcode", help="pass code")
    encryption = command.add_argument_group("encryption")
    encryption.add_argument(
        "--ca-file", metavar="FILE", help="whom to trust instead of the system's authorities"
    )
    encryption.add_argument("--cert-file", metavar="FILE", help="our certificate")
    encryption.add_argument("--key-file", metavar="FILE", help="its key, if it is not in there")
    encryption.add_argument(
        "--server-hostname",
        metavar="NAME",
        help="the name in the broker's certificate, if it is not the host of the URL",
    )
    encryption.add_argument(
        "--insecure", action="store_true", help="trust anybody, who may then read everything"
    )
    command.add_argument("-q", "--quiet", action="store_true", help="only errors on stderr")
    command.set_defaults(command=run)
    return command


def add_destination(command: argparse.ArgumentParser) -> None:
    """The destination, and headers of the frame that goes there."""
    command.add_argument("destination", metavar="DESTINATION", help="such as /queue/NAME")
    command.add_argument(
        "-H",
        "--header",
        metavar="NAME:VALUE",
        type=header,
        action="append",
        default=[],
        help="one more header; may be repeated",
    )


def url_of(options: argparse.Namespace) -> str:
    """The broker that is meant."""
    given: str | None = options.url
    return given or os.environ.get("STOMPY_URL") or DEFAULT_URL


def open_client(options: argparse.Namespace, **headers: str) -> STOMPClient:
    """A client that is connected to the broker that is meant.

    Args:
        options: what the parser has read.
        headers: more headers for CONNECT, ``_`` in their names standing for ``-``.

    Raises:
        UsageError: the URL or the options for TLS cannot be.
        STOMPError: the broker cannot be reached, or refused.
    """
    url = url_of(options)
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        passcode: str | None = options.passcode
        addresses, _ = read_addresses(url, False)
        if passcode is None and not any(address.passcode for address in addresses):
            passcode = os.environ.get("STOMPY_PASSCODE")
        return connect(url, options.login, passcode, more, tls=_tls(options, addresses))
    except (ValueError, ImportError) as error:
        raise UsageError(str(error)) from error


def _tls(options: argparse.Namespace, addresses: Iterable[Address]) -> TLS | None:
    files = (options.ca_file, options.cert_file, options.key_file)
    if not options.insecure and not options.server_hostname and not any(files):
        return None
    if not all(address.is_secure for address in addresses):
        raise UsageError("options for encryption need a URL with encryption: stomps:// or wss://")
    return TLS(
        *files,
        key_password=os.environ.get("STOMPY_KEY_PASSWORD"),
        server_hostname=options.server_hostname,
        insecure=options.insecure,
    )


def tell(options: argparse.Namespace, text: str) -> None:
    """One line on standard error, unless that is not wanted."""
    if not options.quiet:
        say(text)


# -- types of arguments ----------------------------------------------------------------------------


def header(text: str) -> tuple[str, str]:
    """``NAME:VALUE``.

    Raises:
        ArgumentTypeError: it is not.
    """
    name, colon, value = text.partition(":")
    if not colon or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not name:value")
    return name, value.lstrip(" ")


def at_least(lowest: int, highest: int, noun: str) -> Callable[[str], int]:
    """Numbers within bounds.

    Args:
        lowest: the smallest number that is one.
        highest: the largest.
        noun: what is counted, for the error.
    """

    def number(text: str) -> int:
        if not (text.isascii() and text.isdecimal()):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of {noun}")
        if not lowest <= int(text) <= highest:
            raise argparse.ArgumentTypeError(
                f"{text} {noun} are not from {lowest:,} to {highest:,}"
            )
        return int(text)

    return number


def seconds(text: str) -> float:
    """A time.

    Raises:
        ArgumentTypeError: it is none, or longer than anybody can wait.
    """
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= threading.TIMEOUT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return number
