"""Queues that belong together: their store, their disk, and whose message-ids are whose."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.house import WALL, Taker, Time, browsed, make_head, make_message, take_part

from stompy_broker.destinations.names import parse_destination
from stompy_broker.destinations.policy import Policies, Policy
from stompy_broker.routing.factory import QueueFactory
from stompy_broker.routing.group import MOST_GROUPS, QueueGroup, sequences
from stompy_broker.routing.interface import Move, Transfer
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.router import Router
from stompy_broker.store.memory import MemoryStore


@given(
    now=st.integers(WALL - 10**9, WALL + 10**12),
    last=st.integers(0, (WALL + 10**9) << 20),
    group=st.integers(0, MOST_GROUPS - 1),
    tenure=st.integers(0, 1000),
)
def test_message_ids_grow_and_stay_as_long_as_they_are(
    now: int, last: int, group: int, tenure: int
) -> None:
    some = list(islice(sequences(now, last, group=group, tenure=tenure), 100))
    assert some == sorted(set(some))
    assert some[0] > last
    assert all(len(str(number)) == 19 and number < 1 << 63 for number in some)


def test_ids_of_several_brokers_are_never_the_same() -> None:
    """Started in the same millisecond, for other groups or for the same one after another."""
    owners = [(group, tenure) for group in range(MOST_GROUPS) for tenure in range(16)]
    given_out = [
        number
        for group, tenure in owners
        for number in islice(sequences(WALL, group=group, tenure=tenure), 100)
    ]
    assert len(set(given_out)) == len(given_out)


class TwoGroups(QueueFactory):
    """Queues go by the first letter of their name."""

    def group_of(self, name: str) -> int:
        return int(name.removeprefix("durable.").startswith("b"))


def two_groups(*policies: Policy) -> Router:
    time = Time()
    return Router(
        time.clock,
        lambda: WALL + int(time.now * 1000),
        [MemoryStore(durable=True), MemoryStore(durable=True)],
        Policies(policies),
        memory_mark=1 << 30,
        disk_mark=1000,
        idle_queue_seconds=300.0,
        factory=TwoGroups(),
    )


def publish(router: Router, to: str, size: int = 10) -> object:
    destination = parse_destination(to)
    return router.publish(destination, make_head(to), b"x" * size)


def test_each_queue_is_kept_by_the_store_of_its_group() -> None:
    router = two_groups()
    for name in ("a", "b", "b"):
        publish(router, f"/queue/{name}")
    first, second = (group.store for group in router.groups.every)
    assert [destination for destination, *_ in first.restore()] == ["/queue/a"]
    assert [destination for destination, *_ in second.restore()] == ["/queue/b"] * 2
    assert [group.number for group in (router.queue("a").group, router.queue("b").group)] == [0, 1]
    done: list[int] = []
    router.groups.sync(lambda: done.append(1))
    assert done == [1]


def test_a_full_disk_stops_those_who_send_to_its_group_only() -> None:
    router = two_groups()
    full = publish(router, "/queue/b", 2000)
    assert full is router.groups.every[1].disk
    assert publish(router, "/queue/a") is None
    assert publish(router, "/queue/anew") is None
    assert publish(router, "/queue/b") is full
    assert list(router.alarms) == ["disk"]
    router.store_troubled(True, group=0)
    assert publish(router, "/queue/a") is router.groups.every[0].stalled
    assert list(router.alarms) == ["disk", "store"]


def test_what_goes_to_several_groups_is_safe_when_all_of_them_are() -> None:
    router, waiting = two_groups(), []
    for group in router.groups.every:
        group.store.sync = waiting.append  # type: ignore[method-assign]
    done: list[int] = []
    router.groups.sync(lambda: done.append(1))
    waiting.pop()()
    assert done == []
    waiting.pop()()
    assert done == [1]


def test_the_next_start_goes_on_behind_the_last_one() -> None:
    store, old = MemoryStore(durable=True), (WALL + 10**6) << 20 | 12345
    store.append("/queue/q", make_message(old))
    assert next(sequences(WALL, store.last_sequence)) > old


class Together:
    """Groups that can write together, while there is no reason against it."""

    def __init__(self) -> None:
        self.reason = ""
        self.begun: list[list[int]] = []

    def hindrance(self, groups: list[QueueGroup]) -> str:
        return self.reason

    def begin(self, groups: list[QueueGroup]) -> None:
        self.begun.append([group.number for group in groups])


@pytest.mark.parametrize("hindered", [False, True])
def test_what_moves_to_another_group_leaves_and_comes_as_one_change(hindered: bool) -> None:
    router = two_groups(Policy(match="/queue/a", dead_letter="/queue/bad"))
    router.groups.together = together = Together()
    together.reason = "elsewhere" * hindered
    publish(router, "/queue/a")
    (message,) = browsed(router.queue("a"))
    outcome: list[object] = []
    transfer = Transfer(message.sequence, parse_destination("/queue/b"), message.head)
    router.queue("a").control(Move([transfer]), outcome.append)
    assert outcome == [1]
    assert together.begun == ([] if hindered else [[0, 1]])
    publish(router, "/queue/a")
    taker = Taker(1)
    take_part(router.queue("a"), taker)
    router.queue("a").settle(taker.taken[0], Rejection(requeue=False))
    assert len(browsed(router.queue("bad"))) == 1
    assert together.begun == ([] if hindered else [[0, 1]] * 2)


def test_what_stays_in_its_group_needs_nobody_else() -> None:
    router = two_groups(Policy(match="/queue/a", dead_letter="/queue/also"))
    router.groups.together = together = Together()
    publish(router, "/queue/a")
    taker = Taker(1)
    take_part(router.queue("a"), taker)
    router.queue("a").settle(taker.taken[0], Rejection(requeue=False))
    assert len(browsed(router.queue("also"))) == 1
    assert together.begun == []
