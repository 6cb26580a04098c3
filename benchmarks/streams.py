"""Streams: what appending costs beside a durable queue, and reading beside a fan-out in memory."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import load
from serving import broker, form, serving

NUMBERS = count(1)
BODY = b"x" * 100


def append(port: int, pid: int, destination: str, messages: int) -> load.Result:
    """Send as fast as it goes, until all of it is safe."""
    blob = load.send_frame(destination, BODY) * messages
    with load.Peer(port) as producer:

        def work() -> None:
            producer.send(blob)
            producer.leave()

        return load.measured(pid, messages, work)


def take(peer: load.Peer, messages: int) -> None:
    while messages > 0:
        messages -= peer.chunk().count(b"\0")


def read(port: int, pid: int, destination: str, messages: int, readers: int) -> load.Result:
    """Have readers read, each from another place on, so many messages each."""
    with ThreadPoolExecutor(readers) as pool:
        peers = [load.Peer(port) for _ in range(readers)]
        asks = [
            load.subscribe_frame(destination, "auto", b"x-stream-offset:offset=%d\n" % start)
            for start in range(0, messages, max(1, messages // readers))
        ]

        def work() -> None:
            taking = []
            for peer, ask in zip(peers, asks, strict=False):
                peer.send(ask)
                taking.append(pool.submit(take, peer, messages))
            for taken in taking:
                taken.result()

        result = load.measured(pid, messages * readers, work)
        for peer in peers:
            peer.close()
    return result


def line(title: str, runs: list[load.Result], beside: list[load.Result] | None = None) -> None:
    rate, cpu = (median(getattr(one, name) for one in runs) for name in ("rate", "per_cpu_second"))
    print(f"{title:48}{rate:10,.0f}{cpu:10,.0f}", end="")
    if beside is not None:
        for name, own in (("rate", rate), ("per_cpu_second", cpu)):
            print(f"{own / median(getattr(one, name) for one in beside):7.2f}", end="")
    print(flush=True)


def several(rounds: int, *scenarios: Callable[[], load.Result]) -> list[list[load.Result]]:
    """Run scenarios in turn."""
    results: list[list[load.Result]] = [[] for _ in scenarios]
    for _ in range(rounds):
        for scenario, runs in zip(scenarios, results, strict=True):
            runs.append(scenario())
    return results


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--messages", type=int, default=100_000)
    options.add_argument("--readers", type=int, default=10)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--memory", action="store_true", help="without a disk")
    given = options.parse_args()
    messages, readers = given.messages, given.readers
    print(form())
    print(f"{'':48}{'a second':>10}{'of CPU':>10}{'ratio':>7}{'of CPU':>7}")
    with (
        TemporaryDirectory() as top,
        serving(*broker(data=None if given.memory else Path(top))) as (port, pid),
    ):
        queue, stream = several(
            given.rounds,
            lambda: append(port, pid, f"/queue/bench.{next(NUMBERS)}", messages),
            lambda: append(port, pid, f"/stream/bench.{next(NUMBERS)}", messages),
        )
        line("append to a queue", queue)
        line("append to a stream", stream, queue)
        source = "/stream/bench.read"
        append(port, pid, source, 2 * messages)
        fan, one, many = several(
            given.rounds,
            lambda: load.flow(
                port, pid, f"/topic/bench.{next(NUMBERS)}", messages // 2, consumers=readers
            ),
            lambda: read(port, pid, source, messages, 1),
            lambda: read(port, pid, source, messages, readers),
        )
        line(f"topic with {readers} subscribers, deliveries", fan)
        line("stream, 1 reader", one, fan)
        line(f"stream, {readers} readers at {readers} places, all", many, fan)
        (live,) = several(
            given.rounds,
            lambda: load.flow(
                port,
                pid,
                f"/stream/bench.{next(NUMBERS)}",
                messages // 2,
                consumers=1,
            ),
        )
        line("stream, 1 live reader", live)


if __name__ == "__main__":
    main()
