"""Messages of a link as bytes: four bytes of length, then the message. Pure (**hot path**).

A length of 0 is a beat, which says only that its sender is alive. The first byte of a message is
its kind; kind 0 is the link's own, a goodbye with its reason. Parsing is linear in the bytes,
however they are cut, and a large message is copied once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final

BEAT: Final = bytes(4)
"""What a side sends that has nothing to say."""
GOODBYE: Final = 0
"""The kind of the last message of a side; its reason follows."""
LONGEST: Final = 1 << 30
"""Bytes of a message."""

_LENGTH: Final = struct.Struct(">I")
_HEAD: Final = 4
_JOINED: Final = 64 * 1024
"""Pieces of this size and more are written by themselves rather than copied."""
_REASON: Final = 300
"""Characters of what a peer tells us to write into the log."""

length_of = _LENGTH.pack
"""The length of a message as its four bytes."""


class LinkProtocolError(Exception):
    """A peer breaks the rules of links."""


class MessageParser:
    """Cuts what comes into messages.

    Args:
        longest: bytes that a message may have.
    """

    def __init__(self, longest: int = LONGEST) -> None:
        self._longest = longest
        self._head = b""  # of a length that is not complete
        self._parts: list[bytes] = []  # of a message that is not complete
        self._missing = 0  # bytes of it

    @property
    def missing(self) -> int:
        """Bytes that a message has begun to wait for."""
        return self._missing

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes; give the messages that are complete now, without beats.

        Raises:
            LinkProtocolError: a message is too long. Nothing can be fed after it.
        """
        messages: list[bytes] = []
        at = 0
        if self._missing:
            at = self._missing
            if len(data) < at:
                self._parts.append(data)
                self._missing = at - len(data)
                return messages
            self._parts.append(data[:at])
            messages.append(b"".join(self._parts))
            self._parts, self._missing = [], 0
        elif self._head:
            data, self._head = self._head + data, b""
        size, longest = len(data), self._longest
        while size - at >= _HEAD:
            (length,) = _LENGTH.unpack_from(data, at)
            if length > longest:
                raise LinkProtocolError(f"a message of {length} bytes; {longest} are allowed")
            at += _HEAD
            end = at + length
            if end > size:
                self._parts = [data[at:]]
                self._missing = end - size
                return messages
            if length:
                messages.append(data[at:end])
                at = end
        if at < size:
            self._head = data[at:]
        return messages


def gathered(pieces: Sequence[bytes], size: int) -> Iterator[bytes]:
    """Join small pieces, for as few writes as can be; large ones stay what they are.

    Args:
        pieces: in order.
        size: bytes of all of them.
    """
    if size < _JOINED:
        yield b"".join(pieces)
        return
    small: list[bytes] = []
    for piece in pieces:
        if len(piece) < _JOINED:
            small.append(piece)
            continue
        if small:
            yield b"".join(small)
            small = []
        yield piece
    if small:
        yield b"".join(small)


def goodbye(reason: str) -> bytes:
    """The last message of a side."""
    return bytes((GOODBYE,)) + shown(reason).encode()


def reason_of(message: bytes) -> str:
    """What a goodbye says, fit for the log."""
    return shown(message[1:].decode(errors="replace")) or "no reason was given"


def shown(text: str) -> str:
    """What somebody else has written, as one line of the log: short, and nothing that acts."""
    text = text[:_REASON]
    return text if text.isprintable() else text.encode("unicode_escape").decode()[:_REASON]
