"""Virtual topics as ActiveMQ has them (the manual, *Virtual topics*)."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conformance.conftest import Connect
from tests.support.wire import Peer, cheap_hash, running_broker, stats, unique

from stompy_broker import RunningBroker


def subscribe(peer: Peer, destination: str, id: str = "s", *lines: str) -> None:
    """SUBSCRIBE, and be sure that it was done."""
    more = "".join(f"{line}\n" for line in lines)
    peer.send(f"SUBSCRIBE\nid:{id}\ndestination:{destination}\n{more}receipt:r-{id}\n\n\0")
    assert peer.expect("RECEIPT")["receipt-id"] == f"r-{id}"


def send(peer: Peer, destination: str, body: str, *lines: str) -> None:
    """SEND, and be sure that it was done."""
    more = "".join(f"{line}\n" for line in lines)
    peer.send(f"SEND\ndestination:{destination}\n{more}receipt:sent\n\n{body}\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "sent"


@pytest.fixture
def name() -> str:
    return f"VirtualTopic.{unique('v')}"


def test_each_queue_gets_each_message_and_says_where_it_came_from(
    connect: Connect, name: str
) -> None:
    a, b, sender = connect(), connect(), connect()
    subscribe(a, f"/queue/Consumer.A.{name}")
    subscribe(b, f"/queue/Consumer.B.{name}")
    send(sender, f"/topic/{name}", "m", "color:red")
    for peer, consumer in ((a, "A"), (b, "B")):
        message = peer.expect("MESSAGE")
        assert message.body == b"m"
        assert message["destination"] == f"/queue/Consumer.{consumer}.{name}"
        assert message["original-destination"] == f"/topic/{name}"
        assert message["color"] == "red"


def test_subscribers_of_the_topic_get_it_as_ever(connect: Connect, name: str) -> None:
    queue, topic, sender = connect(), connect(), connect()
    subscribe(queue, f"/queue/Consumer.A.{name}")
    subscribe(topic, f"/topic/{name}")
    send(sender, f"/topic/{name}", "m")
    message = topic.expect("MESSAGE")
    assert message["destination"] == f"/topic/{name}"
    assert "original-destination" not in message
    assert queue.expect("MESSAGE").body == b"m"


def test_consumers_of_one_queue_share_it(connect: Connect, name: str) -> None:
    a, sender = connect(), connect()
    subscribe(a, f"/queue/Consumer.A.{name}", "1")
    subscribe(a, f"/queue/Consumer.A.{name}", "2")
    for number in range(4):
        send(sender, f"/topic/{name}", str(number))
    messages = [a.expect("MESSAGE") for _ in range(4)]
    assert sorted(one["subscription"] for one in messages) == ["1", "1", "2", "2"]


def test_what_comes_while_nobody_consumes_waits(
    broker: RunningBroker, connect: Connect, name: str
) -> None:
    sender = connect()
    send(sender, f"/topic/{name}", "too early")
    with Peer.open(broker.port) as a:
        subscribe(a, f"/queue/Consumer.A.{name}")
        a.send("UNSUBSCRIBE\nid:s\nreceipt:u\n\n\0")
        a.expect("RECEIPT")
    send(sender, f"/topic/{name}", "kept")
    assert stats(broker, f"Consumer.A.{name}").ready == 1
    again = connect()
    subscribe(again, f"/queue/Consumer.A.{name}")
    assert again.expect("MESSAGE").body == b"kept"


def test_a_queue_named_by_a_wildcard_gets_all(connect: Connect, name: str) -> None:
    a, sender = connect(), connect()
    subscribe(a, f"/queue/Consumer.A.{name}.>", "all")
    subscribe(a, f"/queue/Consumer.A.{name}.*.x", "star")
    send(sender, f"/topic/{name}.y", "y")
    assert a.expect("MESSAGE")["destination"] == f"/queue/Consumer.A.{name}.>"
    send(sender, f"/topic/{name}.y.x", "x")
    assert {a.expect("MESSAGE")["subscription"] for _ in range(2)} == {"all", "star"}


@pytest.mark.parametrize(
    "queue", ["Consumer.A.B.{}", "Consumer.{}", "Other.A.{}", "Consumer.A.x{}", "{}"]
)
def test_other_names_are_other_queues(
    broker: RunningBroker, connect: Connect, name: str, queue: str
) -> None:
    sender = connect()
    subscribe(connect(), f"/queue/{queue.format(name)}")
    send(sender, f"/topic/{name}", "m")
    assert stats(broker, queue.format(name)).published == 0


def test_in_a_transaction_all_of_it_or_nothing(
    broker: RunningBroker, connect: Connect, name: str
) -> None:
    sender = connect()
    for consumer in "AB":
        subscribe(connect(), f"/queue/Consumer.{consumer}.{name}")
    for end, count in (("ABORT", 0), ("COMMIT", 1)):
        sender.send(
            "BEGIN\ntransaction:t\n\n\0"
            f"SEND\ndestination:/topic/{name}\ntransaction:t\n\nm\0"
            f"{end}\ntransaction:t\nreceipt:e\n\n\0"
        )
        sender.expect("RECEIPT")
        for consumer in "AB":
            assert stats(broker, f"Consumer.{consumer}.{name}").published == count


def test_a_full_queue_refuses_it_for_all(name: str) -> None:
    policy = {"match": f"/queue/Consumer.B.{name}", "max_length": 1, "overflow": "reject-publish"}
    with running_broker(policy=[policy]) as broker:
        for consumer in "AB":
            with Peer.open(broker.port) as peer:
                subscribe(peer, f"/queue/Consumer.{consumer}.{name}")
        with Peer.open(broker.port) as sender:
            send(sender, f"/topic/{name}", "1")
            sender.send(f"SEND\ndestination:/topic/{name}\nreceipt:r\n\n2\0")
            sender.expect_error("queue-full", "r")
        assert [stats(broker, f"Consumer.{one}.{name}").ready for one in "AB"] == [1, 1]


def test_the_queue_and_what_is_in_it_survive(tmp_path: Path, name: str) -> None:
    store = {"data": str(tmp_path)}
    times = {"shutdown": 0.0, "idle_queue": 0.05}
    with running_broker(store=store, times=times) as broker:
        for consumer in "AB":
            with Peer.open(broker.port) as peer:
                subscribe(peer, f"/queue/Consumer.{consumer}.{name}")
    with running_broker(store=store, times=times) as broker:
        with Peer.open(broker.port) as sender:
            send(sender, f"/topic/{name}", "m")
        assert [stats(broker, f"Consumer.{one}.{name}").ready for one in "AB"] == [1, 1]


def test_a_dead_letter_goes_back_to_its_own_queue(
    broker: RunningBroker, connect: Connect, name: str
) -> None:
    a, sender = connect(), connect()
    queue = f"Consumer.A.{name}"
    subscribe(a, f"/queue/{queue}", "s", "ack:client-individual")
    send(sender, f"/topic/{name}", "m")
    ack = a.expect("MESSAGE")["ack"]
    a.send(f"NACK\nid:{ack}\nrequeue:false\nreceipt:n\n\n\0")
    a.expect("RECEIPT")
    dead = connect()
    subscribe(dead, f"/queue/DLQ.{queue}")
    assert dead.expect("MESSAGE")["original-destination"] == f"/queue/{queue}"


@pytest.mark.parametrize(
    ("settings", "topic", "queue", "gets"),
    [
        ({"match": ""}, "VirtualTopic.x", "Consumer.A.VirtualTopic.x", 0),
        ({"match": "v.*", "queues": "to.*.*."}, "v.x", "to.a.b.v.x", 1),
        ({"match": "v.*", "queues": "to.*.*."}, "v.x.y", "to.a.b.v.x.y", 0),
        ({"match": "v.*", "queues": "to.*.*."}, "VirtualTopic.x", "Consumer.A.VirtualTopic.x", 0),
        ({"match": ">"}, "anything", "Consumer.A.anything", 1),
    ],
)
def test_the_names_can_be_others(
    settings: dict[str, str], topic: str, queue: str, gets: int
) -> None:
    with running_broker(virtual_topics=settings) as broker, Peer.open(broker.port) as peer:
        subscribe(peer, f"/queue/{queue}")
        with Peer.open(broker.port) as sender:
            send(sender, f"/topic/{topic}", "m")
        if gets:
            assert peer.expect("MESSAGE")["destination"] == f"/queue/{queue}"
        assert stats(broker, queue).published == gets


@pytest.mark.parametrize("aware", [False, True])
def test_only_what_a_selector_takes_is_kept_where_that_is_wanted(aware: bool) -> None:
    queue, topic = "Consumer.A.VirtualTopic.x", "/topic/VirtualTopic.x"
    with (
        running_broker(virtual_topics={"selector_aware": aware}) as broker,
        Peer.open(broker.port) as peer,
    ):
        subscribe(peer, f"/queue/{queue}", "1", "selector:n = 1")
        subscribe(peer, f"/queue/{queue}", "2", "selector:n = 2")
        for number in (1, 2, 3):
            send_only(peer, topic, f"n:{number}")
        send_only(peer, f"/queue/{queue}", "n:3")
        assert {peer.expect("MESSAGE")["subscription"] for _ in range(2)} == {"1", "2"}
        peer.send("SEND\ndestination:/queue/end\nreceipt:r\n\n\0")
        peer.expect("RECEIPT")
        assert stats(broker, queue).ready == (1 if aware else 2)
        for id in "12":
            peer.send(f"UNSUBSCRIBE\nid:{id}\nreceipt:u\n\n\0")
            peer.expect("RECEIPT")
        send(peer, topic, "kept", "n:3")
        assert stats(broker, queue).ready == (2 if aware else 3)


def send_only(peer: Peer, destination: str, line: str) -> None:
    """SEND without a receipt, because messages come meanwhile."""
    peer.send(f"SEND\ndestination:{destination}\n{line}\n\nm\0")


def test_who_may_not_receive_the_topic_may_not_have_such_a_queue() -> None:
    users = {"ann": cheap_hash("ann")}
    acl = [{"user": "ann", "actions": ["receive"], "match": "/topic/>", "access": "deny"}]
    with running_broker(users=users, acl=acl) as broker:
        for queue, answer in (
            ("Consumer.A.VirtualTopic.x", "access-refused"),
            ("Consumer.A.other.x", None),
        ):
            with Peer.open(broker.port, "1.2", "login:ann", "passcode:ann") as peer:
                peer.send(f"SUBSCRIBE\nid:s\ndestination:/queue/{queue}\nreceipt:r\n\n\0")
                assert peer.read().get("error-code") == answer
