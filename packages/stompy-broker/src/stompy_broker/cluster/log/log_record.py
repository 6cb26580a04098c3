"""A record of the log as bytes, and back.

A record is what becomes safe at once: the changes of a group commit, the beginning of a tenure, or
its orderly end. What is too long for one message of the log goes into several, the record's parts,
which are stored together or not at all. Each part opens with a head:

* **number**: records are counted from 1, whoever writes them. So a record that is missing is seen.
* **tenure**: whose record it is. Tenures are counted too, and each begins with a record of its
  own.
* **floor**: the number of the first record that anything alive is in. Those below may be missing.
* **doubtful**: messages up to this sequence may have been delivered without a trace, because their
  owner had no orderly end.
* **highest**: no message that was ever in the log has a higher sequence.
* **checksum**: over the head and all that follows. A bit that changes anywhere gives another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from struct import Struct
from struct import error as StructError  # noqa: N812 -- its name says nothing by itself
from typing import NamedTuple
from zlib import crc32

_MAGIC = b"SL"
_VERSION = 1

_HEAD = Struct(">2sBBHHQQQQQI")
_CHECKSUM = Struct(">I")

HEAD_BYTES = _HEAD.size + _CHECKSUM.size
"""What a part is longer than what is in it."""

MOST_PARTS = 1000
"""Servers store no more messages at once."""


class RecordError(Exception):
    """It is not what was written; the text says what is wrong."""


class RecordKind(IntEnum):
    """What a record is about."""

    CHANGES = 1
    TENURE = 2
    LEAVE = 3


class RecordHead(NamedTuple):
    """What each part of a record says.

    Attributes:
        kind: what it is about.
        tenure: whose it is.
        number: which one it is.
        floor: the number of the first record that is needed.
        highest: the highest sequence of a message so far.
        doubtful: the highest one of those whose deliveries are not known for certain.
        part: which part this is, from 0.
        parts: how many there are.
    """

    kind: RecordKind
    tenure: int
    number: int
    floor: int
    highest: int
    doubtful: int = 0
    part: int = 0
    parts: int = 1


def write_record(head: RecordHead, payload: bytes, part_bytes: int) -> list[bytes]:
    """Make the parts of a record, none of them longer than so many bytes.

    Raises:
        RecordError: it would take too many.
    """
    room = part_bytes - HEAD_BYTES
    count = max(1, -(-len(payload) // room))
    if count > MOST_PARTS:
        raise RecordError(f"{len(payload)} bytes in one record; {room * MOST_PARTS} is the most")
    if count == 1:
        return [_write_part(head._replace(part=0, parts=1), payload)]
    whole = memoryview(payload)
    return [
        _write_part(
            head._replace(part=number, parts=count), whole[number * room : (number + 1) * room]
        )
        for number in range(count)
    ]


def _write_part(head: RecordHead, payload: bytes | memoryview) -> bytes:
    opening = _HEAD.pack(
        _MAGIC,
        _VERSION,
        head.kind,
        head.part,
        head.parts,
        head.tenure,
        head.number,
        head.floor,
        head.highest,
        head.doubtful,
        len(payload),
    )
    checksum = crc32(payload, crc32(opening))
    return b"".join((opening, _CHECKSUM.pack(checksum), payload))


def read_part(octets: bytes) -> tuple[RecordHead, memoryview]:
    """The head of a part and what is in it.

    Raises:
        RecordError: it is not what was written.
    """
    try:
        magic, version, kind, part, parts, tenure, number, floor, highest, doubtful, length = (
            _HEAD.unpack_from(octets)
        )
        (checksum,) = _CHECKSUM.unpack_from(octets, _HEAD.size)
    except StructError:
        raise RecordError(f"{len(octets)} bytes are too short for a record") from None
    if magic != _MAGIC:
        raise RecordError("it is no record of this broker")
    payload = memoryview(octets)[HEAD_BYTES:]
    if checksum != crc32(payload, crc32(octets[: _HEAD.size])):
        raise RecordError("its checksum does not fit")
    # Only behind the checksum: what was written by a later version is whole, and says so.
    if version != _VERSION:
        raise RecordError(f"it is of version {version}; this broker reads version {_VERSION}")
    if length != len(payload) or not part < parts:
        raise RecordError("its length is another one")
    try:
        known = RecordKind(kind)
    except ValueError:
        raise RecordError(f"it is of kind {kind}, which this broker does not know") from None
    return RecordHead(known, tenure, number, floor, highest, doubtful, part, parts), payload


def join(parts: Sequence[tuple[RecordHead, memoryview]]) -> tuple[RecordHead, bytes]:
    """The head of a record, and what all of its parts hold.

    Raises:
        RecordError: they are not all parts of one record, in order.
    """
    first = parts[0][0]
    for number, (head, _) in enumerate(parts):
        if head != first._replace(part=number):
            raise RecordError(f"part {number} of {first.parts} is not there")
    if len(parts) != first.parts:
        raise RecordError(f"part {len(parts)} of {first.parts} is not there")
    if first.part:
        raise RecordError("its first part is not there")
    return first, b"".join(payload for _, payload in parts)
