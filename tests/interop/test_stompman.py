"""stompman, an asyncio client for STOMP 1.2 with reconnection, subscriptions and transactions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.interop.samples import BEAT, BINARY, HEADERS, IDLE, LARGE, TEXT

from stompy_broker import RunningBroker

stompman = pytest.importorskip("stompman")

pytestmark = pytest.mark.interop

Inbox = asyncio.Queue[Any]
"""Message frames; those of a subscription with manual acknowledgement have ack() and nack()."""


def run(scenario: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(15):
            await scenario

    asyncio.run(bounded())


@asynccontextmanager
async def connected(broker: RunningBroker, **options: Any) -> AsyncIterator[Any]:
    server = stompman.ConnectionParameters(
        host=broker.host,
        port=broker.port,
        login="",
        passcode="",
        connect_headers=options.pop("connect_headers", {}),
    )
    async with stompman.Client([server], connect_retry_attempts=1, **options) as client:
        yield client


@asynccontextmanager
async def subscribed(
    client: Any, destination: str, ack: str = "auto", **headers: str
) -> AsyncIterator[Inbox]:
    """Subscribe with a receipt, without acknowledging; unsubscribe, which stompman waits for."""
    inbox: Inbox = asyncio.Queue()
    subscription = await client.subscribe_with_manual_ack(
        destination, inbox.put, ack=ack, headers=headers, receipt_timeout=5
    )
    try:
        yield inbox
    finally:
        await subscription.unsubscribe()


@pytest.mark.parametrize("headers", [{}, {"content-length": "0"}], ids=["plain", "content-length"])
def test_connect_and_disconnect(broker: RunningBroker, headers: dict[str, str]) -> None:
    async def scenario() -> None:
        # Without the receipt of its DISCONNECT it would wait for longer than the test may take.
        async with connected(
            broker, connect_headers=headers, disconnect_confirmation_timeout=60
        ) as client:
            assert client.is_alive()
            assert broker.connections() == 1

    run(scenario())


def test_queue_round_trip(broker: RunningBroker) -> None:
    async def scenario() -> None:
        async with connected(broker) as client, subscribed(client, "/queue/letters") as inbox:
            await client.send(
                TEXT.encode(), "/queue/letters", content_type="text/plain", headers={"a": "b"}
            )
            message = await inbox.get()
            assert message.body.decode() == TEXT
            headers = message.headers
            assert headers["destination"] == "/queue/letters"
            assert headers["content-type"] == "text/plain"
            assert headers["a"] == "b"
            assert headers["message-id"]
            assert "ack" not in headers

    run(scenario())


def test_topic_fan_out(broker: RunningBroker) -> None:
    async def scenario() -> None:
        async with (
            connected(broker) as first,
            connected(broker) as second,
            subscribed(first, "/topic/prices.gold") as one,
            subscribed(second, "/topic/prices.gold") as two,
            subscribed(second, "/topic/prices.*") as three,
            subscribed(second, "/topic/weather") as none,
        ):
            await first.send(b"1931", "/topic/prices.gold", receipt_timeout=5)
            for inbox in (one, two, three):
                message = await inbox.get()
                assert (message.body, message.headers["destination"]) == (
                    b"1931",
                    "/topic/prices.gold",
                )
                assert inbox.empty()
            assert none.empty()

    run(scenario())


def test_ack_and_nack(broker: RunningBroker) -> None:
    async def scenario() -> None:
        async with (
            connected(broker) as client,
            subscribed(client, "/queue/work", "client-individual") as inbox,
        ):
            await client.send(b"one", "/queue/work")
            await client.send(b"two", "/queue/work")
            one, two = await inbox.get(), await inbox.get()
            await one.ack()
            await two.nack()
            again = await inbox.get()
            assert again.body == b"two"
            assert again.headers["redelivered"] == "true"
            assert again.headers["message-id"] == two.headers["message-id"]
            assert again.headers["ack"] != two.headers["ack"]
            await again.ack()

    run(scenario())
    (queue,) = broker.queues()
    assert (queue.ready, queue.unacked, queue.acked, queue.nacked) == (0, 0, 2, 1)


def test_a_handler_that_fails_gets_the_message_again(broker: RunningBroker) -> None:
    deliveries: list[str] = []

    async def scenario() -> None:
        done = asyncio.Event()

        async def handle(message: Any) -> None:
            deliveries.append(message.headers["delivery-count"])
            if len(deliveries) == 1:
                raise ValueError("not today")
            done.set()

        async with connected(broker) as client:
            subscription = await client.subscribe(
                "/queue/work", handle, on_suppressed_exception=lambda *_: None
            )
            await client.send(b"task", "/queue/work")
            await done.wait()
            # The handler's task has written the ACK by now: it did not pause in between.
            await client.send(b"", "/queue/other", receipt_timeout=5)
            await subscription.unsubscribe()

    run(scenario())
    assert deliveries == ["1", "2"]
    work = next(queue for queue in broker.queues() if queue.name == "work")
    assert (work.ready, work.unacked, work.acked) == (0, 0, 1)


def test_ack_of_mode_client_is_cumulative(broker: RunningBroker) -> None:
    async def scenario() -> None:
        async with connected(broker) as client:
            async with subscribed(client, "/queue/work", "client") as inbox:
                for body in (b"0", b"1", b"2", b"3"):
                    await client.send(body, "/queue/work")
                messages = [await inbox.get() for _ in range(4)]
                await messages[2].ack()
            async with subscribed(client, "/queue/work") as inbox:
                left = await inbox.get()
                assert (left.body, left.headers["redelivered"]) == (b"3", "true")

    run(scenario())


def test_transaction_commit(broker: RunningBroker) -> None:
    async def scenario() -> None:
        async with connected(broker) as client, subscribed(client, "/queue/ledger") as inbox:
            async with client.begin() as transaction:
                await transaction.send(b"debit", "/queue/ledger")
                await transaction.send(b"credit", "/queue/ledger")
                await client.send(b"outside", "/queue/ledger", receipt_timeout=5)
                assert (await inbox.get()).body == b"outside"
                assert inbox.empty()
            assert [(await inbox.get()).body, (await inbox.get()).body] == [b"debit", b"credit"]

    run(scenario())


def test_transaction_abort(broker: RunningBroker) -> None:
    async def change_my_mind(client: Any) -> None:
        async with client.begin() as transaction:
            await transaction.send(b"never", "/queue/ledger")
            raise ValueError("changed my mind")

    async def scenario() -> None:
        async with connected(broker) as client, subscribed(client, "/queue/ledger") as inbox:
            with pytest.raises(ValueError, match="changed my mind"):
                await change_my_mind(client)
            await client.send(b"after", "/queue/ledger")
            assert (await inbox.get()).body == b"after"

    run(scenario())
    assert broker.queues()[0].published == 1


def test_receipt(broker: RunningBroker) -> None:
    async def scenario() -> None:
        async with connected(broker) as client:
            await client.send(b"x", "/queue/q", receipt_timeout=5)
            assert broker.queues()[0].ready == 1

    run(scenario())


def test_heart_beats_keep_an_idle_connection(beating_broker: RunningBroker) -> None:
    beat = stompman.Heartbeat(int(BEAT * 1000), int(BEAT * 1000))

    async def scenario() -> None:
        async with (
            # A busy machine may be late; stompman's patience is set to four intervals.
            connected(
                beating_broker, heartbeat=beat, check_server_alive_interval_factor=4
            ) as client,
            subscribed(client, "/queue/q", "client-individual") as inbox,
        ):
            await client.send(b"held", "/queue/q")
            held = await inbox.get()
            await asyncio.sleep(IDLE)
            assert client.is_alive()
            # After a connection that was lost and silently made again it would come once more.
            assert inbox.empty()
            await held.ack()
            await client.send(b"alive", "/queue/q")
            alive = await inbox.get()
            assert (alive.body, alive.headers["redelivered"]) == (b"alive", "false")
            await alive.ack()

    run(scenario())


def test_binary_body(broker: RunningBroker) -> None:
    async def scenario() -> None:
        async with connected(broker) as client, subscribed(client, "/queue/bytes") as inbox:
            await client.send(BINARY, "/queue/bytes")
            await client.send(b"", "/queue/bytes")
            assert (await inbox.get()).body == BINARY
            assert (await inbox.get()).body == b""

    run(scenario())


def test_body_without_content_length(broker: RunningBroker) -> None:
    async def scenario() -> None:
        async with connected(broker) as client, subscribed(client, "/queue/text") as inbox:
            await client.send(TEXT.encode(), "/queue/text", add_content_length=False)
            assert (await inbox.get()).body.decode() == TEXT

    run(scenario())


def test_large_body(broker: RunningBroker) -> None:
    async def scenario() -> None:
        async with connected(broker) as client, subscribed(client, "/queue/large") as inbox:
            await client.send(LARGE, "/queue/large")
            assert (await inbox.get()).body == LARGE

    run(scenario())


def test_headers_round_trip(broker: RunningBroker) -> None:
    # stompman leaves CR out of what it sends; it escapes names too.
    headers = HEADERS["1.1"] | {"na:me\n": "with a colon"}

    async def scenario() -> None:
        async with connected(broker) as client, subscribed(client, "/queue/a:b") as inbox:
            await client.send(b"x", "/queue/a:b", headers=headers)
            message = await inbox.get()
            assert {name: message.headers.get(name) for name in headers} == headers
            assert message.headers["destination"] == "/queue/a:b"

    run(scenario())


def test_error_then_close(broker: RunningBroker) -> None:
    async def scenario() -> None:
        async with connected(broker, on_error_frame=None, connect_retry_interval=0) as client:
            with pytest.raises(stompman.SendReceiptError) as caught:
                await client.send(b"x", "/nowhere/at/all", receipt_timeout=5)
            assert caught.value.reason == "rejected"
            assert b"/nowhere/at/all" in caught.value.frame.body
            assert caught.value.frame.headers["receipt-id"] == caught.value.receipt_id
            # It connects again by itself, once it has seen the end of the old connection.
            while not await sent(client):
                pass

    async def sent(client: Any) -> bool:
        try:
            await client.send(b"x", "/queue/q", receipt_timeout=5)
        except stompman.SendReceiptError as error:
            if error.reason != "connection_lost":
                raise
            return False
        return True

    run(scenario())


def test_a_refused_subscription_is_told(broker: RunningBroker) -> None:
    async def scenario() -> None:
        async with connected(broker, on_error_frame=None, connect_retry_interval=0) as client:
            with pytest.raises(stompman.SubscriptionError) as caught:
                async with subscribed(client, "/dsub/a"):
                    pass
            assert caught.value.reason == "rejected"

    run(scenario())
