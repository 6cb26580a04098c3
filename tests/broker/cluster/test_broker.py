"""Whole brokers on a log that a real server keeps: what one was told, the next one gives."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

from tests.support.looping import run
from tests.support.nats import house_server, settings_for

from stompy import aio
from stompy_broker.broker import Broker
from stompy_broker.cluster.membership.groups import GroupMap
from stompy_broker.cluster.membership.members import Member as ClusterMember
from stompy_broker.cluster.membership.membership import MembershipTimes
from stompy_broker.cluster.node import ClusterNode, NodeSettings
from stompy_broker.cluster.store import LoggedStore, LogListener
from stompy_broker.cluster.takeover import Tenure
from stompy_broker.config import load_config
from stompy_broker.store.interface import MessageStore

NAMES = itertools.count(1)
PATIENCE = 30.0


class Member(Broker):
    """A broker whose store is on the log of the one group of a cluster.

    Args:
        cluster: its name.
        name: of the broker.
    """

    def __init__(self, cluster: str, name: str) -> None:
        # Who is to die waits for nothing.
        quick = {"shutdown": 0.1, "linger": 0.1}
        super().__init__(load_config(overrides={"listen": {"port": 0}, "times": quick}))
        nats = settings_for(house_server().url)
        times = MembershipTimes(beat=0.05, silent=0.3, listen=0.1)
        settings = NodeSettings(cluster, name, nats, 1, groups=GroupMap(1), times=times)
        self.node = ClusterNode(settings, self)
        self.tenure: asyncio.Future[Tenure] = asyncio.get_running_loop().create_future()
        self.fenced = asyncio.Event()

    async def start(self) -> None:
        await self.node.start()
        await self.tenure
        await super().start()

    def _open_store(self) -> MessageStore:
        tenure = self.tenure.result()
        listener = LogListener(
            self._on_disk,
            self._store_troubled,
            self._flusher.flush,
            self._message_damaged,
            partial(self.node.fenced, 0, tenure.number),
        )
        return LoggedStore(tenure, self._clock, self._loop.call_soon, listener)

    def owned(self, group: int, tenure: Tenure) -> None:
        self.tenure.set_result(tenure)

    def deposed(self, group: int, reason: str) -> None:
        self.fenced.set()

    def owner_changed(self, group: int, owner: str) -> None:
        pass

    def leave(self, group: int, done: Callable[[], None]) -> None:
        raise AssertionError("nobody has asked for it")

    def members_changed(self, members: Mapping[str, ClusterMember]) -> None:
        pass

    async def stop(self) -> None:
        await super().stop()
        await self.node.close()

    async def die(self) -> None:
        """End like one that crashes: nothing is written any more."""
        self._store.close()
        self.abort()
        await self.stop()


async def take(url: str, count: int) -> list[tuple[str, str]]:
    """Receive and acknowledge messages; gives text and ``redelivered``."""
    found = []
    async with aio.connect(url) as client, client.subscription("/queue/q") as messages:
        for _ in range(count):
            message = await messages.get(timeout=PATIENCE)
            found.append((message.text, message.headers["redelivered"]))
            await message.ack()  # leaving the block waits until it is safe
    return found


def test_what_a_broker_was_told_the_next_one_gives():
    async def main() -> None:
        cluster = f"brokers{next(NAMES)}"
        ann = Member(cluster, "ann")
        await ann.start()
        async with aio.connect(ann.url) as client:
            for number in range(20):
                await client.message("/queue/q", f"{number}", confirm=True)
        assert await take(ann.url, 5) == [(f"{n}", "false") for n in range(5)]
        await ann.die()
        async with Member(cluster, "bob") as bob:
            # Nobody knows whether they were delivered without a trace.
            assert await take(bob.url, 15) == [(f"{n}", "true") for n in range(5, 20)]

    run(main)


def test_who_was_deposed_gives_no_receipt():
    async def main() -> None:
        cluster = f"brokers{next(NAMES)}"
        ann = Member(cluster, "ann")
        await ann.start()
        async with aio.connect(ann.url) as client:
            await client.message("/queue/q", "1", confirm=True)
            ann.node._speak = lambda: None  # type: ignore[method-assign]
            async with Member(cluster, "bob") as bob:
                late = asyncio.create_task(client.message("/queue/q", "2", confirm=True))
                await ann.fenced.wait()
                assert await take(bob.url, 1) == [("1", "true")]
                assert not late.done()
                late.cancel()
                with suppress(asyncio.CancelledError):
                    await late
            await ann.die()

    run(main)
