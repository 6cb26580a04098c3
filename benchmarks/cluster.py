"""Three brokers on three NATS servers, beside a broker that is alone and beside RabbitMQ.

RabbitMQ has three nodes and quorum queues (``apt install rabbitmq-server``; left out if it is not
there). All servers run at once on this machine, each scenario runs on all of them in turn, and the
columns *owner* and *front* are the same cluster: the client is connected to the broker that owns
the queue, or to another one. Processor time is that of the processes which have the role.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import foreign
import load
from members import Trio, load_average, nats_program, trio
from serving import broker, form, serving

ALONE, OWNER, FRONT, RABBIT = "alone", "owner", "front", "RabbitMQ x 3"

WHOLE = {ALONE, OWNER, FRONT}

PREFETCH = 32
"""Of the consumer that sees an owner being killed."""

# -- who is measured --------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """One side of a comparison.

    Attributes:
        port: where clients connect to.
        roles: process ids by what they are for.
        destination: makes a queue that nobody has used.
        extra: header lines of each SEND and SUBSCRIBE.
    """

    port: int
    roles: Mapping[str, int]
    destination: Callable[[], str]
    extra: bytes = b""

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(self.roles.values())


class Numbered:
    """Makes queues that nobody has used."""

    def __init__(self) -> None:
        self._last = 0

    def __call__(self) -> str:
        self._last += 1
        return f"/queue/bench.{self._last}"


def cluster_targets(members: Trio) -> dict[str, Target]:
    """The cluster twice: at the owner of a queue, and through a front."""
    owners = members.settled()
    name = owners[0]
    queue = members.queue_of(name, owners)
    owner, front, third = members.roles(queue, owners)
    roles = {"owner": owner.pid, "front": front.pid, "third": third.pid}
    roles |= {f"nats {number}": pid for number, pid in enumerate(members.servers)}

    def destination() -> str:
        return members.queue_of(name, owners)

    return {
        OWNER: Target(owner.port, roles, destination),
        FRONT: Target(front.port, roles, destination),
    }


def all_targets(
    stack: ExitStack, members: Trio, top: Path, notes: list[str], *, ours: bool
) -> dict[str, Target]:
    data = top / "alone"
    port, pid = stack.enter_context(serving(*broker(data=data)))
    targets = {ALONE: Target(port, {"owner": pid}, Numbered()), **cluster_targets(members)}
    absent = "RabbitMQ was left out" if ours else foreign.missing("RabbitMQ")
    if absent:
        notes.append(absent)
        return targets
    place = top / "rabbitmq"
    place.mkdir()
    rabbits = stack.enter_context(foreign.rabbitmq_trio(place))
    first = rabbits.nodes[0][0]
    load.durable(first, 1, "/queue/three", 1, window=1, extra=foreign.QUORUM)
    kind, nodes = rabbits.queues()["three"]
    if (kind, nodes) != ("quorum", 3):
        raise RuntimeError(f"RabbitMQ keeps its queue as {kind} on {nodes} nodes")
    roles = {f"node {number}": pid for number, (_, pid) in enumerate(rabbits.nodes)}
    targets[RABBIT] = Target(first, roles, Numbered(), foreign.QUORUM)
    return targets


# -- scenarios that are compared --------------------------------------------------------------

Results = dict[str, load.Result]


@dataclass(frozen=True)
class Scenario:
    """``run`` is given a target and how many messages; ``foreign``: whether RabbitMQ has it too."""

    name: str
    messages: int
    run: Callable[[Target, int], Results]
    foreign: bool = True


def durable(name: str, messages: int, window: int, *, receipts: bool = False) -> Scenario:
    def run(target: Target, count: int) -> Results:
        sent, taken = load.durable(
            target.port,
            target.pids,
            target.destination(),
            count,
            window=window,
            extra=target.extra,
            receipts=receipts,
        )
        if receipts:
            return {name: taken}
        return {name: sent} if window == 1 else {name: sent, f"{name}: drained": taken}

    return Scenario(name, messages, run)


def passing(name: str, messages: int, ack: str) -> Scenario:
    def run(target: Target, count: int) -> Results:
        destination, extra = target.destination(), b"persistent:false\n"
        result = load.flow(target.port, target.pids, destination, count, ack=ack, extra=extra)
        return {name: result}

    return Scenario(name, messages, run, foreign=False)


SCENARIOS = (
    durable("durable, window 256", 20_000, 256),
    durable("durable, window 1", 500, 1),
    durable("durable, a receipt for each ACK", 20_000, 1024, receipts=True),
    passing("in passing", 60_000, "auto"),
    passing("in passing, client-individual", 40_000, "client-individual"),
)


class Comparison:
    """What the scenarios gave: for each row and each target the runs, in order."""

    def __init__(self, targets: Mapping[str, Target], notes: list[str]) -> None:
        self.targets = dict(targets)
        self.rows: defaultdict[str, dict[str, list[load.Result]]] = defaultdict(dict)
        self._notes = notes

    def run(self, scenario: Scenario, rounds: int, share: float) -> None:
        """The scenario on every target in turn, so many times, after a short one to warm up."""
        messages = max(1, int(scenario.messages * share))
        for round_ in range(rounds + 1):
            names = list(self.targets)
            for name in names if round_ % 2 else reversed(names):
                if name == RABBIT and not scenario.foreign:
                    continue
                size = messages if round_ else (messages + 3) // 4
                try:
                    results = scenario.run(self.targets[name], size)
                except (OSError, EOFError, RuntimeError) as error:
                    self._notes.append(f"{name} failed in {scenario.name!r}: {error!r}")
                    continue
                for row, result in results.items() if round_ else ():
                    self.rows[row].setdefault(name, []).append(result)

    def cpu(self, row: str, target: str, *roles: str) -> float:
        """Microseconds of a message in processes whose roles begin so; of all if none is named."""
        every = list(self.targets[target].roles)
        counted = [not roles or role.startswith(roles) for role in every]
        return median(
            1e6
            * sum(spent for spent, on in zip(run.cpu_each, counted, strict=True) if on)
            / run.messages
            for run in self.rows[row][target]
        )

    def ratio(self, row: str, one: str, other: str) -> float:
        """Of the rates: the median of that of each round."""
        runs = self.rows[row]
        pairs = zip(runs[one], runs[other], strict=False)
        return median(mine.rate / theirs.rate for mine, theirs in pairs)


def print_rates(found: Comparison) -> None:
    names = list(found.targets)
    print(f"\n{'messages a second':34}", *(f"{name:>12}" for name in names), end="")
    print(f" {'owner/Rabbit':>13} {'owner/alone':>12} {'front/owner':>12}")
    for row, runs in found.rows.items():
        print(f"{row:34}", end="")
        for name in names:
            rates = [run.rate for run in runs.get(name, ())]
            print(f" {median(rates):12,.0f}" if rates else f" {'-':>12}", end="")
        for width, one, other in ((14, OWNER, RABBIT), (13, OWNER, ALONE), (13, FRONT, OWNER)):
            both = one in runs and other in runs
            print(
                f"{found.ratio(row, one, other):{width}.2f}" if both else f"{'-':>{width}}", end=""
            )
        print()


def cpu_row(found: Comparison, row: str) -> dict[str, float]:
    """Processor time of a message, in microseconds, and what follows from it.

    *model* is how much faster three brokers are than one, if groups are spread evenly and clients
    connect anywhere: then a third of the messages comes to its owner at once.
    """
    at_owner = found.cpu(row, OWNER, "owner", "front")
    through = found.cpu(row, FRONT, "owner", "front")
    figures = {
        "alone": found.cpu(row, ALONE),
        "owner": at_owner,
        "front": through,
        "of it front": found.cpu(row, FRONT, "front"),
        "ratio": through / at_owner,
        "model": 3 * at_owner / (at_owner / 3 + through * 2 / 3),
        "nats": found.cpu(row, OWNER, "nats"),
        "all": found.cpu(row, OWNER),
    }
    if RABBIT in found.rows[row]:
        figures["Rabbit"] = found.cpu(row, RABBIT)
    return figures


CPU_HEADS = ("alone", "owner", "front", "of it front", "ratio", "model", "nats", "all", "Rabbit")


def print_cpu(found: Comparison) -> None:
    print(f"\n{'microseconds of CPU a message':34}", *(f"{head:>11}" for head in CPU_HEADS))
    for row in found.rows:
        if not set(found.rows[row]) >= WHOLE:
            continue
        figures = cpu_row(found, row)
        cells = [
            f"{figures[head]:11.2f}" if head in figures else f"{'-':>11}" for head in CPU_HEADS
        ]
        print(f"{row:34}", *cells)


# -- latency ----------------------------------------------------------------------------------


def latencies(targets: Mapping[str, Target], rounds: int, share: float) -> dict[str, list[float]]:
    """Median and 99th percentile in milliseconds, at 1,000 messages a second."""
    figures: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for _ in range(rounds):
        for name, target in targets.items():
            if name == RABBIT:
                continue
            times = load.latency(
                target.port, target.destination(), rate=1000, seconds=max(0.1, 3 * share)
            )
            figures[name].append((times[len(times) // 2], times[len(times) * 99 // 100]))
    return {
        name: [median(one[part] for one in runs) for part in (0, 1)]
        for name, runs in figures.items()
    }


# -- many queues ------------------------------------------------------------------------------


def many_queues(port: int, name: str, count: int) -> float:
    """Seconds until so many queues have been made, each with a message that is safe."""
    extra = b"persistent:true\nreceipt:r\n"
    frames = [load.send_frame(f"/queue/{name}.{i}", b"x" * 100, extra) for i in range(count)]
    with load.Peer(port) as peer:
        start, answered = time.perf_counter(), 0
        peer.send(b"".join(frames))
        while answered < count:
            answered += peer.chunk().count(b"\0")
        return time.perf_counter() - start


def measure_queues(
    targets: Mapping[str, Target], servers: Sequence[int], rounds: int, count: int
) -> dict[str, object]:
    """A thousand queues at a time: seconds by target, and what servers grow by, in megabytes."""
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    before = [load.resident_bytes(pid) for pid in servers]
    grown: list[float] = []
    for round_ in range(rounds):
        for name in (ALONE, OWNER):
            now = [load.resident_bytes(pid) for pid in servers]
            seconds[name].append(many_queues(targets[name].port, f"many.{name}.{round_}", count))
            then = [load.resident_bytes(pid) for pid in servers]
            if name == OWNER:
                grown.append(max(b - a for a, b in zip(now, then, strict=True)) / 1e6)
    return {
        "seconds": {name: median(some) for name, some in seconds.items()},
        "a node before, MB": [round(one / 1e6, 1) for one in before],
        "a node grows by, MB": median(grown),
    }


# -- an owner is killed -----------------------------------------------------------------------


class Witness:
    """Does something again and again, and knows when it was done: its gaps are the pauses."""

    def __init__(self, work: Callable[[], None], pause: float) -> None:
        self.times = [time.perf_counter()]
        self._work, self._pause = work, pause
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.error: Exception | None = None

    def __enter__(self) -> Witness:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(load.TIMEOUT)

    def _run(self) -> None:
        try:
            while not self._end.wait(self._pause):
                self._work()
                self.times.append(time.perf_counter())
        except (OSError, EOFError, RuntimeError) as error:
            self.error = error

    def wait(self, moment: float) -> float:
        """Until it was done after a moment twice; gives the longest gap since shortly before.

        Raises:
            RuntimeError: it never was.
        """
        deadline = time.monotonic() + load.TIMEOUT
        while sum(one > moment for one in self.times) < 3:
            if self.error is not None or time.monotonic() > deadline:
                raise RuntimeError(f"nothing after the kill: {self.error!r}")
            time.sleep(0.02)
        times = [one for one in self.times if one > moment - 0.5]
        return max(b - a for a, b in pairwise(times))


def killed(members: Trio, waiting: int) -> tuple[float, float]:
    """Kill the owner of a queue: for how long a producer and a consumer elsewhere have to wait."""
    owners = members.settled()
    queue = members.queue_of(owners[0], owners)
    owner, front, third = members.roles(queue, owners)
    fill(owner.port, queue, waiting)
    with load.Peer(front.port) as producer, load.Peer(third.port) as consumer:
        frame = load.send_frame(queue, b"x" * 100, b"persistent:true\nreceipt:r\n")

        def send() -> None:
            producer.send(frame)
            producer.expect(b"RECEIPT")

        def take() -> None:
            found = load.ACK_HEADER.search(consumer.expect(b"MESSAGE"))
            assert found is not None
            consumer.send(b"ACK\nid:%b\n\n\0" % found[1])

        more = b"prefetch-count:%d\n" % PREFETCH
        consumer.send(load.subscribe_frame(queue, "client-individual", more))
        with Witness(send, 0.005) as sending, Witness(take, 0.005) as taking:
            time.sleep(1.0)
            moment = time.perf_counter()
            owner.end(signal.SIGKILL)
            pauses = sending.wait(moment), taking.wait(moment)
    drain(third.port, queue)
    owner.start()
    owner.wait_ready()
    return pauses


def fill(port: int, queue: str, waiting: int) -> None:
    frame = load.send_frame(queue, b"x" * 100, b"persistent:true\nreceipt:r\n")
    with load.Peer(port) as peer:
        for start in range(0, waiting, 1000):
            count = min(1000, waiting - start)
            peer.send(frame * count)
            while count:
                count -= peer.chunk().count(b"\0")


def drain(port: int, queue: str) -> None:
    """Take what is left, so that the next kill finds no more than it was meant to."""
    with load.Peer(port) as peer:
        peer.send(load.subscribe_frame(queue, "client-individual"))
        peer.socket.settimeout(2.0)
        with suppress(TimeoutError):
            while True:
                ids = load.ACK_HEADER.findall(peer.frame())
                peer.send(b"".join([b"ACK\nid:%b\n\n\0" % one for one in ids]))


def measure_kills(
    top: Path, silences: Sequence[float], sizes: Sequence[int], rounds: int
) -> list[dict[str, float]]:
    rows = []
    for silence in silences:
        place = top / f"silence-{silence:g}"
        place.mkdir()
        with trio(place, silence) as members:
            for waiting in sizes:
                pauses = [killed(members, waiting) for _ in range(rounds)]
                rows.append(
                    {
                        "silence": silence,
                        "waiting": waiting,
                        "producer": median(one for one, _ in pauses),
                        "consumer": median(one for _, one in pauses),
                        "longest": max(max(both) for both in pauses),
                    }
                )
    return rows


def print_kills(rows: Sequence[Mapping[str, float]]) -> None:
    print(f"\n{'owner killed':24} {'producer waits':>15} {'consumer waits':>15} {'longest':>9}")
    for row in rows:
        title = f"{row['waiting']:,.0f}, silence {row['silence']:g} s"
        print(f"{title:24}", end="")
        print(f" {row['producer']:13.2f} s {row['consumer']:13.2f} s {row['longest']:7.2f} s")


# -- all together -----------------------------------------------------------------------------

PARTS = ("beside", "latency", "queues", "kill")


def beside(
    targets: Mapping[str, Target], options: argparse.Namespace, notes: list[str]
) -> dict[str, object]:
    comparison = Comparison(targets, notes)
    for scenario in SCENARIOS:
        if options.only in scenario.name:
            comparison.run(scenario, options.rounds, options.share)
    rows = comparison.rows
    if not options.json:
        print_rates(comparison)
        print_cpu(comparison)
    return {
        "rates": {
            row: {name: [round(run.rate) for run in some] for name, some in runs.items()}
            for row, runs in rows.items()
        },
        "cpu": {row: cpu_row(comparison, row) for row in rows if set(rows[row]) >= WHOLE},
    }


def print_latencies(found: Mapping[str, Sequence[float]]) -> None:
    print(f"\n{'latency, ms':24} {'p50':>8} {'p99':>8}")
    for name, (half, most) in found.items():
        print(f"{name:24} {half:8.2f} {most:8.2f}")


def compare(top: Path, options: argparse.Namespace) -> dict[str, object]:
    """The parts that need a cluster beside others."""
    notes: list[str] = []
    found: dict[str, object] = {"notes": notes}
    with ExitStack() as stack:
        members = stack.enter_context(trio(top))
        targets = all_targets(stack, members, top, notes, ours=options.ours)
        if "beside" in options.parts:
            found["beside"] = beside(targets, options, notes)
        if "latency" in options.parts:
            found["latency"] = times = latencies(targets, options.rounds, options.share)
            if not options.json:
                print_latencies(times)
        if "queues" in options.parts:
            count = max(1, int(1000 * options.share))
            found["queues"] = told = measure_queues(targets, members.servers, options.rounds, count)
            if not options.json:
                print(f"\n{count} queues and their first messages: {told}")
    for note in () if options.json else notes:
        print(f"\nNote: {note}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=PARTS, help=f"of {', '.join(PARTS)}; all")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each kind")
    parser.add_argument("--share", type=float, default=1.0, help="of the messages of each run")
    parser.add_argument("--only", default="", help="scenarios with this in their names")
    parser.add_argument(
        "--silence", type=float, nargs="+", default=[3.0, 1.0], help="with which an owner is killed"
    )
    parser.add_argument(
        "--waiting", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="and how many wait"
    )
    parser.add_argument("--ours", action="store_true", help="leave RabbitMQ out")
    parser.add_argument("--directory", help="where stores are put, for the time being")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    found: dict[str, object] = {"form": form(), "server": nats_program()}
    if not options.json:
        print(f"{form()}; {nats_program()}; medians of {options.rounds} runs in turn; ", end="")
        print(f"load {load_average():.1f} at the start, {os.cpu_count()} cores", flush=True)
    with TemporaryDirectory(prefix="stompy-cluster-", dir=options.directory) as name:
        top = Path(name).resolve()
        if set(options.parts) - {"kill"}:
            place = top / "beside"
            place.mkdir()
            found |= compare(place, options)
        if "kill" in options.parts:
            rounds = min(options.rounds, 3)
            found["kills"] = kills = measure_kills(top, options.silence, options.waiting, rounds)
            if not options.json:
                print_kills(kills)
    found["load"] = load_average()
    print(json.dumps(found) if options.json else f"\nload {load_average():.1f} at the end")


if __name__ == "__main__":
    main()
