"""How cost grows with queues, connections, subscriptions, waiting messages and bodies.

Each table compares brokers of one kind that differ in one number alone. They stand side by side and
are measured in turn, so that a noisy machine disturbs all of them; ratios are to the first line. A
million waiting messages take 0.4 GB of memory, and ``--waiting 0 10000000`` 4 GB.
"""

from __future__ import annotations

import argparse
import platform
import resource
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import bodies
import load
from serving import broker, serving

from stompy_broker.build import compiled

LIMITS = """\
[limits]
connections = 20_000
memory = "12GiB"
"""
"""Where the defaults would end it; what is waited for at a mark is not what is measured here."""
BODY = b"x" * 100
PACE, SECONDS = 500, 3.0
"""Messages a second for the latency, and for how long."""
CONNECT = b"CONNECT\naccept-version:1.2\nhost:/\nheart-beat:0,0\n\n\0"
SHAPES = ("/topic/other.%d.*", "/topic/o.*.%d.x", "/topic/p.%d.>", "/topic/q.%d")
SOME = 5000
"""Subscriptions on one connection."""


@dataclass(slots=True)
class Line:
    """One broker, with so much of what grows.

    Attributes:
        count: how much.
        port: of the broker.
        pid: of the broker.
        each: bytes of memory for each.
        made_in: seconds that it took to make them.
        rates: messages a second, and a second of processor time, by what was measured.
        latencies: at the median and the 99th percentile of each round, in milliseconds.
    """

    count: int
    port: int
    pid: int
    each: float = 0.0
    made_in: float = 0.0
    rates: dict[str, list[load.Result]] = field(default_factory=dict)
    latencies: list[tuple[float, float]] = field(default_factory=list)

    def add(self, what: str, result: load.Result) -> None:
        self.rates.setdefault(what, []).append(result)

    def rate(self, what: str) -> float:
        return median(result.rate for result in self.rates[what])

    def per_cpu_second(self, what: str) -> float:
        return median(result.per_cpu_second for result in self.rates[what])

    def look_at_latency(self) -> None:
        times = load.latency(self.port, "/queue/pace", rate=PACE, seconds=SECONDS)
        self.latencies.append((times[len(times) // 2], times[len(times) * 99 // 100]))


@contextmanager
def brokers(counts: Sequence[int], data: Path | None = None) -> Iterator[list[Line]]:
    """A broker for each line of a table, warm."""
    with ExitStack() as stack:
        made = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=data)))
        config = made / "growth.toml"
        config.write_text(LIMITS)
        lines = []
        for count in counts:
            place = None if data is None else made / str(count)
            line = Line(
                count,
                *stack.enter_context(serving(*broker("--config", str(config), data=place))),
            )
            load.flow(line.port, line.pid, "/queue/warm", 20_000)
            lines.append(line)
        yield lines


@contextmanager
def making(line: Line) -> Iterator[None]:
    """Measure what it takes to make what grows."""
    before, begun = load.resident_bytes(line.pid), time.perf_counter()
    yield
    line.made_in = time.perf_counter() - begun
    line.each = (load.resident_bytes(line.pid) - before) / max(line.count, 1)


def send(peer: load.Peer, frames: Sequence[bytes], messages: int) -> None:
    """Send so many of these messages in turn."""
    block = b"".join(frames[number % len(frames)] for number in range(min(messages, 10_000)))
    left = messages
    while left >= 10_000:
        peer.send(block)
        left -= 10_000
    peer.send(b"".join(frames[number % len(frames)] for number in range(left)))


def through(line: Line, what: str, messages: int, destinations: Sequence[str]) -> None:
    """Send messages to these destinations in turn, and take them: one producer, one consumer."""
    frames = [load.send_frame(destination, BODY) for destination in destinations]
    with (
        load.Peer(line.port) as producer,
        load.Peer(line.port) as taker,
        ThreadPoolExecutor(1) as pool,
    ):
        subscribe(taker, destinations)

        def work() -> None:
            sending = pool.submit(send, producer, frames, messages)
            load._consume(taker, messages, acks=False)
            sending.result()

        line.add(what, load.measured(line.pid, messages, work))


def settle(peer: load.Peer) -> None:
    """Wait until all that was sent has been dealt with."""
    peer.send(load.send_frame("/topic/nobody", b"", b"receipt:settled\n"))
    peer.expect(b"RECEIPT")


def in_turn(lines: Sequence[Line], rounds: int, measure: Callable[[Line], None]) -> None:
    for _ in range(rounds):
        for line in lines:
            measure(line)
            line.look_at_latency()


def number(value: float) -> str:
    return f"{value:,.0f}"


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print(f"| {' | '.join(titles)} |")
    print(f"|{'---:|' * len(titles)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print()


def rates(line: Line, first: Line, what: str) -> list[str]:
    """The cells about a rate: a second, a CPU second, and the latter beside the first line's."""
    ratio = line.per_cpu_second(what) / first.per_cpu_second(what)
    return [number(line.rate(what)), number(line.per_cpu_second(what)), f"{ratio:.2f}"]


def latency(line: Line) -> list[str]:
    return [f"{median(column):.2f}" for column in zip(*line.latencies, strict=True)]


RATES = ("messages/s", "a CPU second", "ratio")


def places(line: Line) -> list[str]:
    return [f"/queue/app.orders.{index:05}" for index in range(line.count)]


def subscribe(peer: load.Peer, destinations: Sequence[str]) -> None:
    for index, destination in enumerate(destinations):
        peer.send(
            b"SUBSCRIBE\nid:%d\ndestination:%b\nack:auto\n\n\0" % (index, destination.encode())
        )
    settle(peer)


def queues(options: argparse.Namespace) -> None:
    """Messages to so many queues in turn, each with a subscription."""
    with brokers(options.queues) as lines:
        for line in lines:
            with making(line), load.Peer(line.port) as peer:
                subscribe(peer, places(line))
            through(line, "warm", 2 * line.count, places(line))
        in_turn(
            lines,
            options.rounds,
            lambda line: through(line, "all", options.n, places(line)),
        )
        table(
            ("queues", *RATES, "p50 ms", "p99 ms", "bytes a queue"),
            [
                [
                    number(line.count),
                    *rates(line, lines[0], "all"),
                    *latency(line),
                    number(line.each),
                ]
                for line in lines
            ],
        )


def beside(lines: Sequence[Line], columns: tuple[str, str], flow: str) -> None:
    """Print what a flow does beside so many of something, and what each of them takes."""
    table(
        (*columns, "bytes each", *RATES, "p50 ms", "p99 ms"),
        [
            [
                number(line.count),
                f"{line.made_in:.1f}",
                number(line.each),
                *rates(line, lines[0], flow),
                *latency(line),
            ]
            for line in lines
        ],
    )


def connections(options: argparse.Namespace) -> None:
    """One pair beside so many connections that are idle."""
    with brokers(options.connections) as lines, ExitStack() as stack:
        for line in lines:
            with making(line):
                idle = []
                for _ in range(line.count):
                    peer = stack.enter_context(
                        socket.create_connection(("127.0.0.1", line.port), load.TIMEOUT)
                    )
                    peer.sendall(CONNECT)
                    idle.append(peer)
                for peer in idle:
                    if not peer.recv(4096).startswith(b"CONNECTED"):
                        raise RuntimeError("the broker does not let everybody in")
        in_turn(
            lines,
            options.rounds,
            lambda line: through(line, "pair", options.n, ["/queue/pair"]),
        )
        beside(lines, ("idle connections", "connected in s"), "pair")


def subscriptions(options: argparse.Namespace) -> None:
    """A topic with one subscriber, beside so many subscriptions with wildcards to other topics."""
    with brokers(options.subscriptions) as lines, ExitStack() as stack:
        for line in lines:
            with making(line):
                for begin in range(0, line.count, SOME):
                    some = range(begin, min(begin + SOME, line.count))
                    peer = stack.enter_context(load.Peer(line.port))
                    subscribe(peer, [SHAPES[at % len(SHAPES)] % at for at in some])
        in_turn(
            lines,
            options.rounds,
            lambda line: through(line, "topic", options.n, ["/topic/mine.a"]),
        )
        beside(lines, ("subscriptions", "made in s"), "topic")


def waiting(options: argparse.Namespace, data: Path | None) -> None:
    """Messages to the end of a queue where so many wait, which are then taken out of it."""
    with brokers(options.waiting, data) as lines:
        for line in lines:
            with making(line), load.Peer(line.port) as peer:
                send(peer, [load.send_frame("/queue/long", BODY)], line.count)
                settle(peer)
        in_turn(lines, options.rounds, lambda line: publish(line, options.n))
        for line in lines:
            consume(line, options.rounds * options.n)
        table(
            (
                "waiting",
                "bytes each",
                *(f"in: {title}" for title in RATES),
                *(f"out: {title}" for title in RATES),
                "p50 ms",
                "p99 ms",
            ),
            [
                [
                    number(line.count),
                    number(line.each),
                    *rates(line, lines[0], "in"),
                    *rates(line, lines[0], "out"),
                    *latency(line),
                ]
                for line in lines
            ],
        )


def publish(line: Line, messages: int) -> None:
    with load.Peer(line.port) as peer:

        def work() -> None:
            send(peer, [load.send_frame("/queue/long", BODY)], messages)
            settle(peer)

        line.add("in", load.measured(line.pid, messages, work))


def consume(line: Line, messages: int) -> None:
    """Take everything; what came last, about so many, is measured."""
    with load.Peer(line.port) as taker:
        taker.send(load.subscribe_frame("/queue/long", "auto"))
        left = line.count + messages
        while left > messages:
            left -= taker.chunk().count(b"\0")
        line.add(
            "out",
            load.measured(line.pid, left, lambda: load._consume(taker, left, acks=False)),
        )


def large_bodies(options: argparse.Namespace) -> None:
    """Bodies of all sizes, beside a relay of bytes that reads no frames."""
    rows = bodies.rows(rounds=options.rounds)
    table(
        ("bytes of a body", "relay MB/s", "broker MB/s", "ratio", "ratio by CPU"),
        [
            [
                number(row.size),
                number(row.relay / 1e6),
                number(row.broker / 1e6),
                f"{row.ratio:.2f}",
                f"{row.cpu_ratio:.2f}",
            ]
            for row in rows
        ],
    )


LINES = {
    "queues": [1, 100, 10_000],
    "connections": [1, 1000, 10_000],
    "subscriptions": [1, 1000, 100_000],
    "waiting": [0, 1_000_000],
}


def main() -> None:
    parts = ("queues", "connections", "subscriptions", "memory", "store", "bodies")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="part", help=f"{', '.join(parts)}; default: all"
    )
    parser.add_argument("-n", type=int, default=100_000, help="messages a run")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each line")
    for name, lines in LINES.items():
        words = f"so many {name}, a line each; default: {' '.join(map(str, lines))}"
        parser.add_argument(f"--{name}", type=int, nargs="+", default=lines, help=words)
    parser.add_argument(
        "--directory", type=Path, default=Path(tempfile.gettempdir()), help="where the store lies"
    )
    options = parser.parse_args()
    if unknown := set(options.parts) - set(parts):
        parser.error(f"there is no part {', '.join(sorted(unknown))}, but {', '.join(parts)}")
    # A connection is a file, and twice one here, where both of its ends are.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(
        f"{platform.python_implementation()} {platform.python_version()}, compiled: {compiled()}, "
        f"{options.n:,} messages of {len(BODY)} bytes, medians of {options.rounds} runs; "
        f"latency at {PACE} messages a second.\n"
    )
    wanted = options.parts or parts
    for part, work in (
        ("queues", lambda: queues(options)),
        ("connections", lambda: connections(options)),
        ("subscriptions", lambda: subscriptions(options)),
        ("memory", lambda: waiting(options, None)),
        ("store", lambda: waiting(options, options.directory)),
        ("bodies", lambda: large_bodies(options)),
    ):
        if part in wanted:
            print(f"**{part}**\n", flush=True)
            work()


if __name__ == "__main__":
    main()
