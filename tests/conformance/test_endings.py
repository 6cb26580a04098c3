"""What a connection leaves behind when it ends in the middle of things (promises 5 and 10).

Its subscriptions end together: what one of them gives back is not given to another one of the same
dying connection.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.support.wire import Peer, running_broker, stats, until

from stompy_broker import RunningBroker
from stompy_broker.destinations.policy import Policy

Connect = Callable[..., Peer]


def subscribe(peer: Peer, destination: str, name: str, *headers: str) -> None:
    lines = "".join(f"{line}\n" for line in headers)
    peer.send(f"SUBSCRIBE\nid:{name}\ndestination:{destination}\nreceipt:{name}\n{lines}\n\0")
    assert peer.expect("RECEIPT")["receipt-id"] == name


def publish(peer: Peer, destination: str, count: int) -> None:
    peer.send("".join(f"SEND\ndestination:{destination}\n\n{n}\0" for n in range(count)))
    peer.sync()


@pytest.mark.parametrize("end", ["reset", "close", "disconnect", "error"])
def test_what_returns_is_not_written_to_the_dying_connection(
    broker: RunningBroker, connect: Connect, queue: str, end: str
):
    """A subscription in mode `auto` beside the one that acknowledges would swallow it."""
    producer = connect()
    with Peer.open(broker.port) as dying:
        subscribe(dying, queue, "careful", "ack:client-individual")
        publish(producer, queue, 5)
        assert dying.bodies(5) == [b"%d" % n for n in range(5)]
        subscribe(dying, queue, "careless")
        if end == "reset":
            dying.reset()
        elif end == "disconnect":
            dying.send("DISCONNECT\nreceipt:bye\n\n\0")
        elif end == "error":
            dying.send("COMMIT\ntransaction:none\n\n\0")
    heir = connect()
    subscribe(heir, queue, "0", "ack:client-individual")
    messages = [heir.expect("MESSAGE") for _ in range(5)]
    assert [message.body for message in messages] == [b"%d" % n for n in range(5)]
    assert {message["delivery-count"] for message in messages} == {"2"}


def test_one_lost_connection_is_one_delivery(broker: RunningBroker, connect: Connect, queue: str):
    """However many subscriptions it has to the same queue."""
    producer = connect()
    with Peer.open(broker.port) as dying:
        subscribe(dying, queue, "0", "ack:client-individual")
        publish(producer, queue, 3)
        dying.bodies(3)
        for number in range(1, 12):
            subscribe(dying, queue, f"{number}", "ack:client-individual")
    until(lambda: stats(broker, queue).ready == 3, "the messages to return")
    heir = connect()
    subscribe(heir, queue, "0")
    assert [heir.expect("MESSAGE")["delivery-count"] for _ in range(3)] == ["2"] * 3


def test_a_commit_that_cuts_off_its_own_connection():
    """It is applied whole, and nothing of the connection stays."""
    policy = Policy(match="/topic/cut", backlog_messages=3, backlog_overflow="disconnect")
    with running_broker(policy=(policy,)) as broker:
        with Peer.open(broker.port) as peer:
            for number in range(3):
                name = f"{number}"
                subscribe(peer, "/topic/cut", name, "ack:client-individual", "prefetch-count:1")
            peer.send("BEGIN\ntransaction:t\n\n\0")
            for destination in ["/topic/cut"] * 9 + ["/temp-queue/own", "/queue/kept"]:
                peer.send(f"SEND\ndestination:{destination}\ntransaction:t\n\nx\0")
            peer.send("COMMIT\ntransaction:t\n\n\0")
            while (frame := peer.read()).command != "ERROR":
                assert frame.command == "MESSAGE"
            assert frame["error-code"] == "slow-consumer"
            peer.expect_eof()
        until(lambda: broker.connections() == 0, "the client to go")
        replies, used = broker._ask(
            lambda broker: (list(broker._router.registry.replies), broker._router.memory.used)
        )
        assert replies == []
        assert stats(broker, "/queue/kept").ready == 1
        assert used == stats(broker, "/queue/kept").bytes
