"""Very many messages at once: in steps, and in order."""

from __future__ import annotations

import pytest
from tests.support.house import Taker, Time, browsed, figures, make_head, make_router, take_part

from stompy_broker.destinations.names import parse_destination
from stompy_broker.destinations.policy import Policy
from stompy_broker.routing.interface import Configure
from stompy_broker.routing.settings import QueueSettings


@pytest.fixture
def time() -> Time:
    return Time()


def test_very_many_come_back_in_steps_and_nothing_overtakes_them(time: Time) -> None:
    router = make_router(time)
    queue, hoarder, other = router.queue("q"), Taker(10_000), Taker(10_000)
    take_part(queue, hoarder)
    for number in range(5000):
        router.publish(parse_destination("/queue/q"), make_head(), b"%d" % number)
    queue.detach(hoarder, hoarder.taken, lost=True)
    assert 0 < figures(queue).ready < 5000
    take_part(queue, other)
    router.publish(parse_destination("/queue/q"), make_head(), b"5000")
    assert (other.taken, figures(queue).in_use) == ([], True)
    for _ in range(3):
        time.advance(0.01)
    assert [int(message.body or b"") for message in other.taken] == list(range(5001))
    assert [message.failures for message in other.taken[:2]] == [1, 0]
    assert figures(queue).unacked == 5001


def test_an_operator_s_pause_outlasts_what_comes_back(time: Time) -> None:
    router = make_router(time)
    queue, hoarder, other = router.queue("q"), Taker(10_000), Taker(10_000)
    take_part(queue, hoarder)
    for _ in range(5000):
        router.publish(parse_destination("/queue/q"), make_head(), b"x")
    take_part(queue, other)
    queue.detach(hoarder, hoarder.taken)
    queue.control(Configure(QueueSettings(paused=True)))
    for _ in range(3):
        time.advance(0.01)
    assert (figures(queue).ready, other.taken) == (5000, [])
    queue.control(Configure(QueueSettings()))
    assert len(other.taken) == 5000


def test_very_many_expire_in_steps(time: Time) -> None:
    router = make_router(time, Policy(match="/queue/q", expired_to="/queue/g"))
    for number in range(10_000):
        head = make_head(ttl="1000") if number % 2 else make_head()
        router.publish(parse_destination("/queue/q"), head, b"x")
    time.advance(1.1)
    queue, grave = router.queues["q"], router.queues["g"]
    assert (figures(queue).ready, figures(grave).ready) == (5000, 2000)
    assert figures(queue).bytes > sum(message.size for message in browsed(queue))
    for _ in range(3):
        time.advance(0.01)
    assert (figures(queue).ready, figures(grave).ready, figures(queue).expired) == (
        5000,
        5000,
        5000,
    )
    assert figures(queue).bytes == sum(message.size for message in browsed(queue))


def test_a_large_queue_ends_in_steps(time: Time) -> None:
    router = make_router(time)
    queue = router.registry.subscribe_topic("t")
    for _ in range(5000):
        router.publish(parse_destination("/topic/t"), make_head("/topic/t"), b"x")
    router.registry.unsubscribe_topic(queue)
    assert router.loans.used > 0
    for _ in range(3):
        time.advance(0.01)
    assert (figures(queue).bytes, router.loans.used) == (0, 0)


def test_many_queues_that_end_share_the_steps(time: Time) -> None:
    """A client may leave thousands of backlogs, each of which is short."""
    router = make_router(time)
    queues = [router.registry.subscribe_topic("t") for _ in range(100)]
    for _ in range(100):
        router.publish(parse_destination("/topic/t"), make_head("/topic/t"), b"x")
    everything = router.loans.used
    for queue in queues:
        router.registry.unsubscribe_topic(queue)
    assert router.loans.used > everything / 2
    time.advance(0.01)
    assert 0 < router.loans.used < everything * 0.8
    for _ in range(4):
        time.advance(0.01)
    assert router.loans.used == 0
    assert not any(figures(queue).in_use for queue in queues)


def test_what_many_queues_get_back_shares_the_steps(time: Time) -> None:
    router = make_router(time)
    queues, hoarder = [router.queue(f"q{number}") for number in range(4)], Taker(10_000)
    for queue in queues:
        take_part(queue, taker := Taker(1500))
        for _ in range(1500):
            router.publish(parse_destination(queue.destination), make_head(), b"x")
        queue.detach(taker, taker.taken, lost=True)
    assert sum(figures(queue).ready for queue in queues) < 2010
    take_part(queues[3], hoarder)
    assert not hoarder.taken
    for _ in range(3):
        time.advance(0.01)
    assert [figures(queue).unacked for queue in queues] == [0, 0, 0, 1500]
    assert [message.failures for message in hoarder.taken[:2]] == [1, 0]
