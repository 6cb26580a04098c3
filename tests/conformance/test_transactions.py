"""`docs/conformance.md`, *Transactions*: BEGIN, COMMIT, ABORT."""

from __future__ import annotations

import pytest
from tests.conformance.conftest import Connect
from tests.support.wire import Peer, running_broker

from stompy_broker.destinations.policy import Policy

VERSIONS = ("1.0", "1.1", "1.2")


@pytest.mark.parametrize("headers", ["", "transaction:\n"])
@pytest.mark.parametrize("command", ["BEGIN", "COMMIT", "ABORT"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_transaction_has_a_name(connect: Connect, version: str, command: str, headers: str):
    """T1, 1.2 *BEGIN*: the ``transaction`` header is required."""
    peer = connect(version)
    peer.send(f"{command}\nreceipt:r\n{headers}\n\0")
    peer.expect_error("missing-header", receipt="r")


@pytest.mark.parametrize("version", VERSIONS)
def test_open_transactions_have_different_names(connect: Connect, queue: str, version: str):
    """T2, 1.2 *BEGIN*: a name in use is an error, and what it held is not applied."""
    peer = connect(version)
    peer.send(
        f"BEGIN\ntransaction:t\n\n\0SEND\ntransaction:t\ndestination:{queue}\n\n\0"
        "BEGIN\ntransaction:t\nreceipt:r\n\n\0"
    )
    peer.expect_error("duplicate-transaction", receipt="r")
    other = connect(version)
    other.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0")
    other.sync()


@pytest.mark.parametrize("end", ["COMMIT", "ABORT"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_name_may_be_used_again(connect: Connect, queue: str, version: str, end: str):
    """T2, 1.2 *BEGIN*: after COMMIT or ABORT it is free."""
    peer = connect(version)
    peer.send(f"BEGIN\ntransaction:t\n\n\0SEND\ntransaction:t\ndestination:{queue}\n\n1\0")
    peer.send(f"{end}\ntransaction:t\n\n\0BEGIN\ntransaction:t\n\n\0")
    peer.send(f"SEND\ntransaction:t\ndestination:{queue}\n\n2\0COMMIT\ntransaction:t\n\n\0")
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0")
    assert peer.bodies(2 if end == "COMMIT" else 1)[-1] == b"2"
    peer.sync()


def test_names_belong_to_their_connection(connect: Connect, queue: str):
    """T2, 1.2 *BEGIN*: two clients may use the same one."""
    one, two = connect("1.2"), connect("1.2")
    for peer in (one, two):
        peer.send(f"BEGIN\ntransaction:t\n\n\0SEND\ntransaction:t\ndestination:{queue}\n\n\0")
        peer.sync()
    one.send("ABORT\ntransaction:t\n\n\0")
    one.sync()
    two.send(f"COMMIT\ntransaction:t\n\n\0SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0")
    assert two.bodies(1) == [b""]
    two.sync()


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_happens_before_commit(connect: Connect, queue: str, version: str):
    """T3, 1.2 *COMMIT*: then everything, in its order."""
    peer, other = connect(version), connect(version)
    other.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0")
    other.sync()
    peer.send("BEGIN\ntransaction:t\n\n\0")
    for number in range(10):
        peer.send(f"SEND\ntransaction:t\ndestination:{queue}\n\n{number}\0")
    peer.send(f"SEND\ndestination:{queue}\n\noutside\0")
    peer.sync()
    assert other.bodies(1) == [b"outside"]
    other.sync()
    peer.send("COMMIT\ntransaction:t\nreceipt:r\n\n\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "r"
    assert other.bodies(10) == [str(number).encode() for number in range(10)]
    other.sync()


@pytest.mark.parametrize("command", ["ACK", "NACK"])
@pytest.mark.parametrize("version", VERSIONS)
def test_settling_waits_for_commit(connect: Connect, queue: str, version: str, command: str):
    """T3, 1.2 *ACK*: an ACK or NACK is part of the transaction; ABORT undoes it."""
    peer = connect(version)
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:client-individual\n\n\0")
    peer.send(f"SEND\ndestination:{queue}\n\nbody\0")
    message = peer.expect("MESSAGE")
    name = f"id:{message['ack']}" if version == "1.2" else f"message-id:{message['message-id']}"
    settle = f"{command}\ntransaction:t\nsubscription:0\n{name}\n\n\0"
    peer.send(f"BEGIN\ntransaction:t\n\n\0{settle}")
    peer.sync()
    peer.send(f"ABORT\ntransaction:t\n\n\0BEGIN\ntransaction:t\n\n\0{settle}")
    peer.sync()
    peer.send("COMMIT\ntransaction:t\n\n\0")
    if command == "NACK":
        assert peer.expect("MESSAGE")["delivery-count"] == "2"
    peer.sync()


@pytest.mark.parametrize("destination", ["/queue/{}", "/topic/{}"])
@pytest.mark.parametrize(
    ("limit", "body", "fits"),
    [({"max_length": 3}, "x", 3), ({"max_length_bytes": 2000}, "x" * 600, 3)],
)
def test_a_full_queue_is_asked_for_all_together(
    queue: str, destination: str, limit: dict[str, int], body: str, fits: int
):
    """T3, 1.2 *COMMIT*: what cannot be applied whole is refused whole."""
    destination = destination.format(queue.removeprefix("/queue/"))
    settings = {"match": destination, "overflow": "reject-publish", **limit}
    policy = Policy.model_validate(settings)
    with running_broker(policy=(policy,)) as broker:
        backlog = queue
        if destination.startswith("/topic/"):
            backlog = f"/queue/durable.0@{queue.removeprefix('/queue/')}"
            with Peer.open(broker.port) as peer:
                peer.send(f"SUBSCRIBE\nid:0\ndestination:{destination}\ndurable:true\n\n\0")
                peer.sync()
        for count, taken in ((fits + 1, False), (fits, True), (1, False)):
            with Peer.open(broker.port) as peer:
                peer.send("BEGIN\ntransaction:t\n\n\0")
                for _ in range(count):
                    peer.send(f"SEND\ndestination:{destination}\ntransaction:t\n\n{body}\0")
                peer.send("COMMIT\ntransaction:t\nreceipt:r\n\n\0")
                if taken:
                    assert peer.expect("RECEIPT")["receipt-id"] == "r"
                else:
                    peer.expect_error("queue-full", receipt="r")
            ready = {row.name: row.ready for row in broker.queues()}
            there = ready.get(backlog.removeprefix("/queue/"), 0)
            assert there == (fits if taken or count == 1 else 0)


def test_what_is_acknowledged_makes_room_for_what_is_sent(queue: str):
    """T3, 1.2 *COMMIT*: in one change, so that a full queue can be worked on."""
    policy = Policy(match=queue, overflow="reject-publish", max_length_bytes=1000)
    with running_broker(policy=(policy,)) as broker, Peer.open(broker.port) as peer:
        body = "x" * 900
        peer.send(f"SEND\ndestination:{queue}\n\n{body}\0")
        peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:client-individual\n\n\0")
        message = peer.expect("MESSAGE")
        peer.send(
            "BEGIN\ntransaction:t\n\n\0",
            f"ACK\nid:{message['ack']}\ntransaction:t\n\n\0",
            f"SEND\ndestination:{queue}\ntransaction:t\n\n{body}\0",
            "COMMIT\ntransaction:t\n\n\0",
        )
        assert peer.expect("MESSAGE").body == body.encode()
        peer.send("DISCONNECT\n\n\0")


@pytest.mark.parametrize("version", VERSIONS)
def test_consume_transform_produce(connect: Connect, queue: str, version: str):
    """T3, 1.2 *COMMIT*: an ACK and a SEND in one transaction happen together or not at all."""
    peer = connect(version)
    peer.send(
        f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:client\n\n\0SEND\ndestination:{queue}\n\nin\0"
    )
    message = peer.expect("MESSAGE")
    name = f"id:{message['ack']}" if version == "1.2" else f"message-id:{message['message-id']}"
    work = (
        f"BEGIN\ntransaction:t\n\n\0ACK\ntransaction:t\nsubscription:0\n{name}\n\n\0"
        f"SEND\ntransaction:t\ndestination:{queue}-out\n\nout\0"
    )
    peer.send(work)
    peer.sync()
    peer.close()
    peer = connect("1.2")
    peer.send(f"SUBSCRIBE\nid:out\ndestination:{queue}-out\n\n\0")
    peer.sync()
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:client\n\n\0")
    message = peer.expect("MESSAGE")
    assert (message.body, message["redelivered"]) == (b"in", "true")
    peer.send(
        f"BEGIN\ntransaction:t\n\n\0ACK\ntransaction:t\nid:{message['ack']}\n\n\0"
        f"SEND\ntransaction:t\ndestination:{queue}-out\n\nout\0COMMIT\ntransaction:t\n\n\0"
    )
    assert peer.bodies(1) == [b"out"]
    peer.sync()
    peer.close()
    last = connect("1.2")
    last.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0")
    last.sync()


UNKNOWN = {
    "SEND": "destination:/queue/never\n",
    "ACK": "id:1-1\nsubscription:0\nmessage-id:1\n",
    "NACK": "id:1-1\nsubscription:0\nmessage-id:1\n",
    "COMMIT": "",
    "ABORT": "",
}


@pytest.mark.parametrize("command", UNKNOWN)
@pytest.mark.parametrize("version", VERSIONS)
def test_an_unknown_transaction(connect: Connect, queue: str, version: str, command: str):
    """T4, 1.2 *SEND*: a transaction that is not open is an error."""
    peer = connect(version)
    peer.send(
        f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:client\n\n\0SEND\ndestination:{queue}\n\n\0"
    )
    peer.expect("MESSAGE")
    peer.send(f"{command}\ntransaction:no\nreceipt:r\n{UNKNOWN[command]}\n\0")
    peer.expect_error("unknown-transaction", receipt="r")


def test_a_bad_send_is_found_at_once(connect: Connect, queue: str):
    """T4, 1.2 *SEND*: not at COMMIT, when it is too late to know which one it was."""
    peer = connect("1.2")
    peer.send(
        f"BEGIN\ntransaction:t\n\n\0SEND\ntransaction:t\ndestination:{queue}\n\n\0"
        "SEND\ntransaction:t\ndestination:/nowhere/x\nreceipt:r\n\n\0"
    )
    peer.expect_error("bad-destination", receipt="r")


@pytest.mark.parametrize("end", ["DISCONNECT", "close", "reset", "error"])
@pytest.mark.parametrize("version", VERSIONS)
def test_the_end_of_the_connection_aborts(connect: Connect, queue: str, version: str, end: str):
    """T5, 1.2 *BEGIN*: however it ends."""
    peer, other = connect(version), connect("1.2")
    peer.send(
        f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:client\n\n\0SEND\ndestination:{queue}\n\nin\0"
    )
    message = peer.expect("MESSAGE")
    name = f"id:{message['ack']}" if version == "1.2" else f"message-id:{message['message-id']}"
    peer.send(
        f"BEGIN\ntransaction:t\n\n\0ACK\ntransaction:t\nsubscription:0\n{name}\n\n\0"
        f"SEND\ntransaction:t\ndestination:{queue}\n\nout\0"
    )
    peer.sync()
    if end == "DISCONNECT":
        peer.send("DISCONNECT\nreceipt:bye\n\n\0")
        peer.expect("RECEIPT")
    elif end == "error":
        peer.send("NONSENSE\n\n\0")
        peer.expect_error("unknown-command")
    else:
        getattr(peer, end)()
    other.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0")
    again = other.expect("MESSAGE")
    assert (again.body, again["redelivered"]) == (b"in", "true")
    other.sync()


@pytest.mark.parametrize("version", VERSIONS)
def test_subscribing_is_never_part_of_one(connect: Connect, queue: str, version: str):
    """T6, 1.2 *SUBSCRIBE*: the header means nothing there, even if it is not open."""
    peer = connect(version)
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\ntransaction:no\n\n\0")
    peer.send(f"SEND\ndestination:{queue}\n\n\0")
    assert peer.bodies(1) == [b""]
    peer.send(f"UNSUBSCRIBE\nid:0\ntransaction:no\n\n\0SEND\ndestination:{queue}\n\n\0")
    peer.sync()
