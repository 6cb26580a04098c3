"""Queues that are dealt in turn (the manual, *Turns, rates and concurrency by value*)."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.support.admin import observing
from tests.support.wire import Frame, Peer, running_broker

from stompy_broker import RunningBroker
from stompy_broker.destinations.policy import Policy


@pytest.fixture(scope="module")
def broker() -> Iterator[RunningBroker]:
    policies = [
        Policy(match="/queue/fair.*", fair_by="tenant", redelivery_delay=0, max_deliveries=-1),
        Policy(match="/queue/one.*", fair_by="tenant", group_concurrency=1),
    ]
    with running_broker(policy=policies) as broker:
        yield broker


def fill(peer: Peer, queue: str, *bodies: str) -> None:
    """Send messages, each of the tenant that its first letter names."""
    for body in bodies:
        peer.send(f"SEND\ndestination:{queue}\ntenant:{body[0]}\n\n{body}\0")
    peer.sync()


def subscribe(peer: Peer, queue: str, prefetch: int = 100) -> None:
    peer.send(
        f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:client-individual\n"
        f"prefetch-count:{prefetch}\n\n\0"
    )


def nack(peer: Peer, message: Frame, *lines: str) -> None:
    more = "".join(f"{line}\n" for line in lines)
    peer.send(f"NACK\nid:{message['ack']}\n{more}\n\0")


def ack(peer: Peer, message: Frame) -> None:
    peer.send(f"ACK\nid:{message['ack']}\n\n\0")


def test_each_tenant_has_its_turn(broker: RunningBroker) -> None:
    with Peer.open(broker.port) as sender, Peer.open(broker.port) as reader:
        fill(sender, "/queue/fair.turns", *[f"a{n}" for n in range(50)], "b0", "b1", "c0")
        subscribe(reader, "/queue/fair.turns", 6)
        assert reader.bodies(6) == [b"a0", b"b0", b"c0", b"a1", b"b1", b"a2"]


def test_a_tenant_is_paused_and_others_go_on(broker: RunningBroker) -> None:
    queue = "/queue/fair.paused"
    with (
        observing(broker.port) as admin,
        Peer.open(broker.port) as sender,
        Peer.open(broker.port) as reader,
    ):
        events = admin.subscribe("event.group.held")
        admin.peer.sync()
        fill(sender, queue, "a0", "a1", "b0", "b1")
        subscribe(reader, queue, 1)
        nack(reader, reader.expect("MESSAGE"), "delay:2000", "scope:group")
        for body in (b"b0", b"b1", b"a0", b"a1"):
            message = reader.expect("MESSAGE")
            assert message.body == body
            ack(reader, message)
        told = json.loads(admin.frame(events).body)["data"]
        assert told["destination"] == queue
        assert told["detail"] == {"group": "a", "delay_ms": 2000}


def test_one_of_each_tenant_at_a_time(broker: RunningBroker) -> None:
    with Peer.open(broker.port) as sender, Peer.open(broker.port) as reader:
        fill(sender, "/queue/one.each", "a0", "a1", "b0")
        subscribe(reader, "/queue/one.each")
        first, other = reader.expect("MESSAGE"), reader.expect("MESSAGE")
        assert (first.body, other.body) == (b"a0", b"b0")
        reader.sync()
        ack(reader, first)
        assert reader.expect("MESSAGE").body == b"a1"


@pytest.mark.parametrize("header", ["JMSXGroupID", "_AMQ_GROUP_ID", "x-group-id"])
@pytest.mark.parametrize("value", ["1", "2"])
@pytest.mark.parametrize("more", ["", "transaction:t\n"])
def test_two_orders_for_one_queue_are_refused(
    broker: RunningBroker, header: str, value: str, more: str
) -> None:
    with Peer.open(broker.port) as peer:
        if more:
            peer.send("BEGIN\ntransaction:t\n\n\0")
        peer.send(f"SEND\ndestination:/queue/fair.two\n{header}:{value}\nreceipt:r\n{more}\nx\0")
        assert "tenant" in peer.expect_error("not-supported", "r").body.decode()


def test_a_scope_is_one_of_two_words(broker: RunningBroker) -> None:
    with Peer.open(broker.port) as sender, Peer.open(broker.port) as reader:
        fill(sender, "/queue/fair.scope", "a")
        subscribe(reader, "/queue/fair.scope")
        nack(reader, reader.expect("MESSAGE"), "scope:all", "receipt:n")
        reader.expect_error("bad-header", "n")
