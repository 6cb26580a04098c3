"""The broker beside Debian's RabbitMQ and ActiveMQ, all on this machine's loopback interface.

The peers run from a temporary directory, each with STOMP as its only listener and with the settings
of its package otherwise; neither services nor their data are touched. One that is not installed is
left out (``apt install rabbitmq-server activemq``). Every scenario runs on all in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import foreign
import load
from foreign import Place
from serving import broker, form, serving

Results = dict[str, load.Result]
"""What a scenario measured, by row of the table."""

OURS = ("--memory", "--data")

ENOUGH_SECONDS = 150
"""After which a scenario has one round only, so that slow machines come to an end too."""

# -- servers ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Server:
    """Something to measure.

    ``transient`` is the header line by which a message is not kept on disk. For the peers that is
    so anyway, and RabbitMQ takes ``persistent:false`` for the set-up of an exclusive queue.
    """

    serve: Callable[[Path], AbstractContextManager[Place]]
    transient: bytes = b""


SERVERS = {
    "--memory": Server(lambda _: serving(*broker()), transient=b"persistent:false\n"),
    "--data": Server(lambda place: serving(*broker(data=place)), transient=b"persistent:false\n"),
    **{name: Server(serve) for name, serve in foreign.STARTS.items()},
}


# -- scenarios --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scenario:
    """``run`` is given port, process id, destination, how many messages, and who serves."""

    name: str
    messages: int
    run: Callable[[int, int, str, int, Server], Results]


def durable(window: int, messages: int) -> Scenario:
    name = f"durable, window {window}"

    def run(port: int, pid: int, destination: str, messages: int, _: Server) -> Results:
        sent, taken = load.durable(port, pid, destination, messages, window=window)
        # The few messages of a slow sender are taken in no time.
        return {name: sent} if window == 1 else {name: sent, f"{name}: drained": taken}

    return Scenario(name, messages, run)


def queue(name: str, messages: int, *, ack: str = "auto", persistent: bool = False) -> Scenario:
    def run(port: int, pid: int, destination: str, messages: int, server: Server) -> Results:
        extra = b"persistent:true\n" if persistent else server.transient
        return {name: load.flow(port, pid, destination, messages, ack=ack, extra=extra)}

    return Scenario(name, messages, run)


SCENARIOS = (
    durable(256, 20_000),
    durable(1, 2_000),
    queue("queue", 50_000),
    queue("queue, client-individual", 30_000, ack="client-individual"),
    queue("queue, persistent", 30_000, persistent=True),
)


class Bench:
    """Runs scenarios on servers, and keeps what they measured."""

    def __init__(self) -> None:
        self.servers: dict[str, Place] = {}
        self.versions: dict[str, str] = {}
        self.notes: list[str] = []
        self.results: defaultdict[str, defaultdict[str, list[load.Result]]] = defaultdict(
            lambda: defaultdict(list)
        )
        self._numbers = count(1)
        self._deadline = time.monotonic() + ENOUGH_SECONDS

    def start(self, stack: ExitStack, directory: Path) -> None:
        for name, server in SERVERS.items():
            absent = "" if name in OURS else foreign.missing(name)
            if absent:
                self.notes.append(absent)
                continue
            place = directory / name.lstrip("-").lower()
            place.mkdir()
            try:
                self.servers[name] = stack.enter_context(server.serve(place))
            except RuntimeError as error:
                self.notes.append(str(error))
                continue
            with load.Peer(self.servers[name][0]) as peer:
                lines = peer.connected.decode().splitlines()
            said = [line.partition(":")[2] for line in lines if line.startswith("server:")]
            self.versions[name] = said[0] if said else "?"

    def compare(self, scenario: Scenario, rounds: int, share: float) -> None:
        """The scenario on every server in turn, so many times, after a short one to warm up."""
        messages = max(1, int(scenario.messages * share))
        running = dict(self.servers)
        for round_ in range(rounds + 1):
            if round_ > 1 and time.monotonic() > self._deadline:
                self.notes.append(f"{round_ - 1} of {rounds} rounds of {scenario.name!r}")
                break
            for name, (port, pid) in list(running.items()):
                # A queue of its own, so that nobody finds what a failed run has left.
                destination = f"/queue/bench.{next(self._numbers)}"
                size = messages if round_ else (messages + 3) // 4
                try:
                    results = scenario.run(port, pid, destination, size, SERVERS[name])
                except (OSError, EOFError, RuntimeError) as error:
                    self.notes.append(f"{name} failed in {scenario.name!r}: {error!r}")
                    del running[name]
                    continue
                for row, result in results.items() if round_ else ():
                    self.results[row][name].append(result)

    def medians(self, figure: str) -> dict[str, dict[str, float]]:
        return {
            row: {
                name: median(getattr(run, figure) for run in runs)
                for name, runs in by_server.items()
            }
            for row, by_server in self.results.items()
        }


# -- what is printed --------------------------------------------------------------------------


def ratio(figures: Mapping[str, float], ours: str) -> float | None:
    """Ours, divided by the best peer's."""
    peers = [figure for name, figure in figures.items() if name not in OURS]
    return figures[ours] / max(peers) if peers and ours in figures else None


def sync_milliseconds(directory: Path) -> float:
    times = []
    with (directory / "sync").open("wb", buffering=0) as file:
        for _ in range(50):
            file.write(b"x" * 4096)
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - start) * 1e3)
    return median(times)


def print_table(bench: Bench, title: str, figure: str) -> None:
    names = list(bench.servers)
    print(f"\n{title:30}", *(f"{name:>10}" for name in names), end="")
    print(*(f"{f'{name} ratio':>16}" for name in OURS))
    for row, figures in bench.medians(figure).items():
        cells = [f"{figures[name]:10,.0f}" if name in figures else f"{'-':>10}" for name in names]
        ratios = [ratio(figures, name) for name in OURS]
        print(f"{row:30}", *cells, end="")
        print(*(f"{'-':>16}" if value is None else f"{value:16.2f}" for value in ratios))


def as_json(bench: Bench) -> str:
    rows = [
        {
            "scenario": row,
            "rate": figures,
            "rate ratios": {name: ratio(figures, name) for name in OURS},
            "per_cpu_second": by_cpu,
            "per_cpu_second ratios": {name: ratio(by_cpu, name) for name in OURS},
            "runs": {name: [asdict(run) for run in runs] for name, runs in by_server.items()},
        }
        for (row, by_server), figures, by_cpu in zip(
            bench.results.items(),
            bench.medians("rate").values(),
            bench.medians("per_cpu_second").values(),
            strict=True,
        )
    ]
    return json.dumps({"versions": bench.versions, "rows": rows, "notes": bench.notes})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each kind")
    parser.add_argument("--share", type=float, default=1.0, help="of the messages of each run")
    parser.add_argument("--directory", help="where stores are put, for the time being")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    bench = Bench()
    with (
        TemporaryDirectory(prefix="stompy-peers-", dir=options.directory) as name,
        ExitStack() as stack,
    ):
        directory = Path(name).resolve()
        sync = sync_milliseconds(directory)
        bench.start(stack, directory)
        for scenario in SCENARIOS:
            bench.compare(scenario, options.rounds, options.share)
    if options.json:
        print(as_json(bench))
        return
    print(f"{form()}; ", end="")
    print(f"medians of {options.rounds} runs; ratio: to the best peer; ", end="")
    print(f"appending to a file on disk takes {sync:.2f} ms")
    print(*(f"{name}: {version}" for name, version in bench.versions.items()), sep=", ")
    print_table(bench, "messages a second", "rate")
    print_table(bench, "messages a second of CPU", "per_cpu_second")
    for note in bench.notes:
        print(f"\nNote: {note}")


if __name__ == "__main__":
    main()
