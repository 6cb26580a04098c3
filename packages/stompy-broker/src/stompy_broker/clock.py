"""All deadlines of a broker in one heap: heart-beats, login time-outs, delayed redeliveries.

Pure: the time is read through a function that is handed in, and the owner is told when the next
deadline has moved. One alarm object may be set again and again; an old entry in the heap is
recognised by its time and passed over.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count


class Alarm:
    """Something to do at a time, which may be moved or put off at will.

    Setting it later than it stands costs nothing: the entry in the heap is moved when it comes up.
    """

    __slots__ = ("_action", "_clock", "_entry", "_when")

    def __init__(self, clock: Clock, action: Callable[[], None]) -> None:
        self._clock = clock
        self._action = action
        self._when: float | None = None
        self._entry: float | None = None

    def set(self, when: float | None) -> None:
        """Ring at this time and at no other; None = not at all."""
        self._when = when
        if when is not None and (self._entry is None or when < self._entry):
            self._entry = when
            self._clock.schedule(when, self)

    def cancel(self) -> None:
        """Do not ring."""
        self._when = None

    def come_up(self, entry: float, now: float) -> None:
        """The heap entry of a time came up. For the clock only."""
        if entry != self._entry:
            return
        self._entry = None
        when = self._when
        if when is None:
            return
        if when > now:
            self.set(when)
            return
        self._when = None
        self._action()


class Clock:
    """The heap.

    Args:
        now: gives the time in seconds; it only goes forward.
        wake: told the time of the next deadline whenever an earlier one was set.
    """

    def __init__(self, now: Callable[[], float], wake: Callable[[float], None]) -> None:
        self.now = now
        self._wake = wake
        self._heap: list[tuple[float, int, Alarm]] = []
        self._order = count()

    def alarm(self, action: Callable[[], None]) -> Alarm:
        """A new alarm, not set."""
        return Alarm(self, action)

    def schedule(self, when: float, alarm: Alarm) -> None:
        """Put an alarm into the heap. For `Alarm` only."""
        heap = self._heap
        heapq.heappush(heap, (when, next(self._order), alarm))
        if heap[0][2] is alarm and heap[0][0] == when:
            self._wake(when)

    def run(self) -> None:
        """Ring everything that is due, then ask to be woken for the next."""
        now = self.now()
        heap = self._heap
        while heap and heap[0][0] <= now:
            entry, _, alarm = heapq.heappop(heap)
            alarm.come_up(entry, now)
        if heap:
            self._wake(heap[0][0])
