"""What a subscription counts."""

import pytest

from stompy.protocol.frame import AckMode
from stompy.session.delivery import Settlement
from stompy.session.dialects import STOMPY, UNKNOWN
from stompy.session.subscription_stats import SubscriptionStats
from stompy.session.wanted import WantedSubscription


def stats(mode: AckMode = AckMode.CLIENT_INDIVIDUAL, prefetch: int | None = None):
    return SubscriptionStats(WantedSubscription("s1", "/queue/q", mode, prefetch=prefetch))


def test_unsettled_is_what_was_fetched_and_neither_acked_nor_nacked():
    counted = stats()
    counted.received = 7
    counted.settled[Settlement.ACKED] = 2
    counted.settled[Settlement.NACKED] = 1
    counted.settled[Settlement.STALE] = 1
    assert counted.unsettled(waiting=3) == 1


@pytest.mark.parametrize("mode", [AckMode.AUTO, AckMode.CLIENT])
def test_where_one_ack_may_settle_many_nothing_is_known(mode):
    counted = stats(mode, prefetch=1)
    counted.received = 5
    assert counted.unsettled(0) == 0
    assert not counted.prefetch_is_used_up(UNKNOWN, 0)


def test_a_lost_connection_takes_along_what_was_not_settled():
    counted = stats()
    counted.received = 5
    counted.settled[Settlement.ACKED] = 2
    counted.connection_lost()
    assert counted.unsettled(0) == 0
    counted.received += 1
    assert counted.unsettled(0) == 1


@pytest.mark.parametrize(
    ("dialect", "prefetch", "received", "used_up"),
    [
        (UNKNOWN, 2, 1, False),
        (UNKNOWN, 2, 2, True),
        (UNKNOWN, 0, 100, False),
        (UNKNOWN, None, 100, False),
        (STOMPY, None, 99, False),
        (STOMPY, None, 100, True),
    ],
)
def test_the_prefetch_is_used_up(dialect, prefetch, received, used_up):
    counted = stats(prefetch=prefetch)
    counted.received = received
    assert counted.prefetch_is_used_up(dialect, 0) is used_up
    said = counted.nothing_came(dialect, 0, 1.5)
    assert said.startswith("nothing came from /queue/q within 1.5 s")
    assert ("which is its prefetch" in said) is used_up


def test_health_tells_all_of_it():
    counted = stats()
    counted.received = 3
    counted.settled[Settlement.STALE] = 2
    counted.handler_failed(error := ValueError("no"))
    health = counted.health(active=True, waiting=1)
    assert (health.id, health.destination, health.active) == ("s1", "/queue/q", True)
    assert (health.received, health.waiting) == (3, 1)
    assert (health.acked, health.nacked, health.stale) == (0, 0, 2)
    assert (health.handler_errors, health.last_error) == (1, error)
