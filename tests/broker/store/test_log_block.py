"""Blocks of a log: what goes in comes out, and what is no block is said to be none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stompy_broker.message import MessageHead, MessageTraits, stamp
from stompy_broker.store.entry_log import LogEntry, WantedValues
from stompy_broker.store.log_block import (
    BLOCK_BYTES,
    BLOCK_ENTRIES,
    BlockError,
    PackedBlock,
    content_of,
    pack_blocks,
)

HEADS = st.builds(
    lambda block, sized, priority, message_id: MessageHead(
        block, MessageTraits(sized=sized, priority=priority, message_id=message_id)
    ),
    st.binary(max_size=40),
    st.booleans(),
    st.integers(0, 9),
    st.none() | st.binary(max_size=9),
)

TIMES = st.integers(0, 2**53)
VALUES = st.none() | st.text(max_size=5) | st.just("caf\udce9")


@st.composite
def runs(draw: st.DrawFn) -> list[LogEntry]:
    """Entries that follow one another."""
    heads = draw(st.lists(HEADS, min_size=1, max_size=4))
    times = draw(st.lists(TIMES, min_size=1, max_size=4))
    fields = st.tuples(
        st.integers(0, 2**62),
        st.sampled_from(times).map(stamp),
        st.sampled_from(heads),
        st.none() | st.binary(max_size=30),
        VALUES,
        st.binary(max_size=5),
    )
    first = draw(st.integers(0, 2**39))
    return [
        LogEntry(first + at, *one)
        for at, one in enumerate(draw(st.lists(fields, min_size=1, max_size=30)))
    ]


def told(entry: LogEntry) -> tuple[object, ...]:
    """All of an entry, so that two can be compared."""
    head = entry.head
    return (
        *entry._replace(head=None),  # type: ignore[arg-type]
        head.block,
        head.sized,
        head.priority,
        head.message_id,
    )


def unpacked(
    blocks: list[PackedBlock], wanted: WantedValues | None = None
) -> list[tuple[object, ...]]:
    return [told(entry) for block in blocks for entry in block.entries(wanted)]


@given(runs())
def test_what_was_packed_is_read_again(entries: list[LogEntry]) -> None:
    blocks = list(pack_blocks(entries))
    assert unpacked(blocks) == list(map(told, entries))
    assert blocks[0].first == entries[0].offset
    assert blocks[-1].next == entries[-1].offset + 1
    assert max(block.latest for block in blocks) == max(entry.received_at for entry in entries)
    assert max(block.sequence for block in blocks) == max(entry.sequence for entry in entries)
    assert sum(block.content for block in blocks) == sum(map(content_of, entries))


@given(runs(), st.frozensets(st.text(max_size=2)), st.booleans())
def test_what_is_not_wanted_is_left_out(
    entries: list[LogEntry], values: frozenset[str], unfiltered: bool
) -> None:
    wanted = WantedValues(values, unfiltered)
    blocks = list(pack_blocks(entries))
    asked = [told(entry) for entry in entries if wanted.has(entry.filter_value)]
    assert unpacked(blocks, wanted) == asked
    for block in blocks:
        assert block.is_wanted(wanted) == bool(block.entries(wanted))


@given(runs(), st.data())
def test_the_first_entry_of_a_time_is_found(entries: list[LogEntry], data: st.DataObject) -> None:
    (block,) = pack_blocks(entries)
    time = data.draw(st.sampled_from([entry.received_at for entry in entries]) | TIMES)
    later = [entry.offset for entry in entries if entry.received_at >= time]
    assert block.offset_at(time) == (later[0] if later else block.next)


@given(runs(), st.data())
def test_what_was_cut_short_is_no_block(entries: list[LogEntry], data: st.DataObject) -> None:
    (block,) = pack_blocks(entries)
    length = data.draw(st.integers(0, len(block.data) - 1))
    with pytest.raises(BlockError):
        block._replace(data=block.data[:length]).entries()


def test_a_later_version_is_not_guessed_at() -> None:
    entry = LogEntry(0, 1, stamp(1), MessageHead(b"\n", MessageTraits(sized=False)), b"", None, b"")
    (block,) = pack_blocks([entry])
    with pytest.raises(BlockError, match="version 9"):
        block._replace(data=b"\x09" + block.data[1:]).entries()


def test_blocks_are_bounded_and_a_large_entry_stands_alone() -> None:
    head = MessageHead(b"\n", MessageTraits(sized=True))
    sizes = [10] * 2500 + [BLOCK_BYTES * 2] + [BLOCK_BYTES // 2 - 1] * 3
    entries = [
        LogEntry(at, at, stamp(1), head, bytes(size), None, b"") for at, size in enumerate(sizes)
    ]
    blocks = list(pack_blocks(entries))
    assert [block.length for block in blocks] == [BLOCK_ENTRIES, BLOCK_ENTRIES, 500, 1, 2, 1]
    assert list(pack_blocks([])) == []
