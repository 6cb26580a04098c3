"""What a SUBSCRIBE says of how it reads a stream."""

from __future__ import annotations

import pytest

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.routing.reading import FROM_FIRST, FROM_NEXT, Reading, StartAt, StreamStart
from stompy_broker.session.stream_request import read_reading


def test_who_says_nothing_reads_what_is_to_come() -> None:
    assert read_reading({"destination": "/stream/s", "ack": "client"}) is None
    assert read_reading({"x-stream-offset": "", "share": "", "x-stream-filter": " "}) is None
    assert read_reading({"x-stream-offset": "next"}) is None


@pytest.mark.parametrize(
    ("headers", "reading"),
    [
        ({"x-stream-offset": "first"}, Reading(FROM_FIRST)),
        ({"activemq.retroactive": "true"}, Reading(FROM_FIRST)),
        (
            {"activemq.retroactive": "true", "x-stream-offset": "first"},
            Reading(FROM_FIRST),
        ),
        ({"x-stream-offset": "offset=7"}, Reading(StreamStart(StartAt.OFFSET, 7))),
        ({"x-stream-consumer": "n"}, Reading(FROM_NEXT, True, "n")),
        ({"durable-subscription-name": "n"}, Reading(FROM_NEXT, True, "n")),
        ({"activemq.subscriptionName": "n"}, Reading(FROM_NEXT, True, "n")),
        (
            {"x-stream-consumer": "n", "x-stream-offset": "first"},
            Reading(FROM_FIRST, False, "n"),
        ),
        (
            {"x-stream-consumer": "n", "x-stream-offset": "first-unread"},
            Reading(FROM_FIRST, True, "n"),
        ),
        (
            {"x-stream-automatic-offset-tracking": "true", "id": "7"},
            Reading(FROM_NEXT, True, "7"),
        ),
        (
            {
                "x-stream-automatic-offset-tracking": "true",
                "id": "7",
                "x-stream-offset": "first",
                "x-stream-consumer": "n",
            },
            Reading(FROM_FIRST, True, "n"),
        ),
        (
            {"x-stream-filter": "a, b,,a", "x-stream-match-unfiltered": "true"},
            Reading(filters=frozenset("ab"), unfiltered=True),
        ),
        (
            {"x-stream-consumer": "n", "share": "true"},
            Reading(FROM_NEXT, True, "n", shared=True),
        ),
        (
            {"x-stream-consumer": "n", "share": "n"},
            Reading(FROM_NEXT, True, "n", shared=True),
        ),
        (
            {"x-stream-consumer": "n", "share": "false"},
            Reading(FROM_NEXT, True, "n"),
        ),
    ],
)
def test_all_that_can_be_said(headers: dict[str, str], reading: Reading) -> None:
    assert read_reading(headers) == reading


@pytest.mark.parametrize(
    ("headers", "code", "words"),
    [
        ({"x-stream-offset": "middle"}, "bad-header", "x-stream-offset must be first"),
        ({"x-stream-offset": "age=x"}, "bad-header", "x-stream-offset must be a number"),
        ({"x-stream-offset": "first-unread"}, "bad-header", "x-stream-consumer"),
        (
            {"x-stream-offset": "last", "activemq.retroactive": "true"},
            "bad-header",
            "means x-stream-offset:first",
        ),
        (
            {"x-stream-consumer": "a", "durable-subscription-name": "b"},
            "bad-header",
            "mean the same",
        ),
        ({"x-stream-automatic-offset-tracking": "true"}, "missing-header", "'id'"),
        ({"x-stream-automatic-offset-tracking": "so"}, "bad-header", "true or false"),
        ({"x-stream-consumer": "a\tb"}, "bad-header", "printed"),
        ({"x-stream-consumer": "a" * 256}, "bad-header", "255"),
        ({"x-stream-filter": ",".join(map(str, range(65)))}, "bad-header", "64 are the most"),
        ({"x-stream-filter": " , "}, "bad-header", "names no value"),
        ({"share": "true"}, "bad-header", "readers of one name"),
        ({"x-stream-consumer": "a", "share": "b"}, "bad-header", "share must be"),
    ],
)
def test_what_does_not_fit(headers: dict[str, str], code: str, words: str) -> None:
    with pytest.raises(ProtocolError, match=words) as caught:
        read_reading(headers)
    assert caught.value.error_code is ErrorCode(code)
