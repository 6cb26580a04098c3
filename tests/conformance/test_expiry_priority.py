"""Messages that end, and messages that go first (the manual, *Expiry* and *Priority*)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.conftest import Connect
from tests.support.wire import Peer, running_broker, stats, unique, until

from stompy_broker import RunningBroker
from stompy_broker.destinations.policy import Policy

VERSIONS = ("1.0", "1.1", "1.2")
FAR = 10**14
"""Milliseconds since the epoch, long after any test."""


def soon(milliseconds: int) -> int:
    """A moment in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000 + milliseconds


def send(peer: Peer, destination: str, *bodies: object, headers: str = "") -> None:
    """SEND messages, and be sure that they are safe."""
    for body in bodies:
        peer.send(f"SEND\ndestination:{destination}\n{headers}\n{body}\0")
    peer.sync()


def subscribe(peer: Peer, destination: str, headers: str = "", id: str = "0") -> None:
    """SUBSCRIBE, and be sure that it was done."""
    peer.send(f"SUBSCRIBE\nid:{id}\ndestination:{destination}\n{headers}receipt:s\n\n\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "s"


@pytest.fixture(scope="module")
def strict() -> Iterator[RunningBroker]:
    """A broker whose policies tell where expired messages go, by the name of the queue."""
    policies = (
        Policy(match="/queue/short.>", message_ttl=40, expired_to="dead-letter"),
        Policy(match="/queue/gone.>", message_ttl=40),
        Policy(match="/queue/late.>", expired_to="/queue/late"),
        Policy(match="/queue/dead.>", expired_to="dead-letter"),
        Policy(match="/queue/own.>", expired_to="dead-letter", dead_letter="/queue/own"),
    )
    with running_broker(policy=policies) as broker:
        yield broker


WAYS = {
    "expiration": "expiration:40\n",
    "ttl": "ttl:40\n",
    "expires": "expires:SOON\n",
    "both": f"expiration:40\nexpires:{FAR}\n",
    "earlier": "expiration:100000\nexpires:SOON\n",
    "argument": "x-message-ttl:40\n",
    "argument is earlier": "x-message-ttl:40\nexpiration:100000\n",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("version", VERSIONS)
def test_an_expired_message_is_dropped(
    broker: RunningBroker, connect: Connect, queue: str, version: str, way: str
):
    """Whichever header says so, nobody gets it, and it is not a dead letter."""
    peer = connect(version)
    send(peer, queue, "ends", headers=WAYS[way].replace("SOON", str(soon(40))))
    until(lambda: stats(broker, queue).expired == 1, "the message to expire")
    assert (stats(broker, queue).ready, stats(broker, queue).bytes) == (0, 0)
    subscribe(peer, queue)
    peer.sync()
    assert stats(broker, queue).dead_lettered == 0


@pytest.mark.parametrize("headers", ["expires:1\n", "expires:1\nexpiration:100000\n"])
def test_what_is_over_when_it_comes(
    broker: RunningBroker, connect: Connect, queue: str, headers: str
):
    """It is taken, with its receipt, and goes nowhere: not even to a consumer that waits."""
    peer = connect("1.2")
    subscribe(peer, queue)
    peer.send(f"SEND\ndestination:{queue}\nreceipt:r\n{headers}\n\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "r"
    peer.sync()
    assert stats(broker, queue).expired == 1


@pytest.mark.parametrize(
    "headers", ["expiration:0\n", "expires:0\n", "ttl:0\n", "expiration:50000\n"]
)
def test_what_has_time_arrives(connect: Connect, queue: str, headers: str):
    """0 means for ever; the headers are passed on as they were."""
    peer = connect("1.2")
    send(peer, queue, "body", headers=headers)
    subscribe(peer, queue)
    name, value = headers.rstrip().split(":")
    assert peer.expect("MESSAGE").all(name) == [value]


def test_one_in_the_middle_expires(broker: RunningBroker, connect: Connect, queue: str):
    """Those around it stay, in their order."""
    peer = connect("1.2")
    send(peer, queue, 1)
    send(peer, queue, 2, headers="expiration:30\n")
    send(peer, queue, 3)
    until(lambda: stats(broker, queue).expired == 1, "the message to expire")
    subscribe(peer, queue)
    assert peer.bodies(2) == [b"1", b"3"]
    peer.sync()


def test_what_is_with_a_consumer_does_not_expire(
    broker: RunningBroker, connect: Connect, queue: str
):
    """It may be acknowledged; if it comes back instead, its time is over."""
    peer = connect("1.2")
    subscribe(peer, queue, "ack:client-individual\n")
    send(connect("1.2"), queue, 1, 2, headers="expiration:30\n")
    first, second = (peer.expect("MESSAGE") for _ in range(2))
    send(connect("1.2"), f"{queue}-clock", "body", headers="expiration:60\n")
    until(lambda: stats(broker, f"{queue}-clock").expired == 1, "time to pass")
    assert stats(broker, queue).unacked == 2
    peer.send(f"ACK\nid:{first['ack']}\n\n\0NACK\nid:{second['ack']}\n\n\0")
    peer.sync()
    assert (stats(broker, queue).acked, stats(broker, queue).expired) == (1, 1)


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("short", "/queue/DLQ.{name}"),
        ("gone", ""),
        ("late", "/queue/late"),
        ("dead", "/queue/DLQ.{name}"),
        ("own", "/queue/own"),
    ],
)
def test_where_expired_messages_go(strict: RunningBroker, kind: str, target: str):
    """A policy tells; the letter bears the cause, and cannot expire again."""
    name = f"{kind}.{unique()}"
    queue, grave = f"/queue/{name}", target.replace("{name}", name)
    with Peer.open(strict.port) as peer:
        if grave:
            subscribe(peer, grave)
        expiration = "" if kind in ("short", "gone") else "expiration:40\n"
        peer.send(f"SEND\ndestination:{queue}\nx:1\n{expiration}\nbody\0")
        until(lambda: stats(strict, queue).expired == 1, "the message to expire")
        if grave:
            letter = peer.expect("MESSAGE")
            assert letter.body == b"body"
            for header, value in {
                "destination": grave,
                "original-destination": queue,
                "x-first-death-queue": name,
                "x-first-death-reason": "expired",
                "x-last-death-reason": "expired",
                "x-death-count": "0",
                "x": "1",
            }.items():
                assert letter.all(header) == [value], header
            assert "expiration" not in letter
            assert letter.get("original-expiration") == ("40" if expiration else None)
        peer.sync()
        assert stats(strict, queue).dead_lettered == bool(grave)


def test_an_argument_names_the_grave(connect: Connect, queue: str):
    """As with RabbitMQ, where expired messages go to the dead letter exchange."""
    peer = connect("1.2")
    subscribe(peer, f"{queue}-dead")
    name = queue.removeprefix("/queue/")
    arguments = f"x-message-ttl:30\nx-dead-letter-routing-key:{name}-dead\n"
    peer.send(f"SEND\ndestination:{queue}\n{arguments}\nbody\0")
    assert peer.expect("MESSAGE")["x-first-death-reason"] == "expired"


@pytest.mark.parametrize("header", ["expiration", "ttl", "expires", "priority"])
@pytest.mark.parametrize("value", ["x", "-1", "1.5", "", "1 0", "1e3", "٣", "1" * 30])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_bad_number_is_an_error(
    connect: Connect, queue: str, version: str, header: str, value: str
):
    """And says which header it is."""
    peer = connect(version)
    peer.send(f"SEND\ndestination:{queue}\n{header}:{value}\nreceipt:r\n\n\0")
    error = peer.expect_error("bad-header", receipt="r")
    assert header.encode() in error.body


@pytest.mark.parametrize("value", ["x", "-1", "1.5", "", "9" * 40])
@pytest.mark.parametrize("command", ["SEND", "SUBSCRIBE"])
def test_a_bad_time_to_live_of_a_queue(connect: Connect, queue: str, command: str, value: str):
    """The queue is not made."""
    peer = connect("1.2")
    peer.send(f"{command}\nid:0\ndestination:{queue}\nx-message-ttl:{value}\nreceipt:r\n\n\0")
    error = peer.expect_error("bad-header", receipt="r")
    assert b"x-message-ttl" in error.body


# -- priority -------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_higher_goes_first_and_equals_in_order(connect: Connect, queue: str, version: str):
    """4 without the header; more than 9 counts as 9."""
    peer = connect(version)
    for body, priority in enumerate(("", "1", "9", "4", "0", "9", "", "1", "12")):
        send(peer, queue, body, headers=f"priority:{priority}\n" if priority else "")
    subscribe(peer, queue)
    assert b"".join(peer.bodies(9)) == b"258036174"
    peer.sync()


def test_what_came_back_keeps_its_priority(connect: Connect, queue: str):
    """It is first among its equals, and no more than that."""
    peer, producer = connect("1.2"), connect("1.2")
    for body, priority in enumerate("337"):
        send(producer, queue, body, headers=f"priority:{priority}\n")
    subscribe(peer, queue, "ack:client-individual\nprefetch-count:2\n")
    assert peer.bodies(2) == [b"2", b"0"]
    send(producer, queue, 3, headers="priority:9\n")
    send(producer, queue, 4, headers="priority:3\n")
    peer.send("UNSUBSCRIBE\nid:0\n\n\0")
    subscribe(peer, queue)
    assert peer.bodies(5) == [b"3", b"2", b"0", b"1", b"4"]


def test_priority_is_passed_on(connect: Connect, queue: str):
    """The consumer sees what the producer wrote."""
    peer = connect("1.2")
    subscribe(peer, queue)
    peer.send(f"SEND\ndestination:{queue}\npriority:7\n\n\0")
    assert peer.expect("MESSAGE").all("priority") == ["7"]


def test_a_queue_is_first_in_first_out_again(connect: Connect, queue: str):
    """Priorities leave no trace once it was empty."""
    peer = connect("1.2")
    send(peer, queue, 1, headers="priority:8\n")
    subscribe(peer, queue)
    assert peer.bodies(1) == [b"1"]
    peer.send("UNSUBSCRIBE\nid:0\n\n\0")
    send(peer, queue, *range(5))
    subscribe(peer, queue)
    assert peer.bodies(5) == [b"%d" % n for n in range(5)]


# -- restarts -------------------------------------------------------------------------------------


def test_priority_survives_a_restart(tmp_path: Path, queue: str):
    """And so does the order among equals."""
    store = {"data": str(tmp_path)}
    with running_broker(store=store) as broker, Peer.open(broker.port) as peer:
        for body, priority in enumerate("495904"):
            send(peer, queue, body, headers=f"priority:{priority}\n")
    with running_broker(store=store) as broker, Peer.open(broker.port) as peer:
        send(peer, queue, 6, headers="priority:9\n")
        send(peer, queue, 7)
        subscribe(peer, queue)
        assert b"".join(peer.bodies(8)) == b"13620574"
        peer.sync()


def test_expiry_survives_a_restart(tmp_path: Path, queue: str):
    """Time passes while the broker is away; what has time left ends when it would have."""
    store, policy = {"data": str(tmp_path)}, (Policy(expired_to="dead-letter"),)
    name = queue.removeprefix("/queue/")
    with running_broker(store=store, policy=policy) as broker, Peer.open(broker.port) as peer:
        send(peer, queue, "soon", headers="expiration:100\n")
        send(peer, queue, "later", headers=f"expires:{soon(600)}\n")
        send(peer, queue, "never")
        send(peer, queue, "far", headers="expiration:600000\n")
    with running_broker(store=store, policy=policy) as broker, Peer.open(broker.port) as peer:
        subscribe(peer, f"/queue/DLQ.{name}")
        letters = [peer.expect("MESSAGE") for _ in range(2)]
        assert [letter.body for letter in letters] == [b"soon", b"later"]
        assert {letter["x-first-death-reason"] for letter in letters} == {"expired"}
        subscribe(peer, queue, id="1")
        assert peer.bodies(2) == [b"never", b"far"]
        peer.sync()
    with running_broker(store=store, policy=policy) as broker, Peer.open(broker.port) as peer:
        subscribe(peer, queue)
        peer.sync()


def test_the_time_to_live_of_a_queue_survives_a_restart(tmp_path: Path, queue: str):
    """The argument of its first SEND holds for what comes after it, too."""
    store = {"data": str(tmp_path)}
    with running_broker(store=store) as broker, Peer.open(broker.port) as peer:
        send(peer, queue, 1, headers="x-message-ttl:200\n")
    with running_broker(store=store) as broker, Peer.open(broker.port) as peer:
        send(peer, queue, 2)
        until(lambda: stats(broker, queue).expired == 2, "both to expire")
        subscribe(peer, queue)
        peer.sync()


# -- what ends besides messages -------------------------------------------------------------------


def test_idle_queues_and_abandoned_subscriptions_end(tmp_path: Path):
    """14: by argument or policy, also after a restart; what holds messages or is in use stays."""
    sections: dict[str, object] = {
        "store": {"data": str(tmp_path)},
        "policy": (Policy(match="/topic/>", expires=0.8), Policy(match="/queue/by.>", expires=0.8)),
    }
    durable = "client-id:c", "durable-subscription-name:{}\n"
    with running_broker(**sections) as broker:
        with Peer.open(broker.port, "1.2", durable[0]) as peer:
            send(peer, "/queue/used", "x", headers="x-expires:100\n")
            send(peer, "/queue/full", "x", headers="x-expires:100\n")
            send(peer, "/queue/idle", "x", headers="x-expires:100\n")
            send(peer, "/queue/by.policy", "x")
            for name in ("used", "idle", "by.policy"):
                subscribe(peer, f"/queue/{name}", id=name)
                peer.expect("MESSAGE")
            for name in ("idle", "by.policy"):
                peer.send(f"UNSUBSCRIBE\nid:{name}\n\n\0")
            for name in ("stays", "ends"):
                subscribe(peer, "/topic/t", durable[1].format(name), id=name)
            peer.send("UNSUBSCRIBE\nid:ends\n\n\0")
            peer.send("SEND\ndestination:/topic/t\n\nx\0")
            assert peer.expect("MESSAGE")["subscription"] == "stays"
            left = {"used", "full", "durable.c.stays"}
            until(lambda: {row.name for row in broker.queues()} == left, "the idle ones to end")
    with running_broker(**sections) as broker:
        until(lambda: {row.name for row in broker.queues()} == {"full"}, "the others to end")
        with Peer.open(broker.port) as peer:
            subscribe(peer, "/queue/full")
            assert peer.expect("MESSAGE").body == b"x"
        until(lambda: not broker.queues(), "the last one to end")
