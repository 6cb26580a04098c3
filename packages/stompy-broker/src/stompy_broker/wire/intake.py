"""What clients have begun to send and not finished counts in a limit, for all of them together.

A frame may be large, and nothing of it can be passed on before its end. So all that is unfinished
may take a quarter of ``limits.memory``, and counts there. When it takes more, nothing is read from
those whose frames are unfinished, but for the one that began first: it can finish, and has to come
on while others wait for it. Whoever sends frames that come whole never waits here.
"""

from __future__ import annotations

from typing import Protocol

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.routing.flow_control import Pressure
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


class Sender(Protocol):
    """Somebody who sends a frame."""

    def wait_for_room(self) -> None:
        """Read no more."""
        ...

    def has_room(self) -> None:
        """Read again."""
        ...

    def refuse(self, error: ProtocolError) -> None:
        """Say why, and close."""
        ...


class Intake:
    """Unfinished input.

    Args:
        memory: where it counts.
        mark: of that memory, in bytes; 0 = none.
        clock: to see whether the first one comes on.

    Attributes:
        held: bytes.
    """

    def __init__(self, memory: Pressure, mark: int, clock: Clock) -> None:
        self.held = 0
        self._memory = memory
        self._mark = mark / _SHARE if mark else float("inf")
        self._clock = clock
        self._sizes: dict[Sender, int] = {}  # the one that began first, first
        self._waiting: dict[Sender, None] = {}
        self._watch = clock.timer(self._look)
        self._watched: tuple[Sender, int] | None = None

    def note(self, sender: Sender, size: int) -> None:
        """So many bytes of a sender are unfinished now."""
        before = self._sizes.get(sender, 0)
        if size <= FREE:
            size = 0
        if size == before:
            return
        if size:
            self._sizes[sender] = size
        else:
            del self._sizes[sender]
            self._waiting.pop(sender, None)
        self.held += size - before
        self._memory.add(size - before)
        self._memory.sink()
        if self.held <= self._mark:
            self._let_go_on()
        elif size and sender is not next(iter(self._sizes)):
            self._waiting[sender] = None
            sender.wait_for_room()
            if self._watched is None:
                self._look()
        # Whoever is the first now is never to wait, or nobody would come on.
        self._let_first_go_on()

    def _let_first_go_on(self) -> None:
        first = next(iter(self._sizes), None)
        if first is not None and first in self._waiting:
            del self._waiting[first]
            first.has_room()

    def _let_go_on(self) -> None:
        """As many as there is room for, the first ones first."""
        room = self._mark - self.held
        while self._waiting and room > 0:
            sender = next(iter(self._waiting))
            del self._waiting[sender]
            sender.has_room()
            room -= _READ

    def _look(self) -> None:
        """Whether the first one comes on."""
        first = next(iter(self._sizes), None)
        if first is None or not self._waiting:
            self._watched = None
            return
        if self._watched is not None:
            watched, size = self._watched
            if watched is first and self._sizes[first] < size + _BYTES:
                first.refuse(_TOO_SLOW)
                self.note(first, 0)
                first = next(iter(self._sizes), first)
        self._watched = (first, self._sizes.get(first, 0))
        self._watch.set(self._clock.now() + _SECONDS)
