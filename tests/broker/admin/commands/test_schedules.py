"""Commands about what is to come later, over real sockets."""

from __future__ import annotations

from typing import Any

from tests.support.admin import Code, Observer, fails, observing
from tests.support.wire import cheap_hash, running_broker

from stompy_broker import RunningBroker

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
FAR = 4_102_444_800_000
"""New year 2100."""


def plan(admin: Observer, queue: str, body: str = "x", **headers: object) -> None:
    """Send something to come later, with underscores for the dashes in names."""
    lines = {name.replace("_", "-"): str(value) for name, value in headers.items()}
    admin.fill(queue, body, **lines)


def listed(admin: Observer, queue: str, **args: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = admin.ask("scheduled.list", match=f"/queue/{queue}", **args)[
        "rows"
    ]
    return rows


def test_what_is_to_come_is_listed_next_one_first(
    broker: RunningBroker, admin: Observer, queue: str
) -> None:
    plan(admin, queue, "late", x_delay=2 * HOUR)
    plan(admin, queue, "soon", x_delay=HOUR, x_repeat_every=1000, x_repeat_times=3)
    plan(admin, queue, "named", x_deliver_at=FAR, x_cron="0 0 1 1 *", x_schedule_id="new-year")
    soon, late, named = listed(admin, queue)
    assert late["next_at"] - soon["next_at"] >= HOUR - MINUTE
    assert (soon["delay_ms"], soon["period_ms"], soon["repeat_left"]) == (HOUR, 1000, 3)
    assert (late["period_ms"], late["repeat_left"], late["cron"]) == (0, 0, "")
    assert soon["id"] == soon["job_id"] == soon["message_id"]
    assert (soon["destination"], soon["fired"]) == (f"/queue/{queue}", 0)
    assert named["id"] == f"/queue/{queue} new-year"
    assert (named["job_id"], named["name"]) == ("new-year", "new-year")
    assert (named["cron"], named["zone"], named["repeat_left"]) == ("0 0 1 1 *", "UTC", -1)
    assert named["next_at"] == FAR
    rows = {row.id: row for row in broker.snapshot("scheduled")}
    assert rows[soon["id"]].delay_ms == HOUR


def test_a_listing_is_cut_and_filtered(admin: Observer, queue: str) -> None:
    for number in range(4):
        plan(admin, queue, "x", x_delay=HOUR + 1000 * number, n=number)
    ids = [row["id"] for row in listed(admin, queue)]
    assert [row["id"] for row in listed(admin, queue, limit=2)] == ids[:2]
    assert [row["id"] for row in listed(admin, queue, limit=2, offset=1)] == ids[1:3]
    assert [row["id"] for row in listed(admin, queue, selector="n > 1")] == ids[2:]
    assert listed(admin, queue, fields=["id"], limit=1) == [{"id": ids[0]}]
    cut = admin.ask("scheduled.list", match=queue, limit=3)
    assert (cut["more"], len(cut["rows"])) == (True, 3)
    assert not admin.ask("scheduled.list", match=queue, limit=4)["more"]
    fails(Code.BAD_REQUEST, admin.ask, "scheduled.list", fields=["colour"])
    fails(Code.BAD_REQUEST, admin.ask, "scheduled.list", selector="n >")


def test_one_schedule_is_shown_with_its_message_and_its_next_times(
    admin: Observer, queue: str
) -> None:
    plan(admin, queue, "hello", x_delay=HOUR, x_repeat_every=1000, x_repeat_times=1, color="red")
    (row,) = listed(admin, queue)
    shown = admin.ask("scheduled.get", id=row["job_id"])
    assert shown["next_times"] == [row["next_at"], row["next_at"] + 1000]
    assert shown["message"]["body"] == "hello"
    assert shown["message"]["headers"]["color"] == "red"
    plan(admin, queue, "daily", x_cron="@daily", x_schedule_id="d")
    shown = admin.ask("scheduled.get", id="d", destination=f"/queue/{queue}")
    assert len(shown["next_times"]) == 5
    assert all(at % DAY == 0 for at in shown["next_times"])
    fails(Code.NOT_FOUND, admin.ask, "scheduled.get", id="none")


def test_cancelling_by_id_by_name_and_by_selector(admin: Observer, queue: str) -> None:
    place = f"/queue/{queue}"
    for number in range(4):
        plan(admin, queue, str(number), x_delay=HOUR + number, n=number)
    plan(admin, queue, "named", x_delay=DAY, x_schedule_id="job")
    rows = listed(admin, queue)
    events = admin.subscribe("event.scheduler.cancelled")
    fails(Code.BAD_REQUEST, admin.ask, "scheduled.cancel")
    ids = [rows[0]["job_id"], "job", "none"]
    dry = admin.ask("scheduled.cancel", ids=ids, destination=place, dry_run=True)
    assert dry == {"matched": 2, "cancelled": 0, "job_ids": [rows[0]["job_id"], "job"]}
    fails(Code.CONFLICT, admin.ask, "scheduled.cancel", ids=ids, destination=place, expect=3)
    assert len(listed(admin, queue)) == 5
    done = admin.ask("scheduled.cancel", ids=ids, destination=place, expect=2)
    assert (done["matched"], done["cancelled"]) == (2, 2)
    assert admin.ask("scheduled.cancel", selector="n > 1", destination=place)["cancelled"] == 2
    assert [row["job_id"] for row in listed(admin, queue)] == [rows[1]["job_id"]]
    page = admin.page_with(events, lambda page: page.rows[0].destination == place)
    assert page.rows[0].detail == {"cancelled": 2, "job_ids": done["job_ids"]}


def test_firing_now_ends_what_comes_once_and_not_what_comes_again(
    admin: Observer, queue: str
) -> None:
    plan(admin, queue, "once", x_delay=HOUR)
    plan(admin, queue, "often", x_cron="0 0 1 1 *", x_schedule_id="yearly")
    before = listed(admin, queue)
    ids = [row["job_id"] for row in before]
    assert admin.ask("scheduled.fire_now", ids=ids, dry_run=True)["matched"] == 2
    assert admin.bodies(queue) == []
    assert admin.ask("scheduled.fire_now", ids=ids)["fired"] == 2
    admin.peer.send(f"SUBSCRIBE\nid:1\ndestination:/queue/{queue}\n\n\0")
    messages = {message.body: message for message in (admin.peer.expect("MESSAGE") for _ in "ab")}
    assert set(messages) == {b"once", b"often"}
    assert messages[b"often"]["scheduledJobId"] == "yearly"
    assert "scheduled-number" not in messages[b"often"]
    once = next(row for row in before if not row["name"])
    assert messages[b"once"]["message-id"] == once["message_id"]
    (left,) = listed(admin, queue)
    assert left == next(row for row in before if row["name"])
    fails(Code.NOT_FOUND, admin.ask, "scheduled.fire_now", ids=["none"])


def test_a_schedule_is_moved_to_another_time(admin: Observer, queue: str) -> None:
    plan(admin, queue, "x", x_delay=HOUR)
    (row,) = listed(admin, queue)
    at = row["next_at"] + DAY
    moved = admin.ask("scheduled.reschedule", id=row["job_id"], at=at)
    assert moved == {"matched": 1, "rescheduled": 1, "job_ids": [row["job_id"]]}
    assert listed(admin, queue)[0]["next_at"] == at
    admin.ask("scheduled.reschedule", id=row["job_id"], at=1)
    admin.peer.send(f"SUBSCRIBE\nid:1\ndestination:/queue/{queue}\n\n\0")
    assert admin.peer.expect("MESSAGE").body == b"x"
    assert listed(admin, queue) == []
    fails(Code.NOT_FOUND, admin.ask, "scheduled.reschedule", id=row["job_id"], at=at)


def test_no_ids_are_no_schedules(admin: Observer, queue: str) -> None:
    plan(admin, queue, "x", x_delay=HOUR)
    assert admin.ask("scheduled.cancel", ids=[])["matched"] == 0
    fails(Code.NOT_FOUND, admin.ask, "scheduled.fire_now", ids=[])
    assert len(listed(admin, queue)) == 1


def test_a_time_that_has_passed_is_now_and_one_beyond_the_calendar_is_none(
    admin: Observer, queue: str
) -> None:
    plan(admin, queue, "x", x_cron="0 0 1 1 *", x_schedule_id="yearly")
    (row,) = listed(admin, queue)
    place = f"/queue/{queue}"
    beyond = 253_370_764_800_001
    fails(
        Code.BAD_REQUEST,
        admin.ask,
        "scheduled.reschedule",
        id="yearly",
        at=beyond,
        destination=place,
    )
    admin.ask("scheduled.reschedule", id="yearly", at=1, destination=place)
    admin.peer.send(f"SUBSCRIBE\nid:1\ndestination:{place}\n\n\0")
    message = admin.peer.expect("MESSAGE")
    assert message["scheduled-number"] == "1"
    assert int(message["scheduled-at"]) > row["sent_at"]
    assert "scheduled-missed" not in message
    assert listed(admin, queue)[0]["next_at"] == row["next_at"]


def test_firing_is_told_while_somebody_asks_for_it_by_name(admin: Observer, queue: str) -> None:
    plan(admin, queue, "before", x_delay=1)
    events = admin.subscribe("event.scheduler.>")
    plan(admin, queue, "x", x_delay=20, x_repeat_every=100, x_repeat_times=1)
    for number in (1, 2):
        page = admin.page_with(events, lambda page: page.rows[0].detail.get("number"))
        event = page.rows[0]
        assert event.type == "scheduler.fired"
        assert event.destination == f"/queue/{queue}"
        assert event.detail["number"] == number


def test_it_takes_the_right_to_see_and_to_change_what_goes_to_a_destination() -> None:
    sections = {
        "users": {"op": cheap_hash("o")},
        "roles": {"operator": ["op"]},
        "acl": [
            {"match": "/queue/secret", "actions": ["browse", "admin"], "access": "deny"},
            {"match": "/queue/dark", "actions": ["admin"], "access": "deny"},
        ],
    }
    with (
        running_broker(**sections) as broker,
        observing(broker.port, "login:op", "passcode:o") as op,
    ):
        for queue in ("secret", "dark", "open"):
            plan(op, queue, x_delay=HOUR, x_schedule_id="job")
        fails(Code.FORBIDDEN, op.ask, "scheduled.get", id="job", destination="/queue/secret")
        assert op.ask("scheduled.get", id="job", destination="/queue/dark")
        for queue in ("secret", "dark"):
            place = f"/queue/{queue}"
            for cmd in ("scheduled.cancel", "scheduled.fire_now"):
                fails(Code.FORBIDDEN, op.ask, cmd, ids=["job"], destination=place)
            fails(Code.FORBIDDEN, op.ask, "scheduled.reschedule", id="job", at=1, destination=place)
        fails(Code.FORBIDDEN, op.ask, "scheduled.cancel", ids=["job"])
        assert len(op.ask("scheduled.list")["rows"]) == 3
        assert op.ask("scheduled.cancel", ids=["job"], destination="/queue/open")["cancelled"] == 1
