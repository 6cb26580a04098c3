"""When deliveries are made (**hot path**: subscriptions look at `CurrentTime`)."""

from __future__ import annotations

from typing import ClassVar


class CurrentTime:
    """The time of what is going on just now: one object for a whole broker.

    Whoever begins something that may end in deliveries says when that was: a session for each
    read, a queue when it hands out. So a delivery knows its time without a clock of its own.

    Attributes:
        now: on the broker's clock.
    """

    __slots__ = ("now",)

    def __init__(self, now: float) -> None:
        self.now = now


class DeliveryTimes:
    """When numbered deliveries were made: the first number of each moment, and the moment.

    As many as `MOST` are kept; beyond that those in the middle become coarser.
    """

    __slots__ = ("_times", "last")

    MOST: ClassVar[int] = 128

    def __init__(self) -> None:
        self._times: list[tuple[int, float]] = []
        self.last = -1.0

    def add(self, number: int, now: float) -> bool:
        """Add the first delivery of a moment; say whether `trim` has to follow."""
        self.last = now
        self._times.append((number, now))
        return len(self._times) > self.MOST

    def trim(self, oldest: int) -> None:
        """Become fewer; ``oldest`` is the lowest number that matters."""
        times = self._times
        del times[: self._place(oldest)]
        if len(times) > self.MOST // 2:
            del times[1:-1:2]

    def when(self, number: int) -> float:
        """When a delivery was made that matters."""
        return self._times[self._place(number)][1]

    def _place(self, number: int) -> int:
        """Of the last entry that is not behind a number."""
        place = 0
        while place + 1 < len(self._times) and self._times[place + 1][0] <= number:
            place += 1
        return place
