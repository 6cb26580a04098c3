"""Changes as bytes: what comes back is what was told, and nonsense is refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.house import WALL, make_head, make_message

from stompy_broker.cluster.log.changes import (
    Changes,
    FrontMark,
    messages_of,
    read_changes,
    write_changes,
)
from stompy_broker.cluster.log.log_record import RecordError
from stompy_broker.message import Message, MessageHead, MessageTraits, stamp
from stompy_broker.store.base import StoredSubscription

SEQUENCES = st.integers(1, 2**63)
TEXTS = st.text("aß🐇 /\udce9", max_size=6)
HEADS = st.lists(
    st.one_of(
        st.builds(
            MessageHead,
            st.binary(max_size=30),
            st.builds(
                MessageTraits,
                sized=st.booleans(),
                stamped=st.booleans(),
                priority=st.integers(0, 9),
                message_id=st.one_of(st.none(), st.binary(max_size=5)),
            ),
        ),
        st.just(make_head("/queue/größe", priority="7")),
    ),
    min_size=1,
    max_size=3,
)
STATES = st.tuples(
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**63),
    st.integers(0, 2**63),
)


@st.composite
def all_changes(draw: st.DrawFn) -> Changes:
    heads = draw(HEADS)
    bodies = draw(st.lists(st.binary(max_size=20), min_size=1, max_size=3))
    changes = Changes()
    for sequence in draw(st.lists(SEQUENCES, max_size=8, unique=True)):
        message = Message(
            sequence,
            draw(st.sampled_from(heads)),
            draw(st.sampled_from(bodies)),
            stamp(draw(st.sampled_from([WALL, WALL + 1]))),
        )
        message.expires = draw(st.sampled_from([0, WALL]))
        if draw(st.booleans()):
            message = message.restored(*draw(st.tuples(st.integers(0, 9), st.integers(0, 9))))
        changes.appended[sequence] = (draw(TEXTS), message)
    changes.states = draw(st.dictionaries(SEQUENCES, STATES, max_size=4))
    known = list(changes.appended)
    if known:
        changes.states[draw(st.sampled_from(known))] = draw(STATES)
    changes.removed = draw(st.lists(SEQUENCES, max_size=4))
    answers = st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
    marks = st.builds(FrontMark, SEQUENCES, st.lists(answers, max_size=2).map(tuple))
    changes.fronts = draw(st.dictionaries(TEXTS, st.none() | marks, max_size=2))
    kept = st.builds(StoredSubscription, st.just("n"), TEXTS, TEXTS)
    if draw(st.booleans()):
        changes.kept["n"] = draw(st.one_of(st.none(), kept))
    changes.settings = draw(
        st.dictionaries(TEXTS, st.one_of(st.none(), st.dictionaries(TEXTS, TEXTS)), max_size=2)
    )
    return changes


@given(all_changes())
def test_changes_come_back(changes: Changes):
    written = write_changes(changes)
    read = read_changes(written.payload)
    assert read.removed == changes.removed
    assert (read.kept, read.settings) == (changes.kept, changes.settings)
    assert read.fronts == changes.fronts
    assert read.states == {
        sequence: state
        for sequence, state in changes.states.items()
        if sequence not in changes.appended
    }
    assert [one.placed for one in read.messages] == written.placed
    assert len(read.messages) == len(changes.appended)
    pairs = zip(messages_of(written.payload, read.messages), read.messages, strict=True)
    for (destination, found), logged in pairs:
        told_destination, told = changes.appended[found.sequence]
        assert (destination, found.body) == (told_destination, told.body)
        assert (found.stamp, found.expires, found.size) == (told.stamp, told.expires, told.size)
        for name in ("block", "sized", "stamped", "priority", "message_id"):
            assert getattr(found.head, name) == getattr(told.head, name)
        usual = (told.deliveries, told.failures, 0, 0)
        assert logged.state == changes.states.get(found.sequence, usual)


@given(all_changes(), st.data())
def test_what_is_cut_or_changed_is_refused_or_read(changes: Changes, data: st.DataObject):
    # The checksum of the record sees it first; still nothing but a RecordError may come of it.
    payload = bytearray(write_changes(changes).payload)
    at = data.draw(st.integers(0, len(payload) - 1))
    with pytest.raises(RecordError):
        read_changes(bytes(payload[:at]))
    payload[at] ^= data.draw(st.integers(1, 255))
    with suppress(RecordError):
        read_changes(bytes(payload))


@given(st.binary(max_size=200))
def test_anything_else_is_refused(octets: bytes):
    with suppress(RecordError):
        read_changes(octets)
    with pytest.raises(RecordError):
        read_changes(b"\xff" * 28 + octets)


def test_a_body_that_comes_several_times_in_a_row_is_written_once():
    body, changes = bytes(10_000), Changes()
    for sequence in range(1, 101):
        changes.appended[sequence] = ("/queue/q", make_message(sequence, body))
    assert len(write_changes(changes).payload) < 3 * len(body)


def test_what_was_copied_and_removed_at_once_is_not_written_again():
    changes = Changes()
    for sequence in (1, 2):
        message = make_message(sequence)
        changes.copied[sequence] = ("/queue/q", message, (4, 3, 2, 1))
    changes.removed = [1]
    changes.states[2] = (5, 4, 3, 2)
    read = read_changes(write_changes(changes).payload)
    assert [(one.placed.sequence, one.state) for one in read.messages] == [(2, (5, 4, 3, 2))]
    assert read.removed == [1]
    assert not changes.empty
    assert changes.size == 2


def test_there_is_nothing_in_nothing():
    assert Changes().empty
    assert read_changes(write_changes(Changes()).payload) == read_changes(bytes(28))
