"""When schedules are due, again and again, and after a time without a broker."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from stompy_broker.schedules.cron_times import CronTimes
from stompy_broker.schedules.schedule_spec import MOST_CAUGHT_UP, CatchUp, Resumed, ScheduleSpec

MINUTE = 60_000
NOW = 1_800_000_000_000  # a whole minute
EACH_MINUTE = CronTimes("* * * * *", "UTC")


def dues(spec: ScheduleSpec, now: int, count: int) -> list[int]:
    """When it is due, as long as it is, counted from now."""
    found: list[int] = []
    due: int | None = spec.first_due(now)
    while due is not None and len(found) < count:
        found.append(due - now)
        due = spec.next_due(due, len(found))
    return found


def test_a_delay() -> None:
    assert dues(ScheduleSpec(delay=5000), NOW, 9) == [5000]
    assert dues(ScheduleSpec(delay=0), NOW, 9) == [0]
    assert dues(ScheduleSpec(delay=-1), NOW, 9) == [0]
    assert not ScheduleSpec(delay=5000).recurs


def test_a_time() -> None:
    assert dues(ScheduleSpec(at=NOW + 7), NOW, 9) == [7]
    assert dues(ScheduleSpec(at=NOW - 7), NOW, 9) == [0]


def test_a_period_begins_after_the_delay_or_else_after_a_period_as_activemq_does_it() -> None:
    assert dues(ScheduleSpec(delay=50, period=200, repeat=2), NOW, 9) == [50, 250, 450]
    assert dues(ScheduleSpec(period=200, repeat=2), NOW, 9) == [200, 400, 600]
    assert dues(ScheduleSpec(period=200), NOW, 9) == [200]
    assert dues(ScheduleSpec(at=NOW + 9, period=200, repeat=1), NOW, 9) == [9, 209]
    assert dues(ScheduleSpec(at=NOW - 9, period=200, repeat=1), NOW, 9) == [0, 200]


def test_for_ever() -> None:
    assert dues(ScheduleSpec(period=100, repeat=-1), NOW, 2000)[-1] == 200_000


def test_cron_alone() -> None:
    spec = ScheduleSpec(cron=EACH_MINUTE)
    assert dues(spec, NOW, 3) == [MINUTE, 2 * MINUTE, 3 * MINUTE]
    assert dues(spec, NOW + 1, 2) == [MINUTE - 1, 2 * MINUTE - 1]
    assert spec.recurs


def test_cron_from_a_time_on() -> None:
    at = NOW + 10 * MINUTE
    assert dues(ScheduleSpec(at=at, cron=EACH_MINUTE), NOW, 2) == [10 * MINUTE, 11 * MINUTE]


def test_at_each_cron_time_after_the_delay_so_many_a_period_apart() -> None:
    spec = ScheduleSpec(delay=1000, period=500, repeat=2, cron=EACH_MINUTE)
    assert dues(spec, NOW, 6) == [61_000, 61_500, 62_000, 121_000, 121_500, 122_000]


def test_a_series_ends_when_the_next_one_begins() -> None:
    spec = ScheduleSpec(period=25_000, repeat=9, cron=EACH_MINUTE)
    assert dues(spec, NOW, 5) == [60_000, 85_000, 110_000, 120_000, 145_000]
    for_ever = ScheduleSpec(period=25_000, repeat=-1, cron=EACH_MINUTE)
    assert dues(for_ever, NOW, 5) == [60_000, 85_000, 110_000, 120_000, 145_000]


def test_a_delay_longer_than_the_time_between_two_cron_times() -> None:
    spec = ScheduleSpec(delay=90_000, period=1000, repeat=1, cron=EACH_MINUTE)
    assert dues(spec, NOW, 4) == [150_000, 151_000, 210_000, 211_000]


def test_nothing_was_missed() -> None:
    spec = ScheduleSpec(period=100, repeat=5)
    assert spec.resume(NOW + 1, 3, NOW, CatchUp.ONCE) == Resumed(NOW + 1, 3, 0)


def test_what_comes_once_comes_late_whatever_is_caught_up() -> None:
    for catch_up in CatchUp:
        assert ScheduleSpec(delay=1).resume(NOW - 5, 0, NOW, catch_up) == Resumed(NOW - 5, 0, 1)


def test_one_stands_for_all_that_was_missed() -> None:
    begun = NOW - 10 * MINUTE
    for spec in (ScheduleSpec(cron=EACH_MINUTE), ScheduleSpec(period=MINUTE, repeat=-1)):
        found = spec.resume(begun, 4, NOW, CatchUp.ONCE)
        assert found == Resumed(NOW, 14, 11)
        assert found.due is not None
        assert spec.next_due(found.due, 15) == NOW + MINUTE


def test_none_is_caught_up() -> None:
    begun = NOW - 10 * MINUTE
    for spec in (ScheduleSpec(cron=EACH_MINUTE), ScheduleSpec(period=MINUTE, repeat=-1)):
        assert spec.resume(begun, 4, NOW, CatchUp.NONE) == Resumed(NOW + MINUTE, 15, 11)


def test_all_are_caught_up_but_not_more_than_a_thousand() -> None:
    for spec in (ScheduleSpec(cron=EACH_MINUTE), ScheduleSpec(period=MINUTE, repeat=-1)):
        few = spec.resume(NOW - 10 * MINUTE, 4, NOW, CatchUp.ALL)
        assert few == Resumed(NOW - 10 * MINUTE, 4, 11)
        many = spec.resume(NOW - 1500 * MINUTE, 4, NOW, CatchUp.ALL)
        assert many == Resumed(NOW - 999 * MINUTE, 4 + 501, 1501)
        assert MOST_CAUGHT_UP == 1000


def test_a_series_may_have_ended_meanwhile() -> None:
    spec = ScheduleSpec(period=MINUTE, repeat=5)
    begun = NOW - 100 * MINUTE
    assert spec.resume(begun, 2, NOW, CatchUp.NONE) == Resumed(None, 6, 4)
    late = spec.resume(begun, 2, NOW, CatchUp.ONCE)
    assert late == Resumed(begun + 3 * MINUTE, 5, 4)
    assert late.due is not None
    assert spec.next_due(late.due, 6) is None


def test_a_year_of_seconds_is_counted_to_ten_thousand() -> None:
    spec = ScheduleSpec(cron=CronTimes("* * * * * *", "UTC"))
    found = spec.resume(NOW - 365 * 24 * 60 * MINUTE, 0, NOW, CatchUp.ONCE)
    assert found == Resumed(NOW, 9999, 10_000)


def test_a_time_that_an_operator_moved_counts_as_well() -> None:
    spec = ScheduleSpec(cron=EACH_MINUTE)
    assert spec.resume(NOW - 90_001, 0, NOW, CatchUp.ALL) == Resumed(NOW - 90_001, 0, 3)


SPECS = st.builds(
    ScheduleSpec,
    delay=st.integers(0, 200_000),
    period=st.sampled_from([100, 7000, 60_000, 90_000]),
    repeat=st.integers(-1, 12),
    cron=st.sampled_from([None, EACH_MINUTE, CronTimes("*/3 * * * *", "Europe/Berlin")]),
)


@settings(max_examples=200, deadline=None)
@given(SPECS, st.integers(NOW, NOW + 10_000_000), st.integers(0, 400_000))
def test_what_was_missed_is_what_would_have_come(spec: ScheduleSpec, now: int, away: int) -> None:
    first = spec.first_due(now)
    later = first + away
    passed: list[int] = []
    due: int | None = first
    while due is not None and due <= later:
        passed.append(due)
        due = spec.next_due(due, len(passed))
    assert passed == sorted(set(passed))
    counted = max(len(passed) - 1000, 0)
    every = spec.resume(first, 0, later, CatchUp.ALL)
    assert every == Resumed(passed[counted], counted, len(passed))
    once = spec.resume(first, 0, later, CatchUp.ONCE)
    assert once == Resumed(passed[-1], len(passed) - 1, len(passed))
    if spec.recurs:
        none = spec.resume(first, 0, later, CatchUp.NONE)
        assert none == Resumed(due, len(passed), len(passed))
