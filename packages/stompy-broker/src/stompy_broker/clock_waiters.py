"""Clients in this process that go by the virtual time of their broker, each on its own thread."""

from __future__ import annotations

import threading
from weakref import WeakKeyDictionary

from stompy.session.clock import Waiter


class ClockWaiters:
    """Who waits until when. It may be told and asked on any thread, and refers to nobody."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due: WeakKeyDictionary[Waiter, float] = WeakKeyDictionary()

    def set(self, who: Waiter, due: float | None) -> None:
        """Note until when somebody waits from now on; None = it does not wait."""
        with self._lock:
            if due is None:
                self._due.pop(who, None)
            else:
                self._due[who] = due

    def next(self) -> float | None:
        """When the next one has something to do; None = nobody waits."""
        with self._lock:
            return min(self._due.values(), default=None)

    def wake(self, now: float) -> None:
        """Wake all who have something to do."""
        with self._lock:
            due = [who for who, when in self._due.items() if when <= now]
        for who in due:
            who.wake()
