"""An ACK settles what its own connection got, or it is an error (promise 8)."""

from __future__ import annotations

import pytest
from tests.conformance.conftest import Connect
from tests.support.wire import Frame, Peer, running_broker, stats, until

from stompy_broker import RunningBroker

VERSIONS = ("1.0", "1.1", "1.2")


def take(peer: Peer, queue: str, key: str = "0") -> Frame:
    """One message, which waits for its ACK."""
    head = f"SUBSCRIBE\nid:{key}\ndestination:{queue}\nack:client-individual\n"
    peer.send(f"{head}prefetch-count:1\n\n\0")
    return peer.expect("MESSAGE")


def settle(command: str, version: str, message: Frame, key: str = "0") -> str:
    if version == "1.2":
        return f"{command}\nid:{message['ack']}\nreceipt:r\n\n\0"
    named = f"subscription:{key}\n" if version == "1.1" else ""
    return f"{command}\nmessage-id:{message['message-id']}\n{named}receipt:r\n\n\0"


@pytest.mark.parametrize("command", ["ACK", "NACK"])
@pytest.mark.parametrize("version", VERSIONS)
def test_an_ack_that_is_late_by_a_reconnect_settles_nothing(
    broker: RunningBroker, connect: Connect, queue: str, version: str, command: str
) -> None:
    """The new connection holds another message, on a subscription of the same id."""
    producer = connect()
    for body in (1, 2):
        producer.send(f"SEND\ndestination:{queue}\n\n{body}\0")
    producer.sync()
    worker = connect(version)
    first = take(worker, queue)
    worker.reset()
    until(lambda: stats(broker, queue).unacked == 0, "the message to come back")
    other = connect()
    assert take(other, queue).body == first.body
    again = connect(version)
    second = take(again, queue)
    assert second.body == b"2"
    again.send(settle(command, version, first))
    again.expect_error("unknown-ack", receipt="r")
    until(lambda: stats(broker, queue).unacked == 1, "the second message to come back")
    assert (stats(broker, queue).acked, stats(broker, queue).nacked) == (0, 0)


@pytest.mark.parametrize("version", VERSIONS)
def test_nobody_settles_for_others(connect: Connect, queue: str, version: str) -> None:
    connect().send(f"SEND\ndestination:{queue}\n\nx\0")
    owner, other = connect(version), connect(version)
    message = take(owner, queue)
    other.send(settle("ACK", version, message))
    other.expect_error("unknown-ack", receipt="r")
    owner.send(settle("ACK", version, message))
    owner.expect("RECEIPT")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_subscription_that_never_was(connect: Connect, queue: str, version: str) -> None:
    """Although the message is right."""
    connect().send(f"SEND\ndestination:{queue}\n\nx\0")
    peer = connect(version)
    message = take(peer, queue)
    peer.send(f"ACK\nmessage-id:{message['message-id']}\nsubscription:other\nreceipt:r\n\n\0")
    peer.expect_error("unknown-ack", receipt="r")


@pytest.mark.parametrize("version", VERSIONS)
def test_what_an_earlier_ack_covered_is_known(connect: Connect, queue: str, version: str) -> None:
    """In mode ``client``, acknowledging from the last to the first is no error."""
    producer = connect()
    for body in range(3):
        producer.send(f"SEND\ndestination:{queue}\n\n{body}\0")
    peer = connect(version)
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:client\n\n\0")
    messages = [peer.expect("MESSAGE") for _ in range(3)]
    for message in reversed(messages):
        peer.send(settle("ACK", version, message))
        peer.expect("RECEIPT")


def test_ids_are_new_in_the_next_broker() -> None:
    """Also without a data directory."""
    seen = set()
    for _ in range(3):
        with running_broker() as broker, Peer.open(broker.port) as peer:
            peer.send("SEND\ndestination:/queue/q\n\nx\0")
            message = take(peer, "/queue/q")
            assert message["ack"] not in seen
            for other in seen:
                with Peer.open(broker.port) as late:
                    late.send(f"ACK\nid:{other}\nreceipt:r\n\n\0")
                    late.expect_error("unknown-ack", receipt="r")
            seen.add(message["ack"])
            peer.send("DISCONNECT\n\n\0")


def test_ids_are_new_on_every_connection_and_subscription(connect: Connect, queue: str) -> None:
    connect().send(f"SEND\ndestination:{queue}\n\nx\0")
    seen: set[str] = set()
    for _ in range(3):
        peer = connect()
        for key in ("a", "b"):
            seen.add(take(peer, queue, key)["ack"])
            peer.send(f"UNSUBSCRIBE\nid:{key}\nreceipt:{key}\n\n\0")
            peer.expect("RECEIPT")
    assert len(seen) == 6
