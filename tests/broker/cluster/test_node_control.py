"""Groups are moved, and who wanted it is told when they are there, or that they are not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.support.looping import looped

from stompy_broker.cluster.membership.membership import MoveError
from stompy_broker.cluster.node_control import ControlledNode, NodeControl


class ToldNode:
    """A node that does what a test says.

    Attributes:
        owners: of the groups.
        told: what it was told.
        obeys: whether it does anything.
    """

    def __init__(self, *owners: str) -> None:
        self.owners = list(owners)
        self.told: list[object] = []
        self.obeys = True

    def owner_of(self, group: int) -> str:
        return self.owners[group]

    def owns(self, group: int) -> bool:
        return self.owners[group] == "ann"

    def move(self, group: int, broker: str) -> None:
        if broker == "tom":
            raise MoveError("there is no tom")
        if self.obeys:
            asyncio.get_running_loop().call_soon(self.owners.__setitem__, group, broker)

    async def drain(self) -> None:
        if not self.obeys:
            await asyncio.Event().wait()
        self.owners = ["bob" if owner == "ann" else owner for owner in self.owners]

    def undrain(self) -> None:
        self.told.append("undrain")

    def accept_damage(self, group: int) -> None:
        self.told.append(group)


async def answer(question: Callable[[Callable[[str], None]], object]) -> str:
    """What is told when it is done."""
    told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    question(told.set_result)
    return await told


def control(node: ControlledNode, seconds: float = 60.0) -> NodeControl:
    return NodeControl(node, 2, seconds)


@looped
async def test_a_move_is_answered_when_it_is_done() -> None:
    node = ToldNode("ann", "bob")
    assert await answer(lambda done: control(node).move(0, "bob", done)) == ""
    assert node.owners == ["bob", "bob"]


@looped
async def test_what_hinders_a_move_is_told() -> None:
    node = ToldNode("ann", "bob")
    assert await answer(lambda done: control(node).move(0, "tom", done)) == "there is no tom"
    node.obeys = False
    told = await answer(lambda done: control(node, 0.01).move(0, "bob", done))
    assert told == "ann has group 0 so far; it still is to go to bob"


@looped
async def test_a_drain_is_answered_when_it_is_done() -> None:
    node = ToldNode("ann", "bob")
    assert await answer(control(node).drain) == ""
    assert node.owners == ["bob", "bob"]


@looped
async def test_what_hinders_a_drain_is_told() -> None:
    node = ToldNode("ann", "ann")
    node.obeys = False
    told = await answer(control(node, 0.01).drain)
    assert told == "still has groups 0 1, and goes on giving them away"

    async def nobody_takes_them() -> None:
        """Come to an end all the same, as a node does that is the last one."""

    node.drain = nobody_takes_them  # type: ignore[method-assign]
    assert await answer(control(node).drain) == "nobody else can take groups 0 1 now"


@looped
async def test_the_rest_is_passed_on() -> None:
    node = ToldNode("ann", "bob")
    own = control(node)
    own.undrain()
    own.accept(1)
    assert node.told == ["undrain", 1]


@looped
async def test_nothing_is_left_at_the_end() -> None:
    node = ToldNode("ann", "bob")
    node.obeys = False
    own = control(node)
    told: list[str] = []
    own.move(0, "bob", told.append)
    own.drain(told.append)
    await asyncio.sleep(0)
    await own.close()
    assert told == []
