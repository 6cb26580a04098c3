"""What selectors cost: on queues, on topics with many of them, and on a queue that is long.

Ratios are to the same load without a selector, in the same run and in turn, so that a noisy machine
disturbs both. The last table is of the functions themselves, without a broker.
"""

from __future__ import annotations

import argparse
import threading
import time
import timeit
from collections.abc import Callable
from contextlib import ExitStack
from statistics import median

import load
from serving import broker, form, serving

from stompy_broker.message import Message, MessageHead
from stompy_broker.selectors.parser import parse
from stompy_broker.selectors.selector import Selector

RED = b"selector:color = 'red'\n"
REPEATED = b"color:red\n"
UNIQUE = b"color:red\ncorrelation-id:c-%d\n"
OTHERS = 9_999
"""Subscriptions that want something else."""
ON_ONE = 2_500
"""Subscriptions of a connection."""

Flow = Callable[[int, int, int], load.Result]


def to_queue(extra: bytes, asks: bytes) -> Flow:
    return lambda port, pid, n: load.flow(port, pid, "/queue/bench", n, extra=extra, asks=asks)


PAIRS: dict[str, tuple[Flow, Flow, float]] = {
    "queue, blocks repeat": (to_queue(REPEATED, b""), to_queue(REPEATED, RED), 0.8),
    "queue, headers never repeat": (to_queue(UNIQUE, b""), to_queue(UNIQUE, RED), 0.6),
}

FUNCTIONS = (
    "color = 'red'",
    "n > 5",
    "n BETWEEN 1 AND 10",
    "color = 'red' AND n > 5 AND region IN ('eu', 'us') AND customer LIKE '47%'",
    "region LIKE '%u%' AND n + 1 = 8",
    "JMSPriority > 3 AND JMSRedelivered = FALSE",
)

WIDEST = " OR ".join(f"x{n}" for n in range(255))
"""About as many parts as a selector may have."""

HEADERS = {
    "destination": "/queue/orders",
    "content-length": "120",
    "content-type": "application/json",
    "color": "red",
    "n": "7",
    "customer": "4711",
    "trace-id": "0af7651916cd43dd8448eb211c80319c",
    "region": "eu",
}


def compare(port: int, pid: int, plain: Flow, chosen: Flow, n: int, rounds: int) -> float:
    """How many messages a second of processor time with a selector, to those without."""
    pairs = [(plain(port, pid, n), chosen(port, pid, n)) for _ in range(rounds)]
    without, with_one = zip(*pairs, strict=True)
    return median(one.per_cpu_second for one in with_one) / median(
        one.per_cpu_second for one in without
    )


def topic(n: int, rounds: int) -> float:
    """One subscription that takes all, and the same one among 10,000 of which one matches."""
    runs: dict[str, list[float]] = {"plain": [], "many": []}
    with ExitStack() as stack:
        servers = {name: stack.enter_context(serving(*broker())) for name in runs}
        port, _ = servers["many"]
        peers = [stack.enter_context(load.Peer(port)) for _ in range(-(-OTHERS // ON_ONE))]
        for number in range(OTHERS):
            frame = b"SUBSCRIBE\nid:%d\ndestination:/topic/bench\nselector:customer = '%d'\n\n\0"
            peers[number // ON_ONE].send(frame % (number, number))
        for peer in peers:
            peer.send(b"SEND\ndestination:/queue/none\nreceipt:all\n\n\0")
            peer.expect(b"RECEIPT")
        for _ in range(rounds):
            for name, (at, pid) in servers.items():
                asks = b"selector:customer = 'us'\n" if name == "many" else b""
                result = load.flow(at, pid, "/topic/bench", n, extra=b"customer:us\n", asks=asks)
                runs[name].append(result.per_cpu_second)
    return median(runs["many"]) / median(runs["plain"])


def attach(waiting: int) -> tuple[float, float]:
    """Seconds until the last of so many messages is found, and the longest that others waited."""
    with serving(*broker()) as (port, _), ExitStack() as stack:
        producer, other, taker = (stack.enter_context(load.Peer(port)) for _ in range(3))
        batch = load.send_frame("/queue/long", b"x" * 100, b"color:blue\n") * 1000
        for _ in range(waiting // 1000):
            producer.send(batch)
        producer.send(load.send_frame("/queue/long", b"x", b"color:red\nreceipt:last\n"))
        producer.expect(b"RECEIPT")
        waits: list[float] = []
        found = threading.Event()

        def pace() -> None:
            while not found.is_set():
                start = time.perf_counter()
                other.send(load.send_frame("/queue/else", b"x", b"receipt:p\n"))
                other.expect(b"RECEIPT")
                waits.append(time.perf_counter() - start)
                time.sleep(0.001)

        pacing = threading.Thread(target=pace)
        pacing.start()
        time.sleep(0.5)
        start = time.perf_counter()
        taker.send(load.subscribe_frame("/queue/long", "client-individual", RED))
        taker.expect(b"MESSAGE")
        seconds = time.perf_counter() - start
        found.set()
        pacing.join()
    return seconds, max(waits)


def functions() -> None:
    """Print what it costs to make a selector, and to ask it about a message."""
    fresh = Message(7, MessageHead.from_client(HEADERS), b"x" * 120, b"\ntimestamp:1\n")
    known = Message(7, MessageHead.from_client(HEADERS), b"x" * 120, b"\ntimestamp:1\n")
    known.head.answers = {}
    print(f"\n{'selector':76} {'make µs':>8} {'ask µs':>7} {'again':>7}")
    for text in (*FUNCTIONS, WIDEST):
        one = Selector(text, parse(text))
        asked = [least(lambda one=one, m=m: one.matches(m), 20_000) for m in (fresh, known)]
        made = least(lambda text=text: Selector(text, parse(text)), 20)
        print(f"{text[:76]:76} {made:8.0f} {asked[0]:7.2f} {asked[1]:7.2f}")


def least(work: Callable[[], object], number: int) -> float:
    """Microseconds of processor time, at the least of five runs."""
    return min(timeit.repeat(work, timer=time.process_time, number=number)) / number * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=50_000, help="messages a run")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each kind")
    parser.add_argument("--waiting", type=int, default=1_000_000, help="messages of the long queue")
    options = parser.parse_args()
    print(f"{form()}; {options.n} messages, medians of {options.rounds} runs")
    print(f"\n{'with a selector, to without':60} {'ratio':>6} {'wanted':>7}")
    with serving(*broker()) as (port, pid):
        for name, (plain, chosen, wanted) in PAIRS.items():
            ratio = compare(port, pid, plain, chosen, options.n, options.rounds)
            print(f"{name:60} {ratio:6.2f} {wanted:7.2f}")
    name = "topic, 10,000 subscriptions of which one matches, to 1 plain"
    print(f"{name:60} {topic(options.n, options.rounds):6.2f} {0.5:7.2f}")
    seconds, longest = attach(options.waiting)
    print(f"\none match behind {options.waiting:,} others: {seconds:.2f} s (wanted: 3)")
    print(f"longest that another client waited meanwhile: {longest * 1e3:.1f} ms (wanted: 10)")
    functions()


if __name__ == "__main__":
    main()
