"""Requests and answers: what was written is what is read, and nonsense is named."""

from __future__ import annotations

import pytest

from stompy.admin import CommandError, CommandErrorCode, Reply, Request, SchemaError


def test_a_request_survives_json() -> None:
    request = Request("queue.purge", {"queue": "a"}, dry_run=True, expect=3)
    assert Request.from_json(request.to_json()) == request
    assert Request.from_json(b'{"cmd":"ping"}') == Request("ping")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"cmd":1}',
        b'{"cmd":"ping","args":[]}',
        b'{"cmd":"ping","dry_run":1}',
        b'{"cmd":"ping","expect":true}',
        b'{"cmd":"ping","expect":"3"}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_request_is_a_bad_one(body: bytes) -> None:
    with pytest.raises(CommandError) as caught:
        Request.from_json(body)
    assert caught.value.code is CommandErrorCode.BAD_REQUEST


def test_a_reply_survives_json() -> None:
    reply = Reply.from_json(Reply("ping", {"at": 1}, took_ms=2.5).to_json(), {"final": "false"})
    assert reply.checked() == {"at": 1}
    assert (reply.took_ms, reply.final) == (2.5, False)


def test_a_failure_keeps_its_code_its_words_and_its_numbers() -> None:
    error = CommandError(CommandErrorCode.CONFLICT, "3 match", {"matched": 3})
    reply = Reply.from_json(Reply("queue.purge", error=error).to_json())
    with pytest.raises(CommandError, match="conflict: 3 match") as caught:
        reply.checked()
    assert caught.value.detail == {"matched": 3}


def test_a_code_of_a_later_version_is_an_error_still() -> None:
    body = b'{"v":1,"cmd":"x","ok":false,"error":{"code":"invented_later","message":"no"}}'
    assert Reply.from_json(body).error is not None


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"v":2,"cmd":"x","ok":true}', b'{"v":1}'])
def test_what_is_no_reply_is_refused(body: bytes) -> None:
    with pytest.raises(SchemaError):
        Reply.from_json(body)
