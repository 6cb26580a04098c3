"""Looking into a running broker, and waiting for it: nothing is consumed, no wait is endless."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.delaying import DelayingBroker
from tests.support.wire import running_broker, unique

import stompy
from stompy.errors import ProtocolError
from stompy_broker import BrokerTimeoutError, RunningBroker
from stompy_broker.embed import thread


@pytest.fixture(scope="module", params=["at once", "later"])
def broker(request: pytest.FixtureRequest) -> Iterator[RunningBroker]:
    """A broker whose queues answer at once, and one whose queues answer some turns later."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "later":
            patch.setattr(thread, "Broker", DelayingBroker)
        with running_broker() as broker:
            yield broker


@pytest.fixture
def client(broker: RunningBroker) -> Iterator[stompy.STOMPClient]:
    with stompy.connect(broker.url) as client:
        yield client


def send(client: stompy.STOMPClient, queue: str, *bodies: str, **headers: str | int) -> None:
    """Send messages that are in their queue afterwards."""
    for body in bodies:
        receipt = client.message(queue, body, headers=headers, receipt=True)
        assert receipt is not None
        client.wait_for_receipt(receipt)


class TestLooking:
    def test_messages_are_shown_as_a_consumer_would_get_them(self, broker, client):
        queue = f"/queue/{unique()}"
        send(client, queue, "one", colour="blue: a\nb")
        (shown,) = broker.queue(queue).messages
        client.subscribe(queue, "client-individual", send_acks=False)
        received = client.recv(timeout=5)
        client.ack(received)
        expected = dict(received.Headers)
        del expected["subscription"], expected["ack"]
        assert shown.Command == "MESSAGE"
        assert shown.Headers == expected
        assert shown.Body == received.Body == b"one"

    def test_looking_consumes_nothing(self, broker, client):
        view = broker.queue(unique())
        send(client, view.name, "one", "two")
        for _ in range(2):
            assert [frame.text for frame in view.messages] == ["one", "two"]
        assert (view.ready, view.stats.delivered) == (2, 0)

    def test_messages_stand_in_the_order_of_delivery(self, broker, client):
        view = broker.queue(unique())
        send(client, view.name, "normal", "later")
        send(client, view.name, "urgent", priority=9)
        assert [frame.text for frame in view.messages] == ["urgent", "normal", "later"]

    def test_what_is_delayed_stands_last(self, broker, client):
        view = broker.queue(unique())
        send(client, view.name, "first", "second")
        subscription = client.subscribe(view.name, "client-individual", send_acks=False)
        client.send("NACK", id=client.recv(timeout=5)["ack"], delay=60_000, receipt="nacked")
        client.wait_for_receipt("nacked")
        client.recv(timeout=5)
        client.wait_for_receipt(client.unsubscribe(subscription, receipt=True))
        assert [(frame.text, frame["delivery-count"]) for frame in view.messages] == [
            ("second", "2"),
            ("first", "2"),
        ]
        assert (view.ready, view.delayed, len(view)) == (1, 1, 2)

    def test_what_is_to_come_later_is_counted_and_is_not_in_it(self, broker, client):
        queue = unique("later")
        assert broker.queue(queue).scheduled == 0
        for text in ("tea", "coffee"):
            client.message(queue, text, delay=3600, schedule_id=text, confirm=True)
        assert broker.queue(queue).scheduled == 2
        assert (broker.queue(queue).ready, len(broker.queue(queue))) == (0, 0)
        client.cancel_schedule(queue, "tea")
        assert broker.queue(queue).scheduled == 1

    def test_a_message_with_a_consumer_is_counted_and_not_shown(self, broker, client):
        view = broker.queue(unique())
        with client.subscribe(view.name, "client-individual", send_acks=False, receipt=True):
            send(client, view.name, "one")
            assert client.recv(timeout=5).text == "one"
            assert view.messages == []
            assert (view.unacked, view.consumers, len(view)) == (1, 1, 1)
            assert "unacked:1" in repr(view)

    def test_a_queue_that_nobody_used(self, broker):
        view = broker.queue("/queue/" + unique())
        assert not view.exists
        assert bool(view)
        assert view.messages == []
        assert len(view) == view.stats.published == 0

    def test_a_queue_is_found_with_and_without_prefix(self, broker, client):
        name = unique()
        send(client, name, "one")
        assert broker.queue(name).ready == broker.queue(f"/queue/{name}").ready == 1

    def test_holdings(self, broker, client):
        queue = f"/queue/{unique()}"
        with client.subscribe(queue, "client-individual", send_acks=False):
            send(client, queue, "one", "two")
            transaction = client.transaction("t7")
            transaction.ack(client.recv(timeout=5))
            send(client, unique(), "everything before was read")
            (held,) = [each for each in broker.holdings() if each.transactions]
            assert held.user == "anonymous"
            assert held.transactions == ("t7",)
            (subscription,) = held.subscriptions
            assert subscription.destination == queue
            # What the transaction will settle is not settled.
            assert held.unsettled == subscription.unsettled == 2
            text = broker.describe()
            assert f"subscription {subscription.id} to {queue} unsettled:2" in text
            assert "open transaction t7" in text
            transaction.abort()


def test_a_network_that_breaks():
    with running_broker() as broker, stompy.connect(broker.url) as client:
        broker.cut()
        with pytest.raises(stompy.STOMPConnectionError):
            broker.wait_for(lambda: client.message("q", "lost"))
        with stompy.connect(broker.url) as again:
            send(again, "q", "one")
        assert broker.queue("q").ready >= 1


def test_bodies_that_are_on_disk_only_are_shown_too(tmp_path: Path):
    config = {"store": {"data": str(tmp_path / "data")}}
    with running_broker(**config) as broker, stompy.connect(broker.url) as client:
        send(client, "q", "one", "two")
    # After a restart the bodies are on disk.
    with running_broker(**config) as broker, stompy.connect(broker.url) as client:
        assert [frame.text for frame in broker.queue("q").messages] == ["one", "two"]
        client.subscribe("q")
        assert [client.recv(timeout=5).text for _ in range(2)] == ["one", "two"]
        broker.join("q", count=0)


class TestJoining:
    def test_it_waits_until_all_is_settled(self, broker, client):
        queue = f"/queue/{unique()}"
        settle = threading.Event()

        def work() -> None:
            with stompy.connect(broker.url) as worker:
                worker.subscribe(queue, "client-individual", send_acks=False)
                frames = [worker.recv(timeout=5) for _ in range(3)]
                assert settle.wait(5)
                for frame in frames:
                    worker.ack(frame)

        with ThreadPoolExecutor() as pool:
            done = pool.submit(work)
            for number in range(3):
                client.message(queue, str(number))
            with pytest.raises(BrokerTimeoutError):
                broker.join(queue, timeout=0.05, count=3)
            settle.set()
            broker.join(queue, count=3)
            assert broker.queue(queue).stats.acked == 3
            done.result(5)

    def test_what_was_sent_before_counts_although_nobody_waited_for_it(self, broker, client):
        """The broker may not have read it when `join` is called."""
        with stompy.connect(broker.url) as worker:
            for _ in range(20):
                queue = unique()
                worker.subscribe(queue, receipt=True)
                client.message(queue, b"x" * 100_000)
                broker.join(queue)
                assert broker.queue(queue).stats.delivered == 1

    def test_several_queues(self, broker, client):
        first, second = unique(), unique()
        client.subscribe(first)
        send(client, first, "one")
        with pytest.raises(BrokerTimeoutError, match=f"nothing was ever sent to /queue/{second}"):
            broker.join(first, second, timeout=0)
        client.subscribe(second)
        send(client, second, "one")
        broker.join(first, second)

    def test_a_wait_in_vain_tells_how_things_are(self, broker, client):
        queue = f"/queue/{unique()}"
        with client.subscribe(queue, "client-individual", send_acks=False):
            send(client, queue, "one")
            with pytest.raises(BrokerTimeoutError) as caught:
                broker.join(queue, timeout=0.01)
        text = str(caught.value)
        assert f"{queue} still holds messages: 0 ready, 0 delayed, 1 unacked" in text
        assert f"to {queue} unsettled:1" in text
        assert f"broker {broker.url}" in text

    def test_too_few_messages(self, broker, client):
        queue = f"/queue/{unique()}"
        client.subscribe(queue)
        send(client, queue, "one")
        with pytest.raises(BrokerTimeoutError, match=f"1 of 2 messages .* {queue}"):
            broker.join(queue, timeout=0, count=2)

    def test_nothing_to_wait_for(self, broker):
        with pytest.raises(ValueError, match="name a queue"):
            broker.join()


class TestWaiting:
    def test_it_gives_what_the_condition_gave(self, broker):
        answers = iter([0, "", None, "yes"])
        assert broker.wait_for(lambda: next(answers)) == "yes"

    def test_in_vain(self, broker):
        with pytest.raises(BrokerTimeoutError, match="an answer did not come true") as caught:
            broker.wait_for(lambda: False, timeout=0, what="an answer")
        assert broker.url in str(caught.value)

    def test_the_condition_is_named_if_nobody_says_what(self, broker):
        def never() -> bool:
            return False

        with pytest.raises(BrokerTimeoutError, match=r"never did not come true"):
            broker.wait_for(never, timeout=0)


class TestCoroutines:
    def test_the_loop_goes_on_meanwhile(self, broker, client):
        queue = unique()
        send(client, queue, "one")

        async def consume() -> None:
            client.subscribe(queue)

        async def main() -> None:
            waiting = asyncio.create_task(broker.aio.join(queue))
            await asyncio.sleep(0)
            assert not waiting.done()
            await consume()
            await waiting
            assert await broker.aio.wait_for(lambda: broker.queue(queue).stats.delivered) == 1

        asyncio.run(main())

    def test_in_vain(self, broker):
        async def main() -> None:
            with pytest.raises(BrokerTimeoutError, match="nothing was ever sent"):
                await broker.aio.join(unique(), timeout=0)
            with pytest.raises(BrokerTimeoutError, match="a word did not"):
                await broker.aio.wait_for(lambda: 0, timeout=0, what="a word")

        asyncio.run(main())


@pytest.mark.parametrize(
    ("name", "why"), [("/topic/a", "is no queue"), ("queue/a", "write '/queue/a'")]
)
def test_what_no_queue_can_be_called(broker: RunningBroker, name: str, why: str) -> None:
    with pytest.raises((ValueError, ProtocolError), match=why):
        broker.queue(name)
    with pytest.raises((ValueError, ProtocolError), match=why):
        broker.join(name)
