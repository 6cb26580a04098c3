"""Requests over real sockets: who may, what is refused, that a failure is an answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.admin import Code, Observer, fails, observing
from tests.support.wire import cheap_hash, running_broker

from stompy.admin import CommandErrorCode
from stompy_broker import RunningBroker


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
def test_a_failure_is_an_answer(admin: Observer, body: bytes, code: CommandErrorCode) -> None:
    (reply,) = admin.replies(body)
    assert reply.error is not None
    assert (reply.error.code, reply.ok) == (code, False)
    assert reply.error.message
    admin.ask("ping")


def test_a_command_within_a_transaction_is_refused_and_the_connection_lives(
    admin: Observer,
) -> None:
    admin.peer.send(
        "BEGIN\ntransaction:t\n\n\0"
        "SEND\ndestination:/queue/$SYS.command\ntransaction:t\nreply-to:/temp-queue/answers\n"
        'correlation-id:x\n\n{"cmd":"ping"}\0ABORT\ntransaction:t\n\n\0'
    )
    frame = admin.frame("/temp-queue/answers")
    assert frame["status"] == "error"
    admin.ask("ping")


def test_without_reply_to_a_command_is_carried_out(admin: Observer, queue: str) -> None:
    body = json.dumps({"cmd": "queue.create", "args": {"queue": queue}})
    for receipt in ("r1", "r2", "r3", "r4"):  # later ones are known but for their receipt
        admin.peer.send(f"SEND\ndestination:/queue/$SYS.command\nreceipt:{receipt}\n\n{body}\0")
        assert admin.peer.expect("RECEIPT")["receipt-id"] == receipt
    assert admin.row(queue)["ready"] == 0


def test_answers_go_to_ones_own_queue_only(admin: Observer, queue: str) -> None:
    body = json.dumps({"cmd": "queue.create", "args": {"queue": queue}})
    admin.peer.send(f"SEND\ndestination:/queue/$SYS.command\nreply-to:/queue/{queue}.a\n\n{body}\0")
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
def test_whatever_is_asked_is_answered(admin: Observer, cmd: str, args: dict[str, Any]) -> None:
    (reply,) = admin.replies(json.dumps({"cmd": cmd, "args": args}).encode())
    assert reply.error is None or reply.error.code is not Code.INTERNAL


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
