"""Topics of a cluster keep no messages, and say so."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.broker.test_cluster_service import PATIENCE, in_cluster, secret

import stompy
from stompy import aio
from stompy_broker.broker import Broker

__all__ = ["secret"]

REFUSED = "in a cluster topics keep no messages"


def test_what_cannot_be_is_refused(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        for name in ("x-retain", "ActiveMQ.Retain", "retain"):
            async with aio.connect(every[0].url) as client:
                with pytest.raises(stompy.STOMPError, match=REFUSED):
                    await client.message("/topic/t", "x", headers={name: "true"}, confirm=True)
        for name in ("retained", "activemq.retroactive"):
            async with aio.connect(every[0].url) as client:
                await client.subscribe("/topic/t", headers={name: "true"})
                with pytest.raises(stompy.STOMPError, match=REFUSED):
                    await client.recv(timeout=PATIENCE)
        async with aio.connect(every[0].url) as client:
            headers = {"retained": "false"}
            async with client.subscription("/topic/t", headers=headers) as messages:
                await client.message("/topic/t", "x", confirm=True)
                assert (await messages.get(timeout=PATIENCE)).text == "x"

    in_cluster(secret, main, "ann")
