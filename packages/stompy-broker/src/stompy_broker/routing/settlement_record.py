"""What the history of a queue says of one end of a delivery or of a stay, as octets. Pure.

The message itself stands beside it. A record is made for each message that leaves a queue with a
history, so what does not change from one to the next, who the consumer is, is encoded once.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from stompy.admin.settlements import SettlementKind

_FIXED: Final = Struct("<BBqqIII")
"""Form, kind, when it came, when it was delivered, to which consumer, deliveries, failures."""

_LENGTH: Final = Struct("<H")

FORM: Final = 1
encode_fixed: Final = _FIXED.pack
"""Octets of the numbers of a record; what `encode_taker` and `encode_words` give follows."""

_LONGEST: Final = 1000
"""Octets that are kept of a text."""

_KINDS: Final = tuple(SettlementKind)
_CODES: Final = {kind: code for code, kind in enumerate(_KINDS)}

_TEXTS: Final = 7


class Taker(NamedTuple):
    """Who takes messages, in words that are understood after he has gone.

    Attributes:
        client_id: that he told.
        user: as whom he logged in.
        session: his connection.
        subscription: his own id for his subscription.
    """

    client_id: str = ""
    user: str = ""
    session: str = ""
    subscription: str = ""


NOBODY: Final = Taker()


class SettlementRecord(NamedTuple):
    """One end of a delivery, or of the stay of a message in its queue.

    Attributes:
        kind: what became of the message.
        received: when it had come into its queue, in milliseconds since the epoch.
        delivered: when it was delivered, in milliseconds since the epoch; 0 = nobody had it, or
            that is not known any more.
        consumer: `Consumer.number` of who had it; 0 = nobody had it.
        taker: who that was.
        deliveries: how often it was delivered, this time included.
        failures: how many of those deliveries failed.
        cause: why it was given up, in a word, as dead letters tell it.
        reason: why, in the words of whoever wanted it.
        sent_to: where it went, as far as that is known.
    """

    kind: SettlementKind
    received: int
    delivered: int = 0
    consumer: int = 0
    taker: Taker = NOBODY
    deliveries: int = 0
    failures: int = 0
    cause: str = ""
    reason: str = ""
    sent_to: str = ""

    @property
    def leaves(self) -> bool:
        """Whether the message is in its queue no more."""
        return self.kind.leaves


def _text(text: str) -> bytes:
    octets = text.encode("utf-8", "replace")[:_LONGEST]
    # A character that is cut in two is left out.
    octets = octets.decode("utf-8", "ignore").encode()
    return _LENGTH.pack(len(octets)) + octets


def _read_texts(octets: bytes, at: int, count: int) -> list[str]:
    """Read so many texts.

    Raises:
        ValueError: they are cut short.
    """
    texts: list[str] = []
    for _ in range(count):
        if at + _LENGTH.size > len(octets):
            raise ValueError("a record of a settlement is cut short")
        (length,) = _LENGTH.unpack_from(octets, at)
        at += _LENGTH.size + length
        if at > len(octets):
            raise ValueError("a record of a settlement is cut short")
        texts.append(octets[at - length : at].decode("utf-8", "replace"))
    return texts


def encode_taker(taker: Taker) -> bytes:
    """What `encode_record` is given for a taker."""
    return b"".join([_text(one) for one in taker])


def decode_taker(octets: bytes) -> Taker:
    """Read what `encode_taker` has made.

    Raises:
        ValueError: it is cut short.
    """
    client_id, user, session, subscription = _read_texts(octets, 0, len(Taker._fields))
    return Taker(client_id, user, session, subscription)


NO_TAKER: Final = encode_taker(NOBODY)
NO_WORDS: Final = b"\0\0" * 3
"""No cause, no reason, no destination."""


def encode_words(cause: str, reason: str, sent_to: str = "") -> bytes:
    """What `encode_record` is given for why, and where to."""
    return _text(cause) + _text(reason) + _text(sent_to)


def code_of(kind: SettlementKind) -> int:
    """The number of a kind in a record."""
    return _CODES[kind]


def encode_record(
    code: int,
    received: int,
    delivered: int,
    consumer: int,
    deliveries: int,
    failures: int,
    taker: bytes = NO_TAKER,
    words: bytes = NO_WORDS,
) -> bytes:
    """A record as octets; see `SettlementRecord`.

    Args:
        code: of its kind.
        received: when, in milliseconds since the epoch.
        delivered: when, in milliseconds since the epoch; 0 = it is not known.
        consumer: its number.
        deliveries: how many.
        failures: how many.
        taker: made by `encode_taker`.
        words: made by `encode_words`.
    """
    return (
        _FIXED.pack(FORM, code, received, delivered, consumer & 0xFFFFFFFF, deliveries, failures)
        + taker
        + words
    )


def decode_record(octets: bytes) -> SettlementRecord:
    """Read a record.

    Raises:
        ValueError: it is none, or of a later form.
    """
    if len(octets) < _FIXED.size or octets[0] != FORM or octets[1] >= len(_KINDS):
        raise ValueError("no record of a settlement, or one of a later release")
    _, code, received, delivered, consumer, deliveries, failures = _FIXED.unpack_from(octets)
    texts = _read_texts(octets, _FIXED.size, _TEXTS)
    client_id, user, session, subscription, cause, reason, sent_to = texts
    return SettlementRecord(
        _KINDS[code],
        received,
        delivered,
        consumer,
        Taker(client_id, user, session, subscription),
        deliveries,
        failures,
        cause,
        reason,
        sent_to,
    )
