"""What a SUBSCRIBE, a NACK or a policy says of how deliveries are settled: bytes, time, retries.

The manual: *Headers of SUBSCRIBE*, *ACK and NACK*, *NACK, redelivery, dead letters*.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.conformance.conftest import Connect
from tests.support.wire import Frame, Peer, running_broker, stats, unique, until

from stompy_broker import RunningBroker
from stompy_broker.destinations.policy import Policy

QUICK = Policy(match="/queue/quick.*", redelivery_delay=0, max_deliveries=20)
TIMED = Policy(match="/queue/timed.*", consumer_timeout=0.05, max_deliveries=-1)
TIMED_TOPIC = Policy(match="/topic/timed.*", consumer_timeout=0.05, max_deliveries=3)
LINEAR = Policy(match="/queue/linear.*", redelivery="linear", redelivery_delay=3600)


@pytest.fixture(scope="module")
def ruled() -> Iterator[RunningBroker]:
    with running_broker(policy=[QUICK, TIMED, TIMED_TOPIC, LINEAR]) as broker:
        yield broker


def subscribe(peer: Peer, destination: str, *lines: str, identity: str = "0") -> None:
    more = "".join(f"{line}\n" for line in lines)
    peer.send(f"SUBSCRIBE\nid:{identity}\ndestination:{destination}\nreceipt:s\n{more}\n\0")
    peer.expect("RECEIPT")


def fill(peer: Peer, destination: str, *bodies: str) -> None:
    for body in bodies:
        peer.send(f"SEND\ndestination:{destination}\n\n{body}\0")


def ack(peer: Peer, message: Frame) -> None:
    peer.send(f"ACK\nid:{message['ack']}\n\n\0")


def nack(peer: Peer, message: Frame, *lines: str) -> None:
    more = "".join(f"{line}\n" for line in lines)
    peer.send(f"NACK\nid:{message['ack']}\n{more}\n\0")


def nothing_more(peer: Peer) -> None:
    """Whatever the broker had to say was read."""
    peer.sync()


# -- bytes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["client", "client-individual"])
def test_so_many_bytes_may_be_unsettled(connect: Connect, queue: str, mode: str) -> None:
    sender, reader = connect(), connect()
    fill(sender, queue, *["x" * 1000] * 6)
    # Each has its headers as well; so a third one begins below 2500 and ends above.
    sender.sync()
    subscribe(reader, queue, f"ack:{mode}", "consumer-window-size:2500")
    first, *_ = [reader.expect("MESSAGE") for _ in range(3)]
    nothing_more(reader)
    ack(reader, first)
    reader.expect("MESSAGE")
    nothing_more(reader)


def test_a_window_of_nothing_is_one_delivery_at_a_time(connect: Connect, queue: str) -> None:
    sender, reader = connect(), connect()
    fill(sender, queue, "1", "2", "3")
    sender.sync()
    subscribe(reader, queue, "ack:client-individual", "consumer-window-size:0")
    for body in (b"1", b"2", b"3"):
        message = reader.expect("MESSAGE")
        assert message.body == body
        nothing_more(reader)
        ack(reader, message)


def test_a_message_larger_than_the_window_goes_when_nothing_else_is_out(
    connect: Connect, queue: str
) -> None:
    sender, reader = connect(), connect()
    fill(sender, queue, "x" * 5000, "y")
    sender.sync()
    subscribe(reader, queue, "ack:client-individual", "consumer-window-size:100")
    large = reader.expect("MESSAGE")
    nothing_more(reader)
    ack(reader, large)
    assert reader.expect("MESSAGE").body == b"y"


def test_messages_of_a_transaction_are_unsettled_until_commit(connect: Connect, queue: str) -> None:
    sender, reader = connect(), connect()
    fill(sender, queue, "1", "2")
    sender.sync()
    subscribe(reader, queue, "ack:client-individual", "consumer-window-size:0")
    one = reader.expect("MESSAGE")
    reader.send(f"BEGIN\ntransaction:t\n\n\0ACK\nid:{one['ack']}\ntransaction:t\n\n\0")
    nothing_more(reader)
    reader.send("COMMIT\ntransaction:t\nreceipt:c\n\n\0")
    assert sorted((reader.read().command, reader.read().command)) == ["MESSAGE", "RECEIPT"]


def test_without_limit_the_prefetch_alone_counts(connect: Connect, queue: str) -> None:
    sender, reader = connect(), connect()
    fill(sender, queue, *["x" * 1000] * 3)
    lines = ("ack:client-individual", "consumer-window-size:-1", "prefetch-count:2")
    sender.sync()
    subscribe(reader, queue, *lines)
    assert [reader.expect("MESSAGE").command for _ in range(2)]
    nothing_more(reader)


@pytest.mark.parametrize(
    "line",
    ["consumer-window-size:10", "x-consumer-timeout:10", "activemq.maximumRedeliveries:1"],
)
def test_with_ack_auto_nothing_is_unsettled_and_limits_are_refused(
    connect: Connect, queue: str, line: str
) -> None:
    peer = connect()
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n{line}\n\n\0")
    assert b"ack:auto" in peer.expect_error("not-supported").body


# -- time --------------------------------------------------------------------------------------


def test_what_is_held_too_long_goes_to_somebody_else(connect: Connect, queue: str) -> None:
    sender, slow, other = connect(), connect(), connect()
    lines = ("ack:client-individual", "prefetch-count:1")
    subscribe(slow, queue, *lines, "x-consumer-timeout:50")
    fill(sender, queue, "job")
    late = slow.expect("MESSAGE")
    subscribe(other, queue, *lines)
    again = other.expect("MESSAGE")
    assert (again["redelivered"], again["delivery-count"]) == ("true", "2")
    # The late ACK settles nothing, and is no error.
    slow.send(f"ACK\nid:{late['ack']}\nreceipt:late\n\n\0")
    assert slow.expect("RECEIPT")["receipt-id"] == "late"
    nack(other, again, "requeue:false")
    other.sync()


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_late_ack_by_message_id_is_no_error(connect: Connect, queue: str, version: str) -> None:
    sender, slow, other = connect(), connect(version), connect()
    lines = ("ack:client", "prefetch-count:1")
    subscribe(slow, queue, *lines, "x-consumer-timeout:50")
    fill(sender, queue, "1", "2")
    late = slow.expect("MESSAGE")
    subscribe(other, queue, *lines)
    assert {other.expect("MESSAGE").body} <= {b"1", b"2"}
    name = f"message-id:{late['message-id']}\nsubscription:0"
    slow.send(f"ACK\n{name}\nreceipt:late\n\n\0")
    until(lambda: slow.read().get("receipt-id") == "late", "the receipt of the late ACK")


def test_who_lets_time_pass_gets_no_more_than_it_has_credit_for(
    connect: Connect, broker: RunningBroker, queue: str
) -> None:
    sender, slow = connect(), connect()
    subscribe(slow, queue, "ack:client-individual", "prefetch-count:1", "x-consumer-timeout:50")
    fill(sender, queue, "1")
    late = slow.expect("MESSAGE")
    until(lambda: stats(broker, queue).ready == 1, "the message to go back")
    nothing_more(slow)
    ack(slow, late)  # which says that it is alive
    again = slow.expect("MESSAGE")
    assert again["redelivered"] == "true"
    ack(slow, again)
    until(lambda: stats(broker, queue).acked == 1, "it to be settled")


def test_limits_hold_over_several_queues(ruled: RunningBroker) -> None:
    """Time and bytes are those of the subscription, and its rules go to each of its queues."""
    word = unique()
    one, two = f"/queue/quick.{word}", f"/queue/timed.{word}"
    with Peer.open(ruled.port) as peer, Peer.open(ruled.port) as sender:
        lines = ("consumer-window-size:0", "activemq.maximumRedeliveries:0")
        subscribe(peer, f"{one},{two}", "ack:client-individual", "x-consumer-timeout:0", *lines)
        fill(sender, one, "1")
        fill(sender, two, "2")
        sender.sync()
        for _ in range(2):
            message = peer.expect("MESSAGE")
            nothing_more(peer)
            nack(peer, message)
        for queue in (one, two):
            until(lambda queue=queue: stats(ruled, queue).dead_lettered == 1, "a dead letter")
        peer.send("UNSUBSCRIBE\nid:0\n\n\0")
        # One of them has a policy that times consumers, and that holds for both.
        subscribe(peer, f"{one},{two}", "ack:client-individual", "prefetch-count:1", identity="1")
        fill(sender, one, "3")
        late = peer.expect("MESSAGE")
        until(lambda: stats(ruled, one).ready == 1, "it to go back")
        ack(peer, late)
        ack(peer, peer.expect("MESSAGE"))


def test_a_policy_times_consumers_and_counts_it_as_failed(ruled: RunningBroker) -> None:
    topic = f"/topic/timed.{unique()}"
    with Peer.open(ruled.port) as peer:
        subscribe(peer, topic, "ack:client-individual", "prefetch-count:0")
        peer.send(f"SEND\ndestination:{topic}\n\nx\0")
        counts = [peer.expect("MESSAGE")["delivery-count"] for _ in range(3)]
        assert counts == ["1", "2", "3"]
        dead = f"/queue/DLQ.{topic.removeprefix('/topic/')}"
        subscribe(peer, dead, identity="dead")
        letter = peer.expect("MESSAGE")
        assert letter["x-death-info"] == "its consumer did not settle it in time"


def test_zero_on_subscribe_goes_before_the_policy(ruled: RunningBroker) -> None:
    queue = f"/queue/timed.{unique()}"
    with Peer.open(ruled.port) as patient, Peer.open(ruled.port) as timed:
        lines = ("ack:client-individual", "prefetch-count:1")
        subscribe(patient, queue, *lines, "x-consumer-timeout:0")
        fill(patient, queue, "1")
        held = patient.expect("MESSAGE")
        subscribe(timed, queue, *lines)
        fill(timed, queue, "2")
        assert timed.expect("MESSAGE").body == b"2"
        until(lambda: stats(ruled, queue).nacked >= 1, "the other one to run out of time")
        assert stats(ruled, queue).unacked == 1
        ack(patient, held)
        patient.expect("MESSAGE")


def test_an_aborted_ack_is_timed_again(ruled: RunningBroker) -> None:
    queue = f"/queue/timed.{unique()}"
    with Peer.open(ruled.port) as peer:
        subscribe(peer, queue, "ack:client-individual", "prefetch-count:1")
        peer.send(f"SEND\ndestination:{queue}\n\nx\0")
        message = peer.expect("MESSAGE")
        peer.send(f"BEGIN\ntransaction:t\n\n\0ACK\nid:{message['ack']}\ntransaction:t\n\n\0")
        peer.sync()
        claimed = stats(ruled, queue).unacked
        peer.send("ABORT\ntransaction:t\n\n\0")
        until(lambda: stats(ruled, queue).ready == 1, "it to go back")
        assert claimed in (0, 1)  # it was in time, or was not


# -- retries -----------------------------------------------------------------------------------


def test_a_subscription_says_how_often_what_it_refuses_comes_again(
    ruled: RunningBroker,
) -> None:
    queue = f"/queue/quick.{unique()}"
    with Peer.open(ruled.port) as peer:
        lines = ("activemq.maximumRedeliveries:2", "activemq.redeliveryDelay:0")
        subscribe(peer, queue, "ack:client-individual", *lines)
        fill(peer, queue, "x")
        for count in ("1", "2", "3"):
            message = peer.expect("MESSAGE")
            assert message["delivery-count"] == count
            nack(peer, message)
        until(lambda: stats(ruled, queue).dead_lettered == 1, "a dead letter")


def test_it_holds_for_that_subscription_alone(ruled: RunningBroker) -> None:
    queue = f"/queue/quick.{unique()}"
    with Peer.open(ruled.port) as peer:
        subscribe(peer, queue, "ack:client-individual", "activemq.maximumRedeliveries:0")
        fill(peer, queue, "x")
        peer.expect("MESSAGE")
        peer.send("UNSUBSCRIBE\nid:0\n\n\0")
        subscribe(peer, queue, "ack:client-individual", identity="1")
        message = peer.expect("MESSAGE")
        for _ in range(5):
            nack(peer, message)
            message = peer.expect("MESSAGE")
        assert stats(ruled, queue).dead_lettered == 0


def test_it_says_when(ruled: RunningBroker) -> None:
    queue = f"/queue/quick.{unique()}"
    with Peer.open(ruled.port) as peer:
        lines = ("activemq.initialRedeliveryDelay:0", "activemq.redeliveryDelay:3600000")
        subscribe(peer, queue, "ack:client-individual", *lines)
        fill(peer, queue, "x")
        nack(peer, peer.expect("MESSAGE"))
        nack(peer, peer.expect("MESSAGE"))
        peer.sync()
        assert stats(ruled, queue).delayed == 1


def test_in_a_transaction_it_holds_as_well(ruled: RunningBroker) -> None:
    queue = f"/queue/quick.{unique()}"
    with Peer.open(ruled.port) as peer:
        subscribe(peer, queue, "ack:client-individual", "activemq.maximumRedeliveries:0")
        fill(peer, queue, "x")
        message = peer.expect("MESSAGE")
        peer.send("BEGIN\ntransaction:t\n\n\0")
        nack(peer, message, "transaction:t")
        peer.send("COMMIT\ntransaction:t\nreceipt:c\n\n\0")
        peer.expect("RECEIPT")
        until(lambda: stats(ruled, queue).dead_lettered == 1, "a dead letter")


@pytest.mark.parametrize(
    "line",
    [
        "activemq.maximumRedeliveries:many",
        "activemq.backOffMultiplier:1.x",
        "activemq.useExponentialBackOff:perhaps",
        "consumer-window-size:-2",
        "x-consumer-timeout:1s",
    ],
)
def test_values_that_cannot_be(connect: Connect, queue: str, line: str) -> None:
    peer = connect()
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:client\n{line}\n\n\0")
    peer.expect_error("bad-header")


def test_a_return_that_is_no_failure_never_makes_a_dead_letter(ruled: RunningBroker) -> None:
    queue = f"/queue/quick.{unique()}"
    with Peer.open(ruled.port) as peer:
        subscribe(peer, queue, "ack:client-individual")
        fill(peer, queue, "x")
        for count in range(1, 41):
            message = peer.expect("MESSAGE")
            assert message["delivery-count"] == str(count)
            nack(peer, message, "delivery-failed:false")
        ack(peer, peer.expect("MESSAGE"))
        until(lambda: stats(ruled, queue).acked == 1, "it to be settled")
        assert stats(ruled, queue).dead_lettered == 0


def test_delays_that_grow_in_a_line_begin_at_once(ruled: RunningBroker) -> None:
    queue = f"/queue/linear.{unique()}"
    with Peer.open(ruled.port) as peer:
        subscribe(peer, queue, "ack:client-individual")
        fill(peer, queue, "x")
        nack(peer, peer.expect("MESSAGE"))
        peer.sync()
        assert stats(ruled, queue).delayed == 1


@pytest.mark.parametrize(
    ("word", "line", "delayed"),
    [
        ("failed", "", 1),
        ("failed", "delivery-failed:false", 0),
        ("returned", "", 0),
        ("returned", "delivery-failed:false", 1),
        ("all", "", 1),
        ("all", "delivery-failed:false", 1),
        ("disabled", "", 0),
    ],
)
def test_arguments_of_a_queue_delay_retries(
    connect: Connect, broker: RunningBroker, queue: str, word: str, line: str, delayed: int
) -> None:
    peer = connect()
    arguments = (f"x-delayed-retry-type:{word}", "x-delayed-retry-min:3600000")
    subscribe(peer, queue, "ack:client-individual", *arguments)
    fill(peer, queue, "x")
    nack(peer, peer.expect("MESSAGE"), *filter(None, [line]))
    if delayed:
        peer.sync()
    else:
        assert peer.expect("MESSAGE")["redelivered"] == "true"
    assert stats(broker, queue).delayed == delayed


@pytest.mark.parametrize(
    "lines",
    ["x-delayed-retry-type:often", "x-delayed-retry-type:all", "x-delayed-retry-min:soon"],
)
def test_arguments_that_cannot_be(connect: Connect, queue: str, lines: str) -> None:
    peer = connect()
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n{lines}\n\n\0")
    peer.expect_error("bad-header")
