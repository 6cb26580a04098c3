"""Brokers and servers that are hurt under load, and books that have to agree in the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.support.ledger import PATIENCE, WORK_PIN, Ledger
from tests.support.looping import run
from tests.support.members import Members
from tests.support.nats import Server, Trio

log = logging.getLogger(__name__)

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

    async def progress(self) -> None:
        """Wait until all of the load gets on."""
        await self.ledger.progress()

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something that is seen from outside.

        Raises:
            AssertionError: it does not come.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                while not condition():  # noqa: ASYNC110 -- other processes
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"waited in vain for {what}") from None

    def told(self, words: str) -> int:
        """How often brokers have said something in their logs."""
        return sum(member.log.count(words) for member in self.members.every.values())

    async def until_told(self, words: str, act: Callable[[], object]) -> None:
        """Do something, and wait until a broker says so once more."""
        before = self.told(words)
        act()
        await self.until(lambda: self.told(words) > before, words)

    async def owners(self) -> dict[int, str]:
        """Who has which group, as one of the brokers knows it."""
        status = await asyncio.to_thread(self.members.ask, "cluster.status")
        return {group["number"]: group["owner"] for group in status["groups"]}

    async def an_owner(self) -> str:
        """The broker that has most groups: what is done to it is felt."""
        owners = list((await self.owners()).values())
        return max(self.members.every, key=owners.count)

    async def leader(self) -> Server:
        """The server that leads the stream, as one of the brokers knows it."""
        status = await asyncio.to_thread(self.members.ask, "cluster.status")
        names = [server["name"] for server in status["servers"] if server["state"] == "leader"]
        return self.trio.named(*names) if names else self.trio.servers[0]


def play(trio: Trio, members: Members, *hurts: Hurt) -> None:
    """Start everything, hurt it, and look at the books."""

    async def main() -> None:
        ledger = Ledger(members.urls)
        scene = Scene(trio, members, ledger)
        try:
            await ledger.start()
            for hurt in hurts:
                await hurt(scene)
                await ledger.progress()
            await ledger.stop()
            ledger.check()
        except AssertionError as error:
            error.add_note(ledger.report())
            error.add_note(await asyncio.to_thread(members.report))
            raise
        finally:
            ledger.cancel()
        log.info("%s", ledger.account())

    with trio, members:
        run(main)


def stage(tmp_path: Path, *hurts: Hurt) -> None:
    """Play on three servers and three brokers as they are by default."""
    trio = Trio(tmp_path)
    play(trio, Members(tmp_path, trio.servers, pins=[WORK_PIN]), *hurts)
