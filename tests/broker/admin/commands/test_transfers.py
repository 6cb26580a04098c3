"""Commands that take messages out of where they wait: each with its dry run, ``expect``, trace."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.admin import Code, Observer, fails, observing

from stompy_broker import RunningBroker


def numbers(admin: Observer, queue: str) -> list[tuple[str, str]]:
    """What waits in a queue: bodies and ids."""
    peeked = admin.ask("message.peek", queue=queue, limit=1000)["messages"]
    return [(message["body"], message["message_id"]) for message in peeked]


ENDING: list[tuple[str, str, dict[str, Any]]] = [
    ("message.expire", "expired", {}),
    ("message.deadletter", "dead_lettered", {"reason": "by hand"}),
    ("message.reprioritize", "reprioritized", {"priority": 7}),
    ("message.delete", "deleted", {}),
]


@pytest.mark.parametrize(("command", "done", "more"), ENDING)
def test_each_says_what_it_would_do_and_does_what_was_expected(
    broker: RunningBroker,
    admin: Observer,
    queue: str,
    command: str,
    done: str,
    more: dict[str, Any],
) -> None:
    admin.fill(queue, "a", "b", kind="x")
    admin.fill(queue, "c", kind="y")
    some = {"queue": queue, "headers": {"kind": "x"}, **more}
    before = numbers(admin, queue)
    would = admin.ask(command, dry_run=True, **some)
    assert would["matched"] == 2
    assert done not in would
    fails(Code.CONFLICT, admin.ask, command, expect=3, **some)
    assert numbers(admin, queue) == before
    with observing(broker.port) as other:
        events = other.subscribe("event.admin.command")
        other.ask("ping")
        result = admin.ask(command, expect=2, up_to=would["up_to"], **some)
        assert (result["matched"], result[done]) == (2, 2)
        told = other.page_with(events, lambda page: page.rows[0].detail["args"]["queue"] == queue)
    detail = told.rows[0].detail
    assert detail["cmd"] == command
    left = [body for body, _ in numbers(admin, queue)]
    assert left == (["a", "b", "c"] if command == "message.reprioritize" else ["c"])


def test_nothing_ends_because_somebody_forgot_to_choose(admin: Observer, queue: str) -> None:
    admin.fill(queue, "a")
    for command in ("message.delete", "message.expire", "message.deadletter"):
        error = fails(Code.BAD_REQUEST, admin.ask, command, queue=queue)
        assert "'selector'" in error.message
    assert admin.bodies(queue) == ["a"]


def test_who_is_dead_says_why_and_can_be_tried_again(admin: Observer, queue: str) -> None:
    admin.fill(queue, "a", "b")
    ids = [message_id for _, message_id in numbers(admin, queue)]
    result = admin.ask("message.deadletter", queue=queue, ids=ids[:1], reason="wrong: it")
    assert (result["dead_lettered"], result["to"]) == (1, f"/queue/DLQ.{queue}")
    (letter,) = admin.ask("message.peek", queue=f"DLQ.{queue}")["messages"]
    headers = letter["headers"]
    assert letter["message_id"] == ids[0]
    assert (headers["x-last-death-reason"], headers["x-death-info"]) == ("operator", "wrong: it")
    assert admin.row(queue)["dead_lettered"] == 1
    admin.ask("message.retry", queue=f"DLQ.{queue}")
    assert sorted(admin.bodies(queue)) == ["a", "b"]


def test_a_dead_letter_cannot_die_again(admin: Observer, queue: str) -> None:
    admin.fill(queue, "a")
    admin.ask("message.deadletter", queue=queue, limit=1)
    dead = f"DLQ.{queue}"
    error = fails(Code.CONFLICT, admin.ask, "message.deadletter", queue=dead, limit=1)
    assert "is a dead-letter queue" in error.message
    assert admin.ask("message.expire", queue=dead, limit=1) == {
        "queue": dead,
        "matched": 1,
        "to": "",
        "expired": 1,
    }
    assert admin.row(dead)["total"] == 0


def test_who_expires_goes_where_expired_ones_go(admin: Observer, queue: str) -> None:
    late = f"late.{queue}"
    admin.fill(late, "a", "b")
    assert admin.ask("message.expire", queue=late, limit=1)["to"] == f"/queue/over.{late}"
    row = admin.row(late)
    assert (row["expired"], row["ready"]) == (1, 1)
    (letter,) = admin.ask("message.peek", queue=f"over.{late}")["messages"]
    assert letter["headers"]["x-last-death-reason"] == "expired"


def test_another_priority_keeps_id_time_and_what_is_known_of_deliveries(
    admin: Observer, queue: str
) -> None:
    admin.fill(queue, "a", "b", "c", ttl="600000")
    admin.peer.send(
        f"SUBSCRIBE\nid:1\ndestination:/queue/{queue}\nack:client-individual\n"
        "prefetch-count:1\n\n\0"
    )
    ack = admin.frame("1")["ack"]
    admin.peer.send(f"NACK\nid:{ack}\n\n\0UNSUBSCRIBE\nid:1\n\n\0")
    before = {m["body"]: m for m in admin.ask("message.peek", queue=queue)["messages"]}
    ids = [before["b"]["message_id"], before["a"]["message_id"]]
    admin.ask("message.reprioritize", queue=queue, ids=ids, priority=9)
    after = admin.ask("message.peek", queue=queue)["messages"]
    assert [message["body"] for message in after] == ["a", "b", "c"]
    assert [message["priority"] for message in after] == [9, 9, 4]
    for message in after:
        old = before[message["body"]]
        same = ("message_id", "deliveries", "failures", "expires_at")
        assert [message[name] for name in same] == [old[name] for name in same]
    assert after[0]["failures"] == 1
    assert after[1]["headers"]["timestamp"] == str(before["b"]["received_at"])


def test_a_full_queue_has_room_for_another_priority(admin: Observer, queue: str) -> None:
    small = f"small.{queue}"
    admin.fill(small, "a", "b")
    ids = [message_id for _, message_id in numbers(admin, small)]
    assert admin.ask("message.reprioritize", queue=small, ids=ids[1:], priority=9)["reprioritized"]
    assert admin.bodies(small) == ["b", "a"]
    fails(Code.BAD_REQUEST, admin.ask, "message.reprioritize", queue=small, priority=10)


def test_what_a_named_queue_gave_up_goes_back_to_nobody_else(admin: Observer, queue: str) -> None:
    topic = f"/topic/{queue}"
    bound = "durable:true\nauto-delete:false\nack:client-individual"
    admin.peer.send(
        f"SUBSCRIBE\nid:1\ndestination:{topic}\n{bound}\nx-queue-name:{queue}\n\n\0",
        f"SUBSCRIBE\nid:2\ndestination:{topic}\n\n\0",
        f"SEND\ndestination:{topic}\n\nonce\0",
    )
    ack = admin.frame("1")["ack"]
    assert admin.frame("2").body == b"once"
    admin.peer.send(f"NACK\nid:{ack}\nrequeue:false\n\n\0")
    admin.ask("ping")
    assert admin.ask("message.retry", queue=f"DLQ.{queue}")["retried"] == 1
    assert admin.frame("1").body == b"once"
    admin.peer.send(f"SEND\ndestination:{topic}\n\ntwice\0")
    assert admin.frame("2").body == b"twice"
