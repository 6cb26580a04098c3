"""What brokers of a cluster say to each other about rows, events and commands: as bytes and back.

A front asks on the link that it opened: it watches rows or events, or hands over a command. What
comes of it returns on the same link, under the number that the front gave. Rows travel as pages
of the admin topics, so what a broker tells a peer is what it would tell a client.

The layout: a byte for the kind, four for the number, one for `LAST`, then JSON, or nothing.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import Final, NamedTuple

_HEAD: Final = struct.Struct("!BIB")

FIRST, END = 96, 128
"""The kinds of messages that are ours."""

LAST: Final = 1
"""In the third field: no more of this follows."""


class Saying(IntEnum):
    """What a message between brokers says."""

    WATCH = 96
    """Tell these rows from now on: ``kind``, ``name``, ``interval``."""
    UNWATCH = 97
    """Tell them no more."""
    PAGE = 98
    """A page of a snapshot; `LAST` completes it."""
    TAKEN = 99
    """The snapshot has arrived: the next may come."""
    EVENTS = 100
    """Tell what happens and matches ``pattern``, and what did lately."""
    NO_EVENTS = 101
    """Tell it no more."""
    EVENT = 102
    """Something happened."""
    COMMAND = 103
    """Carry out a command, for somebody."""
    ANSWER = 104
    """An answer to a command; `LAST` is the last one."""
    GONE = 105
    """Who wanted the command has gone."""


class PeerMessage(NamedTuple):
    """A message between brokers.

    Attributes:
        saying: what it says.
        number: which request it belongs to.
        last: whether no more of the same follows.
        body: JSON, or nothing.
    """

    saying: Saying
    number: int
    last: bool = False
    body: bytes = b""

    def json(self) -> Mapping[str, object]:
        """Read the body.

        Raises:
            ValueError: it is no JSON object.
        """
        found = json.loads(self.body)
        if not isinstance(found, dict):
            raise ValueError("no JSON object")
        return found


def encode(message: PeerMessage) -> list[bytes]:
    """Give the parts of a message, as a link takes them."""
    head = _HEAD.pack(message.saying, message.number, LAST if message.last else 0)
    return [head, message.body] if message.body else [head]


def encode_json(saying: Saying, number: int, about: Mapping[str, object]) -> list[bytes]:
    """Give the parts of a message with a JSON object as its body."""
    body = json.dumps(about, separators=(",", ":")).encode()
    return encode(PeerMessage(saying, number, body=body))


def decode(octets: bytes) -> PeerMessage | None:
    """Read a message; None = of a kind that is not known here, from a later version.

    Raises:
        ValueError: it is none.
    """
    if len(octets) < _HEAD.size:
        raise ValueError(f"{len(octets)} bytes are no message of the admin topics")
    kind, number, flags = _HEAD.unpack_from(octets)
    if kind not in list(Saying):
        return None
    return PeerMessage(Saying(kind), number, bool(flags & LAST), octets[_HEAD.size :])
