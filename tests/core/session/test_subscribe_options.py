"""What a subscription asks for beside messages, in each broker's words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stompy.errors import UnsupportedByBroker
from stompy.protocol.frame import AckMode
from stompy.session.dialects import ACTIVEMQ, ARTEMIS, RABBITMQ, STOMPY, UNKNOWN
from stompy.session.subscribe_options import (
    NO_OPTIONS,
    SubscribeOptions,
    read_options,
    start_of,
)
from stompy.session.wanted import WantedSubscription

ALL = SubscribeOptions(
    no_local=True,
    window_bytes=0,
    pending_limit=7,
    consumer_timeout=1.5,
    share="g",
    queue_name="q",
    exclusive=True,
    auto_delete=False,
    offset="first",
    reader="billing",
    filters=("red", "blue"),
    unfiltered=True,
    retained=False,
)


def test_ours_knows_all_of_them() -> None:
    assert ALL.headers_for(STOMPY) == {
        "no-local": "true",
        "consumer-window-size": "0",
        "pending-limit": "7",
        "x-consumer-timeout": "1500",
        "share": "g",
        "x-queue-name": "q",
        "exclusive": "true",
        "auto-delete": "false",
        "x-stream-offset": "first",
        "x-stream-automatic-offset-tracking": "true",
        "x-stream-consumer": "billing",
        "x-stream-filter": "red,blue",
        "x-stream-match-unfiltered": "true",
        "retained": "false",
    }


@pytest.mark.parametrize(
    ("offset", "text"),
    [
        (None, None),
        ("next", "next"),
        ("age=1h", "age=1h"),
        (0, "offset=0"),
        (17, "offset=17"),
        (-5, "last=5"),
        (datetime(2027, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC), "timestamp=1798761600500"),
        (datetime(1970, 1, 2, tzinfo=UTC), "timestamp=86400"),
        (datetime(1969, 1, 2, tzinfo=UTC), "timestamp=0"),
        (timedelta(minutes=1, milliseconds=1), "age=61s"),
    ],
)
def test_where_a_stream_is_read_from(offset: Any, text: str | None) -> None:
    assert start_of(offset) == text


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ({"offset": ""}, TypeError, "offset= is 'first'"),
        ({"offset": 1.5}, TypeError, "a whole number"),
        ({"offset": True}, TypeError, "not True"),
        ({"offset": datetime(2027, 1, 1)}, ValueError, r"needs a time zone.*timezone\.utc"),
        ({"offset": timedelta(-1)}, ValueError, "how long ago"),
        ({"filters": "red"}, TypeError, "a list of values"),
        ({"filters": ["a,b"]}, ValueError, "no comma"),
        ({"reader": ""}, ValueError, "reader is a name"),
        ({"prefech": 5}, TypeError, "did you mean prefetch="),
        ({"ofset": 5}, TypeError, "did you mean offset="),
        ({"colour": 5}, TypeError, "has no argument 'colour'$"),
    ],
)
def test_what_is_mistaken_about_a_stream_is_refused(wrong: Any, error: Any, says: str) -> None:
    with pytest.raises(error, match=says):
        read_options(wrong)


@pytest.mark.parametrize("dialect", [STOMPY, RABBITMQ, ACTIVEMQ, ARTEMIS, UNKNOWN])
def test_who_asks_for_nothing_is_never_refused(dialect: Any) -> None:
    assert NO_OPTIONS.headers_for(dialect) == {}


def test_what_a_broker_does_not_know_is_not_left_out() -> None:
    with pytest.raises(UnsupportedByBroker, match="window_bytes"):
        SubscribeOptions(window_bytes=1).headers_for(ACTIVEMQ)
    with pytest.raises(UnsupportedByBroker, match="no_local"):
        SubscribeOptions(no_local=True).headers_for(UNKNOWN)


def test_a_window_in_bytes_goes_before_artemis_way_to_say_a_prefetch() -> None:
    wanted = WantedSubscription(
        "s", "/queue/q", AckMode.CLIENT, prefetch=1, options=SubscribeOptions(window_bytes=9)
    )
    assert wanted.headers_for(ARTEMIS, None)["consumer-window-size"] == "9"


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"window_bytes": -1}, ValueError),
        ({"window_bytes": True}, TypeError),
        ({"pending_limit": "5"}, TypeError),
        ({"consumer_timeout": float("inf")}, ValueError),
        ({"share": ""}, ValueError),
        ({"queue_name": ""}, ValueError),
    ],
)
def test_what_cannot_be_meant_is_refused(wrong: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        SubscribeOptions(**wrong)
