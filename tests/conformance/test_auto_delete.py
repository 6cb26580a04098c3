"""Queues that end with those who consume from them (the manual, *Queues that end with their last
consumer*, and *For one connection alone*).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.process import BrokerProcess
from tests.support.wire import Peer, running_broker, stats, unique, until

import stompy
from stompy_broker import RunningBroker
from stompy_broker.destinations.policy import Policy
from stompy_broker.routing.interface import Queue


@pytest.fixture
def broker() -> Iterator[RunningBroker]:
    with running_broker() as broker:
        yield broker


@pytest.fixture
def name() -> str:
    return unique()


def subscribe(peer: Peer, name: str, headers: str = "", id: str = "0") -> None:
    peer.send(f"SUBSCRIBE\nid:{id}\ndestination:/queue/{name}\n{headers}receipt:s-{id}\n\n\0")


def subscribed(peer: Peer, name: str, headers: str = "", id: str = "0") -> None:
    subscribe(peer, name, headers, id)
    assert peer.expect("RECEIPT")["receipt-id"] == f"s-{id}"


def send(peer: Peer, name: str, body: str, headers: str = "") -> None:
    peer.send(f"SEND\ndestination:/queue/{name}\n{headers}receipt:r\n\n{body}\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "r"


def names(broker: RunningBroker) -> set[str]:
    return {row.name for row in broker.queues()}


def events(broker: RunningBroker, kind: str) -> list[dict[str, object]]:
    return broker._ask(  # type: ignore[no-any-return]
        lambda broker: [
            dict(event.detail or {}) for event in broker._router.events.recent if event.type == kind
        ]
    )


def test_it_ends_with_its_last_consumer_and_what_is_in_it(broker: RunningBroker, name: str) -> None:
    with Peer.open(broker.port) as one, Peer.open(broker.port) as other:
        subscribed(one, name, "auto-delete:true\nack:client-individual\nprefetch-count:1\n")
        subscribed(other, name)
        other.send("UNSUBSCRIBE\nid:0\n\n\0")
        send(other, name, "a")
        send(other, name, "b")
        assert one.expect("MESSAGE").body == b"a"
        assert stats(broker, name).ready == 1
        one.send("UNSUBSCRIBE\nid:0\nreceipt:u\n\n\0")
        assert one.expect("RECEIPT")["receipt-id"] == "u"
        assert name not in names(broker)
    assert events(broker, "queue.deleted") == [{"messages": 2}]


def test_an_operator_who_ends_the_last_subscription_ends_it(
    broker: RunningBroker, name: str
) -> None:
    with Peer.open(broker.port) as peer, stompy.connect(broker.url) as client:
        subscribed(peer, name, "auto-delete:true\n")
        (row,) = [one for one in broker.snapshot("subscriptions") if one.destination.endswith(name)]
        request = json.dumps({"cmd": "subscription.close", "args": {"id": row.id}})
        assert client.request("/queue/$SYS.command", request).json["result"]["closed"] == 1
        until(lambda: name not in names(broker), "the queue to go")


@pytest.mark.parametrize("ending", ["close", "reset", "disconnect"])
def test_it_ends_with_the_connection(broker: RunningBroker, name: str, ending: str) -> None:
    with Peer.open(broker.port) as peer:
        subscribed(peer, name, "auto-delete:true\n")
        assert name in names(broker)
        if ending == "disconnect":
            peer.send("DISCONNECT\nreceipt:d\n\n\0")
            assert peer.expect("RECEIPT")["receipt-id"] == "d"
        elif ending == "reset":
            peer.reset()
        else:
            peer.close()
        until(lambda: name not in names(broker), "the queue to go")


def test_the_send_that_makes_it_may_say_so(broker: RunningBroker, name: str) -> None:
    with Peer.open(broker.port) as peer:
        send(peer, name, "a", "auto-delete:true\n")
        assert stats(broker, name).ready == 1
        subscribed(peer, name)
        message = peer.expect("MESSAGE")
        assert message.body == b"a"
        assert "auto-delete" not in message
        peer.send("UNSUBSCRIBE\nid:0\n\n\0")
        peer.sync()
        assert name not in names(broker)


def test_it_waits_for_its_first_consumer_as_long_as_a_queue_may_be_idle(name: str) -> None:
    with running_broker(times={"idle_queue": 0.6}) as broker, Peer.open(broker.port) as peer:
        send(peer, name, "a", "auto-delete:true\n")
        send(peer, "stays", "b")
        until(lambda: name not in names(broker), "the queue to go with its message")
        assert stats(broker, "stays").ready == 1
        assert events(broker, "queue.deleted") == [{"messages": 1}]


def test_made_again_by_who_knows_nothing_it_is_what_it_was(name: str) -> None:
    with running_broker(times={"idle_queue": 0.6}) as broker, Peer.open(broker.port) as peer:
        subscribed(peer, name, "auto-delete:true\n")
        peer.send("UNSUBSCRIBE\nid:0\n\n\0")
        peer.sync()
        send(peer, name, "late")
        assert stats(broker, name).ready == 1
        until(lambda: name not in names(broker), "the queue to go once more")
        send(peer, name, "later")
        subscribed(peer, name)
        assert peer.expect("MESSAGE").body == b"later"
        peer.send("UNSUBSCRIBE\nid:0\n\n\0")
        peer.sync()
        assert name not in names(broker)


def test_who_subscribes_anew_without_the_header_has_a_queue_that_stays(
    broker: RunningBroker, name: str
) -> None:
    with Peer.open(broker.port) as peer:
        subscribed(peer, name, "auto-delete:true\n")
        peer.send("UNSUBSCRIBE\nid:0\n\n\0")
        subscribed(peer, name)
        peer.send("UNSUBSCRIBE\nid:0\n\n\0")
        peer.sync()
        assert name in names(broker)


def test_a_policy_says_it_for_a_pattern() -> None:
    policy = Policy(match="/queue/*-user*", auto_delete=True)
    with running_broker(policy=[policy]) as broker, Peer.open(broker.port) as peer:
        for name in ("reply-userab12", "users-reply"):
            subscribed(peer, name, id=name)
            peer.send(f"UNSUBSCRIBE\nid:{name}\n\n\0")
        peer.sync()
        assert names(broker) == {"users-reply"}


def test_who_says_false_has_a_queue_that_stays_whatever_the_policy_says(name: str) -> None:
    policy = Policy(match="/queue/>", auto_delete=True)
    with running_broker(policy=[policy]) as broker, Peer.open(broker.port) as peer:
        subscribed(peer, name, "auto-delete:false\n")
        peer.send("UNSUBSCRIBE\nid:0\n\n\0")
        peer.sync()
        assert name in names(broker)


def test_what_a_later_frame_says_is_told_and_not_done(broker: RunningBroker, name: str) -> None:
    with Peer.open(broker.port) as peer:
        send(peer, name, "a", "durable:true\n")
        for _ in range(2):
            subscribed(peer, name, "auto-delete:true\n")
            peer.expect("MESSAGE") if _ == 0 else None
            peer.send("UNSUBSCRIBE\nid:0\n\n\0")
        peer.sync()
        assert name in names(broker)
    assert events(broker, "queue.argument_ignored") == [{"auto-delete": "true"}]


def test_strictly_it_is_an_error(name: str) -> None:
    with running_broker(compat={"strict_arguments": True}) as broker, Peer.open(broker.port) as one:
        send(one, name, "a")
        with Peer.open(broker.port) as other:
            subscribe(other, name, "auto-delete:true\n")
            assert b"auto-delete" in other.expect_error("bad-header", "s-0").body
        subscribed(one, name, "auto-delete:false\ndurable:true\n")


def test_a_value_that_is_neither_is_an_error(broker: RunningBroker, name: str) -> None:
    with Peer.open(broker.port) as peer:
        subscribe(peer, name, "auto-delete:perhaps\n")
        assert b"auto-delete" in peer.expect_error("bad-header", "s-0").body


# -- for one connection alone ----------------------------------------------------------------


def test_nobody_else_may_subscribe(broker: RunningBroker, name: str) -> None:
    with Peer.open(broker.port) as owner, Peer.open(broker.port) as sender:
        subscribed(owner, name, "exclusive:true\n")
        for headers in ("", "exclusive:true\n"):
            with Peer.open(broker.port) as other:
                subscribe(other, name, headers)
                other.expect_error("access-refused", "s-0")
        send(sender, name, "a")
        assert owner.expect("MESSAGE").body == b"a"
        subscribed(owner, name, id="1")  # its connection may, as often as it likes
        owner.sync()


def test_it_cannot_be_had_while_others_consume(broker: RunningBroker, name: str) -> None:
    with Peer.open(broker.port) as other, Peer.open(broker.port) as owner:
        subscribed(other, name)
        subscribe(owner, name, "exclusive:true\n")
        owner.expect_error("access-refused", "s-0")


def test_it_ends_with_the_connection_and_not_before(broker: RunningBroker, name: str) -> None:
    with Peer.open(broker.port) as owner, Peer.open(broker.port) as sender:
        subscribed(owner, name, "exclusive:true\n")
        owner.send("UNSUBSCRIBE\nid:0\n\n\0")
        owner.sync()
        send(sender, name, "a")
        subscribed(owner, name)
        assert owner.expect("MESSAGE").body == b"a"
        with Peer.open(broker.port) as other:
            subscribe(other, name)
            other.expect_error("access-refused", "s-0")
        owner.send("DISCONNECT\n\n\0")
        owner.expect_eof()
        until(lambda: name not in names(broker), "the queue to go")
        send(sender, name, "for nobody")
        until(lambda: name not in names(broker), "what came too late to go")
        assert events(broker, "queue.deleted") == [{"messages": 0}, {"messages": 1}]
        subscribed(sender, name)
        sender.sync()


def test_a_crash_ends_what_was_for_one_connection_and_nothing_else(tmp_path: Path) -> None:
    settings = '[[policy]]\nmatch = "/queue/policy"\nauto_delete = true\n'
    with BrokerProcess(tmp_path / "data", settings) as broker, Peer.open(broker.port) as peer:
        subscribed(peer, "alone", "exclusive:true\nack:client\n")
        send(peer, "ending", "a", "auto-delete:true\n")
        send(peer, "policy", "b")
        peer.send("SEND\ndestination:/queue/alone\n\nc\0")
        assert peer.expect("MESSAGE").body == b"c"
        peer.sync()
        broker.kill()
    with BrokerProcess(tmp_path / "data", settings) as broker, Peer.open(broker.port) as peer:
        for queue, body in (("ending", b"a"), ("policy", b"b")):
            subscribed(peer, queue, id=queue)
            assert peer.expect("MESSAGE").body == body
            peer.send(f"UNSUBSCRIBE\nid:{queue}\nreceipt:u\n\n\0")
            assert peer.expect("RECEIPT")["receipt-id"] == "u"
        subscribed(peer, "alone")
        peer.sync()  # and nothing comes
        broker.kill()
    with BrokerProcess(tmp_path / "data", settings) as broker, Peer.open(broker.port) as peer:
        for queue in ("ending", "policy"):
            subscribed(peer, queue, id=queue)
        peer.sync()


# -- Spring's browsers -----------------------------------------------------------------------


def test_five_hundred_sessions_leave_nothing() -> None:
    """As Spring's relay does: a queue for each, and messages that come too late."""
    policy = Policy(match="/queue/*-user*", auto_delete=True, expires=0.5)
    with running_broker(policy=[policy]) as broker, Peer.open(broker.port) as server:
        browsers = [Peer.open(broker.port, "1.1") for _ in range(500)]
        try:
            for number, browser in enumerate(browsers):
                subscribed(browser, f"reply-user{number:08x}")
        finally:
            for browser in browsers:
                browser.close()
        for number in range(500):
            server.send(f"SEND\ndestination:/queue/reply-user{number:08x}\n\nlate\0")
        server.sync()
        until(lambda: not names(broker), "all of the queues to go")


def queue_of(broker: RunningBroker, name: str) -> Queue:
    return broker._ask(lambda broker: broker._router.queues[name])  # type: ignore[no-any-return]


def test_its_messages_need_not_be_on_disk(broker: RunningBroker, name: str) -> None:
    with Peer.open(broker.port) as peer:
        send(peer, name, "a", "durable:false\n")
        assert not queue_of(broker, name).policy.persistent
