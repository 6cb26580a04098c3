"""A real broker process, killed at random moments under load (promises 1, 2, 5, 9 and 12).

Whatever was promised before a kill has to hold after all of them.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.process import BrokerProcess

import stompy

IN, OUT_A, OUT_B, HELD = "/queue/in", "/queue/out.a", "/queue/out.b", "/queue/held"
END = "this was the last one"


class Ledger:
    """What the clients know: what was promised to them, and what they left open."""

    def __init__(self) -> None:
        self.accepted: set[str] = set()  # SEND receipted
        self.acked: set[str] = set()  # ACK receipted
        self.tried: set[str] = set()  # ACK sent, fate unknown
        self.moved: set[str] = set()  # COMMIT receipted
        self.moving: set[str] = set()  # COMMIT sent, fate unknown
        self.held: set[str] = set()  # delivered long before the kill, never settled


def until_cut(work: Callable[[stompy.STOMPClient], None], url: str) -> threading.Thread:
    """Run a client on a thread until the broker is killed under it."""

    def run() -> None:
        try:
            with stompy.connect(url, heart_beat=(0, 0)) as client:
                work(client)
        except stompy.STOMPConnectionError:
            pass

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def produce(ledger: Ledger, name: str) -> Callable[[stompy.STOMPClient], None]:
    def work(client: stompy.STOMPClient) -> None:
        for number in range(1_000_000):
            receipts = {}
            for step in range(8):
                body = f"{name}.{number * 8 + step:09d}"
                receipts[client.message(IN, body.encode(), receipt=True)] = body
            for receipt, body in receipts.items():
                assert receipt is not None
                client.wait_for_receipt(receipt, timeout=20)
                ledger.accepted.add(body)

    return work


def consume(ledger: Ledger) -> Callable[[stompy.STOMPClient], None]:
    def work(client: stompy.STOMPClient) -> None:
        client.subscribe(IN, "client-individual", send_acks=False, headers={"prefetch-count": 8})
        for frame in client:
            ledger.tried.add(frame.text)
            receipt = client.send("ACK", {"id": frame["ack"]}, receipt=True)
            assert receipt is not None
            client.wait_for_receipt(receipt, timeout=20)
            ledger.acked.add(frame.text)

    return work


def transform(ledger: Ledger) -> Callable[[stompy.STOMPClient], None]:
    """Consume, transform, produce: all of it or nothing."""

    def work(client: stompy.STOMPClient) -> None:
        client.subscribe(IN, "client-individual", send_acks=False, headers={"prefetch-count": 8})
        for frame in client:
            transaction = client.transaction()
            transaction.ack(frame["ack"])
            transaction.message(OUT_A, frame.Body)
            transaction.message(OUT_B, frame.Body)
            ledger.moving.add(frame.text)
            receipt = transaction.commit(receipt=True)
            assert receipt is not None
            client.wait_for_receipt(receipt, timeout=20)
            ledger.moved.add(frame.text)

    return work


def hold(ledger: Ledger, name: str) -> Callable[[stompy.STOMPClient], None]:
    """Take messages and settle none of them."""

    def work(client: stompy.STOMPClient) -> None:
        for number in range(5):
            receipt = client.message(HELD, f"{name}.{number}".encode(), receipt=True)
            assert receipt is not None
            client.wait_for_receipt(receipt, timeout=20)
        client.subscribe(HELD, "client-individual", send_acks=False)
        for frame in client:
            ledger.held.add(frame.text)

    return work


def drain(url: str, destination: str) -> list[stompy.STOMPFrame]:
    """Everything that is in a queue."""
    frames = []
    with stompy.connect(url) as client:
        client.message(destination, END, priority=0)  # behind everything else
        client.subscribe(destination)
        while (frame := client.recv(timeout=60)) is not None and frame.text != END:
            frames.append(frame)
    return frames


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_kills_at_random_moments(tmp_path: Path, seed: int) -> None:
    chance, ledger = random.Random(seed), Ledger()
    # Fewer than max_deliveries, or what is held becomes dead letters.
    rounds = 3 if seed == 1 else 8
    for number in range(rounds):
        broker = BrokerProcess(tmp_path / "data")
        threads = [
            until_cut(produce(ledger, f"p{number}a"), broker.url),
            until_cut(produce(ledger, f"p{number}b"), broker.url),
            until_cut(hold(ledger, f"h{number}"), broker.url),
            until_cut(consume(ledger), broker.url),
            until_cut(transform(ledger), broker.url),
        ]
        # The moment of the kill is the subject of this test, not something to wait for.
        deadline = time.monotonic() + chance.uniform(0.5, 1.2)
        while time.monotonic() < deadline or len(ledger.held) < 5:
            time.sleep(0.01)
        broker.kill()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()

    broker = BrokerProcess(tmp_path / "data")
    try:
        left = [frame.text for frame in drain(broker.url, IN)]
        out_a = [frame.text for frame in drain(broker.url, OUT_A)]
        out_b = [frame.text for frame in drain(broker.url, OUT_B)]
        held = drain(broker.url, HELD)
    finally:
        broker.kill()

    assert len(ledger.accepted) > 50
    assert ledger.acked
    assert ledger.moved
    # A receipted SEND is there, unless it was settled since.
    assert ledger.accepted <= set(left) | ledger.tried | set(out_a)
    # A receipted ACK never comes back.
    assert not ledger.acked & set(left)
    assert not ledger.acked & set(out_a)
    # A transaction is there whole or not at all, receipted or not.
    assert sorted(out_a) == sorted(out_b)
    assert len(out_a) == len(set(out_a))
    assert ledger.moved <= set(out_a) <= ledger.moving
    assert not set(out_a) & set(left)
    # Order per producer holds.
    by_producer: dict[str, list[str]] = defaultdict(list)
    for body in left:
        by_producer[body.partition(".")[0]].append(body)
    for bodies in by_producer.values():
        assert bodies == sorted(set(bodies))
    # What was not acknowledged comes back marked.
    seen = {frame.text: frame for frame in held}
    assert ledger.held <= set(seen)
    for body in ledger.held:
        assert seen[body]["redelivered"] == "true"


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        ("PRAGMA user_version = 99", ("version 99", "install a newer stompy-broker")),
        ("damage", ("damaged", "store check", "store export")),
        ("PRAGMA application_id = 1", ("not a database of stompy-broker", "another directory")),
    ],
)
def test_a_directory_that_cannot_be_used_is_refused_with_the_way_out(
    tmp_path: Path, harm: str, words: tuple[str, ...]
) -> None:
    data = tmp_path / "data"
    with BrokerProcess(data) as broker:
        with stompy.connect(broker.url) as client:
            for number in range(200):
                client.message("/queue/q", b"x" * 1000, receipt=number == 199 and "last")
            client.wait_for_receipt("last")
        assert broker.stop() == 0
    file = data / "messages.db"
    if harm == "damage":
        with file.open("r+b") as stream:
            stream.seek(file.stat().st_size // 2 & ~4095)
            stream.write(b"\xa5" * 32768)
    else:
        with contextlib.closing(sqlite3.connect(file)) as connection:
            connection.execute(harm)
    before = file.read_bytes()
    refused = start(data)
    assert refused.returncode == 1
    assert str(file) in refused.stderr
    assert all(word in refused.stderr for word in words), refused.stderr
    assert "Traceback" not in refused.stderr
    if harm != "damage":  # which is found when it is open
        assert file.read_bytes() == before


def start(data: Path) -> subprocess.CompletedProcess[str]:
    """Start a broker that cannot start."""
    return subprocess.run(
        [sys.executable, "-m", "stompy_broker", "--port", "0", "--data", data],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_second_broker_on_a_directory_is_refused(tmp_path: Path) -> None:
    broker = BrokerProcess(tmp_path / "data")
    try:
        second = start(tmp_path / "data")
    finally:
        broker.kill()
    assert second.returncode == 1
    assert str(broker.process.pid) in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.parametrize("ack", ["client-individual", "auto"])
def test_a_delivery_of_the_last_moment_leaves_no_innocent_message(tmp_path: Path, ack: str) -> None:
    """5: `redelivered:false` is a promise, however soon after a delivery the broker dies."""
    broker = BrokerProcess(tmp_path / "data")
    with stompy.connect(broker.url) as client:
        for number in range(3):
            receipt = client.message("/queue/last", f"{number}", receipt=True)
            assert receipt is not None
            client.wait_for_receipt(receipt)
        client.subscribe("/queue/last", ack, send_acks=False)
        frame = client.recv(timeout=10)
        broker.kill()
    assert frame is not None
    assert (frame.text, frame["redelivered"]) == ("0", "false")
    # Also when an orderly stop came in between.
    BrokerProcess(tmp_path / "data").stop()
    broker = BrokerProcess(tmp_path / "data")
    try:
        with stompy.connect(broker.url) as client:
            client.message("/queue/last", "new")
        found = {frame.text: frame["redelivered"] for frame in drain(broker.url, "/queue/last")}
    finally:
        broker.kill()
    assert found.pop("new") == "false"
    assert set(found.values()) <= {"true"}
    if ack != "auto":
        assert len(found) == 3
