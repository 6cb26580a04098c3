"""Settings of what is sent to come later, and what they do."""

from __future__ import annotations

import pytest
from tests.support.wire import Peer, running_broker

from stompy_broker.config import ConfigError, load_config


def test_defaults() -> None:
    config = load_config()
    assert (config.scheduler.zone, config.scheduler.catch_up) == ("UTC", "once")


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"zone": "Mars/Olympus"}, "scheduler.zone: there is no time zone"),
        ({"zone": "../etc"}, "scheduler.zone: there is no time zone"),
        ({"catch_up": "some"}, "scheduler.catch_up"),
    ],
)
def test_what_cannot_be_is_refused(section: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config(overrides={"scheduler": section})


def test_the_zone_holds_for_expressions_that_name_none() -> None:
    with (
        running_broker(scheduler={"zone": "Asia/Kolkata"}) as broker,
        Peer.open(broker.port) as peer,
    ):
        for number, zone in enumerate(("", "x-cron-zone:UTC\n")):
            peer.send(
                f"SEND\ndestination:/queue/q\nx-cron:0 12 * * *\n{zone}x-schedule-id:{number}\n\n\0"
            )
        peer.sync()
        rows = {row.name: row for row in broker.snapshot("scheduled")}
        assert (rows["0"].zone, rows["1"].zone) == ("Asia/Kolkata", "UTC")
        day = 24 * 3600 * 1000
        assert rows["0"].next_at % day == (6 * 60 + 30) * 60_000
        assert rows["1"].next_at % day == 12 * 60 * 60_000
