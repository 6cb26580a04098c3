"""What operators may have a node do, with an answer when it is done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Protocol

from stompy_broker.cluster.membership.membership import MoveError

MOST_SECONDS = 50.0
"""How long a move or drain may take before it is answered that it goes on."""

_LOOK = 0.05


class ControlledNode(Protocol):
    """A node, as far as it can be told to do something."""

    def owner_of(self, group: int) -> str:
        """Who has a group; empty = nobody."""
        ...

    def owns(self, group: int) -> bool:
        """Whether this broker has a group."""
        ...

    def move(self, group: int, broker: str) -> None:
        """Have a group given to a broker."""
        ...

    async def drain(self) -> None:
        """Give all groups away."""
        ...

    def undrain(self) -> None:
        """Take groups again, after a drain."""
        ...

    def accept_damage(self, group: int) -> None:
        """Go on although something is missing."""
        ...


class NodeControl:
    """Has a node move groups, and tells when they are there.

    Args:
        node: of this broker.
        groups: how many groups there are.
        seconds: how long it waits.
    """

    def __init__(self, node: ControlledNode, groups: int, seconds: float = MOST_SECONDS) -> None:
        self._node = node
        self._groups = groups
        self._seconds = seconds
        self._tasks: set[asyncio.Task[None]] = set()

    def move(self, group: int, broker: str, done: Callable[[str], None]) -> None:
        """Give a group to another broker, in good order, whoever owns it.

        Args:
            group: number of the group.
            broker: id of the broker that is to own it.
            done: called once, with nothing when that one owns it, else with what hindered it.
        """
        try:
            self._node.move(group, broker)
        except MoveError as error:
            done(str(error))
        else:
            self._begin(self._moved(group, broker, done))

    def drain(self, done: Callable[[str], None]) -> None:
        """Give all groups of this broker away, and take none until `undrain`.

        Args:
            done: called once, with nothing when it has no group, else with what hindered it.
        """
        self._begin(self._drained(done))

    def undrain(self) -> None:
        """Take groups again; those that were given away come back by and by."""
        self._node.undrain()

    def accept(self, group: int) -> None:
        """Go on although something is missing in the log of a group."""
        self._node.accept_damage(group)

    async def close(self) -> None:
        """Wait for nothing any more."""
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work, name="stompy-cluster-control")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _moved(self, group: int, broker: str, done: Callable[[str], None]) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                while self._node.owner_of(group) != broker:  # noqa: ASYNC110 -- polls on purpose
                    await asyncio.sleep(_LOOK)
        except TimeoutError:
            owner = self._node.owner_of(group) or "nobody"
            done(f"{owner} has group {group} so far; it still is to go to {broker}")
        else:
            done("")

    async def _drained(self, done: Callable[[str], None]) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await self._node.drain()
        except TimeoutError:
            done(f"still has groups {self._own()}, and goes on giving them away")
        else:
            own = self._own()
            done(f"nobody else can take groups {own} now" if own else "")

    def _own(self) -> str:
        return " ".join(str(group) for group in range(self._groups) if self._node.owns(group))
