"""One frame that settles very many deliveries: in steps, and in order."""

from __future__ import annotations

import pytest
from tests.support.house import (
    Taker,
    Time,
    figures,
    make_message,
    make_router,
    raise_refusal,
    take_part,
)

from stompy.protocol.frame import AckMode
from stompy.protocol.headers import Version
from stompy_broker.routing.interface import Queue
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.router import Router
from stompy_broker.session.output import OutputBuffer
from stompy_broker.session.subscription import AckSubscription

MANY = 5000


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def router(time: Time) -> Router:
    return make_router(time)


@pytest.fixture
def queue(router: Router) -> Queue:
    queue = router.queue("q")
    for sequence in range(1, MANY + 3):
        queue.publish(make_message(sequence))
    return queue


def roomy() -> OutputBuffer:
    """An output buffer that has room for everything."""

    def write() -> None:
        output.take()
        output.burst = 0

    output = OutputBuffer(lambda: None, write)
    return output


def subscribe(router: Router, queue: Queue) -> AckSubscription:
    output, mode = roomy(), AckMode.CLIENT
    subscription = AckSubscription(
        "0", queue, output, Version.V1_2, print, router=router, tag=7, mode=mode, prefetch=MANY
    )
    queue.attach(subscription, raise_refusal)
    subscription.begin()
    return subscription


def test_a_cumulative_ack(router: Router, queue: Queue, time: Time) -> None:
    """300,000 messages kept everybody waiting for half a second."""
    subscription, done = subscribe(router, queue), []
    subscription.settle_in_steps(subscription.claim(MANY), None, lambda: done.append(1))
    assert 0 < queue.acked < MANY
    assert len(subscription.claimed) == MANY - queue.acked
    for _ in range(3):
        time.advance(0.01)
    assert (queue.acked, len(done), figures(queue).unacked) == (MANY, MANY, 2)
    assert [message.sequence for message in subscription.unsettled()] == [MANY + 1, MANY + 2]


def test_a_cumulative_nack_lets_nothing_overtake_what_comes_back(
    router: Router, queue: Queue, time: Time
) -> None:
    subscription, other = subscribe(router, queue), Taker(10_000)
    subscription.settle_in_steps(subscription.claim(MANY), Rejection(), None)
    subscription.end()
    take_part(queue, other)
    assert (other.taken, figures(queue).in_use) == ([], True)
    for _ in range(3):
        time.advance(0.01)
    assert [message.sequence for message in other.taken] == list(range(1, MANY + 3))
    assert (subscription.claimed, figures(queue).nacked, figures(queue).unacked) == (
        {},
        MANY,
        MANY + 2,
    )
    assert other.taken[MANY - 1].failures == 1
