"""What becomes of schedules that were due while nobody was there: no broker, or one that slept."""

from __future__ import annotations

from typing import Final

from stompy_broker.message import Message
from stompy_broker.routing.schedule_reports import ScheduleReports
from stompy_broker.schedules.schedule_spec import CatchUp, Resumed, ScheduleSpec

_LATE: Final = 60_000
"""Milliseconds after which something counts as missed that is due again and again."""


class Absence:
    """The time in which the schedules of one queue did not fire.

    Args:
        reports: told of what was missed.

    Attributes:
        until: when it was over, in milliseconds since the epoch; 0 = there was none yet.
    """

    __slots__ = ("_away", "_each", "_reports", "until")

    def __init__(self, reports: ScheduleReports) -> None:
        self.until = 0
        self._reports = reports
        self._away = False
        self._each: set[int] = set()  # sequences of what comes once for each time that was missed

    def note(self, now: int) -> None:
        """Note that schedules were taken over from somebody else; what was due before was missed.

        Args:
            now: what time it is.
        """
        self.until = max(self.until, now)

    def begin(self) -> None:
        """Note that something is due, and nobody can send it yet."""
        self._away = True

    def end(self, now: int) -> None:
        """Be there from now on; what was due before was missed.

        Args:
            now: what time it is.
        """
        if self._away:
            self._away = False
            self.until = now

    def resume(
        self, message: Message, spec: ScheduleSpec, due: int, now: int, catch_up: CatchUp
    ) -> tuple[Resumed, int]:
        """Say where a schedule goes on that is due.

        Args:
            message: of the schedule; its deliveries are how often it had fired.
            spec: what it says of its time.
            due: when it was due.
            now: what time it is.
            catch_up: what becomes of what was missed.

        Returns:
            Where it goes on, and how many times its next message stands for that were missed.
        """
        on_time = Resumed(due, message.deliveries, 0)
        if message.sequence in self._each:
            if due <= self.until:
                return on_time, 1
            self._each.discard(message.sequence)
        if spec.recurs and now - due > _LATE:
            self.until = now
        elif due > self.until:
            return on_time, 0
        resumed = spec.resume(due, message.deliveries, now, catch_up)
        if not spec.recurs:
            return resumed, resumed.missed
        job = spec.name or message.message_id
        self._reports.missed(job, resumed.missed, catch_up.value, message.message_id)
        if catch_up is CatchUp.ALL:
            self._each.add(message.sequence)
            return resumed, 1
        return resumed, resumed.missed
