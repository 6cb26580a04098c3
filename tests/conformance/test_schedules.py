"""What is sent to come later (the manual, *Delay and delivery at a time*)."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.conftest import Connect
from tests.support.wire import Peer, cheap_hash, running_broker, stats, unique, until

from stompy_broker import RunningBroker
from stompy_broker.security.access import Action, Rule

DELAYS = ("x-delay", "AMQ_SCHEDULED_DELAY", "x-opt-delivery-delay")
TIMES = ("x-deliver-at", "AMQ_SCHEDULED_TIME", "_AMQ_SCHED_DELIVERY", "x-opt-delivery-time")
KINDS = ("/queue/", "/topic/")


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def send(peer: Peer, destination: str, body: object, *headers: str) -> None:
    """SEND a message, and be sure that it was taken."""
    lines = "".join(f"{line}\n" for line in headers)
    peer.send(f"SEND\ndestination:{destination}\n{lines}receipt:sent\n\n{body}\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "sent"


def subscribe(peer: Peer, destination: str, *headers: str) -> None:
    """SUBSCRIBE, and be sure that it was done."""
    lines = "".join(f"{line}\n" for line in headers)
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{destination}\n{lines}receipt:subscribed\n\n\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "subscribed"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("header", DELAYS)
def test_a_message_comes_so_much_later(connect: Connect, kind: str, header: str) -> None:
    sender, receiver, destination = connect(), connect(), kind + unique()
    subscribe(receiver, destination)
    before = now()
    send(sender, destination, "later", f"{header}:200", "color:red", "correlation-id:7")
    sent = now()
    send(sender, destination, "now")
    assert receiver.expect("MESSAGE").body == b"now"
    message = receiver.expect("MESSAGE")
    assert now() >= before + 200
    assert message.body == b"later"
    assert (message["color"], message["correlation-id"]) == ("red", "7")
    assert before + 200 <= int(message["scheduled-at"]) <= sent + 200
    assert message["scheduledJobId"] == message["message-id"]
    assert before <= int(message["timestamp"]) <= sent
    assert header not in message
    assert "scheduled-number" not in message
    assert message["redelivered"] == "false"


@pytest.mark.parametrize("header", TIMES)
def test_a_message_comes_at_a_time(connect: Connect, queue: str, header: str) -> None:
    peer = connect()
    due = now() + 200
    send(peer, queue, "x", f"{header}:{due}")
    subscribe(peer, queue)
    message = peer.expect("MESSAGE")
    assert now() >= due
    assert message["scheduled-at"] == str(due)
    assert header not in message


# -- what it means -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        ("x-delay:0",),
        ("x-delay:-1",),
        ("x-deliver-at:1",),
        ("AMQ_SCHEDULED_DELAY:-7", "x-delay:-7"),
    ],
)
def test_what_is_due_already_comes_at_once_as_any_message(
    connect: Connect, queue: str, headers: tuple[str, ...]
) -> None:
    peer = connect()
    send(peer, queue, "a", *headers)
    send(peer, queue, "b")
    subscribe(peer, queue)
    first, second = peer.expect("MESSAGE"), peer.expect("MESSAGE")
    assert (first.body, second.body) == (b"a", b"b")
    names = {name for name, _ in first.headers}
    assert not names & {*DELAYS, *TIMES, "scheduled-at", "scheduledJobId"}


@pytest.mark.parametrize(
    "headers",
    [
        ("x-delay:5", f"x-deliver-at:{2**41}"),
        ("x-delay:5", "AMQ_SCHEDULED_DELAY:6"),
        ("x-delay:soon",),
        ("x-delay:1.5",),
        (f"x-delay:{101 * 366 * 24 * 3_600_000}",),
        ("x-deliver-at:tomorrow",),
    ],
)
def test_what_makes_no_sense_is_refused(
    connect: Connect, queue: str, headers: tuple[str, ...]
) -> None:
    peer = connect()
    lines = "".join(f"{line}\n" for line in headers)
    peer.send(f"SEND\ndestination:{queue}\n{lines}receipt:r\n\nx\0")
    peer.expect_error("bad-header", receipt="r")


@pytest.mark.parametrize("destination", ["/temp-queue/x", "/temp-topic/x", "/reply-queue/x-1"])
def test_what_ends_with_a_connection_takes_nothing_for_later(
    connect: Connect, destination: str
) -> None:
    peer = connect()
    peer.send(f"SEND\ndestination:{destination}\nx-delay:100\n\nx\0")
    assert b"x-delay" in peer.expect_error("not-supported").body


def test_nobody_names_the_queue_that_they_wait_in(connect: Connect, queue: str) -> None:
    hidden = f"/queue/scheduled.{queue}"
    send(connect(), queue, "x", "x-delay:100000")
    for frame in (
        f"SEND\ndestination:{hidden}\n\nx\0",
        f"SUBSCRIBE\nid:0\ndestination:{hidden}\n\n\0",
        f"SUBSCRIBE\nid:0\ndestination:{hidden}\nbrowser:true\n\n\0",
    ):
        peer = connect()
        peer.send(frame)
        peer.expect_error("bad-destination")


@pytest.mark.parametrize("pattern", [">", "scheduled.>", "*.>"])
def test_patterns_of_queues_do_not_find_it(pattern: str) -> None:
    with running_broker() as broker, Peer.open(broker.port) as peer:
        send(peer, "/queue/q", "x", "x-delay:100000")
        peer.send(f"SUBSCRIBE\nid:b\ndestination:/queue/{pattern}\nbrowser:true\n\n\0")
        assert peer.expect("MESSAGE")["browser"] == "end"
        subscribe(peer, f"/queue/{pattern}")
        assert [row.name for row in broker.queues()] == ["q"]


def test_a_topic_has_the_subscribers_that_it_has_when_it_is_due(
    connect: Connect, topic: str
) -> None:
    sender, gone, late = connect(), connect(), connect()
    subscribe(gone, topic)
    send(sender, topic, "x", "x-delay:300")
    gone.send("UNSUBSCRIBE\nid:0\n\n\0")
    gone.sync()
    subscribe(late, topic)
    assert late.expect("MESSAGE").body == b"x"
    gone.sync()


def test_a_durable_subscriber_gets_it_however_late_it_comes_back(
    connect: Connect, topic: str
) -> None:
    name, sender = unique("d"), connect()
    lines = (f"client-id:{name}",)
    durable = (f"durable-subscription-name:{name}", "durable:true")
    first = connect("1.2", *lines)
    subscribe(first, topic, *durable)
    first.close()
    send(sender, topic, "x", "x-delay:50")
    again = connect("1.2", *lines)
    subscribe(again, topic, *durable)
    assert again.expect("MESSAGE").body == b"x"


def test_several_destinations_get_it_together(connect: Connect, queue: str, topic: str) -> None:
    sender, one, other = connect(), connect(), connect()
    subscribe(one, queue)
    subscribe(other, topic)
    send(sender, f"{queue},{topic}", "x", "x-delay:100")
    for peer, destination in ((one, queue), (other, topic)):
        message = peer.expect("MESSAGE")
        assert (message.body, message["destination"]) == (b"x", destination)
        assert "x-delay" not in message


def test_routes_and_virtual_topics_lead_where_they_lead_when_it_is_due(connect: Connect) -> None:
    name = f"VirtualTopic.{unique('v')}"
    sender, late = connect(), connect()
    send(sender, f"/topic/{name}", "x", "x-delay:300")
    subscribe(late, f"/queue/Consumer.A.{name}")
    message = late.expect("MESSAGE")
    assert message.body == b"x"
    assert message["original-destination"] == f"/topic/{name}"
    assert "x-delay" not in message


def test_an_exchange_is_a_destination_like_others(connect: Connect) -> None:
    sender, receiver = connect(), connect()
    destination = f"/exchange/amq.topic/{unique('k')}"
    subscribe(receiver, destination)
    send(sender, destination, "x", "x-delay:50")
    assert receiver.expect("MESSAGE").body == b"x"


def test_priority_counts_from_its_time(connect: Connect, queue: str, broker: RunningBroker) -> None:
    peer = connect()
    send(peer, queue, "high", "x-delay:100", "priority:9")
    send(peer, queue, "plain")
    until(lambda: stats(broker, queue).ready == 2, "it to be due")
    subscribe(peer, queue)
    assert peer.bodies(2) == [b"high", b"plain"]


def test_reply_to_and_arguments_are_read_when_it_is_sent(
    connect: Connect, queue: str, broker: RunningBroker
) -> None:
    asker, server = connect(), connect()
    subscribe(server, queue)
    asker.send("SUBSCRIBE\nid:t\ndestination:/temp-queue/answers\n\n\0")
    send(asker, queue, "?", "x-delay:100", "reply-to:/temp-queue/answers", "x-max-length:7")
    question = server.expect("MESSAGE")
    server.send(f"SEND\ndestination:{question['reply-to']}\n\n!\0")
    assert asker.expect("MESSAGE").body == b"!"


# -- transactions ------------------------------------------------------------------------------


def test_in_a_transaction_it_begins_at_commit(connect: Connect, queue: str) -> None:
    peer, receiver = connect(), connect()
    subscribe(receiver, queue)
    peer.send("BEGIN\ntransaction:t\n\n\0")
    send(peer, queue, "x", "transaction:t", "x-delay:300")
    assert not receiver.hears(0.5)
    before = now()
    peer.send("COMMIT\ntransaction:t\nreceipt:c\n\n\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "c"
    message = receiver.expect("MESSAGE")
    assert now() >= before + 300
    assert int(message["scheduled-at"]) >= before + 300


def test_an_aborted_one_never_comes(connect: Connect, queue: str, broker: RunningBroker) -> None:
    peer = connect()
    peer.send("BEGIN\ntransaction:t\n\n\0")
    send(peer, queue, "x", "transaction:t", "x-delay:0")
    send(peer, queue, "x", "transaction:t", "x-delay:50")
    peer.send("ABORT\ntransaction:t\nreceipt:a\n\n\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "a"
    send(peer, queue, "end", "x-delay:100")
    subscribe(peer, queue)
    assert peer.expect("MESSAGE").body == b"end"


def test_what_makes_no_sense_is_refused_when_it_is_sent(connect: Connect, queue: str) -> None:
    peer = connect()
    peer.send("BEGIN\ntransaction:t\n\n\0")
    peer.send(f"SEND\ndestination:{queue}\ntransaction:t\nx-delay:x\n\n\0")
    peer.expect_error("bad-header")


# -- restarts, rights, policies ----------------------------------------------------------------


def test_it_survives_a_restart_unless_it_does_not_persist(tmp_path: Path) -> None:
    store = {"data": str(tmp_path / "data")}
    with running_broker(store=store) as broker, Peer.open(broker.port) as peer:
        due = now() + 500
        send(peer, "/queue/q", "kept", f"x-deliver-at:{due}", "color:red")
        send(peer, "/queue/q", "far", "x-delay:100000000")
        send(peer, "/queue/q", "lost", "x-delay:500", "persistent:false")
        assert [row.messages_scheduled for row in broker.snapshot("broker")] == [3]
    with running_broker(store=store) as broker, Peer.open(broker.port) as peer:
        assert [row.name for row in broker.queues()] == ["q"]
        subscribe(peer, "/queue/q")
        message = peer.expect("MESSAGE")
        assert now() >= due
        assert (message.body, message["color"], message["redelivered"]) == (b"kept", "red", "false")
        peer.sync()
    with running_broker(store=store) as broker, Peer.open(broker.port) as peer:
        subscribe(peer, "/queue/q")
        peer.sync()
        peer.send(
            "SUBSCRIBE\nid:b\ndestination:/queue/q\nbrowser:true\nbrowser-state:scheduled\n\n\0"
        )
        assert peer.expect("MESSAGE").body == b"far"


def test_a_policy_may_deny_it() -> None:
    policies = [{"match": "/queue/strict.>", "schedule": "deny"}]
    with running_broker(policy=policies) as broker:
        for destination in ("/queue/strict.a", "/queue/strict.a,/queue/b"):
            with Peer.open(broker.port) as peer:
                peer.send(f"SEND\ndestination:{destination}\nAMQ_SCHEDULED_DELAY:9\n\nx\0")
                error = peer.expect_error("not-supported")
                assert b"AMQ_SCHEDULED_DELAY" in error.body
                assert b'schedule = "deny"' in error.body
        with Peer.open(broker.port) as peer:
            send(peer, "/queue/b", "x", "x-delay:9")


def test_rights_are_looked_at_when_it_is_sent() -> None:
    users = {"ann": cheap_hash("a")}
    acl = (
        Rule(user="ann", match="/queue/mine", actions=(Action.SEND, Action.CREATE)),
        Rule(access="deny"),
    )
    with running_broker(users=users, acl=acl) as broker:
        for destination in ("/queue/mine", "/queue/other"):
            with Peer.open(broker.port, "1.2", "login:ann", "passcode:a") as peer:
                peer.send(f"SEND\ndestination:{destination}\nx-delay:100\nreceipt:r\n\nx\0")
                if destination == "/queue/mine":
                    peer.expect("RECEIPT")
                else:
                    peer.expect_error("access-refused", receipt="r")


# -- rows and commands -------------------------------------------------------------------------


def test_rows_count_what_is_to_come() -> None:
    with running_broker() as broker, Peer.open(broker.port) as peer:
        for destination in ("/queue/a", "/queue/a", "/topic/t", "/queue/a,/queue/b"):
            send(peer, destination, "x", "x-delay:100000")
        rows = {row.name: row for row in broker.snapshot("queues")}
        assert {name: row.scheduled for name, row in rows.items()} == {"a": 3, "b": 1}
        assert {row.total for row in rows.values()} == {0}
        assert [(row.name, row.scheduled) for row in broker.snapshot("topics")] == [("t", 1)]
        assert [row.messages_scheduled for row in broker.snapshot("broker")] == [4]
        assert [row.queues for row in broker.snapshot("broker")] == [2]


def test_the_count_follows(connect: Connect, queue: str, broker: RunningBroker) -> None:
    def scheduled() -> int:
        return next(row.scheduled for row in broker.snapshot("queues") if row.destination == queue)

    peer = connect()
    send(peer, queue, "x", "x-delay:300")
    assert scheduled() == 1
    until(lambda: scheduled() == 0, "it to come")


def ask(peer: Peer, **request: object) -> dict[str, Any]:
    """Have the broker carry out a command."""
    headers = "destination:/queue/$SYS.command\nreply-to:/temp-queue/answers"
    peer.send(f"SEND\n{headers}\n\n{json.dumps(request)}\0")
    answer: dict[str, Any] = json.loads(peer.expect("MESSAGE").body)
    return answer


def fill(peer: Peer) -> None:
    """Have one message wait, and two be to come."""
    peer.send("SUBSCRIBE\nid:answers\ndestination:/temp-queue/answers\n\n\0")
    send(peer, "/queue/q", "now", "color:red")
    send(peer, "/queue/q", "red", "color:red", "x-delay:100000")
    send(peer, "/queue/q", "blue", "color:blue", "x-delay:100000")


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        ({}, (0, 0)),
        ({"state": "waiting"}, (0, 2)),
        ({"state": "scheduled"}, (1, 0)),
        ({"state": "scheduled", "selector": "color = 'red'"}, (1, 1)),
        ({"selector": "color = 'red'"}, (0, 1)),
    ],
)
def test_a_queue_is_purged_of_what_is_to_come_unless_somebody_says_otherwise(
    arguments: dict[str, str], left: tuple[int, int]
) -> None:
    with running_broker() as broker, Peer.open(broker.port) as peer:
        fill(peer)
        rehearsal = ask(peer, cmd="queue.purge", args={"queue": "q", **arguments}, dry_run=True)
        answer = ask(peer, cmd="queue.purge", args={"queue": "q", **arguments})
        assert answer["result"]["purged"] == rehearsal["result"]["matched"] == 3 - sum(left)
        (row,) = broker.snapshot("queues")
        assert (row.ready, row.scheduled) == left


def test_a_queue_that_is_deleted_takes_it_along() -> None:
    with running_broker() as broker, Peer.open(broker.port) as peer:
        fill(peer)
        refused = ask(peer, cmd="queue.delete", args={"queue": "q", "if_empty": True})
        assert refused["error"]["code"] == "conflict"
        assert ask(peer, cmd="queue.delete", args={"queue": "q"})["result"]["messages"] == 3
        assert [row.messages_scheduled for row in broker.snapshot("broker")] == [0]
