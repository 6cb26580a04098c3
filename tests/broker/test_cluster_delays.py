"""Delays and times in a cluster: a message waits where the queue is that it is for."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.broker.test_cluster_service import PATIENCE, in_cluster, queues, secret

from stompy import aio
from stompy_broker.broker import Broker

__all__ = ["secret"]


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def test_it_comes_from_any_broker_to_any_broker(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(aio.connect(broker.url)) for broker in every]
            due = now() + 1500
            for queue in queues():
                for number, client in enumerate(clients):
                    headers = {"x-deliver-at": due}
                    await client.message(queue, f"{number}", headers=headers, confirm=True)
            for queue, client in zip(queues(), reversed(clients * 4), strict=False):
                async with client.subscription(queue) as messages:
                    found = []
                    for _ in clients:
                        message = await messages.get(timeout=PATIENCE)
                        assert now() >= due
                        assert message.headers["scheduled-at"] == str(due)
                        assert message.headers["redelivered"] == "false"
                        found.append(message.text)
                        await message.ack()
                    assert sorted(found) == ["0", "1"]

    in_cluster(secret, main, "ann", "bob")


def test_a_topic_has_subscribers_at_all_brokers_then(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        ann, bob = every
        async with aio.connect(ann.url) as sender, aio.connect(bob.url) as far:
            for topic in ("/topic/t0", "/topic/t1", "/topic/t2"):
                await sender.message(topic, topic, headers={"x-delay": 500}, confirm=True)
                async with sender.subscription(topic) as near, far.subscription(topic) as there:
                    for messages in (near, there):
                        message = await messages.get(timeout=PATIENCE)
                        assert message.text == topic
                        assert "x-delay" not in message.headers

    in_cluster(secret, main, "ann", "bob")


@pytest.mark.parametrize("at", [0, 1])
def test_a_transaction_has_them_together(secret: Path, at: int) -> None:
    async def main(every: list[Broker]) -> None:
        async with aio.connect(every[at].url) as client:
            async with client.transaction() as transaction:
                for queue in queues():
                    await transaction.message(queue, "later", headers={"x-delay": 300})
            for queue in queues():
                async with client.subscription(queue) as messages:
                    message = await messages.get(timeout=PATIENCE)
                    assert message.text == "later"
                    await message.ack()

    in_cluster(secret, main, "ann", "bob")


def test_it_goes_with_its_queue_to_the_next_owner(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        ann, bob = every
        async with aio.connect(ann.url) as client:
            due = now() + 4000
            for queue in queues():
                await client.message(queue, queue, headers={"x-deliver-at": due}, confirm=True)
        await ann.stop()
        async with aio.connect(bob.url) as client:
            for queue in queues():
                async with client.subscription(queue) as messages:
                    message = await messages.get(timeout=PATIENCE)
                    assert now() >= due
                    assert message.text == queue
                    await message.ack()

    in_cluster(secret, main, "ann", "bob")


def test_it_is_shown_wherever_it_is(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        async with aio.connect(every[0].url) as near, aio.connect(every[1].url) as far:
            for queue in queues():
                await near.message(queue, "later", headers={"x-delay": 10**7}, confirm=True)
            for queue in queues():
                for client in (near, far):
                    found = [one async for one in client.browse(queue, state="scheduled")]
                    assert [(one.text, one.headers["state"]) for one in found] == [
                        ("later", "scheduled")
                    ]

    in_cluster(secret, main, "ann", "bob")


def test_durable_subscriptions_get_it_once_wherever_they_are(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        ann, bob = every
        topics = [f"/topic/t{number}" for number in range(4)]
        async with aio.connect(ann.url, headers={"client-id": "me"}) as client:
            for topic in topics:
                async with client.subscription(topic, durable=topic[7:]):
                    pass
        async with aio.connect(bob.url) as sender:
            for topic in topics:
                await sender.message(topic, topic, headers={"x-delay": 300}, confirm=True)
        async with aio.connect(bob.url, headers={"client-id": "me"}) as client:
            for topic in topics:
                async with client.subscription(topic, durable=topic[7:]) as messages:
                    message = await messages.get(timeout=PATIENCE)
                    assert (message.text, "x-delay" in message.headers) == (topic, False)
                    await message.ack()
                    await client.message(topic, "end", confirm=True)
                    message = await messages.get(timeout=PATIENCE)
                    assert message.text == "end"
                    await message.ack()

    in_cluster(secret, main, "ann", "bob")
