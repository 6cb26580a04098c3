"""What a subscription asks for beside messages, in each broker's words."""

from __future__ import annotations

from typing import Any

import pytest

from stompy.errors import UnsupportedByBroker
from stompy.protocol.frame import AckMode
from stompy.session.dialects import ACTIVEMQ, ARTEMIS, RABBITMQ, STOMPY, UNKNOWN
from stompy.session.subscribe_options import NO_OPTIONS, SubscribeOptions
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
    }


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
