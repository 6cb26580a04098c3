"""Work on very many messages of queues, some at a time, so that others have their turn."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final

from stompy_broker.message import Message
from stompy_broker.timers import Clock

AT_ONCE: Final = 2000
"""Messages at a time, of all queues together, ..."""

_PAUSE = 0.001
"""... and the pause between; seconds."""

Act = Callable[[Message], None]


class Work:
    """What is done in steps, as far as a `WorkBudget` lets it."""

    __slots__ = ()

    @abstractmethod
    def go_on(self) -> None:
        """Do as much as may be done just now, and spend for it."""


class WorkBudget:
    """How much may be done before others have their turn: one for all queues of a broker.

    A client may leave ten thousand queues behind, and each of them has little to do.

    Args:
        clock: begins the next batch.

    Attributes:
        left: messages that may still be worked on in this batch.
    """

    __slots__ = ("_clock", "_pausing", "_timer", "_waiting", "left")

    def __init__(self, clock: Clock) -> None:
        self.left = AT_ONCE
        self._clock = clock
        self._waiting: deque[Work] = deque()
        self._timer = clock.timer(self._begin)
        self._pausing = False

    def spend(self, count: int) -> None:
        """Count messages that were worked on."""
        self.left -= count
        self._pause()

    def wait(self, work: Work) -> None:
        """Let work go on in the next batch, behind what waits already."""
        self._waiting.append(work)
        self._pause()

    def _pause(self) -> None:
        if not self._pausing:
            self._pausing = True
            self._timer.set(self._clock.now() + _PAUSE)

    def _begin(self) -> None:
        self._pausing = False
        self.left = AT_ONCE
        try:
            while self._waiting and self.left > 0:
                self._waiting.popleft().go_on()
        finally:
            if self._waiting:
                self._pause()


class BatchedWork(Work):
    """What is to be done to messages of one queue, in order.

    Args:
        budget: says how much at once.

    Attributes:
        budget: says how much at once.
    """

    __slots__ = ("_at_it", "_waiting", "budget")

    def __init__(self, budget: WorkBudget) -> None:
        self.budget = budget
        # A list, because an empty one is small and few are ever long.
        self._waiting: list[tuple[Iterator[Message], Act, Callable[[], None] | None]] = []
        self._at_it = False

    def do(
        self, messages: Iterable[Message], act: Act, done: Callable[[], None] | None = None
    ) -> None:
        """Do something with each message, and then call ``done``; at once, if they are few."""
        self._waiting.append((iter(messages), act, done))
        if len(self._waiting) == 1:
            self.go_on()

    def go_on(self) -> None:
        """Do as much as may be done just now. For `WorkBudget` only."""
        if self._at_it:
            return
        self._at_it, budget = True, self.budget
        try:
            while self._waiting and budget.left > 0:
                messages, act, done = self._waiting[0]
                room = left = budget.left
                try:
                    for message in islice(messages, room):
                        left -= 1
                        act(message)
                finally:
                    if left < room:
                        budget.spend(room - left)
                if left:
                    del self._waiting[0]
                    if done is not None:
                        done()
        finally:
            self._at_it = False
            if self._waiting:
                budget.wait(self)

    def __bool__(self) -> bool:
        """Whether there is anything left to do."""
        return bool(self._waiting)
