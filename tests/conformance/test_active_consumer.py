"""Consumers of several priorities, and one that gets everything.

The manual: *Priorities of consumers*, *One active consumer*.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.conformance.conftest import Connect
from tests.support.admin import observing
from tests.support.wire import Frame, Peer, running_broker, unique

from stompy_broker import RunningBroker
from stompy_broker.destinations.policy import Policy

ALONE = "x-single-active-consumer:true"


@pytest.fixture(scope="module")
def ruled() -> Iterator[RunningBroker]:
    policies = [
        Policy(match="/queue/one.*", single_active=True, single_active_handover=0.05),
        Policy(match="/topic/one.*", single_active=True),
        Policy(match="/queue/quick.*", single_active_handover=0.05, max_deliveries=1),
    ]
    with running_broker(policy=policies) as broker:
        yield broker


def subscribe(
    peer: Peer, destination: str, *lines: str, identity: str = "0", mode: str = "client-individual"
) -> Frame:
    more = "".join(f"{line}\n" for line in lines)
    peer.send(
        f"SUBSCRIBE\nid:{identity}\ndestination:{destination}\nack:{mode}\nreceipt:s\n{more}\n\0"
    )
    return peer.expect("RECEIPT")


def fill(peer: Peer, destination: str, *bodies: str) -> None:
    for body in bodies:
        peer.send(f"SEND\ndestination:{destination}\n\n{body}\0")
    peer.sync()


def ack(peer: Peer, message: Frame) -> None:
    key = "id" if "ack" in message else "message-id"
    peer.send(f"ACK\n{key}:{message.get('ack') or message['message-id']}\nsubscription:0\n\n\0")


# -- priorities --------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["x-priority", "activemq.priority"])
def test_who_has_credit_and_the_highest_priority_gets_it(
    connect: Connect, queue: str, header: str
) -> None:
    sender, low, high = connect(), connect(), connect()
    assert "active" not in subscribe(low, queue, f"{header}:-5")
    assert "active" not in subscribe(high, queue, f"{header}:7", "prefetch-count:2")
    fill(sender, queue, "a", "b", "c")
    first, second = high.expect("MESSAGE"), high.expect("MESSAGE")
    assert low.expect("MESSAGE").body == b"c"
    ack(high, second)
    high.sync()
    fill(sender, queue, "d")
    assert (first.body, high.expect("MESSAGE").body) == (b"a", b"d")


@pytest.mark.parametrize("value", ["1.5", "high", "2147483648", "-2147483649", "--1", "-"])
def test_a_priority_is_a_whole_number_of_32_bits(connect: Connect, queue: str, value: str) -> None:
    peer = connect()
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\nreceipt:s\nx-priority:{value}\n\n\0")
    peer.expect_error("bad-header", "s")


def test_two_words_for_one_thing_agree(connect: Connect, queue: str) -> None:
    peer = connect()
    lines = "x-priority:1\nactivemq.priority:2\n"
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\nreceipt:s\n{lines}\n\0")
    peer.expect_error("bad-header", "s")


@pytest.mark.parametrize("line", ["x-priority:1", ALONE, "activemq.exclusive:true"])
@pytest.mark.parametrize("more", ["", "browser:true\n"])
def test_where_there_are_no_others_it_is_refused_by_name(
    connect: Connect, queue: str, topic: str, line: str, more: str
) -> None:
    peer = connect()
    where = queue if more else topic
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{where}\nreceipt:s\n{line}\n{more}\n\0")
    assert line.split(":", maxsplit=1)[0] in peer.expect_error("not-supported", "s").body.decode()


# -- one active consumer -----------------------------------------------------------------------


@pytest.mark.parametrize("header", ["x-single-active-consumer", "activemq.exclusive"])
def test_one_gets_everything_until_it_goes(connect: Connect, queue: str, header: str) -> None:
    sender, plain, first, second = (connect() for _ in range(4))
    assert "active" not in subscribe(plain, queue)
    assert subscribe(first, queue, f"{header}:true")["active"] == "true"
    assert subscribe(second, queue, f"{header}:true")["active"] == "false"
    fill(sender, queue, "a", "b", "c")
    assert first.bodies(2) == [b"a", b"b"]
    first.reset()
    held = [second.expect("MESSAGE") for _ in range(3)]
    assert [one.body for one in held] == [b"a", b"b", b"c"]
    assert [one["redelivered"] for one in held[:2]] == ["true", "true"]
    second.send("UNSUBSCRIBE\nid:0\nreceipt:u\n\n\0")
    second.expect("RECEIPT")
    assert sorted(plain.bodies(3)) == [b"a", b"b", b"c"]


def test_a_plain_consumer_learns_that_another_one_gets_everything(
    connect: Connect, queue: str
) -> None:
    alone, plain = connect(), connect()
    subscribe(alone, queue, ALONE)
    assert subscribe(plain, queue)["active"] == "false"


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_a_better_one_gets_what_is_not_settled_in_time(ruled: RunningBroker, version: str) -> None:
    queue = f"/queue/quick.v{version[-1]}"
    with (
        Peer.open(ruled.port, version) as old,
        Peer.open(ruled.port) as new,
        Peer.open(ruled.port) as sender,
    ):
        subscribe(old, queue, ALONE, mode="client")
        fill(sender, queue, "a", "b")
        held = [old.expect("MESSAGE") for _ in range(2)]
        assert subscribe(new, queue, ALONE, "x-priority:1")["active"] == "false"
        taken = [new.expect("MESSAGE") for _ in range(2)]
        assert [one.body for one in taken] == [b"a", b"b"]
        ack(old, held[1])  # too late, which is no error
        old.sync()
        for one in taken:
            ack(new, one)
        fill(sender, queue, "c")
        assert new.expect("MESSAGE").body == b"c"


def test_a_better_one_waits_for_what_is_settled_in_time(connect: Connect, queue: str) -> None:
    sender, old, new = connect(), connect(), connect()
    subscribe(old, queue, ALONE)
    fill(sender, queue, "a")
    held = old.expect("MESSAGE")
    assert subscribe(new, queue, ALONE, "x-priority:1")["active"] == "false"
    fill(sender, queue, "b")
    ack(old, held)
    assert new.expect("MESSAGE").body == b"b"


def test_a_transaction_keeps_what_it_has(ruled: RunningBroker) -> None:
    queue = "/queue/quick.transaction"
    with Peer.open(ruled.port) as old, Peer.open(ruled.port) as new:
        subscribe(old, queue, ALONE)
        fill(new, queue, "a")
        held = old.expect("MESSAGE")
        old.send("BEGIN\ntransaction:t\n\n\0", f"ACK\nid:{held['ack']}\ntransaction:t\n\n\0")
        old.sync()
        subscribe(new, queue, ALONE, "x-priority:1")
        old.send("COMMIT\ntransaction:t\nreceipt:c\n\n\0")
        old.expect("RECEIPT")
        fill(old, queue, "b")
        assert new.expect("MESSAGE").body == b"b"


def test_the_policy_says_it_for_everybody(ruled: RunningBroker) -> None:
    with Peer.open(ruled.port) as first, Peer.open(ruled.port) as second:
        assert subscribe(first, "/queue/one.q")["active"] == "true"
        assert subscribe(second, "/queue/one.q")["active"] == "false"
        assert subscribe(second, "/queue/one.q", "x-priority:1", identity="1")["active"] == "true"


def test_subscribers_of_a_share_and_of_a_named_queue(ruled: RunningBroker) -> None:
    with Peer.open(ruled.port) as first, Peer.open(ruled.port) as second:
        for lines in (["share:g"], ["share:g", "durable:true"], ["x-queue-name:one.n"]):
            for peer, active in ((first, "true"), (second, "false")):
                receipt = subscribe(peer, "/topic/shared.t", ALONE, *lines)
                assert receipt["active"] == active
            fill(second, "/topic/shared.t", "a", "b")
            for _ in range(2):
                ack(first, first.expect("MESSAGE"))
            for peer in (first, second):
                peer.send("UNSUBSCRIBE\nid:0\nreceipt:u\n\n\0")
                peer.expect("RECEIPT")
            second.sync()


def test_a_policy_for_topics_concerns_those_who_share(ruled: RunningBroker) -> None:
    with Peer.open(ruled.port) as first, Peer.open(ruled.port) as second:
        assert "active" not in subscribe(first, "/topic/one.t", mode="auto")
        assert subscribe(first, "/topic/one.t", "share:g", identity="1")["active"] == "true"
        assert subscribe(second, "/topic/one.t", "share:g")["active"] == "false"


def test_of_several_queues_each_has_its_active_one(connect: Connect, queue: str) -> None:
    sender, first, second = connect(), connect(), connect()
    assert subscribe(first, f"{queue}.a,{queue}.b", ALONE)["active"] == "true"
    assert subscribe(second, f"{queue}.*", ALONE)["active"] == "false"
    fill(sender, f"{queue}.a", "a")
    fill(sender, f"{queue}.b", "b")
    fill(sender, f"{queue}.c", "c")
    assert first.bodies(2) == [b"a", b"b"]
    assert second.bodies(1) == [b"c"]


# -- what is shown of it -----------------------------------------------------------------------


def test_rows_and_events_tell_who_is_active(broker: RunningBroker, connect: Connect) -> None:
    name = unique()
    queue = f"/queue/{name}"
    first, second = connect(), connect()
    with observing(broker.port) as admin:
        events = admin.subscribe("event.subscription.activated")
        subscribe(first, queue, ALONE, "x-priority:-1")
        subscribe(second, queue)
        event = {"destination": ""}
        while event["destination"] != queue:  # those of other tests are told as well
            event = json.loads(admin.frame(events).body)["data"]
        rows = {
            row["priority"]: row
            for row in admin.ask("subscription.list")["rows"]
            if row["destination"] == queue
        }
        assert (rows[-1]["single_active"], rows[-1]["active"]) == (True, True)
        assert (rows[0]["single_active"], rows[0]["active"]) == (False, False)
        assert (event["destination"], event["subscription"]) == (queue, rows[-1]["id"])
        (told,) = admin.ask("route.explain", destination=queue)["recipients"]
        active = rows[-1]["id"]
        assert told["why"] == [f"single active consumer: {active} gets everything"]
        assert told["next"] == [active]
        why = {one["name"]: one["why"] for one in told["consumers"]}
        assert why[active] == ["priority -1"]
        assert why[rows[0]["id"]] == ["stands by: one consumer at a time gets everything"]
