"""Blocks of a log: many entries packed into one run of bytes, column by column.

A column is a base and, for each entry, what has to be added to it, in as few bytes as the largest
takes; none where all are the same. So a block is read by a few calls for all of its entries. Heads
and filter values that entries share are stored once, and read as one object.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, compress, pairwise
from struct import Struct
from typing import Final, NamedTuple, cast

from stompy_broker.message import MessageHead, stamp
from stompy_broker.store.entry_log import LogEntry, WantedValues, make_entry
from stompy_broker.store.rows import PRIORITY, SIZED, STAMPED, restored_head

BLOCK_ENTRIES: Final = 1000
BLOCK_BYTES: Final = 256 * 1024
"""A block holds at most so much; an entry that is larger stands alone."""

_VERSION: Final = 1
_START = Struct("<BII")  # version, entries, heads
_COLUMN = Struct("<qB")  # base, width
_HEAD = Struct("<IBI")  # length of the header lines, flags, length of the message-id and 1, or 0
_VALUE = Struct("<I")  # length of a filter value
_WIDTHS: Final = ((0xFF, 1, "B"), (0xFFFF, 2, "H"), (0xFFFF_FFFF, 4, "I"), (2**64 - 1, 8, "Q"))
_TYPES: Final = {width: code for _, width, code in _WIDTHS}


class BlockError(Exception):
    """It is no block: it was damaged, or a later release has written it."""


class PackedBlock(NamedTuple):
    """Some entries of a log.

    Attributes:
        first: the offset of the first.
        length: how many they are.
        oldest: the earliest time at which one came, in milliseconds since the epoch.
        latest: the latest.
        sequence: the highest of their messages.
        content: bytes of their headers, bodies and payloads.
        filters: their filter values; None = none has one.
        data: the entries.
    """

    first: int
    length: int
    oldest: int
    latest: int
    sequence: int
    content: int
    filters: bytes | None
    data: bytes

    @property
    def next(self) -> int:
        """The offset behind the last."""
        return self.first + self.length

    def is_wanted(self, wanted: WantedValues) -> bool:
        """Whether there is an entry in it that a reader asks for."""
        return may_have(self.filters, wanted)

    def entries(self, wanted: WantedValues | None = None) -> list[LogEntry]:
        """Read the entries that are wanted; None = all.

        Raises:
            BlockError: it cannot be read.
        """
        try:
            return _read(self, wanted)
        except (struct.error, IndexError, KeyError, ValueError, OverflowError, TypeError) as error:
            raise BlockError(f"its entries cannot be read: {error}") from None

    def offset_at(self, time: int) -> int:
        """The offset of the first entry that came at a time, or later.

        Raises:
            BlockError: it cannot be read.
        """
        # Once for each search, so the other columns may be read as well.
        found = (one.offset for one in self.entries() if one.received_at >= time)
        return next(found, self.next)


def content_of(entry: LogEntry) -> int:
    """The bytes of its headers, body and payload."""
    return len(entry.head.block) + len(entry.body or b"") + len(entry.payload)


def pack_blocks(entries: Iterable[LogEntry]) -> Iterator[PackedBlock]:
    """Pack the entries of a log, which follow one another, into as many blocks as it takes.

    They are asked for as blocks are filled, so there may be very many.
    """
    some: list[LogEntry] = []
    filled = 0
    for entry in entries:
        size = content_of(entry)
        if some and (filled + size > BLOCK_BYTES or len(some) == BLOCK_ENTRIES):
            yield _pack(some, filled)
            some, filled = [], 0
        some.append(entry)
        filled += size
    if some:
        yield _pack(some, filled)


def may_have(filters: bytes | None, wanted: WantedValues) -> bool:
    """Whether a block with such filter values has an entry that a reader asks for."""
    if filters is None:
        return wanted.unfiltered
    if wanted.unfiltered and filters[0]:
        return True
    return not wanted.values.isdisjoint(_read_filters(filters))


def _pack(entries: Sequence[LogEntry], size: int) -> PackedBlock:
    _, sequences, stamps, heads, bodies, filter_values, payloads = zip(*entries, strict=True)
    times = {one: int(one.partition(b":")[2]) for one in set(stamps)}
    places, packed_heads = _pack_heads(heads)
    filters, indexes = _pack_filters(filter_values)
    parts = [_START.pack(_VERSION, len(entries), len(packed_heads))]
    parts += packed_heads
    for column in (
        sequences,
        [times[one] for one in stamps],
        [places[one] for one in heads],
        indexes,
        [-1 if body is None else len(body) for body in bodies],
        [len(payload) for payload in payloads],
    ):
        parts += _pack_column(column)
    parts += [body for body in bodies if body]
    parts += [payload for payload in payloads if payload]
    return PackedBlock(
        entries[0].offset,
        len(entries),
        min(times.values()),
        max(times.values()),
        max(sequences),
        size,
        filters,
        b"".join(parts),
    )


def _pack_column(values: Sequence[int]) -> tuple[bytes, bytes]:
    base, last = min(values), max(values)
    if base == last:
        return _COLUMN.pack(base, 0), b""
    width, code = next((width, code) for most, width, code in _WIDTHS if last - base <= most)
    column = array(code, [value - base for value in values] if base else values)
    if sys.byteorder == "big":
        column.byteswap()
    return _COLUMN.pack(base, width), column.tobytes()


def _pack_heads(heads: Iterable[MessageHead]) -> tuple[dict[MessageHead, int], list[bytes]]:
    """The places of heads among those that differ, and these."""
    places: dict[MessageHead, int] = {}
    known: dict[tuple[bytes, int, bytes | None], int] = {}
    for head in dict.fromkeys(heads):
        flags = head.sized * SIZED | head.stamped * STAMPED | head.priority << PRIORITY
        places[head] = known.setdefault((head.block, flags, head.message_id), len(known))
    return places, [
        _HEAD.pack(len(block), flags, 0 if message_id is None else len(message_id) + 1)
        + block
        + (message_id or b"")
        for block, flags, message_id in known
    ]


def _pack_filters(values: Sequence[str | None]) -> tuple[bytes | None, Sequence[int]]:
    """The different values, and for each entry the number of its own; 0 = none."""
    different = set(values) - {None}
    if not different:
        return None, [0] * len(values)
    # The first byte says whether there are entries without a value.
    parts, places = [b"\1" if None in values else b"\0"], {None: 0}
    for number, value in enumerate(sorted(cast("set[str]", different)), 1):
        text = value.encode("utf-8", "surrogateescape")
        parts += [_VALUE.pack(len(text)), text]
        places[value] = number  # type: ignore[index]  # None stands for none
    return b"".join(parts), [places[value] for value in values]  # type: ignore[index]


def _read_filters(filters: bytes) -> list[str]:
    found, at = [], 1
    while at < len(filters):
        (length,) = _VALUE.unpack_from(filters, at)
        at += _VALUE.size + length
        found.append(filters[at - length : at].decode("utf-8", "surrogateescape"))
    return found


def _read(block: PackedBlock, wanted: WantedValues | None) -> list[LogEntry]:
    data, count = block.data, block.length
    version, entries, heads = _START.unpack_from(data)
    if version != _VERSION or entries != count:
        raise ValueError(f"version {version}, {entries} of {count} entries")
    found, at = _read_heads(data, _START.size, heads)
    columns: list[Sequence[int]] = []
    for _ in range(6):
        column, at = _read_column(data, at, count)
        columns.append(column)
    sequences, times, places, indexes, lengths, payload_lengths = columns
    offsets: Sequence[int] = range(block.first, block.next)
    none = -1 in lengths
    spans = list(pairwise(accumulate(map(_no_less, lengths) if none else lengths, initial=at)))
    end = spans[-1][1] + sum(payload_lengths)
    if end != len(data):
        raise ValueError(f"{len(data)} bytes instead of {end}")
    payloads = [b""] * count
    if end > spans[-1][1]:
        payload_spans = pairwise(accumulate(payload_lengths, initial=spans[-1][1]))
        payloads = [data[start:end] for start, end in payload_spans]
    values = [None, *([] if block.filters is None else _read_filters(block.filters))]
    if wanted is not None:
        asked = list(map(wanted.has, values))
        picks = [asked[index] for index in indexes]
        offsets, sequences, times, places, indexes, lengths = (
            list(compress(column, picks))
            for column in (offsets, sequences, times, places, indexes, lengths)
        )
        spans, payloads = list(compress(spans, picks)), list(compress(payloads, picks))
    stamps = {time: stamp(time) for time in set(times)}
    bodies: list[bytes | None] = [data[start:end] for start, end in spans]
    if none:
        bodies = [
            None if length < 0 else body for length, body in zip(lengths, bodies, strict=True)
        ]
    return list(
        map(
            make_entry,
            zip(
                offsets,
                sequences,
                map(stamps.__getitem__, times),
                map(found.__getitem__, places),
                bodies,
                map(values.__getitem__, indexes),
                payloads,
                strict=True,
            ),
        )
    )


def _no_less(length: int) -> int:
    return max(length, 0)


def _read_heads(data: bytes, at: int, count: int) -> tuple[list[MessageHead], int]:
    heads = []
    for _ in range(count):
        length, flags, id_length = _HEAD.unpack_from(data, at)
        start = at + _HEAD.size
        end = start + length
        at = end + max(id_length - 1, 0)
        heads.append(restored_head(data[start:end], flags, data[end:at] if id_length else None))
    return heads, at


def _read_column(data: bytes, at: int, count: int) -> tuple[Sequence[int], int]:
    base, width = _COLUMN.unpack_from(data, at)
    start = at + _COLUMN.size
    if not width:
        return [base] * count, start
    end = start + width * count
    column = array(_TYPES[width])
    column.frombytes(data[start:end])
    if sys.byteorder == "big":
        column.byteswap()
    if len(column) != count:
        raise ValueError("a column is too short")
    return [base + value for value in column] if base else column, end
