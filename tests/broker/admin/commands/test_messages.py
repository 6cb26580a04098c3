"""Commands about messages, over real sockets: what they do, and that nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.admin import Code, Observer, fails, observing
from tests.support.wire import fast_config, until

import stompy_broker
from stompy.admin import Kind, moving_fields
from stompy_broker import RunningBroker


def test_peeking_pages_and_changes_nothing(admin: Observer, queue: str) -> None:
    admin.fill(queue, *[f"body {n}" for n in range(5)], kind="a")
    before = admin.row(queue)
    first = admin.ask("message.peek", queue=queue, limit=2)
    assert [m["body"] for m in first["messages"]] == ["body 0", "body 1"]
    assert first["more"]
    last = admin.ask("message.peek", queue=queue, offset=4, limit=2)
    assert [m["body"] for m in last["messages"]] == ["body 4"]
    assert not last["more"]
    (message,) = last["messages"]
    assert message["headers"]["kind"] == "a"
    assert (message["state"], message["deliveries"], message["body_bytes"]) == ("ready", 0, 6)
    after = admin.row(queue)
    moving = moving_fields(Kind.QUEUE)
    assert {k: v for k, v in before.items() if k not in moving} == {
        k: v for k, v in after.items() if k not in moving
    }


def test_bodies_are_cut_and_binary_ones_are_base64(admin: Observer, queue: str) -> None:
    admin.peer.send(
        f"SEND\ndestination:/queue/{queue}\n\n{'ä' * 50}\0",
        f"SEND\ndestination:/queue/{queue}\ncontent-length:3\n\n".encode() + b"\xff\0x\0",
    )
    text, binary = admin.ask("message.peek", queue=queue, max_bytes=5)["messages"]
    assert (text["body"], text["encoding"], text["truncated"]) == ("ää", "utf8", True)
    assert (binary["body"], binary["encoding"], binary["truncated"]) == (
        "/wB4",
        "base64",
        False,
    )
    none = admin.ask("message.peek", queue=queue, body="none")["messages"]
    assert all("body" not in message for message in none)
    whole = admin.ask("message.get", queue=queue, id=text["message_id"])
    assert whole["body"] == "ä" * 50
    fails(Code.NOT_FOUND, admin.ask, "message.get", queue=queue, id="1")


def test_what_is_with_a_consumer_is_shown_with_its_holder(admin: Observer, queue: str) -> None:
    admin.peer.send(f"SUBSCRIBE\nid:1\ndestination:/queue/{queue}\nack:client-individual\n\n\0")
    admin.peer.send(f"SEND\ndestination:/queue/{queue}\n\nx\0")
    admin.peer.expect("MESSAGE")
    own = admin.ask("broker.info")["connection"]
    (message,) = admin.ask("message.peek", queue=queue, state="unacked")["messages"]
    assert (message["body"], message["state"]) == ("x", f"unacked by {own}")
    assert admin.ask("message.get", queue=queue, id=message["message_id"])["body"] == "x"


def test_counting_by_headers(admin: Observer, queue: str) -> None:
    admin.fill(queue, "1", "2", colour="red", weight="a\\cb")
    admin.fill(queue, "3", colour="blue")
    told = admin.ask("message.count", queue=queue, group_by=["colour", "weight"])
    counts = {(g["colour"], g["weight"]): g["count"] for g in told["groups"]}
    assert counts == {("red", "a:b"): 2, ("blue", None): 1}
    assert admin.ask("message.count", queue=queue, headers={"colour": "red"})["count"] == 2
    assert admin.ask("message.count", queue=queue, headers={"weight": None})["count"] == 1


def test_moving_keeps_order_ids_and_headers(admin: Observer, queue: str) -> None:
    admin.fill(queue, *"abc", kind="x")
    before = admin.ask("message.peek", queue=queue)["messages"]
    target = f"{queue}.to"
    assert admin.ask("message.move", queue=queue, to=target, dry_run=True)["matched"] == 3
    assert admin.ask("message.move", queue=queue, to=target, expect=3, limit=3)["moved"] == 3
    after = admin.ask("message.peek", queue=target)["messages"]
    assert [(m["body"], m["message_id"]) for m in after] == [
        (m["body"], m["message_id"]) for m in before
    ]
    assert all(m["headers"]["destination"] == f"/queue/{target}" for m in after)
    row = admin.row(queue)
    assert (row["total"], row["bytes"], row["removed"]) == (0, 0, 3)


def test_some_are_moved_copied_and_deleted_by_id_and_by_header(admin: Observer, queue: str) -> None:
    admin.fill(queue, *"ab", kind="x")
    admin.fill(queue, *"cd", kind="y")
    target = f"{queue}.to"
    ids = [m["message_id"] for m in admin.ask("message.peek", queue=queue)["messages"]]
    assert admin.ask("message.move", queue=queue, to=target, ids=[ids[1], "9"])["moved"] == 1
    admin.ask("message.copy", queue=queue, to=target, headers={"kind": "y"})
    assert admin.bodies(target) == ["b", "c", "d"]
    assert admin.bodies(queue) == ["a", "c", "d"]
    copies = admin.ask("message.peek", queue=target)["messages"]
    assert not {m["message_id"] for m in copies[1:]} & set(ids)
    fails(Code.BAD_REQUEST, admin.ask, "message.delete", queue=queue)
    admin.ask("message.delete", queue=queue, headers={"kind": "y"}, limit=1)
    assert admin.bodies(queue) == ["a", "d"]
    fails(Code.BAD_REQUEST, admin.ask, "message.move", queue=queue, to=queue)
    fails(Code.BAD_REQUEST, admin.ask, "message.move", queue=queue, to="/queue/$SYS.command")


def test_dead_letters_are_grouped_and_tried_again(admin: Observer, queue: str) -> None:
    admin.peer.send(f"SUBSCRIBE\nid:1\ndestination:/queue/{queue}\nack:client-individual\n\n\0")
    admin.peer.send(f"SEND\ndestination:/queue/{queue}\nkind:x\n\npoison\0")
    ack = admin.peer.expect("MESSAGE")["ack"]
    admin.peer.send(f"NACK\nid:{ack}\nrequeue:false\nreason:it is\\c bad\n\n\0")
    dead = f"DLQ.{queue}"
    until(lambda: admin.ask("queue.list", match=dead)["total"] == 1, "the dead letter")
    (group,) = admin.ask("message.count", queue=dead, group_by=["reason", "origin", "error"])[
        "groups"
    ]
    assert (group["reason"], group["origin"], group["error"], group["count"]) == (
        "rejected",
        f"/queue/{queue}",
        "it is: bad",
        1,
    )
    assert admin.row(queue)["dlq"] == dead
    assert admin.row(dead)["dlq_of"] == queue
    fails(Code.CONFLICT, admin.ask, "message.retry", queue=queue)
    assert admin.ask("message.retry", queue=dead)["retried"] == 1
    again = admin.frame("1")
    assert (again.body, again["kind"]) == (b"poison", "x")
    assert "x-last-death-reason" not in again
    assert admin.row(dead)["total"] == 0


def test_a_target_that_is_full_loses_nothing(admin: Observer, queue: str) -> None:
    admin.fill(queue, *"abc")
    target = f"small.{queue}"
    error = fails(Code.CONFLICT, admin.ask, "message.move", queue=queue, to=target, limit=3)
    assert "2 moved" in error.message
    assert "takes no more" in error.message
    assert (admin.bodies(queue), admin.bodies(target)) == (["c"], ["a", "b"])


def test_very_many_are_moved_one_by_one_while_others_are_served(
    broker: RunningBroker, admin: Observer, queue: str
) -> None:
    with observing(broker.port) as other:
        for _ in range(6):
            other.peer.send(f"SEND\ndestination:/queue/{queue}\n\nx\0" * 500)
        other.ask("ping")
    # A topic is asked before each of them.
    assert admin.ask("message.move", queue=queue, to=f"/topic/{queue}")["moved"] == 3000


def test_sending(admin: Observer, queue: str) -> None:
    admin.ask(
        "message.send",
        destination=f"/queue/{queue}",
        headers={"kind": "x", "odd": "a:b\nc"},
        body="AP8=",
        encoding="base64",
        count=2,
    )
    first, second = admin.ask("message.peek", queue=queue)["messages"]
    assert first["body"] == second["body"] == "AP8="
    assert (first["headers"]["kind"], first["headers"]["odd"]) == ("x", "a:b\nc")
    fails(
        Code.BAD_REQUEST,
        admin.ask,
        "message.send",
        destination="/queue/a",
        body="?",
        encoding="base64",
    )
    fails(Code.BAD_REQUEST, admin.ask, "message.send", destination="/topic/$SYS.queues")


def test_decisions_and_moves_outlive_a_restart(tmp_path: Path) -> None:
    config = fast_config(store={"data": str(tmp_path / "data")})
    with stompy_broker.running(config) as broker, observing(broker.port) as admin:
        admin.fill("a", *[f"{n}" for n in range(1200)])
        admin.ask("queue.create", queue="kept")
        admin.ask("queue.pause", queue="a", intake=True)
        assert admin.ask("message.move", queue="a", to="b", limit=1100)["moved"] == 1100
        admin.ask("message.copy", queue="a", to="c", limit=1)
        figures = admin.ask("broker.stats")["store"]
        assert figures["kind"] == "sqlite"
        assert figures["commits"] > 0
        assert figures["bytes"] > 0
    with stompy_broker.running(config) as broker, observing(broker.port) as admin:
        row = admin.row("a")
        assert (row["paused"], row["intake_paused"], row["ready"]) == (True, True, 100)
        assert admin.row("kept")["total"] == 0
        # Their bodies are on disk only, and stay there.
        peeked = admin.ask("message.peek", queue="b", offset=1098, limit=5)["messages"]
        assert [m["body"] for m in peeked] == ["1098", "1099"]
        used = broker._ask(lambda broker: broker._router.memory.used)
        admin.bodies("b")
        assert broker._ask(lambda broker: broker._router.memory.used) == used
        assert admin.ask("message.move", queue="b", to="a", limit=600)["moved"] == 600
        assert admin.ask("queue.purge", queue="b")["purged"] == 500
        assert admin.ask("message.delete", queue="a", limit=50)["deleted"] == 50
    with stompy_broker.running(config) as broker, observing(broker.port) as admin:
        assert admin.row("a")["ready"] == 650
        assert admin.bodies("a")[:2] == ["1150", "1151"]
        assert admin.ask("queue.list", match="b")["total"] == 0
        assert admin.bodies("c") == ["1100"]


def test_who_leaves_midway_loses_nothing(tmp_path: Path) -> None:
    config = fast_config(store={"data": str(tmp_path / "data")})
    with stompy_broker.running(config) as broker, observing(broker.port) as admin:
        admin.fill("a", *[f"{n}" for n in range(5000)])
        with observing(broker.port) as other:
            request = {"cmd": "message.move", "args": {"queue": "a", "to": "b"}}
            other.peer.send(f"SEND\ndestination:/queue/$SYS.command\n\n{json.dumps(request)}\0")
            until(lambda: admin.ask("queue.list", match="b")["total"] == 1, "a batch")
        until(lambda: len(admin.ask("connection.list")["rows"]) == 1, "its end")
        moved, left = admin.row("b")["ready"], admin.row("a")["ready"]
        assert moved + left == 5000
