"""Routes that the configuration lays between destinations (the manual, *Routes*)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.conftest import Connect
from tests.support.wire import Frame, Peer, running_broker, stats, until

from stompy_broker import RunningBroker

ROUTES: list[dict[str, object]] = [
    {"from": "/queue/copied", "to": ["/queue/copy.1", "/topic/copy.2"]},
    {"from": "/queue/moved", "to": ["/queue/moved.to"], "mode": "move"},
    {
        "from": "/queue/chosen.*",
        "to": ["/queue/large"],
        "mode": "move",
        "selector": "amount > 100",
        "set": {"route": "large", "priority": "9"},
    },
    {"from": "/topic/first", "to": ["/queue/second"], "mode": "move", "set": {"way": "1"}},
    {"from": "/queue/second", "to": ["/queue/third"], "selector": "way = '1'"},
    {"from": "/queue/third", "to": ["/topic/fourth"]},
    {"from": "/topic/fourth", "to": ["/queue/fifth"], "set": {"way": "4"}},
    {"from": "/queue/bounded", "to": ["/queue/full"]},
    {"from": "/exchange/logs", "to": ["/queue/logged"]},
    {"from": "/queue/virtual", "to": ["/topic/VirtualTopic.routed"], "mode": "move"},
    {"from": "/topic/VirtualTopic.tapped", "to": ["/queue/tap"]},
]
POLICIES = [{"match": "/queue/full", "max_length": 1, "overflow": "reject-publish"}]


@pytest.fixture
def broker() -> Iterator[RunningBroker]:
    exchanges = [{"name": "logs", "type": "fanout"}]
    with running_broker(exchange=exchanges, route=ROUTES, policy=POLICIES) as broker:
        yield broker


def send(peer: Peer, destination: str, body: str = "m", *lines: str) -> None:
    """SEND, and be sure that it was done."""
    more = "".join(f"{line}\n" for line in lines)
    peer.send(f"SEND\ndestination:{destination}\n{more}receipt:sent\n\n{body}\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "sent"


def drain(connect: Connect, *queues: str) -> list[Frame]:
    """The one message of each queue."""
    found = []
    for queue in queues:
        peer = connect()
        peer.send(f"SUBSCRIBE\nid:s\ndestination:/queue/{queue}\n\n\0")
        found.append(peer.expect("MESSAGE"))
    return found


def counts(broker: RunningBroker) -> dict[str, int]:
    return {row.name: row.ready for row in broker.queues() if row.ready}


def test_a_copy_has_the_same_id_and_says_where_it_came_from(
    broker: RunningBroker, connect: Connect
) -> None:
    topic = connect()
    topic.send("SUBSCRIBE\nid:s\ndestination:/topic/copy.2\nreceipt:r\n\n\0")
    topic.expect("RECEIPT")
    send(connect(), "/queue/copied", "m", "color:red")
    messages = [*drain(connect, "copied", "copy.1"), topic.expect("MESSAGE")]
    assert len({one["message-id"] for one in messages}) == 1
    assert {one.body for one in messages} == {b"m"}
    assert {one["color"] for one in messages} == {"red"}
    assert [one["destination"] for one in messages] == [
        "/queue/copied",
        "/queue/copy.1",
        "/topic/copy.2",
    ]
    assert [one.get("original-destination") for one in messages] == [
        None,
        "/queue/copied",
        "/queue/copied",
    ]


def test_what_is_moved_is_nowhere_else(broker: RunningBroker, connect: Connect) -> None:
    send(connect(), "/queue/moved")
    assert counts(broker) == {"moved.to": 1}
    (message,) = drain(connect, "moved.to")
    assert message["destination"] == "/queue/moved.to"
    assert message["original-destination"] == "/queue/moved"


def test_a_selector_chooses_and_headers_are_set(broker: RunningBroker, connect: Connect) -> None:
    sender = connect()
    send(sender, "/queue/chosen.a", "small", "amount:5")
    send(sender, "/queue/chosen.a", "large", "amount:500", "route:none")
    send(sender, "/queue/chosen.b", "none")
    assert counts(broker) == {"chosen.a": 1, "chosen.b": 1, "large": 1}
    (message,) = drain(connect, "large")
    assert (message["route"], message["priority"]) == ("large", "9")
    assert message["original-destination"] == "/queue/chosen.a"


def test_a_way_of_four_routes(broker: RunningBroker, connect: Connect) -> None:
    send(connect(), "/topic/first")
    assert counts(broker) == {"second": 1, "third": 1, "fifth": 1}
    message = drain(connect, "fifth")[0]
    assert message["way"] == "4"
    assert message["original-destination"] == "/topic/first"
    send(connect(), "/queue/second", "m")
    assert counts(broker) == {"second": 2, "third": 1}


def test_all_or_nothing(broker: RunningBroker, connect: Connect) -> None:
    sender = connect()
    send(sender, "/queue/bounded")
    sender.send("SEND\ndestination:/queue/bounded\nreceipt:r\n\n2\0")
    sender.expect_error("queue-full", "r")
    assert counts(broker) == {"bounded": 1, "full": 1}
    other = connect()
    other.send("SEND\ndestination:/queue/bounded\n\n3\0")
    other.expect_error("queue-full")
    assert counts(broker) == {"bounded": 1, "full": 1}


def test_in_a_transaction(broker: RunningBroker, connect: Connect) -> None:
    sender = connect()
    for end, expected in (("ABORT", {}), ("COMMIT", {"copied": 1, "copy.1": 1, "moved.to": 1})):
        sender.send(
            "BEGIN\ntransaction:t\n\n\0"
            "SEND\ndestination:/queue/copied\ntransaction:t\n\nm\0"
            "SEND\ndestination:/queue/moved\ntransaction:t\n\nm\0"
            f"{end}\ntransaction:t\nreceipt:e\n\n\0"
        )
        sender.expect("RECEIPT")
        assert counts(broker) == expected
    sender.send(
        "BEGIN\ntransaction:t\n\n\0"
        "SEND\ndestination:/queue/bounded\ntransaction:t\n\nm\0"
        "SEND\ndestination:/queue/bounded\ntransaction:t\n\nm\0"
        "COMMIT\ntransaction:t\nreceipt:e\n\n\0"
    )
    sender.expect_error("queue-full", "e")
    assert "bounded" not in counts(broker)


def test_exchanges_and_virtual_topics(broker: RunningBroker, connect: Connect) -> None:
    a, sender = connect(), connect()
    for topic in ("routed", "tapped"):
        a.send(
            f"SUBSCRIBE\nid:{topic}\ndestination:/queue/Consumer.A.VirtualTopic.{topic}\n"
            "receipt:r\n\n\0"
        )
        a.expect("RECEIPT")
    send(sender, "/exchange/logs/any")
    assert counts(broker) == {"logged": 1}
    send(sender, "/queue/virtual")
    message = a.expect("MESSAGE")
    assert message["destination"] == "/queue/Consumer.A.VirtualTopic.routed"
    assert message["original-destination"] == "/queue/virtual"
    send(sender, "/topic/VirtualTopic.tapped")
    message = a.expect("MESSAGE")
    assert message["original-destination"] == "/topic/VirtualTopic.tapped"
    assert counts(broker) == {"logged": 1, "tap": 1}


def test_every_way_to_acknowledge_by_message_id(broker: RunningBroker, connect: Connect) -> None:
    send(connect(), "/queue/copied")
    old = connect("1.1")
    for queue in ("copied", "copy.1"):
        old.send(f"SUBSCRIBE\nid:{queue}\ndestination:/queue/{queue}\nack:client\n\n\0")
        message = old.expect("MESSAGE")
        old.send(f"ACK\nsubscription:{queue}\nmessage-id:{message['message-id']}\n\n\0")
    old.sync()
    until(lambda: stats(broker, "copy.1").acked == 1, "the second ACK")
    assert stats(broker, "copied").acked == 1


def test_they_survive_together(tmp_path: Path) -> None:
    store = {"data": str(tmp_path)}
    with running_broker(route=ROUTES[:1], store=store) as broker, Peer.open(broker.port) as peer:
        send(peer, "/queue/copied")
    with running_broker(store=store) as broker:
        assert counts(broker) == {"copied": 1, "copy.1": 1}
        with Peer.open(broker.port) as peer:
            peer.send("SUBSCRIBE\nid:s\ndestination:/queue/copied\n\n\0")
            first = peer.expect("MESSAGE")["message-id"]
            peer.send("SUBSCRIBE\nid:t\ndestination:/queue/copy.1\n\n\0")
            assert peer.expect("MESSAGE")["message-id"] == first
