"""How long messages were in a queue, counted once somebody asks."""

from __future__ import annotations

from functools import partial

import pytest
from tests.support.house import (
    WALL,
    Taker,
    Time,
    figures,
    make_message,
    make_router,
    take_part,
)

from stompy_broker.routing.interface import Close, Queue
from stompy_broker.routing.router import Router
from stompy_broker.routing.wait_times import BOUNDS, EVERY, WaitHistogram

SENT = 4 * EVERY


def test_there_are_24_buckets_from_a_millisecond_to_hours() -> None:
    assert len(BOUNDS) == 23
    assert list(BOUNDS) == sorted(set(BOUNDS))
    assert (BOUNDS[0], BOUNDS[3], BOUNDS[-1]) == (1, 10, 20_000_000)


@pytest.mark.parametrize(
    ("waited", "bucket"), [(-5, 0), (0, 0), (1, 0), (2, 1), (3, 2), (5, 2), (6, 3), (10**9, 23)]
)
def test_a_time_falls_into_its_bucket(waited: int, bucket: int) -> None:
    histogram = WaitHistogram(lambda: WALL)
    histogram.add(WALL - waited)
    assert [number for number, count in enumerate(histogram.buckets) if count] == [bucket]
    assert histogram.total_ms == max(0, waited)


def test_histograms_are_added_up() -> None:
    one, other, total = (WaitHistogram(lambda: WALL) for _ in range(3))
    one.add(WALL - 1)
    other.add(WALL - 1)
    other.add(WALL - 7)
    total.include(WaitHistogram(lambda: WALL))
    assert total.buckets == []
    for part in (one, other):
        total.include(part)
    assert (total.buckets[0], total.buckets[3], total.total_ms) == (2, 1, 9)


def filled(time: Time) -> tuple[Router, Queue]:
    router = make_router(time)
    queue = router.queue("q")
    for number in range(SENT):
        queue.publish(make_message(number))
    return router, queue


def accept_each(queue: Queue, taker: Taker) -> None:
    for message in taker.taken:
        queue.settle(message)


def accept_all(queue: Queue, taker: Taker) -> None:
    queue.settle_many(taker.taken, None, None, lambda: None)


def accept_by_seven(queue: Queue, taker: Taker) -> None:
    for at in range(0, SENT, 7):
        queue.settle_many(taker.taken[at : at + 7], None, None, lambda: None)


def do_nothing(queue: Queue, taker: Taker) -> None:
    assert taker.auto


@pytest.mark.parametrize(
    ("accept", "auto"),
    [(accept_each, False), (accept_all, False), (accept_by_seven, False), (do_nothing, True)],
)
def test_every_sixteenth_message_is_counted_once_somebody_asked(accept, auto: bool) -> None:
    time = Time()
    router, queue = filled(time)
    router.wait_times.wanted = True
    figures(queue)
    time.advance(0.05)
    taker = Taker(SENT, auto=auto)
    take_part(queue, taker)
    accept(queue, taker)
    histogram = router.wait_times.by_queue["q"]
    assert (sum(histogram.buckets), histogram.buckets[5]) == (SENT // EVERY, SENT // EVERY)
    assert histogram.total_ms == 50 * SENT // EVERY


def test_nothing_is_counted_before() -> None:
    time = Time()
    router, queue = filled(time)
    figures(queue)
    taker = Taker(SENT)
    take_part(queue, taker)
    accept_each(queue, taker)
    assert router.wait_times.by_queue == {}


def test_rejected_messages_are_not_counted_and_a_queue_that_ends_is_forgotten() -> None:
    router, queue = filled(Time())
    router.wait_times.wanted = True
    figures(queue)
    histogram = router.wait_times.by_queue["q"]
    taker = Taker(SENT)
    take_part(queue, taker)
    queue.detach(taker, taker.taken)
    assert histogram.buckets == []
    ended: list[object] = []
    queue.control(Close(), partial(list.append, ended))
    assert ended == [SENT]
    assert router.wait_times.by_queue == {}
