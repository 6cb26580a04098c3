"""Both clients say when a message is delivered, and in which group, with each call that sends."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.client_adapter import ClientAdapter
from tests.support.wire import running_broker, unique

import stompy
from stompy_broker import RunningBroker


class UnsentError(Exception):
    """Raised by what looks at a frame, so that nothing is sent."""


@pytest.fixture(scope="module")
def broker() -> Iterator[RunningBroker]:
    with running_broker() as broker:
        yield broker


class Looking:
    """A client whose SENDs are looked at, and not sent."""

    def __init__(self, client: ClientAdapter, url: str) -> None:
        self.client = client
        self.seen: dict[str, str] = {}
        client.connect(url, on_send=self._look)

    def _look(self, frame: stompy.STOMPFrame) -> None:
        self.seen = dict(frame.Headers)
        raise UnsentError

    def headers(self, call: str, *arguments: object, **options: object) -> dict[str, str]:
        with pytest.raises(UnsentError):
            self.client.call(call, *arguments, **options)
        return {
            name: value
            for name, value in self.seen.items()
            if name not in ("destination", "receipt", "content-length", "transaction")
        }


@pytest.fixture
def looking(make, broker) -> Looking:
    return Looking(make(), broker.url)


def test_each_call_that_sends_takes_them(looking):
    delayed = {"delay": timedelta(minutes=1), "group": 7}
    expected = {"x-delay": "60000", "JMSXGroupID": "7"}
    assert looking.headers("message", "/queue/q", "x", **delayed) == expected
    assert looking.headers("message", "/queue/q", json=1, a="b", **delayed) == {
        **expected,
        "a": "b",
        "content-type": "application/json",
    }
    assert looking.headers("post", "/queue/q", "x", **delayed) == expected
    assert looking.headers("send_many", "/queue/q", ["x"], **delayed) == expected
    assert looking.headers("message", "/queue/q", "x") == {}


def test_a_schedule_is_said_in_full_and_cancelled_by_its_name(looking):
    given = looking.headers(
        "message", "/queue/q", cron="@daily", zone="UTC", schedule_id="a", confirm=True
    )
    assert given == {"x-cron": "@daily", "x-cron-zone": "UTC", "x-schedule-id": "a"}
    given = looking.headers("cancel_schedule", "/queue/q", "a")
    assert given == {"x-schedule-id": "a", "x-schedule-cancel": "true"}


def test_a_transaction_passes_them_on(looking):
    transaction = looking.client.transaction()
    with pytest.raises(UnsentError):
        transaction.message("/queue/q", "x", delay=1, group="g", priority=9)
    given = {"x-delay": "1000", "JMSXGroupID": "g", "priority": "9", "transaction": transaction.id}
    assert given.items() <= looking.seen.items()
    with pytest.raises(TypeError, match="has no argument 'confirm'"):
        transaction.message("/queue/q", "x", delay=1, confirm=True)


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ({"delay": "5 s"}, TypeError, "a number of seconds or a timedelta"),
        ({"at": datetime(2027, 1, 1)}, ValueError, "needs a time zone"),
        ({"every": 60, "time": 3}, TypeError, "did you mean times="),
        ({"scheduled_id": "a"}, TypeError, "did you mean schedule_id="),
    ],
)
def test_what_is_mistaken_is_refused_at_once(looking, wrong, error, says):
    with pytest.raises(error, match=says):
        looking.client.call("message", "/queue/q", "x", **wrong)
    for call, body in (("post", "x"), ("send_many", ["x"])):
        with pytest.raises((error, TypeError)):
            looking.client.call(call, "/queue/q", body, **wrong)
    assert looking.seen == {}


def test_of_a_message_is_told_what_its_schedule_and_group_are(make, broker):
    client = make()
    client.connect(broker.url)
    destination = f"/queue/{unique()}"
    subscription = client.subscription(destination)
    due = datetime(2027, 1, 1, tzinfo=UTC)
    told = {"scheduled-at": "1798761600000", "scheduledJobId": "j"}
    client.message(destination, "x", headers=told, confirm=True)
    message = subscription.get()
    assert (message.scheduled_at, message.job_id, message.group) == (due, "j", None)
    client.ack(message)
    client.message(destination, "x", headers={"scheduled-at": "soon"}, confirm=True)
    assert subscription.get().scheduled_at is None
