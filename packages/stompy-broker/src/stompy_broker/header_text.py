"""Header lines of a message as they stand in it, read. Pure (`is_utf8`: **hot path**)."""

from __future__ import annotations

from stompy.errors import ProtocolError
from stompy.protocol.headers import RULES, Version, unescape


def read_block(block: bytes) -> dict[str, str]:
    """The headers in the lines of a `stompy_broker.message.MessageHead`."""
    headers: dict[str, str] = {}
    for line in block.decode("utf-8", "surrogateescape").split("\n"):
        name, colon, value = line.partition(":")
        if colon:
            headers.setdefault(unescaped(name), unescaped(value))
    return headers


def as_text(text: str) -> str:
    """A header's name or value as UTF-8 can carry it.

    1.0 does not say which encoding its headers have. What is no UTF-8 is read as Latin-1, in which
    every octet is a character, and which is what most of those senders mean.
    """
    if text.isascii():
        return text
    octets = text.encode("utf-8", "surrogateescape")
    return text if is_utf8(octets) else octets.decode("latin-1")


def is_utf8(octets: bytes) -> bool:
    """Whether octets are text as UTF-8 writes it."""
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True


def unescaped(text: str) -> str:
    """A header's name or value without its escapes; what cannot be decoded stands for itself."""
    if "\\" not in text:
        return text
    try:
        return unescape(text, RULES[Version.V1_2])
    except ProtocolError:
        return text
