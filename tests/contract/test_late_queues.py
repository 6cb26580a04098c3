"""A broker whose queues answer many turns later, and now and then refuse, seen from its sockets.

What is specified, and what is promised, holds there as well: some of the conformance tests run
again (those that do not count on one client's frame being done before another client's). A
refusal that comes late fails the frame that it is about, in the words in which it would have
failed at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest
from tests.conformance.test_endings import *  # noqa: F403
from tests.conformance.test_expiry_priority import *  # noqa: F403
from tests.conformance.test_failed_deliveries import *  # noqa: F403
from tests.conformance.test_late_ack import *  # noqa: F403
from tests.conformance.test_several_queues import (  # noqa: F401
    test_a_message_that_was_refused_for_want_of_credit_counts_as_new,
    test_at_most_64_parts,
    test_copies_of_one_message_are_settled_one_by_one,
    test_messages_of_all_parts_come_under_one_id,
    test_several_are_not_durable,
    test_who_has_no_credit_leaves_new_messages_to_others,
)
from tests.conformance.test_transactions import *  # noqa: F403
from tests.support.delaying import REFUSED, DelayingBroker
from tests.support.wire import Pair, Peer, running_broker, unique, until

from stompy_broker import RunningBroker
from stompy_broker.embed import thread

Connect = Callable[..., Peer]

del test_where_expired_messages_go  # noqa: F821 -- its broker has policies of its own


@pytest.fixture(scope="module")
def broker() -> Iterator[RunningBroker]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thread, "Broker", DelayingBroker)
        with running_broker() as broker:
            yield broker


@pytest.fixture
def connect(broker: RunningBroker) -> Iterator[Connect]:
    peers: list[Peer] = []

    def connect(version: str | None = "1.2", *headers: str) -> Peer:
        peer = Peer(broker.port) if version is None else Peer.open(broker.port, version, *headers)
        peers.append(peer)
        return peer

    yield connect
    for peer in peers:
        peer.close()


@pytest.fixture
def pair(broker: RunningBroker) -> Iterator[Pair]:
    with Pair(broker.port) as pair:
        yield pair


@pytest.fixture
def queue() -> str:
    return f"/queue/{unique()}"


@pytest.fixture
def topic() -> str:
    return f"/topic/{unique('t')}"


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningBroker]:
    """A broker whose queues refuse whatever they may refuse."""
    monkeypatch.setattr(thread, "Broker", partial(DelayingBroker, refuses=1.0))
    with running_broker() as broker:
        yield broker


def refused(peer: Peer, command: str, receipt: str = "") -> None:
    error = peer.expect("ERROR")
    assert error["error-code"] == "queue-full"
    assert error["failed-command"] == command
    assert (error.get("receipt-id") or "") == receipt
    assert REFUSED in error.body.decode()
    peer.expect_eof()


def test_receipts_keep_the_order_of_their_frames(connect: Connect, queue: str) -> None:
    peer = connect("1.2")
    peer.send(
        f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:client\nreceipt:0\n\n\0"
        f"BEGIN\ntransaction:t\nreceipt:1\n\n\0SEND\ndestination:{queue}\nreceipt:2\n\n\0"
        f"SEND\ndestination:{queue}\ntransaction:t\nreceipt:3\n\n\0"
        "COMMIT\ntransaction:t\nreceipt:4\n\n\0"
        f"SEND\ndestination:{queue}\nreceipt:5\n\nlast\0UNSUBSCRIBE\nid:0\nreceipt:6\n\n\0"
        f"SUBSCRIBE\nid:1\ndestination:{queue}\nreceipt:7\n\n\0"
    )
    receipts = []
    while len(receipts) < 8:
        frame = peer.read()
        if frame.command == "RECEIPT":
            receipts.append(frame["receipt-id"])
    assert receipts == list("01234567")


def test_the_receipt_of_a_subscribe_comes_before_its_first_message(
    connect: Connect, queue: str
) -> None:
    connect("1.2").send(f"SEND\ndestination:{queue}\n\nx\0")
    peer = connect("1.2")
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\nreceipt:r\n\n\0")
    assert [peer.read().command for _ in range(2)] == ["RECEIPT", "MESSAGE"]


def test_what_follows_a_commit_stays_behind_it(connect: Connect, queue: str) -> None:
    peer = connect("1.2")
    for number in range(10):
        peer.send(
            f"BEGIN\ntransaction:{number}\n\n\0"
            f"SEND\ndestination:{queue}\ntransaction:{number}\n\n{number}a\0"
            f"COMMIT\ntransaction:{number}\n\n\0SEND\ndestination:{queue}\n\n{number}b\0"
        )
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0")
    expected = [f"{number}{half}".encode() for number in range(10) for half in "ab"]
    assert peer.bodies(20) == expected


def test_nothing_is_lost_or_doubled_by_ends_of_connections(connect: Connect, queue: str) -> None:
    sender, got = connect("1.2"), []
    for number in range(60):
        sender.send(f"SEND\ndestination:{queue}\n\n{number}\0")
    sender.sync()
    for _ in range(6):
        peer = connect("1.2")
        peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:client-individual\n\n\0")
        for _ in range(10):
            message = peer.expect("MESSAGE")
            got.append(message.body)
            peer.send(f"ACK\nid:{message['ack']}\n\n\0")
        peer.send("DISCONNECT\nreceipt:bye\n\n\0")
        while peer.read().command != "RECEIPT":
            pass  # it is in the middle of the next ones, which it gives back
    assert sorted(got, key=int) == [b"%d" % number for number in range(60)]


@pytest.mark.parametrize("receipt", ["", "r-1"])
def test_a_send_that_is_refused_late(refusing: RunningBroker, receipt: str) -> None:
    with Peer.open(refusing.port) as peer:
        header = f"receipt:{receipt}\n" if receipt else ""
        peer.send(f"SEND\ndestination:/queue/q\n{header}\nx\0")
        refused(peer, "SEND", receipt)
    until(lambda: not refusing.connections(), "the client to be gone")


@pytest.mark.parametrize("receipt", ["", "r-1"])
def test_a_subscribe_that_is_refused_late(refusing: RunningBroker, receipt: str) -> None:
    with Peer.open(refusing.port) as peer:
        header = f"receipt:{receipt}\n" if receipt else ""
        peer.send(f"SUBSCRIBE\nid:0\ndestination:/queue/q\nack:client\n{header}\n\0")
        refused(peer, "SUBSCRIBE", receipt)


@pytest.mark.parametrize("receipt", ["", "r-1"])
def test_a_commit_is_refused_as_one(refusing: RunningBroker, receipt: str) -> None:
    refusing._ask(lambda broker: broker._router.queue("q"))
    with Peer.open(refusing.port) as peer:
        header = f"receipt:{receipt}\n" if receipt else ""
        peer.send(
            "BEGIN\ntransaction:t\n\n\0"
            "SEND\ndestination:/queue/q\ntransaction:t\n\n1\0"
            "SEND\ndestination:/queue/new\ntransaction:t\n\n2\0"
            f"COMMIT\ntransaction:t\n{header}\n\0"
            "SEND\ndestination:/queue/later\n\nnever\0"
        )
        refused(peer, "COMMIT", receipt)
    names = refusing._ask(lambda broker: sorted(broker._router.queues))
    assert names == ["q"]


def test_a_refusal_comes_in_place_of_the_receipt_of_a_disconnect(refusing: RunningBroker) -> None:
    with Peer.open(refusing.port) as peer:
        peer.send("SEND\ndestination:/queue/q\n\nx\0DISCONNECT\nreceipt:bye\n\n\0")
        refused(peer, "SEND")


@pytest.mark.parametrize("mode", ["client", "client-individual"])
@pytest.mark.parametrize("prefetch", [1, 2, 5])
def test_several_late_queues_keep_to_one_credit(connect: Connect, mode: str, prefetch: int) -> None:
    """C1.5.3: whatever is on its way when the credit is used up goes back, and comes later."""
    parts = [f"/queue/{unique()}" for _ in range(3)]
    sender, peer = connect(), connect()
    peer.send(
        f"SUBSCRIBE\nid:0\ndestination:{','.join(parts)}\nack:{mode}\n"
        f"prefetch-count:{prefetch}\n\n\0"
    )
    peer.sync()
    for number in range(10):
        for part in parts:
            sender.send(f"SEND\ndestination:{part}\n\n{number}\0")
    found: dict[str, list[bytes]] = {part: [] for part in parts}
    while sum(map(len, found.values())) < 30:
        frames = [
            peer.expect("MESSAGE") for _ in range(min(prefetch, 30 - sum(map(len, found.values()))))
        ]
        peer.sync()  # nothing beyond the credit
        for frame in frames:
            found[frame["destination"]].append(frame.body)
            assert (frame["redelivered"], frame["delivery-count"]) == ("false", "1")
        acked = frames[-1:] if mode == "client" else frames
        peer.send("".join(f"ACK\nid:{frame['ack']}\n\n\0" for frame in acked))
    peer.sync()
    assert list(found.values()) == [[b"%d" % number for number in range(10)]] * 3
