"""Members of a cluster: one owns the log, the next one follows when it leaves or is not heard."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.looping import run, soon
from tests.support.nats import alone, house_server, settings_for

from stompy_broker.cluster.log import LogError, Stored
from stompy_broker.cluster.log_record import RecordHead, RecordKind, write_record
from stompy_broker.cluster.nats.codec import NATSError, NATSLogin
from stompy_broker.cluster.nats.sync_check import SyncError
from stompy_broker.cluster.node import ClusterNode, NodeSettings
from stompy_broker.cluster.takeover import LogDamagedError, Tenure, append_until_told

NAMES = itertools.count(1)
LONG = 1000.0


@asynccontextmanager
async def member(cluster: str, broker: str, **settings: Any) -> AsyncIterator[ClusterNode]:
    usual = NodeSettings(cluster, broker, settings_for(house_server().url), 1)
    node = ClusterNode(replace(usual, silent_seconds=LONG, beat_seconds=0.02, **settings))
    await node.start()
    try:
        yield node
    finally:
        await node.close()


async def leave(node: ClusterNode, tenure: Tenure) -> None:
    """End a tenure as a store does."""
    head = RecordHead(RecordKind.LEAVE, tenure.number, tenure.replay.number + 1, 1, 0)
    parts = write_record(head, b"", tenure.log.part_bytes)
    assert isinstance(await append_until_told(tenure.log, parts, tenure.place), Stored)
    await node.fall_silent(left=True)


def test_the_first_one_owns_an_empty_log_at_once_and_the_next_one_waits_until_it_has_left():
    async def main() -> None:
        name = f"node{next(NAMES)}"
        async with member(name, "ann") as ann, member(name, "bob") as bob:
            first = await ann.own()
            waiting = asyncio.create_task(bob.own())
            await soon(lambda: bob.heard_of == "ann")
            assert not waiting.done()
            await leave(ann, first)
            second = await waiting
            assert (first.number, second.number, second.before) == (1, 2, "ann")
            assert second.replay.doubtful == 0
        async with member(name, "cid") as cid:
            # Nobody has said that bob has left: it is waited for.
            again = asyncio.create_task(cid.own())
            await asyncio.sleep(0)
            assert not again.done()
            again.cancel()

    run(main)


def test_who_is_not_heard_any_more_is_followed():
    async def main() -> None:
        name = f"node{next(NAMES)}"
        async with member(name, "ann") as ann:
            await ann.own()
            await ann.fall_silent(left=False)
            async with member(name, "bob") as bob:
                bob._settings = replace(bob._settings, silent_seconds=0.05)
                tenure = await bob.own()
                assert (tenure.number, tenure.before) == (2, "ann")

    run(main)


def test_of_many_who_wait_one_follows_and_the_others_go_on_waiting():
    async def main() -> None:
        name = f"node{next(NAMES)}"
        async with member(name, "ann") as ann, member(name, "b") as b, member(name, "c") as c:
            first = await ann.own()
            waiting = [asyncio.create_task(one.own()) for one in (b, c)]
            await soon(lambda: b.heard_of == c.heard_of == "ann")
            await leave(ann, first)
            await soon(lambda: any(task.done() for task in waiting))
            winner = next(task for task in waiting if task.done())
            other = b if winner is waiting[1] else c
            await soon(lambda: other.heard_of == winner.result().owner)
            assert sum(task.done() for task in waiting) == 1
            for task in waiting:
                task.cancel()

    run(main)


def test_a_log_that_is_damaged_is_not_waited_for():
    async def main() -> None:
        name = f"node{next(NAMES)}"
        async with member(name, "ann") as ann:
            first = await ann.own()
            head = RecordHead(RecordKind.LEAVE, 1, first.replay.number + 2, 1, 0)
            parts = write_record(head, b"", 1000)
            await append_until_told(first.log, parts, first.place)
            await ann.fall_silent(left=True)
            async with member(name, "bob") as bob:
                with pytest.raises(LogDamagedError, match="record 2"):
                    await bob.own()
                assert (await bob.own(accept_damage=True)).number == 2

    run(main)


@pytest.mark.parametrize("always", [True, False])
def test_servers_that_do_not_sync_are_refused(tmp_path: Path, always: bool):
    async def main() -> None:
        server = alone(tmp_path / "nats", password="s3cret", sync_always=always)
        server.start()
        settings = {"nats": settings_for(server.url), "system": NATSLogin("sys", "s3cret")}
        try:
            if always:
                async with member("x", "ann", **settings) as ann:
                    assert (await ann.own()).number == 1
            else:
                with pytest.raises(SyncError, match="do not sync"):
                    async with member("x", "ann", **settings):
                        pass
        finally:
            server.end()

    run(main)


def test_servers_that_have_no_leader_are_waited_for_and_given_up():
    async def main() -> None:
        with pytest.raises(LogError, match="replicas"):
            async with member("y", "ann", replicas=3, patience_seconds=0.0):
                pass
        with pytest.raises(NATSError, match="no NATS server"):
            async with member("y", "ann", nats=settings_for("nats://127.0.0.1:1")):
                pass

    run(main)


def test_what_is_no_sign_of_life_is_ignored():
    async def main() -> None:
        name = f"node{next(NAMES)}"
        async with member(name, "ann") as ann, member(name, "bob") as bob:
            for body in (b"", b"[]", b"{}", b"[1]", b"5"):
                bob._client.publish(f"stompy.{name}.alive.0", body)
            bob._client.publish(f"stompy.{name}.alive.0", b'["bob", true]')
            await soon(lambda: ann.heard_of == "bob")
            assert (await ann.own()).number == 1

    run(main)
