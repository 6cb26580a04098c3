"""What the coordinator of a transaction and the owners of its groups tell each other, as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from struct import error as StructError  # noqa: N812 -- its name says nothing by itself

from stompy_broker.cluster.remote.link_batch import BatchReader, BatchWriter
from stompy_broker.cluster.remote.parts import PartVerb
from stompy_broker.cluster.remote.tables import VerbError
from stompy_broker.cluster.remote.verbs import ExpireVerb, PublishVerb, SettleVerb, ToldBatch

SPAN_KINDS = range(48, 64)
"""The kinds of messages that are about transactions over groups."""

PREPARE, OFFER, REFUSE, COMMITTED, ABORTED, GIVE_BACK, RESOLVED = range(48, 55)
"""From the coordinator: prepare, committed, aborted, give back; the others are answers."""

_OPENING = Struct("<BQH")
_LENGTH = Struct("<I")
_OFFER = Struct("<QI")
_PLACE = Struct("<Q")


def span_opening(message: bytes) -> tuple[int, int, int]:
    """The kind of a message, the number of the transaction, and the group.

    Raises:
        VerbError: it is too short.
    """
    try:
        kind, number, group = _OPENING.unpack_from(message)
    except StructError:
        raise VerbError("a message about a transaction is too short") from None
    return kind, number, group


def write_part(
    kind: int, number: int, group: int, front: str, verbs: Sequence[PartVerb]
) -> list[bytes]:
    """Write the part of a group, and who is its front."""
    name = front.encode()
    told = ToldBatch(0, 0, 0, list(verbs))
    return [
        _OPENING.pack(kind, number, group),
        _LENGTH.pack(len(name)),
        name,
        *BatchWriter(group, 0).write(told),
    ]


def read_part(message: bytes) -> tuple[str, list[PartVerb]]:
    """Read the front and the part.

    Raises:
        VerbError: it is something else.
    """
    at = _OPENING.size + _LENGTH.size
    try:
        (length,) = _LENGTH.unpack_from(message, _OPENING.size)
    except StructError:
        raise VerbError("a part of a transaction is too short") from None
    front = message[at : at + length].decode("utf-8", "replace")
    verbs: list[PartVerb] = []
    for verb in BatchReader().read(message[at + length :]).verbs:
        if not isinstance(verb, PublishVerb | ExpireVerb | SettleVerb):
            raise VerbError("a part of a transaction has a verb that is none of its own")
        verbs.append(verb)
    return front, verbs


def write_offer(number: int, group: int, expected: int, parts: Sequence[bytes]) -> list[bytes]:
    """Write the record of a group, and which place it expects."""
    lengths = [_LENGTH.pack(len(part)) for part in parts]
    return [
        _OPENING.pack(OFFER, number, group),
        _OFFER.pack(expected, len(parts)),
        *lengths,
        *parts,
    ]


def read_offer(message: bytes) -> tuple[int, list[bytes]]:
    """Read the expected place and the record.

    Raises:
        VerbError: it is something else.
    """
    try:
        expected, count = _OFFER.unpack_from(message, _OPENING.size)
        at = _OPENING.size + _OFFER.size
        lengths = [_LENGTH.unpack_from(message, at + 4 * n)[0] for n in range(count)]
    except StructError:
        raise VerbError("the record of a transaction is too short") from None
    at += 4 * count
    parts = []
    for length in lengths:
        parts.append(message[at : at + length])
        at += length
    if at != len(message):
        raise VerbError("the record of a transaction is not as long as it says")
    return expected, parts


def write_words(kind: int, number: int, group: int, words: str = "") -> bytes:
    """Write what needs some words at most."""
    return _OPENING.pack(kind, number, group) + words.encode()


def read_words(message: bytes) -> str:
    """Read the words in a message."""
    return message[_OPENING.size :].decode("utf-8", "replace")


def write_place(kind: int, number: int, group: int, place: int) -> bytes:
    """Write where the record is in the log; 0 = nowhere."""
    return _OPENING.pack(kind, number, group) + _PLACE.pack(place)


def read_place(message: bytes) -> int:
    """Read the place.

    Raises:
        VerbError: it is something else.
    """
    try:
        (place,) = _PLACE.unpack_from(message, _OPENING.size)
    except StructError:
        raise VerbError("the place of a record is missing") from None
    return int(place)
