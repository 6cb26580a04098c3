"""What waits to be written to one connection (**hot path**).

Frames are gathered and leave in few writes: at the end of the turn of the event loop, and before
that whenever a pour's worth has come together. Few large writes are cheapest. But a client that
has to acknowledge is waited for once its prefetch is full, so it gets smaller ones and can begin
while the broker goes on; that overlap is worth a sixth of the rate (``benchmarks/run.py``,
*client-individual*).

While the socket takes no more, the outlet is shut: consumers have to wait, and only what is not a
message is still taken. A client that reads as fast as the broker writes could have a whole queue
written to it in one go; so consumers also have to wait when there was much in one turn.
"""

from __future__ import annotations

from collections.abc import Callable

POUR = 256 * 1024
"""Bytes that are written at once rather than at the end of the turn."""
HASTY_POUR = 16 * 1024
"""The same for a client that has to acknowledge."""
BURST = 512 * 1024
"""Bytes of messages in one turn, after which others have theirs."""


class Outlet:
    """Gathers bytes for a connection.

    Args:
        wake: called when the outlet stops being empty: whoever owns it is to pour it out by the
            end of the turn.
        pour: called to write what `take` gives, now.

    Attributes:
        size: bytes that wait.
        burst: bytes that were poured out in this turn, which its owner sets back.
        choked: whether a consumer was told to wait.
        written: bytes that `take` has given so far.
    """

    __slots__ = (
        "_limit",
        "_parts",
        "_pour",
        "_sealed",
        "_usual",
        "_wake",
        "burst",
        "choked",
        "size",
        "written",
    )

    def __init__(self, wake: Callable[[], None], pour: Callable[[], None]) -> None:
        self._parts: list[bytes] = []
        self._wake = wake
        self._pour = pour
        self._limit = self._usual = POUR
        self._sealed = False
        self.size = self.burst = 0
        self.choked = False
        self.written = 0

    def put(self, data: bytes) -> None:
        """Add bytes that are whole frames."""
        if not self._parts:
            self._wake()
        self._parts.append(data)
        self.size += len(data)

    def put_message(self, prefix: bytes, tail: bytes) -> bool:
        """Add a MESSAGE in its two parts; say whether there is room for another."""
        parts = self._parts
        if not parts:
            self._wake()
        parts.append(prefix)
        parts.append(tail)
        size = self.size = self.size + len(tail)
        return size < self._limit or self._poured()

    def take(self) -> bytes:
        """The next bytes to write, and forget them: everything, or about a pour's worth."""
        parts = self._parts
        if self.size <= 2 * POUR:
            data = b"".join(parts)
            parts.clear()
            self.size = 0
            self.written += len(data)
            return data
        size = count = 0
        while size < POUR:
            size += len(parts[count])
            count += 1
        data = b"".join(parts[:count])
        self.written += len(data)
        del parts[:count]
        self.size = sum(map(len, parts))
        return data

    def hasten(self) -> None:
        """The client acknowledges: write sooner from now on."""
        self._usual = HASTY_POUR
        self._limit = min(self._limit, HASTY_POUR)

    def shut(self) -> None:
        """The socket takes no more for now."""
        self._limit = 0

    def open(self) -> None:
        """The socket takes more again."""
        if not self._sealed:
            self._limit = self._usual

    def seal(self) -> None:
        """No more messages, for good; other frames still go out."""
        self._sealed = True
        self._limit = 0

    def end(self) -> None:
        """Nobody is there any more: nothing is poured out, and nobody told."""
        self._limit = 0
        self._sealed = True
        self._wake = self._pour = _nothing

    def _poured(self) -> bool:
        """Write what has come together; say whether the socket took it, and it was not much."""
        if self._limit:
            self.burst += self.size
            self._pour()
        if self._limit and self.burst < BURST:
            return True
        self.choked = True
        return False


def _nothing() -> None:
    pass
