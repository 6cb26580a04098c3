"""What waits to be written to one connection (**hot path**).

Everything written during one turn of the event loop is gathered and leaves in one write. The
mark is what makes consumers wait: above it, or while the socket takes no more, nothing more is
delivered to this connection; the other consumers go on.
"""

from __future__ import annotations

from collections.abc import Callable


class Outlet:
    """Gathers bytes for a connection.

    Args:
        wake: called when the outlet stops being empty; whoever was called empties it with `take`.
        mark: bytes at which consumers have to wait.

    Attributes:
        size: bytes that wait, approximately.
        limit: the mark in force; 0 while the socket is full.
        choked: whether a consumer was told to wait.
    """

    __slots__ = ("_mark", "_parts", "_wake", "choked", "limit", "size")

    def __init__(self, wake: Callable[[], None], mark: int) -> None:
        self._parts: list[bytes] = []
        self._wake = wake
        self._mark = mark
        self.size = 0
        self.limit = mark
        self.choked = False

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
        if size < self.limit:
            return True
        self.choked = True
        return False

    def take(self) -> bytes:
        """Everything, and forget it."""
        data = b"".join(self._parts)
        self._parts.clear()
        self.size = 0
        return data

    def shut(self) -> None:
        """The socket takes no more for now."""
        self.limit = 0
        self.choked = True

    def open(self) -> None:
        """The socket takes more again."""
        self.limit = self._mark

    def seal(self) -> None:
        """No more messages, for good; other frames still go out."""
        self._mark = 0
        self.limit = 0
