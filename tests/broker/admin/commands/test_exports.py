"""Messages of a queue given away: all of them, with whole bodies, in many answers."""

from __future__ import annotations

from typing import Any

from tests.support.admin import Code, Observer, fails

from stompy.admin import Request


def export(admin: Observer, **args: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The messages, and the last answer."""
    *parts, last = [
        reply.checked() for reply in admin.replies(Request("message.export", args).to_json())
    ]
    return [message for part in parts for message in part["messages"]], dict(last)


def test_everything_comes_by_priority_and_then_as_it_came(admin: Observer, queue: str) -> None:
    admin.fill(queue, *[f"body {n}" for n in range(1201)], kind="x")
    admin.fill(queue, "last", priority="9")
    messages, last = export(admin, queue=queue)
    assert [m["body"] for m in messages] == ["last", *[f"body {n}" for n in range(1201)]]
    assert last["exported"] == 1202
    assert int(last["up_to"]) >= int(messages[0]["sequence"])
    assert messages[1]["headers"]["kind"] == "x"
    assert {m["state"] for m in messages} == {"ready"}
    assert admin.row(queue)["ready"] == 1202


def test_some_are_chosen_and_bodies_left_out(admin: Observer, queue: str) -> None:
    admin.fill(queue, "a", "b", kind="x")
    admin.fill(queue, "c", kind="y")
    messages, _ = export(admin, queue=queue, headers={"kind": "x"}, limit=1, body="none")
    assert len(messages) == 1
    assert "body" not in messages[0]


def test_large_bodies_are_whole_and_come_one_by_one(admin: Observer, queue: str) -> None:
    large = "x" * 700_000
    admin.fill(queue, large, large, large)
    replies = admin.replies(Request("message.export", {"queue": queue}).to_json())
    assert len(replies) == 4
    messages, _ = export(admin, queue=queue)
    assert [m["body"] for m in messages] == [large] * 3
    assert not any(m["truncated"] for m in messages)


def test_a_dry_run_tells_how_much_it_is(admin: Observer, queue: str) -> None:
    admin.fill(queue, "a", "b")
    would = admin.ask("message.export", dry_run=True, queue=queue)
    assert (would["matched"], would["exported"]) == (2, 0)
    assert would["bytes"] == admin.row(queue)["bytes"]
    fails(Code.CONFLICT, admin.ask, "message.export", expect=1, queue=queue)
    assert export(admin, queue=queue)[1]["exported"] == 2


def test_what_is_with_a_consumer_only_if_it_is_asked_for(admin: Observer, queue: str) -> None:
    admin.fill(queue, "a", "b")
    admin.peer.send(
        f"SUBSCRIBE\nid:1\ndestination:/queue/{queue}\nack:client-individual\n"
        "prefetch-count:1\n\n\0"
    )
    admin.frame("1")
    assert [m["body"] for m in export(admin, queue=queue)[0]] == ["b"]
    everything, _ = export(admin, queue=queue, states=["ready", "unacked"])
    assert [(m["body"], m["state"]) for m in everything] == [("a", "unacked"), ("b", "ready")]
    error = fails(Code.BAD_REQUEST, admin.ask, "message.export", queue=queue, states=["lost"])
    assert "there are ready, delayed, unacked" in error.message
