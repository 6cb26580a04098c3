"""A message that stays where it is while many read it, as each of them has it (**hot path**)."""

from __future__ import annotations

from typing import Final

from stompy.compiler import mypyc_attr
from stompy.protocol.headers import Version
from stompy_broker.message import OVERHEAD, Message, MessageHead, Redelivery

LARGEST_SHARED: Final = 32 * 1024
"""The wire form of what is larger is not kept: its body is written without being copied."""


@mypyc_attr(acyclic=True)
class ReaderMessage(Message):
    """A message in what many read, or what one of them was given of it.

    Args:
        place: where it stands among all that is read; it never changes.
        reader: `StreamReader.number` of who was given it, to settle it; 0 = it is nobody's.

    Attributes:
        place: as above.
        reader: as above.
    """

    __slots__ = ("place", "reader")

    def __init__(
        self,
        place: int,
        sequence: int,
        head: MessageHead,
        body: bytes | None,
        stamp: bytes,
        reader: int = 0,
        redelivery: Redelivery | None = None,
    ) -> None:
        # Without a call for what its base does: one is made for each delivery.
        self.sequence = sequence
        self.head = head
        self.body = body
        self.stamp = stamp
        self.redelivery = redelivery
        self.shared_tail: bytes | None = None
        self.expires = 0
        self.size = (0 if body is None else len(body)) + len(head.block) + OVERHEAD
        self.place = place
        self.reader = reader

    def given_to(self, reader: int, redelivery: Redelivery | None = None) -> ReaderMessage:
        """The same as one reader is given it: an object of its own, to be settled by itself."""
        copy = ReaderMessage(
            self.place, self.sequence, self.head, self.body, self.stamp, reader, redelivery
        )
        copy.shared_tail = self.shared_tail
        return copy

    def share(self) -> int:
        """Make the wire form once for all who read it; gives the bytes that it takes from now."""
        if (
            self.shared_tail is not None
            or self.size >= LARGEST_SHARED
            or not self.head.version_neutral
        ):
            return 0
        self.shared_tail = tail = self.tail(Version.V1_2)
        return len(tail)

    def tail(self, version: Version) -> bytes:
        """The wire form from the value of ``message-id`` on."""
        shared = self.shared_tail
        return super().tail(version) if shared is None else shared


@mypyc_attr(acyclic=True)
class OffsetMessage(ReaderMessage):
    """A message of a stream: whoever gets it is told its offset."""

    __slots__ = ()

    def given_to(self, reader: int, redelivery: Redelivery | None = None) -> ReaderMessage:
        """The same as one reader is given it."""
        copy = OffsetMessage(
            self.place, self.sequence, self.head, self.body, self.stamp, reader, redelivery
        )
        copy.shared_tail = self.shared_tail
        return copy

    @property
    def offset_line(self) -> bytes:
        """The header line that tells its offset. Not for the hot path."""
        return b"x-stream-offset:%d\n" % self.place

    def tail(self, version: Version) -> bytes:
        """The wire form from the value of ``message-id`` on, with the offset."""
        if self.shared_tail is not None:
            return self.shared_tail
        head, body = self.head, self.body
        assert body is not None
        traits = head.traits
        if traits.plain and head.version_neutral:
            return b"%d%bx-stream-offset:%d\n%b%b\0\n" % (
                self.sequence,
                self.stamp,
                self.place,
                head.block,
                body,
            )
        return b"%b%b\0\n" % (self.front(version), body)

    def front(self, version: Version) -> bytes:
        """What `tail` has before the body."""
        head, body = self.head, self.body
        assert body is not None
        traits = head.traits
        return b"%b%bx-stream-offset:%d\n%b%b" % (
            traits.message_id or b"%d" % self.sequence,
            b"\n" if traits.stamped else self.stamp,
            self.place,
            b"" if traits.sized else b"content-length:%d\n" % len(body),
            head.block if head.version_neutral else head.block_for(version),
        )
