"""Cron expressions, zones, and the two nights of the year when clocks are set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.schedules.cron_times import SHORTHANDS, CronTimes, zone_of

BERLIN = "Europe/Berlin"


def ms(text: str, zone: str = "UTC", fold: int = 0) -> int:
    moment = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return int(moment.timestamp()) * 1000


def shown(times: CronTimes, begin: str, count: int) -> list[str]:
    """The next times, as the clock of the zone shows them."""
    found, now = [], ms(begin, times.zone)
    for _ in range(count):
        following = times.after(now)
        assert following is not None
        now = following
        moment = datetime.fromtimestamp(now / 1000, ZoneInfo(times.zone))
        found.append(moment.strftime("%m-%d %H:%M:%S %z"))
    return found


@pytest.mark.parametrize(
    ("expression", "begin", "first", "second"),
    [
        ("*/15 * * * *", "2026-01-01T00:00:00", "01-01 00:15:00 +0000", "01-01 00:30:00 +0000"),
        ("10/20 * * * *", "2026-01-01T00:00:00", "01-01 00:10:00 +0000", "01-01 00:30:00 +0000"),
        ("0 9 * * MON-FRI", "2026-01-02T10:00:00", "01-05 09:00:00 +0000", "01-06 09:00:00 +0000"),
        ("0 9 * * 1-5", "2026-01-02T10:00:00", "01-05 09:00:00 +0000", "01-06 09:00:00 +0000"),
        ("0 0 1 jan,jul *", "2026-02-01T00:00:00", "07-01 00:00:00 +0000", "01-01 00:00:00 +0000"),
        ("0 0 L * *", "2026-02-01T00:00:00", "02-28 00:00:00 +0000", "03-31 00:00:00 +0000"),
        ("0 0 * * SUN#2", "2026-02-01T00:00:00", "02-08 00:00:00 +0000", "03-08 00:00:00 +0000"),
        ("*/20 * * * * *", "2026-01-01T00:00:00", "01-01 00:00:20 +0000", "01-01 00:00:40 +0000"),
        ("30 0 12 * * *", "2026-01-01T00:00:00", "01-01 12:00:30 +0000", "01-02 12:00:30 +0000"),
        # Of day and weekday either is enough, unless one of them is a star.
        ("0 0 13 * FRI", "2026-02-01T00:00:00", "02-06 00:00:00 +0000", "02-13 00:00:00 +0000"),
        ("@hourly", "2026-01-01T00:00:00", "01-01 01:00:00 +0000", "01-01 02:00:00 +0000"),
        ("@DAILY", "2026-01-01T00:00:00", "01-02 00:00:00 +0000", "01-03 00:00:00 +0000"),
        ("@weekly", "2026-01-01T00:00:00", "01-04 00:00:00 +0000", "01-11 00:00:00 +0000"),
        ("@monthly", "2026-01-01T00:00:00", "02-01 00:00:00 +0000", "03-01 00:00:00 +0000"),
        ("0 0 29 2 *", "2026-01-01T00:00:00", "02-29 00:00:00 +0000", "02-29 00:00:00 +0000"),
    ],
)
def test_times_of_expressions(expression: str, begin: str, first: str, second: str) -> None:
    assert shown(CronTimes(expression, "UTC"), begin, 2) == [first, second]


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("", "five fields"),
        ("* * * *", "five fields"),
        ("* * * * * * *", "five fields"),
        ("@reboot", "five fields"),
        ("every minute please sir ok", "bad minute"),
        ("60 * * * *", "bad minute"),
        ("* 24 * * *", "bad hour"),
        ("* * 0 * *", "bad day-of-month"),
        ("* * * 13 *", "bad month"),
        ("* * * * 8", "bad day-of-week"),
        ("*/0 * * * *", "bad minute"),
        ("30-10 * * * *", "bad minute"),
        ("* * * * MON#6", "bad day-of-week"),
        ("0 0 30 2 *", "never comes true"),
        ("0 0 31 4,6,9,11 *", "never comes true"),
        ("1," * 100 + "1 * * * *", "200 characters"),
    ],
)
def test_what_is_no_expression_or_never_comes_true_is_refused(expression: str, said: str) -> None:
    with pytest.raises(ProtocolError, match=said) as refused:
        CronTimes(expression, "UTC")
    assert refused.value.error_code is ErrorCode.BAD_HEADER


@pytest.mark.parametrize("name", ["Europe/Nowhere", "America", "../x", "/etc/passwd", "", "a\0b"])
def test_there_is_no_such_zone(name: str) -> None:
    with pytest.raises(ProtocolError, match="no time zone"):
        zone_of(name)


def test_a_skipped_hour_fires_once_right_after_it() -> None:
    """On 29 March 2026 it is 3:00 in Berlin right after 1:59:59."""
    once = CronTimes("30 2 * * *", BERLIN)
    assert shown(once, "2026-03-28T12:00:00", 2) == ["03-29 03:00:00 +0200", "03-30 02:30:00 +0200"]
    often = CronTimes("*/10 2 * * *", BERLIN)
    assert shown(often, "2026-03-29T00:00:00", 2) == [
        "03-29 03:00:00 +0200",
        "03-30 02:00:00 +0200",
    ]
    seconds = CronTimes("5 30 2 * * *", BERLIN)
    assert shown(seconds, "2026-03-29T00:00:00", 1) == ["03-29 03:00:00 +0200"]


def test_what_falls_together_with_the_end_of_a_skipped_hour_comes_once() -> None:
    both = CronTimes("0 2,3 * * *", BERLIN)
    assert shown(both, "2026-03-29T00:00:00", 2) == ["03-29 03:00:00 +0200", "03-30 02:00:00 +0200"]


def test_a_doubled_hour_fires_once() -> None:
    """On 25 October 2026 it is 2:00 in Berlin twice."""
    once = CronTimes("30 2 * * *", BERLIN)
    assert shown(once, "2026-10-24T12:00:00", 2) == ["10-25 02:30:00 +0200", "10-26 02:30:00 +0100"]
    often = CronTimes("0,30 2,3 * * *", BERLIN)
    assert shown(often, "2026-10-25T01:00:00", 4) == [
        "10-25 02:00:00 +0200",
        "10-25 02:30:00 +0200",
        "10-25 03:00:00 +0100",
        "10-25 03:30:00 +0100",
    ]


def test_in_the_second_of_two_equal_hours_the_first_has_passed() -> None:
    once = CronTimes("30 2 * * *", BERLIN)
    in_second = ms("2026-10-25T02:15:00", BERLIN, fold=1)
    assert once.after(in_second) == ms("2026-10-26T02:30:00", BERLIN)
    assert once.before(in_second) == ms("2026-10-25T02:30:00", BERLIN, fold=0)


@pytest.mark.parametrize("expression", ["0 * * * *", "0 0-23 * * *"])
def test_every_hour_is_every_hour_that_passes(expression: str) -> None:
    hourly = CronTimes(expression, BERLIN)
    assert shown(hourly, "2026-03-29T00:30:00", 3) == [
        "03-29 01:00:00 +0100",
        "03-29 03:00:00 +0200",
        "03-29 04:00:00 +0200",
    ]
    assert shown(hourly, "2026-10-25T01:30:00", 3) == [
        "10-25 02:00:00 +0200",
        "10-25 02:00:00 +0100",
        "10-25 03:00:00 +0100",
    ]


def test_a_day_that_a_zone_left_out() -> None:
    """Samoa went over the date line: there was no 30 December 2011."""
    noon = CronTimes("0 12 * * *", "Pacific/Apia")
    assert shown(noon, "2011-12-29T13:00:00", 2) == ["12-31 00:00:00 +1400", "12-31 12:00:00 +1400"]


def test_the_calendar_ends() -> None:
    leap = CronTimes("0 0 29 2 *", "UTC")
    assert leap.after(ms("9998-01-01T00:00:00")) is None
    assert leap.before(ms("0001-01-02T00:00:00")) is None


def test_equal_expressions_are_equal() -> None:
    one, other = CronTimes("@hourly", "UTC"), CronTimes("@hourly", "UTC")
    assert one == other
    assert hash(one) == hash(other)
    assert one != CronTimes("@hourly", BERLIN)
    assert one != "@hourly"
    assert repr(one) == "CronTimes('@hourly', 'UTC')"
    assert all(CronTimes(word, BERLIN).after(0) for word in SHORTHANDS)


EXPRESSIONS = st.sampled_from(
    [
        "* * * * *",
        "*/7 * * * *",
        "30 2 * * *",
        "*/20 1-3 * * *",
        "0 */2 * * *",
        "59 23 * * SUN",
        "0 0 L * *",
        "15 30 0,2,3 * * *",
    ]
)
ZONES = st.sampled_from(
    ["UTC", BERLIN, "America/New_York", "Australia/Lord_Howe", "America/Havana", "Asia/Kolkata"]
)
MOMENTS = st.integers(ms("2024-01-01T00:00:00"), ms("2027-01-01T00:00:00"))


@settings(max_examples=200, deadline=None)
@given(EXPRESSIONS, ZONES, MOMENTS)
def test_times_go_forward_and_back_to_the_same_places(text: str, zone: str, now: int) -> None:
    times = CronTimes(text, zone)
    forward = [now]
    for _ in range(5):
        following = times.after(forward[-1])
        assert following is not None
        forward.append(following)
    assert all(one < other for one, other in pairwise(forward))
    for one, other in pairwise(forward[1:]):
        assert times.before(other) == other
        assert times.before(other - 1) == one
    last = times.before(now)
    assert last is not None
    assert last <= now
    assert times.after(last) == forward[1]


@settings(max_examples=100, deadline=None)
@given(ZONES, MOMENTS)
def test_once_a_day_is_once_on_each_day(zone: str, now: int) -> None:
    times, known = CronTimes("30 1 * * *", zone), ZoneInfo(zone)
    found = [now]
    for _ in range(8):
        following = times.after(found[-1])
        assert following is not None
        found.append(following)
    days = [datetime.fromtimestamp(one / 1000, UTC).astimezone(known).date() for one in found[1:]]
    assert all(other - one == timedelta(days=1) for one, other in pairwise(days))
