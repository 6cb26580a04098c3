"""What the past of a queue costs: a hot durable queue with a history, and the same one without.

Ratios are of messages a second of the broker's processor time, in the same run and in turn, so that
a noisy machine disturbs both. *receipts* sends with a receipt for each message, 256 of them
awaited, while a consumer takes and acknowledges what comes; *stored* sends all before the consumer
begins; *flow* asks for no receipts, so that without a history most never touches the disk.
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import load
from serving import broker, form, serving

SETTINGS = """
[[policy]]
match = "/queue/kept"
history = "24h"
"""
QUEUES = ("/queue/plain", "/queue/kept")
LEAST = 0.5

Run = Callable[[int, int, str, int], float]


def receipts(port: int, pid: int, queue: str, messages: int) -> float:
    """Messages a second of processor time, sent and taken at once."""
    frames = [
        load.send_frame(queue, b"x" * 100, b"persistent:true\nreceipt:%d\n" % number)
        for number in range(messages)
    ]
    with load.Peer(port) as sender, load.Peer(port) as taker:
        taker.send(load.subscribe_frame(queue, "client-individual"))

        def work() -> None:
            taking = threading.Thread(target=load.take_and_settle, args=(taker, messages))
            taking.start()
            sent = answered = 0
            while answered < messages:
                upto = min(messages, answered + 256)
                if sent < upto:
                    sender.send(b"".join(frames[sent:upto]))
                    sent = upto
                answered += sender.chunk().count(b"\0")
            taking.join()

        return load.measured(pid, messages, work).per_cpu_second


def stored(port: int, pid: int, queue: str, messages: int) -> float:
    """The same, all sent before the first is taken."""
    sent, taken = load.durable(port, pid, queue, messages, window=256)
    return 1 / (1 / sent.per_cpu_second + 1 / taken.per_cpu_second)


def flow(port: int, pid: int, queue: str, messages: int) -> float:
    """The same, sent without receipts."""
    extra = b"persistent:true\n"
    return load.flow(
        port, pid, queue, messages, ack="client-individual", extra=extra
    ).per_cpu_second


RUNS: dict[str, Run] = {"receipts": receipts, "stored": stored, "flow": flow}


def main() -> None:
    """Measure, and fail if a history costs too much."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print(form())
    print(f"{'load':10} {'without/s':>10} {'with/s':>10} {'ratio':>6}")
    slow = []
    with TemporaryDirectory() as directory:
        settings = Path(directory) / "broker.toml"
        settings.write_text(SETTINGS)
        data = Path(directory) / "data"
        with serving(*broker("--config", str(settings), data=data)) as (port, pid):
            for name, run in RUNS.items():
                for queue in QUEUES:
                    run(port, pid, queue, options.messages // 10)
                pairs = [
                    tuple(run(port, pid, queue, options.messages) for queue in QUEUES)
                    for _ in range(options.rounds)
                ]
                without, with_one = (median(one) for one in zip(*pairs, strict=True))
                ratio = median(kept / plain for plain, kept in pairs)
                print(f"{name:10} {without:10,.0f} {with_one:10,.0f} {ratio:6.2f}")
                if name != "flow" and ratio < LEAST:
                    slow.append(name)
    if slow:
        raise SystemExit(f"less than {LEAST}: {', '.join(slow)}")


if __name__ == "__main__":
    main()
