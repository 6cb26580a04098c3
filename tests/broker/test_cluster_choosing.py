"""Consumers at all brokers of a cluster choose from one queue, also when it moves."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from tests.broker.test_cluster_service import PATIENCE, in_cluster, secret
from tests.broker.test_cluster_topics import moved, texts

from stompy import aio
from stompy_broker.broker import Broker

__all__ = ["secret"]

QUEUE = "/queue/orders"


async def send(client: aio.STOMPClient, *words: str) -> None:
    """Send messages whose texts begin with their colours."""
    for word in words:
        await client.message(QUEUE, word, headers={"colour": word.rstrip("0123456789")})


def test_everybody_gets_what_he_chooses_wherever_the_queue_is(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        cluster = every[0]._cluster
        assert cluster is not None
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(aio.connect(one.url)) for one in every]
            await send(clients[0], *(f"green{number}" for number in range(300)), "red1", "blue1")
            red = await stack.enter_async_context(
                clients[1].subscription(QUEUE, selector="colour = 'red'")
            )
            blue = await stack.enter_async_context(
                clients[2].subscription(QUEUE, selector="colour = 'blue'")
            )
            assert await texts(red, 1) == ["red1"]
            assert await texts(blue, 1) == ["blue1"]
            for turn in range(2, 5):
                # Whichever group the queue belongs to.
                for group in range(cluster.count):
                    owner = cluster.node.owner_of(group)
                    moved(every, group)
                    async with asyncio.timeout(PATIENCE):
                        while cluster.node.owner_of(group) in ("", owner):  # noqa: ASYNC110 -- of beats
                            await asyncio.sleep(0.01)
                await send(clients[turn % 3], f"blue{turn}", f"red{turn}")
                assert await texts(red, 1) == [f"red{turn}"]
                assert await texts(blue, 1) == [f"blue{turn}"]
            rest = await stack.enter_async_context(clients[0].subscription(QUEUE))
            assert await texts(rest, 300) == [f"green{number}" for number in range(300)]

    in_cluster(secret, main, "ann", "bob", "cas")


def test_what_a_consumer_leaves_comes_back_to_who_chooses_it(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(aio.connect(one.url)) for one in every]
            async with clients[0].subscription(QUEUE, selector="colour = 'red'") as first:
                await send(clients[1], "red1", "blue1", "red2")
                message = await first.get(timeout=PATIENCE)
                assert message.text == "red1"
                await message.nack()
                again = await first.get(timeout=PATIENCE)
                assert again.text in ("red1", "red2")
            red = await stack.enter_async_context(
                clients[2].subscription(QUEUE, selector="colour = 'red'")
            )
            assert sorted(await texts(red, 2)) == ["red1", "red2"]
            blue = await stack.enter_async_context(
                clients[1].subscription(QUEUE, selector="colour = 'blue'")
            )
            assert await texts(blue, 1) == ["blue1"]

    in_cluster(secret, main, "ann", "bob", "cas")
