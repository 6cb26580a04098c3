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


def test_everything_comes_in_the_order_in_which_it_came(admin: Observer, queue: str) -> None:
    admin.fill(queue, *[f"body {n}" for n in range(1201)], kind="x")
    admin.fill(queue, "last", priority="9")
    messages, last = export(admin, queue=queue)
    assert [m["body"] for m in messages] == [*[f"body {n}" for n in range(1201)], "last"]
    assert (last["matched"], last["exported"]) == (1202, 1202)
    assert last["up_to"] == messages[-1]["sequence"]
    assert messages[0]["headers"]["kind"] == "x"
    assert messages[0]["state"] == "ready"
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
