"""Records as bytes: what comes back is what was written, or it is told that it is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stompy_broker.cluster.log.log_record import (
    HEAD_BYTES,
    MOST_PARTS,
    RecordError,
    RecordHead,
    RecordKind,
    join,
    read_part,
    write_record,
)

NUMBERS = st.integers(0, 2**64 - 1)
HEADS = st.builds(
    RecordHead,
    st.sampled_from(RecordKind),
    NUMBERS,
    NUMBERS,
    NUMBERS,
    NUMBERS,
    NUMBERS,
    part=st.just(0),
    parts=st.just(1),
)
HEAD = RecordHead(RecordKind.CHANGES, 3, 17, 5, 99)


@given(HEADS, st.binary(max_size=500), st.integers(1, 200))
def test_a_record_comes_back_in_as_many_parts_as_it_takes(
    head: RecordHead, payload: bytes, room: int
):
    parts = write_record(head, payload, HEAD_BYTES + room)
    assert len(parts) == max(1, -(-len(payload) // room))
    assert all(len(part) <= HEAD_BYTES + room for part in parts)
    whole, found = join([read_part(part) for part in parts])
    assert found == payload
    assert whole == head._replace(parts=len(parts))


@given(st.binary(max_size=200), st.data())
def test_a_bit_that_flips_anywhere_is_seen(payload: bytes, data: st.DataObject):
    (part,) = write_record(HEAD, payload, 10_000)
    bit = data.draw(st.integers(0, len(part) * 8 - 1))
    octets = bytearray(part)
    octets[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RecordError):
        read_part(bytes(octets))


@given(st.binary(max_size=200), st.data())
def test_a_record_that_ends_too_soon_is_seen(payload: bytes, data: st.DataObject):
    (part,) = write_record(HEAD, payload, 10_000)
    with pytest.raises(RecordError):
        read_part(part[: data.draw(st.integers(0, len(part) - 1))])
    with pytest.raises(RecordError):
        read_part(part + b"\0")


@given(st.binary(max_size=300))
def test_anything_else_is_no_record(octets: bytes):
    with pytest.raises(RecordError):
        read_part(octets)


def test_parts_that_are_missing_or_in_another_order_are_seen():
    parts = [read_part(part) for part in write_record(HEAD, bytes(250), HEAD_BYTES + 100)]
    other = [read_part(part) for part in write_record(HEAD._replace(number=18), bytes(250), 168)]
    for wrong in (
        parts[:2],
        parts[1:],
        [parts[0], parts[2]],
        [parts[1], parts[0], parts[2]],
        [*parts, parts[2]],
        [*parts[:2], other[-1]],
    ):
        with pytest.raises(RecordError, match="not there"):
            join(wrong)


def test_what_a_later_version_has_written_is_whole_and_cannot_be_read():
    (part,) = write_record(HEAD, b"x", 1000)
    later = bytearray(part)
    later[2] = 2
    with pytest.raises(RecordError, match="checksum"):
        read_part(bytes(later))


def test_a_record_of_too_many_parts_is_refused():
    with pytest.raises(RecordError, match="is the most"):
        write_record(HEAD, bytes(MOST_PARTS + 1), HEAD_BYTES + 1)
