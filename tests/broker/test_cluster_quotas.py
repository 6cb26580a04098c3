"""Quotas of users in a cluster: each broker counts at itself, and queues may be elsewhere."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Literal

import pytest
from tests.broker.test_cluster_service import NUMBERS, PATIENCE, configured, queues, secret
from tests.support.looping import run
from tests.support.nats import free_ports

from stompy import aio
from stompy_broker.broker import Broker
from stompy_broker.quota_config import QuotaConfig

__all__ = ["secret"]

EACH = 20


@pytest.mark.parametrize("ack", ["auto", "client-individual"])
def test_what_comes_from_queues_of_other_brokers_comes_at_its_rate(
    secret: Path, ack: Literal["auto", "client-individual"]
) -> None:
    """Nothing is lost and nothing overtakes, while consumers leave their lines all the time."""
    quota = QuotaConfig(send_rate="60/s", receive_rate="60/s")
    cluster = f"quotas{next(NUMBERS)}"

    async def receive(client: aio.STOMPClient, queue: str) -> list[str]:
        found = []
        async with client.subscription(queue, ack) as messages:
            for _ in range(EACH):
                message = await messages.get(timeout=PATIENCE)
                found.append(message.text)
                if ack != "auto":
                    await message.ack()
        return found

    async def main() -> None:
        async with AsyncExitStack() as stack:
            every = []
            for name, port in zip(("ann", "bob"), free_ports(2), strict=True):
                config = configured(secret, name, cluster, port)
                every.append(Broker(config.model_copy(update={"quota": (quota,)})))
            await asyncio.gather(*(broker.start() for broker in every))
            for broker in every:
                stack.push_async_callback(broker.stop)
            here, there = [
                await stack.enter_async_context(aio.connect(broker.url)) for broker in every
            ]
            receiving = [asyncio.create_task(receive(there, queue)) for queue in queues()]
            for number in range(EACH):
                for queue in queues():
                    await here.message(queue, str(number))
            for task in receiving:
                assert await task == [str(number) for number in range(EACH)]

    run(main)
