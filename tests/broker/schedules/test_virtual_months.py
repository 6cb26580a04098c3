"""Schedules of a real broker over weeks of virtual time, and over times when it was not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

import stompy
import stompy_broker
from stompy_broker import RunningBroker

BERLIN = ZoneInfo("Europe/Berlin")
MINUTE, DAY = 60_000, 24 * 3600 * 1000


@contextmanager
def running(start: datetime, data: Path | None, **scheduler: str) -> Iterator[RunningBroker]:
    settings = {
        "listen": {"port": 0},
        "store": {"data": "" if data is None else str(data)},
        "scheduler": scheduler,
    }
    with stompy_broker.running(settings, time=start) as broker:
        yield broker


@pytest.fixture(params=["in memory", "on disk"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "data" if request.param == "on disk" else None


def sent(broker: RunningBroker, body: str, **headers: object) -> None:
    with stompy.connect(broker.url) as client:
        lines = {name.replace("_", "-"): str(value) for name, value in headers.items()}
        client.message("/queue/q", body, confirm=True, **lines)


def came(broker: RunningBroker) -> list[tuple[str, datetime, dict[str, str]]]:
    """What has come so far: body, for when it was, headers."""
    found = []
    for message in broker.queue("q").messages:
        due = datetime.fromtimestamp(int(message.headers["scheduled-at"]) / 1000, UTC)
        found.append((message.text, due, dict(message.headers)))
    return found


def ms(when: datetime) -> int:
    return round(when.timestamp() * 1000)


def test_thirty_days_of_cron_and_of_a_series(data: Path | None) -> None:
    start = datetime(2030, 3, 1, tzinfo=UTC)
    with running(start, data) as broker:
        sent(broker, "daily", x_cron="0 9 * * *", x_schedule_id="daily")
        sent(broker, "hourly", x_repeat_every=3600_000, x_repeat_times=-1, x_schedule_id="h")
        sent(broker, "weekdays", x_cron="30 8 * * MON-FRI", x_schedule_id="w")
        broker.time.advance("30 days")
        found = came(broker)
        daily = [due for body, due, _ in found if body == "daily"]
        assert daily == [start + timedelta(days=n, hours=9) for n in range(30)]
        hourly = [due for body, due, _ in found if body == "hourly"]
        assert hourly == [start + timedelta(hours=n + 1) for n in range(720)]
        weekdays = [due for body, due, _ in found if body == "weekdays"]
        assert len(weekdays) == 21
        assert all(due.weekday() < 5 for due in weekdays)
        numbers = [int(head["scheduled-number"]) for body, _, head in found if body == "hourly"]
        assert numbers == list(range(1, 721))
        assert [due for _, due, _ in found] == sorted(due for _, due, _ in found)
        assert not any("scheduled-missed" in head for _, _, head in found)


@pytest.mark.parametrize(
    ("begin", "expected"),
    [
        # On 31 March 2030 there is no 2:30 in Berlin; on 27 October there are two.
        (
            datetime(2030, 3, 30, tzinfo=UTC),
            ["03-30 02:30 +0100", "03-31 03:00 +0200", "04-01 02:30 +0200"],
        ),
        (
            datetime(2030, 10, 25, 22, tzinfo=UTC),
            ["10-26 02:30 +0200", "10-27 02:30 +0200", "10-28 02:30 +0100"],
        ),
    ],
)
def test_both_nights_when_clocks_are_set(begin: datetime, expected: list[str]) -> None:
    with running(begin, None, zone="Europe/Berlin") as broker:
        sent(broker, "night", x_cron="30 2 * * *", x_schedule_id="night")
        broker.time.advance("3 days")
        times = [due.astimezone(BERLIN).strftime("%m-%d %H:%M %z") for _, due, _ in came(broker)]
        assert times == expected


START = datetime(2030, 1, 1, tzinfo=UTC)
BACK = START + timedelta(minutes=15, seconds=30)


def away(data: Path, catch_up: str, **headers: object) -> tuple[list[dict[str, str]], list[int]]:
    """A schedule for each minute, seen for 5 minutes; the broker is away for ten, back for two.

    Returns:
        The headers of what came after it was back, and when each came, in milliseconds.
    """
    with running(START, data) as broker:
        sent(broker, "x", x_schedule_id="each", **headers)
        broker.time.advance(timedelta(minutes=5, seconds=30))
        assert len(came(broker)) == 5
    with running(BACK, data, catch_up=catch_up) as broker:
        broker.time.advance(0)
        at_once = len(came(broker))
        broker.time.advance("2 min")
        late = [head for _, _, head in came(broker)][5:]
        assert len(late) == at_once - 5 + 2
        return late, [int(head["scheduled-at"]) for head in late]


SERIES = ({"x_cron": "* * * * *"}, {"x_repeat_every": MINUTE, "x_repeat_times": -1})


@pytest.mark.parametrize("headers", SERIES)
def test_one_stands_for_all_that_were_missed(tmp_path: Path, headers: dict[str, object]) -> None:
    late, due = away(tmp_path, "once", **headers)
    assert [head.get("scheduled-missed") for head in late] == ["10", None, None]
    assert [head["scheduled-number"] for head in late] == ["15", "16", "17"]
    assert due == [ms(START) + MINUTE * n for n in (15, 16, 17)]


@pytest.mark.parametrize("headers", SERIES)
def test_none_that_was_missed_comes(tmp_path: Path, headers: dict[str, object]) -> None:
    late, due = away(tmp_path, "none", **headers)
    assert [head["scheduled-number"] for head in late] == ["16", "17"]
    assert due == [ms(START) + MINUTE * n for n in (16, 17)]
    assert not any("scheduled-missed" in head for head in late)


@pytest.mark.parametrize("headers", SERIES)
def test_each_that_was_missed_comes(tmp_path: Path, headers: dict[str, object]) -> None:
    late, due = away(tmp_path, "all", **headers)
    assert [head.get("scheduled-missed") for head in late] == ["1"] * 10 + [None, None]
    assert [head["scheduled-number"] for head in late] == [str(n) for n in range(6, 18)]
    assert due == [ms(START) + MINUTE * n for n in range(6, 18)]


@pytest.mark.parametrize("catch_up", ["once", "all", "none"])
def test_what_comes_once_is_never_lost(tmp_path: Path, catch_up: str) -> None:
    with running(START, tmp_path) as broker:
        sent(broker, "x", x_delay=MINUTE)
    with running(BACK, tmp_path, catch_up=catch_up) as broker:
        broker.time.advance(0)
        ((_, due, head),) = came(broker)
        assert due >= START + timedelta(minutes=1)
        assert head["scheduled-missed"] == "1"


def test_a_series_that_ended_meanwhile_ends_with_one_message(tmp_path: Path) -> None:
    with running(START, tmp_path) as broker:
        sent(broker, "x", x_repeat_every=MINUTE, x_repeat_times=3, x_schedule_id="four")
        broker.time.advance(timedelta(minutes=2, seconds=30))
    with running(BACK, tmp_path) as broker:
        broker.time.advance("1 day")
        heads = [head for _, _, head in came(broker)]
        assert [head["scheduled-number"] for head in heads] == ["1", "2", "4"]
        assert heads[2]["scheduled-missed"] == "2"
        assert broker.snapshot("scheduled") == []


@pytest.mark.parametrize("catch_up", ["once", "all", "none"])
@pytest.mark.parametrize("headers", SERIES)
def test_what_is_due_after_the_start_was_not_missed(
    tmp_path: Path, catch_up: str, headers: dict[str, object]
) -> None:
    with running(START, tmp_path) as broker:
        sent(broker, "x", x_schedule_id="each", **headers)
    with running(START + timedelta(seconds=30), tmp_path, catch_up=catch_up) as broker:
        broker.time.advance("2 min")
        heads = [head for _, _, head in came(broker)]
    assert [head["scheduled-number"] for head in heads] == ["1", "2"]
    assert not any("scheduled-missed" in head for head in heads)


def test_missed_times_are_an_event(tmp_path: Path) -> None:
    with running(START, tmp_path) as broker:
        sent(broker, "x", x_cron="* * * * *", x_schedule_id="each")
    with running(BACK, tmp_path) as broker, stompy.connect(broker.url) as client:
        broker.time.advance(0)
        client.subscribe("/topic/$SYS.event.scheduler.missed")
        event = client.recv(timeout=10).json["data"]
        assert event["destination"] == "/queue/q"
        assert event["detail"] == {"job_id": "each", "missed": 15, "catch_up": "once"}


def test_names_are_known_after_a_restart(tmp_path: Path) -> None:
    with running(START, tmp_path) as broker:
        sent(broker, "old", x_delay=DAY, x_schedule_id="a")
        sent(broker, "kept", x_delay=DAY, x_schedule_id="b")
    with running(START, tmp_path) as broker:
        sent(broker, "new", x_delay=MINUTE, x_schedule_id="a")
        broker.time.advance("2 days")
        assert [body for body, _, _ in came(broker)] == ["new", "kept"]


def test_the_same_sequence_each_time() -> None:
    def run() -> list[tuple[str, str, str]]:
        with running(START, None) as broker:
            for number in range(5):
                sent(broker, str(number), x_cron="*/7 * * * *", x_schedule_id=number)
            sent(broker, "x", x_repeat_every=7 * MINUTE, x_repeat_times=-1, x_schedule_id="x")
            broker.time.advance("1 day")
            return [
                (body, head["scheduled-at"], head["scheduled-number"])
                for body, _, head in came(broker)
            ]

    first = run()
    assert len(first) > 1000
    assert run() == first
