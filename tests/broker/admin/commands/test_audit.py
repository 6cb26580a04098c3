"""The trace that commands leave, over real sockets."""

from __future__ import annotations

import pytest
from tests.support.admin import Code, Observer, fails, observing
from tests.support.wire import Peer, cheap_hash, running_broker

from stompy_broker import RunningBroker
from stompy_broker.events import EVENTS, KEPT


def test_commands_leave_a_trace(admin: Observer, queue: str) -> None:
    admin.ask("queue.create", queue=queue)
    fails(Code.CONFLICT, admin.ask, "queue.create", queue=queue)
    watch = admin.subscribe("event.admin.*")
    told = [admin.page(watch).rows[0]]
    while told[-1].reason == "" or told[-1].detail["args"].get("queue") != queue:
        told.append(admin.page(watch).rows[0])
    done, refused = told[-2:]
    assert done.replayed
    assert done.detail["cmd"] == "queue.create"
    assert done.detail["ok"]
    assert refused.detail["code"] == "conflict"
    assert refused.user == "anonymous"


def test_who_only_looks_leaves_none(admin: Observer, queue: str) -> None:
    watch = admin.subscribe("event.admin.*")
    admin.fill(queue, "x")
    for cmd in ("message.count", "message.peek", "queue.get"):
        admin.ask(cmd, queue=queue)
    fails(Code.BAD_REQUEST, admin.ask, "message.peek", queue=queue, limit="x")
    about = lambda page: page.rows[0].destination == f"/queue/{queue}"  # noqa: E731
    event = admin.page_with(watch, about).rows[0]
    assert (event.detail["cmd"], event.detail["code"]) == ("message.peek", "bad_request")


def test_the_log_says_who_did_what(
    admin: Observer, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "stompy_broker.admin")
    admin.fill(queue, "a", "b")
    admin.ask("message.move", queue=queue, to=f"{queue}.to", limit=1)
    admin.ask("queue.purge", queue=queue, expect=1)
    fails(Code.NOT_FOUND, admin.ask, "queue.purge", queue="nowhere")
    fails(Code.UNKNOWN_COMMAND, admin.ask, "x\nforged: line", **{"a\nb": "c\nd"})
    admin.ask("message.send", destination=f"/queue/{queue}", body="s3cret", count=2)
    lines = [line.partition(": ")[2] for line in caplog.messages]
    who = "user 'anonymous' (c-"
    assert all(line.startswith(who) and "\n" not in line for line in lines)
    told = [line.partition("): ")[2] for line in lines]
    assert f'command queue.purge queue="{queue}": done, 1 matched' in told[1]
    assert told[1].endswith("1 purged")
    assert told[2] == "command queue.purge queue=\"nowhere\": there is no queue 'nowhere'"
    assert told[3].startswith("command 'x\\nforged: line' 'a\\nb'=\"c\\nd\": ")
    assert "s3cret" not in caplog.text


def test_everything_that_is_told_is_in_the_list(broker: RunningBroker) -> None:
    told = broker._ask(lambda broker: {e.type for e in broker._router.events.recent})
    assert told
    assert told <= EVENTS.keys()


def test_bodies_are_not_in_the_trace(admin: Observer, queue: str) -> None:
    admin.ask("message.send", destination=f"/queue/{queue}", body="s3cret")
    frame = admin.frame(admin.subscribe("event.admin.*"))
    while queue.encode() not in frame.body:
        frame = admin.frame(frame["subscription"])
    assert b"s3cret" not in frame.body


def test_life_is_told_and_single_messages_only_when_asked_for(admin: Observer, queue: str) -> None:
    life = admin.subscribe("event.>")
    admin.ask("ping")
    admin.peer.send(f"SUBSCRIBE\nid:1\ndestination:/queue/{queue}\nack:client-individual\n\n\0")
    about = lambda kind: admin.page_with(  # noqa: E731
        life,
        lambda page: (page.rows[0].type, page.rows[0].destination) == (kind, f"/queue/{queue}"),
    )
    about("queue.created")
    about("subscription.created")
    details = admin.subscribe("event.message.*")
    admin.peer.send(f"SEND\ndestination:/queue/{queue}\n\nx\0")
    frame = admin.peer.read()
    while "ack" not in frame:
        frame = admin.peer.read()
    admin.peer.send(f"NACK\nid:{frame['ack']}\nrequeue:false\n\n\0")
    (event,) = admin.page(details).rows
    assert (event.type, event.destination) == ("message.dead_lettered", f"/queue/{queue}")
    assert event.message_id == frame["message-id"]


def test_noise_of_others_does_not_push_out_what_operators_did() -> None:
    """Not by commands that are forbidden, nor by subscriptions, refusals, queues or logins."""
    rules = [{"match": "/queue/secret", "access": "deny"}]
    sections = {
        "users": {name: cheap_hash(name[0]) for name in ("op", "eve", "mallory")},
        "roles": {"admin": ["op"]},
        "acl": rules,
    }
    with (
        running_broker(**sections) as broker,
        observing(broker.port, "login:op", "passcode:o") as op,
    ):
        op.fill("audited", "x")
        op.ask("queue.purge", queue="audited")
        with observing(broker.port, "login:eve", "passcode:e") as eve:
            for number in range(KEPT + 10):
                eve.peer.send(
                    f"SUBSCRIBE\nid:{number}\ndestination:/queue/q{number}\n\n\0"
                    f"UNSUBSCRIBE\nid:{number}\n\n\0"
                )
                fails(Code.FORBIDDEN, eve.ask, "queue.purge", queue="audited")
        watch = op.subscribe("event.>")
        done = op.page_with(watch, lambda page: page.rows[0].type == "admin.command").rows[0]
        assert done.replayed
        assert (done.user, done.destination) == ("op", "/queue/audited")
        assert done.detail["result"]["purged"] == 1
        with Peer.open(broker.port, "1.2", "login:mallory", "passcode:m") as mallory:
            mallory.send("SUBSCRIBE\nid:1\ndestination:/queue/secret\n\n\0")
            mallory.expect_error("access-refused")
        denials = op.subscribe("event.auth.denied")
        row = op.page_with(denials, lambda page: page.rows[0].user == "mallory").rows[0]
        assert row.destination == "/queue/secret"
        assert "may not receive" in row.reason
