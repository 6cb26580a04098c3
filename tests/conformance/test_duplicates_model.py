"""What is sent twice is taken once: random sends, transactions, times and restarts, and a model."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from tests.support.wire import Peer

import stompy_broker

WINDOW, TTL = 6, 60
POLICY = [{"match": "/queue/>", "dedup_window": WINDOW, "dedup_ttl": float(TTL)}]


class Model:
    """The last ids, each with when it ends, and what was taken."""

    def __init__(self) -> None:
        self.ids: list[tuple[str, float]] = []
        self.taken: list[str] = []

    def send(self, value: str, now: float, ttl: float) -> bool:
        """Whether it is dropped."""
        for known in [one for one in self.ids if one[0] == value]:
            if known[1] > now:
                return True
            self.ids.remove(known)
        self.ids = [*self.ids, (value, now + ttl)][-WINDOW:]
        self.taken.append(value)
        return False


def frame(value: str, ttl: int, transaction: str, receipt: str) -> str:
    lines = f"dedup-id:{value}\n" + (f"dedup-ttl:{ttl * 1000}\n" if ttl else "")
    lines += f"transaction:{transaction}\n" if transaction else f"receipt:{receipt}\n"
    return f"SEND\ndestination:/queue/q\n{lines}\n{value}\0"


@pytest.mark.parametrize("seed", range(6))
def test_a_model_says_the_same(tmp_path: Path, seed: int) -> None:
    random, model = Random(seed), Model()
    begin, now = datetime(2030, 1, 1, tzinfo=UTC), 0.0
    for _ in range(3):  # each a start on the same directory
        with ExitStack() as stack:
            broker = stack.enter_context(
                stompy_broker.running(
                    {"store": {"data": str(tmp_path / "data")}},
                    policy=POLICY,
                    time=begin + timedelta(seconds=now),
                )
            )
            peer = stack.enter_context(Peer.open(broker.port))
            for step in range(40):
                act = random.random()
                if act < 0.15:
                    seconds = random.choice([1, 20, 61])
                    broker.time.advance(f"{seconds} s")
                    now += seconds
                elif act < 0.35:
                    some = [random.choice("abcdefghij") for _ in range(random.randrange(1, 6))]
                    commits = random.random() < 0.7
                    peer.send("BEGIN\ntransaction:t\n\n\0")
                    for value in some:
                        peer.send(frame(value, 0, "t", ""))
                    word = "COMMIT" if commits else "ABORT"
                    peer.send(f"{word}\ntransaction:t\nreceipt:{step}\n\n\0")
                    receipt = peer.expect("RECEIPT")
                    if commits:
                        dropped = sum([model.send(value, now, TTL) for value in some])
                        assert receipt["duplicates"] == str(dropped)
                else:
                    value, ttl = random.choice("abcdefghij"), random.choice([0, 0, 5])
                    peer.send(frame(value, ttl, "", str(step)))
                    receipt = peer.expect("RECEIPT")
                    assert ("duplicate" in receipt) is model.send(value, now, ttl or TTL)
            peer.sync()
    with (
        stompy_broker.running(
            {"store": {"data": str(tmp_path / "data")}}, time=begin + timedelta(seconds=now)
        ) as broker,
        Peer.open(broker.port) as peer,
    ):
        peer.send("SUBSCRIBE\nid:0\ndestination:/queue/q\n\n\0")
        assert [body.decode() for body in peer.bodies(len(model.taken))] == model.taken
