"""What a broker itself answers to a request."""

from __future__ import annotations

import pytest

from stompy.errors import (
    NoResponders,
    ReplyStatus,
    RequestRejected,
    STOMPException,
    STOMPTimeout,
)
from stompy.protocol.frame import STOMPFrame
from stompy.session.request_answers import failure_in, status_of, timeout_headers


def answer(status: str, body: bytes = b"", **headers: str) -> STOMPFrame:
    return STOMPFrame("MESSAGE", body, {"reply-status": status} | headers)


@pytest.mark.parametrize(
    ("seconds", "milliseconds"), [(1.5, 1500), (0.0001, 1), (0.0, 1), (1e6, 10**9)]
)
def test_how_long_it_waits(seconds: float, milliseconds: int) -> None:
    assert timeout_headers(seconds, {}) == {"reply-timeout": milliseconds}


def test_what_the_application_says_goes_before_it() -> None:
    assert timeout_headers(1.0, {"reply-timeout": 0}) == {}
    assert timeout_headers(float("inf"), {}) == {}


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        ("no-consumers", NoResponders, "nobody consumes from /queue/q"),
        ("timeout", STOMPTimeout, "no reply from /queue/q came within 2 s"),
        ("expired", RequestRejected, "time to live"),
        ("rejected", RequestRejected, r"given up.*\(because\)"),
        ("refused", RequestRejected, "full"),
    ],
)
def test_what_it_means(status: str, kind: type[STOMPException], words: str) -> None:
    frame = answer(status, **{"x-death-info": "because"})
    assert status_of(frame) is ReplyStatus(status)
    failure = failure_in(frame, "/queue/q", 2)
    assert isinstance(failure, kind)
    assert failure.__class__ is kind
    with pytest.raises(kind, match=words):
        raise failure
    if isinstance(failure, RequestRejected):
        assert failure.status is ReplyStatus(status)


@pytest.mark.parametrize(
    "frame",
    [
        STOMPFrame("MESSAGE", b"", {}),
        answer("rejected", b"a body"),
        answer("shipped"),
    ],
)
def test_what_is_a_reply_of_somebody_else(frame: STOMPFrame) -> None:
    assert status_of(frame) is None
    assert failure_in(frame, "/queue/q", 2) is None
