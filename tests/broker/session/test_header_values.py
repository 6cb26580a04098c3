"""What headers of clients mean, and what is said of those that mean nothing."""

from __future__ import annotations

import pytest

from stompy.errors import ErrorCode, ProtocolError
from stompy.protocol.frame import AckMode
from stompy_broker.session.header_values import (
    PREFETCH_HEADERS,
    ack_mode,
    boolean,
    prefetch,
    whole_number,
)


@pytest.mark.parametrize("mode", AckMode)
def test_the_ack_mode_is_what_the_header_says(mode: AckMode) -> None:
    assert ack_mode({"ack": mode.value}) is mode


def test_without_the_header_messages_are_settled_when_they_are_sent() -> None:
    assert ack_mode({}) is AckMode.AUTO


@pytest.mark.parametrize("name", PREFETCH_HEADERS)
def test_the_prefetch_has_several_names(name: str) -> None:
    assert prefetch({name: "7"}, 100) == 7


def test_names_of_the_prefetch_have_to_agree() -> None:
    first, second, _ = PREFETCH_HEADERS
    assert prefetch({second: "8", first: "8"}, 100) == 8
    assert prefetch({}, 100) == 100
    with pytest.raises(ProtocolError, match=f"{first} and {second} mean the same"):
        prefetch({second: "7", first: "8"}, 100)


@pytest.mark.parametrize("value", ["", "-1", "1.5", "\u0663", "lots", "1" * 13])
def test_a_number_is_a_plain_one(value: str) -> None:
    with pytest.raises(ProtocolError, match="delay must be a whole number") as caught:
        whole_number("delay", value)
    assert caught.value.code == ErrorCode.BAD_HEADER


@pytest.mark.parametrize(
    ("value", "meaning"),
    [("true", True), ("YES", True), ("1", True), ("False", False), ("no", False), ("0", False)],
)
def test_yes_and_no_have_several_words(value: str, meaning: bool) -> None:
    assert boolean("requeue", value) is meaning


def test_what_is_neither_is_named() -> None:
    with pytest.raises(ProtocolError, match="requeue must be true or false, not 'perhaps'"):
        boolean("requeue", "perhaps")


def test_an_ack_mode_that_there_is_not_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(ProtocolError, match="auto, client, client-individual, not 'maybe'"):
        ack_mode({"ack": "maybe"})
