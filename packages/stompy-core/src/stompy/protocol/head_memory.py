"""What a parser asks about heads before it parses them. Plain Python in both forms, for heirs."""

from __future__ import annotations

from typing import Protocol

from stompy.protocol.header_cache import Head


class HeadMemory(Protocol):
    """What a parser may ask about a head before it parses it."""

    def known(self, block: bytes, /) -> Head | None:
        """The head of a block of up to 1 KiB, if it is known; it is not checked again."""
        ...

    def like(self, block: bytes, /) -> Head | None:
        """The same for a block that is not known, but is like one that is."""
        ...

    def remember(self, head: Head) -> None:
        """A head was parsed."""
        ...
