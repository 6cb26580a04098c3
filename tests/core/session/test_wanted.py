"""Subscriptions as they are wanted, and as each broker wants to read them."""

from dataclasses import replace

import pytest

from stompy.errors import UnsupportedByBroker
from stompy.protocol.frame import AckMode
from stompy.session.dialects import ACTIVEMQ, ARTEMIS, RABBITMQ, STOMPY, UNKNOWN
from stompy.session.wanted import WantedSubscription, WantedSubscriptions

PLAIN = WantedSubscription("s1", "/queue/q", AckMode.CLIENT_INDIVIDUAL)
MUCH = WantedSubscription(
    "s2",
    "/topic/t",
    AckMode.AUTO,
    prefetch=5,
    durable="news",
    selector="a = 1",
    headers={"x": 1},
)
ALL_KNOW = replace(MUCH, selector=None)


def test_a_plain_one_reads_as_the_specification_says():
    expected = {"destination": "/queue/q", "id": "s1", "ack": "client-individual"}
    assert PLAIN.headers_for(STOMPY, None) == expected
    assert PLAIN.headers_for(ARTEMIS, None) == expected | {"subscription-type": "ANYCAST"}


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        (STOMPY, {"prefetch-count": "5", "durable-subscription-name": "news"}),
        (ACTIVEMQ, {"activemq.prefetchSize": "5", "activemq.subscriptionName": "news"}),
        (RABBITMQ, {"prefetch-count": "5", "x-queue-name": "durable.news"}),
    ],
)
def test_the_rest_is_said_in_the_brokers_own_words(dialect, expected):
    headers = ALL_KNOW.headers_for(dialect, "me")
    assert headers | expected == headers
    assert (headers["x"], headers["ack"]) == (1, "auto")
    (leaving,) = MUCH.unsubscribe_frames(dialect, "me", for_good=False)
    assert leaving == {"id": MUCH.id}
    *first, last = MUCH.unsubscribe_frames(dialect, "me", for_good=True)
    assert last.keys() > leaving.keys()
    assert headers | last == headers
    assert first == ([leaving] if dialect is ACTIVEMQ else [])
    assert PLAIN.unsubscribe_frames(dialect, None, for_good=True) == ({"id": "s1"},)


def test_a_selector_that_a_broker_would_ignore_is_refused():
    assert MUCH.headers_for(STOMPY, "me")["selector"] == "a = 1"
    with pytest.raises(UnsupportedByBroker, match="every message would come"):
        MUCH.headers_for(RABBITMQ, "me")


def test_the_application_has_the_last_word():
    wanted = WantedSubscription(
        "s", "/queue/q", AckMode.AUTO, prefetch=5, headers={"prefetch-count": 9}
    )
    assert wanted.headers_for(STOMPY, None)["prefetch-count"] == 9


def test_what_a_broker_cannot_do_is_an_error():
    with pytest.raises(UnsupportedByBroker):
        MUCH.headers_for(UNKNOWN, "me")
    with pytest.raises(ValueError, match="client-id"):
        MUCH.headers_for(ACTIVEMQ, None)


def test_they_are_kept_in_order_and_by_id():
    wanted = WantedSubscriptions()
    wanted.add(PLAIN)
    wanted.add(MUCH)
    assert list(wanted) == [PLAIN, MUCH]
    for one in wanted:  # may change meanwhile
        wanted.remove(one.id)
    assert len(wanted) == 0
    assert wanted.remove("s1") is None
    wanted.add(PLAIN)
    assert "s1" in wanted
    assert "s2" not in wanted


def test_what_was_put_off_is_due_ever_more_seldom():
    subscriptions = WantedSubscriptions()
    subscriptions.add(WantedSubscription("s1", "/topic/t", AckMode.AUTO))
    subscriptions.add(WantedSubscription("s2", "/topic/t", AckMode.AUTO))
    assert subscriptions.next_due() is None
    for pause in (1, 2, 4, 8, 16, 32, 60, 60):
        subscriptions.put_off("s1", 100.0)
        assert subscriptions.next_due() == 100.0 + pause
    assert [one.id for one in subscriptions.at_once()] == ["s2"]
    assert subscriptions.due(159.0) == []
    assert [one.id for one in subscriptions.due(160.0)] == ["s1"]
    assert subscriptions.is_back("s1")
    assert (subscriptions.is_put_off("s1"), subscriptions.next_due()) == (False, None)


def test_what_was_put_off_and_is_wanted_no_more_is_not_due():
    subscriptions = WantedSubscriptions()
    subscriptions.add(WantedSubscription("s1", "/topic/t", AckMode.AUTO))
    subscriptions.put_off("s1", 100.0)
    subscriptions.remove("s1")
    assert (subscriptions.due(1000.0), subscriptions.next_due()) == ([], None)
    assert subscriptions.is_put_off("s1")  # so nothing is said to the broker
    assert not subscriptions.is_back("s1")
