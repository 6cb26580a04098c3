"""`docs/wire.md`, *Several at once*: one SEND to several queues and topics."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.conformance.conftest import Connect
from tests.conformance.test_message_ack import left
from tests.conformance.test_several_queues import subscribe
from tests.support.wire import Frame, Peer, running_broker

from stompy_broker import RunningBroker

VERSIONS = ("1.0", "1.1", "1.2")


def waiting(connect: Connect, *queues: str) -> list[Frame]:
    """What is in these queues, one message in each."""
    found = []
    for queue in queues:
        peer = connect()
        peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0")
        found.append(peer.expect("MESSAGE"))
        peer.sync()
        peer.close()
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_one_message_id_one_receipt_a_destination_each(
    connect: Connect, queue: str, topic: str, version: str
):
    """C1.5.2, as ActiveMQ does it: each copy's `destination` is its own part."""
    peer, listener = connect(version), connect()
    subscribe(listener, topic)
    a, b = f"{queue}-a", f"{queue}-b"
    peer.send(f"SEND\ndestination:{a},{topic},{b}\nreceipt:r\nmine:x\n\n1\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "r"
    peer.sync()
    copies = [*waiting(connect, a, b), listener.expect("MESSAGE")]
    assert [copy.all("destination") for copy in copies] == [[a], [b], [topic]]
    assert len({copy["message-id"] for copy in copies}) == 1
    assert {(copy.body, copy["mine"]) for copy in copies} == {(b"1", "x")}


def test_ids_of_two_messages_differ(connect: Connect, queue: str):
    """8: each message-id is one message's, also when the header block repeats."""
    peer, a = connect(), f"{queue}-a"
    for number in range(3):
        peer.send(f"SEND\ndestination:{a},{queue}-b\n\n{number}\0")
        peer.send(f"SEND\ndestination:{a}\n\n{number}\0")
    peer.sync()
    reader = connect()
    reader.send(f"SUBSCRIBE\nid:0\ndestination:{a}\n\n\0")
    frames = [reader.expect("MESSAGE") for _ in range(6)]
    assert [frame.body for frame in frames] == [b"0", b"0", b"1", b"1", b"2", b"2"]
    assert len({frame["message-id"] for frame in frames}) == 6


@pytest.mark.parametrize("end", ["COMMIT", "ABORT"])
def test_in_a_transaction(connect: Connect, queue: str, end: str):
    """C1.5.2, 9: all parts with the rest, or nothing."""
    peer, a, b = connect(), f"{queue}-a", f"{queue}-b"
    peer.send("BEGIN\ntransaction:t\n\n\0")
    peer.send(f"SEND\ndestination:{a},{b}\ntransaction:t\n\n1\0")
    peer.send(f"SEND\ndestination:{b}\ntransaction:t\n\n2\0")
    peer.sync()
    peer.send(f"{end}\ntransaction:t\nreceipt:end\n\n\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "end"
    expected = [b"1", b"2"] if end == "COMMIT" else []
    assert [body for body, _ in left(connect, a)] == expected[:1]
    assert [body for body, _ in left(connect, b)] == expected


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ("{0}-a,{0}-b,{0}-a", "bad-destination"),
        ("{0}-a,queue\\c//{1}-a", "bad-destination"),
        ("{0}-a,/nowhere/b", "bad-destination"),
        ("{0}-a,/queue/", "bad-destination"),
        ("{0}-a,b,{0}-c", "bad-destination"),
        ("a,{0}-c", "bad-destination"),
        ("{0}-a,/topic/x.*", "bad-destination"),
        ("{0}-a,/queue/$SYS.command", "bad-destination"),
        ("{0}-a,/queue/durable.x", "bad-destination"),
        ("{0}-a,/amq/queue/{1}-nowhere", "bad-destination"),
        ("{0}-a,/exchange/nowhere/k", "bad-destination"),
        ("{0}-a,/dsub/x", "not-supported"),
    ],
)
@pytest.mark.parametrize("transaction", [False, True])
def test_one_part_that_cannot_be_fails_all(
    connect: Connect, queue: str, parts: str, code: str, transaction: bool
):
    """C1.5.1: each part is checked by itself; one that fails fails all, and now."""
    peer, destination = connect(), parts.format(queue, queue[7:])
    if transaction:
        peer.send("BEGIN\ntransaction:t\n\n\0")
    line = "transaction:t\n" if transaction else ""
    peer.send(f"SEND\ndestination:{destination}\nreceipt:r\n{line}\n\0")
    peer.expect_error(code, receipt="r")
    assert left(connect, f"{queue}-a") == []


@pytest.mark.parametrize("part", [64, 65])
def test_at_most_64_parts(connect: Connect, queue: str, part: int):
    """C1.5.1: and so many are possible."""
    parts = [f"{queue}-{number}" for number in range(part)]
    peer = connect()
    peer.send(f"SEND\ndestination:{','.join(parts)}\nreceipt:r\n\n1\0")
    if part > 64:
        peer.expect_error("bad-destination", receipt="r")
    else:
        assert peer.expect("RECEIPT")["receipt-id"] == "r"
        assert left(connect, parts[63]) == [(b"1", "false")]


@pytest.fixture(scope="module")
def small() -> Iterator[RunningBroker]:
    """A broker with a queue that takes two messages and refuses the third."""
    policy = [{"match": "/queue/small.>", "max_length": 2, "overflow": "reject-publish"}]
    with running_broker(policy=policy, limits={"queues": 60}) as broker:
        yield broker


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("transaction", [False, True])
def test_all_or_nothing_where_a_queue_is_full(small: RunningBroker, place: int, transaction: bool):
    """C1.5.2: also under `reject-publish`."""
    name = f"{place}{transaction}"
    full, free = f"/queue/small.{name}", f"/queue/free.{name}"
    parts = [free, full] if place else [full, free]
    with Peer.open(small.port) as peer, Peer.open(small.port) as reader:
        for _ in range(2):
            peer.send(f"SEND\ndestination:{','.join(parts)}\n\nfits\0")
        peer.sync()
        if transaction:
            peer.send("BEGIN\ntransaction:t\n\n\0")
            peer.send(f"SEND\ndestination:{','.join(parts)}\ntransaction:t\n\ntoo many\0")
            peer.send("COMMIT\ntransaction:t\nreceipt:r\n\n\0")
        else:
            peer.send(f"SEND\ndestination:{','.join(parts)}\nreceipt:r\n\ntoo many\0")
        peer.expect_error("queue-full", receipt="r")
        subscribe_to_all = f"SUBSCRIBE\nid:0\ndestination:{full},{free}\n\n\0"
        reader.send(subscribe_to_all)
        assert reader.bodies(4) == [b"fits"] * 4
        reader.sync()


def test_copies_live_and_end_by_themselves(connect: Connect, queue: str):
    """C1.5.2: expiry holds for each."""
    peer, a, b = connect(), f"{queue}-a", f"{queue}-b"
    peer.send(f"SEND\ndestination:{a},{b}\nexpires:1\nreceipt:r\n\ngone\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "r"
    assert left(connect, a) == left(connect, b) == []


def test_a_composite_goes_round(connect: Connect, queue: str):
    """C1.5: what one SEND sends, one SUBSCRIBE gets; copies are settled by themselves."""
    peer = connect()
    parts = f"{queue}-a,{queue}-b"
    subscribe(peer, parts, "ack:client-individual")
    peer.send(f"SEND\ndestination:{parts}\n\n1\0")
    first, second = peer.expect("MESSAGE"), peer.expect("MESSAGE")
    assert first["message-id"] == second["message-id"]
    assert first["ack"] != second["ack"]
    peer.send(f"ACK\nid:{second['ack']}\n\n\0")
    peer.sync()
    peer.close()
    assert left(connect, f"{queue}-a") == [(b"1", "true")]
    assert left(connect, f"{queue}-b") == []


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_before_1_2_both_copies_are_settled_by_their_id(connect: Connect, queue: str, version: str):
    """C1.5.2-3: a client that acknowledges each delivery settles each copy, whatever the order."""
    peer = connect(version)
    parts = f"{queue}-a,{queue}-b"
    subscribe(peer, parts, "ack:client-individual", "prefetch-count:2")
    for number in range(3):
        peer.send(f"SEND\ndestination:{parts}\n\n{number}\0")
    for number in range(3):
        first, second = peer.expect("MESSAGE"), peer.expect("MESSAGE")
        assert first["message-id"] == second["message-id"]
        assert (first.body, second.body) == (b"%d" % number,) * 2
        for _ in range(2):
            peer.send(f"ACK\nsubscription:0\nmessage-id:{first['message-id']}\n\n\0")
    peer.sync()
    peer.close()
    assert left(connect, f"{queue}-a") == left(connect, f"{queue}-b") == []
