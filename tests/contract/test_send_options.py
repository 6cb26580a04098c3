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


def test_retained_messages_streams_and_duplicates_are_said_in_python(make, broker):
    looking = Looking(make(), broker.url)
    given = {"retain": True, "filter_value": "red", "dedup": "order-17"}
    said = {"x-retain": "true", "x-stream-filter-value": "red", "dedup-id": "order-17"}
    for call, body in (("message", "x"), ("post", "x")):
        assert said.items() <= looking.headers(call, "/topic/t", body, **given).items()
    with pytest.raises(TypeError, match="retain= is True or False"):
        looking.client.call("message", "/topic/t", "x", retain="yes")


def test_a_stream_is_read_again_from_a_place_and_goes_on_by_name(make, broker):
    client, stream = make(), f"/stream/{unique()}"
    client.connect(broker.url)
    for number in range(5):
        value = "even" if number % 2 == 0 else "odd"
        client.message(stream, str(number), filter_value=value, confirm=True)
    first = client.subscription(stream, offset="first")
    assert [one.text for one in first.get_batch(5)] == ["0", "1", "2", "3", "4"]
    last = client.subscription(stream, offset=-2)
    assert [one.text for one in last.get_batch(2)] == ["3", "4"]
    odd = client.subscription(stream, offset="first", filters=["odd"])
    assert [one.text for one in odd.get_batch(2)] == ["1", "3"]
    named = client.subscription(stream, offset=1, reader="billing", prefetch=1)
    client.ack(named.get())
    assert named.get().text == "2"
    named.unsubscribe()
    again = client.subscription(stream, offset=1, reader="billing")
    assert again.get().text == "2"


def test_what_a_topic_keeps_comes_first_unless_it_is_declined(make, broker):
    client, topic = make(), f"/topic/{unique()}"
    client.connect(broker.url)
    client.message(topic, "kept", retain=True, confirm=True)
    declined = client.subscription(topic, retained=False)
    assert client.subscription(topic).get().text == "kept"
    client.message(topic, "live", confirm=True)
    assert declined.get().text == "live"
