"""``stompy send``, ``stompy listen`` and ``stompy request``: messages from and to a shell."""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from typing import cast

from stompy.cli.console import (
    GIVEN_UP,
    NOBODY,
    OK,
    TIMED_OUT,
    UsageError,
    given_input,
    given_output,
    harmless,
    say,
)
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
from stompy.cli.times import moment, span, start
from stompy.errors import NoResponders, RequestRejected, STOMPConnectionError, STOMPTimeout
from stompy.protocol.frame import AckMode, STOMPFrame
from stompy.protocol.headers import Version
from stompy.session.dialects import dialect_of
from stompy.session.send_options import SendWords
from stompy.session.subscribe_options import SubscribeOptions
from stompy.sync.client import STOMPClient

_WINDOW = 1000
"""How many receipts may be outstanding while lines are sent."""

_MOST_AT_ONCE = 1000
"""So many messages at most are asked for before the first is acknowledged."""

_MOST = 10**15

_SEND_DETAILS = """\
examples:
  stompy send /queue/greetings "Hello, world"
  stompy send /queue/reports -H content-type:application/pdf < report.pdf
  tail -f app.log | stompy send /topic/log --lines
  stompy send /queue/jobs '{"id": 7}' -H priority:9 --url stomp://broker.example:61613
  stompy send /queue/reminders "Call Ann" --delay 15m
  stompy send /queue/reports weekly --cron "0 9 * * mon" --zone Europe/Berlin --schedule-id weekly
  stompy send /queue/orders "1 spoon" --group customer-7
  stompy send /queue/orders "1 spoon" --dedup order-4711
  stompy send /topic/home.kitchen 21.5 --retain

With --delay, --at, --cron or --every the message waits at the broker; stompy schedules shows what
waits, and ends it. A time of --at is by this machine's clock, unless it has a zone with it.
The message has arrived when the command ends: the broker's receipt was awaited.
"""

_LISTEN_DETAILS = """\
examples:
  stompy listen /queue/greetings
  stompy listen /topic/log | grep ERROR
  stompy listen /queue/paint --selector "color = 'red' AND litres >= 2.5"
  stompy listen /queue/ledger --single-active
  stompy listen /stream/readings --offset first --filter kitchen
  stompy listen /stream/orders --reader billing --offset first
  stompy listen /queue/jobs -n 10 --timeout 5 --format json > jobs.jsonl

A message is acknowledged when it has been written, so what this command did not write stays with
the broker. With --ack auto the broker forgets what it has sent. What is read from a stream stays in
it; with --reader the broker keeps the place, and --offset counts for the first time only.
"""

_REQUEST_DETAILS = """\
examples:
  stompy request /queue/stock '{"item": "spoon"}'
  stompy request /queue/convert --timeout 60 < picture.png > picture.jpg

The request carries reply-to and correlation-id, in the way of the broker met; whoever takes it
answers to that destination, with that correlation-id. stompy-broker answers itself where nobody
consumes, and so on; -H reply-timeout:0 has it not, so that a service may come later.
"""


def add_to(commands: Commands) -> None:
    """Make the commands known."""
    send = add_command(commands, "send", _send, "send a message", _SEND_DETAILS)
    add_destination(send)
    send.add_argument("body", metavar="BODY", nargs="?", help="default: standard input")
    send.add_argument("--lines", action="store_true", help="each line of input is a message")
    send.add_argument(
        "--receipt",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="wait until the broker has confirmed the message (default: yes)",
    )
    _add_timeout(send, "for a receipt (default: 10)", 10.0)
    _add_later(send)
    _add_kept(send)

    listen = add_command(commands, "listen", _listen, "receive messages", _LISTEN_DETAILS)
    add_destination(listen)
    listen.add_argument(
        "-n",
        "--count",
        metavar="COUNT",
        type=at_least(1, _MOST, "messages"),
        help="end after so many, and ask for no more at once",
    )
    add_selector(listen)
    _add_turns(listen)
    _add_reading(listen)
    _add_timeout(listen, "end when nothing came for S seconds", None)
    add_format(listen)
    listen.add_argument(
        "--ack",
        choices=[mode.value for mode in AckMode],
        default=AckMode.CLIENT_INDIVIDUAL.value,
        help="default: client-individual",
    )

    request = add_command(
        commands, "request", _request, "send a request and wait for the reply", _REQUEST_DETAILS
    )
    add_destination(request)
    request.add_argument("body", metavar="BODY", nargs="?", help="default: standard input")
    _add_timeout(request, "for the reply (default: 10)", 10.0)
    add_format(request)


def _add_timeout(command: argparse.ArgumentParser, meaning: str, default: float | None) -> None:
    command.add_argument("--timeout", metavar="S", type=seconds, default=default, help=meaning)


def _add_later(send: argparse.ArgumentParser) -> None:
    """When a message is delivered, and in which group."""
    later = send.add_argument_group("when, and in which order")
    later.add_argument("--delay", metavar="TIME", type=span, help="wait so long: 90, 15m, 2h, 7d")
    later.add_argument("--at", metavar="WHEN", type=moment, help="wait until 2027-01-01T09:00")
    later.add_argument(
        "--cron", metavar="FIELDS", help='again and again: "0 9 * * mon-fri", "@hourly"'
    )
    later.add_argument(
        "--zone", metavar="NAME", help="time zone of --cron: Europe/Berlin (default: the broker's)"
    )
    later.add_argument("--every", metavar="TIME", type=span, help="again after so long")
    later.add_argument(
        "--times",
        metavar="N",
        type=at_least(1, _MOST, "deliveries"),
        help="with --every: so many in all (default: no end)",
    )
    later.add_argument(
        "--schedule-id", metavar="NAME", help="take the place of the schedule of that name"
    )
    later.add_argument(
        "--group", metavar="NAME", help="deliver it in order with the others of that group"
    )
    later.add_argument(
        "--close-group", action="store_true", help="it is the last one of --group for its consumer"
    )


def _add_kept(send: argparse.ArgumentParser) -> None:
    """What the broker remembers of a message."""
    kept = send.add_argument_group("what the broker remembers")
    kept.add_argument(
        "--dedup", metavar="ID", help="drop it if a message with that id was sent there before"
    )
    kept.add_argument(
        "--retain",
        action="store_true",
        help="the topic keeps it for who subscribes later; an empty body: keeps nothing",
    )
    kept.add_argument(
        "--filter-value", metavar="VALUE", help="to a stream: readers choose by it (--filter)"
    )


_SAID = (
    *("delay", "at", "cron", "zone", "every", "times", "schedule_id", "group", "close_group"),
    *("dedup", "retain", "filter_value"),
)
"""What send may say of a message beside its headers."""


def _add_turns(listen: argparse.ArgumentParser) -> None:
    """Who gets messages when several listen."""
    listen.add_argument(
        "--priority",
        metavar="N",
        type=int,
        help="who has a higher one gets messages first (default: 0)",
    )
    listen.add_argument(
        "--single-active",
        action="store_true",
        help="of all who say so one gets everything, and the others stand by",
    )


def _add_reading(listen: argparse.ArgumentParser) -> None:
    """Where and what of a stream is read, and what a topic keeps."""
    listen.add_argument(
        "--offset",
        metavar="WHERE",
        type=start,
        help="of a stream: first, last, next (default), 17, last=5, age=2h, 2027-01-01T09:00",
    )
    listen.add_argument(
        "--reader", metavar="NAME", help="of a stream: go on where that name stopped"
    )
    listen.add_argument(
        "--filter",
        metavar="VALUE",
        action="append",
        default=[],
        help="of a stream: only what was sent with that --filter-value; may be repeated",
    )
    listen.add_argument(
        "--unfiltered",
        action="store_true",
        help="with --filter: what was sent without a value as well",
    )
    listen.add_argument(
        "--no-retained", action="store_true", help="of a topic: not what it keeps, but only news"
    )


def add_selector(command: argparse.ArgumentParser) -> None:
    """Which messages are wanted."""
    command.add_argument("--selector", metavar="EXPRESSION", help="only messages that match it")


def add_format(command: argparse.ArgumentParser) -> None:
    """How messages are written."""
    command.add_argument(
        "--format",
        choices=tuple(FORMATS),
        default="body",
        help="body: as it came, a line each; json: headers and body, a line each; frame: as on "
        "the wire (default: body)",
    )


# -- send --------------------------------------------------------------------------------------


def _send(options: argparse.Namespace) -> int:
    if options.dedup is not None and options.lines:
        raise UsageError("--dedup is the id of one message, and --lines sends several")
    headers = dict(options.header)
    with open_client(options) as client:
        outstanding: deque[str] = deque()
        count = 0
        for body in _bodies(options, lines=options.lines):
            receipt = _send_one(client, options, headers, body)
            count += 1
            if receipt is not None:
                outstanding.append(receipt)
            if len(outstanding) > _WINDOW:
                client.wait_for_receipt(outstanding.popleft(), options.timeout)
        for receipt in outstanding:
            client.wait_for_receipt(receipt, options.timeout)
        if options.lines:
            tell(options, f"sent {count} messages to {options.destination}")
    return OK


def _send_one(
    client: STOMPClient, options: argparse.Namespace, headers: dict[str, str], body: bytes
) -> str | None:
    try:
        receipt: bool = options.receipt
        given = vars(options)
        # What is empty by mistake, such as a variable of a script, is refused, and not left out.
        words = {name: given[name] for name in _SAID if given[name] or given[name] == ""}
        said = cast("SendWords", words)
        return client.message(options.destination, body, headers=headers, receipt=receipt, **said)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _bodies(options: argparse.Namespace, *, lines: bool) -> Iterator[bytes]:
    if options.body is not None:
        yield os.fsencode(options.body)
        return
    source = given_input()
    if source.isatty():
        tell(options, "reading from the terminal; end with Ctrl-D")
    if lines:
        for line in source:
            yield line.removesuffix(b"\n").removesuffix(b"\r")
    else:
        yield source.read()


# -- listen ------------------------------------------------------------------------------------


def _listen(options: argparse.Namespace) -> int:
    write = FORMATS[options.format]
    mode = AckMode(options.ack)
    given_output()  # before a message comes for which there is none
    output = Output()
    with open_client(options) as client, output.watched(client.close):
        _subscribe(client, options, mode)
        host, port = client.broker_address or ("", 0)
        tell(options, f"listening to {options.destination} at {host}:{port}")
        count = 0
        while options.count is None or count < options.count:
            try:
                frame = client.recv(timeout=options.timeout)
            except STOMPTimeout:
                if options.count is None:
                    break
                say(f"{count} of {options.count} messages came, then none for {options.timeout} s")
                return TIMED_OUT
            if output.gone:
                raise BrokenPipeError("nobody reads the output any more")
            if frame is None:
                raise client.close_reason or STOMPConnectionError("the connection was closed")
            with output.busy:
                write_out(write(frame))
                if mode is not AckMode.AUTO and "ack" in frame:
                    client.ack(frame)
            count += 1
    return OK


def _subscribe(client: STOMPClient, options: argparse.Namespace, mode: AckMode) -> None:
    headers = dict(options.header)
    frame = client.connected_frame
    dialect = dialect_of(None if frame is None else frame.get("server"))
    headers |= dialect.selector_headers(options.selector)
    if options.count is not None and mode is not AckMode.AUTO:
        # What came beyond that would only be kept from others.
        headers = dialect.prefetch_headers(min(options.count, _MOST_AT_ONCE)) | headers
    try:
        asked = SubscribeOptions(
            priority=options.priority,
            single_active=options.single_active,
            offset=options.offset,
            reader=options.reader,
            filters=options.filter,
            unfiltered=options.unfiltered,
            retained=False if options.no_retained else None,
        )
        headers = asked.headers_for(dialect) | headers
        client.subscribe(options.destination, mode, send_acks=False, headers=headers, receipt=True)
    except ValueError as error:
        raise UsageError(str(error)) from error


# -- request -----------------------------------------------------------------------------------


def _request(options: argparse.Namespace) -> int:
    (body,) = _bodies(options, lines=False)
    given_output()
    with open_client(options) as client:
        try:
            reply = client.request(
                options.destination, body, timeout=options.timeout, headers=dict(options.header)
            )
        except STOMPTimeout:
            say(f"no reply came from {options.destination} within {options.timeout:g} s")
            return TIMED_OUT
        except (NoResponders, RequestRejected) as error:
            say(harmless(str(error)))
            return NOBODY if isinstance(error, NoResponders) else GIVEN_UP
        except ValueError as error:
            raise UsageError(str(error)) from error
        write_out(FORMATS[options.format](reply))
    return OK


# -- how messages are written --------------------------------------------------------------------


def write_out(data: bytes) -> None:
    """Write to standard output, now."""
    output = given_output()
    output.write(data)
    output.flush()


def _as_body(frame: STOMPFrame) -> bytes:
    """The body as a line; on a terminal without what could control it."""
    body = frame.Body
    if sys.stdout.isatty():
        body = harmless(body.decode("utf-8", "replace"), keep="\n\t").encode("utf-8", "replace")
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


FORMATS: dict[str, Callable[[STOMPFrame], bytes]] = {
    "body": _as_body,
    "json": _as_json,
    "frame": _as_frame,
}
