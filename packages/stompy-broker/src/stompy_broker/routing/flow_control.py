"""How full the broker or one queue is, and who waits for room.

Producers are made to wait, not refused (promises 10 and 11). A watermark has
two levels: at the *high* one producers stop, at three quarters of it they go on. A connection
that also consumes may be what drains the queue, so it stops only at twice the mark; otherwise a
full broker whose consumers all produce as well could never empty itself.

What only one client can give back, because it does not read or does not acknowledge, is no
producer's fault. It is a *loan*, counts apart, and makes nobody else wait.
"""

from __future__ import annotations

from collections.abc import Callable

HARD = 2
"""At how many times the mark consumers that produce are stopped too."""


class Watermark:
    """Bytes in use against a mark.

    Args:
        mark: bytes at which producers begin to wait; 0 = never for the bytes.
        changed: called when `full` has changed.

    **Hot path:** queues count on `used` themselves, and call `went_over` and `went_under` when it
    passes `high` or `floor`.

    Attributes:
        used: bytes in use.
        high: where producers begin to wait.
        floor: where they go on; below zero while nobody waits.
        full: whether producers have to wait.
        refuses: why producers are refused rather than made to wait; empty = they wait.
        held: whether an operator has closed it, so that everybody waits until it is opened.
    """

    __slots__ = ("_changed", "_low", "_waiting", "floor", "full", "held", "high", "refuses", "used")

    def __init__(self, mark: int, changed: Callable[[], None] | None = None) -> None:
        self._changed = changed
        self.refuses = ""
        self.used = 0
        self.full = False
        self.held = False
        self.high = mark or float("inf")
        self.floor = -1.0
        self._low = self.high * 0.75
        self._waiting: dict[Callable[[], None], None] = {}

    def went_over(self) -> None:
        """Have producers wait: the high level was reached."""
        if self.full:
            return
        self.full = True
        self.floor = self._low
        if self._changed is not None:
            self._changed()

    def went_under(self) -> None:
        """Let everybody go on: the low level was reached."""
        if self.held:
            return
        self.full = False
        self.floor = -1.0
        if self._changed is not None:
            self._changed()
        self.wake()

    def move(self, mark: int) -> None:
        """Have another mark from now on; 0 = none."""
        self.high = mark or float("inf")
        self._low = self.high * 0.75
        if self.used >= self.high:
            self.went_over()
        elif self.full and self.used <= self._low:
            self.went_under()
        if self.full:
            self.floor = self._low

    def wake(self) -> None:
        """Call everybody who waits."""
        waiting, self._waiting = self._waiting, {}
        for go_on in waiting:
            go_on()

    def add(self, size: int) -> None:
        """Count more bytes in use."""
        self.used += size
        if self.used >= self.high:
            self.went_over()

    def check(self) -> None:
        """See whether so much less is in use that producers may go on."""
        if self.used <= self.floor:
            self.went_under()

    def blocks(self, *, consumes: bool) -> bool:
        """Whether a producer has to wait, given whether it consumes as well."""
        return self.full and (self.held or not (consumes and self.used < self.high * HARD))

    def hold(self) -> None:
        """Make everybody wait, whatever is in use."""
        self.held = True
        self.went_over()

    def open(self) -> None:
        """Undo `hold`."""
        self.held = False
        if self.full and self.used < self.high:
            self.went_under()

    def wait(self, go_on: Callable[[], None]) -> None:
        """Call ``go_on`` once there is room. Harmless when repeated."""
        self._waiting[go_on] = None

    def forget(self, go_on: Callable[[], None]) -> None:
        """Do not call it any more."""
        self._waiting.pop(go_on, None)


class Loans(Watermark):
    """Bytes that only the client who has them can give back, against a mark.

    They are deliveries that are not settled, what waits for topic subscribers and in temporary
    queues, and open transactions. While they are over the mark, who has more than the same share
    as everybody gets no more, each in its own way: an acknowledging consumer no delivery, a topic
    subscriber the newest messages only, a transaction ERROR.

    Attributes:
        holders: how many subscriptions, temporary queues and transactions there are.
    """

    __slots__ = ("holders",)

    def __init__(self, mark: int, changed: Callable[[], None] | None = None) -> None:
        super().__init__(mark, changed)
        self.holders = 0

    def went_under(self) -> None:
        """Lend again. Somebody is in the middle of something: `wake` follows."""
        self.full = False
        self.floor = -1.0
        if self._changed is not None:
            self._changed()

    @property
    def share(self) -> float:
        """How much each may have while the mark is reached."""
        return self.high / max(1, self.holders)
