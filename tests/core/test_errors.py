"""The exceptions: who is whose child, and what they say (promise 18)."""

from __future__ import annotations

import pickle
import re

import pytest

from stompy.errors import (
    ErrorCode,
    ProtocolError,
    STOMPConnectionError,
    STOMPError,
    STOMPException,
    STOMPTimeout,
)
from stompy.protocol.frame import STOMPFrame


def test_the_tree():
    assert STOMPError.__bases__ == (STOMPException,)
    assert issubclass(ProtocolError, STOMPError)
    assert issubclass(STOMPConnectionError, STOMPError)
    assert issubclass(STOMPConnectionError, ConnectionError)
    assert issubclass(STOMPTimeout, TimeoutError)
    assert issubclass(STOMPTimeout, STOMPException)


def test_a_timeout_is_not_an_error():
    """So that ``except STOMPError`` does not swallow one."""
    assert not issubclass(STOMPTimeout, STOMPError)


def test_codes_are_words_for_the_wire():
    assert len({code.value for code in ErrorCode}) == len(ErrorCode)
    for code in ErrorCode:
        assert re.fullmatch("[a-z]+(-[a-z]+)*", code.value)
        assert f"{code}" == code.value


def test_an_error_without_a_frame():
    error = STOMPError("went wrong")
    assert (error.Message, error.Frame, str(error)) == ("went wrong", None, "went wrong")
    assert error.headers == {}
    assert error.code is None


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "Bad destination"),
        (b"Bad destination", "Bad destination"),
        (b"there is no such queue\n", "Bad destination: there is no such queue"),
        (b"caf\xe9", "Bad destination: caf\ufffd"),
    ],
)
def test_an_error_speaks_with_the_brokers_words(body: bytes, text: str):
    frame = STOMPFrame("ERROR", body, {"error-code": "bad-destination", "receipt-id": "1"})
    error = STOMPError("Bad destination", frame)
    assert str(error) == text
    assert error.code == "bad-destination"
    assert error.headers["receipt-id"] == "1"


def test_headers_of_an_error_are_a_copy():
    error = STOMPError("x", STOMPFrame("ERROR", b"", {"a": "b"}))
    dict(error.headers).clear()
    assert error.headers == {"a": "b"}


def test_a_protocol_error_knows_rule_and_receipt():
    error = ProtocolError(ErrorCode.BAD_HEADER, "no such mode", headers={"receipt": "7"})
    assert error.error_code is ErrorCode.BAD_HEADER
    assert error.code == "bad-header"
    assert error.receipt == "7"
    assert str(error) == "no such mode"
    assert ProtocolError(ErrorCode.BAD_HEADER, "x").receipt is None


@pytest.mark.parametrize(
    "error",
    [
        STOMPError("message"),
        STOMPError("message", STOMPFrame("ERROR", b"body", {"a": "b"})),
        STOMPConnectionError("gone"),
        STOMPTimeout("nothing came"),
        ProtocolError(ErrorCode.BAD_ESCAPE, "message", headers={"receipt": "1"}),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_travel_between_processes(error: STOMPException):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
