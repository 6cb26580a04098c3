"""Which messages of a queue are meant: data, so that a question can be asked from anywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from stompy.protocol.headers import RULES, Version, escape, unescape
from stompy_broker.header_text import as_text
from stompy_broker.message import Message
from stompy_broker.selectors.selector import compile_selector

HeaderReader = Callable[[Message], str | None]
"""Gives the value of one header; None where it is not there."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Messages by their ids, by their headers, and by when they came.

    Attributes:
        ids: message-ids; None = any.
        headers: names and values; None stands for a header that is not there.
        after: the sequence of the last one that is not meant; 0 = also the first.
        up_to: the sequence of the last one that is meant; None = also those that come later.
        selector: an expression that their headers match, as on a SUBSCRIBE; empty = any.
        since: when the first one came that is meant, in milliseconds since the epoch; 0 = ever.
    """

    ids: frozenset[str] | None = None
    headers: tuple[tuple[str, str | None], ...] = ()
    after: int = 0
    up_to: int | None = None
    selector: str = ""
    since: int = 0

    @property
    def is_everything(self) -> bool:
        """Whether every message is meant."""
        return self == EVERYTHING

    def test(self) -> Callable[[Message], bool]:
        """Whether a message is meant, to be asked many times.

        Raises:
            ProtocolError: the selector is none.
        """
        matches = compile_selector(self.selector).matches if self.selector else None
        readers = [(header_reader(name), value) for name, value in self.headers]
        ids, after, up_to, since = self.ids, self.after, self.up_to, self.since

        def is_meant(message: Message) -> bool:
            if ids is not None and message.message_id not in ids:
                return False
            sequence = message.sequence
            if sequence <= after or (up_to is not None and sequence > up_to):
                return False
            if since and message.received_at < since:
                return False
            if not all(read(message) == value for read, value in readers):
                return False
            return matches is None or matches(message)

        return is_meant


EVERYTHING = Selection()


def header_reader(name: str) -> HeaderReader:
    """Find one header in messages, without taking all of them apart."""
    line = escape(name, Version.V1_2).encode("utf-8", "surrogateescape") + b":"
    return partial(_read_header, line)


def _read_header(line: bytes, message: Message) -> str | None:
    block = message.head.block
    if block.startswith(line):
        start = len(line)
    else:
        at = block.find(b"\n" + line)
        if at < 0:
            return None
        start = at + 1 + len(line)
    value = block[start : block.index(b"\n", start)].decode("utf-8", "surrogateescape")
    return as_text(unescape(value, RULES[Version.V1_2]) if "\\" in value else value)


def first_bytes(messages: Sequence[Message], most: int) -> int:
    """How many of the first messages are not larger than so many bytes together; at least one."""
    size = 0
    for number, message in enumerate(messages):
        size += message.size
        if size > most:
            return max(1, number)
    return len(messages)
