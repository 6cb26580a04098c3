"""What the broker promises where the specification leaves a choice (`docs/wire.md`, *Promises*).

The numbers at the beginning of the docstrings are those of the promises.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pydantic import ValidationError
from tests.conformance.conftest import Connect
from tests.support.wire import (
    Frame,
    Pair,
    Peer,
    cheap_hash,
    fast_config,
    running_broker,
    stats,
    unique,
    until,
)

from stompy_broker import RunningBroker
from stompy_broker.config import BrokerConfig
from stompy_broker.destinations.policy import Policy
from stompy_broker.security.auth import hash_password

VERSIONS = ("1.0", "1.1", "1.2")
MODES = ("client", "client-individual")


def subscribe(peer: Peer, destination: str, *headers: str, id: str = "0") -> None:
    """SUBSCRIBE, and be sure that it was done."""
    lines = "".join(f"{line}\n" for line in headers)
    peer.send(f"SUBSCRIBE\nid:{id}\ndestination:{destination}\n{lines}receipt:subscribed\n\n\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "subscribed"


def send(peer: Peer, destination: str, *bodies: object) -> None:
    """SEND messages, and be sure that they were taken."""
    peer.send("".join(f"SEND\ndestination:{destination}\n\n{body}\0" for body in bodies))
    peer.sync()


def settle(command: str, version: str, message: Frame, *headers: str) -> str:
    """ACK or NACK as a client of that version writes it."""
    if version == "1.2":
        names = f"id:{message['ack']}\n"
    else:
        names = f"subscription:{message['subscription']}\nmessage-id:{message['message-id']}\n"
    return f"{command}\n{names}" + "".join(f"{line}\n" for line in headers) + "\n\0"


def ack(message: Frame, *headers: str) -> str:
    """ACK in 1.2."""
    return settle("ACK", "1.2", message, *headers)


def nack(message: Frame, *headers: str) -> str:
    """NACK in 1.2."""
    return settle("NACK", "1.2", message, *headers)


# -- 1: RECEIPT means done ----------------------------------------------------------------------


def test_receipts_come_in_the_order_of_their_frames(connect: Connect, queue: str):
    """1: whatever the frames are, and although some of them do more than others."""
    peer = connect("1.2")
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:client\nreceipt:0\n\n\0")
    peer.send(f"BEGIN\ntransaction:t\nreceipt:1\n\n\0SEND\ndestination:{queue}\nreceipt:2\n\n\0")
    peer.send(f"SEND\ndestination:{queue}\ntransaction:t\nreceipt:3\n\n\0")
    peer.send("COMMIT\ntransaction:t\nreceipt:4\n\n\0UNSUBSCRIBE\nid:0\nreceipt:5\n\n\0")
    frames = [peer.read() for _ in range(8)]
    receipts = [frame["receipt-id"] for frame in frames if frame.command == "RECEIPT"]
    assert receipts == list("012345")


def test_done_means_seen_by_others(broker: RunningBroker, connect: Connect, queue: str):
    """1: SEND, ACK and COMMIT have had their effect when the receipt comes."""
    peer = connect("1.2")
    peer.send(f"SEND\ndestination:{queue}\nreceipt:1\n\n\0")
    peer.expect("RECEIPT")
    assert stats(broker, queue).ready == 1
    subscribe(peer, queue, "ack:client")
    message = peer.expect("MESSAGE")
    assert stats(broker, queue).unacked == 1
    peer.send(ack(message, "receipt:2"))
    peer.expect("RECEIPT")
    assert (stats(broker, queue).unacked, stats(broker, queue).acked) == (0, 1)
    peer.send(f"UNSUBSCRIBE\nid:0\n\n\0BEGIN\ntransaction:t\n\n\0SEND\ndestination:{queue}\n")
    peer.send("transaction:t\nreceipt:3\n\n\0")
    peer.expect("RECEIPT")
    assert stats(broker, queue).ready == 0
    peer.send("COMMIT\ntransaction:t\nreceipt:4\n\n\0")
    peer.expect("RECEIPT")
    assert stats(broker, queue).ready == 1


# -- 3: ERROR, then close ------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_the_whole_error(pair: Pair, connect: Connect, version: str):
    """3: short message, code, receipt-id, text, and the end of the connection; in every version."""
    peer = connect(version)
    peer.send("COMMIT\ntransaction:x\nreceipt:r\n\n\0")
    error = peer.expect_error("unknown-transaction", receipt="r")
    assert error.raw == (
        b"ERROR\ncontent-type:text/plain;charset=utf-8\nmessage:Unknown transaction\n"
        b"error-code:unknown-transaction\nreceipt-id:r\nfailed-command:COMMIT\n"
        b"content-length:27\n\nno transaction 'x' is open\n\0"
    )
    pair.exchange()


# -- 4: parsing is strict, bounded and linear: test_framing.py, test_bad_input.py, and the codec's


def test_a_bad_peer_hurts_only_itself(pair: Pair, connect: Connect):
    """4: a hundred broken clients at once, and a healthy pair among them."""
    peers = [connect(None if n % 2 else "1.2") for n in range(100)]
    for n, peer in enumerate(peers):
        peer.send(b"\n" * n + bytes(range(1, 200)) + b"\n\n\0")
        if n % 10 == 0:
            pair.exchange()
    for peer in peers:
        assert peer.expect("ERROR")["error-code"] in ("bad-encoding", "malformed-frame")
        peer.expect_eof()
    pair.exchange()


# -- 5: settlement belongs to the connection ------------------------------------------------------


@pytest.mark.parametrize("end", ["close", "reset", "UNSUBSCRIBE", "DISCONNECT", "error"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("version", VERSIONS)
def test_unacknowledged_messages_return_to_their_place(
    connect: Connect, queue: str, version: str, mode: str, end: str
):
    """5: before what was never delivered, in order, with ``redelivered`` and ``delivery-count``."""
    peer, producer = connect(version), connect("1.2")
    subscribe(peer, queue, f"ack:{mode}", "prefetch-count:4")
    send(producer, queue, *range(1, 8))
    messages = [peer.expect("MESSAGE") for _ in range(4)]
    settled = 2 if mode == "client" else 1
    peer.send(settle("ACK", version, messages[settled - 1]))
    assert peer.bodies(settled) == [b"5", b"6"][:settled]
    peer.sync()
    if end == "UNSUBSCRIBE":
        peer.send("UNSUBSCRIBE\nid:0\n\n\0")
        peer.sync()
    elif end == "DISCONNECT":
        peer.send("DISCONNECT\n\n\0")
    elif end == "error":
        peer.send("NONSENSE\n\n\0")
        peer.expect_error("unknown-command")
    else:
        getattr(peer, end)()
    other = connect("1.2")
    subscribe(other, queue, "ack:client")
    found = [other.expect("MESSAGE") for _ in range(7 - settled)]
    assert [message.body for message in found] == [b"%d" % n for n in range(settled + 1, 8)]
    for message in found:
        before = int(message.body) <= 4 + settled
        assert message["redelivered"] == ("true" if before else "false")
        assert message["delivery-count"] == ("2" if before else "1")
    other.sync()


def test_each_lost_connection_counts(connect: Connect, queue: str):
    """5: ``delivery-count`` grows with each."""
    send(connect("1.2"), queue, "body")
    for count in range(1, 6):
        peer = connect("1.2")
        subscribe(peer, queue, "ack:client")
        message = peer.expect("MESSAGE")
        assert message["delivery-count"] == str(count)
        assert message["redelivered"] == ("false" if count == 1 else "true")
        peer.send("UNSUBSCRIBE\nid:0\n\n\0")
        peer.sync()


@pytest.mark.parametrize("mode", MODES)
def test_a_topic_s_messages_end_with_their_subscription(connect: Connect, topic: str, mode: str):
    """5: there is no place to return to."""
    peer = connect("1.2")
    subscribe(peer, topic, f"ack:{mode}")
    send(connect("1.2"), topic, "body")
    peer.expect("MESSAGE")
    peer.send("UNSUBSCRIBE\nid:0\n\n\0")
    subscribe(peer, topic, f"ack:{mode}")
    peer.sync()


# -- 6: NACK --------------------------------------------------------------------------------------


def test_redelivery_at_once_then_with_growing_delays():
    """6: at once the first time, then 1 s, doubling up to 60 s."""
    policy = Policy()
    delays = [policy.delay(deliveries) for deliveries in range(1, 11)]
    assert delays == [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert policy.delay(10_000) == 60


@pytest.fixture(scope="module")
def impatient() -> Iterator[RunningBroker]:
    """A broker whose policies make redelivery quick, by the name of the queue."""
    policies = (
        Policy(match="/queue/once.>", max_deliveries=1),
        Policy(match="/queue/thrice.>", max_deliveries=3, redelivery_delay=0.05),
        Policy(match="/queue/endless.>", max_deliveries=-1, redelivery_delay=0),
        Policy(match="/queue/grave.>", max_deliveries=1, dead_letter="/queue/graveyard"),
        Policy(match="/queue/gone.>", max_deliveries=1, dead_letter=""),
    )
    with running_broker(policy=policies) as broker:
        yield broker


@contextmanager
def two(broker: RunningBroker, version: str = "1.2") -> Iterator[tuple[Peer, Peer]]:
    """A client of a version, and another one."""
    with Peer.open(broker.port, version) as one, Peer.open(broker.port) as other:
        yield one, other


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("mode", MODES)
def test_nack_redelivers_and_gives_up_in_the_end(impatient: RunningBroker, version: str, mode: str):
    """6: at most ``max_deliveries`` times, then to the dead-letter queue with the cause."""
    queue = f"/queue/thrice.{unique()}"
    name = queue.removeprefix("/queue/")
    with two(impatient, version) as (peer, undertaker):
        subscribe(undertaker, f"/queue/DLQ.{name}", "ack:client")
        subscribe(peer, queue, f"ack:{mode}")
        peer.send(f"SEND\ndestination:{queue}\nx:1\ncontent-type:text/plain\n\nbody\0")
        seen = []
        for count in (1, 2, 3):
            message = peer.expect("MESSAGE")
            assert message["delivery-count"] == str(count)
            seen.append(message["message-id"])
            peer.send(settle("NACK", version, message, f"reason:no. {count}"))
        dead = undertaker.expect("MESSAGE")
        assert dead.body == b"body"
        assert set(seen) == {dead["message-id"]}
        for header, value in {
            "destination": f"/queue/DLQ.{name}",
            "original-destination": queue,
            "x-first-death-queue": name,
            "x-first-death-reason": "nack",
            "x-last-death-queue": name,
            "x-last-death-reason": "nack",
            "x-death-count": "3",
            "x-death-info": "no. 3",
            "x": "1",
            "content-type": "text/plain",
            "redelivered": "false",
            "delivery-count": "1",
        }.items():
            assert dead.all(header) == [value], header
        assert int(dead["x-death-time"]) >= int(dead["timestamp"])
        peer.sync()


def test_requeue_false_dead_letters_at_once(connect: Connect, queue: str):
    """6: without another delivery; the reason travels along, whatever is in it."""
    peer = connect("1.2")
    subscribe(peer, queue, "ack:client-individual")
    subscribe(peer, queue.replace("/queue/", "/queue/DLQ."), id="dead")
    send(connect("1.2"), queue, "body")
    peer.send(nack(peer.expect("MESSAGE"), "requeue:false", r"reason:a\cb\nc"))
    dead = peer.expect("MESSAGE")
    assert dead["subscription"] == "dead"
    assert dead["x-last-death-reason"] == "rejected"
    assert dead["x-death-info"] == r"a\cb\nc"
    assert dead["x-death-count"] == "1"
    peer.sync()


def test_a_delay_is_honoured(connect: Connect, queue: str):
    """6: others overtake a delayed message."""
    peer = connect("1.2")
    subscribe(peer, queue, "ack:client-individual", "prefetch-count:1")
    send(connect("1.2"), queue, 1, 2)
    peer.send(nack(peer.expect("MESSAGE"), "delay:200"))
    second = peer.expect("MESSAGE")
    assert second.body == b"2"
    peer.send(ack(second))
    first = peer.expect("MESSAGE")
    assert (first.body, first["delivery-count"]) == (b"1", "2")


def test_the_first_redelivery_is_at_once(connect: Connect, queue: str):
    """6: it comes before the receipt of the NACK is read."""
    peer = connect("1.2")
    subscribe(peer, queue, "ack:client-individual")
    send(connect("1.2"), queue, 1, 2)
    messages = [peer.expect("MESSAGE") for _ in range(2)]
    peer.send(nack(messages[0]))
    assert peer.expect("MESSAGE").body == b"1"
    peer.sync()


def test_a_lost_connection_counts_as_a_delivery(impatient: RunningBroker):
    """6: so a message that kills its consumers ends as a dead letter."""
    queue = f"/queue/thrice.{unique()}"
    with Peer.open(impatient.port) as undertaker:
        subscribe(undertaker, queue.replace("/queue/", "/queue/DLQ."))
        send(undertaker, queue, "poison")
        for _ in range(3):
            with Peer.open(impatient.port) as victim:
                subscribe(victim, queue, "ack:client")
                victim.expect("MESSAGE")
                victim.reset()
        dead = undertaker.expect("MESSAGE")
        assert dead["x-last-death-reason"] == "delivery_limit"
        assert dead["x-death-count"] == "3"


def test_endless_redelivery(impatient: RunningBroker):
    """6: ``max_deliveries = -1``."""
    queue = f"/queue/endless.{unique()}"
    with Peer.open(impatient.port) as peer:
        subscribe(peer, queue, "ack:client")
        peer.send(f"SEND\ndestination:{queue}\n\n\0")
        for count in range(1, 40):
            message = peer.expect("MESSAGE")
            assert message["delivery-count"] == str(count)
            peer.send(nack(message))


@pytest.mark.parametrize("kind", ["grave", "gone"])
def test_where_dead_letters_go(impatient: RunningBroker, kind: str):
    """6: as the policy of the queue says; nowhere if it says so."""
    queue = f"/queue/{kind}.{unique()}"
    with two(impatient) as (peer, undertaker):
        subscribe(undertaker, "/queue/graveyard")
        subscribe(peer, queue, "ack:client")
        send(undertaker, queue, "body")
        peer.send(nack(peer.expect("MESSAGE")))
        peer.sync()
        if kind == "grave":
            assert undertaker.expect("MESSAGE")["original-destination"] == queue
        undertaker.sync()


def test_a_dead_letter_stays_where_it_is(impatient: RunningBroker):
    """6: nothing is given up twice: what is rejected in a dead-letter queue remains there."""
    queue = f"/queue/DLQ.{unique()}"
    with Peer.open(impatient.port) as peer:
        subscribe(peer, queue, "ack:client")
        peer.send(f"SEND\ndestination:{queue}\n\nbody\0")
        peer.send(nack(peer.expect("MESSAGE"), "requeue:false", "delay:0"))
        assert peer.expect("MESSAGE")["delivery-count"] == "2"


def test_a_dead_letter_of_a_topic_is_filed_under_the_topic(connect: Connect, topic: str):
    """6: not under the pattern that was subscribed."""
    peer = connect("1.2")
    subscribe(peer, f"{topic}.>", "ack:client")
    subscribe(peer, topic.replace("/topic/", "/queue/DLQ.") + ".a", id="dead")
    send(connect("1.2"), f"{topic}.a", "body")
    peer.send(nack(peer.expect("MESSAGE"), "requeue:false"))
    assert peer.expect("MESSAGE")["original-destination"] == f"{topic}.a"


# -- 7: cumulative within one subscription only ---------------------------------------------------


@pytest.mark.parametrize("command", ["ACK", "NACK"])
@pytest.mark.parametrize("version", VERSIONS)
def test_cumulative_means_within_the_subscription(
    connect: Connect, queue: str, version: str, command: str
):
    """7: of two subscriptions that take turns on one queue, only one is settled."""
    peer = connect(version)
    subscribe(peer, queue, "ack:client", id="a")
    subscribe(peer, queue, "ack:client", id="b")
    send(connect("1.2"), queue, *range(6))
    messages = [peer.expect("MESSAGE") for _ in range(6)]
    of_a = [message for message in messages if message["subscription"] == "a"]
    of_b = [message for message in messages if message["subscription"] == "b"]
    assert len(of_a) == len(of_b) == 3
    headers = ["requeue:false"] if command == "NACK" else []
    peer.send(settle(command, version, of_b[1], *headers))
    peer.sync()
    peer.close()
    other = connect("1.2")
    subscribe(other, queue)
    left = sorted(message.body for message in [*of_a, of_b[2]])
    assert other.bodies(4) == left
    other.sync()


# -- 8: message-id and ack ------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_message_id_is_stable_and_ack_is_new(connect: Connect, queue: str, mode: str):
    """8: over NACK, UNSUBSCRIBE and another connection."""
    send(connect("1.2"), queue, "body")
    peer, other = connect("1.2"), connect("1.2")
    deliveries = []
    for _ in range(2):
        subscribe(peer, queue, f"ack:{mode}")
        deliveries.append(peer.expect("MESSAGE"))
        peer.send(nack(deliveries[-1], "delay:0"))
        deliveries.append(peer.expect("MESSAGE"))
        peer.send("UNSUBSCRIBE\nid:0\n\n\0")
        peer.sync()
    assert len({message["ack"] for message in deliveries}) == 4
    subscribe(other, queue)
    deliveries.append(other.expect("MESSAGE"))
    assert len({message["message-id"] for message in deliveries}) == 1
    assert [message["delivery-count"] for message in deliveries] == list("12345")


def test_subscribers_of_a_topic_see_one_message_id(connect: Connect, topic: str):
    """8: so what comes twice can be recognised."""
    peers = [connect(version) for version in VERSIONS]
    for peer in peers:
        subscribe(peer, topic)
    send(connect("1.2"), topic, "body")
    assert len({peer.expect("MESSAGE")["message-id"] for peer in peers}) == 1


# -- 9: transactions: also test_transactions.py ----------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_commit_is_one_change_in_order(connect: Connect, queue: str, version: str):
    """9: SENDs to several places, an ACK and a NACK."""
    peer, watcher = connect(version), connect("1.2")
    subscribe(peer, queue, "ack:client-individual")
    subscribe(watcher, f"{queue}-out")
    subscribe(watcher, f"/topic/{queue}", id="1")
    send(connect("1.2"), queue, "keep", "again")
    keep, again = peer.expect("MESSAGE"), peer.expect("MESSAGE")
    peer.send("BEGIN\ntransaction:t\n\n\0")
    peer.send(f"SEND\ntransaction:t\ndestination:{queue}-out\n\n1\0")
    peer.send(settle("ACK", version, keep, "transaction:t"))
    peer.send(f"SEND\ntransaction:t\ndestination:/topic/{queue}\n\n2\0")
    peer.send(settle("NACK", version, again, "transaction:t"))
    peer.send(f"SEND\ntransaction:t\ndestination:{queue}-out\n\n3\0")
    peer.sync()
    watcher.sync()
    peer.send("COMMIT\ntransaction:t\nreceipt:done\n\n\0")
    redelivered = peer.expect("MESSAGE")
    assert (redelivered.body, redelivered["delivery-count"]) == (b"again", "2")
    assert peer.expect("RECEIPT")["receipt-id"] == "done"
    assert watcher.bodies(3) == [b"1", b"2", b"3"]
    watcher.sync()


def test_a_claimed_message_uses_up_credit(connect: Connect, queue: str):
    """9: an ACK in a transaction brings no new message before COMMIT, nor after ABORT."""
    peer = connect("1.2")
    subscribe(peer, queue, "ack:client-individual", "prefetch-count:1")
    send(connect("1.2"), queue, 1, 2)
    message = peer.expect("MESSAGE")
    peer.send("BEGIN\ntransaction:t\n\n\0", ack(message, "transaction:t"))
    peer.sync()
    peer.send("ABORT\ntransaction:t\n\n\0")
    peer.sync()
    peer.send("BEGIN\ntransaction:t\n\n\0", ack(message, "transaction:t"))
    peer.send("COMMIT\ntransaction:t\n\n\0")
    assert peer.bodies(1) == [b"2"]


def test_a_cumulative_ack_leaves_alone_what_a_transaction_holds(connect: Connect, queue: str):
    """9: what is claimed is the transaction's; ABORT brings it back in its order."""
    peer = connect("1.2")
    subscribe(peer, queue, "ack:client")
    send(connect("1.2"), queue, 1, 2, 3, 4)
    messages = [peer.expect("MESSAGE") for _ in range(4)]
    peer.send("BEGIN\ntransaction:t\n\n\0", ack(messages[1], "transaction:t"), ack(messages[2]))
    peer.send("ABORT\ntransaction:t\n\n\0")
    peer.sync()
    peer.close()
    other = connect("1.2")
    subscribe(other, queue)
    assert other.bodies(3) == [b"1", b"2", b"4"]
    other.sync()


@pytest.mark.parametrize("end", ["COMMIT", "ABORT"])
def test_a_claim_outlives_its_subscription(
    broker: RunningBroker, connect: Connect, queue: str, end: str
):
    """9: after UNSUBSCRIBE, COMMIT still settles and ABORT gives the message back."""
    peer, other = connect("1.2"), connect("1.2")
    subscribe(peer, queue, "ack:client")
    send(connect("1.2"), queue, "body")
    message = peer.expect("MESSAGE")
    peer.send(
        "BEGIN\ntransaction:t\n\n\0", ack(message, "transaction:t"), "UNSUBSCRIBE\nid:0\n\n\0"
    )
    peer.sync()
    subscribe(other, queue)
    other.sync()
    peer.send(f"{end}\ntransaction:t\n\n\0")
    peer.sync()
    if end == "ABORT":
        assert other.expect("MESSAGE")["delivery-count"] == "2"
    other.sync()
    assert stats(broker, queue).unacked == 0


def test_limits_of_transactions():
    """9: open ones, frames and bytes; beyond them ERROR, and nothing of it happens."""
    limits = {"transactions": 2, "transaction_frames": 3, "transaction_bytes": 2000}
    with running_broker(limits=limits) as broker, Peer.open(broker.port) as watcher:
        subscribe(watcher, "/queue/limited")
        frame = "SEND\ntransaction:t\nreceipt:r\ndestination:/queue/limited\n\n{}\0"
        for too_much in (
            "BEGIN\ntransaction:u\n\n\0BEGIN\ntransaction:v\nreceipt:r\n\n\0",
            frame.format("x").replace("receipt:r\n", "") * 3 + frame.format("x"),
            frame.format("x" * 900).replace("receipt:r\n", "") * 2 + frame.format("x" * 900),
        ):
            with Peer.open(broker.port) as peer:
                peer.send("BEGIN\ntransaction:t\n\n\0", too_much)
                peer.expect_error("limit-exceeded", receipt="r")
        watcher.sync()
        with Peer.open(broker.port) as peer:
            peer.send("BEGIN\ntransaction:t\n\n\0", frame.format("x") * 3)
            peer.send("COMMIT\ntransaction:t\nreceipt:c\n\n\0")
            assert [peer.expect("RECEIPT")["receipt-id"] for _ in range(4)] == ["r", "r", "r", "c"]
        assert watcher.bodies(3) == [b"x"] * 3


def test_default_limits_of_transactions():
    """9: 1,000 open, 10,000 frames, 64 MiB."""
    limits = fast_config().limits
    assert limits.transactions == 1000
    assert limits.transaction_frames == 10_000
    assert limits.transaction_bytes == 64 * 1024 * 1024


# -- 10: credit, never dropping from queues --------------------------------------------------------


@pytest.mark.parametrize("header", ["prefetch-count", "activemq.prefetchSize", "prefetch"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("version", VERSIONS)
def test_no_more_than_the_prefetch(
    connect: Connect, queue: str, version: str, mode: str, header: str
):
    """10: so many deliveries may be open; an ACK gives one back."""
    peer = connect(version)
    subscribe(peer, queue, f"ack:{mode}", f"{header}:3")
    send(connect("1.2"), queue, *range(10))
    messages = [peer.expect("MESSAGE") for _ in range(3)]
    peer.sync()
    peer.send(settle("ACK", version, messages[0]))
    assert peer.expect("MESSAGE").body == b"3"
    peer.sync()


@pytest.mark.parametrize(("mode", "default"), [("client", 1000), ("client-individual", 100)])
def test_default_prefetch(connect: Connect, queue: str, mode: str, default: int):
    """10: 1000 for ``client``, 100 for ``client-individual``."""
    peer = connect("1.2")
    subscribe(peer, queue, f"ack:{mode}")
    send(connect("1.2"), queue, *range(1200))
    assert len(peer.bodies(default)) == default
    peer.sync()


@pytest.mark.parametrize("mode", MODES)
def test_a_prefetch_of_0_is_unlimited(connect: Connect, queue: str, mode: str):
    """10: 0 = no limit."""
    peer = connect("1.2")
    subscribe(peer, queue, f"ack:{mode}", "prefetch-count:0")
    send(connect("1.2"), queue, *range(3000))
    assert len(peer.bodies(3000)) == 3000


def test_prefetch_means_nothing_in_auto_mode(connect: Connect, queue: str):
    """10: nothing is open there."""
    peer = connect("1.2")
    subscribe(peer, queue, "prefetch-count:1")
    send(connect("1.2"), queue, *range(100))
    assert len(peer.bodies(100)) == 100


@pytest.mark.parametrize("mode", ["auto", "client-individual"])
def test_a_consumer_that_does_not_read_stops_only_itself(mode: str):
    """10: what it did not take goes to the others, and nothing is lost."""
    count, body = 5_000, "x" * 4_000
    with running_broker(limits={"output": 65_536}) as broker:
        with (
            Peer.open(broker.port, receive_buffer=8_192) as lazy,
            Peer.open(broker.port) as eager,
            Peer.open(broker.port) as producer,
        ):
            for consumer in (lazy, eager):
                subscribe(consumer, "/queue/shared", f"ack:{mode}", "prefetch-count:0")
            producer.send(
                "".join(f"SEND\ndestination:/queue/shared\nn:{n}\n\n{body}\0" for n in range(count))
            )
            producer.sync()
            producer.send("SEND\ndestination:/queue/shared\nn:last\n\n\0")
            seen: Counter[str] = Counter()
            while "last" not in seen:
                seen[eager.expect("MESSAGE")["n"]] += 1
            assert len(seen) >= count // 2
            while len(seen) < count + 1:
                seen[lazy.expect("MESSAGE")["n"]] += 1
            assert set(seen.values()) == {1}
            lazy.sync()


@pytest.fixture(scope="module")
def narrow() -> Iterator[RunningBroker]:
    """A broker whose topic subscribers have room for ten messages, or for a few bytes."""
    policies = (
        Policy(match="/topic/oldest.>", backlog_messages=10),
        Policy(match="/topic/cut.>", backlog_messages=10, backlog_overflow="disconnect"),
        Policy(match="/topic/bytes.>", backlog_bytes=5_000),
    )
    with running_broker(policy=policies) as broker:
        yield broker


def read_one_by_one(peer: Peer, count: int) -> list[bytes]:
    """Read and acknowledge so many messages of a subscription with a prefetch of 1."""
    bodies = []
    for _ in range(count):
        message = peer.expect("MESSAGE")
        bodies.append(message.body)
        peer.send(ack(message))
    peer.sync()
    return bodies


def test_drop_oldest(narrow: RunningBroker):
    """10: of a topic subscriber that does not keep up the oldest messages go; others lose none."""
    topic = f"/topic/oldest.{unique()}"
    with two(narrow) as (slow, fast), Peer.open(narrow.port) as producer:
        subscribe(slow, topic, "ack:client-individual", "prefetch-count:1")
        subscribe(fast, topic)
        send(producer, topic, *range(50))
        assert fast.bodies(50) == [b"%d" % n for n in range(50)]
        assert read_one_by_one(slow, 11) == [b"0"] + [b"%d" % n for n in range(40, 50)]


def test_drop_oldest_by_bytes(narrow: RunningBroker):
    """10: a backlog is bounded in bytes as well."""
    topic = f"/topic/bytes.{unique()}"
    with Peer.open(narrow.port) as slow, Peer.open(narrow.port) as producer:
        subscribe(slow, topic, "ack:client-individual", "prefetch-count:1")
        send(producer, topic, *(f"{n}:" + "x" * 1000 for n in range(20)))
        bodies = [slow.expect("MESSAGE")]
        slow.send(ack(bodies[0]))
        while (frame := slow.expect("MESSAGE")).body[:3] != b"19:":
            bodies.append(frame)
            slow.send(ack(frame))
        assert bodies[0].body.startswith(b"0:")
        assert 2 <= len(bodies) <= 5


def test_disconnect(narrow: RunningBroker):
    """10: or the subscriber is told and disconnected; the producer does not notice."""
    topic = f"/topic/cut.{unique()}"
    with two(narrow) as (slow, fast), Peer.open(narrow.port) as producer:
        subscribe(slow, topic, "ack:client-individual", "prefetch-count:1")
        subscribe(fast, topic)
        send(producer, topic, *range(50))
        assert slow.expect("MESSAGE").body == b"0"
        slow.expect_error("slow-consumer")
        assert fast.bodies(50) == [b"%d" % n for n in range(50)]
        producer.sync()


def test_a_subscriber_may_be_cut_off_by_its_own_message(narrow: RunningBroker):
    """10: also then it is told, and the broker goes on."""
    topic = f"/topic/cut.{unique()}"
    with two(narrow) as (slow, fast):
        subscribe(slow, topic, "ack:client-individual", "prefetch-count:1")
        subscribe(fast, topic)
        slow.send("".join(f"SEND\ndestination:{topic}\nreceipt:{n}\n\n{n}\0" for n in range(20)))
        while (frame := slow.read()).command != "ERROR":
            assert frame.command in ("MESSAGE", "RECEIPT")
        assert frame["error-code"] == "slow-consumer"
        slow.expect_eof()
        assert fast.bodies(12) == [b"%d" % n for n in range(12)]


# -- 11: producers feel back-pressure --------------------------------------------------------------


MARK = 500_000


@pytest.mark.parametrize("kind", ["broker", "queue"])
def test_producers_wait_and_go_on(kind: str):
    """11: at the mark of the broker or of one queue; nothing is lost, and it resumes by itself."""
    policies = (Policy(match="/queue/full", max_bytes=MARK),) if kind == "queue" else ()
    limits = {"memory": MARK} if kind == "broker" else {}
    count, body = 4_000, "x" * 4_000  # 16 MB, more than all socket buffers
    with running_broker(policy=policies, limits=limits) as broker:
        with Peer.open(broker.port) as producer, Peer.open(broker.port) as consumer:
            frames = "".join(
                f"SEND\ndestination:/queue/full\nn:{n}\n\n{body}\0" for n in range(count)
            )
            writer = threading.Thread(target=producer.send, args=(frames,))
            writer.start()
            until(
                lambda: any(row.bytes >= MARK for row in broker.queues()), "the mark to be reached"
            )
            # The rest of the broker keeps its promises: consumers may come, and finish their work.
            highest = 0
            subscribe(consumer, "/queue/full", "ack:client-individual", "prefetch-count:50")
            for n in range(count):
                message = consumer.expect("MESSAGE")
                assert message["n"] == str(n)
                if n % 50 == 0:
                    highest = max(highest, stats(broker, "/queue/full").bytes)
                consumer.send(ack(message))
            writer.join()
            producer.sync()
            consumer.sync()
            assert stats(broker, "/queue/full").bytes == 0
            # What one read from the socket brings may come on top.
            assert highest <= MARK + 600_000


def test_a_full_queue_stops_only_its_own_producers():
    """11: others send and receive."""
    with running_broker(policy=(Policy(match="/queue/full", max_bytes=10_000),)) as broker:
        with Peer.open(broker.port) as producer, Pair(broker.port) as pair:
            producer.send("SEND\ndestination:/queue/full\n\n" + "x" * 20_000 + "\0")
            until(lambda: bool(broker.queues()), "the queue")
            for _ in range(10):
                pair.exchange()
            producer.send("SEND\ndestination:/queue/full\nreceipt:r\n\n\0")
            with Peer.open(broker.port) as consumer:
                subscribe(consumer, "/queue/full")
                assert [len(body) for body in consumer.bodies(2)] == [20_000, 0]
            assert producer.expect("RECEIPT")["receipt-id"] == "r"


def test_a_producer_that_consumes_may_empty_the_queue():
    """11: it goes on until twice the mark, or a full broker could never empty itself."""
    with running_broker(limits={"memory": 10_000}) as broker, Peer.open(broker.port) as peer:
        subscribe(peer, "/queue/own", "ack:client-individual", "prefetch-count:1")
        for _ in range(3):
            peer.send("SEND\ndestination:/queue/own\n\n" + "x" * 4_000 + "\0")
        for _ in range(3):
            peer.send(ack(peer.expect("MESSAGE")))
        peer.sync()


def test_a_held_producer_may_go_away():
    """11: and what it had sent stays."""
    with running_broker(limits={"memory": 10_000}) as broker:
        with Peer.open(broker.port) as producer:
            producer.send("SEND\ndestination:/queue/full\n\n" + "x" * 20_000 + "\0")
            until(lambda: bool(broker.queues()), "the queue")
            producer.reset()
        with Peer.open(broker.port) as consumer:
            subscribe(consumer, "/queue/full")
            assert len(consumer.expect("MESSAGE").body) == 20_000
            consumer.sync()


# -- 12: FIFO and round robin ----------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["auto", *MODES])
def test_first_in_first_out(connect: Connect, queue: str, mode: str):
    """12: also when a queue was filled before."""
    send(connect("1.2"), queue, *range(1000))
    peer = connect("1.2")
    subscribe(peer, queue, f"ack:{mode}", "prefetch-count:0")
    send(connect("1.2"), queue, *range(1000, 2000))
    assert peer.bodies(2000) == [b"%d" % n for n in range(2000)]


@pytest.mark.parametrize("mode", ["auto", *MODES])
def test_round_robin(connect: Connect, queue: str, mode: str):
    """12: consumers take turns."""
    peers = [connect("1.2") for _ in range(3)]
    for peer in peers:
        subscribe(peer, queue, f"ack:{mode}")
    send(connect("1.2"), queue, *range(30))
    for turn, peer in enumerate(peers):
        assert peer.bodies(10) == [b"%d" % n for n in range(turn, 30, 3)]


def test_round_robin_among_those_with_credit(connect: Connect, queue: str):
    """12: who has none is passed over."""
    busy, idle = connect("1.2"), connect("1.2")
    subscribe(busy, queue, "ack:client", "prefetch-count:2")
    subscribe(idle, queue)
    send(connect("1.2"), queue, *range(10))
    assert busy.bodies(2) == [b"0", b"2"]
    assert idle.bodies(8) == [b"%d" % n for n in (1, 3, 4, 5, 6, 7, 8, 9)]
    busy.sync()


def test_redelivered_messages_keep_their_place(connect: Connect, queue: str):
    """12: before everything that was sent after them."""
    peer = connect("1.2")
    subscribe(peer, queue, "ack:client-individual", "prefetch-count:3")
    send(connect("1.2"), queue, *range(6))
    messages = [peer.expect("MESSAGE") for _ in range(3)]
    peer.send(nack(messages[1]))
    assert peer.expect("MESSAGE").body == b"1"
    peer.send("UNSUBSCRIBE\nid:0\n\n\0")
    subscribe(peer, queue)
    assert peer.bodies(6) == [b"%d" % n for n in range(6)]


# -- 13: destinations ------------------------------------------------------------------------------


def test_a_bare_name_is_a_queue(connect: Connect, queue: str):
    """13: and each MESSAGE bears the name that its sender used."""
    peer = connect("1.2")
    bare = queue.removeprefix("/queue/")
    subscribe(peer, bare)
    send(connect("1.2"), queue, "a")
    send(connect("1.2"), bare, "b")
    assert [peer.expect("MESSAGE")["destination"] for _ in range(2)] == [queue, bare]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a", ["a"]),
        ("a.*", ["a.b", "a."]),
        ("a.*.c", ["a.b.c"]),
        ("a.>", ["a", "a.b", "a.b.c", "a."]),
        ("a.#", ["a", "a.b", "a.b.c", "a."]),
        ("*.b", ["a.b"]),
        (">", ["a", "b", "a.b", "a.b.c", "a."]),
    ],
)
def test_wildcards_of_topics(connect: Connect, topic: str, pattern: str, names: list[str]):
    """13: ``*`` for one word, ``>`` and ``#`` for the rest, also none."""
    peer = connect("1.2")
    subscribe(peer, f"{topic}.{pattern}")
    for name in ("a", "b", "a.b", "a.b.c", "a."):
        send(connect("1.2"), f"{topic}.{name}", name)
    assert peer.bodies(len(names)) == [
        name.encode() for name in ("a", "b", "a.b", "a.b.c", "a.") if name in names
    ]
    peer.sync()


def test_every_subscriber_of_a_topic_gets_every_message(connect: Connect, topic: str):
    """13: from when it subscribed until it ends; nothing is kept for later ones."""
    send(connect("1.2"), topic, "too early")
    peers = [connect(version) for version in VERSIONS]
    for peer in peers:
        subscribe(peer, topic)
    send(connect("1.2"), topic, *range(10))
    for peer in peers:
        assert peer.bodies(10) == [b"%d" % n for n in range(10)]
        peer.sync()


@pytest.mark.parametrize(
    "destination", ["/exchanges/a", "/temp-queues/a", "/queue", "/", "//a", "/QUEUE/a"]
)
@pytest.mark.parametrize("command", ["SEND", "SUBSCRIBE\nid:0"])
def test_an_unknown_prefix_names_the_valid_ones(connect: Connect, command: str, destination: str):
    """13: for people who come from another broker."""
    peer = connect("1.2")
    peer.send(f"{command}\ndestination:{destination}\n\n\0")
    error = peer.expect_error("bad-destination")
    for prefix in (b"/queue/", b"/topic/", b"/temp-queue/", b"/reply-queue/"):
        assert prefix in error.body


@pytest.mark.parametrize("version", VERSIONS)
def test_request_and_reply_as_rabbitmq_has_it(connect: Connect, queue: str, version: str):
    """13: ``reply-to`` alone subscribes the requester, under the name of the temporary queue."""
    requester, responder = connect(version), connect("1.2")
    subscribe(responder, queue)
    requester.send(f"SEND\ndestination:{queue}\nreply-to:/temp-queue/mine\n\nask\0")
    address = responder.expect("MESSAGE")["reply-to"]
    assert address.startswith("/reply-queue/")
    assert "mine" not in address
    send(responder, address, "answer")
    reply = requester.expect("MESSAGE")
    assert reply.body == b"answer"
    assert reply["subscription"] == "/temp-queue/mine"
    assert reply["destination"] == "/temp-queue/mine"
    requester.send(f"SEND\ndestination:{queue}\nreply-to:/temp-queue/mine\n\nask\0")
    assert responder.expect("MESSAGE")["reply-to"] == address


@pytest.mark.parametrize("version", VERSIONS)
def test_request_and_reply_as_activemq_has_it(connect: Connect, queue: str, version: str):
    """13: the requester subscribes first, and that is its only subscription."""
    requester, responder = connect(version), connect("1.2")
    subscribe(responder, queue)
    subscribe(requester, "/temp-queue/mine", id="own")
    requester.send(f"SEND\ndestination:{queue}\nreply-to:/temp-queue/mine\n\nask\0")
    address = responder.expect("MESSAGE")["reply-to"]
    send(responder, address.replace("/reply-queue/", "/remote-temp-queue/"), "answer")
    reply = requester.expect("MESSAGE")
    assert reply["subscription"] == "own"
    assert reply["destination"] == "/temp-queue/mine"
    requester.sync()


def test_subscribing_after_the_first_request(connect: Connect, queue: str):
    """13: the client's own subscription takes the place of the automatic one."""
    requester, responder = connect("1.2"), connect("1.2")
    subscribe(responder, queue)
    requester.send(f"SEND\ndestination:{queue}\nreply-to:/temp-queue/mine\n\nask\0")
    subscribe(requester, "/temp-queue/mine", id="own")
    send(responder, responder.expect("MESSAGE")["reply-to"], "answer")
    assert requester.expect("MESSAGE")["subscription"] == "own"
    requester.sync()


def test_a_temporary_queue_is_its_connection_s_own(connect: Connect):
    """13: two connections may use the same name without hearing of each other."""
    one, two = connect("1.2"), connect("1.2")
    for peer in (one, two):
        subscribe(peer, "/temp-queue/x")
    one.send("SEND\ndestination:/temp-queue/x\n\nmine\0")
    assert one.bodies(1) == [b"mine"]
    two.sync()


def test_a_reply_to_somebody_who_is_gone_is_dropped(connect: Connect, queue: str):
    """13: the temporary queue ended with its connection; its sender is not to blame."""
    requester, responder = connect("1.2"), connect("1.2")
    subscribe(responder, queue)
    requester.send(f"SEND\ndestination:{queue}\nreply-to:/temp-queue/x\n\nask\0")
    address = responder.expect("MESSAGE")["reply-to"]
    requester.send("DISCONNECT\nreceipt:bye\n\n\0")
    requester.expect("RECEIPT")
    responder.send(f"SEND\ndestination:{address}\nreceipt:r\n\nanswer\0")
    assert responder.expect("RECEIPT")["receipt-id"] == "r"
    responder.sync()


def test_only_the_owner_may_subscribe(connect: Connect, queue: str):
    """13: knowing the address is enough to answer, not to listen."""
    requester, responder = connect("1.2"), connect("1.2")
    subscribe(responder, queue)
    requester.send(f"SEND\ndestination:{queue}\nreply-to:/temp-queue/x\n\nask\0")
    address = responder.expect("MESSAGE")["reply-to"]
    responder.send(f"SUBSCRIBE\nid:1\ndestination:{address}\nreceipt:r\n\n\0")
    responder.expect_error("bad-destination", receipt="r")


# -- 15: heart-beats: test_heart_beats.py ----------------------------------------------------------


def test_heart_beats_are_on_by_default(connect: Connect):
    """15: as often as a client asks, down to 0.1 s; grace twice the interval."""
    assert connect("1.2").connected["heart-beat"] == "100,100"
    assert fast_config().times.heart_beat_grace == 2.0


# -- 16, and users: who may come in ----------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded() -> Iterator[RunningBroker]:
    """A broker with two users."""
    users = {"ann": hash_password("pass:word ü\\"), "bob": cheap_hash("")}
    with running_broker(users=users) as broker:
        yield broker


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("login", ["ann\npasscode:pass:word ü\\", "bob\npasscode:"])
def test_users_come_in(guarded: RunningBroker, version: str, login: str):
    """16: with the right passcode, as it stands on the wire."""
    if version == "1.0" and login.startswith("bob"):
        login = "bob"
    with Peer.open(guarded.port, version, f"login:{login}") as peer:
        assert peer.connected["user-name"] == login.split("\n")[0]
        peer.sync()


@pytest.mark.parametrize(
    "lines",
    ["", "login:ann\n", "passcode:x\n", "login:ann\npasscode:wrong\n", "login:eve\npasscode:\n",
     "login:ann\npasscode:pass:word ü\n", "login:ANN\npasscode:pass:word ü\\\n", "login:\n"],
)  # fmt: skip
def test_others_do_not(guarded: RunningBroker, lines: str):
    """16: nor does anybody without a name, once there are users."""
    with Peer(guarded.port) as peer:
        peer.send(f"CONNECT\naccept-version:1.2\nhost:x\n{lines}\n\0")
        # The same words whatever was wrong, so that names cannot be found out.
        words = "login or passcode is wrong" if lines else _NO_LOGIN
        assert peer.expect_error("authentication-failed").body.decode() == f"{words}\n"


_NO_LOGIN = "this broker needs a login, and CONNECT has none"


def test_anonymous_beside_users():
    """16: only where it is allowed; a wrong passcode is wrong all the same."""
    with running_broker(
        users={"ann": cheap_hash("x")}, security={"allow_anonymous": True}
    ) as broker:
        with Peer.open(broker.port) as peer:
            assert peer.connected["user-name"] == "anonymous"
        with Peer(broker.port) as peer:
            peer.send("CONNECT\naccept-version:1.2\nlogin:ann\npasscode:y\n\n\0")
            peer.expect_error("authentication-failed")


def test_on_loopback_everybody_may_come_in(connect: Connect):
    """16: without users, under the name given or none."""
    assert connect("1.2").connected["user-name"] == "anonymous"
    assert connect("1.2", "login:ann", "passcode:x").connected["user-name"] == "ann"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "broker.example"])
def test_wider_than_loopback_needs_users_or_a_flag(host: str):
    """16: secure by default."""
    with pytest.raises(ValidationError, match="not loopback"):
        config_at(host)
    assert not config_at(host, users={"ann": cheap_hash("x")}).anonymous
    assert config_at(host, security={"allow_anonymous": True}).anonymous


def config_at(host: str, **sections: object) -> BrokerConfig:
    """A configuration that listens there."""
    return BrokerConfig.model_validate({"listen": {"host": host}, **sections})


# -- 19: what other people's clients need ----------------------------------------------------------


@pytest.mark.parametrize("command", ["CONNECT", "STOMP"])
@pytest.mark.parametrize(
    "headers",
    [
        "",
        "accept-version:1.2\n",
        "accept-version:1.1,1.0\nhost:127.0.0.1\n",
        "accept-version:1.2\nhost:127.0.0.1:61613\ncontent-length:0\n",
        "accept-version:1.1,1.2\nhost:\nheart-beat:0, 0\n",
    ],
)
def test_ways_to_connect(connect: Connect, command: str, headers: str):
    """19: CONNECTED always has version, session and heart-beat."""
    peer = connect(None)
    peer.send(f"{command}\n{headers}\n\0\n")
    connected = peer.expect("CONNECTED")
    assert connected["version"] in VERSIONS
    assert connected["session"]
    assert connected["heart-beat"]
    peer.sync()


def test_an_end_of_line_after_every_nul(connect: Connect, queue: str):
    """19: in the same write; clients were seen to wait for it, or to lose frames without."""
    peer = connect(None)
    peer.send(
        "CONNECT\naccept-version:1.2\n\n\0"
        f"SUBSCRIBE\nid:0\ndestination:{queue}\nreceipt:1\n\n\0"
        f"SEND\ndestination:{queue}\n\n\0SEND\ndestination:{queue}\nreceipt:2\n\n\0"
        "DISCONNECT\nreceipt:3\n\n\0"
    )
    written = peer.rest()
    assert written.count(b"\0") == written.count(b"\0\n") == 6
    assert not written.endswith(b"\n\n")
    assert b"\n\nCONNECTED" not in written
    assert b"\0\n\n" not in written


@pytest.mark.parametrize("version", VERSIONS)
def test_the_disconnect_receipt_comes_before_the_close(connect: Connect, version: str):
    """19: and after all messages and receipts that were on their way."""
    peer = connect(version)
    peer.send("DISCONNECT\nreceipt:bye\n\n\0")
    assert peer.rest() == b"RECEIPT\nreceipt-id:bye\n\n\0\n"
