"""One frame that settles very many deliveries: in steps, and in order."""

from __future__ import annotations

import pytest
from tests.support.house import Taker, Time, make_message, make_router

from stompy.protocol.frame import AckMode
from stompy.protocol.headers import Version
from stompy_broker.routing.queue import LocalQueue as Queue
from stompy_broker.routing.rejection import Rejection
from stompy_broker.session.output import OutputBuffer
from stompy_broker.session.subscription import AckSubscription

MANY = 5000


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def queue(time: Time) -> Queue:
    queue = make_router(time).queue("q")
    for sequence in range(1, MANY + 3):
        queue.publish(make_message(sequence))
    return queue


class Sink(OutputBuffer):
    """Has room for everything."""

    def put_message(self, prefix: bytes, tail: bytes) -> bool:
        return True


def subscribe(queue: Queue) -> AckSubscription:
    output, mode = Sink(lambda: None, lambda: None), AckMode.CLIENT
    subscription = AckSubscription(
        "0", queue, output, Version.V1_2, print, tag=7, mode=mode, prefetch=MANY
    )
    subscription.attach()
    return subscription


def test_a_cumulative_ack(queue: Queue, time: Time) -> None:
    """300,000 messages kept everybody waiting for half a second."""
    subscription, done = subscribe(queue), []
    subscription.settle_in_steps(subscription.claim(MANY), None, lambda: done.append(1))
    assert 0 < queue.acked < MANY
    assert len(subscription.claimed) == MANY - queue.acked
    for _ in range(3):
        time.advance(0.01)
    assert (queue.acked, len(done), queue.unacked) == (MANY, MANY, 2)
    assert [message.sequence for message in subscription.unsettled()] == [MANY + 1, MANY + 2]


def test_a_cumulative_nack_lets_nothing_overtake_what_comes_back(queue: Queue, time: Time) -> None:
    subscription, other = subscribe(queue), Taker(10_000)
    subscription.settle_in_steps(subscription.claim(MANY), Rejection(), None)
    subscription.end()
    queue.attach(other)
    assert (other.taken, queue.in_use) == ([], True)
    for _ in range(3):
        time.advance(0.01)
    assert [message.sequence for message in other.taken] == list(range(1, MANY + 3))
    assert (subscription.claimed, queue.nacked, queue.unacked) == ({}, MANY, MANY + 2)
    assert other.taken[MANY - 1].failures == 1
