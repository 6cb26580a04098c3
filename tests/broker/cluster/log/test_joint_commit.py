"""Changes of several groups that become safe together: in memory, in any order of things."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from tests.support.house import WALL, browsed, make_head, make_message
from tests.support.logged import MemoryShop
from tests.support.storage import Turns

from stompy.errors import ProtocolError
from stompy_broker.cluster.log.joint_commit import JointCommits
from stompy_broker.cluster.log.log import Busy
from stompy_broker.cluster.log.store import LoggedStore, LogListener
from stompy_broker.cluster.log.takeover import take_over
from stompy_broker.cluster.remote.places import ClusterQueueFactory, Places
from stompy_broker.destinations.names import parse_destination
from stompy_broker.destinations.policy import Policies
from stompy_broker.message import Message
from stompy_broker.routing.answers import when_all
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.router import Router
from stompy_broker.session.transaction_span import TransactionSpan
from stompy_broker.store.memory import MemoryStore

AGAIN = Busy("the test says so", 0.0)


class Member:
    """A broker that owns all groups, and its logs.

    Args:
        count: how many groups.
    """

    def __init__(self, count: int) -> None:
        self.shops = [MemoryShop(part_bytes=700) for _ in range(count)]
        self.open()

    def open(self) -> None:
        """Take over all logs, like somebody new."""
        self.turns = turns = Turns()
        self.fenced: list[list[str]] = [[] for _ in self.shops]
        self.stores = [
            LoggedStore(
                shop.take_over(turns),
                turns.time.clock,
                turns.soon,
                LogListener(fenced=fenced.append),
            )
            for shop, fenced in zip(self.shops, self.fenced, strict=True)
        ]
        mark = Watermark(0)
        self.groups = [
            QueueGroup(number, store, 0, mark, mark) for number, store in enumerate(self.stores)
        ]
        self.together = JointCommits(lambda group: self.stores[group.number], turns.soon)

    def begin(self, numbers: Sequence[int]) -> None:
        """Have what these groups are told in this turn be one change."""
        groups = [self.groups[number] for number in numbers]
        assert not self.together.hindrance(groups)
        self.together.begin(groups)

    def sync(self, numbers: Sequence[int], done: Callable[[], None]) -> None:
        """Call ``done`` when all that was told to these groups is safe."""
        part_done = when_all(len(numbers), lambda error=None: done())
        for number in numbers:
            self.stores[number].sync(part_done)

    def pass_turns(self, count: int = 12) -> None:
        """Let turns end, and timers ring."""
        for _ in range(count):
            self.turns.end()
            self.turns.time.advance(0.05)

    def crash(self) -> None:
        """End, and begin anew."""
        for store in self.stores:
            store.close()
        self.pass_turns(2)
        self.open()

    def found(self, number: int) -> set[int]:
        """What is in a log that was just taken over."""
        return {one.message.sequence for one in self.stores[number].restore()}


@pytest.fixture
def member() -> Member:
    return Member(3)


def append(member: Member, number: int, sequence: int) -> Message:
    message = make_message(sequence)
    member.stores[number].append("/queue/q", message)
    return message


def test_what_is_told_together_is_one_batch(member: Member) -> None:
    member.begin([0, 2])
    append(member, 0, 1)
    append(member, 2, 2)
    done: list[bool] = []
    member.sync([0], lambda: done.append(True))
    member.pass_turns()
    assert done == [True]
    member.crash()
    assert [member.found(number) for number in range(3)] == [{1}, set(), {2}]


def test_it_waits_for_a_record_that_is_on_its_way_in_one_group(member: Member) -> None:
    member.shops[0].log.outages = [(AGAIN, False)] * 3
    append(member, 0, 1)
    done: list[int] = []
    member.sync([0], lambda: done.append(1))
    member.turns.end()
    assert member.stores[0].is_writing
    member.begin([0, 1])
    append(member, 0, 2)
    append(member, 1, 3)
    member.sync([0, 1], lambda: done.append(2))
    member.turns.end()
    assert not member.stores[1].is_writing
    member.pass_turns()
    assert done == [1, 2]


def test_who_acknowledges_a_part_that_was_never_written_waits_for_the_other(
    member: Member,
) -> None:
    """It is gone from its record before that is closed; its receipt says that all of it is safe."""
    member.shops[0].log.outages = [(AGAIN, False)] * 3
    member.begin([0, 1])
    message = append(member, 0, 1)
    append(member, 1, 2)
    member.stores[0].remove(message)
    done: list[bool] = []
    member.stores[0].sync(lambda: done.append(True))
    member.turns.end()
    assert done == []
    member.pass_turns()
    assert done == [True]
    member.crash()
    assert member.found(1) == {2}


def test_changes_that_touch_become_one(member: Member) -> None:
    member.begin([0, 1])
    append(member, 0, 1)
    append(member, 1, 2)
    member.begin([1, 2])
    append(member, 1, 3)
    append(member, 2, 4)
    done: list[bool] = []
    member.sync([2], lambda: done.append(True))
    member.turns.end()
    assert all(store.is_writing for store in member.stores)
    member.pass_turns()
    assert done == [True]


@pytest.mark.parametrize("when", ["gathered", "on its way"])
def test_a_group_that_was_taken_over_takes_the_others_with_it(member: Member, when: str) -> None:
    asyncio.run(take_over(member.shops[1].log, "other"))
    if when == "gathered":
        append(member, 1, 9)
        member.stores[1].sync(lambda: None)
        member.turns.end()  # its record will be refused
    member.begin([0, 1])
    append(member, 0, 1)
    append(member, 1, 2)
    done: list[bool] = []
    member.sync([0], lambda: done.append(True))
    member.pass_turns()
    assert done == []
    assert [len(fenced) for fenced in member.fenced] == [1, 1, 0]
    assert "group" in member.together.hindrance(member.groups[:2])
    member.crash()
    assert [member.found(number) for number in range(3)] == [set(), set(), set()]


def test_a_store_that_is_closed_takes_the_others_with_it(member: Member) -> None:
    member.begin([0, 1])
    append(member, 0, 1)
    append(member, 1, 2)
    member.stores[1].close()
    member.pass_turns()
    assert [len(fenced) for fenced in member.fenced] == [1, 0, 0]
    member.crash()
    assert [member.found(number) for number in range(2)] == [set(), set()]


def test_all_are_closed_in_peace(member: Member) -> None:
    member.begin([0, 1])
    append(member, 0, 1)
    for store in member.stores:
        store.close()
    member.pass_turns()
    assert member.fenced == [[], [], []]


@pytest.mark.parametrize("stored", [True, False])
def test_what_is_in_doubt_is_stored_once(member: Member, stored: bool) -> None:
    member.shops[0].log.outages = [(AGAIN, stored)] * 2
    member.begin([0, 1])
    append(member, 0, 1)
    append(member, 1, 2)
    done: list[bool] = []
    member.sync([0, 1], lambda: done.append(True))
    member.pass_turns()
    assert done == [True]
    assert member.fenced == [[], [], []]


def test_an_orderly_end_comes_after_it(member: Member) -> None:
    member.begin([0, 1])
    append(member, 0, 1)
    append(member, 1, 2)
    left: list[int] = []
    for number, store in enumerate(member.stores):
        store.leave(partial(left.append, number))
    member.pass_turns()
    assert sorted(left) == [0, 1, 2]
    member.crash()
    assert [member.found(number) for number in range(2)] == [{1}, {2}]


GROUPS = 3


class JointMachine(RuleBasedStateMachine):
    """Whatever is told and whatever happens: a change is in all of its groups, or in none.

    Each change leaves in each of its groups one message that stays, and takes another one away. So
    what is found in a group is the state after so many of its changes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.member = Member(GROUPS)
        self.sequence = 0
        self.changes: list[tuple[int, ...]] = []  # the groups of each
        self.safe: set[int] = set()
        # What each group was told, in its order: number of the change, what came, what left.
        self.told: list[list[tuple[int, set[int], set[int]]]] = [[] for _ in range(GROUPS)]
        self.old: list[list[Message]] = [[] for _ in range(GROUPS)]
        self.taken = False

    @precondition(lambda self: not self.taken)
    @rule(numbers=st.sets(st.integers(0, GROUPS - 1), min_size=1), keen=st.booleans())
    def change(self, numbers: set[int], keen: bool) -> None:
        """A transaction; who is keen waits for it."""
        groups = tuple(sorted(numbers))
        if len(groups) > 1:
            self.member.begin(groups)
        change = len(self.changes)
        self.changes.append(groups)
        for number in groups:
            self.sequence += 2
            stays = append(self.member, number, self.sequence)
            goes = append(self.member, number, self.sequence + 1)
            removed = set()
            if self.old[number]:
                last = self.old[number].pop()
                self.member.stores[number].remove(last)
                removed = {last.sequence}
            self.old[number].append(goes)
            self.told[number].append((change, {stays.sequence, goes.sequence}, removed))
        if keen:
            self.member.sync(groups, lambda: self.safe.add(change))

    @rule(count=st.integers(1, 4), seconds=st.sampled_from([0.0, 0.01, 0.5]))
    def end_turns(self, count: int, seconds: float) -> None:
        for _ in range(count):
            self.member.turns.end()
            self.member.turns.time.advance(seconds)

    @rule(number=st.integers(0, GROUPS - 1), stored=st.lists(st.booleans(), max_size=3))
    def busy(self, number: int, stored: list[bool]) -> None:
        self.member.shops[number].log.outages = [(AGAIN, one) for one in stored]

    @rule(number=st.integers(0, GROUPS - 1))
    def take(self, number: int) -> None:
        """Another broker takes over one group."""
        asyncio.run(take_over(self.member.shops[number].log, "other"))
        self.taken = True

    @rule()
    def die(self) -> None:
        self.member.crash()
        self.check()

    @precondition(lambda self: not self.taken)
    @rule()
    def calm(self) -> None:
        """After a while all of it is safe that somebody waits for."""
        keen = len(self.changes)
        self.change(set(range(GROUPS)), True)
        self.member.pass_turns()
        assert keen in self.safe
        assert self.member.fenced == [[] for _ in range(GROUPS)]

    def check(self) -> None:
        """Compare what was found with what was told; go on from there."""
        there: list[set[int]] = []
        for number in range(GROUPS):
            found, told = self.member.found(number), self.told[number]
            expected: set[int] = set()
            states = [set(expected)]
            for _, came, left in told:
                expected = (expected | came) - left
                states.append(set(expected))
            assert found in states, f"group {number} holds a part"
            there.append({change for change, *_ in told[: states.index(found)]})
        for change, groups in enumerate(self.changes):
            inside = {change in there[number] for number in groups}
            assert len(inside) == 1, f"change {change} of {groups} is torn"
            assert change not in self.safe or inside == {True}, f"change {change} is lost"
        self.member.crash()  # what was found was taken out
        self.safe, self.taken = set(), False
        self.told = [[(-1, self.member.found(number), set())] for number in range(GROUPS)]
        self.changes, self.old = [], [[] for _ in range(GROUPS)]
        self.sequence += 2

    def teardown(self) -> None:
        self.member.crash()
        self.check()


TestJointMachine = JointMachine.TestCase


# -- in the places of a cluster --------------------------------------------------------------------


class Placed:
    """A broker whose groups come and go, and what becomes of them.

    Attributes:
        router: of the broker.
        places: of its groups.
    """

    def __init__(self) -> None:
        self.turns = turns = Turns()
        self.shops = [MemoryShop(), MemoryShop()]
        self.places = Places("ann", "1", turns.soon)
        self.router = Router(
            turns.time.clock,
            lambda: WALL,
            [MemoryStore() for _ in range(3)],
            Policies(()),
            memory_mark=1 << 30,
            idle_queue_seconds=300.0,
            factory=ClusterQueueFactory(self.places, lambda name: "ab".index(name[0]), 2, 32),
        )
        self.places.bind(self.router)

    def come(self, number: int) -> LoggedStore:
        """Own a group."""
        tenure = self.shops[number].take_over(self.turns)
        store = LoggedStore(tenure, self.turns.time.clock, self.turns.soon)
        self.places.here(number, tenure.number, store, set())
        self.pass_turns()
        return store

    def pass_turns(self) -> None:
        """Let turns end, and timers ring."""
        for _ in range(12):
            self.turns.end()
            self.turns.time.advance(0.05)

    def send(self, *names: str) -> TransactionSpan:
        """A transaction that sends to queues."""
        span = TransactionSpan("t", self.router)
        for name in names:
            span.add_send(parse_destination(f"/queue/{name}"))
        span.begin_commit()
        for name in names:
            self.router.publish(parse_destination(f"/queue/{name}"), make_head(), b"x")
        return span


def test_groups_that_are_served_here_commit_together() -> None:
    placed = Placed()
    with pytest.raises(ProtocolError, match="does not own group 0"):
        placed.send("a", "b")
    placed.come(0)
    with pytest.raises(ProtocolError, match="does not own group 1"):
        placed.send("a", "b")
    stores = [placed.come(1), placed.places.groups[0].logged]
    placed.shops[0].log.outages = [(AGAIN, False)]
    placed.send("a", "b")
    done: list[bool] = []
    placed.router.groups.sync(lambda: done.append(True))
    placed.turns.end()
    assert all(store is not None and store.is_writing for store in stores)
    placed.pass_turns()
    assert done == [True]
    placed.send("a", "b")
    left: list[bool] = []
    placed.places.leave(1, lambda: left.append(True))
    with pytest.raises(ProtocolError, match="does not own group 1"):
        placed.send("a", "b")
    placed.pass_turns()
    assert left == [True]
    # What was told before is whole.
    again = Placed()
    again.shops = placed.shops
    for number in range(2):
        again.come(number)
    names = ["a", "b"]
    assert [len(browsed(again.router.queue(name))) for name in names] == [2, 2]


def test_queues_of_single_connections_have_no_part_in_it() -> None:
    placed = Placed()
    placed.come(0)
    together = placed.router.groups.together
    assert together is not None
    home = placed.router.groups.home
    assert together.hindrance([placed.places.groups[0], home]) != ""
