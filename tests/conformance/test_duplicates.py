"""What is sent twice is taken once (the manual, *Messages that are taken once*)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.conformance.conftest import Connect
from tests.support.wire import Peer, running_broker, stats, unique

import stompy_broker
from stompy_broker import RunningBroker

NAMES = ("dedup-id", "_AMQ_DUPL_ID", "x-deduplication-header", "Nats-Msg-Id")
KINDS = ("/queue/", "/topic/")


def send(peer: Peer, destination: str, body: object, *headers: str) -> dict[str, str]:
    """SEND a message, and give what its RECEIPT tells."""
    lines = "".join(f"{line}\n" for line in headers)
    peer.send(f"SEND\ndestination:{destination}\n{lines}receipt:sent\n\n{body}\0")
    receipt = dict(peer.expect("RECEIPT").headers)
    assert receipt.pop("receipt-id") == "sent"
    return receipt


def subscribe(peer: Peer, destination: str, *headers: str) -> None:
    """SUBSCRIBE, and be sure that it was done."""
    lines = "".join(f"{line}\n" for line in headers)
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{destination}\n{lines}receipt:there\n\n\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "there"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_the_second_one_is_dropped_and_the_receipt_says_so(
    connect: Connect, kind: str, name: str
) -> None:
    sender, receiver, destination = connect(), connect(), kind + unique()
    subscribe(receiver, destination)
    assert send(sender, destination, 1, f"{name}:one") == {}
    told = send(connect(), destination, 2, f"{name}:one", "color:red")
    assert send(sender, destination, 3, f"{name}:three") == {}
    first, third = receiver.expect("MESSAGE"), receiver.expect("MESSAGE")
    assert (first.body, third.body) == (b"1", b"3")
    assert first[name] == "one"
    assert told["duplicate"] == "true"
    if kind == "/queue/":
        assert told["duplicate-of"] == first["message-id"]


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_all_versions_know_it(connect: Connect, version: str) -> None:
    peer, queue = connect(version), f"/queue/{unique()}"
    assert send(peer, queue, 1, "dedup-id:one") == {}
    assert send(peer, queue, 2, "dedup-id:one")["duplicate"] == "true"
    assert send(peer, queue, 2, "dedup-id:one")["duplicate"] == "true"
    assert send(peer, queue, 2, "dedup-id:two", "_AMQ_DUPL_ID:two") == {}


def test_without_a_receipt_it_is_dropped_as_well(
    connect: Connect, broker: RunningBroker, queue: str
) -> None:
    peer = connect()
    for number in range(20):
        peer.send(f"SEND\ndestination:{queue}\ndedup-id:{number % 7}\n\nx\0")
    peer.sync()
    assert stats(broker, queue).published == 7


def test_each_destination_has_its_own(connect: Connect, queue: str, topic: str) -> None:
    peer = connect()
    for destination in (queue, topic, f"{queue}.other", f"/exchange/amq.direct/{unique()}"):
        assert send(peer, destination, 1, "dedup-id:one") == {}
        assert send(peer, destination, 1, "dedup-id:one")["duplicate"] == "true"


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ("dedup-id:1\n_AMQ_DUPL_ID:2", "bad-header"),
        ("x-deduplication-header:1\nNats-Msg-Id:2", "bad-header"),
        (f"dedup-id:{'x' * 257}", "bad-header"),
        (f"Nats-Msg-Id:{'x' * 257}", "bad-header"),
        ("dedup-ttl:5", "bad-header"),
        ("dedup-mode:queued", "bad-header"),
        ("dedup-id:1\ndedup-ttl:x", "bad-header"),
        ("dedup-id:1\ndedup-ttl:0", "bad-header"),
        ("dedup-id:1\ndedup-ttl:5\nx-cache-ttl:6", "bad-header"),
        ("dedup-id:1\ndedup-mode:sometimes", "bad-header"),
        ("dedup-id:1\ndedup-mode:throttle", "bad-header"),
        ("dedup-id:1\ndedup-mode:debounce", "bad-header"),
        ("dedup-id:1\ndedup-mode:debounce\nx-delay:5\nx-schedule-id:a", "bad-header"),
        ("dedup-id:1\ndedup-mode:queued\nx-delay:5", "not-supported"),
        ("dedup-id:1\ndedup-mode:queued\nx-group-id:5", "not-supported"),
        ("dedup-id:1\nmandatory:true", "not-supported"),
        ("dedup-id:1\nreply-timeout:5", "not-supported"),
    ],
)
def test_what_makes_no_sense_or_is_not_done_is_refused(
    connect: Connect, queue: str, lines: str, code: str
) -> None:
    for _ in range(2):
        peer = connect()
        peer.send(f"SEND\ndestination:{queue}\n{lines}\nreceipt:r\n\n\0")
        peer.expect_error(code, "r")


@pytest.mark.parametrize(
    "destination",
    ["/temp-queue/a", "/temp-topic/a", "/reply-queue/a", "/queue/$SYS.command"],
)
def test_what_ends_with_a_connection_is_refused(connect: Connect, destination: str) -> None:
    for header in ("dedup-id", "Nats-Msg-Id"):
        peer = connect()
        peer.send(f"SEND\ndestination:{destination}\n{header}:1\nreceipt:r\n\n\0")
        error = peer.expect_error("not-supported", "r")
        assert b"dedup-id" in error.body


def test_an_empty_id_says_nothing(connect: Connect, queue: str) -> None:
    peer = connect()
    for _ in range(2):
        assert send(peer, queue, 1, "dedup-id:") == {}


def test_two_at_once_and_one_is_taken(connect: Connect, broker: RunningBroker, queue: str) -> None:
    peers = [connect() for _ in range(4)]
    for number in range(50):
        for peer in peers:
            peer.send(f"SEND\ndestination:{queue}\ndedup-id:{number}\n\nx\0")
    for peer in peers:
        peer.sync()
    assert stats(broker, queue).published == 50


# -- how long --------------------------------------------------------------------------------


def test_the_window_has_an_end_in_number_and_time() -> None:
    policy = [{"match": "/queue/>", "dedup_window": 3, "dedup_ttl": 60.0}]
    with (
        stompy_broker.running(policy=policy, time="virtual") as broker,
        Peer.open(broker.port) as peer,
    ):
        for one in "abcd":
            assert send(peer, "/queue/q", 1, f"dedup-id:{one}") == {}
        assert send(peer, "/queue/q", 1, "dedup-id:b")["duplicate"] == "true"
        assert send(peer, "/queue/q", 1, "dedup-id:a") == {}
        assert send(peer, "/queue/q", 1, "dedup-id:b") == {}
        broker.time.advance("59 s")
        assert send(peer, "/queue/q", 1, "dedup-id:b")["duplicate"] == "true"
        broker.time.advance("2 s")
        assert send(peer, "/queue/q", 1, "dedup-id:b") == {}
        assert send(peer, "/queue/q", 1, "dedup-id:t", "dedup-ttl:1000") == {}
        broker.time.advance("900 ms")
        assert send(peer, "/queue/q", 1, "dedup-id:t", "x-cache-ttl:5000")["duplicate"] == "true"
        broker.time.advance("200 ms")
        assert send(peer, "/queue/q", 1, "dedup-id:t") == {}


def test_there_is_a_limit_for_all_together() -> None:
    with (
        running_broker(limits={"dedup": 4}) as broker,
        Peer.open(broker.port) as peer,
    ):
        for number in range(6):
            assert send(peer, f"/queue/q{number % 3}", 1, f"dedup-id:{number}") == {}
        assert send(peer, "/queue/q2", 1, "dedup-id:2")["duplicate"] == "true"
        assert send(peer, "/queue/q0", 1, "dedup-id:0") == {}
        assert send(peer, "/queue/q2", 1, "dedup-id:2") == {}
        assert send(peer, "/queue/q1", 1, "dedup-id:4")["duplicate"] == "true"


def test_ids_survive_a_restart_and_so_does_their_queue_being_empty(tmp_path: Path) -> None:
    told = []
    for _ in range(2):
        with running_broker(store={"data": str(tmp_path / "data")}) as broker:
            with Peer.open(broker.port) as peer, Peer.open(broker.port) as receiver:
                subscribe(receiver, "/queue/q")
                told.append(send(peer, "/queue/q", 1, "dedup-id:one"))
                if len(told) == 1:
                    assert receiver.expect("MESSAGE").body == b"1"
                told.append(send(peer, "/queue/q", 1, "dedup-id:memory", "persistent:false"))
                receiver.expect("MESSAGE")
                told.append(send(peer, "/topic/t", 1, "dedup-id:one"))
    assert [one.get("duplicate") for one in told] == [None, None, None, "true", None, None]


# -- modes -----------------------------------------------------------------------------------


def test_throttle_drops_for_a_time_after_the_first() -> None:
    once = ("dedup-id:a", "dedup-mode:throttle", "dedup-ttl:10000")
    with stompy_broker.running(time="virtual") as broker, Peer.open(broker.port) as peer:
        assert send(peer, "/queue/q", 1, *once) == {}
        for _ in range(3):
            broker.time.advance("3 s")
            assert send(peer, "/queue/q", 1, *once)["duplicate"] == "true"
        broker.time.advance("2 s")
        assert send(peer, "/queue/q", 1, *once) == {}


@pytest.mark.parametrize("persistent", ["true", "false"])
def test_queued_drops_while_the_first_is_in_the_queue(connect: Connect, persistent: str) -> None:
    once = ("dedup-id:a", "dedup-mode:queued", f"persistent:{persistent}")
    peer, receiver, queue = connect(), connect(), f"/queue/{unique()}"
    assert send(peer, queue, 1, *once) == {}
    assert send(peer, queue, 2, *once)["duplicate"] == "true"
    subscribe(receiver, queue, "ack:client-individual")
    message = receiver.expect("MESSAGE")
    assert send(peer, queue, 3, *once)["duplicate-of"] == message["message-id"]
    receiver.send(f"NACK\nid:{message['ack']}\n\n\0")
    again = receiver.expect("MESSAGE")
    assert again.body == b"1"
    assert send(peer, queue, 4, *once)["duplicate"] == "true"
    receiver.send(f"ACK\nid:{again['ack']}\n\n\0")
    receiver.sync()
    assert send(peer, queue, 5, *once) == {}
    last = receiver.expect("MESSAGE")
    assert last.body == b"5"
    receiver.send(f"NACK\nid:{last['ack']}\nrequeue:false\n\n\0")
    receiver.sync()
    assert send(peer, queue, 6, *once) == {}


def test_what_is_queued_once_is_so_after_a_restart(tmp_path: Path) -> None:
    once = ("dedup-id:a", "dedup-mode:queued")
    for number in range(2):
        with running_broker(store={"data": str(tmp_path / "data")}) as broker:
            with Peer.open(broker.port) as peer:
                told = send(peer, "/queue/q", number, *once)
                assert told.get("duplicate") == ("true" if number else None)
    with running_broker(store={"data": str(tmp_path / "data")}) as broker:
        with Peer.open(broker.port) as peer, Peer.open(broker.port) as receiver:
            subscribe(receiver, "/queue/q")
            assert receiver.expect("MESSAGE").body == b"0"
            receiver.sync()
            assert send(peer, "/queue/q", 5, *once) == {}
            assert receiver.expect("MESSAGE").body == b"5"


def test_debounce_takes_the_place_of_what_waits_and_waits_anew() -> None:
    once = ("dedup-id:a", "dedup-mode:debounce", "x-delay:10000")
    with (
        stompy_broker.running(time="virtual") as broker,
        Peer.open(broker.port) as peer,
        Peer.open(broker.port) as receiver,
    ):
        subscribe(receiver, "/queue/q")
        for number in range(3):
            assert send(peer, "/queue/q", number, *once) == {}
            broker.time.advance("8 s")
        send(peer, "/queue/q", "other", "dedup-id:b", *once[1:])
        broker.time.advance("2 s")
        assert receiver.expect("MESSAGE").body == b"2"
        assert send(peer, "/queue/q", 5, *once) == {}
        broker.time.advance("10 s")
        assert sorted(receiver.bodies(2)) == [b"5", b"other"]


# -- what else may be said of a message ------------------------------------------------------


def test_what_comes_later_is_looked_for_when_it_is_sent() -> None:
    with (
        stompy_broker.running(time="virtual") as broker,
        Peer.open(broker.port) as peer,
        Peer.open(broker.port) as receiver,
    ):
        subscribe(receiver, "/queue/q")
        assert send(peer, "/queue/q", 1, "dedup-id:a", "x-delay:1000") == {}
        assert send(peer, "/queue/q", 2, "dedup-id:a", "x-delay:1000")["duplicate"] == "true"
        assert send(peer, "/queue/q", 3, "dedup-id:a")["duplicate"] == "true"
        broker.time.advance("1 s")
        message = receiver.expect("MESSAGE")
        assert (message.body, message["dedup-id"]) == (b"1", "a")
        assert send(peer, "/queue/q", 4, "dedup-id:a", "x-delay:1000")["duplicate"] == "true"
        assert send(peer, "/queue/q", 5, "dedup-id:b") == {}
        assert receiver.expect("MESSAGE").body == b"5"
        assert send(peer, "/queue/q", 6, "dedup-id:b", "x-delay:1000")["duplicate"] == "true"


def test_what_ends_has_priority_or_a_group_is_taken_once(connect: Connect, queue: str) -> None:
    peer = connect()
    for number, lines in enumerate(
        [("ttl:100000",), ("priority:9",), ("x-group-id:g",), ("expires:1",), ("correlation-id:7",)]
    ):
        assert send(peer, queue, number, f"dedup-id:{number}", *lines) == {}
        assert send(peer, queue, number, f"dedup-id:{number}", *lines)["duplicate"] == "true"
    subscribe(peer, queue)
    assert sorted(peer.bodies(4)) == [b"0", b"1", b"2", b"4"]


def test_what_is_refused_leaves_no_id() -> None:
    policy = [{"match": "/queue/>", "max_length": 1, "overflow": "reject-publish"}]
    with running_broker(policy=policy) as broker:
        with Peer.open(broker.port) as peer:
            assert send(peer, "/queue/q", 1, "dedup-id:a") == {}
            assert send(peer, "/queue/q", 1, "dedup-id:a")["duplicate"] == "true"
            peer.send("SEND\ndestination:/queue/q\ndedup-id:b\nreceipt:r\n\n2\0")
            peer.expect_error("queue-full", "r")
        with Peer.open(broker.port) as peer, Peer.open(broker.port) as receiver:
            subscribe(receiver, "/queue/q")
            assert receiver.expect("MESSAGE").body == b"1"
            receiver.sync()
            assert send(peer, "/queue/q", 2, "dedup-id:b") == {}
            assert receiver.expect("MESSAGE").body == b"2"


def test_a_dead_letter_can_be_sent_back_by_a_program(connect: Connect) -> None:
    sender, peer, queue = connect(), connect(), f"/queue/{unique()}"
    subscribe(peer, queue, "ack:client-individual")
    assert send(sender, queue, 1, "_AMQ_DUPL_ID:a", "dedup-ttl:100000") == {}
    message = peer.expect("MESSAGE")
    peer.send(f"NACK\nid:{message['ack']}\nrequeue:false\n\n\0")
    peer.send(f"SUBSCRIBE\nid:dead\ndestination:/queue/DLQ.{queue[7:]}\n\n\0")
    dead = peer.expect("MESSAGE")
    assert dead["original-dedup-id"] == "a"
    assert not {"_AMQ_DUPL_ID", "dedup-ttl"} & {name for name, _ in dead.headers}
    back = [f"{name}:{value}" for name, value in dead.headers if name == "original-dedup-id"]
    assert send(sender, queue, 2, *back) == {}
    assert peer.expect("MESSAGE").body == b"2"


def test_a_transaction_drops_its_duplicates_at_commit(
    connect: Connect, broker: RunningBroker, queue: str
) -> None:
    peer, other = connect(), connect()

    def in_transaction(*ids: str, end: str) -> dict[str, str]:
        peer.send("BEGIN\ntransaction:t\n\n\0")
        for one in ids:
            head = f"SEND\ndestination:{queue}\ntransaction:t\n"
            peer.send(f"{head}{f'dedup-id:{one}' if one else 'no:id'}\n\n{one}\0")
        peer.send(f"{end}\ntransaction:t\nreceipt:end\n\n\0")
        receipt = dict(peer.expect("RECEIPT").headers)
        assert receipt.pop("receipt-id") == "end"
        return receipt

    assert in_transaction("a", "b", end="ABORT") == {}
    assert in_transaction("a", "", end="COMMIT") == {"duplicates": "0"}
    assert send(other, queue, "c", "dedup-id:c") == {}
    assert in_transaction("a", "b", "c", "b", "d", end="COMMIT") == {"duplicates": "3"}
    assert in_transaction("", end="COMMIT") == {}
    subscribe(peer, queue)
    assert peer.bodies(6) == [b"a", b"", b"c", b"b", b"d", b""]
    assert stats(broker, queue).published == 6


def test_of_several_destinations_each_gets_what_it_does_not_know(connect: Connect) -> None:
    peer = connect()
    one, two, three = (f"/queue/{unique()}" for _ in range(3))
    assert send(peer, f"{one},{two}", 1, "dedup-id:a") == {}
    told = send(peer, f"{one},{two}", 2, "dedup-id:a")
    assert told["duplicate"] == "true"
    assert send(peer, f"{two},{three}", 3, "dedup-id:a") == {"duplicates": "1"}
    assert send(peer, three, 4, "dedup-id:a")["duplicate"] == "true"
    assert send(peer, one, 5, "dedup-id:a")["duplicate-of"] == told["duplicate-of"]
    for queue, body in ((one, b"1"), (two, b"1"), (three, b"3")):
        subscribe(peer, queue)
        message = peer.expect("MESSAGE")
        assert message.body == body
        if body == b"1":
            assert message["message-id"] == told["duplicate-of"]
        peer.send("UNSUBSCRIBE\nid:0\n\n\0")


def test_routes_and_virtual_topics_follow_their_destination() -> None:
    routes = [{"from": "/queue/from", "to": ["/queue/to"]}]
    with (
        running_broker(route=routes) as broker,
        Peer.open(broker.port) as peer,
        Peer.open(broker.port) as receiver,
    ):
        subscribe(receiver, "/queue/Consumer.A.VirtualTopic.x")
        for destination in ("/queue/from", "/topic/VirtualTopic.x"):
            assert send(peer, destination, 1, "dedup-id:a") == {}
            if destination != "/queue/from":
                assert receiver.expect("MESSAGE").body == b"1"
            assert send(peer, destination, 2, "dedup-id:a")["duplicate"] == "true"
        assert stats(broker, "/queue/to").published == 1
        assert stats(broker, "/queue/from").published == 1
        assert send(peer, "/queue/to", 3, "dedup-id:a") == {}


def test_an_event_tells_of_it_while_somebody_looks(connect: Connect, queue: str) -> None:
    peer, watcher = connect(), connect()
    watcher.send("SUBSCRIBE\nid:0\ndestination:/topic/$SYS.event.message.duplicate\n\n\0")
    watcher.sync()
    send(peer, queue, 1, "dedup-id:a")
    told = send(peer, queue, 1, "dedup-id:a")
    event = json.loads(watcher.expect("MESSAGE").body)["data"]
    assert event["destination"] == queue
    assert event["detail"] == {"duplicate_of": told["duplicate-of"]}
