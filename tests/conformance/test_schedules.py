"""What is sent to come later (the manual, *Delay and delivery at a time*)."""

from __future__ import annotations

import time

import pytest
from tests.conformance.conftest import Connect
from tests.support.wire import Frame, Peer, unique

DELAYS = ("x-delay", "AMQ_SCHEDULED_DELAY", "x-opt-delivery-delay")
TIMES = ("x-deliver-at", "AMQ_SCHEDULED_TIME", "_AMQ_SCHED_DELIVERY", "x-opt-delivery-time")
KINDS = ("/queue/", "/topic/")


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def send(peer: Peer, destination: str, body: object, *headers: str) -> None:
    """SEND a message, and be sure that it was taken."""
    lines = "".join(f"{line}\n" for line in headers)
    peer.send(f"SEND\ndestination:{destination}\n{lines}receipt:sent\n\n{body}\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "sent"


def subscribe(peer: Peer, destination: str, *headers: str) -> None:
    """SUBSCRIBE, and be sure that it was done."""
    lines = "".join(f"{line}\n" for line in headers)
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{destination}\n{lines}receipt:subscribed\n\n\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "subscribed"


def refused(peer: Peer, destination: str, *headers: str) -> Frame:
    """SEND what cannot be sent."""
    lines = "".join(f"{line}\n" for line in headers)
    peer.send(f"SEND\ndestination:{destination}\n{lines}receipt:sent\n\nx\0")
    return peer.expect("ERROR")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("header", DELAYS)
def test_a_message_comes_so_much_later(connect: Connect, kind: str, header: str) -> None:
    sender, receiver, destination = connect(), connect(), kind + unique()
    subscribe(receiver, destination)
    before = now()
    send(sender, destination, "later", f"{header}:200", "color:red", "correlation-id:7")
    sent = now()
    send(sender, destination, "now")
    assert receiver.expect("MESSAGE").body == b"now"
    message = receiver.expect("MESSAGE")
    assert now() >= before + 200
    assert message.body == b"later"
    assert (message["color"], message["correlation-id"]) == ("red", "7")
    assert before + 200 <= int(message["scheduled-at"]) <= sent + 200
    assert message["scheduledJobId"] == message["message-id"]
    assert before <= int(message["timestamp"]) <= sent
    assert header not in message
    assert "scheduled-number" not in message
    assert message["redelivered"] == "false"


@pytest.mark.parametrize("header", TIMES)
def test_a_message_comes_at_a_time(connect: Connect, queue: str, header: str) -> None:
    peer = connect()
    due = now() + 200
    send(peer, queue, "x", f"{header}:{due}")
    subscribe(peer, queue)
    message = peer.expect("MESSAGE")
    assert now() >= due
    assert message["scheduled-at"] == str(due)
    assert header not in message
