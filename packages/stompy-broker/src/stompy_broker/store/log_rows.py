"""Blocks of logs as rows of the database: how they are read back, and their checksums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from zlib import crc32

from stompy_broker.store.log_block import BlockError, PackedBlock

OFFSET_BITS: Final = 40
"""So many bits of a place are the offset; those above are the number of the log."""

HEADER = "place, length, oldest, latest, sequence, content, total, checksum, filters"
"""All columns of a row but the data."""

BLOCK = f"{HEADER}, data"

Row = tuple[Any, ...]
"""As it was read: in a damaged database anything may stand anywhere."""

_NUMBERS: Final = 8
_CHECKSUM: Final = 7
_TRAILER: Final = 4
_NONE: Final = "-"


def block_row(base: int, block: PackedBlock, latest: int, sequence: int, total: int) -> Row:
    """The row of a block.

    Args:
        base: the place of the first offset of its log.
        block: it.
        latest: the latest time in it, and in all before it.
        sequence: the highest sequence in it, and in all before it.
        total: bytes of it, and of all that were ever before it.
    """
    numbers = (
        base + block.first,
        block.length,
        block.oldest,
        latest,
        sequence,
        block.content,
        total,
    )
    checksum = _checksum(numbers, block.filters)
    trailer = crc32(block.data, checksum).to_bytes(_TRAILER, "little")
    return (*numbers, checksum, block.filters, block.data + trailer)


def check_header(row: Sequence[Any]) -> str:
    """What is wrong with the columns of a row of `HEADER`; empty = nothing."""
    try:
        found = _checksum(row[:_CHECKSUM], row[_NUMBERS])
    except (TypeError, ValueError, OverflowError) as error:
        return f"its row is garbled: {error}"
    return "" if found == row[_CHECKSUM] else "its checksum does not fit"


def read_block(row: Sequence[Any]) -> PackedBlock:
    """The block that a row of `BLOCK` tells.

    Raises:
        BlockError: it is damaged.
    """
    if wrong := check_header(row):
        raise BlockError(wrong)
    place, length, oldest, latest, sequence, content, _, checksum, filters, data = row
    if not isinstance(data, bytes):
        raise BlockError("its row is garbled: it has no data")
    packed, trailer = data[:-_TRAILER], data[-_TRAILER:]
    if crc32(packed, checksum).to_bytes(_TRAILER, "little") != trailer:
        raise BlockError("its checksum does not fit")
    first = place & (1 << OFFSET_BITS) - 1
    return PackedBlock(first, length, oldest, latest, sequence, content, filters, packed)


def joined(data: bool = True) -> str:
    """What gives many rows as one text, so in one step of SQLite, for `split_rows`."""
    columns = HEADER.split(", ")[:_NUMBERS]
    columns.append(f"coalesce(hex(filters), '{_NONE}')")
    if data:
        columns.append("hex(data)")
    return f"group_concat({' || char(32) || '.join(columns)}, char(10))"


def split_rows(text: str | None) -> list[Row]:
    """The rows of `joined`, by place. What is no number stays text."""
    return sorted(_split(line) for line in (text or "").split("\n") if line)


def _split(line: str) -> Row:
    words = line.split(" ")
    numbers = [int(word) if word.isdigit() else word for word in words[:_NUMBERS]]
    filters, *data = words[_NUMBERS:]
    return (
        *numbers,
        None if filters == _NONE else bytes.fromhex(filters),
        *map(bytes.fromhex, data),
    )


def _checksum(numbers: Sequence[Any], filters: bytes | None) -> int:
    return crc32(filters or b"", crc32(b"%d %d %d %d %d %d %d" % tuple(numbers)))
