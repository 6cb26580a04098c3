"""Commands over real sockets: what they do, what they refuse, and that they harm nobody."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.admin import Observer, observing
from tests.support.wire import Peer, cheap_hash, fast_config, running_broker, unique, until

import stompy_broker
from stompy.admin import CommandError, CommandErrorCode, Kind, Table, moving_fields, page_from
from stompy_broker import RunningBroker
from stompy_broker.events import EVENTS, KEPT

Code = CommandErrorCode


def fails(code: CommandErrorCode, ask: Any, *args: Any, **kwargs: Any) -> CommandError:
    with pytest.raises(CommandError) as caught:
        ask(*args, **kwargs)
    assert caught.value.code is code, caught.value
    return caught.value


class TestAsking:
    def test_the_broker_describes_itself(self, admin: Observer) -> None:
        told = admin.ask("broker.help")
        names = [command["name"] for command in told["commands"]]
        assert names == sorted(names)
        assert {"queue.purge", "message.retry", "connection.close", "ping"} <= set(names)
        for command in told["commands"]:
            assert command["meaning"]
            assert command["role"] in ("monitor", "operator", "admin")

    def test_info_and_stats(self, broker: RunningBroker, admin: Observer) -> None:
        info = admin.ask("broker.info")
        assert (info["role"], info["admin_version"]) == ("admin", 1)
        assert admin.ask("broker.stats")["connections"] == broker.connections()

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            (b"", Code.BAD_REQUEST),
            (b"{", Code.BAD_REQUEST),
            (b"\0\xff", Code.BAD_REQUEST),
            (b'{"cmd":"queue.fry"}', Code.UNKNOWN_COMMAND),
            (b'{"cmd":"queue.get"}', Code.BAD_REQUEST),
            (b'{"cmd":"queue.get","args":{"queue":3}}', Code.BAD_REQUEST),
            (b'{"cmd":"queue.get","args":{"queue":"nowhere"}}', Code.NOT_FOUND),
            (b'{"cmd":"ping","args":{"loud":true}}', Code.BAD_REQUEST),
            (b'{"cmd":"queue.list","args":{"sort":"beauty"}}', Code.BAD_REQUEST),
            (b'{"cmd":"queue.list","args":{"limit":-1}}', Code.BAD_REQUEST),
            (b'{"cmd":"message.peek","args":{"queue":"nowhere","body":"soul"}}', Code.BAD_REQUEST),
            (b'{"cmd":"queue.create","args":{"queue":"$SYS.x"}}', Code.BAD_REQUEST),
            (b'{"cmd":"queue.create","args":{"queue":"/topic/x"}}', Code.BAD_REQUEST),
            (b'{"cmd":"queue.create","args":{"queue":"/chicken/x"}}', Code.BAD_REQUEST),
            (b'{"cmd":"snapshot.get","args":{"kind":"chickens"}}', Code.BAD_REQUEST),
            (b'{"cmd":"snapshot.get","args":{"kind":">"}}', Code.BAD_REQUEST),
        ],
    )
    def test_a_failure_is_an_answer(
        self, admin: Observer, body: bytes, code: CommandErrorCode
    ) -> None:
        (reply,) = admin.replies(body)
        assert reply.error is not None
        assert (reply.error.code, reply.ok) == (code, False)
        assert reply.error.message
        admin.ask("ping")

    def test_a_command_within_a_transaction_is_refused_and_the_connection_lives(
        self, admin: Observer
    ) -> None:
        admin.peer.send(
            "BEGIN\ntransaction:t\n\n\0"
            "SEND\ndestination:/queue/$SYS.command\ntransaction:t\nreply-to:/temp-queue/answers\n"
            'correlation-id:x\n\n{"cmd":"ping"}\0ABORT\ntransaction:t\n\n\0'
        )
        frame = admin.frame("/temp-queue/answers")
        assert frame["status"] == "error"
        admin.ask("ping")

    def test_without_reply_to_a_command_is_carried_out(self, admin: Observer, queue: str) -> None:
        body = json.dumps({"cmd": "queue.create", "args": {"queue": queue}})
        for receipt in ("r1", "r2", "r3", "r4"):  # later ones are known but for their receipt
            admin.peer.send(f"SEND\ndestination:/queue/$SYS.command\nreceipt:{receipt}\n\n{body}\0")
            assert admin.peer.expect("RECEIPT")["receipt-id"] == receipt
        assert admin.row(queue)["ready"] == 0

    def test_answers_go_to_ones_own_queue_only(self, admin: Observer, queue: str) -> None:
        body = json.dumps({"cmd": "queue.create", "args": {"queue": queue}})
        admin.peer.send(
            f"SEND\ndestination:/queue/$SYS.command\nreply-to:/queue/{queue}.a\n\n{body}\0"
        )
        admin.ask("ping")
        fails(Code.NOT_FOUND, admin.ask, "queue.get", queue=queue)
        fails(Code.NOT_FOUND, admin.ask, "queue.get", queue=f"{queue}.a")

    @settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        cmd=st.sampled_from(["queue.list", "message.peek", "message.count", "message.send"]),
        args=st.dictionaries(
            st.sampled_from(["queue", "limit", "headers", "match", "body", "ids", "fields"]),
            st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()),
        ),
    )
    def test_whatever_is_asked_is_answered(
        self, admin: Observer, cmd: str, args: dict[str, Any]
    ) -> None:
        (reply,) = admin.replies(json.dumps({"cmd": cmd, "args": args}).encode())
        assert reply.error is None or reply.error.code is not Code.INTERNAL


class TestQueues:
    def test_a_listing_is_matched_sorted_and_cut(self, admin: Observer) -> None:
        word = unique("list")
        for name, number in (("a", 3), ("b", 1), ("c", 2)):
            admin.fill(f"{word}.{name}", *["x"] * number)
        told = admin.ask(
            "queue.list", match=word, sort="-ready", limit=2, offset=1, fields=["name", "ready"]
        )
        assert told == {
            "total": 3,
            "offset": 1,
            "rows": [{"name": f"{word}.c", "ready": 2}, {"name": f"{word}.b", "ready": 1}],
        }
        assert admin.ask("queue.list", match=f"{word}.?")["total"] == 3
        assert admin.ask("queue.list", match=f"{word}")["total"] == 3

    def test_a_queue_is_made_once_and_deleted_when_nobody_uses_it(
        self, admin: Observer, queue: str
    ) -> None:
        made = admin.ask("queue.create", queue=queue, arguments={"x-max-length": 5})
        assert made == {"created": 1, "queue": queue}
        assert admin.row(queue)["max_length"] == 5
        fails(Code.CONFLICT, admin.ask, "queue.create", queue=queue)
        bad = {"x-max-length": "many"}
        fails(Code.BAD_REQUEST, admin.ask, "queue.create", queue=unique(), arguments=bad)
        admin.fill(queue, "x")
        fails(Code.CONFLICT, admin.ask, "queue.delete", queue=queue, if_empty=True)
        admin.peer.send(f"SUBSCRIBE\nid:1\ndestination:/queue/{queue}\nack:client\n\n\0")
        fails(Code.CONFLICT, admin.ask, "queue.delete", queue=queue)
        admin.peer.send("UNSUBSCRIBE\nid:1\n\n\0")
        assert admin.ask("queue.delete", queue=queue, dry_run=True)["messages"] == 1
        assert admin.ask("queue.delete", queue=f"/queue/{queue}")["deleted"] == 1
        fails(Code.NOT_FOUND, admin.ask, "queue.delete", queue=queue)

    def test_purging_spares_what_is_with_consumers(
        self, broker: RunningBroker, admin: Observer, queue: str
    ) -> None:
        with observing(broker.port) as other:
            other.peer.send(
                f"SUBSCRIBE\nid:1\ndestination:/queue/{queue}\nack:client-individual\n"
                "prefetch-count:2\n\n\0"
            )
            admin.fill(queue, *"abcde")
            acks = [other.peer.expect("MESSAGE")["ack"] for _ in range(2)]
            preview = admin.ask("queue.purge", queue=queue, dry_run=True)
            last = preview.pop("up_to")
            assert preview == {"queue": queue, "matched": 3, "unacked": 2}
            assert last.isdecimal()
            error = fails(Code.CONFLICT, admin.ask, "queue.purge", queue=queue, expect=5)
            assert error.detail == {"matched": 3, "expected": 5}
            assert admin.row(queue)["ready"] == 3
            assert admin.ask("queue.purge", queue=queue, expect=3)["purged"] == 3
            for ack in acks:
                other.peer.send(f"ACK\nid:{ack}\n\n\0")
            other.peer.sync()
            row = admin.row(queue)
            assert (row["total"], row["bytes"], row["removed"], row["acked"]) == (0, 0, 3, 2)

    @pytest.mark.parametrize("cmd", ["queue.purge", "message.move", "message.delete"])
    def test_what_comes_after_a_look_is_not_touched(
        self, admin: Observer, queue: str, cmd: str
    ) -> None:
        args = {"queue": queue}
        if cmd == "message.move":
            args["to"] = f"/queue/{queue}.target"
        admin.fill(queue, *"abc", priority="4")
        up_to = admin.ask("message.count", queue=queue)["up_to"]
        if cmd != "message.delete":
            assert admin.ask(cmd, **args, dry_run=True)["up_to"] == up_to
        admin.fill(queue, *"de", priority="9")
        assert admin.ask(cmd, **args, up_to=up_to, dry_run=True)["matched"] == 3
        assert admin.ask(cmd, **args, up_to=up_to)["matched"] == 3
        left = [message["body"] for message in admin.ask("message.peek", queue=queue)["messages"]]
        assert left == ["d", "e"]
        assert admin.ask(cmd, **args, up_to=up_to)["matched"] == 0
        fails(Code.BAD_REQUEST, admin.ask, cmd, **args, up_to="x")
        fails(Code.BAD_REQUEST, admin.ask, cmd, **args, up_to="9" * 5000)

    def test_purging_takes_what_is_delayed_too(self, admin: Observer, queue: str) -> None:
        admin.peer.send(f"SUBSCRIBE\nid:1\ndestination:/queue/{queue}\nack:client-individual\n\n\0")
        admin.peer.send(f"SEND\ndestination:/queue/{queue}\n\nx\0")
        ack = admin.peer.expect("MESSAGE")["ack"]
        admin.peer.send(f"NACK\nid:{ack}\ndelay:60000\n\n\0")
        assert admin.row(queue)["delayed"] == 1
        assert admin.ask("queue.purge", queue=queue)["purged"] == 1
        assert admin.row(queue)["total"] == 0

    def test_a_paused_queue_delivers_nothing_until_resumed(
        self, broker: RunningBroker, admin: Observer, queue: str
    ) -> None:
        with observing(broker.port) as other:
            other.peer.send(f"SUBSCRIBE\nid:1\ndestination:/queue/{queue}\n\n\0")
            other.peer.sync()
            assert admin.ask("queue.pause", queue=queue, dry_run=True)["paused"]
            assert not admin.row(queue)["paused"]
            admin.ask("queue.pause", queue=queue)
            admin.fill(queue, "x")
            other.peer.sync()
            row = admin.row(queue)
            assert (row["paused"], row["ready"], row["consumers"]) == (True, 1, 1)
            admin.ask("queue.resume", queue=queue)
            assert other.peer.bodies(1) == [b"x"]
            admin.fill(queue, "y")
            assert other.peer.bodies(1) == [b"y"]

    def test_while_intake_is_paused_senders_wait(
        self, broker: RunningBroker, admin: Observer, queue: str
    ) -> None:
        admin.ask("queue.create", queue=queue)
        admin.ask("queue.pause", queue=queue, delivery=False, intake=True)
        with observing(broker.port) as other:
            send = f"SEND\ndestination:/queue/{queue}\n\nx\0"
            other.peer.send(send)
            until(lambda: admin.row(queue)["ready"] == 1, "the first message")
            other.peer.send(send * 5, f"SEND\ndestination:/queue/{queue}\nreceipt:1\n\nx\0")
            assert not other.peer.hears(0.2)
            assert admin.row(queue)["ready"] == 1
            admin.ask("queue.resume", queue=queue)
            other.peer.expect("RECEIPT")
            assert admin.row(queue)["ready"] == 7

    def test_durable_subscriptions_are_listed_and_deleted(
        self, broker: RunningBroker, admin: Observer
    ) -> None:
        topic = unique("t")
        subscribe = (
            f"SUBSCRIBE\nid:1\ndestination:/topic/{topic}\ndurable-subscription-name:d\n\n\0"
        )
        with observing(broker.port, f"client-id:{topic}") as other:
            other.peer.send(subscribe)
            other.peer.sync()
            (row,) = admin.ask("durable.list", match=topic)["rows"]
            assert (row["name"], row["online"], row["pending"]) == (f"{topic}.d", True, 0)
            fails(Code.CONFLICT, admin.ask, "durable.delete", name=row["name"])
        until(lambda: not admin.ask("durable.list", match=topic)["rows"][0]["online"], "its end")
        admin.peer.send(f"SEND\ndestination:/topic/{topic}\n\nx\0")
        fails(Code.CONFLICT, admin.ask, "queue.delete", queue=row["queue"])
        assert admin.ask("durable.delete", name=row["name"], expect=1)["deleted"] == 1
        fails(Code.NOT_FOUND, admin.ask, "durable.delete", name=row["name"])

    def test_policies_explain_themselves(self, admin: Observer) -> None:
        assert admin.ask("policy.list")["total"] == 2
        told = admin.ask("policy.explain", destination="/queue/small.x")
        assert (told["match"], told["settings"]["max_length"]) == ("/queue/small.>", 2)
        fails(Code.BAD_REQUEST, admin.ask, "policy.explain", destination="/chicken/x")


class TestMessages:
    def test_peeking_pages_and_changes_nothing(self, admin: Observer, queue: str) -> None:
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

    def test_bodies_are_cut_and_binary_ones_are_base64(self, admin: Observer, queue: str) -> None:
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

    def test_what_is_with_a_consumer_is_shown_with_its_holder(
        self, admin: Observer, queue: str
    ) -> None:
        admin.peer.send(f"SUBSCRIBE\nid:1\ndestination:/queue/{queue}\nack:client-individual\n\n\0")
        admin.peer.send(f"SEND\ndestination:/queue/{queue}\n\nx\0")
        admin.peer.expect("MESSAGE")
        own = admin.ask("broker.info")["connection"]
        (message,) = admin.ask("message.peek", queue=queue, state="unacked")["messages"]
        assert (message["body"], message["state"]) == ("x", f"unacked by {own}")
        assert admin.ask("message.get", queue=queue, id=message["message_id"])["body"] == "x"

    def test_counting_by_headers(self, admin: Observer, queue: str) -> None:
        admin.fill(queue, "1", "2", colour="red", weight="a\\cb")
        admin.fill(queue, "3", colour="blue")
        told = admin.ask("message.count", queue=queue, group_by=["colour", "weight"])
        counts = {(g["colour"], g["weight"]): g["count"] for g in told["groups"]}
        assert counts == {("red", "a:b"): 2, ("blue", None): 1}
        assert admin.ask("message.count", queue=queue, headers={"colour": "red"})["count"] == 2
        assert admin.ask("message.count", queue=queue, headers={"weight": None})["count"] == 1

    def test_moving_keeps_order_ids_and_headers(self, admin: Observer, queue: str) -> None:
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

    def test_some_are_moved_copied_and_deleted_by_id_and_by_header(
        self, admin: Observer, queue: str
    ) -> None:
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

    def test_dead_letters_are_grouped_and_tried_again(self, admin: Observer, queue: str) -> None:
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

    def test_a_target_that_is_full_loses_nothing(self, admin: Observer, queue: str) -> None:
        admin.fill(queue, *"abc")
        target = f"small.{queue}"
        error = fails(Code.CONFLICT, admin.ask, "message.move", queue=queue, to=target, limit=3)
        assert "2 moved" in error.message
        assert "takes no more" in error.message
        assert (admin.bodies(queue), admin.bodies(target)) == (["c"], ["a", "b"])

    def test_sending(self, admin: Observer, queue: str) -> None:
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


class TestClients:
    def test_closing_a_connection_tells_it_why(
        self, broker: RunningBroker, admin: Observer
    ) -> None:
        name = unique("client")
        with observing(broker.port, f"client-id:{name}") as other:
            rows = admin.ask("connection.list")["rows"]
            (row,) = [row for row in rows if row["client_id"] == name]
            assert [r["id"] for r in rows if r.get("self")] == [
                admin.ask("broker.info")["connection"]
            ]
            closed = admin.ask("connection.close", client_id=name, reason="go home", dry_run=True)
            assert closed == {"matched": 1, "connections": [row["id"]]}
            admin.ask("connection.close", id=row["id"], reason="go home", expect=1)
            assert b"go home" in other.peer.expect_error("closed-by-operator").body
        ended = admin.ask("connection.closed")["rows"][-1]
        assert (ended["id"], ended["client_id"]) == (row["id"], name)
        assert "go home" in ended["reason"]
        fails(Code.NOT_FOUND, admin.ask, "connection.close", id=row["id"])
        fails(Code.BAD_REQUEST, admin.ask, "connection.close")

    def test_a_subscription_that_is_closed_gives_back_what_it_holds(
        self, broker: RunningBroker, admin: Observer, queue: str
    ) -> None:
        with observing(broker.port) as other:
            other.peer.send(
                f"SUBSCRIBE\nid:1\ndestination:/queue/{queue}\nack:client-individual\n\n\0"
            )
            admin.fill(queue, "x")
            other.peer.expect("MESSAGE")
            rows = admin.ask("subscription.list")["rows"]
            (row,) = [row for row in rows if row["destination"] == f"/queue/{queue}"]
            admin.ask("subscription.close", id=row["id"])
            assert admin.row(queue)["ready"] == 1
            fails(Code.NOT_FOUND, admin.ask, "subscription.close", id=row["id"])
            # The client does not know, and may end it as if nothing had happened.
            other.peer.send("UNSUBSCRIBE\nid:1\nreceipt:1\n\n\0")
            other.peer.expect("RECEIPT")

    def test_a_transaction_that_is_aborted_cannot_be_committed(
        self, broker: RunningBroker, admin: Observer, queue: str
    ) -> None:
        with observing(broker.port) as other:
            other.peer.send(
                f"BEGIN\ntransaction:{queue}\n\n\0"
                f"SEND\ndestination:/queue/{queue}\ntransaction:{queue}\n\nx\0"
            )
            other.peer.sync()
            rows = admin.ask("transaction.list")["rows"]
            (row,) = [row for row in rows if row["transaction"] == queue]
            assert (row["sends"], row["destinations"][0]["name"]) == (1, f"/queue/{queue}")
            assert admin.ask("transaction.abort", id=row["id"], dry_run=True)["aborted"] == 0
            assert admin.ask("transaction.abort", id=row["id"])["aborted"] == 1
            fails(Code.NOT_FOUND, admin.ask, "transaction.abort", id=row["id"])
            other.peer.send(f"COMMIT\ntransaction:{queue}\n\n\0")
            other.peer.expect_error("unknown-transaction")

    def test_a_snapshot_can_be_asked_for(self, admin: Observer) -> None:
        for number in range(250):
            admin.peer.send(f"SEND\ndestination:/queue/snap.{number}\n\nx\0")
        admin.ask("ping")
        body = json.dumps({"cmd": "snapshot.get", "args": {"kind": "queues", "format": "columns"}})
        replies = admin.replies(body.encode())
        assert [reply.final for reply in replies] == [False] * (len(replies) - 1) + [True]
        table = Table(Kind.QUEUES)
        done = [table.add(page_from(reply.checked())) for reply in replies]
        assert done[-1]
        assert len(table.rows) >= 250
        for number in range(250):
            admin.ask("queue.delete", queue=f"snap.{number}")


class TestEvents:
    def test_commands_leave_a_trace(self, admin: Observer, queue: str) -> None:
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

    def test_who_only_looks_leaves_none(self, admin: Observer, queue: str) -> None:
        watch = admin.subscribe("event.admin.*")
        admin.fill(queue, "x")
        for cmd in ("message.count", "message.peek", "queue.get"):
            admin.ask(cmd, queue=queue)
        fails(Code.BAD_REQUEST, admin.ask, "message.peek", queue=queue, limit="x")
        about = lambda page: page.rows[0].destination == f"/queue/{queue}"  # noqa: E731
        event = admin.page_with(watch, about).rows[0]
        assert (event.detail["cmd"], event.detail["code"]) == ("message.peek", "bad_request")

    def test_the_log_says_who_did_what(
        self, admin: Observer, queue: str, caplog: pytest.LogCaptureFixture
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

    def test_everything_that_is_told_is_in_the_list(self, broker: RunningBroker) -> None:
        told = broker._ask(lambda broker: {e.type for e in broker._router.events.recent})
        assert told
        assert told <= EVENTS.keys()

    def test_bodies_are_not_in_the_trace(self, admin: Observer, queue: str) -> None:
        admin.ask("message.send", destination=f"/queue/{queue}", body="s3cret")
        frame = admin.frame(admin.subscribe("event.admin.*"))
        while queue.encode() not in frame.body:
            frame = admin.frame(frame["subscription"])
        assert b"s3cret" not in frame.body

    def test_life_is_told_and_single_messages_only_when_asked_for(
        self, admin: Observer, queue: str
    ) -> None:
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


USERS = {name: cheap_hash("secret") for name in ("none", "monitor", "operator", "admin")}
ROLES = {name: [name] for name in ("monitor", "operator", "admin")}


@pytest.fixture(scope="module")
def guarded() -> Iterator[RunningBroker]:
    with running_broker(users=USERS, roles=ROLES) as broker:
        yield broker


@pytest.mark.parametrize("name", USERS)
def test_roles(guarded: RunningBroker, name: str) -> None:
    needed = {
        "ping": "monitor",
        "queue.list": "monitor",
        "message.peek": "operator",
        "queue.purge": "operator",
        "queue.pause": "operator",
        "connection.close": "operator",
        "queue.delete": "admin",
        "message.send": "admin",
    }
    order = list(USERS)
    with observing(guarded.port, f"login:{name}", "passcode:secret") as client:
        for cmd, role in needed.items():
            (reply,) = client.replies(json.dumps({"cmd": cmd}).encode())
            forbidden = reply.error is not None and reply.error.code is Code.FORBIDDEN
            assert forbidden == (order.index(name) < order.index(role)), cmd


def test_draining_lets_operators_in_only(guarded: RunningBroker) -> None:
    with observing(guarded.port, "login:admin", "passcode:secret") as admin:
        admin.ask("broker.drain")
        with pytest.raises(AssertionError, match="shutting-down"):
            with observing(guarded.port, "login:none", "passcode:secret"):
                pass
        with observing(guarded.port, "login:operator", "passcode:secret") as operator:
            assert operator.ask("broker.stats")["draining"]
        admin.ask("broker.drain", enable=False)
        with observing(guarded.port, "login:none", "passcode:secret"):
            pass


class TestOnDisk:
    def test_decisions_and_moves_outlive_a_restart(self, tmp_path: Path) -> None:
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
            used = broker._ask(lambda broker: broker._router.pressure.used)
            admin.bodies("b")
            assert broker._ask(lambda broker: broker._router.pressure.used) == used
            assert admin.ask("message.move", queue="b", to="a", limit=600)["moved"] == 600
            assert admin.ask("queue.purge", queue="b")["purged"] == 500
            assert admin.ask("message.delete", queue="a", limit=50)["deleted"] == 50
        with stompy_broker.running(config) as broker, observing(broker.port) as admin:
            assert admin.row("a")["ready"] == 650
            assert admin.bodies("a")[:2] == ["1150", "1151"]
            assert admin.ask("queue.list", match="b")["total"] == 0
            assert admin.bodies("c") == ["1100"]

    def test_who_leaves_midway_loses_nothing(self, tmp_path: Path) -> None:
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
