"""All spellings of a schedule on SEND, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.schedules.cron_times import CronTimes
from stompy_broker.schedules.headers import AT, DELAY, LONGEST, SCHEDULE_HEADERS, read_schedule
from stompy_broker.schedules.schedule_spec import ScheduleSpec


@pytest.mark.parametrize(
    ("headers", "spec"),
    [
        ({}, None),
        ({"delay": "5", "cron": "@hourly"}, None),
        ({"x-delay": ""}, None),
        ({"AMQ_SCHEDULED_PERIOD": "0", "AMQ_SCHEDULED_REPEAT": "0"}, None),
        ({"x-schedule-cancel": "false"}, None),
        ({"x-delay": "5000"}, ScheduleSpec(delay=5000)),
        ({"AMQ_SCHEDULED_DELAY": " 5000 "}, ScheduleSpec(delay=5000)),
        ({"x-opt-delivery-delay": "5000"}, ScheduleSpec(delay=5000)),
        ({"x-delay": "5000", "AMQ_SCHEDULED_DELAY": "05000"}, ScheduleSpec(delay=5000)),
        ({"x-delay": "0"}, ScheduleSpec()),
        ({"x-delay": "-1"}, ScheduleSpec(delay=-1)),
        ({"x-delay": str(LONGEST)}, ScheduleSpec(delay=LONGEST)),
        ({"x-deliver-at": "1800000000000"}, ScheduleSpec(at=1800000000000)),
        ({"AMQ_SCHEDULED_TIME": "1800000000000"}, ScheduleSpec(at=1800000000000)),
        ({"_AMQ_SCHED_DELIVERY": "1800000000000"}, ScheduleSpec(at=1800000000000)),
        ({"x-opt-delivery-time": "1800000000000"}, ScheduleSpec(at=1800000000000)),
        ({"x-deliver-at": "-5"}, ScheduleSpec(at=0)),
        (
            {"AMQ_SCHEDULED_PERIOD": "1000", "AMQ_SCHEDULED_REPEAT": "9"},
            ScheduleSpec(period=1000, repeat=9),
        ),
        ({"x-repeat-every": "100", "x-repeat-times": "-1"}, ScheduleSpec(period=100, repeat=-1)),
        ({"x-repeat-every": "1000"}, ScheduleSpec(period=1000, repeat=0)),
        (
            {"AMQ_SCHEDULED_CRON": "0  *  * * *"},
            ScheduleSpec(cron=CronTimes("0 * * * *", "Europe/Paris")),
        ),
        ({"x-cron": "@daily", "x-cron-zone": "UTC"}, ScheduleSpec(cron=CronTimes("@daily", "UTC"))),
        (
            {"x-cron": "@daily", "x-repeat-times": "-1"},
            ScheduleSpec(repeat=-1, cron=CronTimes("@daily", "Europe/Paris")),
        ),
        (
            {
                "AMQ_SCHEDULED_CRON": "0 * * * *",
                "AMQ_SCHEDULED_DELAY": "1000",
                "AMQ_SCHEDULED_PERIOD": "1000",
                "AMQ_SCHEDULED_REPEAT": "9",
            },
            ScheduleSpec(1000, 0, 1000, 9, CronTimes("0 * * * *", "Europe/Paris")),
        ),
        ({"x-schedule-id": "a", "x-delay": "5"}, ScheduleSpec(delay=5, name="a")),
        (
            {"x-schedule-id": "a", "x-schedule-cancel": "true", "x-delay": "?"},
            ScheduleSpec(name="a", cancel=True),
        ),
    ],
)
def test_spellings(headers: dict[str, str], spec: ScheduleSpec | None) -> None:
    assert read_schedule(headers, "Europe/Paris") == spec


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"x-delay": "soon"}, "x-delay must be a whole number"),
        ({"AMQ_SCHEDULED_DELAY": "1.5"}, "AMQ_SCHEDULED_DELAY must be a whole number"),
        ({"x-delay": "٣"}, "whole number"),
        ({"x-delay": "--3"}, "whole number"),
        ({"x-delay": "9" * 19}, "18 digits"),
        ({"x-delay": "60s"}, "a whole number of milliseconds, of at most 18 digits, not '60s'"),
        ({"AMQ_SCHEDULED_TIME": "9:00"}, "milliseconds since 1970"),
        ({"x-repeat-every": "9", "x-repeat-times": "two"}, "a whole number, of at most"),
        ({"x-delay": str(LONGEST + 1)}, "hundred years"),
        ({"x-delay": "1", "AMQ_SCHEDULED_DELAY": "2"}, "different things"),
        ({"x-deliver-at": "1", "_AMQ_SCHED_DELIVERY": "2"}, "different things"),
        ({"x-delay": "1", "x-deliver-at": "2"}, "only one of them"),
        ({"x-deliver-at": "9" * 17}, "calendar ends"),
        ({"x-repeat-every": "99"}, "from 100 to"),
        ({"x-repeat-every": "-1"}, "from 100 to"),
        ({"x-repeat-every": str(LONGEST + 1)}, "from 100 to"),
        ({"x-repeat-every": "100", "AMQ_SCHEDULED_PERIOD": "200"}, "different things"),
        ({"x-repeat-every": "100", "x-repeat-times": "-2"}, "-1 for ever"),
        ({"x-repeat-every": "100", "x-repeat-times": str(2**31)}, "-1 for ever"),
        ({"x-repeat-times": "3"}, "needs x-repeat-every"),
        ({"x-repeat-times": "-1", "x-delay": "5"}, "needs x-repeat-every"),
        ({"x-repeat-times": "3", "x-cron": "@daily"}, "needs x-repeat-every"),
        ({"x-cron": "nonsense"}, "five fields"),
        ({"x-cron": "0 0 30 2 *"}, "never comes true"),
        ({"x-cron": "@daily", "AMQ_SCHEDULED_CRON": "@hourly"}, "different things"),
        ({"x-cron": "@daily", "x-cron-zone": "Mars/Olympus"}, "no time zone"),
        ({"x-cron-zone": "UTC"}, "there is none"),
        ({"x-cron": "0 0 29 2 *", "x-deliver-at": "253370764800000"}, "never comes true after"),
        ({"x-schedule-id": "a"}, "nothing says when"),
        ({"x-schedule-id": "a" * 201, "x-delay": "5"}, "200 printable"),
        ({"x-schedule-id": "a\nb", "x-delay": "5"}, "200 printable"),
        ({"x-schedule-cancel": "true"}, "needs x-schedule-id"),
        ({"x-schedule-id": "a", "x-schedule-cancel": "maybe"}, "true or false"),
    ],
)
def test_what_is_refused(headers: dict[str, str], said: str) -> None:
    with pytest.raises(ProtocolError, match=said) as refused:
        read_schedule(headers)
    assert refused.value.error_code is ErrorCode.BAD_HEADER


@given(
    st.dictionaries(
        st.sampled_from(sorted(SCHEDULE_HEADERS)),
        st.text(max_size=12) | st.integers(-(10**20), 10**20).map(str) | st.just("@hourly"),
    )
)
def test_whatever_is_said_it_is_read_or_refused(headers: dict[str, str]) -> None:
    try:
        spec = read_schedule(headers)
    except ProtocolError:
        return
    if spec is not None and not spec.cancel:
        assert spec.first_due(1_800_000_000_000) >= 1_800_000_000_000
        spec.next_due(1_800_000_000_000, 1)


@given(st.sampled_from(DELAY), st.sampled_from(AT), st.integers(0, LONGEST))
def test_each_spelling_means_the_same(delay: str, at: str, value: int) -> None:
    assert read_schedule({delay: str(value)}) == ScheduleSpec(delay=value)
    assert read_schedule({at: str(value)}) == ScheduleSpec(at=value)
