"""What a SEND says so that its message is taken once."""

from __future__ import annotations

import pytest

from stompy.errors import ProtocolError
from stompy_broker.dedup_headers import (
    DUPLICATE_ID,
    LONGEST,
    LONGEST_TTL,
    found_id,
    read_duplicate_id,
    without_duplicate_id,
)


@pytest.mark.parametrize("name", DUPLICATE_ID)
def test_four_names_mean_the_same(name: str) -> None:
    found = read_duplicate_id({"a": "b", name: "one", "x-cache-ttl": "5"})
    assert found is not None
    assert (found.value, found.ttl, found.mode) == (b"one", 5, "window")


def test_several_may_say_the_same() -> None:
    found = read_duplicate_id(dict.fromkeys(DUPLICATE_ID, "one"))
    assert found is not None
    assert found.value == b"one"


@pytest.mark.parametrize("headers", [{}, {"a": "b"}, {"dedup-id": ""}])
def test_nothing_may_be_said(headers: dict[str, str]) -> None:
    assert read_duplicate_id(headers) is None


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"dedup-id": "1", "Nats-Msg-Id": "2"}, "dedup-id and Nats-Msg-Id mean the same"),
        ({"dedup-id": "é" * 129}, "258 bytes"),
        ({"dedup-mode": "window"}, "there is no dedup-id"),
        ({"dedup-id": "1", "dedup-ttl": str(LONGEST_TTL + 1)}, "whole number"),
        ({"dedup-id": "1", "dedup-ttl": "1" * 30}, "whole number"),
        ({"dedup-id": "1", "dedup-ttl": "٣"}, "whole number"),
        ({"dedup-id": "1", "dedup-mode": "queued", "dedup-ttl": "5"}, "goes by no time"),
        ({"dedup-id": "1", "dedup-mode": "throttle"}, "needs dedup-ttl"),
    ],
)
def test_what_makes_no_sense_is_refused(headers: dict[str, str], words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        read_duplicate_id(headers)


def test_what_was_found_without_decoding_says_the_same() -> None:
    def found(first: bytes | None, second: bytes | None) -> bytes | None:
        one = found_id((b"/queue/q", None, None, first, second, None))
        return None if one is None else one.value

    assert found(None, None) is None
    assert found(b"1", None) == found(None, b"1") == found(b"1", b"1") == b"1"
    with pytest.raises(ProtocolError, match="mean the same"):
        found(b"1", b"2")
    with pytest.raises(ProtocolError, match="257 bytes"):
        found(b"x" * (LONGEST + 1), None)


def test_a_dead_letter_tells_what_it_was() -> None:
    headers = {"a": "b", "Nats-Msg-Id": "1", "dedup-ttl": "5", "dedup-mode": "throttle"}
    without_duplicate_id(headers)
    assert headers == {"a": "b", "original-dedup-id": "1"}
    headers["dedup-id"] = "2"
    without_duplicate_id(headers)
    assert headers == {"a": "b", "original-dedup-id": "1"}
