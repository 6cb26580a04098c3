"""Subscribers who share a subscription to topics (the manual, *Sharing a topic*)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.process import BrokerProcess
from tests.support.wire import Peer, running_broker, stats, until

from stompy_broker import RunningBroker
from stompy_broker.destinations.policy import Policy

QUEUE = "durable.share.billing.orders.*"


@pytest.fixture
def broker() -> Iterator[RunningBroker]:
    policy = Policy(match="/topic/limited", max_length=1, overflow="reject-publish")
    with running_broker(policy=[policy]) as broker:
        yield broker


@pytest.fixture
def peers(broker: RunningBroker) -> Iterator[list[Peer]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Peer.open(broker.port)) for _ in range(3)]


def share(
    peer: Peer,
    headers: str = "",
    group: str = "billing",
    topic: str = "/topic/orders.*",
    id: str = "0",
) -> None:
    peer.send(
        f"SUBSCRIBE\nid:{id}\ndestination:{topic}\nshare:{group}\n{headers}receipt:s-{id}\n\n\0"
    )


def shared(
    peer: Peer,
    headers: str = "",
    group: str = "billing",
    topic: str = "/topic/orders.*",
    id: str = "0",
) -> None:
    share(peer, headers, group, topic, id)
    assert peer.expect("RECEIPT")["receipt-id"] == f"s-{id}"


def publish(peer: Peer, body: str, topic: str = "/topic/orders.new") -> None:
    peer.send(f"SEND\ndestination:{topic}\nreceipt:p\n\n{body}\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "p"


def names(broker: RunningBroker) -> set[str]:
    return {row.name for row in broker.queues()}


def test_each_message_goes_to_one_of_a_group_and_to_each_group(peers: list[Peer]) -> None:
    one, other, sender = peers
    shared(one)
    shared(other)
    shared(sender, group="audit")
    for number in range(4):
        sender.send(f"SEND\ndestination:/topic/orders.new\n\n{number}\0")
    everything = [b"0", b"1", b"2", b"3"]
    assert sorted(one.bodies(2) + other.bodies(2)) == everything
    assert sender.bodies(4) == everything


def test_two_patterns_are_two_groups(peers: list[Peer]) -> None:
    one, other, sender = peers
    shared(one)
    shared(other, topic="/topic/orders.>")
    publish(sender, "a")
    assert one.bodies(1) == other.bodies(1) == [b"a"]


def test_it_ends_with_the_last_one_and_what_is_not_settled(
    broker: RunningBroker, peers: list[Peer]
) -> None:
    one, other, sender = peers
    shared(one, "ack:client-individual\nprefetch-count:1\n")
    shared(other, "ack:client-individual\nprefetch-count:1\n")
    for number in range(3):
        publish(sender, str(number))
    assert one.bodies(1) + other.bodies(1) == [b"0", b"1"]
    one.close()
    until(lambda: stats(broker, QUEUE).ready == 2, "what one had to come back")
    other.send("UNSUBSCRIBE\nid:0\nreceipt:u\n\n\0")
    assert other.expect("RECEIPT")["receipt-id"] == "u"
    assert names(broker) == set()
    gone = broker._ask(lambda broker: broker._router.registry.gone.dropped)
    assert gone == 3


def test_what_is_rejected_comes_back_and_becomes_a_dead_letter_of_the_group(
    peers: list[Peer],
) -> None:
    one, other, sender = peers
    shared(one, "ack:client-individual\n", topic="/topic/orders.new")
    publish(sender, "bad")
    one.send(f"NACK\nid:{one.expect('MESSAGE')['ack']}\n\n\0")
    again = one.expect("MESSAGE")
    assert again["redelivered"] == "true"
    one.send(f"NACK\nid:{again['ack']}\nrequeue:false\n\n\0")
    one.sync()
    other.send("SUBSCRIBE\nid:0\ndestination:/queue/DLQ.share.billing.orders.new\n\n\0")
    dead = other.expect("MESSAGE")
    assert (dead.body, dead["original-destination"]) == (b"bad", "/topic/orders.new")


@pytest.mark.parametrize("lasting", ["durable:true\n", "durable-subscription-name:n\n"])
def test_a_durable_group_outlives_them(
    broker: RunningBroker, peers: list[Peer], lasting: str
) -> None:
    one, other, sender = peers
    shared(one, lasting)
    one.close()
    until(lambda: stats(broker, QUEUE).consumers == 0, "it to have left")
    publish(sender, "away")
    shared(other)  # whoever joins need not say so
    assert other.bodies(1) == [b"away"]
    other.send(f"UNSUBSCRIBE\nid:0\nshare:billing\n{lasting}receipt:u\n\n\0")
    assert other.expect("RECEIPT")["receipt-id"] == "u"
    assert names(broker) == set()


def test_it_is_ended_for_good_by_who_is_not_subscribed(
    broker: RunningBroker, peers: list[Peer]
) -> None:
    one, other, _ = peers
    shared(one, "durable:true\n")
    end = "UNSUBSCRIBE\nid:x\ndestination:/topic/orders.*\nshare:billing\ndurable:true\n"
    other.send(f"{end}receipt:u\n\n\0")
    other.expect_error("subscription-in-use", "u")
    one.send("UNSUBSCRIBE\nid:0\n\n\0")
    one.send(f"{end}receipt:u\n\n\0")
    assert one.expect("RECEIPT")["receipt-id"] == "u"
    assert names(broker) == set()


def test_one_that_ends_cannot_be_made_to_last(peers: list[Peer]) -> None:
    one, other, _ = peers
    shared(one)
    share(other, "durable:true\n")
    other.expect_error("bad-header", "s-0")


def test_a_full_one_refuses(peers: list[Peer]) -> None:
    one, _, sender = peers
    shared(one, "ack:client-individual\nprefetch-count:1\n", topic="/topic/limited")
    publish(sender, "with its consumer", "/topic/limited")
    publish(sender, "waits", "/topic/limited")
    sender.send("SEND\ndestination:/topic/limited\nreceipt:r\n\nx\0")
    sender.expect_error("queue-full", "r")


@pytest.mark.parametrize("lasting", ["", "durable:true\n"])
def test_nobody_has_it_for_himself(peers: list[Peer], lasting: str) -> None:
    share(peers[0], f"{lasting}exclusive:true\n")
    peers[0].expect_error("not-supported", "s-0")


@pytest.mark.parametrize("group", ["a b", "a/b", "a,b", "a*", ">"])
def test_what_no_group_is_called(peers: list[Peer], group: str) -> None:
    share(peers[0], group=group)
    peers[0].expect_error("bad-header", "s-0")


def test_a_durable_one_survives_a_crash(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path / "data") as broker, Peer.open(broker.port) as peer:
        shared(peer, "durable:true\n")
        peer.send("UNSUBSCRIBE\nid:0\n\n\0")
        publish(peer, "before")
        broker.kill()
    with BrokerProcess(tmp_path / "data") as broker, Peer.open(broker.port) as peer:
        publish(peer, "after")
        shared(peer)
        assert peer.bodies(2) == [b"before", b"after"]
