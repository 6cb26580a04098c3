"""Changes of several groups on real servers that are hurt: in all of their groups, or in none."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.broker.cluster.test_crashes import connected, taken_over, ticking, until
from tests.support.fault_proxy import DOWN, UP, Fault, FaultProxy
from tests.support.house import make_message
from tests.support.looping import run
from tests.support.nats import Trio, alone, house_server, open_log

from stompy_broker.cluster.log.joint_commit import JointCommits
from stompy_broker.cluster.log.log import LogError, StreamLog
from stompy_broker.cluster.log.store import LoggedStore, LogListener
from stompy_broker.cluster.log.takeover import take_over
from stompy_broker.cluster.nats.jetstream import JetStream
from stompy_broker.routing.answers import when_all
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.group import QueueGroup

NAMES = itertools.count(1)
GROUPS = 3
PAIRS = [(0, 1), (1, 2), (0, 2), (0, 1, 2), (0,), (1,), (2,)]
"""Which groups the changes have, in turn."""

WINDOW = 16


async def open_logs(jetstream: JetStream, cluster: str, replicas: int = 1) -> list[StreamLog]:
    logs: list[StreamLog] = []
    while len(logs) < GROUPS:
        try:
            logs.append(await open_log(jetstream, cluster, len(logs), replicas=replicas))
        except LogError:  # the servers are just starting, or cut off
            await asyncio.sleep(0.1)
    return logs


class Work:
    """An owner of all groups, whose every change puts its number into each of its groups.

    Args:
        logs: of the groups.
    """

    def __init__(self, logs: list[StreamLog]) -> None:
        self.logs = logs
        self.changes = 0
        self.safe: set[int] = set()
        self.fenced: list[str] = []
        self.go = True

    async def begin(self) -> None:
        """Take the logs over."""
        tenures = [await taken_over(log, "ann") for log in self.logs]
        soon = asyncio.get_running_loop().call_soon
        listener = LogListener(fenced=self.fenced.append)
        self.stores = [LoggedStore(tenure, ticking(), soon, listener) for tenure in tenures]
        mark = Watermark(0)
        self.groups = [
            QueueGroup(number, store, 0, mark, mark) for number, store in enumerate(self.stores)
        ]
        self.together = JointCommits(lambda group: self.stores[group.number], soon)

    def _change(self) -> None:
        self.changes += 1
        change, numbers = self.changes, PAIRS[self.changes % len(PAIRS)]
        if len(numbers) > 1:
            self.together.begin([self.groups[number] for number in numbers])
        part_done = when_all(len(numbers), lambda error=None: self.safe.add(change))
        for number in numbers:
            self.stores[number].append("/queue/q", make_message(change))
            self.stores[number].sync(part_done)

    async def run(self) -> None:
        """Go on until it is told to stop, or one of the groups was taken over."""
        while self.go and not self.fenced:
            while self.changes - len(self.safe) < WINDOW and not self.fenced:
                self._change()
                await asyncio.sleep(0)
            await asyncio.sleep(0.001)

    async def more(self, count: int = 3 * WINDOW) -> None:
        """Wait until a good deal more is safe."""
        want = len(self.safe) + count
        await until(lambda: len(self.safe) >= want, "more is safe")

    def close(self) -> None:
        """End like one that crashes: nothing is written any more."""
        self.go = False
        for store in self.stores:
            store.close()


async def check(jetstream: JetStream, cluster: str, work: Work, replicas: int = 1) -> None:
    """See what the next owner finds: every change that was safe, and none in part."""
    logs = await open_logs(jetstream, cluster, replicas)
    found = [set((await taken_over(log, "check")).replay.rows) for log in logs]
    for log in logs:
        await log.close()
    for change in range(1, work.changes + 1):
        numbers = PAIRS[change % len(PAIRS)]
        inside = {change in found[number] for number in numbers}
        assert len(inside) == 1, f"change {change} of {numbers} is torn"
        assert change not in work.safe or inside == {True}, f"change {change} is lost"


Hurt = Callable[[JetStream, Work], Coroutine[Any, Any, None]]


async def at_work(jetstream: JetStream, cluster: str, hurt: Hurt, replicas: int = 1) -> Work:
    """Hurt somebody who works, and leave him dead."""
    work = Work(await open_logs(jetstream, cluster, replicas))
    await work.begin()
    running = asyncio.create_task(work.run())
    try:
        await work.more()
        await hurt(jetstream, work)
    finally:
        work.close()
        await running
        for log in work.logs:
            await log.close()
    return work


def test_an_owner_that_dies_at_any_step_tears_nothing() -> None:
    async def main() -> None:
        async with connected(house_server().url) as mine, connected(house_server().url) as other:
            for steps in range(12):

                async def hurt(jetstream: JetStream, work: Work, steps: int = steps) -> None:
                    for _ in range(steps):  # so many turns after something has become safe
                        await asyncio.sleep(0)

                cluster = f"joint{next(NAMES)}"
                work = await at_work(mine, cluster, hurt)
                await check(other, cluster, work)

    run(main)


def test_who_loses_one_group_tears_nothing_and_loses_what_it_was_together_with() -> None:
    async def main() -> None:
        async with connected(house_server().url) as mine, connected(house_server().url) as other:
            cluster = f"joint{next(NAMES)}"

            async def hurt(jetstream: JetStream, work: Work) -> None:
                log = (await open_logs(other, cluster))[1]
                while not work.fenced:  # an owner that keeps writing has to be raced
                    try:
                        await asyncio.wait_for(take_over(log, "bob"), 1.0)
                    except (LogError, TimeoutError):
                        continue
                    await until(lambda: work.fenced, "it is fenced")
                await until(lambda: len(work.fenced) == GROUPS, "the others end as well")
                safe = len(work.safe)
                await asyncio.sleep(0)
                assert len(work.safe) == safe
                await log.close()

            work = await at_work(mine, cluster, hurt)
            await check(other, cluster, work)

    run(main)


@pytest.mark.parametrize("direction", [UP, DOWN])
def test_a_network_that_cuts_anywhere_costs_nothing(tmp_path: Path, direction: str) -> None:
    """Batches, or answers, break off at any byte: what is in doubt is found out."""

    async def main() -> None:
        server = alone(tmp_path / "nats")
        server.start()
        try:
            with FaultProxy(server.settings.port) as proxy:
                lengths = [3000 + 1499 * number for number in range(12)]
                proxy.plan(*(Fault({direction: length}) for length in lengths))

                async def hurt(jetstream: JetStream, work: Work) -> None:
                    await until(lambda: proxy.accepted > len(lengths), "all are cut")
                    await work.more()
                    assert work.fenced == []

                async with connected(f"nats://127.0.0.1:{proxy.port}") as mine:
                    work = await at_work(mine, "joint", hurt)
                async with connected(server.url) as other:
                    await check(other, "joint", work)
        finally:
            server.end()

    run(main)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("which", ["leader", "follower", "all"])
def test_servers_are_killed_and_come_back(tmp_path: Path, which: str) -> None:
    async def main() -> None:
        with Trio(tmp_path) as trio:

            async def hurt(jetstream: JetStream, work: Work) -> None:
                state = await jetstream.state(work.logs[0].stream)
                servers = [
                    server
                    for server in trio.servers
                    if which == "all"
                    or (server.settings.name == state.leader) == (which == "leader")
                ]
                for server in servers if which == "all" else servers[:1]:
                    server.end(signal.SIGKILL)
                for server in servers if which == "all" else servers[:1]:
                    server.start()
                await work.more()
                assert work.fenced == []

            async with connected(*trio.urls) as mine:
                work = await at_work(mine, "joint", hurt, replicas=3)
            async with connected(*reversed(trio.urls)) as other:
                await check(other, "joint", work, replicas=3)

    run(main)
