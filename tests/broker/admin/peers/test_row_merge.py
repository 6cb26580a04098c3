"""The rows of several brokers, put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stompy.admin.rows import (
    BrokerRow,
    ClusterRow,
    ConnectionRow,
    DurableRow,
    Kind,
    QueueDetail,
    QueueRow,
    Row,
    TopicRow,
)
from stompy_broker.admin.peers.row_merge import merge_rows

OWNERS = {0: "ann", 1: "bob"}


def merged(kind: Kind, own: Sequence[Row], *others: Sequence[Row]) -> list[Any]:
    return list(merge_rows(kind, own, others, lambda group: OWNERS.get(group, "")))


def test_a_queue_that_two_tell_of_while_it_moves_is_as_its_owner_tells_it() -> None:
    old = QueueRow(name="a", ready=1, broker="ann", group=1)
    new = QueueRow(name="a", ready=2, broker="bob", group=1)
    other = QueueRow(name="b", broker="ann", group=0)
    assert merged(Kind.QUEUES, [old, other], [new]) == [new, other]
    assert merged(Kind.QUEUES, [new], [old, other]) == [new, other]


def test_topics_are_added_up() -> None:
    rate: Any = {"in": 1.0, "out": 2.0, "ack": 0.0}
    one = TopicRow(name="t", subscribers=3, durable_subscribers=2, in_msgs=3, broker="ann")
    other = TopicRow(
        name="t",
        subscribers=4,
        durable_subscribers=2,
        in_msgs=4,
        rate=rate,
        last_in_at=9,
        broker="bob",
    )
    alone = TopicRow(name="u", broker="bob")
    topic, second = merged(Kind.TOPICS, [one], [other, alone])
    assert (topic.subscribers, topic.durable_subscribers, topic.in_msgs) == (5, 2, 7)
    assert (topic.rate, topic.last_in_at, topic.broker) == (rate, 9, "ann,bob")
    assert second is alone
    (topic,) = merged(Kind.TOPICS, [other], [other])
    assert topic.rate == {"in": 2.0, "out": 4.0, "ack": 0.0}


def test_a_durable_subscription_has_the_subscribers_of_all_brokers() -> None:
    owner = DurableRow(name="d", pending=5, broker="bob", group=1)
    front = DurableRow(name="d", online=True, connections=("c-1@ann",), broker="ann", group=1)
    (row,) = merged(Kind.DURABLE, [front], [owner])
    assert (row.pending, row.online, row.connections) == (5, True, ("c-1@ann",))
    assert owner.connections == ()


def test_a_queue_in_detail_has_the_subscriptions_of_all_brokers() -> None:
    owner = QueueDetail(name="a", ready=3, broker="bob", group=1, consumers_detail=({"id": "s-1"},))
    front = QueueDetail(name="a", consumers_detail=({"id": "s-2"},))
    (row,) = merged(Kind.QUEUE, [front], [owner])
    assert row.ready == 3
    assert [one["id"] for one in row.consumers_detail] == ["s-2", "s-1"]
    assert merged(Kind.QUEUE, [], []) == []
    assert merged(Kind.QUEUE, [front], []) == [front]


def test_connections_stand_beside_each_other_and_a_broker_alone() -> None:
    one, other = ConnectionRow(id="c-1@ann"), ConnectionRow(id="c-1@bob")
    assert merged(Kind.CONNECTIONS, [one], [other]) == [one, other]
    here, there = BrokerRow(name="a"), BrokerRow(name="b")
    assert merged(Kind.BROKER, [here], [there]) == [here]


def member(name: str, teller: str, state: str, connections: int = 0) -> ClusterRow:
    return ClusterRow(
        id=f"member.{name}",
        what="member",
        name=name,
        state=state,
        connections=connections,
        broker=teller,
    )


def test_a_member_tells_its_figures_and_others_whether_it_is_alive() -> None:
    here = [member("ann", "ann", "alive", 1), member("bob", "ann", "lost")]
    there = [member("ann", "bob", "lost"), member("bob", "bob", "alive", 7)]
    ann, bob = merged(Kind.CLUSTER, here, there)
    assert (ann.state, ann.connections) == ("alive", 1)
    assert (bob.state, bob.connections) == ("lost", 7)


def test_a_group_is_as_its_owner_tells_it() -> None:
    guess = ClusterRow(id="group.1", what="group", owner="bob", broker="ann")
    known = ClusterRow(id="group.1", what="group", owner="bob", records=9, broker="bob")
    assert merged(Kind.CLUSTER, [guess], [known]) == [known]
    assert merged(Kind.CLUSTER, [known], [guess]) == [known]
