"""Priorities and one active consumer, where consumers are at other brokers than their queue."""

from __future__ import annotations

from collections.abc import Set

from tests.support.house import make_head
from tests.support.placed import GROUP, Brokers, Member

from stompy.errors import ProtocolError
from stompy_broker.destinations.names import parse_destination
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.interface import Withdraw
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.terms import Terms

QUEUE = parse_destination("/queue/q")
ALONE = Terms(single_active=True)
BETTER = Terms(single_active=True, priority=1)


class Subscriber(Consumer):
    """Takes messages as a session does, and remembers whether it is active."""

    def __init__(self, member: Member, terms: Terms, prefetch: int = 10) -> None:
        self.auto = False
        self.prefetch = prefetch
        self.terms = terms
        self.number = 1
        self.waiting = False
        self.got: list[bytes] = []
        self.held: list[Message] = []
        self.told: list[bool] = []
        self.active_at_receipt: bool | None = None
        self.queue = member.router.queue(QUEUE.name)
        self.queue.attach(self, self._begin)

    def _begin(self, error: ProtocolError | None = None, /) -> None:
        assert error is None
        self.active_at_receipt = self.told[-1] if self.told else None
        self.queue.resume(self)

    def deliver(self, message: Message) -> bool:
        assert message.body is not None
        self.held.append(message)
        self.got.append(message.body)
        return len(self.held) < self.prefetch

    def activate(self, *, active: bool) -> None:
        self.told.append(active)

    def holds(self) -> list[Message]:
        return self.held

    def give_back(self, only: Set[Message] | None = None) -> None:
        back, self.held = self.held, []
        for message in back:
            self.queue.settle(message, Rejection(delay=0.0, failed=False))

    def settle(self) -> None:
        self.queue.settle(self.held.pop(0))
        self.queue.resume(self)

    def go(self) -> None:
        back, self.held = self.held, []
        self.queue.detach(self, back)

    def fail(self, reason: ProtocolError) -> None:
        raise reason


def send(member: Member, *bodies: bytes) -> None:
    for body in bodies:
        member.router.publish(QUEUE, make_head(str(QUEUE)), body, lambda error=None: None)


def three(cluster: Brokers) -> tuple[Member, Member, Member]:
    """An owner and two others."""
    ann, bob, cid = (cluster.join(name) for name in ("ann", "bob", "cid"))
    ann.own("bob", "cid")
    for other in (bob, cid):
        other.places.owner_changed(GROUP, "ann")
    cluster.settle_down()
    return ann, bob, cid


def test_priorities_are_told_to_the_owner() -> None:
    cluster = Brokers()
    ann, bob, cid = three(cluster)
    low, high = Subscriber(bob, Terms(priority=-1)), Subscriber(cid, Terms(priority=1), 2)
    cluster.settle_down()
    send(ann, b"1", b"2", b"3")
    cluster.settle_down()
    assert (high.got, low.got) == ([b"1", b"2"], [b"3"])


def test_one_of_all_brokers_is_active_and_then_the_next() -> None:
    cluster = Brokers()
    _ann, bob, cid = three(cluster)
    first = Subscriber(bob, ALONE)
    cluster.settle_down()
    second, plain = Subscriber(cid, ALONE), Subscriber(bob, Terms())
    cluster.settle_down()
    send(cid, b"1", b"2")
    cluster.settle_down()
    assert first.got == [b"1", b"2"]
    assert [one.active_at_receipt for one in (first, second, plain)] == [True, False, False]
    first.go()
    cluster.settle_down()
    cluster.time.advance(0.1)
    cluster.settle_down()
    assert second.got == [b"1", b"2"]
    assert (second.told, plain.told) == ([False, True], [False])


def test_one_whose_broker_dies_is_followed_by_the_next() -> None:
    cluster = Brokers()
    ann, bob, cid = three(cluster)
    first = Subscriber(bob, ALONE)
    cluster.settle_down()
    second = Subscriber(cid, ALONE)
    cluster.settle_down()
    send(cid, b"1")
    cluster.settle_down()
    assert first.got == [b"1"]
    bob.die()
    for other in (ann, cid):
        other.places.forget("bob")
    cluster.settle_down()
    cluster.time.advance(0.1)
    cluster.settle_down()
    assert second.got == [b"1"]


def test_a_better_one_gets_what_another_broker_gives_back() -> None:
    cluster = Brokers(Policy(match="/queue/q", single_active_handover=5))
    _ann, bob, cid = three(cluster)
    old = Subscriber(bob, ALONE, 2)
    cluster.settle_down()
    send(cid, b"1", b"2", b"3")
    cluster.settle_down()
    new = Subscriber(cid, BETTER)
    cluster.settle_down()
    old.settle()
    cluster.settle_down()
    cluster.time.advance(4)
    assert (old.got, new.got) == ([b"1", b"2"], [])
    for _ in range(4):
        cluster.time.advance(0.5)
        cluster.settle_down()
    assert new.got == [b"2", b"3"]
    assert (old.told, new.told) == ([True, False], [False, True])


def test_a_better_one_waits_for_what_another_broker_settles() -> None:
    cluster = Brokers()
    ann, bob, cid = three(cluster)
    old = Subscriber(bob, ALONE)
    cluster.settle_down()
    send(cid, b"1")
    cluster.settle_down()
    new = Subscriber(ann, BETTER)
    send(cid, b"2")
    cluster.settle_down()
    assert new.got == []
    old.settle()
    cluster.settle_down()
    cluster.time.advance(0.1)
    cluster.settle_down()
    assert new.got == [b"2"]


def test_the_next_owner_lets_one_settle_first_what_another_one_has() -> None:
    cluster = Brokers()
    ann, bob, cid = three(cluster)
    first = Subscriber(cid, ALONE)
    cluster.settle_down()
    second = Subscriber(bob, ALONE)
    cluster.settle_down()
    send(cid, b"1", b"2")
    cluster.settle_down()
    assert first.got == [b"1", b"2"]
    ann.die()
    for other in (bob, cid):
        other.places.forget("ann")
    bob.own("cid")
    cid.places.owner_changed(GROUP, "bob")
    cluster.settle_down()
    send(cid, b"3")
    cluster.settle_down()
    active = [one for one in (first, second) if one.told[-1]]
    assert len(active) <= 1
    assert second.got == []
    for _ in range(2):
        first.settle()
    for _ in range(4):
        cluster.settle_down()
        cluster.time.advance(0.1)
    assert sorted(first.got[2:] + second.got) == [b"3"]
    assert [one.told[-1] for one in (first, second)].count(True) == 1


def test_what_comes_back_that_was_on_its_way_leaves_the_consumer_active() -> None:
    cluster = Brokers()
    _ann, bob, cid = three(cluster)
    first = Subscriber(bob, ALONE)
    cluster.settle_down()
    second = Subscriber(cid, ALONE)
    cluster.settle_down()
    send(cid, b"1", b"2")
    while not (first.told and any(end.sent for end in cluster.links)):
        assert cluster.turn()
    first.queue.control(Withdraw([first]))
    cluster.settle_down()
    first.queue.resume(first)
    cluster.settle_down()
    cluster.time.advance(1)
    cluster.settle_down()
    assert (first.got, second.got) == ([b"1", b"2"], [])
    assert first.told == [True]
