"""The crash matrix, second part: what is between brokers and servers, and below them, is hurt.

As in `test_matrix`, under a load whose books have to agree in the end.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
from tests.support.fault_proxy import DOWN, UP, Fault, FaultProxy
from tests.support.ledger import PATIENCE, SWIFT, WORK_PIN
from tests.support.looping import run
from tests.support.members import Members
from tests.support.nats import Server, Trio
from tests.support.scene import Hurt, Scene, play

import stompy
from stompy import aio
from stompy.session.confirmations import Outcome

_FAKE_TIME = [
    Path("/usr/lib") / kind / "faketime/libfaketime.so.1"
    for kind in ("x86_64-linux-gnu", "aarch64-linux-gnu")
]
_MIB = 1024 * 1024


def between(tmp_path: Path, *hurts: Hurt) -> None:
    """Play with a proxy in each link and in each connection to a server."""
    trio = Trio(tmp_path)
    for server in trio.servers:
        # Else they name each other, and brokers find a way past the proxies.
        server.text = server.text.replace("cluster { ", "cluster { no_advertise: true, ")
    play(trio, Members(tmp_path, trio.servers, pins=[WORK_PIN], proxied=True), *hurts)


def heal(*proxies: FaultProxy) -> None:
    """End what was done to connections, and those that miss something."""
    for proxy in proxies:
        proxy.always(None)
    cut(*proxies)


def cut(*proxies: FaultProxy) -> None:
    """Cut all connections."""
    for proxy in proxies:
        for passage in list(proxy.passages):
            passage.cut()


def swallow(direction: str, *proxies: FaultProxy) -> None:
    """Let nothing pass in a direction, from now on, and tell nobody."""
    for proxy in proxies:
        proxy.always(Fault(swallow=frozenset([direction])))
        for passage in list(proxy.passages):
            passage.swallow.add(direction)


# -- links --------------------------------------------------------------------------------------


async def cut_links(scene: Scene) -> None:
    for _ in range(3):
        cut(*scene.members.links.values())
        await scene.progress()


async def slow_links(scene: Scene) -> None:
    links = list(scene.members.links.values())
    for proxy in links:
        proxy.always(Fault(delay=0.02))
    cut(*links)
    await scene.progress()
    heal(*links)


async def links_one_way(scene: Scene) -> None:
    """What others ask an owner is lost, and then what it answers."""
    for direction in (UP, DOWN):
        name = await scene.an_owner()
        proxy = scene.members.links[name]
        await scene.until_told(f"link to {name} at", lambda: swallow(direction, proxy))  # noqa: B023
        heal(proxy)
        await scene.progress()


# -- connections to servers -----------------------------------------------------------------------


async def cut_servers_off(scene: Scene) -> None:
    for name in scene.members.every:
        cut(*scene.members.routes[name])
        await scene.progress()


async def slow_servers(scene: Scene) -> None:
    routes = list(chain(*scene.members.routes.values()))
    for proxy in routes:
        proxy.always(Fault(delay=0.02))
    cut(*routes)
    await scene.progress()
    heal(*routes)


async def cut_off_an_owner(scene: Scene) -> None:
    """It lives, and serves its clients and links, while others have taken its groups over.

    What it is not answered is written when it is heard again: by one who is no owner any more.
    """
    for direction in (UP, DOWN):
        name = await scene.an_owner()
        routes = scene.members.routes[name]
        await scene.until_told(f"after {name} has begun", lambda: swallow(direction, *routes))  # noqa: B023
        heal(*routes)
        await scene.progress()


# -- operators ------------------------------------------------------------------------------------


async def move_around(scene: Scene) -> None:
    """Groups move in good order, one after the other, and brokers are drained and back."""
    members = scene.members
    names = list(members.every)
    for turn in range(6):
        for group in range(5):
            to = names[(turn + group) % len(names)]
            await asyncio.to_thread(members.ask, "cluster.move", group=group, broker=to)
        await scene.progress()
    for member in members.every.values():
        await asyncio.to_thread(member.ask, "cluster.drain")
        assert member.name not in (await scene.owners()).values()
        await scene.progress()
        await asyncio.to_thread(member.ask, "cluster.drain", enable=False)


# -- below ----------------------------------------------------------------------------------------


async def fill_the_disk(scene: Scene) -> None:
    """The servers may store nothing more; then they may."""
    first = next(iter(scene.members.every.values()))
    body = b"x" * 256 * 1024
    full = asyncio.Event()

    async def fill() -> None:
        async with aio.connect(first.url, reconnect=SWIFT) as client:
            while not full.is_set():
                with suppress(stompy.STOMPConnectionError, stompy.STOMPTimeout):
                    await client.message("/queue/fill", body, confirm=True, timeout=5.0)

    filling = asyncio.create_task(fill())
    await scene.until(lambda: scene.told("the log takes no record"), "a full disk")
    full.set()
    for server in scene.trio.servers:
        await asyncio.to_thread(server.end)
        server.text = replace(server.settings, max_storage=0).text()
    await asyncio.gather(*(server.back() for server in scene.trio.servers))
    await filling


@contextmanager
def images(directories: Iterable[Path]) -> Iterator[None]:
    """Have a file system in a file for each directory.

    A test is skipped where there can be none.
    """
    with ExitStack() as stack:
        for directory in directories:
            directory.mkdir(parents=True)
            image = directory.with_suffix(".image")
            with image.open("wb") as file:
                file.truncate(512 * _MIB)
            subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
            mount(image, directory)
            stack.callback(unmount, directory)
        yield


def mount(image: Path, directory: Path) -> None:
    subprocess.run(["mount", "-o", "loop", str(image), str(directory)], check=True)


def unmount(directory: Path) -> None:
    subprocess.run(["umount", "-l", str(directory)], check=True)


def can_mount(tmp_path: Path) -> str:
    """Why there can be no file systems in files; empty: there can."""
    if os.geteuid() != 0:
        return "only root may mount file systems"
    if shutil.which("mkfs.ext4") is None:
        return "there is no mkfs.ext4"
    image, directory = tmp_path / "try.image", tmp_path / "try"
    directory.mkdir()
    with image.open("wb") as file:
        file.truncate(8 * _MIB)
    try:
        subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
        mount(image, directory)
    except subprocess.CalledProcessError as error:
        return f"a file system in a file cannot be mounted: {error}"
    unmount(directory)
    return ""


async def cut_the_power(scene: Scene) -> None:
    """What the kernel has not written when all servers stop is gone."""

    def cut_it(servers: list[Server]) -> None:
        for server in servers:
            server.freeze()  # all of them end at one moment
        for server in servers:
            image = server.settings.directory.with_suffix(".image")
            copy = image.with_suffix(".copy")
            subprocess.run(["cp", "--sparse=always", str(image), str(copy)], check=True)
        for server in servers:
            server.end()
            unmount(server.settings.directory)
            image = server.settings.directory.with_suffix(".image")
            image.with_suffix(".copy").replace(image)
            mount(image, server.settings.directory)

    for _ in range(3):
        await asyncio.to_thread(cut_it, scene.trio.servers)
        for member in scene.members.every.values():
            member.end()
        await asyncio.gather(*(server.back() for server in scene.trio.servers))
        await asyncio.gather(*(member.back() for member in scene.members.every.values()))
        await scene.progress()


# -- the tests ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "hurt",
    [cut_links, slow_links, links_one_way, cut_servers_off, slow_servers, cut_off_an_owner],
)
def test_nothing_is_lost_between_them(tmp_path: Path, hurt: Hurt) -> None:
    between(tmp_path, hurt)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_nothing_is_lost_when_groups_move(tmp_path: Path) -> None:
    trio = Trio(tmp_path)
    play(trio, Members(tmp_path, trio.servers, pins=[WORK_PIN]), move_around)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_nothing_is_lost_when_the_disk_is_full(tmp_path: Path) -> None:
    trio = Trio(tmp_path, max_storage=24 * _MIB)
    play(trio, Members(tmp_path, trio.servers, pins=[WORK_PIN]), fill_the_disk)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_nothing_is_lost_when_the_power_fails(tmp_path: Path) -> None:
    reason = can_mount(tmp_path)
    if reason:
        pytest.skip(reason)
    trio = Trio(tmp_path)
    with images(server.settings.directory for server in trio.servers):
        play(trio, Members(tmp_path, trio.servers, pins=[WORK_PIN]), cut_the_power)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_large_bodies_outlive_their_owner(tmp_path: Path) -> None:
    """64 MiB go to an owner who dies, and come from one who does, each time through another."""
    body = os.urandom(_MIB) * 64
    trio = Trio(tmp_path)
    members = Members(tmp_path, trio.servers, groups=1, silence=3.0)

    async def main() -> None:
        owner = members[members.ask("cluster.status")["groups"][0]["owner"]]
        front = next(one for one in members.every.values() if one is not owner)
        async with aio.connect([front.url, *members.urls], reconnect=SWIFT) as client:
            sent = await client.post("/queue/large", body)
            await owner.gone()
            with suppress(stompy.OutcomeUnknown):
                await sent.result(PATIENCE)
            while sent.outcome is not Outcome.ACCEPTED:  # its broker was too slow for the others
                with suppress(stompy.STOMPConnectionError):
                    sent = await client.post("/queue/large", body)
                    await sent.result(PATIENCE)
        await owner.back()
        status = await asyncio.to_thread(members.ask, "cluster.status")
        owner = members[status["groups"][0]["owner"]]
        front = next(one for one in members.every.values() if one is not owner)
        async with (
            aio.connect([front.url, *members.urls], reconnect=SWIFT) as client,
            client.subscription("/queue/large", timeout=PATIENCE) as messages,
        ):
            await owner.gone()
            message = await messages.get(PATIENCE)
            assert message.body == body

    with trio, members:
        run(main)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_clocks_decide_nothing(tmp_path: Path) -> None:
    """One broker is an hour ahead, and another one an hour behind; owners change."""
    library = next((path for path in _FAKE_TIME if path.exists()), None)
    if library is None:
        pytest.skip("libfaketime is not installed")

    async def kill_in_turn(scene: Scene) -> None:
        for member in scene.members.every.values():
            await member.gone()
            await scene.progress()
            await member.back()
            await scene.progress()

    trio = Trio(tmp_path)
    members = Members(tmp_path, trio.servers, pins=[WORK_PIN])
    for name, shift in (("ann", "+3600"), ("bob", "-3600")):
        members[name].environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME": shift,
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
    play(trio, members, kill_in_turn)
