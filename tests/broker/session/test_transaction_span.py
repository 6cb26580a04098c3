"""Which groups of queues a transaction has to do with, over real sockets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.groups import broker_of_groups
from tests.support.wire import Peer, stats, unique

from stompy_broker import RunningBroker
from stompy_broker.routing.group import QueueGroup

CODE = "transaction-spans-groups"


class Recorder:
    """Groups that can write together, or cannot."""

    def __init__(self, reason: str = "") -> None:
        self.reason = reason
        self.begun: list[list[int]] = []

    def hindrance(self, groups: list[QueueGroup]) -> str:
        return self.reason

    def begin(self, groups: list[QueueGroup]) -> None:
        self.begun.append([group.number for group in groups])


@pytest.fixture(scope="module")
def groups() -> Iterator[RunningBroker]:
    with broker_of_groups() as broker:
        yield broker


@pytest.fixture
def together(groups: RunningBroker) -> Iterator[Recorder]:
    """Lets the groups write together."""
    every, recorder = groups._host.broker._router.groups, Recorder()
    every.together = recorder
    yield recorder
    every.together = None


@pytest.fixture
def peer(groups: RunningBroker) -> Iterator[Peer]:
    with Peer.open(groups.port) as peer:
        peer.send("BEGIN\ntransaction:t\n\n\0")
        yield peer


def send(destination: str, *headers: str) -> str:
    lines = "".join(f"{line}\n" for line in headers)
    return f"SEND\ntransaction:t\ndestination:{destination}\n{lines}\nx\0"


COMMIT = "COMMIT\ntransaction:t\nreceipt:done\n\n\0"


def committed(peer: Peer) -> bool:
    peer.send(COMMIT)
    return peer.expect("RECEIPT")["receipt-id"] == "done"


def test_one_group_is_enough_for_one_transaction(peer: Peer, groups: RunningBroker) -> None:
    one, two = unique("a"), unique("a")
    peer.send(send(f"/queue/{one}"), send(f"/queue/{two}"))
    assert committed(peer)
    assert [stats(groups, name).ready for name in (one, two)] == [1, 1]


@pytest.mark.parametrize("persistent", ["true", "false"])
def test_the_frame_that_names_a_second_group_is_refused(
    peer: Peer, groups: RunningBroker, persistent: str
) -> None:
    one, two = unique("a"), unique("b")
    peer.send(send(f"/queue/{one}"), send(f"/queue/{two}", f"persistent:{persistent}", "receipt:r"))
    error = peer.expect_error(CODE, receipt="r")
    assert error["failed-command"] == "SEND"
    for part in (f"/queue/{one} in group 0", f"/queue/{two} is in group 1", "[[cluster.group]]"):
        assert part in error.body.decode()
    assert not [row for row in groups.queues() if row.name in (one, two)]


@pytest.mark.parametrize("command", ["ACK", "NACK"])
def test_so_is_the_settlement_of_a_delivery_of_a_second_group(peer: Peer, command: str) -> None:
    one, two = unique("a"), unique("b")
    peer.send(f"SUBSCRIBE\nid:0\ndestination:/queue/{two}\nack:client-individual\n\n\0")
    peer.send(f"SEND\ndestination:/queue/{two}\n\nx\0")
    name = peer.expect("MESSAGE")["ack"]
    peer.send(send(f"/queue/{one}"), f"{command}\nid:{name}\ntransaction:t\n\n\0")
    assert f"/queue/{two} is in group 1" in peer.expect_error(CODE).body.decode()


def test_work_that_stays_in_its_group_is_one_change(peer: Peer, groups: RunningBroker) -> None:
    one, two = unique("b"), unique("b")
    peer.send(f"SUBSCRIBE\nid:0\ndestination:/queue/{one}\nack:client-individual\n\n\0")
    peer.send(f"SEND\ndestination:/queue/{one}\n\nx\0")
    name = peer.expect("MESSAGE")["ack"]
    peer.send(f"ACK\nid:{name}\ntransaction:t\n\n\0", send(f"/queue/{two}"))
    assert committed(peer)
    assert stats(groups, two).ready == 1
    assert stats(groups, one).unacked == 0


def test_what_ends_with_its_connection_is_of_no_group(peer: Peer) -> None:
    topic = unique("b")
    peer.send(
        f"SUBSCRIBE\nid:0\ndestination:/topic/{topic}\nack:client-individual\n\n\0",
        "SUBSCRIBE\nid:1\ndestination:/temp-queue/own\n\n\0",
        f"SEND\ndestination:/topic/{topic}\n\nfirst\0",
    )
    name = peer.expect("MESSAGE")["ack"]
    peer.send(
        send(f"/queue/{unique('a')}"),
        send(f"/topic/{topic}"),
        send("/temp-queue/own"),
        f"ACK\nid:{name}\ntransaction:t\n\n\0",
        COMMIT,
    )
    assert sorted(peer.read().command for _ in range(3)) == ["MESSAGE", "MESSAGE", "RECEIPT"]


def durable(peer: Peer, name: str, topic: str) -> None:
    peer.send(
        f"SUBSCRIBE\nid:{name}\ndestination:/topic/{topic}\ndurable:true\nauto-delete:false\n"
        f"ack:client-individual\nreceipt:{name}\n\n\0"
    )
    peer.expect("RECEIPT")


def test_a_topic_is_of_the_groups_of_its_durable_subscriptions(
    groups: RunningBroker, peer: Peer
) -> None:
    topic = unique("t")
    with Peer.open(groups.port) as other:
        durable(other, unique("a"), topic)
        peer.send(send(f"/topic/{topic}"), send(f"/queue/{unique('a')}", "receipt:in"))
        assert peer.expect("RECEIPT")["receipt-id"] == "in"
        durable(other, unique("b"), topic)
        peer.send(COMMIT)
        error = peer.expect_error(CODE, receipt="done")
        assert error["failed-command"] == "COMMIT"
        assert f"/topic/{topic} is in group 1" in error.body.decode()
        # It was aborted as a whole.
        other.sync()


def test_a_topic_with_durable_subscriptions_of_two_groups(
    groups: RunningBroker, peer: Peer
) -> None:
    topic = unique("t")
    with Peer.open(groups.port) as other:
        durable(other, unique("a"), topic)
        durable(other, unique("b"), topic)
        peer.send(send(f"/topic/{topic}"))
        peer.expect_error(CODE)


def test_groups_that_can_write_together_do(
    peer: Peer, groups: RunningBroker, together: Recorder
) -> None:
    one, two = unique("a"), unique("b")
    peer.send(send(f"/queue/{one}"), send(f"/queue/{two}"), send(f"/queue/{one}"))
    assert committed(peer)
    assert together.begun == [[0, 1]]
    assert [stats(groups, name).ready for name in (one, two)] == [2, 1]


def test_one_group_alone_needs_nothing_together(peer: Peer, together: Recorder) -> None:
    peer.send(send(f"/queue/{unique('a')}"))
    assert committed(peer)
    assert together.begun == []


def test_groups_that_cannot_any_more_at_commit(
    peer: Peer, groups: RunningBroker, together: Recorder
) -> None:
    one, two = unique("a"), unique("b")
    peer.send(send(f"/queue/{one}"), send(f"/queue/{two}", "receipt:in"))
    peer.expect("RECEIPT")
    together.reason = "the other one is elsewhere by now"
    peer.send(COMMIT)
    assert "elsewhere by now" in peer.expect_error(CODE, receipt="done").body.decode()
    assert not [row for row in groups.queues() if row.name in (one, two)]
