"""Queues with a length, and what happens when it is reached (the manual, *Length*)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.conftest import Connect
from tests.support.wire import Peer, running_broker, stats, unique

from stompy_broker import RunningBroker
from stompy_broker.destinations.policy import Policy

VERSIONS = ("1.0", "1.1", "1.2")
OVERFLOWS = ("drop-head", "reject-publish", "reject-publish-dlx")

BODY = "x" * 999
"""A body of this and a digit makes three messages of about 1,250 bytes."""
LIMITS = {"length": ("max_length", 3), "bytes": ("max_length_bytes", 3600)}
"""Two ways to say that three messages fit."""


@pytest.fixture(scope="module")
def limited() -> Iterator[RunningBroker]:
    """A broker whose policies limit queues, by the name of the queue."""
    policies = [
        Policy.model_validate(
            {"match": f"/queue/{overflow}.{limit}.>", "overflow": overflow, name: value}
        )
        for overflow in OVERFLOWS
        for limit, (name, value) in LIMITS.items()
    ]
    policies.append(Policy(match="/queue/kept.>", max_length=3, overflow_to="dead-letter"))
    policies.append(Policy(match="/queue/moved.>", max_length=3, overflow_to="/queue/moved"))
    policies.append(Policy(match="/queue/ring-a", max_length=1, overflow_to="/queue/ring-b"))
    policies.append(Policy(match="/queue/ring-b", max_length=1, overflow_to="/queue/ring-a"))
    with running_broker(policy=tuple(policies)) as broker:
        yield broker


@pytest.fixture(params=["header", "policy"])
def how(request: pytest.FixtureRequest) -> str:
    """Who sets the limit."""
    return str(request.param)


@pytest.fixture(params=LIMITS)
def limit(request: pytest.FixtureRequest) -> str:
    """What is limited."""
    return str(request.param)


def set_up(how: str, limit: str, overflow: str) -> tuple[str, str]:
    """A queue for three messages, and the header lines that its first SEND needs."""
    if how == "policy":
        return f"/queue/{overflow}.{limit}.{unique()}", ""
    name, value = LIMITS[limit]
    return f"/queue/{unique()}", f"x-{name.replace('_', '-')}:{value}\nx-overflow:{overflow}\n"


def message(queue: str, number: int, headers: str = "") -> str:
    """A SEND of a body that begins with a digit."""
    return f"SEND\ndestination:{queue}\n{headers}\n{number}{BODY}\0"


def fill(peer: Peer, queue: str, numbers: range, headers: str = "") -> None:
    """SEND messages, and be sure that they were taken."""
    for number in numbers:
        peer.send(message(queue, number, headers))
        headers = ""
    peer.sync()


def drain(peer: Peer, queue: str, count: int) -> str:
    """The digits of all that is in a queue."""
    peer.send(f"SUBSCRIBE\nid:{queue}\ndestination:{queue}\n\n\0")
    found = "".join(body[:1].decode() for body in peer.bodies(count))
    peer.sync()
    return found


def test_drop_head(limited: RunningBroker, how: str, limit: str):
    """The oldest have to go; their senders notice nothing."""
    queue, headers = set_up(how, limit, "drop-head")
    with Peer.open(limited.port) as peer:
        fill(peer, queue, range(8), headers)
        assert stats(limited, queue).dropped == 5
        assert drain(peer, queue, 3) == "567"
        assert stats(limited, queue).bytes == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_reject_publish(limited: RunningBroker, how: str, limit: str, version: str):
    """The sender gets an ERROR, and nothing is lost of what was taken."""
    queue, headers = set_up(how, limit, "reject-publish")
    with Peer.open(limited.port, version) as peer:
        fill(peer, queue, range(3), headers)
        peer.send(message(queue, 3, "receipt:r\n"))
        error = peer.expect_error("queue-full", receipt="r")
        assert queue.encode() in error.body
    with Peer.open(limited.port) as peer:
        assert stats(limited, queue).ready == 3
        assert drain(peer, queue, 3) == "012"


def test_there_is_room_again(limited: RunningBroker, how: str, limit: str):
    """Each message that leaves makes room for one."""
    queue, headers = set_up(how, limit, "reject-publish")
    with Peer.open(limited.port) as peer, Peer.open(limited.port) as consumer:
        fill(peer, queue, range(3), headers)
        consumer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:client\nprefetch-count:1\n\n\0")
        found = consumer.expect("MESSAGE")
        consumer.send(f"UNSUBSCRIBE\nid:0\n\n\0SUBSCRIBE\nid:1\ndestination:{queue}\n")
        consumer.send("ack:client-individual\nprefetch-count:1\n\n\0")
        found = consumer.expect("MESSAGE")
        consumer.send(f"ACK\nid:{found['ack']}\n\n\0")
        assert consumer.expect("MESSAGE").body[:1] == b"1"
        consumer.send("UNSUBSCRIBE\nid:1\n\n\0")
        consumer.sync()
        fill(peer, queue, range(3, 4))
        assert drain(consumer, queue, 3) == "123"


def test_reject_publish_dlx(limited: RunningBroker, how: str, limit: str):
    """The new message becomes a dead letter; its sender notices nothing."""
    queue, headers = set_up(how, limit, "reject-publish-dlx")
    name = queue.removeprefix("/queue/")
    with Peer.open(limited.port) as peer:
        fill(peer, queue, range(5), headers)
        assert stats(limited, queue).ready == 3
        peer.send(f"SUBSCRIBE\nid:0\ndestination:/queue/DLQ.{name}\n\n\0")
        letters = [peer.expect("MESSAGE") for _ in range(2)]
        assert [letter.body[:1] for letter in letters] == [b"3", b"4"]
        for letter in letters:
            assert letter["x-first-death-reason"] == "maxlen"
            assert letter["x-death-count"] == "0"
            assert letter["original-destination"] == queue
        assert drain(peer, queue, 3) == "012"


@pytest.mark.parametrize(("kind", "target"), [("kept", "/queue/DLQ.{name}"), ("moved", None)])
def test_where_pushed_out_messages_go(limited: RunningBroker, kind: str, target: str | None):
    """A policy may keep them, in their order, with the cause."""
    name = f"{kind}.{unique()}"
    grave = (target or "/queue/moved").replace("{name}", name)
    with Peer.open(limited.port) as peer:
        fill(peer, f"/queue/{name}", range(6))
        peer.send(f"SUBSCRIBE\nid:0\ndestination:{grave}\n\n\0")
        letters = [peer.expect("MESSAGE") for _ in range(3)]
        assert [letter.body[:1] for letter in letters] == [b"0", b"1", b"2"]
        assert {letter["x-last-death-reason"] for letter in letters} == {"maxlen"}
        assert drain(peer, f"/queue/{name}", 3) == "345"


def test_queues_may_push_into_each_other(limited: RunningBroker):
    """However that ends, it does, and the broker goes on."""
    with Peer.open(limited.port) as peer:
        fill(peer, "/queue/ring-a", range(9))
        rows = [stats(limited, f"/queue/ring-{name}") for name in "ab"]
        assert all(row.ready <= 1 for row in rows)
        for name in "ab":
            drain(peer, f"/queue/ring-{name}", stats(limited, f"/queue/ring-{name}").ready)
        assert all(stats(limited, f"/queue/ring-{name}").bytes == 0 for name in "ab")


def test_a_length_counts_what_waits(connect: Connect, queue: str):
    """Not what is with consumers; what comes back from them is never refused."""
    peer, producer = connect("1.2"), connect("1.2")
    headers = "x-max-length:2\nx-overflow:reject-publish\n"
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:client\nprefetch-count:2\n{headers}\n\0")
    peer.sync()
    fill(producer, queue, range(2))
    assert len(peer.bodies(2)) == 2
    fill(producer, queue, range(2, 4))
    peer.close()
    producer.send(message(queue, 4))
    producer.expect_error("queue-full")
    assert drain(connect("1.2"), queue, 4) == "0123"


def test_the_lowest_priority_is_not_pushed_out_first(connect: Connect, queue: str):
    """``drop-head`` takes the one that would have been delivered next."""
    peer = connect("1.2")
    fill(peer, queue, range(1), "x-max-length:2\npriority:1\n")
    fill(peer, queue, range(1, 2), "priority:9\n")
    fill(peer, queue, range(2, 3), "priority:5\n")
    assert drain(peer, queue, 2) == "20"


def test_the_first_frame_decides(connect: Connect, queue: str):
    """A later one may say what it likes."""
    peer = connect("1.2")
    fill(peer, queue, range(1), "x-max-length:2\n")
    fill(peer, queue, range(1, 5), "x-max-length:100\nx-overflow:reject-publish\n")
    assert drain(peer, queue, 2) == "34"


def test_arguments_are_not_passed_on(connect: Connect, queue: str):
    """They are words to the broker."""
    peer = connect("1.2")
    fill(peer, queue, range(1), "x-max-length:2\nx-overflow:drop-head\nx-mine:1\n")
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0")
    found = peer.expect("MESSAGE")
    assert [name for name, _ in found.headers if name.startswith("x-")] == ["x-mine"]


@pytest.mark.parametrize(
    "header",
    [
        "x-max-length:x",
        "x-max-length:-1",
        "x-max-length:",
        "x-max-length-bytes:x",
        "x-max-length-bytes:-1",
        "x-overflow:explode",
        "x-overflow:",
    ],
)
@pytest.mark.parametrize("command", ["SEND", "SUBSCRIBE"])
def test_a_bad_argument(
    broker: RunningBroker, connect: Connect, queue: str, command: str, header: str
):
    """Is named, and the queue is not made."""
    peer = connect("1.2")
    peer.send(f"{command}\nid:0\ndestination:{queue}\n{header}\nreceipt:r\n\n\0")
    error = peer.expect_error("bad-header", receipt="r")
    assert header.partition(":")[0].encode() in error.body
    assert queue.removeprefix("/queue/") not in {row.name for row in broker.queues()}


# -- transactions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_a_refused_commit_applies_nothing(
    limited: RunningBroker, how: str, limit: str, version: str
):
    """Neither before nor after the SEND that is refused."""
    queue, headers = set_up(how, limit, "reject-publish")
    other = f"/queue/{unique('other')}"
    with Peer.open(limited.port, version) as peer:
        peer.send("BEGIN\ntransaction:t\n\n\0", message(other, 0, "transaction:t\n"))
        peer.send(message(queue, 9, f"transaction:t\nreceipt:in\n{headers}"))
        assert peer.expect("RECEIPT")["receipt-id"] == "in"
        peer.send(message(other, 1, "transaction:t\n"))
        fill(peer, queue, range(3))
        peer.send("COMMIT\ntransaction:t\nreceipt:r\n\n\0")
        peer.expect_error("queue-full", receipt="r")
    with Peer.open(limited.port) as peer:
        assert drain(peer, queue, 3) == "012"
        assert drain(peer, other, 0) == ""


@pytest.mark.parametrize("overflow", ["drop-head", "reject-publish-dlx"])
def test_a_commit_that_overflows_is_applied(limited: RunningBroker, limit: str, overflow: str):
    """As the same SENDs without a transaction would have been."""
    queue, headers = set_up("policy", limit, overflow)
    with Peer.open(limited.port) as peer:
        peer.send("BEGIN\ntransaction:t\n\n\0")
        for number in range(5):
            peer.send(message(queue, number, "transaction:t\n" + headers))
        peer.send("COMMIT\ntransaction:t\nreceipt:r\n\n\0")
        assert peer.expect("RECEIPT")["receipt-id"] == "r"
        assert drain(peer, queue, 3) == ("234" if overflow == "drop-head" else "012")


def test_one_transaction_cannot_go_beyond(limited: RunningBroker, limit: str):
    """The length is looked at once, when COMMIT comes, for all of them."""
    queue, headers = set_up("policy", limit, "reject-publish")
    for count in (5, 3):
        with Peer.open(limited.port) as peer:
            peer.send("BEGIN\ntransaction:t\n\n\0")
            for number in range(count):
                peer.send(message(queue, number, "transaction:t\n" + headers))
            peer.send("COMMIT\ntransaction:t\nreceipt:r\n\n\0")
            if count == 5:
                peer.expect_error("queue-full", receipt="r")
            else:
                assert peer.expect("RECEIPT")["receipt-id"] == "r"
    with Peer.open(limited.port) as peer:
        assert drain(peer, queue, 3) == "012"


# -- restarts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("overflow", OVERFLOWS)
def test_lengths_survive_a_restart(tmp_path: Path, limit: str, overflow: str):
    """The arguments, and what is in the queue counts."""
    queue, headers = set_up("header", limit, overflow)
    store = {"data": str(tmp_path)}
    with running_broker(store=store) as broker, Peer.open(broker.port) as peer:
        fill(peer, queue, range(3), headers)
    with running_broker(store=store) as broker:
        with Peer.open(broker.port) as peer:
            peer.send(message(queue, 3))
            if overflow == "reject-publish":
                peer.expect_error("queue-full")
            else:
                peer.sync()
    with running_broker(store=store) as broker, Peer.open(broker.port) as peer:
        assert drain(peer, queue, 3) == ("123" if overflow == "drop-head" else "012")
        name = queue.removeprefix("/queue/")
        dead = f"/queue/DLQ.{name}"
        assert drain(peer, dead, int(overflow == "reject-publish-dlx")) in ("", "3")


def test_pushed_out_messages_have_their_bodies_after_a_restart(tmp_path: Path, queue: str):
    """They are read from disk before they become dead letters."""
    store, policy = {"data": str(tmp_path)}, (Policy(max_length=3, overflow_to="dead-letter"),)
    name = queue.removeprefix("/queue/")
    with running_broker(store=store, policy=policy) as broker, Peer.open(broker.port) as peer:
        fill(peer, queue, range(3))
    with running_broker(store=store, policy=policy) as broker, Peer.open(broker.port) as peer:
        peer.send(f"SUBSCRIBE\nid:0\ndestination:/queue/DLQ.{name}\nreceipt:r\n\n\0")
        peer.expect("RECEIPT")
        peer.send("".join(message(queue, number) for number in range(3, 5)))
        assert [body.decode() for body in peer.bodies(2)] == [f"{n}{BODY}" for n in range(2)]
        assert drain(peer, queue, 3) == "234"
        assert stats(broker, queue).bytes == 0
