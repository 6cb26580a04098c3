"""What becomes of schedules that were due while nobody was there."""

from __future__ import annotations

from tests.support.house import make_message

from stompy.admin.rows import Event
from stompy_broker.events import Events
from stompy_broker.message import Message, earlier_deliveries
from stompy_broker.routing.absence import Absence
from stompy_broker.routing.schedule_reports import ScheduleReports
from stompy_broker.schedules.schedule_spec import CatchUp, Resumed, ScheduleSpec

NOW = 1_800_000_000_000
OFTEN = ScheduleSpec(period=100, repeat=-1)
ONCE = ScheduleSpec(delay=1)


def absent() -> tuple[Absence, list[Event]]:
    """An absence, and what it tells."""
    told: list[Event] = []
    events = Events(lambda: NOW)
    events.watch("scheduler.>", told.append)
    return Absence(ScheduleReports(events, "/queue/q")), told


def fired(times: int, sequence: int = 1) -> Message:
    """The message of a schedule that has fired so often."""
    message = make_message(sequence)
    message.redelivery = earlier_deliveries(times, 0)
    return message


def test_what_is_a_little_late_was_not_missed() -> None:
    absence, told = absent()
    absence.end(NOW)
    due = NOW - 500
    found = absence.resume(fired(3), OFTEN, due, NOW, CatchUp.ONCE)
    assert found == (Resumed(due, 3, 0), 0)
    late = NOW - 90_000
    assert absence.resume(fired(0), ONCE, late, NOW, CatchUp.ONCE) == (Resumed(late, 0, 0), 0)
    assert told == []


def test_what_is_due_again_and_again_and_very_late_was_missed() -> None:
    """The machine slept, or its clock was set forward."""
    absence, told = absent()
    found, missed = absence.resume(fired(0), OFTEN, NOW - 90_000, NOW, CatchUp.ONCE)
    assert (found, missed) == (Resumed(NOW, 900, 901), 901)
    assert absence.until == NOW
    (event,) = told
    assert (event.type, event.destination) == ("scheduler.missed", "/queue/q")
    assert event.detail == {"job_id": "1", "missed": 901, "catch_up": "once"}


def test_after_an_absence_all_that_was_due_was_missed() -> None:
    absence, told = absent()
    absence.begin()
    absence.end(NOW)
    absence.end(NOW + 5000)
    assert absence.until == NOW
    later, due = NOW + 10, NOW - 5
    assert absence.resume(fired(0), ONCE, due, later, CatchUp.NONE) == (Resumed(due, 0, 1), 1)
    due = NOW + 5
    assert absence.resume(fired(0), OFTEN, due, later, CatchUp.ONCE) == (Resumed(due, 0, 0), 0)
    assert told == []
    found, missed = absence.resume(fired(0), OFTEN, NOW - 1000, later, CatchUp.NONE)
    assert (found, missed) == (Resumed(NOW + 100, 11, 11), 11)


def test_each_that_was_missed_stands_for_itself() -> None:
    absence, told = absent()
    absence.begin()
    absence.end(NOW)
    due: int | None = NOW - 250
    times, found = 0, []
    while due is not None and due <= NOW + 100:
        resumed, missed = absence.resume(fired(times), OFTEN, due, NOW + 150, CatchUp.ALL)
        found.append((resumed.due, missed))
        times += 1
        due = OFTEN.next_due(due, times)
    assert found == [(NOW - 250, 1), (NOW - 150, 1), (NOW - 50, 1), (NOW + 50, 0)]
    assert len(told) == 1
