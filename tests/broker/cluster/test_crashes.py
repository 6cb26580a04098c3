"""Three real servers that are hurt under load: nothing that was told to be safe is lost, or torn.

Each turn of the load is a transaction: two messages come, and one of an earlier turn leaves.
Whoever takes over then must find every turn that was reported safe, and none in part.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.fault_proxy import DOWN, UP, Fault, FaultProxy
from tests.support.house import make_message
from tests.support.looping import run, soon
from tests.support.nats import PATIENCE, Server, Trio, alone, open_log, settings_for, stopped

from stompy_broker.cluster.log.log import LogError, StreamLog
from stompy_broker.cluster.log.store import LoggedStore, LogListener
from stompy_broker.cluster.log.takeover import Tenure, take_over
from stompy_broker.cluster.nats.client import NATSClient
from stompy_broker.cluster.nats.jetstream import JetStream, StreamState
from stompy_broker.message import Message
from stompy_broker.timers import Clock

WINDOW = 32
"""Turns that are not safe yet."""


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait for something that servers do, who may need long."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 -- servers do not tell
            await asyncio.sleep(0.01)
    assert condition(), what


def ticking() -> Clock:
    """A clock that goes by the loop."""
    loop = asyncio.get_running_loop()

    def wake(when: float) -> None:
        loop.call_at(when, clock.run)

    clock = Clock(loop.time, wake)
    return clock


@asynccontextmanager
async def connected(*urls: str) -> AsyncIterator[JetStream]:
    client = NATSClient(settings_for(*urls))
    await client.start()
    try:
        yield JetStream(client)
    finally:
        await client.close()


async def open_soon(jetstream: JetStream, replicas: int = 3) -> StreamLog:
    """The log, once the servers have elected somebody who makes it."""
    while True:
        try:
            return await open_log(jetstream, "crash", replicas=replicas)
        except Exception as error:
            reason = str(error)
            assert "answer" in reason or "listens" in reason or "unavailable" in reason, reason
            await asyncio.sleep(0.1)


async def taken_over(log: StreamLog, name: str) -> Tenure:
    """The log, once the servers that are just starting let it be read."""
    while True:
        try:
            return await take_over(log, name)
        except LogError as error:
            reason = str(error)
            assert "cannot be read" in reason, reason
            await asyncio.sleep(0.1)


class Load:
    """An owner of the log, and what it was told to be safe.

    Args:
        log: the log.
        name: of the owner.
    """

    def __init__(self, log: StreamLog, name: str = "ann") -> None:
        self.log = log
        self.name = name
        self.turns = 0
        self.safe = 0
        self.fenced: list[str] = []
        self.trouble: list[bool] = []
        self._first: dict[int, Message] = {}
        self._go = True
        self.asleep = False

    async def begin(self) -> None:
        """Take the log over."""
        tenure = await taken_over(self.log, self.name)
        loop = asyncio.get_running_loop()
        listener = LogListener(fenced=self.fenced.append, troubled=self.trouble.append)
        self.store = LoggedStore(tenure, ticking(), loop.call_soon, listener)

    def _turn(self) -> None:
        self.turns += 1
        turn, store = self.turns, self.store
        one, two = make_message(turn * 2, b"%d" % turn), make_message(turn * 2 + 1, b"%d" % turn)
        self._first[turn] = one
        store.append("/queue/a", one)
        store.append("/queue/b", two)
        if (old := self._first.pop(turn - WINDOW, None)) is not None:
            store.remove(old)
        store.sync(lambda: setattr(self, "safe", max(self.safe, turn)))

    async def run(self) -> None:
        """Go on until it is told to stop, or fenced."""
        while self._go and not self.fenced:
            while not self.asleep and self.turns - self.safe < WINDOW and not self.fenced:
                self._turn()
                await asyncio.sleep(0)
            await asyncio.sleep(0.001)

    async def stop(self) -> None:
        """Begin no turn any more, and see that all become safe."""
        self._go = False
        await until(lambda: self.safe == self.turns, "all is safe")

    def check(self, found: list[int]) -> None:
        """See that there is every turn that was safe, and none in part."""
        turns = max((sequence // 2 for sequence in found), default=0)
        assert self.safe <= turns <= self.turns
        expected = {turn * 2 + 1 for turn in range(1, turns + 1)}
        expected |= {turn * 2 for turn in range(max(1, turns - WINDOW + 1), turns + 1)}
        assert set(found) == expected


async def left_in(jetstream: JetStream, replicas: int = 3) -> list[int]:
    """What a broker finds that takes over now."""
    log = await open_soon(jetstream, replicas)
    tenure = await taken_over(log, "check")
    await log.close()
    return sorted(tenure.replay.rows)


async def leader_of(jetstream: JetStream, trio: Trio, load: Load) -> Server:
    state = await state_of(jetstream, load)
    return trio.named(state.leader)


async def state_of(jetstream: JetStream, load: Load) -> StreamState:
    return await jetstream.state(load.log.stream)


async def more(load: Load) -> None:
    """Wait until a good deal more is safe."""
    want = load.safe + 3 * WINDOW
    await until(lambda: load.safe >= want, "more is safe")


def under_load(
    top: Path, hurt: Callable[[JetStream, Trio, Load], Coroutine[Any, Any, None]]
) -> Load:
    """Hurt three servers while an owner writes, and see what is left."""
    loads: list[Load] = []

    async def main() -> None:
        with Trio(top) as trio:
            async with connected(*trio.urls) as mine, connected(*reversed(trio.urls)) as other:
                load = Load(await open_soon(mine))
                loads.append(load)
                await load.begin()
                running = asyncio.create_task(load.run())
                try:
                    await more(load)
                    await hurt(other, trio, load)
                    if not load.fenced:
                        await more(load)
                        await load.stop()
                finally:
                    load._go = False
                    await running
                load.store.close()
                await load.log.close()
                load.check(await left_in(other))

    run(main)
    return loads[0]


def test_a_leader_that_stops_in_order_is_hardly_missed(tmp_path: Path):
    async def hurt(jetstream: JetStream, trio: Trio, load: Load) -> None:
        (await leader_of(jetstream, trio, load)).end(signal.SIGTERM)

    under_load(tmp_path, hurt)


def test_who_was_deposed_under_load_tells_nobody_that_anything_is_safe(tmp_path: Path):
    async def hurt(jetstream: JetStream, trio: Trio, load: Load) -> None:
        log = await open_soon(jetstream)
        bob = Load(log, "bob")
        load.asleep = True
        await bob.begin()
        load.asleep = False
        await until(lambda: load.fenced, "it is fenced")
        safe = load.safe
        assert load.fenced == ["tenure 2"]
        assert load.trouble[-1]
        await asyncio.sleep(0)
        assert load.safe == safe
        bob.store.close()
        await log.close()

    under_load(tmp_path, hurt)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("which", ["leader", "follower"])
def test_a_server_is_killed_and_comes_back(tmp_path: Path, which: str):
    async def hurt(jetstream: JetStream, trio: Trio, load: Load) -> None:
        leader = await leader_of(jetstream, trio, load)
        server = leader if which == "leader" else next(s for s in trio.servers if s is not leader)
        server.end()
        await more(load)
        server.start()

    under_load(tmp_path, hurt)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_leader_sleeps_and_wakes_up(tmp_path: Path):
    async def hurt(jetstream: JetStream, trio: Trio, load: Load) -> None:
        with stopped(await leader_of(jetstream, trio, load)):
            await more(load)

    under_load(tmp_path, hurt)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("count", [2, 3])
def test_most_of_the_servers_are_killed_and_come_back(tmp_path: Path, count: int):
    async def hurt(jetstream: JetStream, trio: Trio, load: Load) -> None:
        for server in trio.servers[:count]:
            server.end()
        await until(lambda: load.trouble == [True], "it is told")
        safe = load.safe
        for server in trio.servers[:count]:
            server.start()
        await until(lambda: load.safe > safe, "it goes on")
        assert load.trouble[:2] == [True, False]

    under_load(tmp_path, hurt)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_owners_depose_one_another_under_load(tmp_path: Path):
    """Each finds what those before it were told to be safe."""

    async def main() -> None:
        with Trio(tmp_path) as trio:
            async with connected(*trio.urls) as mine, connected(*reversed(trio.urls)) as other:
                last, tasks, safe = None, list[asyncio.Task[None]](), 0
                for number in range(8):
                    load = Load(await open_soon(other if number % 2 else mine), f"b{number}")
                    await load.begin()
                    found = load.store.index.messages
                    load.turns = load.safe = max(found, default=0) // 2
                    assert load.turns >= safe
                    tasks.append(asyncio.create_task(load.run()))
                    if last is not None:
                        last.asleep = False
                        await until(lambda last=last: last.fenced, "it is fenced")
                        assert last.safe <= load.turns
                    await more(load)
                    load.asleep = True
                    last, safe = load, load.safe
                load._go = False
                for task in tasks:
                    await task

    run(main)


@pytest.mark.parametrize("direction", [UP, DOWN])
def test_a_network_that_cuts_anywhere_costs_nothing(tmp_path: Path, direction: str):
    """Requests, or answers, break off at any byte: what is in doubt is found out."""

    async def main() -> None:
        server = alone(tmp_path / "nats")
        server.start()
        try:
            with FaultProxy(server.settings.port) as proxy:
                lengths = [2000 + 997 * number for number in range(12)]
                proxy.plan(*(Fault({direction: length}) for length in lengths))
                async with connected(f"nats://127.0.0.1:{proxy.port}") as jetstream:
                    load = Load(await open_soon(jetstream, 1))
                    await load.begin()
                    running = asyncio.create_task(load.run())
                    await until(lambda: proxy.accepted > len(lengths), "all are cut")
                    await more(load)
                    await load.stop()
                    await running
                    load.store.close()
                    await load.log.close()
                    assert load.fenced == []
                    load.check(await left_in(jetstream, 1))
        finally:
            server.end()

    run(main)


@pytest.mark.parametrize(
    "directions",
    [
        pytest.param({UP}, marks=pytest.mark.slow),
        {DOWN},
        pytest.param({UP, DOWN}, marks=pytest.mark.slow),
    ],
)
def test_a_network_that_swallows_all_is_given_up(tmp_path: Path, directions: set[str]):
    async def main() -> None:
        server = alone(tmp_path / "nats")
        server.start()
        try:
            with FaultProxy(server.settings.port) as proxy:
                async with connected(f"nats://127.0.0.1:{proxy.port}") as jetstream:
                    load = Load(await open_soon(jetstream, 1))
                    await load.begin()
                    running = asyncio.create_task(load.run())
                    await more(load)
                    proxy.passages[-1].swallow |= directions
                    await until(lambda: proxy.accepted > 1, "it connects again")
                    await more(load)
                    await load.stop()
                    await running
                    load.store.close()
                    await load.log.close()
                    load.check(await left_in(jetstream, 1))
        finally:
            server.end()

    run(main)


@pytest.mark.slow
def test_a_full_disk_is_waited_out(tmp_path: Path):
    """A server that has no room says so; it is trouble, and no end."""

    async def main() -> None:
        server = alone(tmp_path / "nats", max_storage=3_000_000)
        server.start()
        try:
            async with connected(server.url) as jetstream:
                load = Load(await open_soon(jetstream, 1))
                await load.begin()
                done: list[int] = []
                for number in range(1, 40):
                    load.store.append("/queue/a", make_message(number, bytes(200_000)))
                    load.store.sync(lambda number=number: done.append(number))
                    await asyncio.sleep(0)
                await until(lambda: load.trouble == [True], "it is told")
                assert load.fenced == []
                assert "store" in load.store.trouble or "resources" in load.store.trouble
                safe = len(done)
                # Somebody gives the server more room.
                server.text = server.text.replace("3000000", "90000000")
                server.end(signal.SIGTERM)
                server.start()
                await until(lambda: len(done) == 39, "all is safe")
                assert load.trouble == [True, False]
                assert safe < 39
                load.store.close()
                await load.log.close()
        finally:
            server.end()

    run(main)


def test_a_body_as_large_as_the_limit_allows(tmp_path: Path):
    async def main() -> None:
        server = alone(tmp_path / "nats")
        server.start()
        try:
            async with connected(server.url) as jetstream:
                load = Load(await open_soon(jetstream, 1))
                await load.begin()
                body = bytes(range(256)) * (64 * 4096)
                message = make_message(1, body)
                done: list[int] = []
                load.store.append("/queue/a", message)
                load.store.sync(lambda: done.append(1))
                await until(lambda: done, "it is safe")
                message.body = None
                load.store.load([message], lambda: done.append(2))
                await soon(lambda: len(done) == 2)
                assert message.body == body
                load.store.close()
                await load.log.close()
        finally:
            server.end()

    run(main)
