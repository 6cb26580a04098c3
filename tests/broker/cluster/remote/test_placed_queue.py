"""A queue that stands where its group is just now."""

from __future__ import annotations

import pytest
from tests.support.house import make_head
from tests.support.placed import GROUP, Brokers, Member

from stompy.errors import ProtocolError
from stompy_broker.cluster.remote.guest import Guest
from stompy_broker.cluster.remote.guests import Guests
from stompy_broker.cluster.remote.tables import VerbError
from stompy_broker.cluster.remote.verbs import ToldBatch
from stompy_broker.destinations.names import parse_destination
from stompy_broker.message import Message
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.terms import PLAIN

QUEUE = parse_destination("/queue/q")


class Subscriber(Consumer):
    """Takes messages as a session does: from when it is told that it takes part."""

    def __init__(self, member: Member) -> None:
        self.auto = False
        self.prefetch = 10
        self.terms = PLAIN
        self.number = 1
        self.waiting = False
        self.held: list[Message] = []
        self.queue = member.router.queue(QUEUE.name)
        self.queue.attach(self, self._begin)

    def _begin(self, error: ProtocolError | None = None, /) -> None:
        assert error is None
        self.queue.resume(self)

    def deliver(self, message: Message) -> bool:
        self.held.append(message)
        return True

    def holds(self) -> list[Message]:
        return self.held

    def fail(self, reason: ProtocolError) -> None:
        raise reason


def send(member: Member, body: bytes, confirmed: list[bytes]) -> None:
    """Have a broker publish to the queue."""
    member.router.publish(
        QUEUE, make_head(str(QUEUE)), body, lambda error=None: confirmed.append(body)
    )


def test_who_subscribes_while_nobody_owns_the_group_is_served_once_it_is_here() -> None:
    cluster = Brokers()
    ann, bob = cluster.join("ann"), cluster.join("bob")
    confirmed: list[bytes] = []
    subscriber = Subscriber(ann)  # its SUBSCRIBE is on its way to nobody
    send(ann, b"before", confirmed)
    ann.own("bob")
    bob.places.owner_changed(GROUP, "ann")
    cluster.settle_down()
    send(bob, b"after", confirmed)
    cluster.settle_down()
    assert [message.body for message in subscriber.held] == [b"before", b"after"]
    assert confirmed == [b"before", b"after"]


def test_who_subscribed_at_an_owner_that_died_is_served_by_the_next() -> None:
    cluster = Brokers()
    ann, bob = cluster.join("ann"), cluster.join("bob")
    ann.own("bob")
    bob.places.owner_changed(GROUP, "ann")
    cluster.settle_down()
    subscriber = Subscriber(bob)
    ann.die()
    bob.places.forget("ann")
    bob.own()
    cluster.settle_down()
    send(bob, b"one", [])
    cluster.settle_down()
    assert [message.body for message in subscriber.held] == [b"one"]


def test_a_front_that_is_no_member_for_a_while_is_served_while_its_link_stands() -> None:
    """Its beats were late, or did not come through; what it says on the link did."""
    cluster = Brokers()
    ann, bob = cluster.join("ann"), cluster.join("bob")
    ann.own("bob")
    bob.places.owner_changed(GROUP, "ann")
    subscriber = Subscriber(bob)
    confirmed: list[bytes] = []
    send(bob, b"before", confirmed)
    cluster.settle_down()
    ann.places.forget("bob")
    send(bob, b"after", confirmed)
    cluster.settle_down()
    assert confirmed == [b"before", b"after"]
    assert [message.body for message in subscriber.held] == [b"before", b"after"]


def test_what_a_front_tells_again_after_it_was_no_member_is_not_carried_out_twice() -> None:
    cluster = Brokers()
    ann, bob = cluster.join("ann"), cluster.join("bob")
    ann.own("bob")
    bob.places.owner_changed(GROUP, "ann")
    cluster.settle_down()
    confirmed: list[bytes] = []
    send(bob, b"one", confirmed)
    while not ann.router.queues:
        assert cluster.turn()
    for end in cluster.links_of(bob):
        end.cut()  # before the answer came
    cluster.settle_down()
    cluster.advance(5)
    ann.places.forget("bob")
    cluster.settle_down()
    cluster.link(bob, ann)
    cluster.settle_down()
    assert confirmed == [b"one"]
    subscriber = Subscriber(ann)
    cluster.settle_down()
    assert [message.body for message in subscriber.held] == [b"one"]


def test_a_batch_that_makes_no_sense_harms_its_own_front_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It came while the owner still heard what each front has, and was read after that."""
    carry_out = Guests._execute

    def execute(guests: Guests, guest: Guest, batch: ToldBatch) -> None:
        if guest.name.startswith("bob/"):
            raise VerbError("rubbish")
        carry_out(guests, guest, batch)

    monkeypatch.setattr(Guests, "_execute", execute)
    cluster = Brokers()
    ann, bob, cas = (cluster.join(name) for name in ("ann", "bob", "cas"))
    ann.own("bob", "cas")
    for front in (bob, cas):
        front.places.owner_changed(GROUP, "ann")
    confirmed: list[bytes] = []
    send(bob, b"of bob", confirmed)
    send(cas, b"of cas", confirmed)
    for _ in range(200):
        if not cluster.turn():
            break
    assert confirmed == [b"of cas"]
    subscriber = Subscriber(cas)
    for _ in range(200):
        if not cluster.turn():
            break
    assert [message.body for message in subscriber.held] == [b"of cas"]
