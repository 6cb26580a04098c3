"""Message groups over real sockets: order, who gets them, and nobody who waits behind another."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.wire import Peer

from stompy.protocol.frame import STOMPFrame
from stompy_broker import RunningBroker

SUBSCRIBE = (
    "SUBSCRIBE\nid:{id}\ndestination:{queue}\nack:client-individual\n"
    "prefetch-count:{prefetch}\n{more}\n\0"
)


@pytest.fixture
def port(broker: RunningBroker) -> int:
    return broker.port


@pytest.fixture
def sender(broker: RunningBroker) -> Iterator[Peer]:
    with Peer.open(broker.port) as peer:
        yield peer


def subscribe(peer: Peer, queue: str, prefetch: int = 100, more: str = "", name: str = "1") -> None:
    peer.send(SUBSCRIBE.format(id=name, queue=queue, prefetch=prefetch, more=more))
    peer.sync()


def block(queue: str, group: str, body: str, more: str = "") -> str:
    told = f"JMSXGroupID:{group}\n" if group else ""
    return f"SEND\ndestination:{queue}\n{told}{more}\n{body}\0"


def send(peer: Peer, queue: str, group: str, body: str, more: str = "") -> None:
    peer.send(block(queue, group, body, more))
    peer.sync()


def ack(peer: Peer, message: STOMPFrame, word: str = "ACK", more: str = "") -> None:
    peer.send(f"{word}\nid:{message['ack']}\n{more}\n\0")


def test_a_group_goes_to_one_consumer_and_groups_are_dealt_in_turn(
    port: int, sender: Peer, queue: str
) -> None:
    with Peer.open(port) as one, Peer.open(port) as two:
        subscribe(one, queue)
        subscribe(two, queue)
        for number in range(9):
            send(sender, queue, "abc"[number % 3], str(number))
        mine = [one.expect("MESSAGE") for _ in range(6)]
        others = [two.expect("MESSAGE") for _ in range(3)]
        assert [message.body for message in mine] == [b"0", b"2", b"3", b"5", b"6", b"8"]
        assert [message.body for message in others] == [b"1", b"4", b"7"]
        assert [message.get("JMSXGroupFirstForConsumer") for message in others] == [
            "true",
            None,
            None,
        ]
        assert {message["JMSXGroupID"] for message in others} == {"b"}


@pytest.mark.parametrize("name", ["JMSXGroupID", "_AMQ_GROUP_ID", "x-group-id"])
def test_three_names_mean_a_group_and_are_passed_on(
    port: int, sender: Peer, queue: str, name: str
) -> None:
    with Peer.open(port) as peer:
        subscribe(peer, queue)
        sender.send(f"SEND\ndestination:{queue}\n{name}:g\nJMSXGroupSeq:3\n\nx\0")
        message = peer.expect("MESSAGE")
        assert (message[name], message["JMSXGroupSeq"]) == ("g", "3")
        assert message["JMSXGroupFirstForConsumer"] == "true"
        sender.send(f"SEND\ndestination:{queue}\n{name}:\n\nx\0")
        assert "JMSXGroupFirstForConsumer" not in peer.expect("MESSAGE")


def test_names_that_disagree_are_refused(port: int, sender: Peer, queue: str) -> None:
    with Peer.open(port) as peer:
        peer.send(f"SEND\ndestination:{queue}\nJMSXGroupID:a\nx-group-id:b\n\nx\0")
        peer.expect_error("bad-header")


def test_a_sender_cannot_say_that_a_message_is_the_first(
    port: int, sender: Peer, queue: str
) -> None:
    with Peer.open(port) as peer:
        subscribe(peer, queue)
        send(sender, queue, "", "x", "JMSXGroupFirstForConsumer:true\n")
        assert "JMSXGroupFirstForConsumer" not in peer.expect("MESSAGE")


def test_another_group_passes_3000_of_a_busy_one(port: int, sender: Peer, queue: str) -> None:
    with Peer.open(port) as slow, Peer.open(port) as quick:
        subscribe(slow, queue, prefetch=1)
        send(sender, queue, "busy", "first")
        slow.expect("MESSAGE")
        subscribe(quick, queue)
        sender.send("".join([block(queue, "busy", str(number)) for number in range(3000)]))
        send(sender, queue, "other", "y")
        assert quick.expect("MESSAGE").body == b"y"
        send(sender, queue, "", "z")
        assert quick.expect("MESSAGE").body == b"z"


def test_what_is_refused_comes_again_before_the_next_of_its_group(
    port: int, sender: Peer, queue: str
) -> None:
    with Peer.open(port) as peer:
        subscribe(peer, queue, prefetch=1)
        for body in "123":
            send(sender, queue, "a", body)
        ack(peer, peer.expect("MESSAGE"), "NACK")
        again = peer.expect("MESSAGE")
        assert (again.body, again["redelivered"]) == (b"1", "true")
        ack(peer, again)
        assert peer.expect("MESSAGE").body == b"2"


def test_a_delayed_redelivery_holds_its_group_and_no_other(
    port: int, sender: Peer, queue: str
) -> None:
    with Peer.open(port) as peer:
        subscribe(peer, queue, prefetch=2)
        send(sender, queue, "a", "a1")
        ack(peer, peer.expect("MESSAGE"), "NACK", "delay:2000\n")
        peer.sync()
        send(sender, queue, "a", "a2")
        send(sender, queue, "b", "b1")
        other = peer.expect("MESSAGE")
        assert other.body == b"b1"
        ack(peer, other)
        assert [peer.expect("MESSAGE").body for _ in range(2)] == [b"a1", b"a2"]


def test_a_lost_consumer_s_groups_go_on_with_another_in_order(
    port: int, sender: Peer, queue: str
) -> None:
    with Peer.open(port) as stays:
        with Peer.open(port) as lost:
            subscribe(lost, queue, prefetch=2)
            for number in range(4):
                send(sender, queue, "a", str(number))
            assert [lost.expect("MESSAGE").body for _ in range(2)] == [b"0", b"1"]
            subscribe(stays, queue)
            send(sender, queue, "b", "b")
            assert stays.expect("MESSAGE").body == b"b"
        messages = [stays.expect("MESSAGE") for _ in range(4)]
        assert [message.body for message in messages] == [b"0", b"1", b"2", b"3"]
        assert messages[0]["JMSXGroupFirstForConsumer"] == "true"
        assert messages[1]["redelivered"] == "true"


def test_a_closed_group_picks_anew(port: int, sender: Peer, queue: str) -> None:
    with Peer.open(port) as one, Peer.open(port) as two:
        subscribe(one, queue)
        send(sender, queue, "a", "1", "JMSXGroupSeq:-1\n")
        first = one.expect("MESSAGE")
        assert first["JMSXGroupSeq"] == "-1"
        send(sender, queue, "b", "2")
        one.expect("MESSAGE")
        subscribe(two, queue)
        ack(one, first)
        one.sync()
        send(sender, queue, "a", "3")
        assert two.expect("MESSAGE")["JMSXGroupFirstForConsumer"] == "true"


def test_in_a_transaction_a_group_moves_on_at_commit(port: int, sender: Peer, queue: str) -> None:
    with Peer.open(port) as one, Peer.open(port) as two:
        subscribe(one, queue, prefetch=2)
        for body in "12":
            send(sender, queue, "a", body)
        messages = [one.expect("MESSAGE") for _ in range(2)]
        one.send("BEGIN\ntransaction:t\n\n\0")
        for message in messages:
            ack(one, message, more="transaction:t\n")
        one.send("UNSUBSCRIBE\nid:1\n\n\0")
        one.sync()
        subscribe(two, queue)
        send(sender, queue, "a", "3")
        send(sender, queue, "b", "other")
        assert two.expect("MESSAGE").body == b"other"
        one.send("COMMIT\ntransaction:t\n\n\0")
        assert two.expect("MESSAGE").body == b"3"


def test_messages_sent_in_a_transaction_keep_their_groups(
    port: int, sender: Peer, queue: str
) -> None:
    with Peer.open(port) as peer:
        subscribe(peer, queue)
        peer.send("BEGIN\ntransaction:t\n\n\0")
        for number in range(4):
            peer.send(block(queue, "ab"[number % 2], str(number), "transaction:t\n"))
        peer.send("COMMIT\ntransaction:t\n\n\0")
        messages = [peer.expect("MESSAGE") for _ in range(4)]
        assert [message.body for message in messages] == [b"0", b"1", b"2", b"3"]
        assert [message.get("JMSXGroupFirstForConsumer") for message in messages] == [
            "true",
            "true",
            None,
            None,
        ]


def test_it_holds_for_a_shared_subscription_to_a_topic(port: int, sender: Peer, topic: str) -> None:
    lines = f"destination:{topic}\nshare:{topic[7:]}\nack:client-individual\n"
    with Peer.open(port) as one, Peer.open(port) as two:
        for peer in (one, two):
            peer.send(f"SUBSCRIBE\nid:1\n{lines}\n\0")
            peer.sync()
        for number in range(6):
            sender.send(block(topic, "ab"[number % 2], str(number)))
        assert [one.expect("MESSAGE").body for _ in range(3)] == [b"0", b"2", b"4"]
        assert [two.expect("MESSAGE").body for _ in range(3)] == [b"1", b"3", b"5"]


def test_a_dead_letter_keeps_its_group(port: int, sender: Peer, queue: str) -> None:
    with Peer.open(port) as peer:
        subscribe(peer, queue)
        peer.send(
            f"SUBSCRIBE\nid:2\ndestination:/queue/DLQ.{queue.removeprefix('/queue/')}\nack:auto\n\n\0"
        )
        send(sender, queue, "a", "1")
        ack(peer, peer.expect("MESSAGE"), "NACK", "requeue:false\n")
        dead = peer.expect("MESSAGE")
        assert (dead["subscription"], dead["JMSXGroupID"]) == ("2", "a")
        send(sender, queue, "a", "2")
        assert peer.expect("MESSAGE").body == b"2"
