"""What messages of both directions have in common: their kinds, and heads and names by number.

A head is written once for each visit and then named by its number; the table is a ring, so it is
bounded, and reader and writer turn it alike.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable
from struct import Struct
from struct import error as StructError  # noqa: N812 -- its name says nothing by itself

from stompy_broker.cluster.head_codec import read_head, write_head
from stompy_broker.message import MessageHead

VISIT, BATCH, WELCOME, EVENTS, NOT_OWNER, OWNED = 1, 2, 8, 9, 10, 11
"""Kinds of messages on a link: the first two go to the owner, the others come from it."""

HEADS = 1024
"""How many heads are known by number."""

_LONG = 4096
"""A head of more bytes is not worth being kept."""

OPENING = Struct("<BHI")
_HEAD = Struct("<BHI")
_NAME = Struct("<BIH")

HEADED, NAMED = 1, 2

_SWAP = sys.byteorder == "big"


class VerbError(Exception):
    """What came on a link is not what was written; the text says what is wrong."""


def pack_numbers(code: str, values: Iterable[int]) -> bytes:
    """Numbers as bytes, one as long as another."""
    numbers = array(code, values)
    if _SWAP:
        numbers.byteswap()
    return numbers.tobytes()


class TableWriter:
    """What both directions write alike: heads and names by number.

    Args:
        group: the number of the group.
        visit: tells apart how often the front has begun to speak to an owner.
    """

    def __init__(self, group: int, visit: int) -> None:
        self._group = group
        self._visit = visit
        self._heads: dict[MessageHead, int] = {}
        self._ring: list[MessageHead | None] = [None] * HEADS
        self._next = 0
        self._names: dict[str, int] = {}
        self._parts: list[bytes] = []

    def _open(self, kind: int) -> None:
        self._parts = [OPENING.pack(kind, self._group, self._visit)]

    def _head(self, head: MessageHead) -> int:
        number = self._heads.get(head)
        if number is not None:
            return number
        number = self._next
        self._next = (number + 1) % HEADS
        old = self._ring[number]
        if old is not None:
            del self._heads[old]
        kept = len(head.block) <= _LONG
        self._ring[number] = head if kept else None
        if kept:
            self._heads[head] = number
        octets = write_head(head)
        self._parts += (_HEAD.pack(HEADED, number, len(octets)), octets)
        return number

    def _name(self, name: str) -> int:
        number = self._names.get(name)
        if number is None:
            number = self._names[name] = len(self._names)
            octets = name.encode("utf-8", "surrogateescape")
            self._parts += (_NAME.pack(NAMED, number, len(octets)), octets)
        return number


class TableReader:
    """What both directions read alike."""

    def __init__(self) -> None:
        self._heads: list[MessageHead | None] = [None] * HEADS
        self._names: list[str] = []
        self._octets = b""
        self._at = 0

    def _cut(self, length: int) -> bytes:
        at = self._at
        end = self._at = at + length
        if end > len(self._octets):
            raise ValueError("it ends too soon")
        return self._octets[at:end]

    def _numbers(self, code: str, count: int) -> list[int]:
        numbers = array(code)
        numbers.frombytes(self._cut(count * numbers.itemsize))
        if _SWAP:
            numbers.byteswap()
        return numbers.tolist()

    def _bodies(self, count: int) -> list[bytes]:
        lengths = self._numbers("I", count)
        octets, at = self._octets, self._at
        bodies: list[bytes] = []
        for length in lengths:
            bodies.append(octets[at : at + length])
            at += length
        self._at = at
        if at > len(octets):
            raise ValueError("it ends too soon")
        return bodies

    def _read_head(self) -> None:
        _, number, length = _HEAD.unpack(self._cut(_HEAD.size))
        self._heads[number] = read_head(self._cut(length))

    def _read_name(self) -> None:
        _, number, length = _NAME.unpack(self._cut(_NAME.size))
        if number != len(self._names):
            raise ValueError("a name is missing")
        self._names.append(self._cut(length).decode("utf-8", "surrogateescape"))

    def _known(self, number: int) -> MessageHead:
        head = self._heads[number]
        if head is None:
            raise ValueError("a head is missing")
        return head


def opening(message: bytes) -> tuple[int, int, int]:
    """The kind of a message, its group and its visit.

    Raises:
        VerbError: it is too short.
    """
    try:
        kind, group, visit = OPENING.unpack_from(message)
    except StructError:
        raise VerbError(f"{len(message)} bytes are too short for a message") from None
    return kind, group, visit
