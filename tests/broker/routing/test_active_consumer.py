"""Consumers of which one at a time gets everything, and those of several priorities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set

import pytest
from tests.support.house import Taker, Time, browsed, figures, make_message, make_router, take_part

from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message
from stompy_broker.routing.dealer import Dealer
from stompy_broker.routing.interface import Foresee, Outcome, Queue, RestorableQueue, Withdraw
from stompy_broker.routing.joined_queues import JoinedQueues
from stompy_broker.routing.queue import LocalQueue
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.router import Router
from stompy_broker.routing.terms import PLAIN, Terms

ALONE = Terms(single_active=True)


class Holder(Taker):
    """A consumer that holds what it takes until it settles it, and gives it back if asked."""

    def __init__(
        self, queue: Queue, room: int = 10, terms: Terms = PLAIN, *, auto: bool = False
    ) -> None:
        super().__init__(room, auto=auto)
        self.terms = terms
        self.queue = queue
        self.held: list[Message] = []
        self.told: list[bool] = []
        self.asked = 0

    def deliver(self, message: Message) -> bool:
        if not self.auto:
            self.held.append(message)
        return super().deliver(message)

    def activate(self, *, active: bool) -> None:
        self.told.append(active)

    def holds(self) -> Iterable[Message]:
        return list(self.held)

    def give_back(self, only: Set[Message] | None = None) -> None:
        self.asked += 1
        back = [one for one in self.held if only is None or one in only]
        self.held = [one for one in self.held if one not in back]
        for one in back:
            self.queue.settle(one, Rejection(delay=0.0, failed=False))

    def settle(self) -> None:
        self.queue.settle(self.held.pop(0))
        self.room += 1
        if not self.waiting:
            self.queue.resume(self)

    def come(self) -> Holder:
        take_part(self.queue, self)
        return self

    def go(self, *, lost: bool = False) -> None:
        back, self.held = self.held, []
        self.queue.detach(self, back, lost=lost)

    @property
    def got(self) -> list[int]:
        return [one.sequence for one in self.taken]


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def queue(time: Time) -> Queue:
    return make_router(time).registry.queue("q")


def publish(queue: Queue, *sequences: int) -> None:
    for sequence in sequences:
        queue.publish(make_message(sequence))


# -- priorities --------------------------------------------------------------------------------


def test_the_highest_priority_gets_it_and_equals_take_turns(queue: Queue) -> None:
    low = Holder(queue, terms=Terms(priority=-1)).come()
    plain = Holder(queue).come()
    one = Holder(queue, 2, Terms(priority=5)).come()
    other = Holder(queue, 2, Terms(priority=5)).come()
    publish(queue, *range(1, 17))
    assert (one.got, other.got) == ([1, 3], [2, 4])
    assert plain.got == list(range(5, 15))
    assert low.got == [15, 16]


def test_who_has_credit_again_goes_before_those_of_lower_priority(queue: Queue) -> None:
    plain = Holder(queue, 10).come()
    high = Holder(queue, 1, Terms(priority=1)).come()
    publish(queue, 1, 2)
    high.settle()
    publish(queue, 3, 4)
    assert (high.got, plain.got) == ([1, 3], [2, 4])


def test_priorities_of_32_bits_are_told_apart(queue: Queue) -> None:
    highest, lowest = (1 << 31) - 1, -(1 << 31)
    takers = [
        Holder(queue, 1, Terms(priority=number)).come()
        for number in (0, lowest, highest, highest - 1, lowest + 1)
    ]
    publish(queue, 1, 2, 3, 4, 5)
    assert [one.got for one in takers] == [[3], [5], [1], [2], [4]]


def test_a_priority_counts_among_those_who_match(queue: Queue) -> None:
    red = Holder(queue, terms=Terms("color = 'red'", priority=-1)).come()
    every = Holder(queue, 1).come()
    high = Holder(queue, terms=Terms("color = 'blue'", priority=1)).come()
    for sequence, color in enumerate(("red", "blue", "red", "blue"), 1):
        queue.publish(make_message(sequence, color=color))
    assert (every.got, red.got, high.got) == ([1], [3], [2, 4])


def test_a_queue_is_a_plain_one_again_without_priorities(queue: Queue, time: Time) -> None:
    plain, high = Holder(queue).come(), Holder(queue, terms=Terms(priority=1)).come()
    publish(queue, 1)
    assert isinstance(queue, LocalQueue)
    assert _dealer_of(queue) is not None
    high.go()
    for _ in range(5):
        time.advance(0.002)
    assert _dealer_of(queue) is None
    publish(queue, 2)
    assert plain.got == [1, 2]


def _dealer_of(queue: LocalQueue) -> Dealer | None:
    return queue._dealer


# -- one at a time -----------------------------------------------------------------------------


def test_one_gets_everything_and_who_does_not_ask_gets_nothing(queue: Queue) -> None:
    plain = Holder(queue).come()
    first, second = Holder(queue, terms=ALONE).come(), Holder(queue, terms=ALONE).come()
    publish(queue, 1, 2, 3)
    assert (first.got, second.got, plain.got) == ([1, 2, 3], [], [])
    assert (first.told, second.told, plain.told) == ([True], [False], [False])


def test_the_active_one_without_credit_has_all_others_wait(queue: Queue) -> None:
    first, second = Holder(queue, 1, ALONE).come(), Holder(queue, terms=ALONE).come()
    publish(queue, 1, 2)
    assert (first.got, second.got) == ([1], [])
    first.settle()
    assert (first.got, second.got) == ([1, 2], [])


def test_the_next_gets_what_the_one_before_held_first(queue: Queue, time: Time) -> None:
    first, second = Holder(queue, 2, ALONE).come(), Holder(queue, terms=ALONE).come()
    publish(queue, 1, 2, 3)
    first.go()
    time.advance(0)
    assert second.got == [1, 2, 3]
    assert second.told == [False, True]


def test_the_highest_priority_is_next_and_then_who_came_first(queue: Queue, time: Time) -> None:
    active = Holder(queue, terms=ALONE).come()
    early, late = Holder(queue, terms=ALONE).come(), Holder(queue, terms=ALONE).come()
    high = Holder(queue, terms=Terms(priority=-1, single_active=True)).come()
    for one, following in ((active, early), (early, late), (late, high)):
        one.go()
        time.advance(0)
        publish(queue, 1)
        assert following.got == [1]
        following.settle()
    assert [one.told for one in (early, late, high)] == [[False, True]] * 3


def test_all_take_part_again_when_nobody_asks(queue: Queue) -> None:
    plain, other = Holder(queue).come(), Holder(queue).come()
    alone = Holder(queue, 1, ALONE).come()
    publish(queue, 1, 2, 3)
    alone.go()
    assert (plain.got, other.got) == ([1, 3], [2])
    assert plain.told == other.told == [False, True]


# -- the handover ------------------------------------------------------------------------------


def better(queue: Queue, room: int = 10) -> Holder:
    return Holder(queue, room, Terms(priority=1, single_active=True))


def test_a_better_one_takes_over_when_everything_is_settled(queue: Queue, time: Time) -> None:
    old = Holder(queue, terms=ALONE).come()
    publish(queue, 1, 2)
    new = better(queue).come()
    assert (old.told, new.told) == ([True, False], [False])
    publish(queue, 3)
    old.settle()
    time.advance(1)
    assert new.got == []
    old.settle()
    time.advance(1)
    assert (old.got, new.got) == ([1, 2], [3])
    assert new.told == [False, True]


def test_a_better_one_takes_over_at_once_where_nothing_is_held(queue: Queue) -> None:
    old = Holder(queue, terms=ALONE).come()
    new = better(queue).come()
    publish(queue, 1)
    assert (old.got, new.got) == ([], [1])
    assert (old.told, new.told) == ([True, False], [True])


def test_what_is_not_settled_in_time_goes_back(time: Time) -> None:
    policy = Policy(match="/queue/q", single_active_handover=5, max_deliveries=1)
    queue = make_router(time, policy).registry.queue("q")
    old = Holder(queue, terms=ALONE).come()
    publish(queue, 1, 2)
    new = better(queue).come()
    time.advance(4.9)
    assert (new.got, old.asked) == ([], 0)
    time.advance(0.2)
    assert (new.got, old.asked) == ([1, 2], 1)
    # It was nobody's fault.
    assert [one.failures for one in new.taken] == [0, 0]
    assert figures(queue).unacked == 2


def test_what_cannot_be_given_back_is_waited_for_a_moment_only(queue: Queue, time: Time) -> None:
    old = Holder(queue, terms=ALONE).come()
    old.give_back = lambda only=None: None  # type: ignore[method-assign]
    publish(queue, 1)
    new = better(queue).come()
    publish(queue, 2)
    time.advance(30)
    assert new.got == []
    time.advance(2)
    assert new.got == [2]
    time.advance(60)
    assert new.told == [False, True]


def test_plain_consumers_settle_first_what_they_have(queue: Queue, time: Time) -> None:
    plain = Holder(queue).come()
    publish(queue, 1)
    alone = Holder(queue, terms=ALONE).come()
    publish(queue, 2)
    assert (plain.got, alone.got) == ([1], [])
    plain.settle()
    time.advance(1)
    assert (plain.got, alone.got) == ([1], [2])


def test_one_that_goes_during_a_handover_changes_nothing_more(queue: Queue, time: Time) -> None:
    old = Holder(queue, terms=ALONE).come()
    publish(queue, 1)
    new = better(queue).come()
    new.go()
    publish(queue, 2)
    time.advance(60)
    assert (old.got, old.asked) == ([1, 2], 0)
    assert old.told == [True, False, True]


def test_the_old_one_may_go_during_a_handover(queue: Queue, time: Time) -> None:
    old = Holder(queue, terms=ALONE).come()
    publish(queue, 1)
    new = better(queue).come()
    publish(queue, 2)
    old.go(lost=True)
    time.advance(1)
    assert new.got == [1, 2]


def test_who_wants_nothing_is_on_no_bench(queue: Queue, time: Time) -> None:
    old = Holder(queue, terms=ALONE).come()
    other = Holder(queue, terms=ALONE).come()
    queue.control(Withdraw([other]))
    old.go()
    time.advance(0)
    publish(queue, 1)
    assert other.got == []
    queue.resume(other)
    assert other.got == [1]


# -- with the rest -----------------------------------------------------------------------------


def test_the_active_one_that_does_not_match_has_a_message_wait(queue: Queue) -> None:
    alone = Holder(queue, terms=Terms("color = 'red'", single_active=True)).come()
    plain = Holder(queue).come()
    queue.publish(make_message(1, color="blue"))
    queue.publish(make_message(2, color="red"))
    assert (alone.got, plain.got) == ([2], [])
    assert [one.sequence for one in browsed(queue)] == [1]


def test_an_operator_is_told_who_is_active(queue: Queue) -> None:
    Holder(queue).come()
    alone = Holder(queue, terms=ALONE).come()
    found: list[Outcome] = []
    queue.control(Foresee(make_message(1)), found.append)
    assert found == [alone.number]


def test_a_consumer_that_gives_back_what_it_does_not_want_stays_active(
    queue: Queue, time: Time
) -> None:
    assert isinstance(queue, RestorableQueue)
    first, second = Holder(queue, 2, ALONE).come(), Holder(queue, terms=ALONE).come()
    publish(queue, 1, 2)
    queue.take_back(first, [first.held.pop()])
    first.room = 5
    queue.resume(first)
    time.advance(1)
    assert (first.got, second.got) == ([1, 2, 2], [])


def test_of_several_queues_each_has_its_own(time: Time) -> None:
    router = make_router(time, Policy(match="/queue/a", single_active=True))
    first, second = (joined(router, "a", "b") for _ in range(2))
    one, other = Holder(first), Holder(second)
    one.come()
    other.come()
    assert (one.told, other.told) == ([True], [False])
    for sequence in range(1, 5):
        router.registry.queue("a").publish(make_message(sequence))
        router.registry.queue("b").publish(make_message(sequence + 10))
    assert [number for number in one.got if number < 10] == [1, 2, 3, 4]
    assert [number for number in other.got if number < 10] == []
    assert other.got
    one.go()
    time.advance(1)
    assert [number for number in other.got if number < 10] == [1, 2, 3, 4]
    assert other.told == [False, True]


def joined(router: Router, *names: str) -> JoinedQueues:
    queues = [router.registry.queue(name) for name in names]
    numbers: Callable[[], int] = iter(range(1 << 50, 1 << 51)).__next__
    return JoinedQueues(",".join(names), queues, (), router.work_budget, numbers, at_once)


def at_once(steps: Iterator[None]) -> None:
    for _ in steps:
        pass
