"""Reading a log back: what is missing is told, whatever is missing."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.house import make_message

from stompy_broker.cluster.log.changes import Changes, write_changes
from stompy_broker.cluster.log.log import Entry
from stompy_broker.cluster.log.log_record import HEAD_BYTES, RecordHead, RecordKind, write_record
from stompy_broker.cluster.log.log_replay import Gap, LogReplay, TenureMark

ROOM = 100
"""Bytes of a part, so that a record of one message has two."""


def record(number: int, floor: int = 1, *, body: bytes | None = None) -> list[bytes]:
    """A record with the message of its number."""
    changes = Changes()
    changes.appended[number] = ("/queue/q", make_message(number, body or b"%d" % number))
    head = RecordHead(RecordKind.CHANGES, 1, number, floor, number)
    return write_record(head, write_changes(changes).payload, HEAD_BYTES + ROOM)


def removal(number: int, removed: Iterable[int], floor: int = 1) -> list[bytes]:
    changes = Changes(removed=list(removed))
    head = RecordHead(RecordKind.CHANGES, 1, number, floor, number)
    return write_record(head, write_changes(changes).payload, 10_000)


def mark(number: int, tenure: int, *, accepted: bool = False) -> list[bytes]:
    head = RecordHead(RecordKind.TENURE, tenure, number, 1, 0)
    return write_record(head, TenureMark("ann", "x", accepted).write(), 10_000)


def replayed(*records: list[bytes], without: Iterable[int] = ()) -> LogReplay:
    """What was read of records, the entries at some places not."""
    replay = LogReplay()
    octets = [part for parts in records for part in parts]
    for place, part in enumerate(octets, 1):
        if place not in without:
            replay.take(Entry(place, part))
    return replay


FIVE = [record(number) for number in range(1, 6)]
"""Five records of two parts each, at the places 1 to 10."""


def test_the_records_have_two_parts():
    assert [len(parts) for parts in FIVE] == [2] * 5


def test_what_is_whole_has_no_gap():
    replay = replayed(*FIVE)
    assert replay.finish() == []
    assert list(replay.rows) == [1, 2, 3, 4, 5]
    assert (replay.number, replay.last, replay.index.highest) == (5, 10, 5)
    assert replay.index.floor == 1


@given(st.sets(st.integers(1, 8), min_size=1))
def test_entries_that_are_missing_are_told(missing: set[int]):
    """Those at the end cannot be: who appends next expects the last place, and is refused."""
    replay = replayed(*FIVE, without=missing)
    gaps = replay.finish()
    told = {number for gap in gaps for number in range(gap.first, gap.last + 1)}
    assert told == {(place + 1) // 2 for place in missing}
    assert replay.rows.keys() == {1, 2, 3, 4, 5} - told


@given(st.integers(1, 10), st.data())
def test_a_bit_that_has_flipped_is_told(place: int, data: st.DataObject):
    octets = [part for parts in FIVE for part in parts]
    bit = data.draw(st.integers(0, len(octets[place - 1]) * 8 - 1))
    hurt = bytearray(octets[place - 1])
    hurt[bit // 8] ^= 1 << bit % 8
    octets[place - 1] = bytes(hurt)
    replay = LogReplay()
    for number, part in enumerate(octets, 1):
        replay.take(Entry(number, part))
    told = {number for gap in replay.finish() for number in range(gap.first, gap.last + 1)}
    record_hurt = (place + 1) // 2
    assert record_hurt in told
    assert replay.rows.keys() == {1, 2, 3, 4, 5} - {record_hurt}


@given(st.integers(1, 10), st.integers(0, 50))
def test_an_entry_that_ends_too_soon_is_told(place: int, length: int):
    octets = [part for parts in FIVE for part in parts]
    octets[place - 1] = octets[place - 1][:length]
    replay = LogReplay()
    for number, part in enumerate(octets, 1):
        replay.take(Entry(number, part))
    assert replay.finish()
    assert replay.rows.keys() == {1, 2, 3, 4, 5} - {(place + 1) // 2}


@given(st.integers(0, 3), st.integers(1, 5))
def test_a_record_that_comes_again_is_told_and_does_nothing(again: int, at: int):
    records = [*FIVE[:at], *FIVE[again : again + 1], *FIVE[at:]]
    if again >= at:
        return  # that is another order, and told as well
    replay = replayed(*records)
    (gap,) = replay.finish()
    assert (gap.first, gap.reason) == (again + 1, f"it comes again, behind record {at}")
    assert replay.number == 5


def test_what_was_removed_does_not_come_back_with_a_record_that_comes_again():
    replay = replayed(FIVE[0], removal(2, [1]), FIVE[0])
    assert len(replay.finish()) == 1
    assert replay.rows == {}
    assert replay.index.messages == {}


def test_what_somebody_else_has_written_between_is_told():
    replay = replayed(FIVE[0], [b"hello"], FIVE[1])
    (gap,) = replay.finish()
    assert (gap.first, gap.last) == (1, 2)
    assert "entry 3 of the log: 5 bytes are too short" in str(gap)
    assert list(replay.rows) == [1, 2]


def test_what_cannot_be_read_at_the_end_keeps_its_number():
    replay = replayed(FIVE[0], [b"hello"])
    assert [gap.first for gap in replay.finish()] == [2]
    assert replay.next_number == 3
    assert replayed(FIVE[0]).next_number == 2


def test_below_the_floor_nothing_is_missed():
    replay = replayed(record(4, 1), record(5, 4))
    assert replay.finish() == []
    assert list(replay.rows) == [4, 5]


def test_a_beginning_that_is_missing_is_told():
    replay = replayed(record(4, 2), record(5, 2))
    assert replay.finish() == [Gap(2, 3, "it is not there")]


def test_what_is_below_the_floor_is_forgotten_although_it_was_read():
    replay = replayed(record(1), record(2), record(7, 6), without=())
    assert replay.finish() == [Gap(6, 6, "it is not there")]
    replay = replayed(record(1), record(2), record(7, 7))
    assert replay.finish() == []
    assert list(replay.rows) == [7]
    assert list(replay.index.messages) == [7]


def test_what_an_operator_has_accepted_is_not_told_again():
    replay = replayed(FIVE[0], record(3), mark(4, 2, accepted=True), record(5))
    assert replay.finish() == []
    replay = replayed(FIVE[0], record(3), mark(4, 2), record(5))
    assert replay.finish() == [Gap(2, 2, "it is not there")]


def test_reading_goes_on():
    replay = replayed(*FIVE[:2])
    assert replay.finish() == []
    for place, part in enumerate([part for parts in FIVE[2:] for part in parts], 5):
        replay.take(Entry(place, part))
    assert replay.finish() == []
    assert list(replay.rows) == [1, 2, 3, 4, 5]


def test_whose_tenure_it_is():
    replay = replayed(mark(1, 1), FIVE[1], mark(3, 2))
    assert (replay.tenure, replay.owner, replay.left) == (2, "ann", False)


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b"[1, 2]"])
def test_a_beginning_of_a_tenure_that_makes_no_sense_is_told(payload: bytes):
    head = RecordHead(RecordKind.TENURE, 1, 1, 1, 0)
    (gap,) = replayed(write_record(head, payload, 1000)).finish()
    assert "makes no sense" in gap.reason


def test_changes_that_make_no_sense_are_told():
    head = RecordHead(RecordKind.CHANGES, 1, 1, 1, 0)
    (gap,) = replayed(write_record(head, b"nonsense", 1000)).finish()
    assert str(gap).startswith("record 1: what it holds makes no sense")
