"""Last-value queues in a cluster: the owner of the queue replaces, wherever clients are."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from tests.broker.test_cluster_service import PATIENCE, in_cluster, secret
from tests.broker.test_cluster_topics import moved, texts

from stompy import aio
from stompy_broker.broker import Broker

__all__ = ["secret"]

QUEUE = "/queue/prices"


async def send(client: aio.STOMPClient, *words: str) -> None:
    """Send messages, each of the key that its first letter is, and be sure that they are there."""
    for word in words:
        headers = {"symbol": word[0], "x-last-value-key": "symbol"}
        await client.message(QUEUE, word, headers=headers, confirm=True)


def test_the_last_value_comes_wherever_the_queue_is(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        cluster = every[0]._cluster
        assert cluster is not None
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(aio.connect(one.url)) for one in every]
            await send(clients[0], "a1", "b1")
            await send(clients[1], "a2")
            await send(clients[2], "b2", "c1")
            for turn in range(3, 5):
                for group in range(cluster.count):
                    owner = cluster.node.owner_of(group)
                    moved(every, group)
                    async with asyncio.timeout(PATIENCE):
                        while cluster.node.owner_of(group) in ("", owner):  # noqa: ASYNC110 -- of beats
                            await asyncio.sleep(0.01)
                await send(clients[turn % 3], f"a{turn}")
            rest = await stack.enter_async_context(clients[0].subscription(QUEUE))
            assert await texts(rest, 3) == ["b2", "c1", "a4"]

    in_cluster(secret, main, "ann", "bob", "cas")


def test_what_comes_back_goes_if_a_newer_one_is_there(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(aio.connect(one.url)) for one in every]
            await send(clients[0], "a1")
            values = await stack.enter_async_context(clients[1].subscription(QUEUE))
            first = await values.get(timeout=PATIENCE)
            assert first.text == "a1"
            await send(clients[2], "a2")
            await first.nack()
            assert await texts(values, 1) == ["a2"]
            await send(clients[2], "b1")
            assert await texts(values, 1) == ["b1"]

    in_cluster(secret, main, "ann", "bob", "cas")
