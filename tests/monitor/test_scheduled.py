"""What is to come later, on the screen: seen, cancelled, sent now, and moved to another time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.dashboard import dashboard, on_a_loop

import stompy
from stompy.admin import CommandError
from stompy_broker import RunningBroker, running
from stompy_monitor.dashboard import Options
from stompy_monitor.model.moments import moment_of
from stompy_monitor.screens.dialogs import ConfirmDialog

SCHEDULED = Options(view="scheduled")
FAR = datetime(2199, 1, 1, tzinfo=UTC)


@pytest.fixture
def broker() -> Iterator[RunningBroker]:
    with running() as broker:
        yield broker


def schedule(broker: RunningBroker, text: str, **when: object) -> None:
    with stompy.connect(broker.url) as client:
        client.message("/queue/later", text, confirm=True, **when)  # type: ignore[call-overload]


@on_a_loop
async def test_what_is_to_come_is_seen_next_one_first(broker: RunningBroker) -> None:
    schedule(broker, "a", at=FAR)
    schedule(broker, "b", cron="0 9 * * *", zone="Europe/Berlin", schedule_id="daily")
    schedule(broker, "c", delay=7200, every=86400, times=3)
    async with dashboard(broker.url, SCHEDULED, size=(140, 36)) as drive:
        await drive.until(lambda: len(drive.keys) == 3)
        await drive.see("0 9 * * * Europe/Berlin")
        await drive.see("every 1d 00h, 2 more")
        await drive.see("once")
        await drive.see(" L Scheduled 3")
        rows = drive.table.rows.row_set.rows
        due = [rows[key].number("next_at") for key in drive.keys]
        assert due == sorted(due)
        assert due[-1] == FAR.timestamp() * 1000
        await drive.press("slash")
        await drive.type("next_in>100d")
        await drive.press("enter")
        await drive.until(lambda: len(drive.keys) == 1)
        await drive.press("enter")
        await drive.see("comes")


@on_a_loop
async def test_help_says_what_the_keys_do_with_it(broker: RunningBroker) -> None:
    schedule(broker, "a", at=FAR)
    async with dashboard(broker.url, SCHEDULED) as drive:
        await drive.until(lambda: len(drive.keys) == 1)
        await drive.press("question_mark")
        for verb in ("Reschedule", "Send now", "End"):
            await drive.see(f" {verb} ")
        assert " Retry " not in drive.text()


@on_a_loop
async def test_one_is_cancelled(broker: RunningBroker) -> None:
    schedule(broker, "a", cron="0 9 * * *", schedule_id="daily")
    async with dashboard(broker.url, SCHEDULED) as drive:
        await drive.until(lambda: len(drive.keys) == 1)
        await drive.press("X")
        await drive.until(lambda: isinstance(drive.screen, ConfirmDialog))
        await drive.see("End schedule daily to /queue/later")
        await drive.press("y")
        await drive.see("daily to /queue/later: ended")
        await drive.until(lambda: drive.keys == [])


@on_a_loop
async def test_one_comes_now(broker: RunningBroker) -> None:
    schedule(broker, "a", at=FAR)
    async with dashboard(broker.url, SCHEDULED) as drive:
        await drive.until(lambda: len(drive.keys) == 1)
        await drive.press("R")
        await drive.until(lambda: isinstance(drive.screen, ConfirmDialog))
        await drive.see("Its message comes now")
        await drive.press("y")
        await drive.until(lambda: broker.queue("later").ready == 1)
        await drive.until(lambda: drive.keys == [])


@on_a_loop
async def test_one_comes_at_another_time(broker: RunningBroker) -> None:
    schedule(broker, "a", at=FAR, schedule_id="new-year")
    async with dashboard(broker.url, SCHEDULED) as drive:
        await drive.until(lambda: len(drive.keys) == 1)
        await drive.press("M")
        await drive.until(lambda: isinstance(drive.screen, ConfirmDialog))
        await drive.see("when: 2027-01-01 09:00, or 2h from now")
        await drive.type("tomorrow")
        await drive.press("enter", "enter")
        await drive.see("is no time such as")
        await drive.press("M")
        await drive.until(lambda: isinstance(drive.screen, ConfirmDialog))
        await drive.type("2h")
        await drive.press("enter", "enter")
        await drive.see("new-year to /queue/later: rescheduled")
        (row,) = drive.table.rows.row_set.rows.values()
        two_hours = timedelta(hours=2).total_seconds() * 1000
        await drive.until(lambda: 0 < row.number("next_in_ms") <= two_hours)


def test_moments_are_read() -> None:
    assert moment_of("2h", 1000) == 7_201_000
    assert moment_of("in 1.5d", 0) == 129_600_000
    assert moment_of("2199-01-01T00:00Z", 0) == FAR.timestamp() * 1000
    here = datetime(2199, 1, 1, 9).astimezone()
    assert moment_of("2199-01-01 09:00", 0) == here.timestamp() * 1000
    for wrong in ("", "tomorrow", "2 years", "99999999999999d"):
        with pytest.raises(CommandError, match="is no time"):
            moment_of(wrong, 0)
