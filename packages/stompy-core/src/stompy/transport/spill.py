"""What is read while somebody waits for an answer, and has no room in memory: on disk meanwhile.

The invariants:

* First in, first out, by chunks: what one read brought is written, read and forgotten at once.
* The files have no name from the first moment on, and belong to the user alone; nothing of them
  outlasts the process. Each takes `SEGMENT` bytes and is given back when it has been read.
* What cannot be written, because the disk is full or there is none, stays in memory, in its
  place; from then on, or with `MOST` bytes, there is no room (`Spill.has_room`).
"""

from __future__ import annotations

import io
import logging
import os
import pickle
import tempfile
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stompy.protocol.frame import STOMPFrame

logger = logging.getLogger("stompy")

MOST = 256 * 1024 * 1024
"""How many bytes are on disk at most."""
SEGMENT = 16 * 1024 * 1024


class _Segment:
    """A file without name that is written once and read once."""

    def __init__(self) -> None:
        self.file, path = tempfile.mkstemp(prefix="stompy-")
        weakref.finalize(self, os.close, self.file)
        os.unlink(path)
        self.size = 0

    def write(self, data: bytes) -> int:
        """Append, and give where that begins.

        Raises:
            OSError: there is no room for it.
        """
        start, view = self.size, memoryview(data)
        while view:
            # With positions, since a fork shares the one of the file.
            written = os.pwrite(self.file, view, self.size)
            self.size += written
            view = view[written:]
        return start


@dataclass(frozen=True, slots=True)
class _Chunk:
    count: int
    size: int
    segment: _Segment
    start: int
    owner: object
    """What the frames refer to that is no part of them."""


class Spill:
    """Frames that wait on disk.

    Args:
        most: how many bytes of them.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._chunks: deque[_Chunk | list[STOMPFrame]] = deque()
        self._segment: _Segment | None = None
        self._count = 0
        self._size = 0
        self._failed = False

    def __len__(self) -> int:
        """How many frames are here."""
        return self._count

    @property
    def has_room(self) -> bool:
        """Whether more can be put."""
        return self._size < self._most and not self._failed

    def put(self, frames: Sequence[STOMPFrame]) -> None:
        """Take what one read brought."""
        kept = list(frames)
        self._count += len(kept)
        if not self.has_room:
            self._chunks.append(kept)
            return
        try:
            self._chunks.append(self._written(kept))
        except OSError as error:
            self._failed = True
            self._segment = None
            self._chunks.append(kept)
            logger.warning(
                "messages that wait to be fetched have no room in memory, and none in the "
                "directory for temporary files: %s",
                error,
            )

    def take(self) -> list[STOMPFrame]:
        """The oldest of what was put; there must be something."""
        chunk = self._chunks.popleft()
        frames = chunk if isinstance(chunk, list) else self._read(chunk)
        self._count -= len(frames)
        if not self._chunks:
            self.clear()
        return frames

    def drain(self) -> Iterator[list[STOMPFrame]]:
        """Take all that is there now; more may be put meanwhile."""
        for _ in range(len(self._chunks)):
            yield self.take()

    def clear(self) -> None:
        """Throw away everything that waits, and the room it takes on disk."""
        self._chunks.clear()
        self._segment = None
        self._count = self._size = 0
        self._failed = False

    def _written(self, frames: list[STOMPFrame]) -> _Chunk:
        owner = getattr(frames[0], "_settler", None)
        data = _dump(frames, owner)
        if self._segment is None or self._segment.size >= SEGMENT:
            self._segment = _Segment()
        start = self._segment.write(data)
        self._size += len(data)
        return _Chunk(len(frames), len(data), self._segment, start, owner)

    def _read(self, chunk: _Chunk) -> list[STOMPFrame]:
        self._size -= chunk.size
        data = bytearray()
        while len(data) < chunk.size:
            left = chunk.size - len(data)
            data += os.pread(chunk.segment.file, left, chunk.start + len(data))
        return _load(bytes(data), chunk.owner)


class _Pickler(pickle.Pickler):
    owner: object

    def persistent_id(self, thing: object) -> str | None:
        return "owner" if thing is self.owner else None


class _Unpickler(pickle.Unpickler):
    owner: object

    def persistent_load(self, _name: object) -> object:
        return self.owner


def _dump(frames: list[STOMPFrame], owner: object) -> bytes:
    if owner is None:
        return pickle.dumps(frames, pickle.HIGHEST_PROTOCOL)
    buffer = io.BytesIO()
    pickler = _Pickler(buffer, pickle.HIGHEST_PROTOCOL)
    pickler.owner = owner
    pickler.dump(frames)
    return buffer.getvalue()


def _load(data: bytes, owner: object) -> list[STOMPFrame]:
    unpickler = _Unpickler(io.BytesIO(data))
    unpickler.owner = owner
    frames: list[STOMPFrame] = unpickler.load()
    return frames
