"""Records of settlements: what is written is read again, and nothing else is taken for one."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stompy.admin.settlements import SettlementKind
from stompy_broker.routing.settlement_record import (
    NOBODY,
    SettlementRecord,
    Taker,
    code_of,
    decode_record,
    encode_record,
    encode_taker,
    encode_words,
)

_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
_NUMBERS = st.integers(0, 2**32 - 1)
_TIMES = st.integers(0, 2**53)
_RECORDS = st.builds(
    SettlementRecord,
    st.sampled_from(SettlementKind),
    _TIMES,
    _TIMES,
    _NUMBERS,
    st.builds(Taker, _TEXTS, _TEXTS, _TEXTS, _TEXTS),
    _NUMBERS,
    _NUMBERS,
    _TEXTS,
    _TEXTS,
    _TEXTS,
)


def _encoded(record: SettlementRecord) -> bytes:
    return encode_record(
        code_of(record.kind),
        record.received,
        record.delivered,
        record.consumer,
        record.deliveries,
        record.failures,
        encode_taker(record.taker),
        encode_words(record.cause, record.reason, record.sent_to),
    )


@given(_RECORDS)
def test_what_is_written_is_read(record: SettlementRecord) -> None:
    """Every field comes back as it was."""
    assert decode_record(_encoded(record)) == record


@given(_RECORDS, st.data())
def test_what_is_cut_short_is_no_record(record: SettlementRecord, data: st.DataObject) -> None:
    """A record that lacks its end is refused."""
    octets = _encoded(record)
    end = data.draw(st.integers(0, len(octets) - 1))
    with pytest.raises(ValueError, match="record of a settlement"):
        decode_record(octets[:end])


@given(st.binary(max_size=80))
def test_what_is_something_else_does_no_harm(octets: bytes) -> None:
    """Octets are a record, or are refused."""
    with suppress(ValueError):
        decode_record(octets)


def test_a_record_of_a_later_release_is_refused() -> None:
    """The form is told first."""
    octets = encode_record(0, 1, 2, 3, 4, 5)
    with pytest.raises(ValueError, match="later release"):
        decode_record(b"\2" + octets[1:])
    with pytest.raises(ValueError, match="later release"):
        decode_record(octets[:1] + b"\xff" + octets[2:])


def test_nobody_and_no_words_are_the_defaults() -> None:
    """What is left out is empty."""
    found = decode_record(encode_record(code_of(SettlementKind.CLOSED), 7, 0, 0, 0, 0))
    assert found == SettlementRecord(SettlementKind.CLOSED, 7)
    assert found.taker == NOBODY


def test_long_texts_are_cut_between_characters() -> None:
    """No text makes a record large, and none has half a character."""
    record = SettlementRecord(SettlementKind.NACKED, 1, reason="a" + "é" * 2000)
    found = decode_record(_encoded(record))
    assert found.reason == "a" + "é" * 499


@pytest.mark.parametrize("kind", SettlementKind)
def test_it_is_said_whether_the_message_left(kind: SettlementKind) -> None:
    """Three kinds bring a message back; all others end its stay."""
    back = {SettlementKind.NACKED, SettlementKind.LOST, SettlementKind.RETURNED}
    assert SettlementRecord(kind, 1).leaves is (kind not in back)
