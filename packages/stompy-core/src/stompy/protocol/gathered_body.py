"""A body that comes in pieces, gathered where it will stay (**hot path** of large bodies).

`io.BytesIO` fills a `bytes` object and gives it away as it is; a `bytearray` would have to be
copied into one at the end. Measured with ``benchmarks/bodies.py``: most of what a body of 16 MiB
costs is memory touched for the first time, and here that happens once.
"""

from __future__ import annotations

import io

_REFILL = 2
"""Room is made for so many times what has come. Growing by an eighth, as `io.BytesIO` does by
itself, copies a body of 16 MiB eight times where memory cannot grow in place."""


class GatheredBody:
    """What has come of a body, and how much is missing.

    Room is made for what was announced as it comes, never for all of it at once: who announces much
    and sends little takes little.

    Args:
        length: bytes that it will have; -1 = up to the first NUL.

    Attributes:
        size: bytes that have come.
        reserved: bytes for which there is room.
    """

    __slots__ = ("_file", "_length", "reserved", "size")

    def __init__(self, length: int) -> None:
        self._file = io.BytesIO()
        self._length = length
        self.size = self.reserved = 0

    @property
    def missing(self) -> int:
        """Bytes to come until the NUL behind it has; 0 = nobody knows."""
        return self._length - self.size + 1 if self._length >= 0 else 0

    def add(self, piece: bytes | memoryview) -> None:
        """Take the next piece."""
        size = self.size + len(piece)
        if size > self.reserved:
            self._make_room(size)
        self._file.write(piece)
        self.size = size

    def whole(self) -> bytes:
        """Everything that was added, as it lies here; nothing may be added any more."""
        self._file.truncate(self.size)
        return self._file.getvalue()

    def _make_room(self, size: int) -> None:
        room = _REFILL * size
        if self._length >= 0:
            room = min(room, self._length)
        if room > size:
            # A byte at its end makes room for all that comes before it.
            self._file.seek(room - 1)
            self._file.write(b"\0")
            self._file.seek(self.size)
        self.reserved = max(room, size)
