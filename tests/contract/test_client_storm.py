"""Connections break one after the other while everything is used (promise 17).

Nothing hangs or is lost.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from tests.support.client_adapter import ClientAdapter
from tests.support.fault_proxy import FaultProxy
from tests.support.wire import running_broker, until

import stompy
from stompy.session.delivery import Delivery

WORK, ASK = "/queue/work", "/queue/ask"
SWIFT = stompy.Reconnect(delay=0.01, max_delay=0.1)
CUTS = 60

Make = Callable[[], ClientAdapter]


class Storm:
    """Clients at work, each on a thread of its own.

    Attributes:
        accepted: what was sent and accepted.
        received: what was received.
        turns: how often each of them has succeeded.
    """

    def __init__(self, make: Callable[[], ClientAdapter]) -> None:
        self.accepted: set[str] = set()
        self.received: set[str] = set()
        self.turns = {"produce": 0, "transact": 0, "request": 0, "subscribe": 0}
        self._over = threading.Event()
        self._failures: list[BaseException] = []
        self._make = make
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        for name in self.turns:
            client = self._make()
            work = getattr(self, f"_{name}")
            thread = threading.Thread(target=self._repeat, args=(name, work, client), name=name)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)
        assert [thread.name for thread in self._threads if thread.is_alive()] == []
        assert self._failures == []

    def _repeat(
        self, name: str, work: Callable[[ClientAdapter], None], client: ClientAdapter
    ) -> None:
        try:
            while not self._over.is_set():
                with suppress(stompy.STOMPConnectionError, stompy.STOMPTimeout):
                    work(client)
                    self.turns[name] += 1
        except BaseException as failure:
            self._failures.append(failure)

    def _produce(self, client: ClientAdapter) -> None:
        first = self.turns["produce"] * 20
        posted = [(str(n), client.post(WORK, str(n))) for n in range(first, first + 20)]
        for body, one in posted:
            one.result()
            self.accepted.add(body)

    def _transact(self, client: ClientAdapter) -> None:
        transaction = client.transaction()
        transaction.message("/queue/sums", "1")
        transaction.commit()

    def _request(self, client: ClientAdapter) -> None:
        assert client.request(ASK, "?", timeout=1.0).text == "!"

    def _subscribe(self, client: ClientAdapter) -> None:
        client.subscription("/topic/news").unsubscribe()


@contextmanager
def at_work(make: Make, storm: Storm) -> Iterator[list[ClientAdapter]]:
    """One client that works, and one that answers."""
    worker, server = make(), make()
    lock = threading.Lock()

    def work(message: Delivery) -> None:
        with lock:
            storm.received.add(message.text)
        if random.random() < 0.01:
            raise ValueError("now and then")

    def answer(message: Delivery) -> bool:
        with suppress(stompy.STOMPConnectionError):
            server.reply(message, "!")
        return False

    working = worker.subscription(WORK, prefetch=50).handle(work, concurrency=4)
    subscription = server.subscription(ASK, ack_mode="auto")
    answering = threading.Thread(target=subscription.iterate, args=(answer,))
    answering.start()
    try:
        yield [worker, server]
    finally:
        for client in (worker, server):
            client.disconnect()
        for thread in (working, answering):
            thread.join(10)
    assert not working.is_alive()
    assert not answering.is_alive()


@pytest.mark.timeout(60)
def test_a_storm_of_cuts(make: Make) -> None:
    dice = random.Random(11)
    with running_broker() as broker, FaultProxy(broker.port) as proxy:

        def connected() -> ClientAdapter:
            client = make()
            client.connect(proxy.url, reconnect=SWIFT)
            return client

        storm = Storm(connected)
        with at_work(connected, storm) as consumers:
            storm.start()
            for _ in range(CUTS):
                goal = sum(storm.turns.values()) + dice.randrange(30)
                until(lambda: sum(storm.turns.values()) > goal, "progress", 30)  # noqa: B023
                dice.choice(proxy.passages[-6:]).cut()
            storm.stop()
            until(lambda: storm.accepted <= storm.received, "all that was accepted")
            assert min(storm.turns.values()) > 0
            assert all(client.health().ok for client in consumers)
