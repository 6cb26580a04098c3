"""Messages that leave a queue for one of another broker: never in none of the two.

Whatever happens while they are under way, and at whichever moment: they are in the other queue at
last, or still in their own; and a copy that comes once more says that it may be one.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.house import Taker, figures, make_head, take_part
from tests.support.placed import Brokers, Member

from stompy.errors import ProtocolError
from stompy_broker.destinations.names import parse_destination
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message
from stompy_broker.routing.interface import Browse, Browsed, Move, Outcome, Queue, Transfer
from stompy_broker.routing.rejection import Rejection

NEAR, FAR = 0, 1
WORK, DEAD = parse_destination("/queue/work0"), parse_destination("/queue/dead1")
STEPS = range(26)
"""So many turns after a message has left, something happens."""

POLICY = Policy(match="/queue/work0", dead_letter="/queue/dead1", expired_to="/queue/dead1")


class Town:
    """Ann owns the queue that messages leave, bob the one where they go; cas owns nothing yet.

    Args:
        policy: of ann's queue.
    """

    def __init__(self, policy: Policy = POLICY) -> None:
        self.brokers = Brokers(policy, groups=2)
        self.owners = ["ann", "bob"]
        self.numbers = itertools.count(1)
        self.confirmed: set[bytes] = set()
        for name in ("ann", "bob", "cas"):
            self.brokers.join(name)
        for group, name in enumerate(self.owners):
            self.own(group, name)
        self.settle_down()

    def __getitem__(self, name: str) -> Member:
        return self.brokers.members[name]

    def own(self, group: int, name: str) -> None:
        """Let a broker take over a group."""
        self.owners[group] = name
        alive = [one for one in self.brokers.members.values() if one.alive]
        self[name].own(*(one.name for one in alive if one.name != name), group=group)
        for other in alive:
            if other.name != name:
                other.places.owner_changed(group, name)

    def settle_down(self, seconds: float = 3.0) -> None:
        """Let everything happen, and time pass."""
        for _ in range(int(seconds / 0.5)):
            self.brokers.settle_down()
            self.brokers.advance(0.5)
            for member in self.brokers.members.values():
                for group in sorted(member.fenced_groups):
                    if member.alive and self.owners[group] != member.name:
                        member.fenced_groups.discard(group)
                        member.places.deposed(group)
                        member.places.owner_changed(group, self.owners[group])
        self.brokers.settle_down()

    def turns(self, count: int) -> None:
        """Let so many turns pass."""
        for _ in range(count):
            self.brokers.turn()

    def send(self, name: str = "ann", **headers: str) -> None:
        """Publish a message."""
        body = b"piece %d" % next(self.numbers)
        self[name].router.publish(
            WORK,
            make_head("/queue/work0", **headers),
            body,
            lambda error=None: self.confirmed.add(body),
        )

    def found(self, name: str, queue: str) -> list[Message]:
        """What waits in a queue, as seen from a broker."""
        found: list[Browsed] = []
        self[name].router.queue(queue).browse(Browse(), found.append)
        self.settle_down()
        return found[0].messages

    def take_all(self, name: str, queue: str) -> list[Message]:
        """What is given to somebody who consumes."""
        taker = Taker(1000)
        take_part(self[name].router.queue(queue), taker)
        self.settle_down()
        return taker.taken

    def kill(self, name: str) -> None:
        """Let a broker die; cas gets what it owned."""
        self[name].die()
        for other in self.brokers.members.values():
            if other.alive:
                other.places.forget(name)
        for group, owner in enumerate(self.owners):
            if owner == name:
                self.own(group, "cas")

    def move(self, group: int) -> None:
        """Let a group go to cas in good order."""
        left: list[bool] = []
        self[self.owners[group]].places.leave(group, lambda: left.append(True))
        while not left:
            if not self.brokers.turn():
                self.brokers.advance(0.1)
        self.own(group, "cas")

    def relink(self, front: str, peer: str) -> None:
        """Cut a link, and open it again."""
        for end in list(self.brokers.links):
            if (end.other.peer, end.peer) == (front, peer) and not end._over:
                end.cut()
        self.brokers.link(self[front], self[peer])


def reject(town: Town) -> None:
    taker = Taker(1)
    queue = town["ann"].router.queue("work0")
    take_part(queue, taker)
    town.send()
    town.settle_down()
    (message,) = taker.taken
    queue.settle(message, Rejection(requeue=False))
    queue.detach(taker)


def expire(town: Town) -> None:
    town.send(ttl="100")
    town.brokers.settle_down()
    town.brokers.advance(0.2)


def come_too_late(town: Town) -> None:
    town.send("cas", expires="1")


def push_out(town: Town) -> None:
    town.send()
    town.brokers.settle_down()
    town.send()


def be_too_many(town: Town) -> None:
    for _ in range(2):
        town.send()


def move(town: Town) -> None:
    town.send()
    town.brokers.settle_down()
    order_move(town["ann"].router.queue("work0"))


def order_move(queue: Queue) -> list[Outcome]:
    found: list[Browsed] = []
    queue.browse(Browse(), found.append)
    transfers = [
        Transfer(one.sequence, DEAD, make_head("/queue/dead1")) for one in found[0].messages
    ]
    answers: list[Outcome] = []
    queue.control(Move(transfers), answers.append)
    return answers


def _short(**more: Any) -> Policy:
    return Policy(
        match="/queue/work0", dead_letter="/queue/dead1", expired_to="/queue/dead1", **more
    )


WAYS: dict[Callable[[Town], None], Policy] = {
    reject: POLICY,
    expire: POLICY,
    come_too_late: POLICY,
    push_out: _short(max_length=1, overflow="drop-head", overflow_to="/queue/dead1"),
    be_too_many: _short(max_length=1, overflow="reject-publish-dlx"),
    move: POLICY,
}
HURTS: dict[str, Callable[[Town], None]] = {
    "its owner dies": lambda town: town.kill("ann"),
    "the other owner dies": lambda town: town.kill("bob"),
    "its group moves": lambda town: town.move(NEAR),
    "the other group moves": lambda town: town.move(FAR),
    "it is taken over": lambda town: town.own(NEAR, "cas"),
    "the other is taken over": lambda town: town.own(FAR, "cas"),
    "the link is cut": lambda town: town.relink("ann", "bob"),
}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_it_is_there_and_here_no_more(way: Callable[[Town], None]) -> None:
    town = Town(WAYS[way])
    way(town)
    town.settle_down()
    (dead,) = town.found("cas", "dead1")
    assert dead.redelivery is None
    left = figures(town["ann"].router.queue("work0"))
    kept = int(way in (push_out, be_too_many))
    assert (left.ready, left.unacked, left.bytes > 0) == (kept, 0, kept > 0)
    assert len(town["ann"].stores[NEAR].index.messages) == kept


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("hurt", HURTS)
def test_whatever_happens_it_is_in_one_of_both(way: Callable[[Town], None], hurt: str) -> None:
    for steps in STEPS:
        town = Town(WAYS[way])
        way(town)
        town.turns(steps)
        HURTS[hurt](town)
        town.settle_down()
        found = town.take_all("cas", "dead1") + town.take_all("cas", "work0")
        bodies = Counter(message.body for message in found)
        lost = town.confirmed - bodies.keys()
        assert not lost, steps
        new = Counter(message.body for message in found if message.redelivery is None)
        assert max(bodies.values(), default=0) <= 2, (steps, found)
        assert max(new.values(), default=0) <= 1, (steps, found)


def test_a_receipt_of_a_nack_waits_until_it_is_a_dead_letter() -> None:
    town = Town()
    taker = Taker(1)
    queue = town["ann"].router.queue("work0")
    take_part(queue, taker)
    town.send()
    town.settle_down()
    town["bob"].die()
    told: list[ProtocolError | None] = []
    queue.settle(taker.taken[0], Rejection(requeue=False), lambda e=None: told.append(e))
    town.settle_down()
    assert told == []
    assert figures(queue).in_use
    town.own(FAR, "cas")
    town.settle_down()
    assert told == [None]


def test_an_operator_is_told_when_they_are_there() -> None:
    town = Town()
    for _ in range(3):
        town.send()
    town.settle_down()
    queue = town["ann"].router.queue("work0")
    town["bob"].die()
    answers = order_move(queue)
    town.settle_down()
    assert answers == []
    assert figures(queue).removed == 3
    town.own(FAR, "cas")
    town.settle_down()
    assert answers == [3]
    assert len(town.found("cas", "dead1")) == 3


def test_a_queue_that_is_deleted_takes_what_is_under_way_with_it() -> None:
    town = Town()
    reject(town)
    town["bob"].die()
    town["ann"].router.registry.delete_queue(
        town["ann"].router.queue("work0"), "the test", "", lambda outcome: None
    )
    town.own(FAR, "cas")
    town.settle_down()
    assert town["ann"].router.memory.used == 0
    assert not town["ann"].stores[NEAR].index.messages
