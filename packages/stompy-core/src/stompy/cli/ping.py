"""``stompy ping``: whether a broker is there, which one it is, and how long it takes to answer."""

from __future__ import annotations

import argparse
import json
from statistics import median
from time import perf_counter, sleep

from stompy.cli.console import OK, TIMED_OUT, put, say
from stompy.cli.options import Commands, add_command, at_least, open_client, seconds
from stompy.errors import STOMPTimeout
from stompy.sync.client import STOMPClient

_DETAILS = """\
examples:
  stompy ping
  stompy ping -n 1 -q --timeout 2 && echo "the broker is up"
  stompy ping --json --url stomp://broker.example:61613

Each round trip is a BEGIN with a receipt; it touches no destination.
"""


def add_to(commands: Commands) -> None:
    """Make the command known."""
    ping = add_command(commands, "ping", _ping, "see whether a broker answers", _DETAILS)
    ping.add_argument(
        "-n",
        "--count",
        metavar="COUNT",
        type=at_least(1, 1_000_000, "round trips"),
        default=4,
        help="round trips (default: 4)",
    )
    ping.add_argument(
        "--interval", metavar="S", type=seconds, default=0.5, help="between them (default: 0.5)"
    )
    ping.add_argument(
        "--timeout", metavar="S", type=seconds, default=10.0, help="for each (default: 10)"
    )
    ping.add_argument("--json", action="store_true", help="print one JSON object")


def _ping(options: argparse.Namespace) -> int:
    show = _nothing if options.quiet or options.json else put
    began = perf_counter()
    with open_client(options) as client:
        connected = perf_counter() - began
        frame = client.connected_frame
        assert frame is not None
        identity = {
            "server": frame.get("server"),
            "version": str(client.version),
            "session": client.session,
            "heart-beat": frame.get("heart-beat"),
        }
        told = ", ".join(f"{name} {value}" for name, value in identity.items() if value)
        show(f"connected in {_ms(connected)}: {told}")
        times: list[float] = []
        for number in range(options.count):
            if number:
                sleep(options.interval)
            try:
                times.append(_round_trip(client, number, options.timeout))
            except STOMPTimeout:
                say(f"no answer within {options.timeout:g} s")
                return TIMED_OUT
            show(f"answer {number + 1}: {_ms(times[-1])}")
    show(
        f"{len(times)} answers: min {_ms(min(times))}, median {_ms(median(times))}, "
        f"max {_ms(max(times))}"
    )
    if options.json:
        milliseconds = [round(time * 1e3, 3) for time in times]
        put(json.dumps({**identity, "connect_ms": round(connected * 1e3, 3), "ms": milliseconds}))
    return OK


def _round_trip(client: STOMPClient, number: int, timeout: float) -> float:
    transaction = f"ping-{number}"
    began = perf_counter()
    receipt = client.send("BEGIN", transaction=transaction, receipt=True)
    assert receipt is not None
    client.wait_for_receipt(receipt, timeout)
    taken = perf_counter() - began
    client.send("ABORT", transaction=transaction)
    return taken


def _ms(time: float) -> str:
    """Milliseconds, three digits of them, and never with an exponent."""
    return f"{float(f'{time * 1e3:.3g}'):g} ms"


def _nothing(_: str) -> None:
    """Say nothing about a round trip, when the answer is wanted as JSON."""
