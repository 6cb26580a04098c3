"""Commands about message groups, over real sockets."""

from __future__ import annotations

from tests.support.admin import Code, Observer, fails, observing
from tests.support.wire import Peer

from stompy_broker import RunningBroker


def send(peer: Peer, queue: str, group: str, body: str) -> None:
    peer.send(f"SEND\ndestination:/queue/{queue}\nJMSXGroupID:{group}\n\n{body}\0")
    peer.sync()


def subscribe(peer: Peer, queue: str, name: str, prefetch: int = 10) -> None:
    peer.send(
        f"SUBSCRIBE\nid:{name}\ndestination:/queue/{queue}\nack:client-individual\n"
        f"prefetch-count:{prefetch}\n\n\0"
    )
    peer.sync()


def test_groups_are_listed_with_who_has_them(
    broker: RunningBroker, admin: Observer, queue: str
) -> None:
    with observing(broker.port) as other:
        subscribe(other.peer, queue, "1", prefetch=1)
        send(admin.peer, queue, "a", "1")
        send(admin.peer, queue, "a", "2")
        send(admin.peer, queue, "b", "3")
        other.peer.expect("MESSAGE")
        detail = admin.ask("queue.get", queue=queue)
        (consumer,) = detail["consumers_detail"]
        assert detail["groups"] == 2
        listed = admin.ask("group.list", queue=queue)
        assert listed["total"] == 2
        a, b = listed["rows"]
        assert (a["id"], a["owner"], a["waiting"], a["unsettled"]) == ("a", consumer["id"], 1, 1)
        assert a["since"] > 0
        assert (b["id"], b["owner"], b["waiting"], b["held_until"]) == ("b", "", 1, None)
        assert detail["message_groups"] == listed["rows"]
        assert admin.ask("group.list", queue=queue, match="b")["rows"] == [b]
        assert admin.ask("group.get", queue=queue, group="b") == b
        fails(Code.NOT_FOUND, admin.ask, "group.get", queue=queue, group="c")


def test_a_delayed_redelivery_is_seen(broker: RunningBroker, admin: Observer, queue: str) -> None:
    with observing(broker.port) as other:
        subscribe(other.peer, queue, "1")
        send(admin.peer, queue, "a", "1")
        ack = other.peer.expect("MESSAGE")["ack"]
        other.peer.send(f"NACK\nid:{ack}\ndelay:60000\n\n\0")
        other.peer.sync()
        row = admin.ask("group.get", queue=queue, group="a")
        assert row["waiting"] == 1
        assert row["held_until"] > row["since"]


def test_a_group_is_given_to_another_consumer_and_set_free(
    broker: RunningBroker, admin: Observer, queue: str
) -> None:
    with observing(broker.port) as one, observing(broker.port) as two:
        subscribe(one.peer, queue, "1")
        send(admin.peer, queue, "a", "1")
        ack = one.peer.expect("MESSAGE")["ack"]
        subscribe(two.peer, queue, "2")
        rows = admin.ask("queue.get", queue=queue)["consumers_detail"]
        first = admin.ask("group.get", queue=queue, group="a")["owner"]
        (second,) = [row["id"] for row in rows if row["id"] != first]
        given = {"queue": queue, "group": "a", "subscription": second}
        fails(Code.CONFLICT, admin.ask, "group.assign", **given)
        one.peer.send(f"ACK\nid:{ack}\n\n\0")
        one.peer.sync()
        assert admin.ask("group.assign", dry_run=True, **given)["assigned"] == 0
        assert admin.ask("group.assign", **given)["assigned"] == 1
        send(admin.peer, queue, "a", "2")
        message = two.peer.expect("MESSAGE")
        assert message["JMSXGroupFirstForConsumer"] == "true"
        two.peer.send(f"ACK\nid:{message['ack']}\n\n\0")
        two.peer.sync()
        assert admin.ask("group.reset", queue=queue, group="a")["reset"] == 1
        assert admin.ask("group.get", queue=queue, group="a")["owner"] == ""
        assert admin.ask("group.reset", queue=queue) == {
            "queue": queue,
            "matched": 0,
            "reset": 0,
        }
        fails(Code.BAD_REQUEST, admin.ask, "group.assign", **{**given, "subscription": "x"})
        fails(Code.CONFLICT, admin.ask, "group.assign", **{**given, "subscription": "s-999999"})
