"""The headers of every verb."""

import pytest

from stompy.protocol.frame import AckMode
from stompy.session.commands import (
    HeaderValue,
    as_text,
    message_headers,
    request_headers,
    subscribe_headers,
    unsubscribe_headers,
)
from stompy.session.dialects import ACTIVEMQ, ARTEMIS, RABBITMQ, STOMPY


def test_numbers_and_booleans_are_written_as_text_and_nothing_else_is_taken():
    text = {"a": "1"}
    assert as_text(text) is text
    assert as_text({"a": 1, "b": True, "c": 1.5, "d": AckMode.AUTO}) == {
        "a": "1",
        "b": "true",
        "c": "1.5",
        "d": "auto",
    }
    with pytest.raises(TypeError, match="'a' must be text or a number, not bytes"):
        as_text({"a": b"x"})


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        (STOMPY, {"destination": "/queue/q", "message-id": "m", "a": "1", "b": 2}),
        (RABBITMQ, {"destination": "/queue/q", "amqp-message-id": "m", "a": "1", "b": 2}),
        (
            ARTEMIS,
            {
                "destination-type": "ANYCAST",
                "destination": "/queue/q",
                "message-id": "m",
                "a": "1",
                "b": 2,
            },
        ),
    ],
)
def test_a_message_for_each_broker(dialect, expected):
    assert message_headers("/queue/q", "m", {"a": "1"}, {"b": 2}, dialect) == expected


def test_subscriptions():
    assert subscribe_headers("/queue/q", "s", AckMode.AUTO, {"ack": "client"}) == {
        "destination": "/queue/q",
        "id": "s",
        "ack": "client",
    }
    assert unsubscribe_headers("s", {"x": 1}) == {"id": "s", "x": 1}


def test_a_request_names_where_and_how_to_answer():
    given: dict[str, HeaderValue] = {"correlation-id": "mine", "x": 1}
    asked = {
        "destination": "/queue/q",
        "x": 1,
        "reply-to": "/temp-queue/r",
        "correlation-id": "c",
    }
    assert request_headers("/queue/q", "/temp-queue/r", "c", given, ACTIVEMQ, 1.5) == asked
    told = request_headers("/queue/q", "/temp-queue/r", "c", given, STOMPY, 1.5)
    assert told == asked | {"reply-timeout": 1500}
    given["reply-timeout"] = 0
    told = request_headers("/queue/q", "/temp-queue/r", "c", given, STOMPY, 1.5)
    assert told == asked | {"reply-timeout": 0}
