"""Both clients send for later, again and again, and say whose turn it is; a broker does it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.wire import running_broker, unique, until

import stompy
import stompy_broker
from stompy_broker import RunningBroker

BEGIN = datetime(2030, 3, 1, tzinfo=UTC)


@pytest.fixture
def broker() -> Iterator[RunningBroker]:
    with stompy_broker.running(time=BEGIN) as broker:
        yield broker


@pytest.fixture
def client(make, broker):
    client = make()
    client.connect(broker.url)
    return client


def test_messages_come_when_they_are_due(client, broker):
    subscription = client.subscription("/queue/later", ack_mode="auto")
    client.call("message", "/queue/later", "a day", delay=timedelta(days=1), confirm=True)
    at = BEGIN + timedelta(hours=1)
    client.call("message", "/queue/later", "an hour", at=at, confirm=True)
    client.call("send_many", "/queue/later", ["x", "y"], delay=90)
    client.call("message", "/queue/later", "at once", at=BEGIN - timedelta(1), confirm=True)
    assert subscription.get().text == "at once"
    broker.time.advance("2 days")
    came = [subscription.get() for _ in range(4)]
    assert [message.text for message in came] == ["x", "y", "an hour", "a day"]
    assert came[2].scheduled_at == at
    assert came[3].job_id
    assert "x-delay" not in came[3]


def test_a_schedule_is_replaced_and_cancelled_by_its_name(client, broker):
    subscription = client.subscription("/queue/later", ack_mode="auto")
    for text in ("first", "second"):
        client.call(
            "message",
            "/queue/later",
            text,
            cron="0 9 * * mon",
            zone="Europe/Berlin",
            schedule_id="weekly",
            confirm=True,
        )
    broker.time.advance("7 days")
    message = subscription.get()
    assert (message.text, message.job_id) == ("second", "weekly")
    assert message.scheduled_at == datetime(2030, 3, 4, 8, tzinfo=UTC)
    assert client.call("cancel_schedule", "/queue/later", "weekly") is True
    assert client.call("cancel_schedule", "/queue/later", "weekly") is False
    broker.time.advance("30 days")
    with pytest.raises(stompy.STOMPTimeout):
        subscription.get(0)


def test_so_many_times_and_no_more(client, broker):
    subscription = client.subscription("/queue/later", ack_mode="auto")
    client.call("message", "/queue/later", "x", every=60, times=3, confirm=True)
    broker.time.advance("1 h")
    assert [subscription.get()["scheduled-number"] for _ in range(3)] == ["1", "2", "3"]
    with pytest.raises(stompy.STOMPTimeout):
        subscription.get(0)


def test_what_is_sent_in_a_transaction_waits_from_its_commit_on(client, broker):
    subscription = client.subscription("/queue/later", ack_mode="auto")
    lost, kept = client.transaction(), client.transaction()
    lost.message("/queue/later", "lost", delay=60)
    kept.message("/queue/later", "kept", delay=60)
    lost.abort()
    kept.commit()
    broker.time.advance("2 min")
    assert subscription.get().text == "kept"


def test_what_cannot_be_is_rejected_when_it_is_sent(client):
    with pytest.raises(stompy.STOMPError) as caught:
        client.call("message", "/queue/later", "x", cron="61 * * * *", confirm=True)
    assert caught.value.code == "bad-header"


def test_the_highest_priority_comes_first_and_one_is_active(make):
    with running_broker() as broker:
        client = make()
        client.connect(broker.url)
        queue = f"/queue/{unique()}"
        spare = client.subscription(queue)
        fast = client.subscription(queue, priority=5, prefetch=1)
        client.send_many(queue, ["a", "b"])
        assert (fast.get().text, spare.get().text) == ("a", "b")
        other = make()
        other.connect(broker.url)
        ledger = f"/queue/{unique()}"
        active = client.subscription(ledger, single_active=True)
        standby = other.subscription(ledger, single_active=True)
        client.send_many(ledger, ["1", "2"])
        assert [active.get().text, active.get().text] == ["1", "2"]
        assert standby.health().received == 0
        client.disconnect()
        until(lambda: standby.health().received == 2, "what the active one held")
        other.disconnect()


def test_a_group_keeps_its_order_and_picks_anew_when_it_was_closed(make):
    with running_broker() as broker:
        client = make()
        client.connect(broker.url)
        queue = f"/queue/{unique()}"
        consumers = [client.subscription(queue, prefetch=10) for _ in range(2)]
        for step in range(3):
            for group in ("a", "b"):
                client.call("message", queue, f"{group}{step}", group=group, confirm=True)
        for consumer in consumers:
            came = [consumer.get() for _ in range(3)]
            group = came[0].group
            assert [message.text for message in came] == [f"{group}{step}" for step in range(3)]
            assert came[0]["JMSXGroupFirstForConsumer"] == "true"
            assert "JMSXGroupFirstForConsumer" not in came[1]
            client.nack(came[0])
            client.ack(came[1])
            client.ack(came[2])
            assert consumer.get().text == f"{group}0"
        client.call("message", queue, "last", group="c", close_group=True, confirm=True)
        client.call("message", queue, "next", group="c", confirm=True)
        until(lambda: sum(one.health().received for one in consumers) == 9, "the last one")
        (owner,) = [one for one in consumers if one.health().received == 5]
        last = owner.get()
        assert last.text == "last"
        client.ack(last)  # before that, nobody else may be at work on the group
        until(lambda: sum(one.health().received for one in consumers) == 10, "both of group c")
        client.disconnect()


def test_a_delay_for_a_group_holds_all_of_it(client, broker):
    subscription = client.subscription("/queue/calls", prefetch=1)
    for text in ("a1", "a2", "b1"):
        client.call("message", "/queue/calls", text, group=text[0], confirm=True)
    client.nack(subscription.get(), delay=30, scope="group", failed=False)
    other = subscription.get()
    assert other.text == "b1"
    client.ack(other)
    broker.time.advance("30 s")
    for text in ("a1", "a2"):
        message = subscription.get()
        assert message.text == text
        client.ack(message)
