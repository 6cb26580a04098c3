"""A real broker process is killed and started again while clients send and receive.

No message that was accepted is lost, and none comes twice but those whose sending has an unknown
outcome and those whose acknowledgement was not known to have arrived.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.broker_process import BrokerProcess
from tests.support.client_adapter import ClientAdapter
from tests.support.fault_proxy import FaultProxy
from tests.support.wire import until

import stompy
from stompy.session.delivery import Delivery

WORK = "/queue/work"
SWIFT = stompy.Reconnect(delay=0.02, max_delay=0.1)


class Producer:
    """Sends numbered messages, each until it is accepted."""

    def __init__(self, client: ClientAdapter) -> None:
        self.accepted: list[str] = []
        self.unknown: set[str] = set()
        self.failures: list[stompy.STOMPException] = []
        self._client = client
        self._enough = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        number = 0
        while not self._enough.is_set():
            body = str(number)
            try:
                self._client.message(WORK, body, confirm=True)
            except stompy.OutcomeUnknown:  # and nothing else: before it is sent it waits
                self.unknown.add(body)
            except stompy.STOMPException as failure:
                self.failures.append(failure)
            else:
                self.accepted.append(body)
                number += 1

    def finish(self) -> None:
        self._enough.set()
        self.thread.join(20)
        assert not self.thread.is_alive()


class Consumer:
    """Acknowledges all that comes, and now and then makes sure that this has arrived."""

    def __init__(self, client: ClientAdapter) -> None:
        self.received: Counter[str] = Counter()
        self.settled: set[str] = set()
        self.wrong: list[str] = []
        self._fresh: list[Delivery] = []
        self._client = client
        self._unknown: set[str] = set()
        self.subscription = client.subscription(WORK, prefetch=20)
        self.thread = threading.Thread(target=self.subscription.iterate, args=(self._take,))

    def start(self, unknown: set[str]) -> None:
        self._unknown = unknown
        self.thread.start()

    def _take(self, message: Delivery) -> bool:
        body = message.text
        self.received[body] += 1
        if body in self.settled and body not in self._unknown:
            self.wrong.append(body)
        self._client.within(message)
        self._fresh.append(message)
        if len(self._fresh) >= 10:
            self._make_sure()
        return False

    def _make_sure(self) -> None:
        """A receipt says that what was sent before on the same connection has been done, too."""
        before = self._client.health().epoch
        try:
            self._client.message("/queue/sync", "", confirm=True)
        except stompy.OutcomeUnknown:
            pass
        else:
            if self._client.health().epoch == before:
                self.settled |= {one.text for one in self._fresh if one.epoch == before}
        self._fresh.clear()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("end", [BrokerProcess.kill, BrokerProcess.terminate])
def test_no_message_is_lost_and_none_comes_twice_without_reason(
    make: Callable[[], ClientAdapter], tmp_path: Path, end: Callable[[BrokerProcess], None]
) -> None:
    broker = BrokerProcess(tmp_path / "data")
    try:
        with FaultProxy(broker.port) as proxy:
            sending, receiving = make(), make()
            for client in (sending, receiving):
                client.connect(proxy.url, reconnect=SWIFT)
            consumer = Consumer(receiving)
            producer = Producer(sending)
            consumer.start(producer.unknown)
            for round_number in (1, 2):
                goal = len(producer.accepted) + 40
                until(lambda: len(producer.accepted) > goal, "traffic")  # noqa: B023
                end(broker)
                broker.restart()
                proxy.target = broker.port
                until(lambda: receiving.health().epoch > round_number, "a connection")  # noqa: B023
            goal = len(producer.accepted) + 40
            until(lambda: len(producer.accepted) > goal, "traffic")
            producer.finish()
            until(lambda: set(producer.accepted) <= set(consumer.received), "all messages")
            assert (producer.failures, consumer.wrong) == ([], [])
            assert len(producer.unknown) <= 2
            assert receiving.health().ok
            for client in (sending, receiving):
                client.disconnect()
            consumer.thread.join(10)
            assert not consumer.thread.is_alive()
    finally:
        broker.end()
