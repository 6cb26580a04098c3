"""``stompy schedules``, and what ``stompy send`` says of when, with a broker."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.wire import unique, until


@pytest.fixture
def queue() -> str:
    return f"/queue/{unique()}"


@pytest.fixture
def listed(run):
    def listed(queue: str) -> list[dict[str, object]]:
        code, lines, _ = run("schedules", "list", "--destination", queue, "--format", "json")
        assert code == 0
        return [json.loads(line) for line in lines]

    return listed


def test_what_is_sent_for_later_is_listed(run, listed, queue):
    assert run("send", queue, "a", "--delay", "1h")[0] == 0
    assert run("send", queue, "b", "--at", "2199-01-01T00:00Z")[0] == 0
    daily = ("--cron", "0 9 * * *", "--zone", "Europe/Berlin", "--schedule-id", "daily")
    assert run("send", queue, "c", *daily)[0] == 0
    assert run("send", queue, "d", "--every", "30d", "--times", "3")[0] == 0
    rows = {
        row["name"] or row["cron"] or row["period_ms"] or row["delay_ms"] for row in listed(queue)
    }
    assert rows == {"daily", 3_600_000, timedelta(days=30) // timedelta(milliseconds=1), 0}
    code, lines, _ = run("schedules", "list", "--match", queue)
    assert code == 0
    assert lines[0].split() == ["next", "in", "destination", "how", "fired", "bytes", "id"]
    assert len(lines) == 5
    assert lines[-1].startswith("2199-01-01") or "2198-12-31" in lines[-1]
    assert any("0 9 * * * (Europe/Berlin)" in line for line in lines)
    assert any("every 30 days, 0:00:00, 2 more" in line for line in lines)


def test_a_part_of_them_as_csv(run, queue):
    for number in range(3):
        assert run("send", queue, str(number), "--delay", "1h", "-H", f"n:{number}")[0] == 0
    arguments = ("--destination", queue, "--selector", "n > 0", "-n", "1", "--format", "csv")
    code, lines, err = run("schedules", "list", *arguments)
    (row,) = csv.DictReader(lines)
    assert (code, row["destination"]) == (0, queue)
    assert "there are more; --offset 1 goes on" in err


def test_one_is_cancelled_by_its_name(run, listed, queue):
    named = ("--delay", "1h", "--schedule-id", "once")
    assert run("send", queue, "a", *named)[0] == 0
    assert run("send", queue, "b", *named)[0] == 0
    assert len(listed(queue)) == 1
    cancel = ("schedules", "cancel", "--destination", queue, "--name", "once")
    assert run(*cancel)[0] == 0
    assert listed(queue) == []
    code, _, err = run(*cancel)
    assert (code, "there is no schedule 'once'" in err) == (1, True)


def test_they_are_cancelled_by_id_and_selector(run, listed, queue):
    for number in range(3):
        assert run("send", queue, str(number), "--delay", "1h", "-H", f"n:{number}")[0] == 0
    chosen = ("--destination", queue, "--selector", "n > 0")
    assert run("schedules", "cancel", *chosen, "--dry-run")[1] == ["2 would be cancelled"]
    assert "cancelled 2" in run("schedules", "cancel", *chosen)[2]
    (row,) = listed(queue)
    assert run("schedules", "cancel", str(row["job_id"]))[0] == 0
    assert listed(queue) == []
    assert run("schedules", "cancel", str(row["job_id"]))[0] == 1


def test_one_comes_now_and_one_at_another_time(run, listed, broker, queue):
    assert run("send", queue, "now", "--delay", "1h")[0] == 0
    (row,) = listed(queue)
    assert run("schedules", "fire", str(row["job_id"]))[0] == 0
    until(lambda: broker.queue(queue).ready == 1, "the message")
    assert run("send", queue, "moved", "--delay", "1h")[0] == 0
    (row,) = listed(queue)
    assert run("schedules", "move", str(row["job_id"]), "--at", "2199-01-01T00:00Z")[0] == 0
    (row,) = listed(queue)
    at = datetime(2199, 1, 1, tzinfo=UTC)
    assert row["next_at"] == at.timestamp() * 1000


def test_messages_of_a_group_and_turns(run, broker, queue):
    assert run("send", queue, "a", "--group", "g")[0] == 0
    assert run("send", queue, "b", "--group", "g", "--close-group")[0] == 0
    arguments = ("-n", "2", "--format", "json", "--priority", "-3", "--single-active")
    code, lines, _ = run("listen", queue, *arguments)
    told = [json.loads(line) for line in lines]
    assert code == 0
    assert [one["body"] for one in told] == ["a", "b"]
    assert {one["headers"]["JMSXGroupID"] for one in told} == {"g"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["schedules", "stop"],
        ["schedules", "list", "id"],
        ["schedules", "cancel"],
        ["schedules", "cancel", "--name", "x"],
        ["schedules", "cancel", "id", "--destination", "/queue/q", "--name", "x"],
        ["schedules", "fire"],
        ["schedules", "move", "id"],
        ["send", "/queue/q", "x", "--delay", "1s", "--at", "2199-01-01T00:00Z"],
        ["send", "/queue/q", "x", "--times", "3"],
    ],
)
def test_wrong_usage(arguments, run):
    code, _, err = run(*arguments)
    assert (code, err.startswith("stompy: ")) == (2, True)


def test_what_cannot_be_read_is_refused_by_the_parser(run):
    with pytest.raises(SystemExit) as caught:
        run("send", "/queue/q", "x", "--delay", "soon")
    assert caught.value.code == 2


def test_a_broker_that_refuses(run, broker):
    code, _, err = run("schedules", "list", "--selector", "a =")
    assert (code, err.startswith("stompy: ")) == (1, True)
