"""What watching costs: the *queue* load while monitors look at thousands of queues.

One broker; queues with a message each, a tenth of which get another one every second; then the load
of ``make bench`` on one more queue, in turn without monitors, with monitors that take columns and
changes only (as stompy-monitor does), and with monitors that take everything as objects each time.
Monitors run in a process of their own and throw away what they read.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import selectors
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from statistics import median

import load
from serving import broker, form, serving

KINDS = (
    "broker",
    "queues",
    "topics",
    "connections",
    "subscriptions",
    "durable",
    "transactions",
    "event.>",
)
WAYS = {
    "nobody": None,
    "columns, changes only": b"format:columns\nmode:delta\n",
    "objects, everything": b"",
}


def watch(port: int, monitors: int, interval: int, headers: bytes, ready: Event) -> None:
    """So many monitors; until the process is ended."""
    selector = selectors.DefaultSelector()
    for _ in range(monitors):
        peer = load.Peer(port)
        for number, kind in enumerate(KINDS):
            peer.send(
                b"SUBSCRIBE\nid:%d\ndestination:/topic/$SYS.%b\ninterval:%d\n%b\n\0"
                % (number, kind.encode(), interval, headers)
            )
        selector.register(peer.socket, selectors.EVENT_READ)
    time.sleep(1.0)  # the first set of all is not what is measured
    ready.set()
    while True:
        for key, _ in selector.select():
            if not key.fileobj.recv(load.CHUNK):  # type: ignore[union-attr]
                return


def churn(port: int, queues: int) -> None:
    """A message to each queue of a tenth every second, another tenth each time."""
    with load.Peer(port) as peer:
        number = 0
        while True:
            for _ in range(10):
                some = [
                    load.send_frame(name(n % queues), b"x")
                    for n in range(number, number + queues // 100)
                ]
                peer.send(b"".join(some))
                number += queues // 100
                time.sleep(0.1)


def name(number: int) -> str:
    return f"/queue/app.orders.{number:05}"


@contextmanager
def beside(target: object, *args: object) -> Iterator[None]:
    process = multiprocessing.Process(target=target, args=args, daemon=True)  # type: ignore[arg-type]
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def measure(
    port: int, pid: int, messages: int, options: argparse.Namespace, way: str
) -> load.Result:
    headers = WAYS[way]
    if headers is None:
        return load.flow(port, pid, "/queue/bench", messages)
    ready = multiprocessing.Event()
    with beside(watch, port, options.monitors, options.interval, headers, ready):
        ready.wait()
        return load.flow(port, pid, "/queue/bench", messages)


def alone(port: int, pid: int, options: argparse.Namespace, way: str) -> float:
    """Processor time of the broker in a second without that load, in milliseconds."""

    def spend() -> float:
        cpu, clock = load.cpu_seconds(pid), time.perf_counter()
        time.sleep(options.alone)
        return 1000 * (load.cpu_seconds(pid) - cpu) / (time.perf_counter() - clock)

    headers = WAYS[way]
    if headers is None:
        return spend()
    ready = multiprocessing.Event()
    with beside(watch, port, options.monitors, options.interval, headers, ready):
        ready.wait()
        return spend()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=1_000_000, help="messages a run")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each kind")
    parser.add_argument("--queues", type=int, default=5000)
    parser.add_argument("--monitors", type=int, default=3)
    parser.add_argument("--interval", type=int, default=1000, help="milliseconds")
    parser.add_argument("--alone", type=float, default=5.0, help="seconds without load")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    runs: dict[str, list[load.Result]] = {way: [] for way in WAYS}
    spent: dict[str, list[float]] = {way: [] for way in WAYS}
    with serving(*broker()) as (port, pid):
        with load.Peer(port) as peer:
            for number in range(options.queues):
                peer.send(load.send_frame(name(number), b"x"))
            peer.leave()
        with beside(churn, port, options.queues):
            load.flow(port, pid, "/queue/bench", options.n // 4)
            for _ in range(options.rounds):
                for way in WAYS:
                    runs[way].append(measure(port, pid, options.n, options, way))
                    spent[way].append(alone(port, pid, options, way))
    bare = runs["nobody"]
    rows = [
        {
            "watching": way,
            "rate": round(median(run.rate for run in results)),
            "per CPU second": round(median(run.per_cpu_second for run in results)),
            "ms a second": round(median(spent[way]) - median(spent["nobody"]), 1),
            "cost of rate %": cost([run.rate for run in results], [run.rate for run in bare]),
            "cost of CPU %": cost(
                [run.per_cpu_second for run in results], [run.per_cpu_second for run in bare]
            ),
        }
        for way, results in runs.items()
    ]
    if options.json:
        print(json.dumps({"options": vars(options), "rows": rows}))
        return
    print(form())
    print(f"{options.queues} queues, {options.monitors} monitors, every {options.interval} ms")
    print("cost of the rate, of the rate a CPU second, and CPU time without load, in ms a second\n")
    print(f"{'watching':24} {'messages/s':>11} {'cost':>7} {'/CPU s':>10} {'cost':>7} {'ms/s':>6}")
    for row in rows:
        print(
            f"{row['watching']:24} {row['rate']:11,} {row['cost of rate %']:6.1f}% "
            f"{row['per CPU second']:10,} {row['cost of CPU %']:6.1f}% {row['ms a second']:6.1f}"
        )


def cost(with_it: list[float], without: list[float]) -> float:
    """How much less, in percent: the median of runs that followed each other."""
    return round(median(100 * (1 - a / b) for a, b in zip(with_it, without, strict=True)), 1)


if __name__ == "__main__":
    main()
