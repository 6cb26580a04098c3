"""The local queue: a state machine against a list, then each promise by example."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.support.house import Taker, Time, make_message, make_router

from stompy_broker.message import Message
from stompy_broker.policy import Policy
from stompy_broker.routing.queue import Queue, Rejection
from stompy_broker.routing.stats import QueueStats


def stats(queue: Queue) -> QueueStats:
    rows: list[QueueStats] = []
    queue.stats(rows.append)
    return rows[0]


class QueueMachine(RuleBasedStateMachine):
    """Every message is in exactly one place, in order, whatever is done to the queue."""

    def __init__(self) -> None:
        super().__init__()
        self.time = Time()
        self.router = make_router(self.time, Policy(match="/queue/q", max_deliveries=4))
        self.queue = self.router.queue("q")
        self.takers: list[Taker] = []
        self.held: list[tuple[Taker, Message]] = []
        self.sequence = 0
        self.alive: set[int] = set()
        self.settled = 0

    @rule()
    def publish(self) -> None:
        self.sequence += 1
        self.alive.add(self.sequence)
        self.queue.publish(make_message(self.sequence))

    @precondition(lambda self: len(self.takers) < 3)
    @rule(room=st.integers(1, 3))
    def attach(self, room: int) -> None:
        taker = Taker(room)
        self.takers.append(taker)
        self.queue.attach(taker)

    @precondition(lambda self: self.held)
    @rule(pick=st.integers(0, 99))
    def accept(self, pick: int) -> None:
        taker, message = self.held[pick % len(self.held)]
        self.release(taker, message)
        self.alive.discard(message.sequence)
        self.settled += 1
        self.queue.settle(message)
        self.queue.resume(taker)

    @precondition(lambda self: self.held)
    @rule(pick=st.integers(0, 99), delay=st.sampled_from([None, 0.0, 5.0]), requeue=st.booleans())
    def reject(self, pick: int, delay: float | None, requeue: bool) -> None:
        taker, message = self.held[pick % len(self.held)]
        self.release(taker, message)
        self.queue.settle(message, Rejection(requeue=requeue, delay=delay))
        self.queue.resume(taker)

    @precondition(lambda self: self.takers)
    @rule(pick=st.integers(0, 99))
    def detach(self, pick: int) -> None:
        taker = self.takers.pop(pick % len(self.takers))
        mine = [message for holder, message in self.held if holder is taker]
        self.held = [(holder, m) for holder, m in self.held if holder is not taker]
        taker.taken.clear()
        self.queue.detach(taker, mine)

    @rule(seconds=st.sampled_from([0.5, 10.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.time.advance(seconds)

    def release(self, taker: Taker, message: Message) -> None:
        self.held.remove((taker, message))
        taker.room += 1

    @invariant()
    def everything_is_somewhere(self) -> None:
        for taker in self.takers:
            fresh, taker.taken = taker.taken, []
            # Whatever one consumer gets in one go is in order.
            self.held += [(taker, message) for message in fresh]
        queue = self.queue
        waiting = {message.sequence for message in queue._all_messages()}
        held = [message.sequence for _, message in self.held]
        dead = self.router.queues.get("DLQ.q")
        buried = 0 if dead is None else stats(dead).ready
        assert len(held) == len(set(held))
        assert waiting.isdisjoint(held)
        assert len(waiting) + len(held) + buried == len(self.alive)
        assert waiting | set(held) <= self.alive
        counters = stats(queue)
        assert counters.unacked == len(held)
        assert counters.acked == self.settled
        assert counters.dead_lettered == buried
        sizes = [message.size for _, message in self.held]
        sizes += [message.size for message in queue._all_messages()]
        assert counters.bytes == sum(sizes)

    @invariant()
    def nobody_waits_while_something_is_ready(self) -> None:
        ready = self.queue._fresh or self.queue._ordered
        assert not (ready and self.queue._waiting)

    @invariant()
    def what_came_back_is_before_what_is_fresh(self) -> None:
        if self.queue._ordered and self.queue._fresh:
            assert max(self.queue._ordered)[1] < self.queue._fresh[0].sequence


QueueMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestQueueMachine = QueueMachine.TestCase


@pytest.fixture
def time() -> Time:
    return Time()


def test_competing_consumers_take_turns(time: Time) -> None:
    queue = make_router(time).queue("q")
    takers = [Taker(10), Taker(10), Taker(10)]
    for taker in takers:
        queue.attach(taker)
    for sequence in range(1, 10):
        queue.publish(make_message(sequence))
    assert [[m.sequence for m in taker.taken] for taker in takers] == [
        [1, 4, 7],
        [2, 5, 8],
        [3, 6, 9],
    ]


def test_a_full_consumer_is_passed_over(time: Time) -> None:
    queue = make_router(time).queue("q")
    small, large = Taker(1), Taker(10)
    queue.attach(small)
    queue.attach(large)
    for sequence in range(1, 6):
        queue.publish(make_message(sequence))
    assert [m.sequence for m in small.taken] == [1]
    assert [m.sequence for m in large.taken] == [2, 3, 4, 5]


def test_returned_messages_come_first_and_in_order(time: Time) -> None:
    queue = make_router(time).queue("q")
    lost = Taker(3)
    queue.attach(lost)
    for sequence in range(1, 6):
        queue.publish(make_message(sequence))
    queue.detach(lost, lost.taken)
    heir = Taker(10)
    queue.attach(heir)
    assert [(m.sequence, m.deliveries) for m in heir.taken] == [
        (1, 1),
        (2, 1),
        (3, 1),
        (4, 0),
        (5, 0),
    ]


def test_delays_grow_from_nothing_to_the_maximum(time: Time) -> None:
    policy = Policy(match="/queue/q", max_deliveries=-1, redelivery_delay_max=10.0)
    queue = make_router(time, policy).queue("q")
    taker = Taker(1000)
    queue.attach(taker)
    queue.publish(make_message(1))
    waits = []
    for _ in range(7):
        queue.settle(taker.taken.pop(), Rejection())
        start = time.now
        while not taker.taken:
            time.advance(0.25)
        waits.append(time.now - start)
    assert waits == [0, 1, 2, 4, 8, 10, 10]


def test_a_delayed_message_does_not_hold_up_the_others(time: Time) -> None:
    queue = make_router(time).queue("q")
    taker = Taker(10)
    queue.attach(taker)
    queue.publish(make_message(1))
    queue.settle(taker.taken.pop(), Rejection(delay=5.0))
    queue.publish(make_message(2))
    assert [m.sequence for m in taker.taken] == [2]
    time.advance(5.0)
    assert [m.sequence for m in taker.taken] == [2, 1]


def test_a_dead_letter_queue_gives_up_nothing(time: Time) -> None:
    router = make_router(time, Policy(match="/queue/>", max_deliveries=1))
    dead = router.queue("DLQ.q")
    taker = Taker(10)
    dead.attach(taker)
    dead.publish(make_message(1))
    dead.settle(taker.taken.pop(), Rejection(requeue=False))
    assert [m.sequence for m in taker.taken] == [1]
    assert list(router.queues) == ["DLQ.q"]


@pytest.mark.parametrize("limit", [{"backlog_messages": 3}, {"backlog_bytes": 700}])
def test_a_topic_backlog_drops_the_oldest(time: Time, limit: dict[str, int]) -> None:
    policy = Policy.model_validate({"match": "/topic/t", **limit})
    router = make_router(time, policy)
    queue = router.subscribe_topic("t")
    taker = Taker(1, auto=True)
    queue.attach(taker)
    for sequence in range(1, 8):
        queue.publish(make_message(sequence))
    assert [m.sequence for m in taker.taken] == [1]
    taker.room = 100
    queue.resume(taker)
    kept = [m.sequence for m in taker.taken[1:]]
    assert kept == list(range(8 - len(kept), 8))
    assert stats(queue).dropped == 6 - len(kept) > 0
    assert router.pressure.used == 0


def test_a_topic_backlog_can_disconnect_its_subscriber(time: Time) -> None:
    policy = Policy(match="/topic/t", backlog_messages=2, backlog_overflow="disconnect")
    queue = make_router(time, policy).subscribe_topic("t")
    taker = Taker(1, auto=True)
    queue.attach(taker)
    for sequence in range(1, 5):
        queue.publish(make_message(sequence))
    assert [failure.code for failure in taker.failures] == ["slow-consumer"]


def test_close_gives_back_all_memory(time: Time) -> None:
    router = make_router(time)
    queue = router.subscribe_topic("t")
    taker = Taker(2)
    queue.attach(taker)
    for sequence in range(1, 6):
        queue.publish(make_message(sequence))
    queue.detach(taker, taker.taken)
    router.unsubscribe_topic(queue)
    assert router.pressure.used == 0
