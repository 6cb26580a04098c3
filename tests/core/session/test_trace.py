import logging

import pytest

from stompy.protocol.frame import STOMPFrame
from stompy.session.trace import Trace, trace_for


@pytest.fixture
def frames(caplog) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "stompy.frames")
    return caplog


def test_frames_are_one_line_each_without_secrets_and_bodies(frames):
    trace = trace_for(None)
    assert trace is not None
    trace.sending("CONNECT", {"login": "ann", "passcode": "hush", "host": "/"}, b"")
    trace.received([STOMPFrame("MESSAGE", b"hello", {"a": "b", "c": "x\ny\x1b[2J"})])
    assert frames.messages == [
        ">>> CONNECT login:*** passcode:*** host:/ body:0B",
        "<<< MESSAGE a:b 'c':'x\\ny\\x1b[2J' body:5B",
    ]


def test_what_an_application_calls_a_secret_is_none_of_the_logs(frames):
    trace = trace_for(None)
    names = ("api_key", "X-Auth-Token", "client.secret", "keyboard", "x-dead-letter-routing-key")
    trace.sending("SEND", dict.fromkeys(names, "canary"), b"")
    shown = frames.messages[0].split()[2:-1]
    assert [header.partition(":")[2] for header in shown] == ["***"] * 3 + ["canary"] * 2


def test_nobody_looks_where_nobody_wants_to():
    assert trace_for(None) is None


def test_a_hook_may_change_headers_of_messages_only():
    seen = []

    def mark(frame: STOMPFrame) -> None:
        seen.append(frame.Command)
        frame["traceparent"] = "1"
        frame.Headers["number"] = 7

    trace = trace_for(mark)
    assert trace is not None
    assert trace.sending("ACK", {"id": "1"}, b"") == ({"id": "1"}, b"")
    assert trace.sending("SEND", {"a": "b"}, b"x") == (
        {"a": "b", "traceparent": "1", "number": "7"},
        b"x",
    )
    assert seen == ["SEND"]


def test_a_hook_that_raises_stops_the_frame(frames):
    def refuse(frame: STOMPFrame) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        Trace(refuse, shown=True).sending("SEND", {}, b"")
    assert frames.messages == []


def test_a_hook_whose_work_nobody_would_do():
    async def later() -> None: ...

    with pytest.raises(TypeError, match="coroutine"):
        Trace(lambda frame: later(), shown=False).sending("SEND", {}, b"")
