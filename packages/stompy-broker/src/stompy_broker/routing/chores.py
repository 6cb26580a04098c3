"""Work on very many messages of queues, some at a time, so that others have their turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from stompy_broker.message import Message
from stompy_broker.timers import Clock

AT_ONCE = 2000
"""Messages at a time, of all queues together, ..."""

_PAUSE = 0.001
"""... and the pause between; seconds."""

Act = Callable[[Message], None]


class Shift:
    """How much may be done before others have their turn: one for all queues of a broker.

    A client may leave ten thousand queues behind, and each of them has little to do.

    Args:
        clock: begins the next one.

    Attributes:
        left: messages that may still be worked on in this one.
    """

    __slots__ = ("_clock", "_resting", "_timer", "_waiting", "left")

    def __init__(self, clock: Clock) -> None:
        self.left = AT_ONCE
        self._clock = clock
        self._waiting: deque[Chores] = deque()
        self._timer = clock.timer(self._begin)
        self._resting = False

    def spend(self, count: int) -> None:
        """So many messages were worked on."""
        self.left -= count
        self._rest()

    def wait(self, chores: Chores) -> None:
        """Let them go on in the next one, behind those that wait already."""
        self._waiting.append(chores)
        self._rest()

    def _rest(self) -> None:
        if not self._resting:
            self._resting = True
            self._timer.set(self._clock.now() + _PAUSE)

    def _begin(self) -> None:
        self._resting = False
        self.left = AT_ONCE
        try:
            while self._waiting and self.left > 0:
                self._waiting.popleft().go_on()
        finally:
            if self._waiting:
                self._rest()


class Chores:
    """What is to be done in one queue, in order.

    Args:
        shift: says how much at once.
    """

    __slots__ = ("_at_it", "_shift", "_waiting")

    def __init__(self, shift: Shift) -> None:
        self._shift = shift
        self._waiting: deque[tuple[Iterator[Message], Act, Callable[[], None] | None]] = deque()
        self._at_it = False

    def do(
        self, messages: Iterable[Message], act: Act, done: Callable[[], None] | None = None
    ) -> None:
        """Do something with each message, and then call ``done``; at once, if they are few."""
        self._waiting.append((iter(messages), act, done))
        if len(self._waiting) == 1:
            self.go_on()

    def go_on(self) -> None:
        """Do as much as may be done just now. For `Shift` only."""
        if self._at_it:
            return
        self._at_it, shift = True, self._shift
        try:
            while self._waiting and shift.left > 0:
                messages, act, done = self._waiting[0]
                room = left = shift.left
                try:
                    for message in islice(messages, room):
                        left -= 1
                        act(message)
                finally:
                    if left < room:
                        shift.spend(room - left)
                if left:
                    self._waiting.popleft()
                    if done is not None:
                        done()
        finally:
            self._at_it = False
            if self._waiting:
                shift.wait(self)

    def __bool__(self) -> bool:
        """Whether there is anything left to do."""
        return bool(self._waiting)
