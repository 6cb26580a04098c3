"""What one schedule is: when it is due first, and when again; it knows no clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from stompy_broker.schedules.cron_times import CronTimes

MOST_CAUGHT_UP: Final = 1000
"""How many missed firings of one schedule come after all with ``catch_up = "all"``."""

_MOST_COUNTED: Final = 10_000


class CatchUp(StrEnum):
    """What becomes of firings that fell due while no broker was there."""

    ONCE = "once"
    """One message stands for all of them."""
    ALL = "all"
    """Each comes, at most `MOST_CAUGHT_UP` of one schedule, the last ones."""
    NONE = "none"
    """None comes; but what comes only once comes late rather than never."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """Where a schedule goes on after a time without a broker.

    Attributes:
        due: when it is due now, maybe long ago; None if it is over.
        fired: how often it counts as fired before that.
        missed: how many times had passed.
    """

    due: int | None
    fired: int
    missed: int


@dataclass(frozen=True, slots=True)
class ScheduleSpec:
    """When a message is to come; all times are milliseconds, points in time since 1970.

    With a cron expression a series begins at each of its times: after the delay the first message,
    then as many more as it says, a period apart. The next cron time ends the series before.

    Attributes:
        delay: how much later than sent, or than a cron time.
        at: at that time, or from then on; 0 if it says none.
        period: between one message and the next; 0 if it says none.
        repeat: how many more come after the first, -1 for ever.
        cron: when it begins, again and again.
        name: what its sender calls it; empty if it has no name.
        cancel: whether it says that the one of that name ends, and nothing else.
    """

    delay: int = 0
    at: int = 0
    period: int = 0
    repeat: int = 0
    cron: CronTimes | None = None
    name: str = ""
    cancel: bool = False

    @property
    def recurs(self) -> bool:
        """Whether it may be due more than once."""
        return self.cron is not None or (self.period > 0 and self.repeat != 0)

    def first_due(self, now: int) -> int:
        """When it is due first, if it is sent now; `now` itself means at once."""
        delay = max(self.delay, 0)
        if self.cron is not None:
            found = self.cron.after(max(now, self.at - 1))
            return now if found is None else found + delay
        if self.at:
            return max(self.at, now)
        # As ActiveMQ does it: what only repeats begins after a period.
        return now + (delay or self.period)

    def next_due(self, due: int, fired: int) -> int | None:
        """When it is due again, None if never.

        Args:
            due: when it was due.
            fired: how often it has fired, that time included.
        """
        if self.cron is not None:
            return self._next_in_series(self.cron, due)
        if not self.period or 0 <= self.repeat < fired:
            return None
        return due + self.period

    def _next_in_series(self, cron: CronTimes, due: int) -> int | None:
        delay = max(self.delay, 0)
        following = cron.after(due - delay)
        if following is not None:
            following += delay
        if not self.period or not self.repeat:
            return following
        begun = cron.before(due - delay)
        again = due + self.period
        if begun is None or (following is not None and again >= following):
            return following
        done = (due - delay - begun) // self.period
        return again if self.repeat < 0 or done < self.repeat else following

    def resume(self, due: int, fired: int, now: int, catch_up: CatchUp) -> Resumed:
        """Where it goes on if it was due before, and nobody was there.

        It is counted to ten thousand, and then goes on with what is due next.

        Args:
            due: when it was due.
            fired: how often it had fired.
            now: what time it is.
            catch_up: what becomes of what was missed.
        """
        if due > now:
            return Resumed(due, fired, 0)
        if not self.recurs:
            return Resumed(due, fired, 1)
        missed, last = self._passed(due, fired, now)
        if catch_up is CatchUp.NONE:
            return Resumed(self.next_due(last[-1], fired + missed), fired + missed, missed)
        if catch_up is CatchUp.ONCE:
            return Resumed(last[-1], fired + missed - 1, missed)
        return Resumed(last[0], fired + missed - len(last), missed)

    def _passed(self, due: int, fired: int, now: int) -> tuple[int, list[int]]:
        """How many times have passed, and the last of them."""
        if self.cron is None:
            count = (now - due) // self.period + 1
            if self.repeat >= 0:
                count = max(1, min(count, self.repeat + 1 - fired))
            first = max(count - MOST_CAUGHT_UP, 0)
            return count, [due + self.period * n for n in range(first, count)]
        # From now back: the last ones matter, and there may be millions before them.
        last: list[int] = []
        count = 0
        for found in self._back(self.cron, now):
            if found <= due or count >= _MOST_COUNTED:
                break
            count += 1
            if count <= MOST_CAUGHT_UP:
                last.append(found)
        if count < _MOST_COUNTED:  # the time itself, which an operator may have moved
            count += 1
            if count <= MOST_CAUGHT_UP:
                last.append(due)
        return count, last[::-1]

    def _back(self, cron: CronTimes, now: int) -> Iterator[int]:
        """When it was due, last one first."""
        delay = max(self.delay, 0)
        if not self.period or not self.repeat:
            for begun in cron.back(now - delay):
                yield begun + delay
            return
        found = self._last_due(cron, now)
        while found is not None:
            yield found
            found = self._last_due(cron, found - 1)

    def _last_due(self, cron: CronTimes, now: int) -> int | None:
        """When it was due last, at that time or before it."""
        delay = max(self.delay, 0)
        begun = cron.before(now - delay)
        if begun is None:
            return None
        done = (now - delay - begun) // self.period
        if self.repeat >= 0:
            done = min(done, self.repeat)
        return begun + delay + done * self.period
