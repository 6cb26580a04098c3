"""Many schedules in a real broker that is killed at random moments: none early, lost, or twice."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.broker.store.test_crash import drain, until_cut
from tests.support.process import BrokerProcess

import stompy

KEPT, LIVE = "/queue/kept", "/queue/live"
LONGEST = 3000
"""Milliseconds of the longest delay."""


class Ledger:
    """What the clients know, by the bodies of messages."""

    def __init__(self) -> None:
        self.due: dict[str, int] = {}  # of all that were sent
        self.accepted: set[str] = set()  # SEND or COMMIT receipted
        self.came: dict[str, int] = {}  # when one came first
        self.acked: set[str] = set()  # ACK receipted
        self.marked: set[str] = set()  # came with redelivered:true


def schedule(client: stompy.STOMPClient, ledger: Ledger, name: str, chance: random.Random) -> None:
    """Send messages for later, eight at a time, every other time in a transaction."""
    for number in range(1_000_000):
        transaction = client.transaction() if number % 2 else None
        receipts: list[str | None] = []
        bodies: list[str] = []
        for step in range(8):
            for destination in (KEPT, LIVE):
                body = f"{name}.{number}.{step}.{destination}"
                due = time.time_ns() // 1_000_000 + chance.randrange(1, LONGEST)
                ledger.due[body] = due
                bodies.append(body)
                headers, octets = {"x-deliver-at": due}, body.encode()
                if transaction is None:
                    asked = client.message(destination, octets, headers=headers, receipt=True)
                    receipts.append(asked)
                else:
                    transaction.message(destination, octets, headers=headers)
        if transaction is not None:
            receipts.append(transaction.commit(receipt=True))
        for receipt in receipts:
            assert receipt is not None
            client.wait_for_receipt(receipt, timeout=20)
        ledger.accepted.update(bodies)


def consume(client: stompy.STOMPClient, ledger: Ledger) -> None:
    """Take what comes, and settle it."""
    client.subscribe(LIVE, "client-individual", send_acks=False)
    for frame in client:
        ledger.came.setdefault(frame.text, time.time_ns() // 1_000_000)
        if frame["redelivered"] == "true":
            ledger.marked.add(frame.text)
        receipt = client.send("ACK", {"id": frame["ack"]}, receipt=True)
        assert receipt is not None
        client.wait_for_receipt(receipt, timeout=20)
        assert frame.text not in ledger.acked, "it came again after its ACK was safe"
        ledger.acked.add(frame.text)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_none_comes_early_none_is_lost_and_none_comes_twice(tmp_path: Path, seed: int) -> None:
    chance, ledger = random.Random(seed), Ledger()
    for number in range(3 if seed == 1 else 8):
        broker = BrokerProcess(tmp_path / "data")
        threads: list[threading.Thread] = []
        for part in "ab":
            own, name = random.Random(chance.random()), f"{number}{part}"

            def send(
                client: stompy.STOMPClient, name: str = name, own: random.Random = own
            ) -> None:
                schedule(client, ledger, name, own)

            threads.append(until_cut(send, broker.url))
        threads.append(until_cut(lambda client: consume(client, ledger), broker.url))
        # The moment of the kill is the subject of this test, not something to wait for.
        before, deadline = len(ledger.acked), time.monotonic() + chance.uniform(1.0, 2.0)
        while time.monotonic() < deadline or len(ledger.acked) == before:
            if not all(thread.is_alive() for thread in threads):
                break
            time.sleep(0.01)
        broker.kill()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
    # Everything falls due while the broker is down, or soon after.
    broker = BrokerProcess(tmp_path / "data")
    try:
        last = max(ledger.due.values())
        while time.time_ns() // 1_000_000 <= last + 500:
            time.sleep(0.05)
        kept = Counter(frame.text for frame in drain(broker.url, KEPT))
        live = Counter(frame.text for frame in drain(broker.url, LIVE))
    finally:
        broker.kill()
    accepted = {body for body in ledger.accepted if body.endswith(KEPT)}
    assert len(accepted) > 50
    assert accepted <= set(kept) <= set(ledger.due)
    assert set(kept.values()) == {1}
    # Beside what was settled, each of the others is there once.
    assert ledger.accepted - accepted <= set(live) | set(ledger.came)
    assert not ledger.acked & set(live)
    assert set(live.values()) <= {1}
    early = {body: ledger.due[body] - came for body, came in ledger.came.items()}
    assert {body: by for body, by in early.items() if by > 0} == {}
