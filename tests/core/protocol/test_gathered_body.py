"""A body that comes in pieces: whole at the end, and never much more memory than has come."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stompy.protocol.gathered_body import GatheredBody

MIB = 1 << 20
PIECE = 64 * 1024


@given(pieces=st.lists(st.binary(max_size=50)), announced=st.booleans())
def test_what_was_added_is_given(pieces: list[bytes], announced: bool) -> None:
    whole = b"".join(pieces)
    body = GatheredBody(len(whole) if announced else -1)
    for piece in pieces:
        body.add(memoryview(piece))
    assert body.size == len(whole)
    assert body.whole() == whole


def test_says_what_is_missing_with_the_nul() -> None:
    body = GatheredBody(10)
    assert body.missing == 11
    body.add(b"x" * 10)
    assert body.missing == 1
    assert GatheredBody(-1).missing == 0


@pytest.mark.parametrize("length", [64 * MIB, -1])
def test_what_was_announced_and_not_sent_takes_no_room(length: int) -> None:
    body = GatheredBody(length)
    for _ in range(20):
        body.add(b"x" * 1000)
        assert body.reserved <= 2 * body.size


@pytest.mark.parametrize("length", [8 * MIB, -1])
def test_room_is_made_a_few_times(length: int) -> None:
    body = GatheredBody(length)
    rooms = set()
    for _ in range(8 * MIB // PIECE):
        body.add(b"x" * PIECE)
        rooms.add(body.reserved)
    assert len(rooms) <= 8  # it doubles from one piece to 128


def test_the_end_copies_nothing() -> None:
    piece = b"x" * PIECE
    tracemalloc.start()
    try:
        body = GatheredBody(8 * MIB)
        for _ in range(8 * MIB // PIECE):
            body.add(piece)
        whole = body.whole()
        assert tracemalloc.get_traced_memory()[1] < 10 * MIB
    finally:
        tracemalloc.stop()
    assert len(whole) == 8 * MIB
