"""What a policy says about streams."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from stompy_broker.destinations.policy import Policy, arguments_in
from stompy_broker.destinations.stream_settings import not_of_streams, read_age, read_type


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("5m", 300),
        ("12h", 43_200),
        ("7D", 604_800),
        ("7d", 604_800),
        ("2M", 5_184_000),
        ("1Y", 31_536_000),
        (" 3 h ", 10_800),
        ("0s", 0),
        ("30 days", 2_592_000),
        ("1 h 30 min", 5400),
        ("1.5h", 5400),
        ("1w", 604_800),
        ("999999999Y", 10**12),
        ("9" * 60 + " days", 10**12),
    ],
)
def test_an_age_is_a_number_and_a_unit_or_a_span_of_time(text: str, seconds: int) -> None:
    assert read_age(text) == seconds * 1000


@pytest.mark.parametrize("text", ["", "7", "D", "-1h", "1h30m", "1 fortnight"])
def test_anything_else_is_no_age(text: str) -> None:
    with pytest.raises(ValueError, match="such as 7D or 12h"):
        read_age(text)


def test_a_policy_makes_streams_and_says_for_how_long() -> None:
    policy = Policy(type="stream", max_age="12h")
    assert policy.is_stream
    assert policy.max_age_ms == 12 * 3_600_000
    assert Policy(type="stream", max_age="30 days").max_age_ms == 30 * 86_400_000
    assert not Policy().is_stream
    assert Policy().max_age_ms == 0
    with pytest.raises(ValidationError, match="longer than nothing"):
        Policy(max_age="0s")


def test_arguments_go_before_a_policy() -> None:
    arguments = {"x-queue-type": "Stream", "x-max-age": "1h", "x-max-length-bytes": "9"}
    policy = Policy().with_arguments(arguments)
    assert policy.is_stream
    assert (policy.max_age, policy.max_length_bytes) == ("1h", 9)
    assert not Policy(type="stream").with_arguments({"x-queue-type": "quorum"}).is_stream
    with pytest.raises(ValueError, match="x-max-age: must be a number"):
        Policy().with_arguments({"x-max-age": "soon"})
    with pytest.raises(ValueError, match="x-queue-type: must be classic, quorum or stream"):
        Policy().with_arguments({"x-queue-type": "log"})


def test_the_type_that_holds_anyhow_is_no_argument() -> None:
    assert arguments_in({"x-queue-type": "quorum"}) == {}
    assert arguments_in({"x-queue-type": "stream"}, Policy(type="stream")) == {}
    assert arguments_in({"x-queue-type": "stream"}) == {"x-queue-type": "stream"}
    assert arguments_in({"x-queue-type": "classic"}, Policy(type="stream"))
    assert arguments_in({"x-queue-type": "log"}) == {"x-queue-type": "log"}


@pytest.mark.parametrize(
    ("text", "type_"),
    [("", "queue"), ("classic", "queue"), ("Quorum", "queue"), ("stream", "stream")],
)
def test_peers_have_names_for_types(text: str, type_: str) -> None:
    assert read_type(text) == type_


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-message-ttl", "5"),
        ("x-overflow", "reject-publish"),
        ("x-max-priority", "10"),
        ("x-last-value-key", "k"),
        ("auto-delete", "true"),
        ("exclusive", "true"),
        ("durable", "false"),
    ],
)
def test_what_no_stream_can_be_is_found_by_name(name: str, value: str) -> None:
    found = not_of_streams({name: value})
    assert found is not None
    assert found[0] == name


def test_what_holds_for_streams_anyhow_may_be_said() -> None:
    said = {"durable": "true", "auto-delete": "false", "exclusive": "", "x-max-age": "1h"}
    assert not_of_streams(said) is None
