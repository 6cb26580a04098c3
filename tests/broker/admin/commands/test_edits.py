"""A dead letter that is repaired and tried again: what it becomes, and that it is one change."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
from tests.support.admin import Code, Observer, fails, observing

from stompy_broker import RunningBroker


@pytest.fixture
def letter(admin: Observer, queue: str) -> dict[str, Any]:
    """A dead letter of the queue."""
    admin.fill(queue, "poison", kind="x", **{"content-type": "text/plain"})
    admin.ask("message.deadletter", queue=queue, limit=1, reason="it is bad")
    (letter,) = admin.ask("message.peek", queue=f"DLQ.{queue}")["messages"]
    result: dict[str, Any] = letter
    return result


def test_it_goes_back_as_another_with_a_trace(
    admin: Observer, queue: str, letter: dict[str, Any]
) -> None:
    message_id, dead = letter["message_id"], f"DLQ.{queue}"
    result = admin.ask(
        "message.edit_and_retry",
        queue=dead,
        id=message_id,
        headers={"kind": "y", "content-type": None, "more": "a:b\nc"},
        body="medicine",
    )
    digest = sha256(b"poison").hexdigest()
    assert result == {
        "queue": dead,
        "message_id": message_id,
        "matched": 1,
        "to": f"/queue/{queue}",
        "body_changed": True,
        "headers_changed": 3,
        "original_body_sha256": digest,
        "retried": 1,
    }
    (message,) = admin.ask("message.peek", queue=queue)["messages"]
    headers = message["headers"]
    assert (message["message_id"], message["body"]) == (message_id, "medicine")
    assert (headers["kind"], headers["more"], headers["destination"]) == (
        "y",
        "a:b\nc",
        f"/queue/{queue}",
    )
    assert headers["original-body-sha256"] == digest
    assert (headers["edited-by"], headers["edited-at"].isdigit()) == ("anonymous", True)
    assert "content-type" not in headers
    assert not [name for name in headers if name.startswith(("x-last-death", "x-death"))]
    assert admin.row(dead)["total"] == 0
    frames = admin.peer
    frames.send(f"SUBSCRIBE\nid:e\ndestination:/queue/{queue}\n\n\0")
    frame = admin.frame("e")
    assert (frame.body, frame["message-id"], frame["edited-by"]) == (
        b"medicine",
        message_id,
        "anonymous",
    )


def test_the_digest_of_what_was_sent_first_stays(
    admin: Observer, queue: str, letter: dict[str, Any]
) -> None:
    dead = f"DLQ.{queue}"
    for body in ("second", "third"):
        message_id = letter["message_id"]
        admin.ask("message.edit_and_retry", queue=dead, id=message_id, body=body)
        admin.ask("message.deadletter", queue=queue, limit=1)
    (message,) = admin.ask("message.peek", queue=dead)["messages"]
    assert message["body"] == "third"
    assert message["headers"]["original-body-sha256"] == sha256(b"poison").hexdigest()


def test_a_dry_run_and_expect_change_nothing(
    admin: Observer, queue: str, letter: dict[str, Any]
) -> None:
    how: dict[str, Any] = {"queue": f"DLQ.{queue}", "id": letter["message_id"], "body": "other"}
    would = admin.ask("message.edit_and_retry", dry_run=True, **how)
    assert (would["to"], would["body_changed"]) == (f"/queue/{queue}", True)
    assert "retried" not in would
    fails(Code.CONFLICT, admin.ask, "message.edit_and_retry", expect=2, **how)
    assert admin.bodies(f"DLQ.{queue}") == ["poison"]


def test_binary_bodies_and_another_place(
    admin: Observer, queue: str, letter: dict[str, Any]
) -> None:
    how: dict[str, Any] = {"queue": f"DLQ.{queue}", "id": letter["message_id"]}
    fails(Code.BAD_REQUEST, admin.ask, "message.edit_and_retry", body="?", encoding="base64", **how)
    other = f"{queue}.other"
    result = admin.ask(
        "message.edit_and_retry", body="/wB4", encoding="base64", to=other, expect=1, **how
    )
    assert result["to"] == f"/queue/{other}"
    (message,) = admin.ask("message.peek", queue=other)["messages"]
    assert (message["body"], message["encoding"]) == ("/wB4", "base64")


@pytest.mark.parametrize(
    "name",
    ["message-id", "destination", "content-length", "edited-by", "x-death-count", "redelivered"],
)
def test_what_the_broker_writes_is_not_edited(
    admin: Observer, queue: str, letter: dict[str, Any], name: str
) -> None:
    error = fails(
        Code.BAD_REQUEST,
        admin.ask,
        "message.edit_and_retry",
        queue=f"DLQ.{queue}",
        id=letter["message_id"],
        headers={name: "1"},
    )
    assert repr(name) in error.message
    assert admin.bodies(f"DLQ.{queue}") == ["poison"]


def test_who_is_not_there_or_no_dead_letter_stays(admin: Observer, queue: str) -> None:
    admin.fill(queue, "a", kind="x")
    (message,) = admin.ask("message.peek", queue=queue)["messages"]
    how = {"queue": queue, "id": message["message_id"]}
    fails(Code.CONFLICT, admin.ask, "message.edit_and_retry", **how)
    fails(Code.NOT_FOUND, admin.ask, "message.edit_and_retry", to=f"{queue}.b", **how | {"id": "9"})
    # With a place named, any message may be repaired.
    admin.ask("message.edit_and_retry", to=queue, body="b", **how)
    (again,) = admin.ask("message.peek", queue=queue)["messages"]
    assert (again["body"], again["message_id"]) == ("b", message["message_id"])


def test_a_place_that_takes_no_more_keeps_the_dead_letter(
    admin: Observer, queue: str, letter: dict[str, Any]
) -> None:
    small = f"small.{queue}"
    admin.fill(small, "a", "b")
    how: dict[str, Any] = {"queue": f"DLQ.{queue}", "id": letter["message_id"], "to": small}
    error = fails(Code.CONFLICT, admin.ask, "message.edit_and_retry", **how)
    assert "takes no more" in error.message
    assert admin.bodies(f"DLQ.{queue}") == ["poison"]


def test_the_trace_names_no_content(
    broker: RunningBroker, admin: Observer, queue: str, letter: dict[str, Any]
) -> None:
    with observing(broker.port) as other:
        events = other.subscribe("event.admin.command")
        other.ask("ping")
        admin.ask(
            "message.edit_and_retry",
            queue=f"DLQ.{queue}",
            id=letter["message_id"],
            headers={"secret": "1234"},
            body="secret",
        )
        told = other.page_with(
            events, lambda page: page.rows[0].detail["args"].get("id") == letter["message_id"]
        )
    detail = told.rows[0].detail
    assert detail["cmd"] == "message.edit_and_retry"
    assert (detail["args"]["body"], detail["args"]["headers"]) == ("...", "...")
