"""Brokers of a cluster keep no streams, and say so, whoever owns the queue."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.broker.test_cluster_service import in_cluster, queues, secret

from stompy import STOMPError, aio
from stompy_broker.broker import Broker

__all__ = ["secret"]


def test_they_are_refused_by_name(secret: Path) -> None:
    async def refused(broker: Broker, destination: str, headers: dict[str, str]) -> None:
        async with aio.connect(broker.url) as client:
            with pytest.raises(STOMPError, match="no streams") as caught:
                await client.message(destination, "x", headers=headers, confirm=True)
            assert caught.value.code == "not-supported"

    async def main(every: list[Broker]) -> None:
        for broker in every:
            for queue in queues():
                stream = queue.replace("/queue/", "/stream/")
                await refused(broker, stream, {})
                await refused(broker, queue, {"x-queue-type": "stream"})
        async with aio.connect(every[0].url) as client:
            for queue in queues():  # nothing was left of that
                await client.message(queue, "x", confirm=True)

    in_cluster(secret, main, "ann", "bob")
