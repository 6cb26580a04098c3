"""The crash matrix: whole brokers and servers are hurt under a load that is accounted for.

Three brokers, three servers. Whatever is done to them, nothing that was confirmed is lost, nothing
that was acknowledged comes back, no transaction is torn, the order is kept, and repeats are marked
(`tests.support.books`). Clients only say `reconnect=`, and ride through it.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
from tests.support.nats import stopped
from tests.support.scene import Hurt, Scene, stage


async def kill_each_broker(scene: Scene) -> None:
    for member in scene.members.every.values():
        await member.gone()
        await scene.progress()
        await member.back()


async def kill_two_brokers(scene: Scene) -> None:
    for name in ("ann", "bob"):
        await scene.members[name].gone()
    await scene.progress()
    for name in ("ann", "bob"):
        await scene.members[name].back()


async def stop_each_broker(scene: Scene) -> None:
    """In good order, as for an upgrade."""
    for member in scene.members.every.values():
        await member.gone(signal.SIGTERM)
        await scene.progress()
        await member.back()
        await scene.progress()


async def freeze_each_broker(scene: Scene) -> None:
    for member in scene.members.every.values():
        member.freeze()
        await scene.progress()
        member.send(signal.SIGCONT)
        await scene.progress()


async def kill_each_server(scene: Scene) -> None:
    for server in scene.trio.servers:
        server.end()
        await scene.progress()
        await server.back()
        await scene.progress()


async def stop_each_server(scene: Scene) -> None:
    for server in scene.trio.servers:
        await asyncio.to_thread(server.end, signal.SIGTERM)
        await scene.progress()
        await server.back()
        await scene.progress()


async def freeze_each_server(scene: Scene) -> None:
    for server in scene.trio.servers:
        with stopped(server):
            await scene.progress()
        await scene.progress()


async def kill_two_servers(scene: Scene) -> None:
    for server in scene.trio.servers[:2]:
        server.end()
    for server in scene.trio.servers[:2]:
        await server.back()


async def kill_all_servers(scene: Scene) -> None:
    for server in scene.trio.servers:
        server.end()
    for server in scene.trio.servers:
        await server.back()


async def kill_a_machine(scene: Scene) -> None:
    """A broker and a server at once."""
    for server, member in zip(scene.trio.servers, scene.members.every.values(), strict=True):
        server.end()
        await member.gone()
        await scene.progress()
        await server.back()
        await member.back()
        await scene.progress()


async def kill_leader_and_owner(scene: Scene) -> None:
    """The server that leads the stream, and the broker with most groups, at once."""
    for _ in range(3):
        server, member = await scene.leader(), scene.members[await scene.an_owner()]
        server.end()
        await member.gone()
        await scene.progress()
        await asyncio.gather(server.back(), member.back())
        await scene.progress()


async def kill_all(scene: Scene) -> None:
    """The power fails everywhere, as far as processes know."""
    for member in scene.members.every.values():
        member.end()
    for server in scene.trio.servers:
        server.end()
    for server in scene.trio.servers:
        await server.back()
    await asyncio.gather(*(member.back() for member in scene.members.every.values()))


async def kill_an_owner(scene: Scene) -> None:
    member = scene.members[await scene.an_owner()]
    await member.gone()
    await scene.progress()
    await member.back()


async def freeze_an_owner(scene: Scene) -> None:
    """It sleeps until others have taken over, and writes on when it wakes."""
    member = scene.members[await scene.an_owner()]
    await scene.until_told(f"after {member.name} has begun", member.freeze)
    await scene.progress()
    member.send(signal.SIGCONT)


async def kill_a_follower(scene: Scene) -> None:
    leader = await scene.leader()
    server = next(server for server in scene.trio.servers if server is not leader)
    server.end()
    await scene.progress()
    await server.back()


@pytest.mark.timeout(900)
def test_nothing_is_lost(tmp_path: Path) -> None:
    """A little of everything, in short; the rest is slow."""
    stage(tmp_path, kill_an_owner, kill_a_follower, freeze_an_owner)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "hurt",
    [
        kill_each_broker,
        stop_each_broker,
        freeze_each_broker,
        kill_two_brokers,
        kill_each_server,
        stop_each_server,
        freeze_each_server,
        kill_two_servers,
        kill_all_servers,
        kill_a_machine,
        kill_leader_and_owner,
        kill_all,
    ],
)
def test_nothing_is_lost_whatever_happens(tmp_path: Path, hurt: Hurt) -> None:
    stage(tmp_path, hurt)
