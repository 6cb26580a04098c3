"""How full the broker or one queue is, and who waits for room.

Producers are made to wait, not refused (design: *back-pressure, never by dropping*). A mark has
two levels: at the *high* one producers stop, at three quarters of it they go on. A connection
that also consumes may be what drains the queue, so it stops only at twice the mark; otherwise a
full broker whose consumers all produce as well could never empty itself.
"""

from __future__ import annotations

from collections.abc import Callable

HARD = 2
"""At how many times the mark consumers that produce are stopped too."""


class Pressure:
    """Bytes in use against a mark.

    **Hot path:** queues count on `used` themselves, and call `reached` and `relieved` when it
    passes `high` or `floor`.

    Attributes:
        used: bytes in use.
        high: where producers begin to wait.
        floor: where they go on; below zero while nobody waits.
        full: whether producers have to wait.
    """

    __slots__ = ("_low", "_waiting", "floor", "full", "high", "used")

    def __init__(self, mark: int) -> None:
        self.used = 0
        self.full = False
        self.high = mark or float("inf")
        self.floor = -1.0
        self._low = self.high * 0.75
        self._waiting: dict[Callable[[], None], None] = {}

    def reached(self) -> None:
        """The high mark was reached."""
        self.full = True
        self.floor = self._low

    def relieved(self) -> None:
        """The low level was reached: everybody goes on."""
        self.full = False
        self.floor = -1.0
        waiting, self._waiting = self._waiting, {}
        for go_on in waiting:
            go_on()

    def stops(self, *, consumes: bool) -> bool:
        """Whether a producer has to wait, given whether it consumes as well."""
        return self.full and not (consumes and self.used < self.high * HARD)

    def wait(self, go_on: Callable[[], None]) -> None:
        """Call ``go_on`` once there is room. Harmless when repeated."""
        self._waiting[go_on] = None

    def forget(self, go_on: Callable[[], None]) -> None:
        """Do not call it any more."""
        self._waiting.pop(go_on, None)
