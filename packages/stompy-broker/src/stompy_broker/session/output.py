"""What waits to be written to one connection (**hot path**).

Frames are gathered and leave in few writes: at the end of the turn of the event loop, and before
that whenever `WRITE_SIZE` has come together. Few large writes are cheapest. But a client that has
to acknowledge is waited for once its prefetch is full, so it gets smaller ones and can begin while
the broker goes on; that overlap is worth a sixth of the rate (``benchmarks/run.py``,
*client-individual*).

While the socket takes no more, the buffer is paused: consumers have to wait, and only what is not a
message is still taken. A client that reads as fast as the broker writes could have a whole queue
written to it in one go; so consumers also have to wait when there was much in one turn.

A large body is neither put together with its headers nor cut into pieces, both of which would copy
it: it is a part of its own, and written by views of it (``benchmarks/bodies.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

WRITE_SIZE: Final = 256 * 1024
"""Bytes that are written at once rather than at the end of the turn."""
SMALL_WRITE_SIZE: Final = 16 * 1024
"""The same for a client that has to acknowledge."""
LARGE: Final = 32 * 1024
"""Bytes of a body that is not copied to stand behind its headers."""
BURST = 512 * 1024
"""Bytes of messages in one turn, after which others have theirs."""

_END: Final = b"\0\n"


class OutputBuffer:
    """Gathers bytes for a connection.

    Args:
        schedule: called when the buffer stops being empty: whoever owns it is to write everything
            by the end of the turn.
        write: called to write what `take` gives, now.

    Attributes:
        size: bytes that wait.
        burst: bytes that were written in this turn, which its owner sets back.
        was_full: whether a consumer was told to wait.
        written: bytes that `take` has given so far.
    """

    __slots__ = (
        "_begun",
        "_limit",
        "_parts",
        "_schedule",
        "_stopped",
        "_write",
        "_write_size",
        "burst",
        "size",
        "was_full",
        "written",
    )

    def __init__(self, schedule: Callable[[], None], write: Callable[[], None]) -> None:
        self._parts: list[bytes] = []
        self._begun = 0  # bytes of the first part that were taken
        self._schedule = schedule
        self._write = write
        self._limit = self._write_size = WRITE_SIZE  # the limit is 0 while messages have to wait
        self._stopped = False
        self.size = self.burst = 0
        self.was_full = False
        self.written = 0

    def put(self, data: bytes) -> None:
        """Add bytes that are whole frames."""
        if not self._parts:
            self._schedule()
        self._parts.append(data)
        self.size += len(data)

    def put_message(self, prefix: bytes, tail: bytes) -> bool:
        """Add a MESSAGE in its two parts; say whether there is room for another."""
        parts = self._parts
        if not parts:
            self._schedule()
        parts.append(prefix)
        parts.append(tail)
        size = self.size = self.size + len(tail)
        return size < self._limit or self._flush()

    def put_large_message(
        self, prefix: bytes, front: bytes, body: bytes, end: bytes = _END
    ) -> bool:
        """Add a MESSAGE whose body is `LARGE`; say whether there is room for another.

        Args:
            prefix: as for `put_message`.
            front: what a tail has before the body.
            body: it.
            end: what a tail has behind it.
        """
        if not self._parts:
            self._schedule()
        self._parts += (prefix + front, body, end)
        self.size += len(prefix) + len(front) + len(body) + len(end)
        return self.size < self._limit or self._flush()

    def take(self) -> bytes | memoryview:
        """Remove and return the next bytes to write: everything, or about `WRITE_SIZE` of it."""
        parts = self._parts
        if self._begun or len(parts[0] if parts else b"") > 2 * WRITE_SIZE:
            return self._take_of_first()
        if self.size <= 2 * WRITE_SIZE:
            data = b"".join(parts)
            parts.clear()
            self.size = 0
            self.written += len(data)
            return data
        # The rest stays here, where a message that several subscriptions get is there once.
        size = count = 0
        while size < WRITE_SIZE and len(parts[count]) <= 2 * WRITE_SIZE:
            size += len(parts[count])
            count += 1
        data = b"".join(parts[:count])
        self.written += len(data)
        del parts[:count]
        self.size = sum(map(len, parts))
        return data

    def _take_of_first(self) -> memoryview:
        """Take a piece of the first part, which is a large body."""
        first, begun = self._parts[0], self._begun
        piece = memoryview(first)[begun : begun + WRITE_SIZE]
        taken = len(piece)
        self._begun = begun + taken
        if self._begun == len(first):
            del self._parts[0]
            self._begun = 0
        self.size -= taken
        self.written += taken
        return piece

    def use_small_writes(self) -> None:
        """Write sooner from now on: the client acknowledges."""
        self._write_size = SMALL_WRITE_SIZE
        self._limit = min(self._limit, SMALL_WRITE_SIZE)

    def pause(self) -> None:
        """Have consumers wait: the socket takes no more for now."""
        self._limit = 0

    def resume(self) -> None:
        """Take messages again, as the socket does."""
        if not self._stopped:
            self._limit = self._write_size

    def stop(self) -> None:
        """Take no more messages, for good; other frames still go out."""
        self._stopped = True
        self._limit = 0

    def close(self) -> None:
        """Write nothing more and tell nobody: the connection is gone."""
        self._limit = 0
        self._stopped = True
        self._schedule = self._write = _nothing

    def _flush(self) -> bool:
        """Write what has come together; say whether the socket took it, and it was not much."""
        if self._limit:
            self.burst += self.size
            self._write()
        # Writing may have found the socket full, and so paused the buffer.
        if self._limit and self.burst < BURST:
            return True
        self.was_full = True
        return False


def _nothing() -> None:
    pass
