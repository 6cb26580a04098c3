"""An hour of mixed load, in which memory, files, threads and data directory must stay as they are.

Queues are made and forgotten, durable subscriptions come, go and end, transactions are committed,
aborted and cut off, messages expire or die, connections are reset in the middle of their work, and
somebody looks at the admin topics now and then; all with a store. What each does is a round that
ends where it began, so whatever the broker has more of after an hour than after a quarter of one it
has forgotten to let go.

``--seconds 60`` tries it out. The broker runs inside this script, so that it can be asked how many
objects it has.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import platform
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median

import load
from serving import serving

from stompy_broker.build import compiled

CONFIG = """\
[times]
idle_queue = 5

[[policy]]
match = "/queue/soak.poison"
max_deliveries = 2
dead_letter = "/queue/soak.dead"
"""
RESET = struct.pack("ii", 1, 0)
ALLOWED = {"memory": 0.05, "files": 0.0, "threads": 0.0, "data": 0.05, "objects": 0.02}
"""By what part the median of the last quarter may be above that of the second."""

COUNTS = 20
"""How often the objects are counted."""

numbers = itertools.count()


def send(destination: str, extra: bytes = b"", body: bytes = b"x" * 200) -> bytes:
    return load.send_frame(destination, body, extra)


def take(peer: load.Peer, count: int, answer: bytes = b"ACK") -> None:
    """Take so many messages, and answer each."""
    for _ in range(count):
        frame = peer.expect(b"MESSAGE")
        found = load.ACK_HEADER.search(frame)
        if found:
            peer.send(b"%b\nid:%b\n\n\0" % (answer, found[1]))


class Steady:
    """One pair that stays: a message every few milliseconds, kept on disk, and its ACK."""

    def __init__(self, port: int) -> None:
        self._sender, self._taker = load.Peer(port), load.Peer(port)
        self._taker.subscribe("/queue/soak.steady", "client-individual")

    def __call__(self, port: int) -> int:
        self._sender.send(send("/queue/soak.steady") * 50)
        take(self._taker, 50)
        return 50


def short_queues(port: int) -> int:
    """Queues that exist for one round."""
    names = [f"/queue/soak.short.{next(numbers)}" for _ in range(10)]
    with load.Peer(port) as peer:
        for name in names:
            peer.send(send(name, b"x-expires:2000\n") * 5)
        for number, name in enumerate(names, 1):
            peer.send(
                b"SUBSCRIBE\nid:%d\nack:client-individual\ndestination:%b\n\n\0"
                % (number, name.encode())
            )
        take(peer, 50)
        peer.leave()
    return 50


def durables(port: int) -> int:
    """A durable subscription that collects while its subscriber is away, and is ended for good."""
    name = b"soak-%d" % next(numbers)
    subscribe = (
        b"SUBSCRIBE\nid:1\nack:client-individual\ndestination:/topic/soak.news.>\n"
        b"activemq.subscriptionName:news\nreceipt:s\n\n\0"
    )
    with named(port, name) as peer:
        peer.send(subscribe)
        peer.expect(b"RECEIPT")
        peer.leave()
    with load.Peer(port) as peer:
        peer.send(send(f"/topic/soak.news.{name.decode()}") * 50)
        peer.leave()
    with named(port, name) as peer:
        peer.send(subscribe)
        for _ in range(51):
            frame = peer.frame()
            found = load.ACK_HEADER.search(frame)
            if found:
                peer.send(b"ACK\nid:%b\n\n\0" % found[1])
        peer.send(b"UNSUBSCRIBE\nid:1\nactivemq.subscriptionName:news\nreceipt:u\n\n\0")
        peer.expect(b"RECEIPT")
    return 50


class named(load.Peer):  # noqa: N801 -- used as a function
    """A peer with a client-id."""

    def __init__(self, port: int, name: bytes) -> None:
        self._name = name
        super().__init__(port)

    def send(self, data: bytes) -> None:
        if data.startswith(b"CONNECT\n"):
            data = data.replace(b"host:/\n", b"host:/\nclient-id:%b\n" % self._name)
        super().send(data)


def transactions(port: int) -> int:
    """One that is committed, with an ACK in it, one that is aborted, one that is cut off."""
    place = f"/queue/soak.transactions.{next(numbers)}"
    with load.Peer(port) as peer:
        peer.subscribe(place, "client-individual")
        for name, end in ((b"a", b"COMMIT"), (b"b", b"ABORT"), (b"c", b"")):
            peer.send(b"BEGIN\ntransaction:%b\n\n\0" % name)
            peer.send(send(place, b"transaction:%b\n" % name) * 10)
            if end:
                peer.send(b"%b\ntransaction:%b\n\n\0" % (end, name))
        take(peer, 10)
        peer.leave()
    return 10


def expiring(port: int) -> int:
    """Messages that nobody takes in their time."""
    with load.Peer(port) as peer:
        for ttl in (50, 200, 1000, 3000):
            peer.send(send("/queue/soak.expiring", b"expiration:%d\n" % ttl) * 10)
        peer.leave()
    return 40


def dead_letters(port: int) -> int:
    """Messages that are refused until they are dead, and then taken."""
    with load.Peer(port) as peer, load.Peer(port) as undertaker:
        undertaker.subscribe("/queue/soak.dead", "client-individual")
        peer.subscribe("/queue/soak.poison", "client-individual")
        peer.send(send("/queue/soak.poison") * 10)
        take(peer, 20, b"NACK")
        take(undertaker, 10)
        undertaker.leave()
    return 10


def topics(port: int) -> int:
    """Topics that were not there before, and subscriptions with wildcards that come and go."""
    with load.Peer(port) as peer:
        for number in range(20):
            peer.send(
                b"SUBSCRIBE\nid:%d\ndestination:/topic/soak.t.%b\n\n\0"
                % (number, (b"*", b">", b"*.%d" % number, b"a.*")[number % 4])
            )
        word = b"%d" % next(numbers)
        peer.send(send(f"/topic/soak.t.{word.decode()}") * 10)
        for _ in range(100):
            peer.expect(b"MESSAGE")
        peer.send(b"".join([b"UNSUBSCRIBE\nid:%d\n\n\0" % number for number in range(0, 20, 2)]))
        peer.leave()
    return 100


def large(port: int) -> int:
    """A body of 8 MiB, and one of 300 kB."""
    with load.Peer(port) as peer:
        peer.subscribe("/queue/soak.large", "client-individual")
        for size in (8 << 20, 300_000):
            peer.send(send("/queue/soak.large", body=b"y" * size))
        take(peer, 2)
        peer.leave()
    return 2


def requests(port: int) -> int:
    """Questions, each with a temporary queue for the answer."""
    with load.Peer(port) as asker, load.Peer(port) as answerer:
        answerer.subscribe("/queue/soak.questions")
        for number in range(5):
            asker.send(send("/queue/soak.questions", b"reply-to:/temp-queue/answers-%d\n" % number))
            frame = answerer.expect(b"MESSAGE")
            place = frame.partition(b"\nreply-to:")[2].partition(b"\n")[0].decode()
            answerer.send(send(place))
            asker.expect(b"MESSAGE")
    return 10


def resets(port: int) -> int:
    """A client that is gone with messages in its hands, half a frame sent; another takes them."""
    place = f"/queue/soak.resets.{next(numbers)}"
    with load.Peer(port) as peer:
        peer.subscribe(place, "client-individual")
        peer.send(send(place) * 20)
        for _ in range(10):
            peer.expect(b"MESSAGE")
        peer.send(send(place)[:100])
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    with load.Peer(port) as peer:
        peer.subscribe(place, "client-individual")
        take(peer, 20)
        peer.leave()
    return 20


def watching(port: int) -> int:
    """Somebody who looks at everything, and goes without a word."""
    with load.Peer(port) as peer:
        peer.send(
            b"SUBSCRIBE\nid:1\ndestination:/topic/$SYS.>\nmode:delta\nformat:columns\n"
            b"interval:500\n\n\0"
        )
        until = time.monotonic() + 3
        while time.monotonic() < until:
            peer.frame()
    return 0


ROUNDS: dict[Callable[[int], int], float] = {
    short_queues: 1.0,
    durables: 1.0,
    transactions: 0.5,
    expiring: 0.5,
    dead_letters: 1.0,
    topics: 0.5,
    large: 5.0,
    requests: 0.5,
    resets: 0.5,
    watching: 20.0,
}
"""What is done, and how many seconds lie between the beginnings of two rounds."""


class Load:
    """All that is done, each kind on a thread of its own."""

    def __init__(self, port: int) -> None:
        self.rounds: Counter[str] = Counter()
        self.messages = 0
        self.faults: list[str] = []
        self._port = port
        self._over = threading.Event()
        kinds: dict[Callable[[int], int], float] = {Steady(port): 0.25, **ROUNDS}
        self._threads = [threading.Thread(target=self._go_on, args=kind) for kind in kinds.items()]
        for thread in self._threads:
            thread.start()

    def _go_on(self, work: Callable[[int], int], every: float) -> None:
        name = getattr(work, "__name__", type(work).__name__)
        due = time.monotonic()
        while not self._over.is_set():
            try:
                self.messages += work(self._port)
            except Exception as error:
                self.faults.append(f"{name}: {error!r}")
            self.rounds[name] += 1
            due = max(due + every, time.monotonic())
            self._over.wait(due - time.monotonic())

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def sample(pid: int, data: Path) -> dict[str, int]:
    """What the broker has."""
    return {
        "memory": load.resident_bytes(pid),
        "files": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": len(os.listdir(f"/proc/{pid}/task")),
        "data": sum(file.stat().st_size for file in data.rglob("*") if file.is_file()),
    }


def count_objects(pid: int, answer: Path) -> int:
    """How many objects the broker's collector knows, after a collection."""
    os.kill(pid, signal.SIGUSR1)
    while not answer.exists():
        time.sleep(0.01)
    count = int(answer.read_text())
    answer.unlink()
    return count


def of_quarter(samples: list[dict[str, int]], quarter: int, what: str) -> float:
    """The median of what was seen in one quarter of the time."""
    seen = [one[what] for one in samples if what in one]
    return median(seen[len(seen) * quarter // 4 : len(seen) * (quarter + 1) // 4] or seen)


def report(samples: list[dict[str, int]], work: Load, seconds: float) -> bool:
    """Print the table; say whether everything has stayed as it was."""
    print(
        f"CPython {platform.python_version()}, compiled: {compiled()}, {seconds / 60:.0f} minutes, "
        f"{work.messages:,} messages, {sum(work.rounds.values()):,} rounds "
        f"({', '.join(f'{name} {count:,}' for name, count in work.rounds.items())})\n"
    )
    print(
        f"{'':10}"
        + "".join(f"{name:>15}" for name in ("1st quarter", "2nd", "3rd", "4th", "growth"))
    )
    flat = True
    for what, allowed in ALLOWED.items():
        quarters = [of_quarter(samples, quarter, what) for quarter in range(4)]
        growth = quarters[3] / quarters[1] - 1 if quarters[1] else 0.0
        flat = flat and growth <= allowed
        shown = "".join(f"{quarter:15,.0f}" for quarter in quarters)
        print(f"{what:10}{shown}{growth:15.1%}{'' if growth <= allowed else '   grows'}")
    for fault, count in Counter(work.faults).most_common(10):
        print(f"{count} times {fault}")
    return flat and not work.faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two samples")
    parser.add_argument("--directory", help="where the store lies; a new one under it")
    parser.add_argument("--json", help="file for all samples")
    options = parser.parse_args()
    samples: list[dict[str, int]] = []
    with tempfile.TemporaryDirectory(dir=options.directory) as made:
        data, objects, config = (Path(made, name) for name in ("data", "objects", "soak.toml"))
        config.write_text(CONFIG)
        command = (
            "--port",
            "0",
            "--data",
            str(data),
            "--config",
            str(config),
            "--log-level",
            "error",
        )
        with serving(__file__, "--broker", str(objects), *command) as (port, pid):
            work = Load(port)
            begun = time.monotonic()
            # A collection is an intervention, so there are few; memory is that between them.
            to_count = options.seconds / COUNTS
            while (now := time.monotonic() - begun) < options.seconds:
                samples.append({"at": round(now), **sample(pid, data)})
                if now >= to_count:
                    to_count += options.seconds / COUNTS
                    samples[-1]["objects"] = count_objects(pid, objects)
                if options.json:
                    Path(options.json).write_text(json.dumps(samples))
                time.sleep(options.every)
            work.stop()
    flat = report(samples, work, options.seconds)
    print("\nflat" if flat else "\nnot flat, or with faults")
    return 0 if flat else 1


def serve(objects: Path) -> None:
    """Be the broker, and write the number of its objects to a file on SIGUSR1."""
    from stompy_broker.cli import main as command  # noqa: PLC0415 -- in the broker's process only

    def count(*_: object) -> None:
        gc.collect()
        unready = objects.with_suffix(".new")
        unready.write_text(str(len(gc.get_objects())))
        unready.rename(objects)

    signal.signal(signal.SIGUSR1, count)
    command()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--broker"]:
        path = Path(sys.argv[2])
        del sys.argv[1:3]
        serve(path)
    sys.exit(main())
