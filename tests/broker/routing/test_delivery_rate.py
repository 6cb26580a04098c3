"""A queue that hands out so many messages in a time."""

from __future__ import annotations

import pytest
from tests.support.house import Taker, Time, figures, make_message, make_router, take_part

from stompy_broker.destinations.policy import Policy
from stompy_broker.routing.interface import Configure, Queue
from stompy_broker.routing.queue import LocalQueue
from stompy_broker.routing.settings import QueueSettings


def slow(rate: str = "10/s") -> Policy:
    return Policy(match="/queue/q", deliver_rate=rate)


def take(queue: Queue, room: int, *, auto: bool = False) -> Taker:
    taker = Taker(room, auto=auto)
    take_part(queue, taker)
    return taker


@pytest.mark.parametrize("auto", [True, False])
@pytest.mark.parametrize("early", [True, False])
def test_messages_go_out_at_the_rate_whenever_they_came(auto: bool, early: bool) -> None:
    time = Time()
    queue = make_router(time, slow()).queue("q")
    if early:
        taker = take(queue, 100, auto=auto)
    for sequence in range(1, 41):
        queue.publish(make_message(sequence))
    if not early:
        taker = take(queue, 100, auto=auto)
    assert len(taker.taken) == 10
    for tick in range(1, 31):
        time.advance(0.1)
        assert len(taker.taken) == 10 + tick
    assert [one.sequence for one in taker.taken] == list(range(1, 41))
    assert figures(queue).ready == 0


def test_it_is_one_rate_for_all_consumers() -> None:
    time = Time()
    queue = make_router(time, slow("2/s")).queue("q")
    takers = [take(queue, 100) for _ in range(3)]
    for sequence in range(1, 11):
        queue.publish(make_message(sequence))
    for _ in range(3):
        time.advance(1)
    assert sum(len(taker.taken) for taker in takers) == 8


def test_what_an_operator_paused_stays_so() -> None:
    time = Time()
    queue = make_router(time, slow("1/s")).queue("q")
    taker = take(queue, 100)
    for sequence in range(1, 4):
        queue.publish(make_message(sequence))
    queue.control(Configure(QueueSettings(paused=True)))
    time.advance(5)
    assert len(taker.taken) == 1
    queue.control(Configure(QueueSettings()))
    assert len(taker.taken) == 2


def test_another_rate_holds_at_once_and_none_as_well() -> None:
    time = Time()
    queue = make_router(time, slow("1/h")).queue("q")
    assert isinstance(queue, LocalQueue)
    taker = take(queue, 100)
    for sequence in range(1, 6):
        queue.publish(make_message(sequence))
    assert len(taker.taken) == 1
    queue.renew_policy(slow("1/s"))
    time.advance(1)
    time.advance(1)
    assert len(taker.taken) == 3
    queue.renew_policy(Policy(match="/queue/q"))
    for _ in range(5):
        time.advance(0.002)
    assert len(taker.taken) == 5
