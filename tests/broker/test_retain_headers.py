"""The headers by which a sender has its topic keep a message."""

from __future__ import annotations

import pytest

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.message import MessageHead, retains_in
from stompy_broker.retain_headers import (
    asks_to_retain,
    check_retain,
    may_ask_to_retain,
    without_retain,
)


@pytest.mark.parametrize(
    ("headers", "asks"),
    [
        ({"x-retain": "true"}, True),
        ({"x-retain": "TRUE"}, True),
        ({"x-retain": "1"}, True),
        ({"ActiveMQ.Retain": "true"}, True),
        ({"retain": "true"}, True),
        ({"x-retain": "false"}, False),
        ({"x-retain": ""}, False),
        ({"retain": "True"}, False),
        ({"retain": "yes"}, False),
        ({"retain": "true", "ActiveMQ.Retained": "true"}, False),
        ({"x-retain": "true", "retain": "true", "ActiveMQ.Retained": "true"}, True),
        ({}, False),
    ],
)
def test_what_asks(headers: dict[str, str], asks: bool) -> None:
    assert asks_to_retain(headers) is asks
    check_retain(headers)
    head = MessageHead.from_headers({"destination": "/topic/t", **headers})
    assert head.traits.retains is head.traits.unusual is asks
    assert retains_in(head.block) is asks
    assert not asks_to_retain(without_retain(headers))


@pytest.mark.parametrize(
    "headers",
    [
        {"x-retain": "perhaps"},
        {"x-retain": "true", "ActiveMQ.Retain": "false"},
        {"x-retain": "no", "retain": "true"},
    ],
)
def test_what_cannot_be_understood(headers: dict[str, str]) -> None:
    assert asks_to_retain(headers)
    with pytest.raises(ProtocolError) as raised:
        check_retain(headers)
    assert raised.value.error_code is ErrorCode.BAD_HEADER


def test_what_an_application_says_stays() -> None:
    assert without_retain({"retain": "30d", "x-retain": "true", "a": "b"}) == {
        "retain": "30d",
        "a": "b",
    }
    assert not may_ask_to_retain(b"destination:/topic/t\nretain:30d\n\n")
