"""Brokers are killed under load, and producers are: nothing is lost, doubled or out of order.

The producers have no code for that. In ordinary runs there are few kills; the slow ones have 200.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.broker_process import BrokerProcess
from tests.support.client_adapter import ClientAdapter
from tests.support.fault_proxy import FaultProxy
from tests.support.wire import until

import stompy

SWIFT = stompy.Reconnect(delay=0.02, max_delay=0.1, resend=True)
PLAIN, CONFIRMED, MANY, PAIRS = (f"/queue/{name}" for name in ("plain", "sure", "many", "pairs"))
EVERY = (PLAIN, CONFIRMED, MANY, PAIRS)
PATIENCE = 120.0

Make = Callable[[], ClientAdapter]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    broker = BrokerProcess(tmp_path / "data")
    try:
        yield broker
    finally:
        broker.end()


class Producer:
    """Numbers what it sends, to a queue for each way of sending."""

    def __init__(self, client: ClientAdapter) -> None:
        self.rounds = 0
        self.failure: BaseException | None = None
        self._client = client
        self._enough = threading.Event()
        self.thread = threading.Thread(target=self._run, name="producer")
        self.thread.start()

    def _run(self) -> None:
        try:
            while not self._enough.is_set():
                self._send()
                self.rounds += 1
        except BaseException as failure:
            self.failure = failure

    def _send(self) -> None:
        client, first = self._client, self.rounds * 10
        numbers = [str(first + number) for number in range(10)]
        for number in numbers:
            client.message(PLAIN, number)
        transaction = client.transaction()
        for number in numbers:
            transaction.message(PAIRS, number)
        client.call("send", "COMMIT", transaction=transaction.id, confirm=True, timeout=PATIENCE)
        client.call("send_many", MANY, numbers, window=4, timeout=PATIENCE)
        client.message(CONFIRMED, str(self.rounds), confirm=True, timeout=PATIENCE)

    def finish(self) -> None:
        self._enough.set()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive(), "the producer does not come to an end"
        assert self.failure is None, repr(self.failure)


def drained(client: ClientAdapter, queue: str) -> list[str]:
    """What is in a queue, in its order."""
    return [message.text for message in client.browse(queue, limit=None)]


def kill_under_load(make: Make, broker: BrokerProcess, kills: int) -> None:
    with FaultProxy(broker.port) as proxy:
        client = make()
        client.connect(proxy.url, reconnect=SWIFT)
        producer = Producer(client)
        for _ in range(kills):
            goal = producer.rounds + 2
            until(
                lambda: producer.rounds >= goal or producer.failure is not None,  # noqa: B023
                "traffic",
                PATIENCE,
            )
            broker.kill()
            broker.restart()
            proxy.target = broker.port
        producer.finish()
        client.call("disconnect", timeout=PATIENCE)
    rounds = producer.rounds
    reader = make()
    reader.connect(f"stomp://127.0.0.1:{broker.port}")
    found = {queue: drained(reader, queue) for queue in EVERY}
    expected = {queue: [str(number) for number in range(10 * rounds)] for queue in EVERY}
    expected[CONFIRMED] = [str(number) for number in range(rounds)]
    assert {queue: wrong(found[queue], expected[queue]) for queue in EVERY} == dict.fromkeys(
        EVERY, ([], [], True)
    )


def wrong(found: list[str], expected: list[str]) -> tuple[list[str], list[str], bool]:
    """What is lost, what is there twice or for no reason, and whether the rest is in order."""
    lost = sorted(set(expected) - set(found), key=int)
    seen: set[str] = set()
    twice = [one for one in found if one in seen or seen.add(one)]  # type: ignore[func-returns-value]
    return lost[:20], twice[:20], found == sorted(found, key=int)


@pytest.mark.timeout(120)
def test_a_killed_broker_loses_nothing_and_has_nothing_twice(
    make: Make, broker: BrokerProcess
) -> None:
    kill_under_load(make, broker, 3)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_neither_in_200_kills(make: Make, broker: BrokerProcess) -> None:
    kill_under_load(make, broker, 200)


PROGRAM = """
import os, sys
import stompy

url, progress = sys.argv[1:]
try:
    with open(progress) as file:
        number = int(file.read())
except FileNotFoundError:
    number = 0
with stompy.connect(url, reconnect=stompy.Reconnect(delay=0.02, max_delay=0.1)) as client:
    while True:
        posted = [
            client.post("/queue/orders", str(one), dedup=f"order-{one}")
            for one in range(number, number + 10)
        ]
        for one in posted:
            one.result(60)
        number += 10
        with open(progress + ".new", "w") as file:
            file.write(str(number))
        os.replace(progress + ".new", progress)
"""
"""A program that knows nothing but the number up to which all was confirmed."""


def kill_producers(make: Make, broker: BrokerProcess, progress: Path, kills: int) -> None:
    url = f"stomp://127.0.0.1:{broker.port}"

    def done() -> int:
        return int(progress.read_text()) if progress.exists() else 0

    for _ in range(kills):
        goal = done() + 20
        program = subprocess.Popen([sys.executable, "-c", PROGRAM, url, str(progress)])
        try:
            until(lambda: done() >= goal or program.poll() is not None, "progress", PATIENCE)  # noqa: B023
            assert program.poll() is None
        finally:
            program.kill()
            program.wait(20)
    reader = make()
    reader.connect(url)
    found = drained(reader, "/queue/orders")
    assert len(found) >= done()
    # The last program may have sent more than it knew of, and the broker still read it.
    assert wrong(found, [str(number) for number in range(len(found))]) == ([], [], True)


@pytest.mark.timeout(120)
def test_a_killed_producer_goes_on_with_its_own_ids(
    make: Make, broker: BrokerProcess, tmp_path: Path
) -> None:
    kill_producers(make, broker, tmp_path / "progress", 3)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_producer_is_killed_200_times(make: Make, broker: BrokerProcess, tmp_path: Path) -> None:
    kill_producers(make, broker, tmp_path / "progress", 200)


def test_what_can_have_no_id_is_sent_without_one(make: Make, broker: BrokerProcess) -> None:
    asking, answering = make(), make()
    for client in (asking, answering):
        client.connect(f"stomp://127.0.0.1:{broker.port}", reconnect=SWIFT)
    questions = answering.subscription("/queue/questions")
    served = questions.handle(lambda message: answering.reply(message, "answer"))
    for _ in range(3):
        assert asking.request("/queue/questions", "?").text == "answer"
    assert (asking.health().epoch, answering.health().epoch) == (1, 1)
    questions.unsubscribe()
    served.join(10)
