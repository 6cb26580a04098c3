"""Events about the schedules of one queue."""

from __future__ import annotations

from stompy.admin.rows import Event
from stompy_broker.events import Events
from stompy_broker.message import Message


class ScheduleReports:
    """Tells what becomes of schedules.

    Args:
        events: told.
        origin: the destination that they are for.
    """

    __slots__ = ("_events", "_origin")

    def __init__(self, events: Events, origin: str) -> None:
        self._events = events
        self._origin = origin

    def fired(self, job: str, due: int, number: int, message: Message) -> None:
        """Tell that a message was sent, if somebody asks for that by name."""
        if "scheduler" in self._events.detailed:
            detail = {"job_id": job or message.message_id, "due_at": due, "number": max(number, 0)}
            self._tell("scheduler.fired", detail, message.message_id, keep=False)

    def missed(self, job: str, times: int, catch_up: str, message_id: str) -> None:
        """Tell that nobody was there at some times, and what is done about it."""
        detail = {"job_id": job, "missed": times, "catch_up": catch_up}
        self._tell("scheduler.missed", detail, message_id)

    def cancelled(self, name: str, message_id: str) -> None:
        """Tell that a sender ended a schedule."""
        self._tell("scheduler.cancelled", {"cancelled": 1, "job_ids": [name]}, message_id)

    def _tell(
        self, what: str, detail: dict[str, object], message_id: str, *, keep: bool = True
    ) -> None:
        event = Event(type=what, destination=self._origin, message_id=message_id, detail=detail)
        self._events.tell(event, keep=keep)
