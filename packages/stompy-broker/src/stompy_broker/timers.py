"""All deadlines of a broker in one heap: heart-beats, login time-outs, delayed redeliveries.

Pure: the time is read through a function that is handed in, and the owner is told when the next
deadline has moved. One timer object may be set again and again; setting it later than it stands
costs nothing, because its entry in the heap is moved when it comes up.

No timer can stop another: what an action raises is logged, and the action is tried again a little
later. The heap holds nobody: an timer that is cancelled is referred to by its owner alone.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable
from itertools import count

from stompy_broker.log_throttle import LogThrottle

log = logging.getLogger("stompy_broker.clock")

_TRY_AGAIN = 5.0
"""Seconds after which an action that raised is tried again."""
_FEW = 64
"""Dead entries that are not worth being looked for."""


class _Entry:
    """A place in the heap; dead once it has no timer."""

    __slots__ = ("timer", "when")

    def __init__(self, when: float, timer: Timer) -> None:
        self.when = when
        self.timer: Timer | None = timer


class Timer:
    """Something to do at a time, which may be moved or put off at will."""

    __slots__ = ("_action", "_clock", "_entry", "_when")

    def __init__(self, clock: Clock, action: Callable[[], None]) -> None:
        self._clock = clock
        self._action: Callable[[], None] | None = action
        self._when: float | None = None
        self._entry: _Entry | None = None

    @property
    def when(self) -> float | None:
        """When it fires; None = it is not set."""
        return self._when

    @property
    def action(self) -> Callable[[], None] | None:
        """What it does; None = it has ended."""
        return self._action

    def settle(self) -> None:
        """Go back into the heap at the time that it was put off to. For the clock only."""
        self._entry = None
        self.set(self._when)

    def set(self, when: float | None) -> None:
        """Fire at this time and at no other; None = not at all."""
        if when is None or self._action is None:
            self.cancel()
            return
        self._when = when
        entry = self._entry
        if entry is None or when < entry.when:
            self._leave()
            self._entry = self._clock.schedule(when, self)

    def cancel(self) -> None:
        """Do not fire, unless it is set again."""
        self._when = None
        self._leave()

    def end(self) -> None:
        """Do not fire any more, whatever is set, and forget what was to be done."""
        self.cancel()
        self._action = None

    def fire(self, now: float) -> None:
        """Run the action, or go back into the heap if it was put off. For the clock only."""
        self._entry = None
        when, action = self._when, self._action
        if when is None or action is None:
            return
        if when > now:
            self.set(when)
            return
        self._when = None
        try:
            action()
        except Exception:
            if self._when is None:
                self.set(now + _TRY_AGAIN)
            self._clock.failed(action)

    def _leave(self) -> None:
        if self._entry is not None:
            self._entry.timer = None
            self._entry = None
            self._clock.discarded()


class Clock:
    """The time, and the heap of what is to be done.

    A broker has one, and the three others beside it are the same one. Where a test moves the time
    (`stompy_broker.virtual_clock`) they differ.

    Args:
        now: gives the time in seconds; it only goes forward.
        wake: told the time of the next deadline whenever an earlier one was set.

    Attributes:
        upkeep: for what comes round again and again, whatever happens: nobody waits for it.
        machine: for what is about sockets, disk and processor, or about people who watch.
        pacing: for work that is under way, and pauses so that others have their turn.
    """

    def __init__(self, now: Callable[[], float], wake: Callable[[float], None]) -> None:
        self.upkeep = self.machine = self.pacing = self
        self.now = now
        self._wake = wake
        self._heap: list[tuple[float, int, _Entry]] = []
        self._order = count()
        self._dead = 0
        self._woken_at = _NEVER  # what the owner was told last, and has not come for yet
        self._running = False
        self._faults = LogThrottle(now)

    def timer(self, action: Callable[[], None]) -> Timer:
        """Make a timer that is not set."""
        return Timer(self, action)

    def schedule(self, when: float, timer: Timer) -> _Entry:
        """Put a timer into the heap. For `Timer` only."""
        entry = _Entry(when, timer)
        heapq.heappush(self._heap, (when, next(self._order), entry))
        if when < self._woken_at and not self._running:
            self._woken_at = when
            self._wake(when)
        return entry

    def discarded(self) -> None:
        """Count a dead entry, and drop all of them when they are many. For `Timer` only."""
        self._dead += 1
        heap = self._heap
        if self._dead > _FEW and self._dead * 2 > len(heap):
            # In place, because `run` may be at it.
            heap[:] = [row for row in heap if row[2].timer is not None]
            heapq.heapify(heap)
            self._dead = 0

    def next_timer(self) -> Timer | None:
        """The timer that fires next; None = none is set."""
        heap = self._heap
        while heap:
            when, _, entry = heap[0]
            timer = entry.timer
            if timer is not None and timer.when == when:
                return timer
            heapq.heappop(heap)
            self._woken_at = _NEVER  # which may be that one; to be told twice does no harm
            if timer is None:
                self._dead = max(0, self._dead - 1)
            else:
                timer.settle()
        return None

    def run(self) -> None:
        """Fire everything that is due, then ask to be woken for the next."""
        now = self.now()
        heap = self._heap
        self._woken_at = _NEVER
        self._running = True
        try:
            # What is set meanwhile for a time that has passed waits for the next turn.
            for _ in range(len(heap)):
                if not heap or heap[0][0] > now:
                    break
                timer = heapq.heappop(heap)[2].timer
                if timer is None:
                    self._dead = max(0, self._dead - 1)
                else:
                    timer.fire(now)
        finally:
            self._running = False
            if heap:
                self._woken_at = heap[0][0]
                self._wake(self._woken_at)

    def failed(self, action: Callable[[], None]) -> None:
        """Log what an action raised, while it is being handled. For `Timer` only."""
        name = getattr(action, "__qualname__", repr(action))
        before = self._faults.count(name)
        if before is not None:
            log.exception(
                "fault in %s, which was due; it is tried again in %g s%s",
                name,
                _TRY_AGAIN,
                f" (after {before} more of them)" if before else "",
            )


class WallClock:
    """Milliseconds since the epoch, that go on evenly while somebody sets the system's clock.

    What has a time to live, or is to come back after a while, must not end or wait because of that.
    Small corrections are followed; a step counts after a restart only, which the log says.

    Args:
        real: gives the time of the system's clock in milliseconds since the epoch.
        now: gives the time in seconds; it only goes forward.
    """

    __slots__ = ("_base", "_now", "_real", "_told")

    def __init__(self, real: Callable[[], int], now: Callable[[], float]) -> None:
        self._real = real
        self._now = now
        self._base = real() - int(now() * 1000)
        self._told = 0

    def __call__(self) -> int:
        """The time in milliseconds since the epoch."""
        real, even = self._real(), self._base + int(self._now() * 1000)
        step = real - even
        if -_SMALL < step < _SMALL:
            self._base += step
            return real
        if not -_SMALL < step - self._told < _SMALL:
            self._told = step
            log.warning(
                "the system's clock was set %s by %.0f s: times of messages, and how long they "
                "live, go on by the old one until the broker starts again",
                "forward" if step > 0 else "back",
                abs(step) / 1000,
            )
        return even


_SMALL = 1000
"""Milliseconds by which a clock may be corrected without anybody's noticing."""
_NEVER = float("inf")
