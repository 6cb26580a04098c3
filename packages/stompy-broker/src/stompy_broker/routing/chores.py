"""Work on very many messages of a queue, some at a time, so that others have their turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from stompy_broker.clock import Clock
from stompy_broker.message import Message

AT_ONCE = 2000
"""Messages at a time, ..."""

_PAUSE = 0.001
"""... and the pause between; seconds."""

Act = Callable[[Message], None]


class Chores:
    """What is to be done, in order.

    Args:
        clock: goes on with it.
    """

    __slots__ = ("_at_it", "_clock", "_waiting")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: deque[tuple[Iterator[Message], Act, Callable[[], None] | None]] = deque()
        self._at_it = False

    def do(
        self, messages: Iterable[Message], act: Act, done: Callable[[], None] | None = None
    ) -> None:
        """Do something with each message, and then call ``done``; at once, if they are few."""
        self._waiting.append((iter(messages), act, done))
        if len(self._waiting) == 1:
            self._go_on()

    def _go_on(self) -> None:
        if self._at_it:
            return
        self._at_it, left = True, AT_ONCE
        try:
            while self._waiting and left:
                messages, act, done = self._waiting[0]
                for message in islice(messages, left):
                    left -= 1
                    act(message)
                if left:
                    self._waiting.popleft()
                    if done is not None:
                        done()
        finally:
            self._at_it = False
            if self._waiting:
                # Kept by the clock alone, so that a queue that has ended is free at once.
                self._clock.alarm(self._go_on).set(self._clock.now() + _PAUSE)

    def __bool__(self) -> bool:
        """Whether there is anything left to do."""
        return bool(self._waiting)
