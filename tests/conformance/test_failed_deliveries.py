"""What counts as a failed delivery (promise 6), in every way of leaving a queue's messages.

A NACK does; and of a connection that was lost, the oldest message that each of its subscriptions
had not settled. What merely lay in a prefetch comes back marked, and never counts.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.conformance.conftest import Connect
from tests.support.process import BrokerProcess
from tests.support.wire import Frame, Peer, running_broker, stats, unique, until

from stompy_broker import RunningBroker
from stompy_broker.destinations.policy import Policy

LIMIT = 3
POLICIES = (
    Policy(match="/queue/strict.*", max_deliveries=LIMIT, redelivery_delay=0),
    Policy(match="/topic/strict.*", max_deliveries=LIMIT, redelivery_delay=0),
)


@pytest.fixture(scope="module")
def strict() -> Iterator[RunningBroker]:
    """A broker that gives up a message after three failed deliveries."""
    with running_broker(policy=POLICIES, times={"heart_beat": [100, 100]}) as broker:
        yield broker


def fill(broker: RunningBroker, destination: str, count: int) -> None:
    with Peer.open(broker.port) as producer:
        for number in range(count):
            producer.send(f"SEND\ndestination:{destination}\n\n{number}\0")
        producer.sync()


def end_subscription(peer: Peer) -> None:
    peer.send("UNSUBSCRIBE\nid:0\nreceipt:u\n\n\0")
    peer.expect("RECEIPT")


def disconnect(peer: Peer) -> None:
    peer.send("DISCONNECT\nreceipt:d\n\n\0")
    peer.expect("RECEIPT")


def take(peer: Peer, destination: str, count: int, *headers: str) -> list[Frame]:
    lines = "".join(f"{header}\n" for header in headers)
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{destination}\nack:client-individual\n{lines}\n\0")
    return [peer.expect("MESSAGE") for _ in range(count)]


@pytest.mark.parametrize("leave", [end_subscription, disconnect])
def test_who_leaves_in_order_costs_nobody_anything(
    strict: RunningBroker, leave: Callable[[Peer], None]
):
    """Many consumers take a message each, and leave with the rest in their windows."""
    queue = f"/queue/strict.{unique()}"
    fill(strict, queue, 20)
    for number in range(4 * LIMIT):
        with Peer.open(strict.port) as peer:
            messages = take(peer, queue, 20 - number)
            assert int(messages[0].body) == number
            peer.send(f"ACK\nid:{messages[0]['ack']}\n\n\0")
            leave(peer)
        until(lambda: stats(strict, queue).unacked == 0, "everything to come back")
    assert stats(strict, queue).dead_lettered == 0
    assert stats(strict, queue).ready == 20 - 4 * LIMIT


def lose(peer: Peer) -> None:
    peer.reset()


def close(peer: Peer) -> None:
    peer.close()


def break_a_rule(peer: Peer) -> None:
    peer.send("NONSENSE\n\n\0")
    peer.expect_error("unknown-command")


@pytest.mark.parametrize("mode", ["client", "client-individual"])
@pytest.mark.parametrize("leave", [lose, close, break_a_rule])
def test_a_lost_connection_costs_the_oldest_one_only(
    strict: RunningBroker, leave: Callable[[Peer], None], mode: str
):
    queue = f"/queue/strict.{unique()}"
    fill(strict, queue, 8)
    for _ in range(LIMIT):
        with Peer.open(strict.port) as peer:
            peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:{mode}\n\n\0")
            assert [int(peer.expect("MESSAGE").body) for _ in range(8)] == [*range(8)]
            leave(peer)
        until(lambda: stats(strict, queue).unacked == 0, "everything to come back")
    assert stats(strict, queue).dead_lettered == 1
    with Peer.open(strict.port) as peer:
        dead, *_ = take(peer, queue.replace("/queue/", "/queue/DLQ."), 1)
        assert (dead.body, dead["x-last-death-reason"]) == (b"0", "delivery_limit")
        assert dead["x-death-count"] == str(LIMIT)
    with Peer.open(strict.port) as peer:
        left = take(peer, queue, 7)
        assert [int(message.body) for message in left] == [*range(1, 8)]
        # How often it came is another matter than how often that went wrong.
        assert {message["delivery-count"] for message in left} == {str(LIMIT + 1)}
        assert {message["redelivered"] for message in left} == {"true"}
        disconnect(peer)


def test_each_subscription_has_its_oldest(strict: RunningBroker):
    first, second = f"/queue/strict.{unique()}", f"/queue/strict.{unique()}"
    for queue in (first, second):
        fill(strict, queue, 2)
    for _ in range(LIMIT):
        with Peer.open(strict.port) as peer:
            for queue in (first, second):
                peer.send(
                    f"SUBSCRIBE\nid:{queue}\ndestination:{queue}\nack:client-individual\n\n\0"
                )
            for _ in range(4):
                peer.expect("MESSAGE")
            peer.reset()
        for queue in (first, second):
            until(lambda queue=queue: stats(strict, queue).unacked == 0, "it all to come back")
    for queue in (first, second):
        assert (stats(strict, queue).dead_lettered, stats(strict, queue).ready) == (1, 1)


def test_nack_counts_and_the_prefetch_beside_it_does_not(strict: RunningBroker):
    queue = f"/queue/strict.{unique()}"
    fill(strict, queue, 4)
    with Peer.open(strict.port) as peer:
        message = take(peer, queue, 4)[0]
        for _ in range(LIMIT - 1):
            peer.send(f"NACK\nid:{message['ack']}\n\n\0")
            message = peer.expect("MESSAGE")
            assert message.body == b"0"
        peer.send(f"NACK\nid:{message['ack']}\nreceipt:n\n\n\0")
        peer.expect("RECEIPT")
        assert stats(strict, queue).dead_lettered == 1
        disconnect(peer)
    until(lambda: stats(strict, queue).ready == 3, "the rest to come back")


def test_an_abort_counts_nothing(strict: RunningBroker):
    """Also where the claim has outlived its subscription."""
    queue = f"/queue/strict.{unique()}"
    fill(strict, queue, 1)
    for _ in range(3 * LIMIT):
        with Peer.open(strict.port) as peer:
            (message,) = take(peer, queue, 1)
            claim = f"NACK\nid:{message['ack']}\ntransaction:t\n\n\0"
            peer.send("BEGIN\ntransaction:t\n\n\0", claim)
            end_subscription(peer)
            peer.send("ABORT\ntransaction:t\nreceipt:a\n\n\0")
            peer.expect("RECEIPT")
            assert (stats(strict, queue).ready, stats(strict, queue).nacked) == (1, 0)
            disconnect(peer)
    assert stats(strict, queue).dead_lettered == 0


def test_a_transaction_that_is_lost_counts_the_oldest_of_its_claims(strict: RunningBroker):
    """What was acknowledged in it was not: the client may have died before COMMIT."""
    queue = f"/queue/strict.{unique()}"
    fill(strict, queue, 3)
    for _ in range(LIMIT):
        with Peer.open(strict.port) as peer:
            message = take(peer, queue, 3)[0]
            peer.send(
                "BEGIN\ntransaction:t\n\n\0", f"ACK\nid:{message['ack']}\ntransaction:t\n\n\0"
            )
            peer.sync()
            peer.reset()
        until(lambda: stats(strict, queue).unacked == 0, "everything to come back")
    assert (stats(strict, queue).dead_lettered, stats(strict, queue).ready) == (1, 2)


def test_silence_is_a_lost_connection(strict: RunningBroker):
    queue = f"/queue/strict.{unique()}"
    fill(strict, queue, 2)
    for _ in range(LIMIT):
        with Peer.open(strict.port, "1.2", "heart-beat:100,0") as peer:
            take(peer, queue, 2)
            peer.expect_error("heart-beat-timeout")
        until(lambda: stats(strict, queue).unacked == 0, "everything to come back")
    assert (stats(strict, queue).dead_lettered, stats(strict, queue).ready) == (1, 1)


def test_durable_subscriptions_count_in_the_same_way(strict: RunningBroker):
    topic, name = f"/topic/strict.{unique()}", unique()
    lines = (f"activemq.subscriptionName:{name}",)
    with Peer.open(strict.port, "1.2", "client-id:c") as peer:
        take(peer, topic, 0, *lines)
        peer.sync()
        disconnect(peer)
    backlog = f"/queue/durable.c.{name}"
    until(lambda: not stats(strict, backlog).consumers, "the subscriber to go")
    fill(strict, topic, 5)
    for leave, lost in [(disconnect, 0)] * (LIMIT + 1) + [(lose, 1)] * LIMIT:
        with Peer.open(strict.port, "1.2", "client-id:c") as peer:
            take(peer, topic, 5, *lines)
            leave(peer)
        until(lambda: not stats(strict, backlog).consumers, "the subscriber to go")
        assert stats(strict, backlog).unacked == 0
        assert stats(strict, backlog).dead_lettered <= lost
    assert (stats(strict, backlog).dead_lettered, stats(strict, backlog).ready) == (1, 4)


# -- restarts -----------------------------------------------------------------------------------

SETTINGS = """
[times]
shutdown = 0
[[policy]]
match = "/queue/*"
max_deliveries = 1
"""


def counted(port: int, queue: str) -> dict[str, int]:
    """Ready and dead messages of a queue."""
    with Peer.open(port) as peer:
        request = json.dumps({"cmd": "queue.list"})
        peer.send(f"SEND\ndestination:/queue/$SYS.command\nreply-to:/temp-queue/a\n\n{request}\0")
        rows = json.loads(peer.expect("MESSAGE").body)["result"]["rows"]
    return {row["name"]: row["ready"] + row["unacked"] for row in rows if queue in row["name"]}


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_counts_over_a_restart(tmp_path: Path, end: str):
    """A broker that stops blames nobody; a crash counts as a lost connection does."""
    with BrokerProcess(tmp_path / "data", SETTINGS) as broker, Peer.open(broker.port) as peer:
        for body in range(6):
            peer.send(f"SEND\ndestination:/queue/w\nreceipt:{body}\n\n{body}\0")
            peer.expect("RECEIPT")
        take(peer, "/queue/w", 6)
        # Deliveries are on disk soon; this receipt says that they are.
        peer.send("SEND\ndestination:/queue/other\nreceipt:r\n\nx\0")
        peer.expect("RECEIPT")
        getattr(broker, end)()
    left = list(range(6)) if end == "stop" else list(range(1, 6))
    with BrokerProcess(tmp_path / "data", SETTINGS) as broker, Peer.open(broker.port) as peer:
        messages = take(peer, "/queue/w", len(left))
        assert [int(message.body) for message in messages] == left
        assert {message["redelivered"] for message in messages} == {"true"}
        assert {message["delivery-count"] for message in messages} == {"2"}
        dead = {} if end == "stop" else {"DLQ.w": 1}
        until(lambda: counted(broker.port, "w") == {"w": len(left), **dead}, "the dead letter")


# -- what an operator does ------------------------------------------------------------------------


class Operator:
    """Sends commands."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._numbers = itertools.count()

    def __call__(self, command: str, **args: object) -> dict:
        request = json.dumps({"cmd": command, "args": args})
        head = "SEND\ndestination:/queue/$SYS.command\nreply-to:/temp-queue/op\n\n"
        self._peer.send(f"{head}{request}\0")
        answer = json.loads(self._peer.expect("MESSAGE").body)
        assert answer["ok"], json.dumps(answer)
        return answer["result"]


def test_moved_messages_stay_marked_and_begin_anew(connect: Connect, queue: str):
    """An operator's move or retry gives all chances again; that it was delivered stays true."""
    operator, name = Operator(connect()), queue.removeprefix("/queue/")
    fill_peer = connect()
    fill_peer.send(f"SEND\ndestination:{queue}\n\nx\0")
    fill_peer.sync()
    peer = connect()
    (message,) = take(peer, queue, 1)
    peer.send(f"NACK\nid:{message['ack']}\ndelay:60000\nreceipt:n\n\n\0")
    peer.expect("RECEIPT")
    (shown,) = operator("message.peek", queue=name)["messages"]
    assert (shown["deliveries"], shown["failures"]) == (1, 1)
    assert operator("message.copy", queue=name, to=f"{queue}-copy")["copied"] == 1
    assert operator("message.move", queue=name, to=f"{queue}-moved")["moved"] == 1
    (shown,) = operator("message.peek", queue=f"{name}-moved")["messages"]
    assert (shown["deliveries"], shown["failures"]) == (1, 0)
    other = connect()
    (moved,) = take(other, f"{queue}-moved", 1)
    assert (moved["redelivered"], moved["delivery-count"]) == ("true", "2")
    assert moved["message-id"] == message["message-id"]
    other.send(f"NACK\nid:{moved['ack']}\nrequeue:false\nreceipt:n\n\n\0")
    other.expect("RECEIPT")
    assert operator("message.retry", queue=f"DLQ.{name}-moved")["retried"] == 1
    again = other.expect("MESSAGE")
    assert (again["redelivered"], again["delivery-count"]) == ("true", "3")
    third = connect()
    (copy,) = take(third, f"{queue}-copy", 1)
    assert (copy["redelivered"], copy["delivery-count"]) == ("false", "1")
    assert copy["message-id"] != message["message-id"]


def test_a_retry_reaches_the_durable_subscription_that_gave_it_up(connect: Connect, topic: str):
    """And no other; where that is gone, nobody."""
    names, operator = ("bill", "ship"), Operator(connect())
    peers = {}
    for name in names:
        peers[name] = peer = connect("1.2", f"client-id:{name}-{topic}")
        take(peer, topic, 0, "activemq.subscriptionName:orders")
        peer.sync()
    sender = connect()
    sender.send(f"SEND\ndestination:{topic}\nx:1\n\norder\0")
    first = {name: peers[name].expect("MESSAGE") for name in names}
    peers["ship"].send(f"ACK\nid:{first['ship']['ack']}\nreceipt:a\n\n\0")
    peers["ship"].expect("RECEIPT")
    grave = topic.replace("/topic/", "DLQ.")
    for gone in (False, True):
        message = first["bill"]
        peers["bill"].send(f"NACK\nid:{message['ack']}\nrequeue:false\nreceipt:n\n\n\0")
        peers["bill"].expect("RECEIPT")
        if gone:
            peers["bill"].send("UNSUBSCRIBE\nid:0\nactivemq.subscriptionName:orders\n\n\0")
            peers["bill"].sync()
            with pytest.raises(AssertionError, match="which is gone"):
                operator("message.retry", queue=grave)
            continue
        assert operator("message.retry", queue=grave)["retried"] == 1
        first["bill"] = again = peers["bill"].expect("MESSAGE")
        assert (again.body, again["destination"], again["redelivered"]) == (b"order", topic, "true")
        assert "original-subscription" not in dict(again.headers)
    peers["ship"].sync()


def test_a_moved_message_keeps_its_place_over_a_restart(tmp_path: Path):
    """Although it was delivered and what waits before it was not."""
    with BrokerProcess(tmp_path / "data") as broker, Peer.open(broker.port) as peer:
        peer.send("SEND\ndestination:/queue/from\n\nlast\0")
        peer.sync()
        take(peer, "/queue/from", 1)
        end_subscription(peer)
        for body in ("first", "second"):
            peer.send(f"SEND\ndestination:/queue/to\nreceipt:{body}\n\n{body}\0")
            peer.expect("RECEIPT")
        with Peer.open(broker.port) as other:
            Operator(other)("message.move", queue="from", to="/queue/to")
        broker.stop()
    with BrokerProcess(tmp_path / "data") as broker, Peer.open(broker.port) as peer:
        found = take(peer, "/queue/to", 3)
        assert [message.body for message in found] == [b"first", b"second", b"last"]
        disconnect(peer)
