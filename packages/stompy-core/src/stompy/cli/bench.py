"""``stompy bench``: how much a broker takes, and how fast, as a client sees it."""

from __future__ import annotations

import argparse
import ipaddress
import json
import platform
import sys
from collections.abc import Iterator
from dataclasses import replace

from stompy import __version__
from stompy.build import compiled
from stompy.cli.console import OK, Progress, UsageError, put, say
from stompy.cli.load import STAMP, Load
from stompy.cli.options import Commands, add_command, at_least, open_client, seconds, url_of
from stompy.cli.plan import Flow, LoadKind, LoadResult, Plan
from stompy.protocol.frame import AckMode
from stompy.session.failover import read_addresses
from stompy.sync.client import STOMPClient

ALL = "all"
PERCENTILES = (50.0, 90.0, 99.0, 99.9)

_MOST_MESSAGES, _MOST_SECONDS, _MOST_CLIENTS, _LARGEST = 100_000_000, 3600, 1000, 64 * 1024 * 1024
_SWITCH_SECONDS = 0.0005
_BAR = 40

_DETAILS = """\
scenarios:
  queue    each message goes to one consumer
  topic    each message goes to every consumer of its topic
  durable  messages are sent while the subscribers are away; then they come and take them
  request  each message is a request, and the producer waits for the answer
  all      a tour: small and large messages, many clients, many destinations, each kind

examples:
  stompy bench
  stompy bench queue --producers 4 --consumers 4 --destinations 4 --size 20
  stompy bench queue --persistent --window 256 --ack client-individual
  stompy bench topic --consumers 10 --rate 1000 --seconds 10
  stompy bench all --json > results.json

A run ends with its messages or with its time, whatever comes first. The clients are threads of this
one process, so a fast broker may be faster than what is measured. Latency is from just before a
message is sent to when its receiver has it; without --rate it is mostly time spent waiting in line.
"""


def add_to(commands: Commands) -> None:
    """Make the command known."""
    bench = add_command(commands, "bench", _bench, "measure a broker", _DETAILS)
    bench.add_argument(
        "scenario",
        metavar="SCENARIO",
        nargs="?",
        choices=[*(kind.value for kind in LoadKind), ALL],
        default=LoadKind.QUEUE.value,
        help="queue, topic, durable, request or all (default: queue)",
    )
    _add_load(bench)
    _add_manner(bench)
    bench.add_argument("--json", action="store_true", help="print one JSON object")
    bench.add_argument(
        "--allow-remote",
        action="store_true",
        help="load a broker that is not on this machine; be sure that its owner agrees",
    )


def _add_load(bench: argparse.ArgumentParser) -> None:
    """How many, how large, how fast."""
    clients = at_least(1, _MOST_CLIENTS, "clients")
    for name, what in (("producers", "who send"), ("consumers", "who receive")):
        bench.add_argument(
            f"--{name}", metavar="N", type=clients, default=1, help=f"{what} (default: 1)"
        )
    bench.add_argument(
        "--destinations",
        metavar="N",
        type=at_least(1, _MOST_CLIENTS, "destinations"),
        default=1,
        help="queues or topics (default: 1)",
    )
    bench.add_argument(
        "--size",
        metavar="BYTES",
        type=_sizes,
        default=(1024,),
        help="of a body, 8 or more; several with commas between take turns (default: 1024)",
    )
    bench.add_argument(
        "--messages",
        metavar="N",
        type=at_least(1, _MOST_MESSAGES, "messages"),
        default=10_000,
        help="in all (default: 10000)",
    )
    bench.add_argument(
        "--seconds", metavar="S", type=_run_time, default=30.0, help="at most (default: 30)"
    )
    bench.add_argument(
        "--rate",
        metavar="N",
        type=at_least(0, _MOST_MESSAGES, "messages a second"),
        default=0,
        help="messages a second of each producer (default: as many as go)",
    )


def _add_manner(bench: argparse.ArgumentParser) -> None:
    """How messages are sent and taken."""
    bench.add_argument(
        "--ack",
        choices=[mode.value for mode in AckMode],
        default=AckMode.AUTO.value,
        help="how consumers settle (default: auto)",
    )
    bench.add_argument(
        "--prefetch",
        metavar="N",
        type=at_least(0, _MOST_MESSAGES, "messages"),
        help="unsettled messages at a consumer, 0 for no limit (default: the broker's)",
    )
    bench.add_argument(
        "--persistent",
        action=argparse.BooleanOptionalAction,
        help="whether messages are to be kept on disk (default: as the broker likes)",
    )
    bench.add_argument(
        "--window",
        metavar="N",
        type=at_least(0, _MOST_MESSAGES, "receipts"),
        default=0,
        help="ask for receipts, and wait when so many are outstanding (default: ask for none)",
    )


def _bench(options: argparse.Namespace) -> int:
    _check_target(options)
    plans = list(_plans(options))
    with open_client(options) as client:
        frame = client.connected_frame
        server = (frame.get("server") if frame else None) or "unknown"
        address = str(client.health().address)
    outcomes = []
    # Of two threads that have work, one should not wait for five milliseconds.
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        for plan in plans:
            outcome = _run(plan, options)
            outcomes.append(outcome)
            if not options.json:
                _print(outcome, server, address)
    finally:
        sys.setswitchinterval(before)
    about = {
        "version": __version__,
        "python": platform.python_version(),
        "compiled": compiled(),
    }
    if options.json:
        results = [as_json(outcome) for outcome in outcomes]
        put(json.dumps({"broker": server, "url": address, "client": about, "results": results}))
    else:
        put("client: stompy {version}, Python {python}, compiled: {compiled}".format(**about))
    return OK


def _run(plan: Plan, options: argparse.Namespace) -> LoadResult:
    def connect(**headers: str) -> STOMPClient:
        return open_client(options, **headers)

    with Progress(title(plan), quiet=options.quiet) as progress:
        return Load(plan, connect).run(progress.show)


def _check_target(options: argparse.Namespace) -> None:
    """A load is an attack, unless the broker's owner knows of it.

    Raises:
        UsageError: the broker is elsewhere, and nobody said that this is meant.
    """
    try:
        addresses, _ = read_addresses(url_of(options), False)
    except ValueError as error:
        raise UsageError(str(error)) from error
    elsewhere = [address.host for address in addresses if not is_loopback(address.host)]
    if elsewhere and not options.allow_remote:
        raise UsageError(
            f"{elsewhere[0]} is not this machine, and a load may disturb whoever uses that broker; "
            "--allow-remote says that this is meant"
        )


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, as far as can be told without asking anybody."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _plans(options: argparse.Namespace) -> Iterator[Plan]:
    plan = Plan(
        LoadKind.QUEUE,
        messages=options.messages,
        seconds=options.seconds,
        producers=options.producers,
        consumers=options.consumers,
        destinations=options.destinations,
        sizes=options.size,
        ack=AckMode(options.ack),
        prefetch=options.prefetch,
        persistent=options.persistent,
        window=options.window,
        rate=float(options.rate),
    )
    if options.scenario != ALL:
        yield replace(plan, kind=LoadKind(options.scenario))
        return
    some, few = max(1, plan.messages // 4), max(1, plan.messages // 20)
    yield replace(plan, sizes=(20,))
    yield plan
    yield replace(plan, sizes=(256 * 1024,), messages=few)
    yield replace(plan, persistent=True, window=256, ack=AckMode.CLIENT_INDIVIDUAL)
    yield replace(plan, producers=5, consumers=5)
    yield replace(plan, producers=5, consumers=5, destinations=5)
    yield replace(plan, producers=10, consumers=1)
    yield replace(plan, producers=1, consumers=10)
    yield replace(plan, kind=LoadKind.TOPIC, consumers=5, messages=some)
    yield replace(plan, kind=LoadKind.TOPIC, producers=5, consumers=5, destinations=5)
    yield replace(plan, kind=LoadKind.DURABLE, persistent=True, window=256, messages=some)
    yield replace(plan, kind=LoadKind.REQUEST, messages=few)


# -- what is printed -----------------------------------------------------------------------------


def title(plan: Plan) -> str:
    """A plan in some words."""
    sizes = ", ".join(map(str, plan.sizes))
    parts = [
        plan.kind.value,
        f"{plan.producers} to {plan.consumers} by {plan.destinations}",
        f"{sizes} B",
    ]
    if plan.ack is not AckMode.AUTO:
        parts.append(plan.ack.value)
    if plan.persistent is not None:
        parts.append("persistent" if plan.persistent else "not persistent")
    if plan.window:
        parts.append(f"window {plan.window}")
    if plan.rate:
        parts.append(f"{plan.rate:g}/s each")
    return ", ".join(parts)


def _print(outcome: LoadResult, server: str, address: str) -> None:
    put(f"{title(outcome.plan)}   ({server} at {address})")
    for name, flow in (("sent", outcome.sent), ("received", outcome.received)):
        put(
            f"  {name:<9}{flow.messages:>12,} messages in {flow.seconds:8.3f} s"
            f"{flow.rate:>12,.0f}/s{flow.bandwidth / 1e6:>10,.1f} MB/s"
        )
    if outcome.missing:
        say(f"{outcome.missing:,} deliveries did not come")
    times = outcome.times
    if times.count:
        shown = [f"min {_ms(times.lowest)}"]
        shown += [f"p{percent:g} {_ms(times.percentile(percent))}" for percent in PERCENTILES]
        shown.append(f"max {_ms(times.highest)}")
        put(f"  latency  {'  '.join(shown)}  ms")
        most = max(count for _, _, count in times.octaves())
        for low, high, count in times.octaves():
            bar = "#" * max(1 if count else 0, round(_BAR * count / most))
            put(f"  {_ms(low):>9} to {_ms(high):>8} ms {count:>10,}  {bar}".rstrip())
    put("")


def as_json(outcome: LoadResult) -> dict[str, object]:
    """What a load came to, for machines; times in milliseconds."""
    plan, times = outcome.plan, outcome.times
    latency: dict[str, object] = {}
    if times.count:
        latency = {
            "min": _milliseconds(times.lowest),
            **{f"p{p:g}": _milliseconds(times.percentile(p)) for p in PERCENTILES},
            "max": _milliseconds(times.highest),
            "histogram": [
                {"from": _milliseconds(low), "to": _milliseconds(high), "count": count}
                for low, high, count in times.octaves()
            ],
        }
    return {
        "scenario": plan.kind.value,
        "producers": plan.producers,
        "consumers": plan.consumers,
        "destinations": plan.destinations,
        "sizes": list(plan.sizes),
        "ack": plan.ack.value,
        "prefetch": plan.prefetch,
        "persistent": plan.persistent,
        "window": plan.window,
        "rate": plan.rate,
        "sent": _flow(outcome.sent),
        "received": _flow(outcome.received),
        "missing": outcome.missing,
        "latency_ms": latency,
    }


def _flow(flow: Flow) -> dict[str, float]:
    return {
        "messages": flow.messages,
        "bytes": flow.size,
        "seconds": round(flow.seconds, 6),
        "messages_per_second": round(flow.rate, 1),
        "bytes_per_second": round(flow.bandwidth, 1),
    }


def _milliseconds(nanoseconds: int) -> float:
    return round(nanoseconds / 1e6, 6)


def _ms(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e6:.3g}"


# -- types of arguments --------------------------------------------------------------------------


def _sizes(text: str) -> tuple[int, ...]:
    size = at_least(STAMP.size, _LARGEST, "bytes")
    return tuple(size(part) for part in text.split(","))


def _run_time(text: str) -> float:
    time = seconds(text)
    if not 0 < time <= _MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text} seconds are not from 0 to {_MOST_SECONDS:,}")
    return time
