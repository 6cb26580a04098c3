"""Topics, durable subscriptions and replies over whole brokers: receipts mean what they say."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.broker.test_cluster_service import PATIENCE, in_cluster, secret

import stompy
from stompy import aio
from stompy_broker.broker import Broker

__all__ = ["secret"]


def moved(every: list[Broker], group: int) -> None:
    """Have the next broker own a group."""
    nodes = [broker._cluster.node for broker in every if broker._cluster is not None]
    (owner,) = [number for number, node in enumerate(nodes) if node.owns(group)]
    nodes[owner].move(group, nodes[(owner + 1) % len(nodes)].settings.broker)


async def texts(subscription: aio.Subscription, count: int) -> list[str]:
    found = []
    for _ in range(count):
        message = await subscription.get(timeout=PATIENCE)
        found.append(message.text)
        await message.ack()
    return found


def test_who_has_the_receipt_of_a_subscribe_misses_nothing(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(aio.connect(one.url)) for one in every]
            for number, (here, there) in enumerate(itertools.permutations(clients, 2)):
                async with here.subscription(f"/topic/t{number}", "auto") as messages:
                    for text in "abc":
                        await there.message(f"/topic/t{number}", text)
                    assert await texts(messages, 3) == ["a", "b", "c"]

    in_cluster(secret, main, "ann", "bob", "cas")


def test_who_has_the_receipt_of_a_durable_subscribe_misses_nothing(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(
                    aio.connect(broker.url, headers={"client-id": f"c{number}"})
                )
                for number, broker in enumerate(every)
            ]
            for name, (here, there) in zip(
                "abcdef", itertools.permutations(clients, 2), strict=True
            ):
                topic = f"/topic/{name}"
                async with here.subscription(topic, durable=name):
                    await there.message(topic, "1", confirm=True)
                await there.message(topic, "2", confirm=True)
                async with here.subscription(topic, durable=name) as messages:
                    assert await texts(messages, 2) == ["1", "2"]

    in_cluster(secret, main, "ann", "bob", "cas")


def test_a_durable_subscription_misses_nothing_while_its_group_moves(secret: Path) -> None:
    async def publish(client: aio.STOMPClient, name: str, until: asyncio.Event) -> int:
        for number in itertools.count():
            if until.is_set():
                return number
            await client.message("/topic/news", f"{name} {number}", confirm=True)
        raise AssertionError

    async def main(every: list[Broker]) -> None:
        cluster = every[0]._cluster
        assert cluster is not None
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(
                    aio.connect(broker.url, headers={"client-id": f"c{number}"})
                )
                for number, broker in enumerate(every)
            ]
            for name in "abcd":
                async with clients[0].subscription("/topic/news", durable=name):
                    pass
            over = asyncio.Event()
            publishing = [
                asyncio.create_task(publish(client, f"{number}", over))
                for number, client in enumerate(clients)
            ]
            for group in range(cluster.count):
                owner = cluster.node.owner_of(group)
                moved(every, group)
                async with asyncio.timeout(PATIENCE):
                    while cluster.node.owner_of(group) in ("", owner):  # noqa: ASYNC110 -- of beats
                        await asyncio.sleep(0.01)
            over.set()
            counts = [await one for one in publishing]
            for name in "abcd":
                async with clients[0].subscription("/topic/news", durable=name) as messages:
                    found = await texts(messages, sum(counts))
                for number, count in enumerate(counts):
                    own = [text for text in found if text.startswith(f"{number} ")]
                    assert own == [f"{number} {n}" for n in range(count)]

    in_cluster(secret, main, "ann", "bob")


def test_a_durable_subscription_has_one_subscriber_in_all_brokers(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        headers = {"client-id": "me"}
        async with AsyncExitStack() as stack:
            first, second = [
                await stack.enter_async_context(aio.connect(one.url, headers=headers))
                for one in every
            ]
            async with first.subscription("/topic/news", durable="mine"):
                with pytest.raises(stompy.STOMPError, match="has a subscriber"):
                    async with second.subscription("/topic/news", durable="mine"):
                        pass
        async with aio.connect(every[1].url, headers=headers) as again:
            async with again.subscription("/topic/news", durable="mine") as subscription:
                await subscription.unsubscribe(for_good=True)
            async with asyncio.timeout(PATIENCE):
                while any(one._router.registry.durable.by_name for one in every):  # noqa: ASYNC110 -- links
                    await asyncio.sleep(0.01)

    in_cluster(secret, main, "ann", "bob")


def test_a_reply_to_who_is_gone_blames_nobody(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        ann, bob = every
        async with aio.connect(ann.url) as client:
            for address in ("ann.nobody", "bob.nobody", "cas.nobody"):
                await client.message(f"/reply-queue/{address}", "x", confirm=True)
        assert ann._router.unroutable + bob._router.unroutable == 3

    in_cluster(secret, main, "ann", "bob")
