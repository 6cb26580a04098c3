"""The local queue: a state machine against a list, then each promise by example."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.support.house import Taker, Time, figures, make_message, make_router, take_part

from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message
from stompy_broker.routing.interface import Close, QueueFigures, Withdraw
from stompy_broker.routing.queue import LocalQueue
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.router import Router
from stompy_broker.store.base import Callback
from stompy_broker.store.memory import MemoryStore


def stats(queue: LocalQueue) -> QueueFigures:
    rows: list[QueueFigures] = []
    queue.stats(rows.append)
    return rows[0]


class QueueMachine(RuleBasedStateMachine):
    """Every message is in exactly one place, in order, whatever is done to the queue."""

    def __init__(self) -> None:
        super().__init__()
        self.time = Time()
        policy = Policy(match="/queue/q", max_deliveries=4)
        # However long it is empty, the queue is not forgotten: this test keeps the object.
        self.router = make_router(self.time, policy, idle=0)
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
        take_part(self.queue, taker)

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
        waiting = {message.sequence for message in queue._ready}
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
        sizes += [message.size for message in queue._ready]
        assert counters.bytes == sum(sizes)

    @invariant()
    def nobody_waits_while_something_is_ready(self) -> None:
        ready = self.queue._fifo or self.queue._heap
        assert not (ready and self.queue._waiting)

    @invariant()
    def what_came_back_is_before_what_is_fresh(self) -> None:
        if self.queue._heap and self.queue._fifo:
            assert max(self.queue._heap)[1] < self.queue._fifo[0].sequence


QueueMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestQueueMachine = QueueMachine.TestCase


@pytest.fixture
def time() -> Time:
    return Time()


def test_competing_consumers_take_turns(time: Time) -> None:
    queue = make_router(time).queue("q")
    takers = [Taker(10), Taker(10), Taker(10)]
    for taker in takers:
        take_part(queue, taker)
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
    take_part(queue, small)
    take_part(queue, large)
    for sequence in range(1, 6):
        queue.publish(make_message(sequence))
    assert [m.sequence for m in small.taken] == [1]
    assert [m.sequence for m in large.taken] == [2, 3, 4, 5]


def test_returned_messages_come_first_and_in_order(time: Time) -> None:
    queue = make_router(time).queue("q")
    lost = Taker(3)
    take_part(queue, lost)
    for sequence in range(1, 6):
        queue.publish(make_message(sequence))
    queue.detach(lost, lost.taken)
    heir = Taker(10)
    take_part(queue, heir)
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
    take_part(queue, taker)
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
    take_part(queue, taker)
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
    take_part(dead, taker)
    dead.publish(make_message(1))
    dead.settle(taker.taken.pop(), Rejection(requeue=False))
    assert [m.sequence for m in taker.taken] == [1]
    assert list(router.queues) == ["DLQ.q"]


@pytest.mark.parametrize("limit", [{"backlog_messages": 3}, {"backlog_bytes": 700}])
def test_a_topic_backlog_drops_the_oldest(time: Time, limit: dict[str, int]) -> None:
    policy = Policy.model_validate({"match": "/topic/t", **limit})
    router = make_router(time, policy)
    queue = router.registry.subscribe_topic("t")
    taker = Taker(1, auto=True)
    take_part(queue, taker)
    for sequence in range(1, 8):
        queue.publish(make_message(sequence))
    assert [m.sequence for m in taker.taken] == [1]
    taker.room = 100
    queue.resume(taker)
    kept = [m.sequence for m in taker.taken[1:]]
    assert kept == list(range(8 - len(kept), 8))
    assert stats(queue).dropped == 6 - len(kept) > 0
    assert router.memory.used == 0


def test_a_topic_backlog_can_disconnect_its_subscriber(time: Time) -> None:
    policy = Policy(match="/topic/t", backlog_messages=2, backlog_overflow="disconnect")
    queue = make_router(time, policy).registry.subscribe_topic("t")
    taker = Taker(1, auto=True)
    take_part(queue, taker)
    for sequence in range(1, 5):
        queue.publish(make_message(sequence))
    assert [failure.code for failure in taker.failures] == ["slow-consumer"]


def test_close_gives_back_all_memory(time: Time) -> None:
    router = make_router(time)
    queue = router.registry.subscribe_topic("t")
    taker = Taker(2)
    take_part(queue, taker)
    for sequence in range(1, 6):
        queue.publish(make_message(sequence))
    queue.detach(taker, taker.taken)
    router.registry.unsubscribe_topic(queue)
    assert router.memory.used == 0


# -- what a store keeps ---------------------------------------------------------------------------


class SlowStore(MemoryStore):
    """A store whose bodies come when the test says so."""

    def __init__(self) -> None:
        super().__init__(durable=True)
        self.asked: list[tuple[list[Message], Callback]] = []
        self.bodies: dict[int, bytes | None] = {}

    def append(self, destination: str, message: Message) -> None:
        super().append(destination, message)
        self.bodies[message.sequence] = message.body

    def load(self, messages: Sequence[Message], done: Callback) -> None:
        self.asked.append((list(messages), done))

    def answer(self, *, lost: frozenset[int] = frozenset()) -> None:
        """Give the bodies that were asked for first."""
        messages, done = self.asked.pop(0)
        for message in messages:
            if message.sequence not in lost:
                message.body = self.bodies[message.sequence]
        done()

    def answer_all(self) -> None:
        """Give all bodies, also those that are asked for meanwhile."""
        while self.asked:
            self.answer()


@pytest.fixture
def slow() -> SlowStore:
    return SlowStore()


def evicted(
    time: Time, store: SlowStore, count: int, *policies: Policy
) -> tuple[Router, LocalQueue]:
    """A queue whose messages are all on disk only."""
    router = make_router(time, *policies, store=store, memory_mark=2)
    queue = router.queue("q")
    messages = [make_message(sequence, b"x" * 100) for sequence in range(1, count + 1)]
    for message in messages:
        queue.publish(message)
    router.on_disk(messages)
    assert all(message.body is None for message in messages)
    assert router.memory.used == sum(message.ram_on_disk for message in messages)
    assert (
        router.groups.home.disk.used
        == figures(queue).bytes
        == sum(message.size for message in messages)
    )
    return router, queue


def nothing_is_left(router: Router, store: MemoryStore) -> bool:
    assert (router.memory.used, router.groups.home.disk.used) == (0, 0)
    assert all(figures(queue).bytes == 0 for queue in router)
    assert list(store.restore()) == []
    return True


@pytest.mark.parametrize("auto", [True, False])
def test_bodies_are_loaded_when_they_are_needed(time: Time, slow: SlowStore, auto: bool) -> None:
    router, queue = evicted(time, slow, 5)
    assert not slow.asked
    taker = Taker(10, auto=auto)
    take_part(queue, taker)
    late = make_message(6)
    queue.publish(late)
    assert taker.taken == []
    slow.answer()
    assert [message.sequence for message in taker.taken] == [1, 2, 3, 4, 5, 6]
    assert {message.body for message in taker.taken} == {b"x" * 100, b"body"}
    for message in [] if auto else taker.taken:
        queue.settle(message)
    assert nothing_is_left(router, slow)


def test_the_consumer_may_go_while_bodies_are_read(time: Time, slow: SlowStore) -> None:
    router, queue = evicted(time, slow, 3)
    taker = Taker(10)
    take_part(queue, taker)
    queue.detach(taker)
    slow.answer()
    assert (taker.taken, figures(queue).ready) == ([], 3)
    assert router.memory.used == figures(queue).bytes
    other = Taker(10, auto=True)
    take_part(queue, other)
    assert [message.sequence for message in other.taken] == [1, 2, 3]
    assert nothing_is_left(router, slow)


def test_the_queue_may_end_while_bodies_are_read(time: Time, slow: SlowStore) -> None:
    router, queue = evicted(time, slow, 3)
    take_part(queue, Taker(10))
    queue.control(Close())
    slow.answer()
    assert nothing_is_left(router, slow)


def test_messages_may_expire_while_bodies_are_read(time: Time, slow: SlowStore) -> None:
    router, queue = evicted(time, slow, 4, Policy(message_ttl=5000, expired_to="dead-letter"))
    taker = Taker(10, auto=True)
    take_part(queue, taker)
    time.advance(6.0)
    assert (figures(queue).ready, stats(queue).bytes) == (0, router.groups.home.disk.used)
    slow.answer_all()
    assert taker.taken == []
    dead = Taker(10, auto=True)
    take_part(router.queue("DLQ.q"), dead)
    assert [message.body for message in dead.taken] == [b"x" * 100] * 4
    assert stats(queue).expired == stats(queue).dead_lettered == 4
    assert nothing_is_left(router, slow)


def test_messages_are_pushed_out_with_their_bodies(time: Time, slow: SlowStore) -> None:
    policy = Policy(match="/queue/q", max_length=3, overflow_to="dead-letter")
    router, queue = evicted(time, slow, 3, policy)
    for sequence in (4, 5):
        queue.publish(make_message(sequence))
    assert figures(queue).ready == 3
    slow.answer_all()
    dead, taker = Taker(10, auto=True), Taker(10, auto=True)
    take_part(router.queue("DLQ.q"), dead)
    take_part(queue, taker)
    slow.answer_all()
    assert [message.body for message in dead.taken] == [b"x" * 100] * 2
    assert [message.sequence for message in taker.taken] == [3, 4, 5]
    assert nothing_is_left(router, slow)


def test_a_lost_body_loses_its_message_only(
    time: Time, slow: SlowStore, caplog: pytest.LogCaptureFixture
) -> None:
    router, queue = evicted(time, slow, 3)
    taker = Taker(10, auto=True)
    take_part(queue, taker)
    slow.answer(lost=frozenset((2,)))
    assert [message.sequence for message in taker.taken] == [1, 3]
    assert stats(queue).dropped == 1
    assert "no body" in caplog.text
    assert nothing_is_left(router, slow)


def test_closing_a_backlog_while_dead_letters_wait(time: Time, slow: SlowStore) -> None:
    router, queue = evicted(time, slow, 3, Policy(message_ttl=5000, expired_to="dead-letter"))
    time.advance(6.0)
    queue.control(Close())
    slow.answer_all()
    assert stats(queue).dead_lettered == 0
    assert nothing_is_left(router, slow)


def test_closing_a_queue_whose_dead_letters_were_just_read(time: Time, slow: SlowStore) -> None:
    router, queue = evicted(time, slow, 3, Policy(message_ttl=5000, expired_to="dead-letter"))
    take_part(queue, Taker(10))
    time.advance(6.0)
    slow.answer()
    queue.control(Close())
    slow.answer_all()
    assert nothing_is_left(router, slow)


def test_counts_and_delays_are_restored(time: Time) -> None:
    store, policy = MemoryStore(durable=True), Policy(match="/queue/q", redelivery_delay=10.0)
    router, taker = make_router(time, policy, store=store), Taker(10)
    queue = router.queue("q")
    take_part(queue, taker)
    for sequence in (1, 2, 3):
        queue.publish(make_message(sequence))
    for _ in range(2):
        queue.settle(next(m for m in taker.taken if m.sequence == 1), Rejection())
        taker.taken.sort(key=lambda message: message.sequence)
        taker.taken[:] = [*{message.sequence: message for message in taker.taken}.values()]
    queue.settle(taker.taken[2], Rejection(delay=4.0))
    assert stats(queue).delayed == 2

    # Message 2 was with its consumer when the process ended.
    time.advance(1.0)
    later = make_router(time, policy, store=store)
    assert later.registry.restore() == 3
    queue, taker = later.queue("q"), Taker(10)
    assert (figures(queue).ready, stats(queue).delayed) == (1, 2)
    take_part(queue, taker)
    assert [(m.sequence, m.deliveries) for m in taker.taken] == [(2, 1)]
    time.advance(3.0)
    assert [(m.sequence, m.deliveries) for m in taker.taken[1:]] == [(3, 1)]
    time.advance(5.9)
    assert len(taker.taken) == 2
    time.advance(0.2)
    assert [(m.sequence, m.deliveries) for m in taker.taken[2:]] == [(1, 2)]
    for message in taker.taken:
        assert message.body == b"body"
        queue.settle(message)
    assert nothing_is_left(later, store)


def test_a_crash_at_the_last_delivery_makes_a_dead_letter(time: Time) -> None:
    store, policy = MemoryStore(durable=True), Policy(match="/queue/q", max_deliveries=1)
    queue = make_router(time, policy, store=store).queue("q")
    take_part(queue, Taker(1))
    queue.publish(make_message(1))
    later = make_router(time, policy, store=store)
    assert later.registry.restore() == 1
    taker, dead = Taker(1), Taker(1, auto=True)
    take_part(later.queue("q"), taker)
    take_part(later.queue("DLQ.q"), dead)
    assert taker.taken == []
    assert dead.taken[0].head.headers()["x-first-death-reason"] == "delivery_limit"
    assert dead.taken[0].body == b"body"
    assert nothing_is_left(later, store)


def test_what_passes_through_is_never_stored(time: Time, slow: SlowStore) -> None:
    queue = make_router(time, store=slow).queue("q")
    take_part(queue, Taker(1, auto=True))
    queue.publish(make_message(1))
    assert slow.bodies == {}


def test_many_that_step_out_together_leave_the_others_in_their_order(time: Time) -> None:
    """One by one each was looked for among all that wait."""
    queue = make_router(time).queue("q")
    takers = [Taker(9) for _ in range(6)]
    for taker in takers:
        take_part(queue, taker)
    queue.publish(make_message(1))
    queue.control(Withdraw([*takers[1:4], takers[2]]))
    assert [taker.waiting for taker in takers] == [True, False, False, False, True, True]
    for sequence in (2, 3, 4):
        queue.publish(make_message(sequence))
    assert [len(taker.taken) for taker in takers] == [2, 0, 0, 0, 1, 1]
    queue.resume(takers[2])
    queue.control(Withdraw([takers[0], takers[4], takers[5]]))
    queue.publish(make_message(5))
    assert len(takers[2].taken) == 1
