"""What can be full in a broker: memory, disk, what clients hold; and a store that cannot write.

Other parts may raise alarms of their own beside these, with a reason.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from stompy.admin.rows import Event
from stompy_broker.events import Events
from stompy_broker.routing.flow_control import Loans, Watermark
from stompy_broker.timers import Clock

log = logging.getLogger("stompy_broker.router")

_RETELL_SECONDS = 60.0
"""That clients hold too much is logged at most this often."""


class Watermarks:
    """The watermarks of one broker.

    Args:
        clock: lets go on who waits for what others hold.
        wall: gives the time in milliseconds since the epoch.
        events: told when an alarm begins and ends.
        memory_mark: bytes of waiting messages in memory at which producers are made to wait.

    Attributes:
        memory: memory in use, but for loans.
        loans: memory in use that only single clients can give back.
        full: one of all, also of those of the groups, that makes producers wait.
        alarms: ``memory``, ``disk`` or ``store`` that is full or in trouble, or what others raised,
            and since when.
        reasons: of those that others raised.
    """

    def __init__(
        self, clock: Clock, wall: Callable[[], int], events: Events, memory_mark: int
    ) -> None:
        self.memory = Watermark(memory_mark, self._review)
        self.loans = Loans(memory_mark // 2, self._note_loans)
        self.full: Watermark | None = None
        self.alarms: dict[str, int] = {}
        self.reasons: dict[str, str] = {}
        self._clock = clock
        self._wall = wall
        self._events = events
        # Memory is first: it stops everybody.
        self._every: list[tuple[str, Watermark]] = [("memory", self.memory)]
        self._lending = clock.timer(self.loans.wake)
        self._tell_of_loans = 0.0

    def for_disk(self, mark: int) -> Watermark:
        """One more disk, which is full at so many bytes."""
        return self._add("disk", mark)

    def for_store(self) -> Watermark:
        """One more store, which is full while it cannot write."""
        return self._add("store", 0)

    def for_directory(self) -> Watermark:
        """What is full while a broker does not know all durable subscriptions there are.

        That is no alarm: it is so for a moment whenever a group of queues changes hands.
        """
        return self._add("", 0)

    def _add(self, name: str, mark: int) -> Watermark:
        watermark = Watermark(mark, self._review)
        self._every.append((name, watermark))
        return watermark

    def _review(self) -> None:
        """Raise and clear alarms: something became full, or has room again."""
        self.full = next((watermark for _, watermark in self._every if watermark.full), None)
        for name in filter(None, dict(self._every)):
            full = any(watermark.full for its_name, watermark in self._every if its_name == name)
            if full and name not in self.alarms:
                self.alarms[name] = self._wall()
                self._events.tell(Event(type="broker.alarm_set", severity="critical", reason=name))
            elif not full and self.alarms.pop(name, None) is not None:
                self._events.tell(Event(type="broker.alarm_cleared", reason=name))

    def set_alarm(self, name: str, reason: str) -> None:
        """Raise an alarm of another part, give it another reason, or clear it.

        Args:
            name: of the alarm; none of those that are raised here.
            reason: in words; empty = it is over.
        """
        if reason:
            known = self.reasons.get(name)
            self.reasons[name] = reason
            if known is None:
                self.alarms[name] = self._wall()
                event = Event(
                    type="broker.alarm_set",
                    severity="critical",
                    reason=name,
                    detail={"why": reason},
                )
                self._events.tell(event)
        elif self.reasons.pop(name, None) is not None:
            del self.alarms[name]
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
