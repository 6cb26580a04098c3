"""The crash matrix: whole brokers and servers are hurt under a load that is accounted for.

Three brokers, three servers. Whatever is done to them, nothing that was confirmed is lost, nothing
that was acknowledged comes back, no transaction is torn, the order is kept, and repeats are marked
(`tests.support.ledger`). Clients only say `reconnect=`, and ride through it.
"""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.support.ledger import WORK_PIN, Ledger
from tests.support.looping import run
from tests.support.members import Members
from tests.support.nats import Server, Trio, stopped

Hurt = Callable[["Scene"], Awaitable[None]]


class Scene:
    """What can be hurt, and the load on it.

    Args:
        trio: the servers.
        members: the brokers.
        ledger: the load.
    """

    def __init__(self, trio: Trio, members: Members, ledger: Ledger) -> None:
        self.trio, self.members, self.ledger = trio, members, ledger

    @property
    def leader(self) -> Server:
        """The server that leads the stream, as the brokers' status says."""
        raise NotImplementedError


def scene(tmp_path: Path, *hurts: Hurt) -> None:
    """Set the scene, hurt it, and look at the books."""

    async def main(trio: Trio, members: Members) -> None:
        ledger = Ledger(members.urls)
        ledger.start()
        await ledger.progress()
        for hurt in hurts:
            await hurt(Scene(trio, members, ledger))
            await ledger.progress()
        await ledger.stop()
        ledger.check()

    with Trio(tmp_path) as trio, Members(tmp_path, trio.servers, pins=[WORK_PIN]) as members:
        run(lambda: main(trio, members))


async def kill_each_broker(scene: Scene) -> None:
    for member in scene.members.every.values():
        member.end()
        await scene.ledger.progress()
        member.restart()


async def kill_a_broker(scene: Scene) -> None:
    member = scene.members["ann"]
    member.end()
    await scene.ledger.progress()
    member.restart()


async def stop_each_broker(scene: Scene) -> None:
    for member in scene.members.every.values():
        member.end(signal.SIGTERM)
        await scene.ledger.progress()
        member.restart()
        await scene.ledger.progress()


async def freeze_a_broker(scene: Scene) -> None:
    """It sleeps until others have taken over, and writes on when it wakes."""
    member = scene.members["ann"]
    member.freeze()
    await scene.ledger.progress()
    member.send(signal.SIGCONT)


async def freeze_each_broker(scene: Scene) -> None:
    for member in scene.members.every.values():
        member.freeze()
        await scene.ledger.progress()
        member.send(signal.SIGCONT)
        await scene.ledger.progress()


async def kill_each_server(scene: Scene) -> None:
    for server in scene.trio.servers:
        server.end()
        await scene.ledger.progress()
        server.start()
        await scene.ledger.progress()


async def stop_each_server(scene: Scene) -> None:
    for server in scene.trio.servers:
        server.end(signal.SIGTERM)
        await scene.ledger.progress()
        server.start()
        await scene.ledger.progress()


async def freeze_each_server(scene: Scene) -> None:
    for server in scene.trio.servers:
        with stopped(server):
            await scene.ledger.progress()
        await scene.ledger.progress()


async def kill_two_servers(scene: Scene) -> None:
    for server in scene.trio.servers[:2]:
        server.end()
    for server in scene.trio.servers[:2]:
        server.start()


async def kill_all_servers(scene: Scene) -> None:
    for server in scene.trio.servers:
        server.end()
    for server in scene.trio.servers:
        server.start()


async def kill_a_machine(scene: Scene) -> None:
    """A broker and a server at once."""
    for server, member in zip(scene.trio.servers, scene.members.every.values(), strict=True):
        server.end()
        member.end()
        await scene.ledger.progress()
        server.start()
        member.restart()
        await scene.ledger.progress()


async def kill_all(scene: Scene) -> None:
    """The power fails everywhere, as far as processes know."""
    for member in scene.members.every.values():
        member.end()
    for server in scene.trio.servers:
        server.end()
    for server in scene.trio.servers:
        server.start()
    for member in scene.members.every.values():
        member.start()
    for member in scene.members.every.values():
        member.wait_ready()


async def kill_two_brokers(scene: Scene) -> None:
    for name in ("ann", "bob"):
        scene.members[name].end()
    await scene.ledger.progress()
    for name in ("ann", "bob"):
        scene.members[name].restart()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("hurt", [kill_a_broker, freeze_a_broker])
def test_nothing_is_lost(tmp_path: Path, hurt: Hurt) -> None:
    scene(tmp_path, hurt)


@pytest.mark.slow
@pytest.mark.timeout(600)
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
        kill_all,
    ],
)
def test_nothing_is_lost_whatever_happens(tmp_path: Path, hurt: Hurt) -> None:
    scene(tmp_path, hurt)
