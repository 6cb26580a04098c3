"""Requests that fail at once, over whole brokers that own the queues they go to."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.broker.test_cluster_directions import connected
from tests.broker.test_cluster_service import PATIENCE, in_cluster, queues, secret

import stompy
from stompy import aio
from stompy_broker.broker import Broker

__all__ = ["secret"]

QUEUES = list(queues())[:6]
"""Of several groups, so that each broker owns some of them."""


async def failure(client: aio.STOMPClient, queue: str, **headers: str | int) -> str:
    """What becomes of a request that nobody answers."""
    try:
        await client.request(queue, "anybody?", timeout=PATIENCE, headers=headers)
    except stompy.NoResponders:
        return "no-consumers"
    except stompy.RequestRejected as error:
        return f"{error.status} {error.headers.get('x-death-info', '')}".strip()
    except stompy.STOMPTimeout:
        return "timeout"
    raise AssertionError("somebody has answered")


def test_who_is_there_is_known_wherever_the_queue_is(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        async with AsyncExitStack() as stack:
            here, there, _ = await connected(stack, every)
            for queue in QUEUES:
                assert await failure(here, queue) == "no-consumers"
                await here.message(queue, "so that there is the queue", confirm=True)
                assert await failure(here, queue) == "no-consumers"
                async with there.subscription(queue) as questions:
                    await (await questions.get(timeout=PATIENCE)).ack()
                    asking = asyncio.create_task(here.request(queue, "?", timeout=PATIENCE))
                    question = await questions.get(timeout=PATIENCE)
                    await question.reply("!")
                    assert (await asking).text == "!"

    in_cluster(secret, main, "ann", "bob", "cas")


def test_what_its_owner_gives_up_is_answered(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        async with AsyncExitStack() as stack:
            here, there, _ = await connected(stack, every)
            for queue in QUEUES:
                subscription = there.subscription(queue, "client-individual", prefetch=1)
                async with subscription as questions:
                    asking = asyncio.create_task(failure(here, queue))
                    question = await questions.get(timeout=PATIENCE)
                    late = asyncio.create_task(failure(here, queue, **{"reply-timeout": 50}))
                    assert await late == "timeout"  # and it is taken back, from its owner
                    short = asyncio.create_task(failure(here, queue, ttl=50))
                    assert await short == "expired"
                    await question.nack(requeue=False, reason="because")
                    assert await asking == "rejected because"
                    asking = asyncio.create_task(here.request(queue, "?", timeout=PATIENCE))
                    await (await questions.get(timeout=PATIENCE)).reply("!")
                    assert (await asking).text == "!"

    in_cluster(secret, main, "ann", "bob", "cas")


def test_in_a_transaction_and_on_topics(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        async with AsyncExitStack() as stack:
            here, there, _ = await connected(stack, every)
            for destination in (QUEUES[0], QUEUES[1], "/topic/anybody"):
                assert await failure(here, destination) == "no-consumers"
                async with there.subscription(destination) as questions:
                    asking = asyncio.create_task(here.request(destination, "?", timeout=PATIENCE))
                    await (await questions.get(timeout=PATIENCE)).reply("!")
                    assert (await asking).text == "!"
            answers = here.subscription("/temp-queue/a", "auto")
            async with answers as got:
                for number, queue in enumerate(QUEUES):
                    async with here.transaction() as transaction:
                        headers = {"reply-to": "/temp-queue/a", "reply-timeout": 30_000}
                        headers["correlation-id"] = number
                        await transaction.message(queue, "?", headers=headers)
                    answer = await got.get(timeout=PATIENCE)
                    assert answer["reply-status"] == "no-consumers"
                    assert answer["correlation-id"] == str(number)

    in_cluster(secret, main, "ann", "bob", "cas")


def test_replies_to_a_queue_with_a_name_may_come_in_elsewhere(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        async with AsyncExitStack() as stack:
            here, *_ = await connected(stack, every)
            headers = {"reply-to": QUEUES[0], "reply-timeout": 1000}
            with pytest.raises(stompy.STOMPError) as caught:
                await here.message(QUEUES[1], "?", headers=headers, confirm=True)
            assert caught.value.code == "not-supported"

    in_cluster(secret, main, "ann", "bob", "cas")
