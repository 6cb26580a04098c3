"""Killed at random moments while messages fan out, die, expire, overflow and wait.

Whatever happened to a message, it is in exactly one place afterwards, once for each durable
subscriber, and the files are sound after each kill.
"""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.broker.store.test_crash import drain, until_cut
from tests.support.process import BrokerProcess
from tests.support.wire import unique

import stompy
from stompy_broker.store.inspection import inspected

SUBSCRIBERS = 3
SETTINGS = """
[[policy]]
match = "/queue/short"
max_length = 20
overflow = "drop-head"
overflow_to = "/queue/overflowed"

[[policy]]
match = "/queue/brief"
message_ttl = 50
expired_to = "/queue/expired"
"""
PADDING = "." * 600
"""So that a body is large enough to be shared."""

Accepted = dict[str, set[str]]


def fill(accepted: Accepted, destination: str, name: str) -> Callable[[stompy.STOMPClient], None]:
    """Send, and note what was accepted."""

    def work(client: stompy.STOMPClient) -> None:
        for number in range(1_000_000):
            bodies = [f"{name}.{number}.{step}" for step in range(8)]
            receipts = [
                client.message(destination, (body + PADDING).encode(), receipt=True)
                for body in bodies
            ]
            for receipt, body in zip(receipts, bodies, strict=True):
                assert receipt is not None
                client.wait_for_receipt(receipt, timeout=20)
                accepted[destination].add(body)

    return work


def reject(client: stompy.STOMPClient) -> None:
    """Make dead letters of every second message, and put the others off."""
    client.subscribe("/queue/bad", "client-individual", send_acks=False)
    for number, frame in enumerate(client):
        headers = {"requeue": "false"} if number % 2 else {"delay": "100"}
        client.send("NACK", {"id": frame["ack"], **headers})


def subscribe(url: str, number: int) -> list[str]:
    """Everything that waits for one durable subscriber, as the broker numbered it."""
    end = unique("end")
    with stompy.connect(url, headers={"client-id": f"c{number}"}) as client:
        client.subscribe("/topic/t", headers={"durable-subscription-name": "s"})
        client.message("/topic/t", end)
        texts = []
        while (frame := client.recv(timeout=60)) is not None and frame.text != end:
            texts.append(frame.text.rstrip("."))
        return [text for text in texts if text.startswith("r")]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [3, pytest.param(4, marks=pytest.mark.slow)])
def test_each_message_is_in_one_place(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    destinations = ("/topic/t", "/queue/bad", "/queue/short", "/queue/brief")
    accepted: Accepted = {destination: set() for destination in destinations}
    data = tmp_path / "data"
    rounds = 2 if seed == 3 else 6
    for number in range(rounds):
        with BrokerProcess(data, SETTINGS) as broker:
            if not number:
                for subscriber in range(SUBSCRIBERS):
                    assert subscribe(broker.url, subscriber) == []
            threads = [
                until_cut(fill(accepted, destination, f"r{number}"), broker.url)
                for destination in destinations
            ]
            threads.append(until_cut(reject, broker.url))
            # The moment of the kill is the subject of this test, not something to wait for.
            time.sleep(chance.uniform(0.4, 1.0))
            broker.kill()
            for thread in threads:
                thread.join(30)
                assert not thread.is_alive()
        shutil.copytree(data, tmp_path / f"copy{number}")
        with inspected(tmp_path / f"copy{number}") as inspection:
            assert inspection.check() == []

    with BrokerProcess(data, SETTINGS) as broker:
        for number in range(SUBSCRIBERS):
            texts = subscribe(broker.url, number)
            assert max(Counter(texts).values()) == 1
            assert accepted["/topic/t"] <= set(texts)
        for kept, moved in (
            ("/queue/bad", "/queue/DLQ.bad"),
            ("/queue/short", "/queue/overflowed"),
            ("/queue/brief", "/queue/expired"),
        ):
            time.sleep(0.5)  # what was put off comes back, and what is brief is over
            found = drain(broker.url, moved)
            if kept != "/queue/brief":  # where nothing lasts, not even the end of a drain
                found += drain(broker.url, kept) + drain(broker.url, moved)
            places = Counter(frame.text.rstrip(".") for frame in found)
            assert accepted[kept] <= places.keys(), kept
            assert all(count == 1 for body, count in places.items() if body.startswith("r")), kept
    assert all(len(bodies) > 8 for bodies in accepted.values())
