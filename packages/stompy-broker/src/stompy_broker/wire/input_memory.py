"""What clients have begun to send and not finished counts in a limit, for all of them together.

A frame may be large, and nothing of it can be passed on before its end. So all that is unfinished
may take a quarter of ``limits.memory``, and counts there. When it takes more, nothing is read from
those whose frames are unfinished, but for the one that began first: it can finish, and has to come
on while others wait for it. Whoever sends frames that come whole never waits here.
"""

from __future__ import annotations

from typing import Protocol

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.timers import Clock

FREE = 4 * 1024
"""Bytes of a connection that do not count."""
_SHARE = 4
"""All may take one part in so many of the memory."""
_READ = 256 * 1024
"""Bytes that one read may bring."""
_SECONDS, _BYTES = 10.0, 256 * 1024
"""While others wait, the first has to bring so much in this time."""

_TOO_SLOW = ProtocolError(
    ErrorCode.LIMIT_EXCEEDED,
    "the broker has no room for more unfinished frames, others wait, and this one does not come on",
)


class InputSource(Protocol):
    """A connection that brings input."""

    def pause_for_memory(self) -> None:
        """Read no more of a frame until there is memory for it."""
        ...

    def resume_for_memory(self) -> None:
        """Read on: there is memory for its frame."""
        ...

    def refuse(self, error: ProtocolError) -> None:
        """Say why, and close."""
        ...


class InputMemory:
    """The memory that unfinished frames take, for all connections together.

    Args:
        memory: where it counts.
        mark: of that memory, in bytes; 0 = none.
        clock: to see whether the first one comes on.

    Attributes:
        held: bytes that are unfinished.
    """

    def __init__(self, memory: Watermark, mark: int, clock: Clock) -> None:
        self.held = 0
        self._memory = memory
        self._mark = mark / _SHARE if mark else float("inf")
        self._clock = clock
        self._sizes: dict[InputSource, int] = {}  # the one that began first, first
        self._waiting: dict[InputSource, None] = {}
        self._watch = clock.timer(self._check_first)
        self._watched: tuple[InputSource, int] | None = None

    def set_size(self, source: InputSource, size: int) -> None:
        """Account for the bytes of a source that are unfinished now; have it wait if need be."""
        before = self._sizes.get(source, 0)
        if size <= FREE:
            size = 0
        if size == before:
            return
        if size:
            self._sizes[source] = size
        else:
            del self._sizes[source]
            self._waiting.pop(source, None)
        self.held += size - before
        self._memory.add(size - before)
        self._memory.check()
        if self.held <= self._mark:
            self._resume_waiting()
        elif size and source is not next(iter(self._sizes)):
            self._waiting[source] = None
            source.pause_for_memory()
            if self._watched is None:
                self._check_first()
        # Whoever is the first now is never to wait, or nobody would come on.
        self._resume_first()

    def _resume_first(self) -> None:
        first = next(iter(self._sizes), None)
        if first is not None and first in self._waiting:
            del self._waiting[first]
            first.resume_for_memory()

    def _resume_waiting(self) -> None:
        """Resume as many as there is room for, the first ones first."""
        room = self._mark - self.held
        while self._waiting and room > 0:
            source = next(iter(self._waiting))
            del self._waiting[source]
            source.resume_for_memory()
            room -= _READ

    def _check_first(self) -> None:
        """Refuse the first one unless it comes on: the others wait for it."""
        first = next(iter(self._sizes), None)
        if first is None or not self._waiting:
            self._watched = None
            return
        if self._watched is not None:
            watched, size = self._watched
            if watched is first and self._sizes[first] < size + _BYTES:
                first.refuse(_TOO_SLOW)
                self.set_size(first, 0)
                first = next(iter(self._sizes), first)
        self._watched = (first, self._sizes.get(first, 0))
        self._watch.set(self._clock.now() + _SECONDS)
