"""Every command that takes messages takes a selector, with its dry run, ``expect`` and trace."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.admin import Code, Observer, fails, observing

from stompy_broker import RunningBroker

SELECTOR = "n > 2 AND kind IN ('x', 'y')"
"""Of the messages that `fill` sends, two."""

CHANGING: list[tuple[str, str, dict[str, Any]]] = [
    ("message.move", "moved", {"to": "by-selector.moved"}),
    ("message.copy", "copied", {"to": "by-selector.copied"}),
    ("message.delete", "deleted", {}),
    ("message.expire", "expired", {}),
    ("message.deadletter", "dead_lettered", {}),
    ("message.reprioritize", "reprioritized", {"priority": 9}),
    ("queue.purge", "purged", {}),
    ("message.retry", "retried", {}),
]


def fill(admin: Observer, queue: str) -> str:
    for n, kind in enumerate("xzxyz"):
        admin.fill(queue, f"{n}{kind}", kind=kind, n=str(n))
    return queue


@pytest.fixture
def filled(admin: Observer, queue: str) -> str:
    """A queue with 0x, 1z, 2x, 3y, 4z; the selector takes 3y only, and what it takes besides."""
    fill(admin, queue)
    admin.fill(queue, "5x", kind="x", n="5")
    return queue


@pytest.mark.parametrize(("command", "done", "more"), CHANGING)
def test_a_selector_says_which(
    broker: RunningBroker,
    admin: Observer,
    filled: str,
    command: str,
    done: str,
    more: dict[str, Any],
) -> None:
    queue = filled
    if command == "message.retry":
        admin.ask("message.deadletter", queue=queue, limit=6)
        queue = f"DLQ.{filled}"
    how = {"queue": queue, "selector": SELECTOR, **more}
    before = admin.bodies(queue)
    would = admin.ask(command, dry_run=True, **how)
    assert would["matched"] == 2
    assert done not in would
    fails(Code.CONFLICT, admin.ask, command, expect=1, **how)
    assert admin.bodies(queue) == before
    with observing(broker.port) as other:
        events = other.subscribe("event.admin.command")
        other.ask("ping")
        result = admin.ask(command, expect=2, up_to=would["up_to"], **how)
        told = other.page_with(
            events, lambda page: page.rows[0].detail["args"].get("queue") == queue
        )
    assert (result["matched"], result[done]) == (2, 2)
    detail = told.rows[0].detail
    assert (detail["cmd"], detail["args"]["selector"]) == (command, SELECTOR)
    left = admin.bodies(queue)
    if command == "message.copy":
        assert left == before
    elif command == "message.reprioritize":
        assert left == ["3y", "5x", "0x", "1z", "2x", "4z"]
    else:
        assert left == ["0x", "1z", "2x", "4z"]


def test_looking_by_selector(admin: Observer, filled: str) -> None:
    how = {"queue": filled, "selector": SELECTOR}
    peeked = admin.ask("message.peek", limit=1, **how)
    assert ([m["body"] for m in peeked["messages"]], peeked["more"]) == (["3y"], True)
    assert admin.ask("message.count", **how)["count"] == 2
    assert admin.ask("message.export", dry_run=True, **how)["matched"] == 2
    grouped = admin.ask("message.group", by="kind", queue=filled)
    assert [(g["values"], g["count"]) for g in grouped["groups"]] == [
        ({"kind": "x"}, 3),
        ({"kind": "z"}, 2),
        ({"kind": "y"}, 1),
    ]
    one = admin.ask("message.group", by=["kind", "n"], limit=1, **how)
    assert (one["matched"], one["groups_total"], len(one["groups"])) == (2, 2, 1)
    assert one["groups"][0]["values"] == {"kind": "y", "n": "3"}
    fails(Code.BAD_REQUEST, admin.ask, "message.group", queue=filled, by=[])
    fails(Code.CONFLICT, admin.ask, "message.group", queue=filled, by="kind", expect=1)


def test_what_is_with_a_consumer_is_shown_by_selector(admin: Observer, filled: str) -> None:
    admin.peer.send(f"SUBSCRIBE\nid:1\ndestination:/queue/{filled}\nack:client-individual\n\n\0")
    for _ in range(6):
        admin.frame("1")
    held = admin.ask("message.peek", queue=filled, state="unacked", selector="kind = 'z'")
    assert [m["body"] for m in held["messages"]] == ["1z", "4z"]


def test_selector_ids_and_headers_hold_together(admin: Observer, filled: str) -> None:
    how = {"queue": filled, "selector": "n >= 2", "headers": {"kind": "x"}}
    found = admin.ask("message.peek", **how)["messages"]
    assert [m["body"] for m in found] == ["2x", "5x"]
    ids = [found[1]["message_id"]]
    assert admin.ask("message.delete", ids=ids, **how)["deleted"] == 1
    assert admin.bodies(filled) == ["0x", "1z", "2x", "3y", "4z"]


@pytest.mark.parametrize("command", ["message.peek", "message.delete", "queue.purge"])
def test_a_selector_that_is_none_says_where(admin: Observer, filled: str, command: str) -> None:
    error = fails(Code.BAD_REQUEST, admin.ask, command, queue=filled, selector="n > 'x'")
    assert error.detail["column"] >= 1
    assert len(admin.bodies(filled)) == 6
