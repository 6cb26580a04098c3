"""Messages of links as bytes: however they are cut, whole ones come out, in order."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stompy_broker.cluster.link.codec import (
    BEAT,
    LinkProtocolError,
    MessageParser,
    gathered,
    goodbye,
    length_of,
    reason_of,
    shown,
)


def written(messages: list[bytes]) -> bytes:
    """What goes over the wire; an empty one is a beat."""
    return b"".join(length_of(len(one)) + one for one in messages)


def parsed(parser: MessageParser, data: bytes, cuts: list[int]) -> list[bytes]:
    found: list[bytes] = []
    edges = [0, *sorted(cuts), len(data)]
    for begin, end in itertools.pairwise(edges):
        found += parser.feed(data[begin:end])
    return found


MESSAGES = [b"\x01", b"", b"\x02" + bytes(300), b"", b"\x03ab", BEAT]


def test_every_cut_into_two_gives_the_same_messages() -> None:
    data = written(MESSAGES)
    expected = [one for one in MESSAGES if one]
    for cut in range(len(data) + 1):
        parser = MessageParser()
        assert parsed(parser, data, [cut]) == expected
        assert parser.missing == 0
    assert parsed(MessageParser(), data, list(range(len(data)))) == expected


@given(
    st.lists(st.binary(max_size=40), max_size=12),
    st.lists(st.integers(0, 500), max_size=20),
)
def test_any_messages_in_any_pieces(messages: list[bytes], cuts: list[int]) -> None:
    data = written(messages)
    cuts = [min(cut, len(data)) for cut in cuts]
    assert parsed(MessageParser(), data, cuts) == [one for one in messages if one]


def test_a_large_message_in_small_pieces_is_linear() -> None:
    body = random.Random(1).randbytes(1 << 20) * 8
    data = written([body, b"\x01next"])
    parser = MessageParser()
    found: list[bytes] = []
    for at in range(0, len(data), 4096):
        found += parser.feed(data[at : at + 4096])
    assert found == [body, b"\x01next"]


def test_a_message_that_is_too_long_is_refused_before_it_has_come() -> None:
    parser = MessageParser(longest=10)
    assert parser.feed(length_of(10) + bytes(10)) == [bytes(10)]
    with pytest.raises(LinkProtocolError, match="11 bytes; 10 are allowed"):
        parser.feed(length_of(11))
    with pytest.raises(LinkProtocolError):
        MessageParser().feed(b"\xff\xff\xff\xff")


@given(st.lists(st.integers(0, 200_000), max_size=8))
def test_gathering_changes_no_byte(sizes: list[int]) -> None:
    pieces = [bytes([number % 256]) * size for number, size in enumerate(sizes)]
    total = sum(sizes)
    written_out = list(gathered(pieces, total))
    assert b"".join(written_out) == b"".join(pieces)
    # Large ones are not copied, and small ones cost no write each.
    large = [one for one in pieces if len(one) >= 65536]
    assert all(any(one is piece for one in written_out) for piece in large)
    assert len(written_out) <= 2 * len(large) + 1


def test_a_reason_is_one_short_line_whatever_the_peer_says() -> None:
    assert reason_of(goodbye("is done")) == "is done"
    assert reason_of(b"\0") == "no reason was given"
    assert "\n" not in reason_of(b"\0a\n\x1b[2J\xff")
    assert len(shown("x" * 100_000)) == len(shown("\n" * 100_000)) == 300
