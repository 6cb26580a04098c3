"""A queue that stands where its group is just now."""

from __future__ import annotations

from tests.support.house import make_head
from tests.support.placed import GROUP, Brokers, Member

from stompy.errors import ProtocolError
from stompy_broker.destinations.names import parse_destination
from stompy_broker.message import Message
from stompy_broker.routing.consumer import Consumer

QUEUE = parse_destination("/queue/q")


class Subscriber(Consumer):
    """Takes messages as a session does: from when it is told that it takes part."""

    def __init__(self, member: Member) -> None:
        self.auto = False
        self.prefetch = 10
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
