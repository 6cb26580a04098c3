"""Message groups, where consumers are at other brokers than their queue."""

from __future__ import annotations

import pytest
from tests.broker.cluster.remote.test_active_away import QUEUE, Subscriber, three
from tests.support.house import make_head
from tests.support.placed import GROUP, Brokers, Member

from stompy.protocol.headers import Version
from stompy_broker.message import Message
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.terms import PLAIN


def send(member: Member, *bodies: bytes) -> None:
    """Send messages whose groups are their first letters."""
    for body in bodies:
        head = make_head(str(QUEUE), JMSXGroupID=body[:1].decode())
        member.router.publish(QUEUE, head, body, lambda error=None: None)


def settle(cluster: Brokers) -> None:
    """Let everything arrive, and what is to happen at once happen."""
    for _ in range(4):
        cluster.settle_down()
        cluster.time.advance(0.01)
    cluster.settle_down()


def is_first(message: Message) -> bool:
    return b"JMSXGroupFirstForConsumer:true\n" in message.tail(Version.V1_2)


def test_a_group_has_one_consumer_wherever_it_is() -> None:
    cluster = Brokers()
    ann, bob, cid = three(cluster)
    away, other = Subscriber(bob, PLAIN), Subscriber(cid, PLAIN)
    cluster.settle_down()
    send(cid, b"a1", b"b1")
    send(cid, b"a2", b"b2")
    settle(cluster)
    send(ann, b"a3", b"b3")
    settle(cluster)
    assert {tuple(away.got), tuple(other.got)} == {(b"a1", b"a2", b"a3"), (b"b1", b"b2", b"b3")}
    assert [is_first(message) for message in away.held] == [True, False, False]


def test_a_busy_group_away_lets_others_pass() -> None:
    cluster = Brokers()
    _ann, bob, cid = three(cluster)
    slow = Subscriber(bob, PLAIN, prefetch=1)
    cluster.settle_down()
    send(cid, *[b"a%d" % number for number in range(300)])
    settle(cluster)
    quick = Subscriber(cid, PLAIN)
    settle(cluster)
    send(cid, b"b0")
    settle(cluster)
    assert slow.got == [b"a0"]
    assert quick.got == [b"b0"]
    slow.settle()
    settle(cluster)
    assert slow.got == [b"a0", b"a1"]


def test_a_group_whose_broker_dies_goes_on_elsewhere_in_order() -> None:
    cluster = Brokers()
    ann, bob, cid = three(cluster)
    first = Subscriber(bob, PLAIN, prefetch=2)
    cluster.settle_down()
    send(cid, b"a1", b"a2", b"a3")
    settle(cluster)
    second = Subscriber(cid, PLAIN)
    settle(cluster)
    assert (first.got, second.got) == ([b"a1", b"a2"], [])
    bob.die()
    for other in (ann, cid):
        other.places.forget("bob")
    settle(cluster)
    assert second.got == [b"a1", b"a2", b"a3"]


def test_a_delayed_redelivery_from_away_holds_its_group() -> None:
    cluster = Brokers()
    _ann, bob, cid = three(cluster)
    away = Subscriber(bob, PLAIN)
    cluster.settle_down()
    send(cid, b"a1")
    settle(cluster)
    away.queue.settle(away.held.pop(), Rejection(delay=2.0))
    settle(cluster)
    send(cid, b"a2", b"b1")
    settle(cluster)
    assert away.got == [b"a1", b"b1"]
    cluster.advance(2)
    settle(cluster)
    assert away.got == [b"a1", b"b1", b"a1", b"a2"]


@pytest.mark.parametrize("here", [True, False])
def test_the_next_owner_keeps_a_group_from_others_while_somebody_has_some_of_it(
    here: bool,
) -> None:
    cluster = Brokers()
    ann, bob, cid = three(cluster)
    holder = Subscriber(bob if here else cid, PLAIN, prefetch=2)
    cluster.settle_down()
    send(cid, b"a1", b"a2", b"a3")
    settle(cluster)
    assert holder.got == [b"a1", b"a2"]
    ann.die()
    for other in (bob, cid):
        other.places.forget("ann")
    bob.own("cid")
    cid.places.owner_changed(GROUP, "bob")
    settle(cluster)
    other = Subscriber(cid if here else bob, PLAIN)
    settle(cluster)
    send(cid, b"b1")
    settle(cluster)
    assert b"b1" in other.got + holder.got
    assert b"a3" not in other.got
    while holder.held:
        holder.settle()
        settle(cluster)
    settle(cluster)
    assert [body for body in holder.got + other.got if body == b"a3"] == [b"a3"]
