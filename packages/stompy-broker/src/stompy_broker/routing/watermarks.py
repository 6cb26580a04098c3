"""What can be full in a broker: memory, disk, what clients hold; and a store that cannot write."""

from __future__ import annotations

import logging
from collections.abc import Callable

from stompy.admin.rows import Event
from stompy_broker.events import Events
from stompy_broker.routing.flow_control import Loans, Pressure
from stompy_broker.timers import Clock

log = logging.getLogger("stompy_broker.router")

_RETELL_SECONDS = 60.0
"""That clients hold too much is logged at most this often."""


class Marks:
    """The marks of one broker.

    Args:
        clock: lets go on who waits for what others hold.
        wall: gives the time in milliseconds since the epoch.
        events: told when an alarm begins and ends.
        memory_mark: bytes of waiting messages in memory at which producers are made to wait.
        disk_mark: bytes of messages on disk at which they are.

    Attributes:
        memory: memory in use, but for loans.
        loans: memory in use that only single clients can give back.
        disk: disk space in use.
        stalled: full while the store cannot write.
        full: the first of them that makes producers wait.
        alarms: ``memory``, ``disk`` or ``store`` that is full or in trouble, and since when.
    """

    def __init__(
        self,
        clock: Clock,
        wall: Callable[[], int],
        events: Events,
        memory_mark: int,
        disk_mark: int,
    ) -> None:
        self.memory = Pressure(memory_mark, self._review)
        self.loans = Loans(memory_mark // 2, self._note_loans)
        self.disk = Pressure(disk_mark, self._review)
        self.stalled = Pressure(0, self._review)
        self.full: Pressure | None = None
        self.alarms: dict[str, int] = {}
        self._clock = clock
        self._wall = wall
        self._events = events
        self._lending = clock.timer(self.loans.lend)
        self._tell_of_loans = 0.0

    def _review(self) -> None:
        """Something became full, or has room again. Memory is first: it stops everybody."""
        everything = {"memory": self.memory, "disk": self.disk, "store": self.stalled}
        self.full = next((pressure for pressure in everything.values() if pressure.full), None)
        for name, pressure in everything.items():
            if pressure.full and name not in self.alarms:
                self.alarms[name] = self._wall()
                self._events.tell(Event(type="broker.alarm_set", severity="critical", reason=name))
            elif not pressure.full and self.alarms.pop(name, None) is not None:
                self._events.tell(Event(type="broker.alarm_cleared", reason=name))

    def _note_loans(self) -> None:
        now = self._clock.now()
        if not self.loans.full:
            self._lending.set(now)
        elif now >= self._tell_of_loans:
            self._tell_of_loans = now + _RETELL_SECONDS
            log.warning(
                "clients hold %d MiB that they do not take or settle: who has more than %d KiB "
                "of it gets no more for now",
                self.loans.used // 2**20,
                self.loans.share // 2**10,
            )
