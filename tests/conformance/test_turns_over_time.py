"""Groups, selectors, transactions, delays and lost clients, over sockets and in no time at all.

Random schedules against a whole broker whose time is moved by hand. What is held: nothing is lost,
nothing comes twice unless it says so, nothing comes early, a group keeps its order and is with one
consumer, and in the end everything is settled. `tests/support/turns_model.py` holds one queue to
more than that.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from tests.support.wire import Frame, Peer, fast_config, unique, until

import stompy_broker
from stompy_broker import RunningBroker

SCHEDULES = int(os.environ.get("STOMPY_SCHEDULES", "150")) // 30
FIRST = int(os.environ.get("STOMPY_SEED", "0"))

STEPS = 60


@dataclass(eq=False)
class Sent:
    """A message, and where it should be."""

    number: int
    group: str
    due: float
    entered: float
    later: bool = False
    state: str = "waiting"
    holder: Worker | None = None
    ack: str = ""
    came: int = 0


@dataclass(eq=False)
class Worker:
    """A consumer with a connection of its own."""

    peer: Peer
    in_transaction: list[Sent] = field(default_factory=list)

    def drain(self) -> list[Frame]:
        """Read what came so far. What a settled delivery makes room for comes behind a receipt."""
        frames = []
        for _ in range(2):
            receipt = unique("r")
            self.peer.send(f"SEND\ndestination:/topic/nobody\nreceipt:{receipt}\n\n\0")
            while (frame := self.peer.read()).get("receipt-id") != receipt:
                assert frame.command == "MESSAGE", frame.raw
                frames.append(frame)
        return frames


class Scene:
    """A queue of a broker, its consumers, and what was sent to it."""

    def __init__(self, broker: RunningBroker, random: Random) -> None:
        self.broker = broker
        self.random = random
        self.sender = Peer.open(broker.port)
        self.workers: list[Worker] = []
        self.sent: list[Sent] = []
        self.groups = random.choice([0, 1, 3])
        self.chooses = random.random() < 0.5
        self.ranks = random.random() < 0.5

    @property
    def now(self) -> float:
        """The broker's time."""
        return self.broker.time.now.timestamp()

    def held(self) -> list[Sent]:
        """What consumers have, and have not settled in a transaction."""
        return [
            one
            for one in self.sent
            if one.state == "held"
            and one.holder is not None
            and one not in one.holder.in_transaction
        ]

    # -- what comes ---------------------------------------------------------------------------

    def look(self) -> None:
        """Read what came to everybody, and hold it to the rules."""
        for worker in self.workers * 2:  # what the last one did may be for the first one
            for frame in worker.drain():
                self.take(worker, frame)

    def take(self, worker: Worker, frame: Frame) -> None:
        sent = self.sent[int(frame.body)]
        told = f"{sent} to {worker}: {frame.raw!r}"
        assert sent.state == "waiting", told
        assert self.now >= sent.due, told
        assert frame["redelivered"] == ("true" if sent.came else "false"), told
        assert int(frame["delivery-count"]) == sent.came + 1, told
        if sent.group:
            others = [one for one in self.sent if one.group == sent.group]
            at_work = {one.holder for one in others if one.state == "held"}
            assert at_work <= {worker}, told
            earlier = [one for one in others if one.state == "waiting" and self.before(one, sent)]
            assert not earlier, (told, earlier)
        sent.state, sent.holder, sent.ack = "held", worker, frame["ack"]

    def before(self, one: Sent, other: Sent) -> bool:
        """Whether a message of a group was in the queue before another one."""
        if one.due > self.now and not one.came:
            return False  # it has not come yet
        if one.entered == other.entered and one.later != other.later:
            return False  # nobody can tell
        return (one.entered, one.number) < (other.entered, other.number)

    def back(self, sent: Sent, delay: float = 0.0) -> None:
        """Have a message wait again."""
        sent.came += 1
        sent.state, sent.holder = "waiting", None
        sent.due = self.now + delay if delay else 0.0

    # -- steps --------------------------------------------------------------------------------

    def send(self, *headers: str, delay: int = 0, commit: bool = True) -> None:
        random = self.random
        group = f"g{random.randrange(self.groups)}" if self.groups and random.random() < 0.8 else ""
        lines = [*headers, f"kind:{random.choice('ab')}"]
        if group:
            lines.append(f"JMSXGroupID:{group}")
        if self.ranks:
            lines.append(f"priority:{random.choice([4, 4, 9])}")
        due = 0.0
        if delay:
            lines.append(f"x-delay:{delay * 1000}")
            due = self.now + delay
        number = len(self.sent)
        text = "".join(f"{line}\n" for line in lines)
        self.sender.send(f"SEND\ndestination:/queue/q\n{text}\n{number}\0")
        sent = Sent(number, group, due, due or self.now, later=bool(delay))
        sent.state = "waiting" if commit else "undone"
        self.sent.append(sent)

    def step_send(self) -> None:
        for _ in range(self.random.randrange(1, 4)):
            self.send()

    def step_later(self) -> None:
        self.send(delay=self.random.randrange(1, 20))

    def step_transaction(self) -> None:
        """Sends that happen together, or not at all."""
        commit = self.random.random() < 0.6
        self.sender.send("BEGIN\ntransaction:t\n\n\0")
        for _ in range(self.random.randrange(1, 4)):
            self.send("transaction:t", commit=commit)
        self.sender.sync()
        self.sender.send(f"{'COMMIT' if commit else 'ABORT'}\ntransaction:t\n\n\0")

    def step_work(self) -> None:
        """Somebody comes."""
        if len(self.workers) >= 3:
            return
        random, worker = self.random, Worker(Peer.open(self.broker.port))
        lines = ["ack:client-individual", f"prefetch-count:{random.randrange(1, 4)}"]
        if self.chooses and random.random() < 0.5:
            lines.append("selector:kind = 'a'")
        if self.ranks:
            lines.append(f"x-priority:{random.randrange(3)}")
        self.workers.append(worker)
        text = "".join(f"{line}\n" for line in lines)
        worker.peer.send(f"SUBSCRIBE\nid:s\ndestination:/queue/q\n{text}\n\0")

    def settle(self, command: str, *headers: str) -> Sent | None:
        held = self.held()
        if not held:
            return None
        sent = self.random.choice(held)
        assert sent.holder is not None
        text = "".join(f"{line}\n" for line in headers)
        sent.holder.peer.send(f"{command}\nid:{sent.ack}\n{text}\n\0")
        return sent

    def step_ack(self) -> None:
        if sent := self.settle("ACK"):
            sent.state, sent.holder = "settled", None

    def step_nack(self) -> None:
        if sent := self.settle("NACK", "delay:0"):
            self.back(sent)

    def step_delay(self) -> None:
        delay = self.random.randrange(1, 9)
        if sent := self.settle("NACK", f"delay:{delay * 1000}"):
            self.back(sent, delay)

    def step_dead(self) -> None:
        if sent := self.settle("NACK", "requeue:false"):
            sent.state, sent.holder = "dead", None

    def step_together(self) -> None:
        """ACKs that happen together, or not at all."""
        workers = [one.holder for one in self.held() if one.holder is not None]
        if not workers:
            return
        worker, commit = self.random.choice(workers), self.random.random() < 0.5
        worker.peer.send("BEGIN\ntransaction:w\n\n\0")
        mine = [one for one in self.held() if one.holder is worker]
        for sent in mine:
            worker.peer.send(f"ACK\nid:{sent.ack}\ntransaction:w\n\n\0")
        worker.in_transaction += mine
        self.look()
        worker.peer.send(f"{'COMMIT' if commit else 'ABORT'}\ntransaction:w\n\n\0")
        worker.in_transaction.clear()
        for sent in mine if commit else ():
            sent.state, sent.holder = "settled", None

    def step_lose(self) -> None:
        """Somebody's connection is lost, perhaps in the middle of a transaction."""
        if not self.workers:
            return
        worker = self.random.choice(self.workers)
        if self.random.random() < 0.5:
            worker.peer.send("BEGIN\ntransaction:w\n\n\0")
            for sent in [one for one in self.sent if one.holder is worker]:
                worker.peer.send(f"ACK\nid:{sent.ack}\ntransaction:w\n\n\0")
        for frame in worker.drain():
            self.take(worker, frame)
        self.workers.remove(worker)
        connections = self.broker.connections()
        worker.peer.close()
        until(lambda: self.broker.connections() < connections, "the broker to see that")
        for sent in self.sent:
            if sent.holder is worker:
                self.back(sent)

    def step_wait(self) -> None:
        self.broker.time.advance(self.random.randrange(1, 12))

    def run(self) -> None:
        """Carry out a schedule, and then let everything end."""
        kinds = {
            self.step_send: 12,
            self.step_later: 3,
            self.step_transaction: 3,
            self.step_work: 5,
            self.step_ack: 12,
            self.step_nack: 5,
            self.step_delay: 4,
            self.step_dead: 1,
            self.step_together: 3,
            self.step_lose: 2,
            self.step_wait: 5,
        }
        for step in self.random.choices(list(kinds), list(kinds.values()), k=STEPS):
            step()
            self.sender.sync()
            self.look()
        self.end()

    def end(self) -> None:
        """Let whoever takes everything settle what is left, as time passes."""
        while self.workers:
            self.workers[0].drain()
            worker = self.workers.pop()
            worker.peer.close()
        until(lambda: self.broker.connections() == 1, "everybody to go")
        for sent in self.sent:
            if sent.state in ("held", "waiting"):
                sent.state, sent.holder = "waiting", None
        last = Worker(Peer.open(self.broker.port))
        last.peer.send("SUBSCRIBE\nid:s\ndestination:/queue/q\nack:client-individual\n\n\0")
        found: list[int] = []
        for _ in range(40):
            for frame in last.drain():
                found.append(int(frame.body))
                last.peer.send(f"ACK\nid:{frame['ack']}\n\n\0")
            self.broker.time.advance(1)
        expected = [one.number for one in self.sent if one.state == "waiting"]
        assert sorted(found) == expected
        last.peer.close()
        self.sender.close()
        row = next(one for one in self.broker.queues() if one.name == "q")
        assert (row.ready, row.unacked, row.delayed) == (0, 0, 0)


@contextmanager
def broker_of(random: Random, directory: Path) -> Iterator[RunningBroker]:
    """A broker with a store, or without."""
    data = str(directory) if random.random() < 0.5 else ""
    policy = [{"match": "/queue/q", "max_deliveries": -1, "redelivery_delay": 0}]
    config = fast_config(store={"data": data}, policy=policy)
    with stompy_broker.running(config, time="virtual") as broker:
        yield broker


@pytest.mark.timeout(60 + 5 * SCHEDULES)
def test_random_schedules(tmp_path: Path) -> None:
    for seed in range(FIRST, FIRST + SCHEDULES):
        random = Random(seed)
        with broker_of(random, tmp_path / str(seed)) as broker:
            try:
                Scene(broker, random).run()
            except BaseException as error:
                error.add_note(f"seed {seed}")
                raise
