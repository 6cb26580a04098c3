"""The command line ``stompy``: send and receive messages from a shell.

Messages go to standard output and everything else to standard error, so it can stand in a
pipeline. The exit codes are part of the contract; ``stompy --help`` lists them.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from stompy.client import STOMPClient, connect
from stompy.errors import STOMPConnectionError, STOMPException, STOMPTimeout
from stompy.frame import AckMode, STOMPFrame
from stompy.headers import Version
from stompy.transport.address import parse_address

DEFAULT_URL = "stomp://127.0.0.1:61613"

OK, FAILED, USAGE, TIMED_OUT, INTERRUPTED = 0, 1, 2, 3, 130

_WINDOW = 1000
"""How many receipts may be outstanding while lines are sent."""

_EPILOG = """\
the broker:
  --url URL, else $STOMPY_URL, else stomp://127.0.0.1:61613
  A URL may hold login, passcode and virtual host: stomp://me:secret@host:61613/vhost
  --passcode is seen by whoever may list processes; $STOMPY_PASSCODE is not.

exit codes:
  0    done; also when the reader of a pipe has had enough
  1    the broker cannot be reached, hung up or refused; one line on stderr says why
  2    wrong usage
  3    listen: time-out before COUNT messages came
  130  interrupted
"""

_EXAMPLES = """\
examples:
  stompy send /queue/greetings "Hello, world"
  stompy listen /queue/greetings -n 1
"""

_SEND_EXAMPLES = """\
examples:
  stompy send /queue/greetings "Hello, world"
  stompy send /queue/reports -H content-type:application/pdf < report.pdf
  tail -f app.log | stompy send /topic/log --lines
  stompy send /queue/jobs '{"id": 7}' -H priority:9 --url stomp://broker.example:61613

The message has arrived when the command ends: the broker's receipt was awaited.
"""

_LISTEN_EXAMPLES = """\
examples:
  stompy listen /queue/greetings
  stompy listen /topic/log | grep ERROR
  stompy listen /queue/jobs -n 10 --timeout 5 --format json > jobs.jsonl

A message is acknowledged when it has been written, so what this command did not write stays with
the broker. With --ack auto the broker forgets what it has sent.
"""


class _UsageError(Exception):
    """What was asked for cannot be, and the parser could not see it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code.

    Raises:
        SystemExit: wrong usage, or ``--help``.
    """
    options = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except _UsageError as error:
        _say(str(error))
        return USAGE
    except BrokenPipeError:
        # Nobody reads any more; the interpreter must not stumble over that at its end.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except (STOMPException, OSError) as error:
        _say(str(error))
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _send(options: argparse.Namespace) -> int:
    headers = dict(options.header)
    with _connect(options) as client:
        outstanding: deque[str] = deque()
        count = 0
        for body in _bodies(options):
            receipt = _send_one(client, options, headers, body)
            count += 1
            if receipt is not None:
                outstanding.append(receipt)
            if len(outstanding) > _WINDOW:
                client.wait_for_receipt(outstanding.popleft(), options.timeout)
        for receipt in outstanding:
            client.wait_for_receipt(receipt, options.timeout)
        if options.lines:
            _tell(options, f"sent {count} messages to {options.destination}")
    return OK


def _send_one(
    client: STOMPClient, options: argparse.Namespace, headers: dict[str, str], body: bytes
) -> str | None:
    try:
        return client.message(options.destination, body, headers=headers, receipt=options.receipt)
    except ValueError as error:
        raise _UsageError(str(error)) from error


def _bodies(options: argparse.Namespace) -> Iterator[bytes]:
    if options.body is not None:
        yield os.fsencode(options.body)
        return
    source = sys.stdin.buffer
    if source.isatty():
        _tell(options, "reading from the terminal; end with Ctrl-D")
    if options.lines:
        for line in source:
            yield line.removesuffix(b"\n").removesuffix(b"\r")
    else:
        yield source.read()


def _listen(options: argparse.Namespace) -> int:
    write = _FORMATS[options.format]
    mode = AckMode(options.ack)
    with _connect(options) as client:
        _subscribe(client, options, mode)
        host, port = client.broker_address or ("", 0)
        _tell(options, f"listening to {options.destination} at {host}:{port}")
        count = 0
        while options.count is None or count < options.count:
            try:
                frame = client.recv(timeout=options.timeout)
            except STOMPTimeout:
                if options.count is None:
                    break
                _say(f"{count} of {options.count} messages came, then none for {options.timeout} s")
                return TIMED_OUT
            if frame is None:
                raise client.close_reason or STOMPConnectionError("the connection was closed")
            sys.stdout.buffer.write(write(frame))
            sys.stdout.buffer.flush()
            if mode is not AckMode.AUTO:
                client.ack(frame)
            count += 1
    return OK


def _subscribe(client: STOMPClient, options: argparse.Namespace, mode: AckMode) -> None:
    try:
        client.subscribe(
            options.destination, mode, send_acks=False, headers=dict(options.header), receipt=True
        )
    except ValueError as error:
        raise _UsageError(str(error)) from error


def _connect(options: argparse.Namespace) -> STOMPClient:
    url = options.url or os.environ.get("STOMPY_URL") or DEFAULT_URL
    try:
        passcode = options.passcode or parse_address(url).passcode
        return connect(url, options.login, passcode or os.environ.get("STOMPY_PASSCODE"))
    except ValueError as error:
        raise _UsageError(str(error)) from error


def _as_body(frame: STOMPFrame) -> bytes:
    """The body as a line; on a terminal without what could control it."""
    body = frame.Body
    if sys.stdout.isatty():
        body = _harmless(body.decode("utf-8", "replace"), keep="\n\t").encode("utf-8", "replace")
    return body if body.endswith(b"\n") else body + b"\n"


def _as_json(frame: STOMPFrame) -> bytes:
    record: dict[str, object] = {"headers": frame.Headers}
    try:
        record["body"] = frame.text
    except (ValueError, LookupError):
        record["body_base64"] = base64.b64encode(frame.Body).decode()
    return json.dumps(record).encode() + b"\n"


def _as_frame(frame: STOMPFrame) -> bytes:
    return frame.to_bytes(Version.V1_2) + b"\n"


_FORMATS: dict[str, Callable[[STOMPFrame], bytes]] = {
    "body": _as_body,
    "json": _as_json,
    "frame": _as_frame,
}


def _tell(options: argparse.Namespace, text: str) -> None:
    if not options.quiet:
        _say(text)


def _say(text: str) -> None:
    """One line on standard error."""
    print("stompy:", _harmless(" ".join(text.split())), file=sys.stderr, flush=True)


def _harmless(text: str, keep: str = "") -> str:
    """Control characters written as escapes: a message must not steer the terminal."""
    return "".join(
        mark if mark.isprintable() or mark in keep else mark.encode("unicode_escape").decode()
        for mark in text
    )


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not name:value")
    return name, value.lstrip(" ")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of messages")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= threading.TIMEOUT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stompy",
        description="Send and receive messages with any STOMP broker.",
        epilog=f"{_EXAMPLES}\n{_EPILOG}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    send = _add(commands, "send", "send a message", _SEND_EXAMPLES)
    send.add_argument("body", metavar="BODY", nargs="?", help="default: standard input")
    send.add_argument("--lines", action="store_true", help="each line of input is a message")
    send.add_argument(
        "--receipt",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="wait until the broker has confirmed the message (default: yes)",
    )
    send.add_argument(
        "--timeout", metavar="S", type=_seconds, default=10.0, help="for a receipt (default: 10)"
    )
    send.set_defaults(command=_send)

    listen = _add(commands, "listen", "receive messages", _LISTEN_EXAMPLES)
    listen.add_argument("-n", "--count", metavar="COUNT", type=_count, help="end after so many")
    listen.add_argument(
        "--timeout", metavar="S", type=_seconds, help="end when nothing came for S seconds"
    )
    listen.add_argument(
        "--format",
        choices=tuple(_FORMATS),
        default="body",
        help="body: as it came, a line each; json: headers and body, a line each; frame: as on "
        "the wire (default: body)",
    )
    listen.add_argument(
        "--ack",
        choices=[mode.value for mode in AckMode],
        default=AckMode.CLIENT_INDIVIDUAL.value,
        help="default: client-individual",
    )
    listen.set_defaults(command=_listen)
    return parser


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    summary: str,
    examples: str,
) -> argparse.ArgumentParser:
    """A command with the options that all have in common."""
    command = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"{examples}\n{_EPILOG}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("destination", metavar="DESTINATION", help="such as /queue/NAME")
    command.add_argument("--url", help="the broker")
    command.add_argument("--login", help="login id")
    command.add_argument("--passcode", help="pass code")
    command.add_argument(
        "-H",
        "--header",
        metavar="NAME:VALUE",
        type=_header,
        action="append",
        default=[],
        help="one more header; may be repeated",
    )
    command.add_argument("-q", "--quiet", action="store_true", help="only errors on stderr")
    return command
