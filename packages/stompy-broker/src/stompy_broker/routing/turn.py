"""The time of what is going on just now (**hot path**: subscriptions look at it)."""

from __future__ import annotations


class Turn:
    """One object for a whole broker.

    Whoever begins something that may end in deliveries says when that was: a session for each
    read, a queue when it hands out. So a delivery knows its time without a clock of its own. It is
    another object each time, so that who looks can tell by ``is`` whether time has passed.

    Attributes:
        now: on the broker's clock.
    """

    __slots__ = ("now",)

    def __init__(self, now: float) -> None:
        self.now = now


class Marks:
    """When numbered deliveries were made: the first number of each moment, and the moment.

    As many as `MOST` are kept; beyond that those in the middle become coarser.
    """

    __slots__ = ("_marks", "last")

    MOST = 128

    def __init__(self) -> None:
        self._marks: list[tuple[int, float]] = []
        self.last: float | None = None

    def add(self, number: int, now: float) -> bool:
        """The first delivery of a moment, and the moment; say whether `trim` has to follow."""
        self.last = now
        self._marks.append((number, now))
        return len(self._marks) > self.MOST

    def trim(self, oldest: int) -> None:
        """Become fewer; ``oldest`` is the lowest number that matters."""
        marks = self._marks
        del marks[: self._place(oldest)]
        if len(marks) > self.MOST // 2:
            del marks[1:-1:2]

    def when(self, number: int) -> float:
        """When a delivery was made that matters."""
        return self._marks[self._place(number)][1]

    def _place(self, number: int) -> int:
        """Of the last mark that is not behind a number."""
        place = 0
        while place + 1 < len(self._marks) and self._marks[place + 1][0] <= number:
            place += 1
        return place
