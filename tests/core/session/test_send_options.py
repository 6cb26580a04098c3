"""What a message asks for beside its way, in each broker's words."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from stompy.errors import UnsupportedByBroker
from stompy.session.arguments import MESSAGE, TRANSACTION_MESSAGE
from stompy.session.dedup_ids import DedupIds
from stompy.session.dialects import ACTIVEMQ, ARTEMIS, RABBITMQ, STOMPY, UNKNOWN
from stompy.session.send_options import (
    NAMES,
    SendOptions,
    cancel_headers,
    keyword_headers,
    option_headers,
    taken_apart,
    with_send_options,
)


class Here:
    """What is asked of a session."""

    def __init__(self, *, always: bool = False) -> None:
        self.ids = DedupIds(always=always)
        self.dialect = STOMPY


HERE = Here()
NEW_YEAR = datetime(2027, 1, 1, tzinfo=UTC)


def test_ours_knows_all_of_them() -> None:
    daily = SendOptions(
        delay=1.5,
        cron="0 9 * * *",
        zone=ZoneInfo("Europe/Berlin"),
        every=timedelta(minutes=1),
        times=3,
        schedule_id="weekly",
        group=7,
        close_group=True,
    )
    assert daily.headers_for(STOMPY) == {
        "x-delay": "1500",
        "x-cron": "0 9 * * *",
        "x-cron-zone": "Europe/Berlin",
        "x-repeat-every": "60000",
        "x-repeat-times": "2",
        "x-schedule-id": "weekly",
        "JMSXGroupID": "7",
        "JMSXGroupSeq": "-1",
    }
    assert SendOptions(at=NEW_YEAR).headers_for(STOMPY) == {"x-deliver-at": "1798761600000"}


def test_every_without_times_has_no_end() -> None:
    assert SendOptions(every=60).headers_for(ACTIVEMQ) == {
        "AMQ_SCHEDULED_PERIOD": "60000",
        "AMQ_SCHEDULED_REPEAT": "-1",
    }


@pytest.mark.parametrize(
    ("delay", "milliseconds"),
    [
        (0, "0"),
        (0.57, "570"),
        (0.0001, "1"),
        (timedelta(microseconds=1), "1"),
        (timedelta(days=36525), "3155760000000"),
        (1e9, "1000000000000"),
    ],
)
def test_no_delay_becomes_shorter(delay: float | timedelta, milliseconds: str) -> None:
    assert SendOptions(delay=delay).headers_for(STOMPY) == {"x-delay": milliseconds}


def test_a_moment_is_the_same_in_each_zone_and_never_early() -> None:
    there = NEW_YEAR.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert SendOptions(at=there).headers_for(STOMPY) == {"x-deliver-at": "1798761600000"}
    later = NEW_YEAR + timedelta(microseconds=1)
    assert SendOptions(at=later).headers_for(STOMPY) == {"x-deliver-at": "1798761600001"}


@pytest.mark.parametrize(
    ("dialect", "options"),
    [
        (RABBITMQ, {"delay": 1}),
        (RABBITMQ, {"group": "a"}),
        (ACTIVEMQ, {"at": NEW_YEAR}),
        (ACTIVEMQ, {"cron": "* * * * *", "zone": "UTC"}),
        (ACTIVEMQ, {"schedule_id": "a"}),
        (ARTEMIS, {"cron": "* * * * *"}),
        (UNKNOWN, {"delay": 1}),
    ],
)
def test_what_a_broker_would_ignore_is_refused(dialect: Any, options: Any) -> None:
    with pytest.raises(UnsupportedByBroker, match="would deliver it as any other"):
        SendOptions(**options).headers_for(dialect)


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ({"delay": "5"}, TypeError, "a number of seconds or a timedelta, not '5'; .* headers="),
        ({"delay": True}, TypeError, "not True"),
        ({"delay": -1}, ValueError, "0 seconds or more"),
        ({"delay": float("nan")}, ValueError, "0 seconds or more"),
        ({"delay": float("inf")}, ValueError, "0 seconds or more"),
        ({"delay": timedelta(-1)}, ValueError, "0 seconds or more"),
        ({"every": []}, TypeError, "every= is a number of seconds"),
        ({"at": 1798761600}, TypeError, "a datetime with a time zone"),
        ({"at": datetime(2027, 1, 1)}, ValueError, "needs a time zone: 2027-01-01 00:00:00"),
        ({"cron": 5}, TypeError, "cron= is text"),
        ({"cron": ""}, ValueError, "not empty"),
        ({"cron": "* * * * *", "zone": UTC}, TypeError, "Europe/Berlin"),
        ({"zone": "UTC"}, ValueError, "zone= is that of cron="),
        ({"every": 1, "times": 0}, ValueError, "1 or more"),
        ({"every": 1, "times": 1.0}, TypeError, "a whole number of deliveries"),
        ({"times": 3}, ValueError, "times= needs every="),
        ({"cron": "* * * * *", "every": 1}, ValueError, "needs times="),
        ({"cron": "* * * * *", "at": NEW_YEAR}, ValueError, "not both"),
        ({"delay": 1, "at": NEW_YEAR}, ValueError, "not both"),
        ({"schedule_id": ""}, ValueError, "not empty"),
        ({"group": 1.5}, TypeError, "group= is text or a whole number"),
        ({"group": True}, TypeError, "not True"),
        ({"group": ""}, ValueError, "not empty"),
        ({"close_group": True}, ValueError, "needs group="),
        ({"group": "a", "close_group": "yes"}, TypeError, "True or False"),
    ],
)
def test_what_cannot_be_meant_is_refused(wrong: Any, error: type, says: str) -> None:
    with pytest.raises(error, match=says):
        SendOptions(**wrong)


def test_headers_given_by_hand_win_over_options_and_free_keywords_over_them() -> None:
    given = keyword_headers(
        MESSAGE, {"delay": 1, "priority": 9}, {"x-delay": "5", "priority": 3, "a": "b"}, HERE
    )
    assert given == {"x-delay": "5", "priority": 9, "a": "b"}
    assert keyword_headers(MESSAGE, {"delay": None}, {}, HERE) == {}
    with pytest.raises(TypeError, match="headers must be a mapping"):
        keyword_headers(MESSAGE, {"delay": 1}, 5, HERE)  # type: ignore[arg-type]


def test_without_options_headers_are_handed_back() -> None:
    headers = {"a": "b"}
    assert option_headers({}, headers, HERE) is headers
    assert option_headers({"group": "g"}, headers, HERE) == {"JMSXGroupID": "g", "a": "b"}


def test_mistyped_options_are_found_beside_others() -> None:
    with pytest.raises(TypeError, match="did you mean times="):
        taken_apart(MESSAGE, {"every": 60, "time": 3})
    with pytest.raises(TypeError, match=r"headers=\{'x-delay': 5\}"):
        taken_apart(TRANSACTION_MESSAGE, {"x_delay": 5})
    # Alone, it is a header as ever.
    assert taken_apart(MESSAGE, {"time": 3}) == ({}, {"time": 3})


def test_a_schedule_is_cancelled_by_its_name() -> None:
    assert cancel_headers("a", STOMPY) == {"x-schedule-id": "a", "x-schedule-cancel": "true"}
    with pytest.raises(UnsupportedByBroker):
        cancel_headers("a", ACTIVEMQ)
    with pytest.raises(TypeError, match="schedule"):
        cancel_headers(None, STOMPY)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="schedule_id= is text"):
        cancel_headers(5, STOMPY)  # type: ignore[arg-type]


def test_a_call_is_shown_with_the_options() -> None:
    @with_send_options
    def send(to: str, **kv_headers: object) -> None:
        """Send."""

    @with_send_options
    def post(to: str, *, json: object = None, **options: object) -> None:
        """Post."""

    names = list(inspect.signature(send).parameters)
    assert names[0] == "to"
    assert names[-1] == "kv_headers"
    assert set(names[1:-1]) == NAMES
    assert list(inspect.signature(post).parameters)[:3] == ["to", "json", "delay"]
    assert "options" not in inspect.signature(post).parameters
