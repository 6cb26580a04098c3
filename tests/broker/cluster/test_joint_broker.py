"""A whole broker with two groups on a log that a real server keeps: transactions over both.

Work is taken from a queue of one group and put into a queue of the other one, with the ACK in the
same transaction. However often the broker dies, each piece of work is in one of the two.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import pytest
from tests.support.groups import ByFirstLetter
from tests.support.looping import run
from tests.support.nats import house_server, open_log, settings_for

import stompy
from stompy import aio
from stompy_broker import broker as broker_module
from stompy_broker.broker import Broker
from stompy_broker.cluster.log.joint_commit import JointCommits
from stompy_broker.cluster.log.store import LoggedStore, LogListener
from stompy_broker.cluster.log.takeover import Tenure, take_over
from stompy_broker.cluster.nats.client import NATSClient
from stompy_broker.cluster.nats.jetstream import JetStream
from stompy_broker.config import load_config
from stompy_broker.destinations.policy import Policies
from stompy_broker.routing.factory import QueueFactory
from stompy_broker.routing.router import Router
from stompy_broker.store.interface import MessageStore
from stompy_broker.store.memory import MemoryStore
from stompy_broker.timers import Clock

NAMES = itertools.count(1)
PATIENCE = 30.0
PIECES = 300


class Owner(Broker):
    """A broker that owns two groups, and one of its own.

    Args:
        cluster: its name.
    """

    def __init__(self, cluster: str) -> None:
        quick = {"shutdown": 0.1, "linger": 0.1}
        super().__init__(
            load_config(overrides={"listen": {"port": 0}, "store": {"data": ""}, "times": quick})
        )
        self._cluster_name = cluster
        self._tenures: list[Tenure] = []
        self._stores: list[LoggedStore] = []
        self._nats = NATSClient(settings_for(house_server().url))

    async def start(self) -> None:
        await self._nats.start()
        jetstream = JetStream(self._nats)
        self._logs = [
            await open_log(jetstream, self._cluster_name, n, replicas=1) for n in range(2)
        ]
        self._tenures = [await take_over(log, "owner") for log in self._logs]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(broker_module, "Router", self._make_router)
            await super().start()

    def _queue_factory(self) -> QueueFactory:
        return ByFirstLetter()

    def _make_router(
        self,
        clock: Clock,
        wall: Callable[[], int],
        stores: Iterable[MessageStore],
        policies: Policies,
        **settings: Any,
    ) -> Router:
        soon = self._loop.call_soon
        listener = LogListener(self._reports.written, released=self._flusher.flush)
        self._stores = [LoggedStore(tenure, clock, soon, listener) for tenure in self._tenures]
        router = Router(clock, wall, [*self._stores, MemoryStore()], policies, **settings)
        places: list[LoggedStore | None] = [*self._stores, None]
        router.groups.together = JointCommits(lambda group: places[group.number], soon)
        return router

    async def die(self) -> None:
        """End like one that crashes: nothing is written any more."""
        for store in self._stores:
            store.close()
        self.abort()
        await self.stop()
        for log in self._logs:
            await log.close()
        await self._nats.close()


async def carry(client: aio.STOMPClient, most: int) -> None:
    """Take work from one queue and put it into the other one, without waiting for receipts."""
    async with client.subscription("/queue/a", ack_mode="client-individual") as work:
        for number in range(most):
            piece = await work.get(timeout=PATIENCE)
            await client.send("BEGIN", transaction=f"t{number}")
            await client.message("/queue/b", piece.Body, transaction=f"t{number}")
            await client.ack(piece, transaction=f"t{number}")
            await client.send("COMMIT", transaction=f"t{number}", receipt=True)


async def waiting(broker: Broker, queue: str) -> list[str]:
    return [frame.Body.decode() for frame in await broker.browse(queue)]


def test_no_piece_of_work_is_lost_or_done_twice_however_often_the_broker_dies() -> None:
    pieces = {f"{number}" for number in range(PIECES)}

    async def main() -> None:
        cluster, carried = f"work{next(NAMES)}", [0]
        owner = Owner(cluster)
        await owner.start()
        async with aio.connect(owner.url) as client:
            await client.send_many("/queue/a", sorted(pieces))
        for death in range(8):
            async with aio.connect(owner.url) as client:
                carrying = asyncio.create_task(carry(client, PIECES))
                for _ in range(20 + 4 * death):  # turns of the loop, which is the broker's as well
                    await asyncio.sleep(0)
                await owner.die()
                carrying.cancel()
                with suppress(asyncio.CancelledError, stompy.STOMPException):
                    await carrying
            owner = Owner(cluster)
            await owner.start()
            left, done = await waiting(owner, "a"), await waiting(owner, "b")
            assert sorted([*left, *done]) == sorted(pieces)
            carried.append(len(done))
        assert carried == sorted(carried)
        assert carried[-1] > 0
        await owner.die()

    run(main)


def test_what_was_committed_is_there_after_a_crash() -> None:
    async def main() -> None:
        cluster = f"work{next(NAMES)}"
        owner = Owner(cluster)
        await owner.start()
        async with aio.connect(owner.url) as client:
            await client.message("/queue/a", "order", confirm=True)
            subscription = await client.subscription("/queue/a")
            order = await subscription.get(timeout=PATIENCE)
            async with client.transaction() as txn:
                await txn.ack(order)
                await txn.message("/queue/b1", "bill")
                await txn.message("/queue/a1", "shipment")
            await owner.die()
        owner = Owner(cluster)
        await owner.start()
        found = [await waiting(owner, name) for name in ("a", "b1", "a1")]
        assert found == [[], ["bill"], ["shipment"]]
        await owner.die()

    run(main)
