"""How long messages were in a queue until they were accepted: a histogram for each queue.

Nothing is counted before somebody asks for the first time. From then on every 16th message of a
queue is, which costs next to nothing and tells the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Final

from stompy_broker.message import Message

BOUNDS = tuple(digit * 10**exponent for exponent in range(8) for digit in (1, 2, 5))[:23]
"""Milliseconds, upper bounds that belong to their buckets; one more bucket has what is beyond."""

_BUCKETS = len(BOUNDS) + 1

EVERY = 16
"""One message in so many is counted."""
NOT_COUNTED: Final = EVERY - 1
"""The bits of a number by which it is not one of those that are counted."""


class WaitHistogram:
    """How long messages of one queue waited.

    Attributes:
        buckets: how many fell into each, the last one being what is beyond `BOUNDS`; empty while
            nothing was counted, for there may be very many queues.
        total_ms: all of those times together.
    """

    __slots__ = ("_wall", "buckets", "total_ms")

    def __init__(self, wall: Callable[[], int]) -> None:
        self._wall = wall
        self.buckets: list[int] = []
        self.total_ms = 0

    def add(self, received_at: int) -> None:
        """Count a message that leaves now.

        Args:
            received_at: when it came, in milliseconds since the epoch.
        """
        waited = max(0, self._wall() - received_at)
        self.buckets = self.buckets or [0] * _BUCKETS
        self.buckets[bisect_left(BOUNDS, waited)] += 1
        self.total_ms += waited

    def add_some(self, messages: Sequence[Message], before: int) -> None:
        """Count those of some messages whose turn it is.

        Args:
            messages: that leave now.
            before: how many have left before.
        """
        for message in messages[~before & NOT_COUNTED :: EVERY]:
            self.add(message.received_at)

    def include(self, other: WaitHistogram) -> None:
        """Count what another one has counted."""
        if other.buckets:
            own = self.buckets or [0] * _BUCKETS
            self.buckets = [here + there for here, there in zip(own, other.buckets, strict=True)]
            self.total_ms += other.total_ms


class WaitTimes:
    """The histograms of all queues in this process.

    Args:
        wall: gives the time in milliseconds since the epoch.

    Attributes:
        wanted: whether anybody has asked.
        by_queue: the histograms of queues that know it.
    """

    def __init__(self, wall: Callable[[], int]) -> None:
        self.wanted = False
        self.by_queue: dict[str, WaitHistogram] = {}
        self._wall = wall

    def begin(self, queue: str) -> WaitHistogram | None:
        """The histogram of a queue; None = nobody has asked.

        Args:
            queue: its name.
        """
        if not self.wanted:
            return None
        return self.by_queue.setdefault(queue, WaitHistogram(self._wall))

    def end(self, queue: str) -> None:
        """Forget a queue that has ended."""
        self.by_queue.pop(queue, None)
