"""A walk through a queue: page after page while the queue goes on, and it notices nothing."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.house import Taker, Time, figures, make_message, make_router, take_part

from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message
from stompy_broker.routing import browse_walk
from stompy_broker.routing.browse_walk import later
from stompy_broker.routing.interface import Browse, Browsed, Place, Remove, place_of
from stompy_broker.routing.message_state import MessageState
from stompy_broker.routing.ready_list import ReadyList
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.selection import Selection

EVERY = frozenset(MessageState)


class Holder(Taker):
    """A consumer that tells what it has."""

    def holds(self) -> Iterable[Message]:
        """What it took and has not settled."""
        return list(self.taken)


class Scene:
    """A queue, what is in it, and where."""

    def __init__(self) -> None:
        self.time = Time()
        policy = Policy(match="/queue/q", max_deliveries=1000)
        self.queue = make_router(self.time, policy, idle=0).queue("q")
        self.sequence = 0
        self.inside: set[int] = set()
        self.holders: list[Holder] = []

    def publish(self, priority: int) -> None:
        self.sequence += 1
        self.inside.add(self.sequence)
        kind = "odd" if self.sequence % 2 else "even"
        headers = {"priority": str(priority), "kind": kind, "n": str(self.sequence % 10)}
        self.queue.publish(make_message(self.sequence, **headers))

    def act(self, random: Random, *, publishes: bool) -> None:
        """Do something that happens to queues."""
        held = [(one, message) for one in self.holders for message in one.taken]
        what = random.choice(("publish", "take", "accept", "refuse", "leave", "remove"))
        if what == "publish" and publishes:
            self.publish(random.choice((4, 4, 4, 4, 9, 1)))
        elif what == "take" and len(self.holders) < 3:
            selector = random.choice(("", "", "kind = 'odd'", "kind = 'even'", "n > 7"))
            self.holders.append(Holder(random.randint(1, 4), selector=selector))
            take_part(self.queue, self.holders[-1])
        elif what in ("accept", "refuse") and held:
            holder, message = random.choice(held)
            holder.taken.remove(message)
            if what == "accept":
                self.inside.discard(message.sequence)
                self.queue.settle(message)
            else:
                self.queue.settle(message, Rejection(delay=random.choice((0.0, 5.0, 60.0))))
        elif what == "leave" and self.holders:
            holder = self.holders.pop(random.randrange(len(self.holders)))
            self.queue.detach(holder, list(holder.taken))
            holder.taken.clear()
        elif what == "remove" and self.inside:
            sequence = random.choice(sorted(self.inside))
            if not any(message.sequence == sequence for _, message in held):
                self.queue.control(Remove(frozenset((sequence,))))
                self.inside.discard(sequence)

    def page(self, beyond: Place | None, most: int, up_to: int) -> Browsed:
        """One page of a walk; nothing about the queue may change by it."""
        before = figures(self.queue)
        found: list[Browsed] = []
        self.queue.browse(Browse(Selection(up_to=up_to), 0, most, 0, EVERY, beyond), found.append)
        assert found, "a few messages are looked at at once"
        assert figures(self.queue) == before
        return found[0]


@given(seed=st.integers(0, 10**6), most=st.integers(1, 5), window=st.integers(1, 8))
def test_no_message_is_met_twice_and_none_that_stays_is_passed_by(
    seed: int, most: int, window: int
) -> None:
    random, scene = Random(seed), Scene()
    for _ in range(random.randint(0, 60)):
        scene.act(random, publishes=True)
    up_to, stayed = scene.sequence, set(scene.inside)
    shown: list[Message] = []
    beyond: Place | None = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(browse_walk, "WINDOW", window)
        while True:
            browsed = scene.page(beyond, most, up_to)
            assert {message.sequence for message in browsed.messages} <= scene.inside
            held = {message.sequence for one in scene.holders for message in one.taken}
            for message, state in zip(browsed.messages, browsed.states, strict=True):
                assert (message.sequence in held) is (state is MessageState.UNACKED)
            shown += browsed.messages
            if not browsed.more:
                break
            beyond = place_of(shown[-1])
            for _ in range(random.randint(0, 3)):
                scene.act(random, publishes=True)
            if random.random() < 0.2:
                scene.time.advance(6)
            stayed &= scene.inside
    places = [place_of(message) for message in shown]
    assert places == sorted(set(places))
    assert all(message.sequence <= up_to for message in shown)
    assert stayed <= {message.sequence for message in shown}


def test_very_many_that_have_no_order_are_looked_through_in_steps() -> None:
    scene = Scene()
    for number in range(30_000):
        scene.publish(9 if number % 2 else 1)
    found: list[Browsed] = []
    place = (-1, 200 * 2 - 1)
    look = Browse(Selection(), 0, 5, 0, frozenset((MessageState.READY,)), place)
    scene.queue.browse(look, found.append)
    assert not found
    while not found:
        scene.time.advance(0.002)
    assert [message.sequence for message in found[0].messages] == [401, 403, 405, 407, 409]


def numbered(sequences: Iterable[int]) -> ReadyList:
    """A list of messages with these sequences."""
    ready = ReadyList()
    for sequence in sequences:
        ready.append(make_message(sequence))
    return ready


@pytest.mark.parametrize("most", [1, 3, 100])
def test_the_next_ones_behind_a_sequence(most: int) -> None:
    sequences = list(range(0, 200, 7))
    fifo = numbered(sequences).fifo
    for sequence in range(-1, 200):
        expected = [one for one in sequences if one > sequence][:most]
        assert [message.sequence for message in later(fifo, sequence, most)] == expected


def test_offset_and_bytes() -> None:
    scene = Scene()
    for _ in range(10):
        scene.publish(4)
    found: list[Browsed] = []
    size = make_message(1, priority="4", kind="even", n="4").size  # as the fourth
    scene.queue.browse(Browse(skip=3, bodies=size * 2, states=EVERY), found.append)
    assert [message.sequence for message in found[0].messages] == [4, 5]
    assert (found[0].skipped, found[0].more) == (3, True)
    scene.queue.browse(Browse(skip=30, states=EVERY), found.append)
    assert (found[1].messages, found[1].skipped, found[1].more) == ([], 10, False)
