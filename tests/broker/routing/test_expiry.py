"""Messages whose time is over are found wherever they wait, in whatever order they end."""

from __future__ import annotations

import pytest
from tests.support.house import Taker, Time, figures, make_head, make_router, take_part

from stompy_broker.destinations.names import parse_destination
from stompy_broker.destinations.policy import Policy
from stompy_broker.routing.router import Router
from stompy_broker.store.memory import MemoryStore

PLACE = parse_destination("/queue/q")


def publish(router: Router, **headers: str) -> None:
    router.note_time()
    router.publish(PLACE, make_head("/queue/q", **headers), b"x")


@pytest.mark.parametrize(
    "headers",
    [{}, {"expiration": "5000"}, {"priority": "9"}, {"priority": "9", "expiration": "5000"}],
)
def test_one_that_ends_before_those_in_front_of_it(headers: dict[str, str]) -> None:
    time = Time()
    router = make_router(time, Policy(match="/queue/q", message_ttl=60_000))
    for _ in range(3):
        publish(router)
        time.advance(1.0)
    publish(router, **headers)
    publish(router)
    time.advance(10.0)
    early = "expiration" in headers
    assert figures(router.queue("q")).ready == 5 - early
    for left in (1 + (not early), 0):
        time.advance(48.5 if left else 3.0)
        time.advance(1.1)
        assert figures(router.queue("q")).ready == left
    assert figures(router.queue("q")).expired == 5


def test_one_that_came_back() -> None:
    time = Time()
    router = make_router(time, Policy(match="/queue/q", message_ttl=60_000))
    for _ in range(3):
        publish(router)
        time.advance(10.0)
    taker = Taker(2)
    take_part(router.queue("q"), taker)
    router.queue("q").detach(taker, taker.taken[1:])  # the first one stays with it
    time.advance(41.1)
    assert figures(router.queue("q")).ready == 1
    time.advance(20.0)
    assert figures(router.queue("q")).ready == 0


def test_behind_one_that_never_ends_because_the_policy_was_another_one() -> None:
    time, store = Time(), MemoryStore(durable=True)
    publish(make_router(time, store=store))
    router = make_router(time, Policy(match="/queue/q", message_ttl=5_000), store=store)
    assert router.registry.restore() == 1
    publish(router)
    time.advance(1.0)
    publish(router)
    time.advance(10.0)
    assert figures(router.queue("q")).ready == 1
    assert figures(router.queue("q")).expired == 2
