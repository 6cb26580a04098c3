"""Tasks: steps with turns of the event loop between them, whoever answers when."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import pytest

from stompy_broker.admin.tasks import Scheduler, Steps, Task


class Loop:
    """An event loop's turns, one by one, and a processor time that the test sets."""

    def __init__(self) -> None:
        self.soon: deque[Callable[[], None]] = deque()
        self.cpu = 0.0
        self.results: list[int] = []
        self.errors: list[Exception] = []

    def task(self, steps: Steps[int]) -> Task[int]:
        scheduler = Scheduler(self.soon.append, lambda: self.cpu)
        return Task(scheduler, steps, self.results.append, self.errors.append)

    def turn(self) -> None:
        self.soon.popleft()()


@pytest.fixture
def loop() -> Loop:
    return Loop()


def test_each_step_has_a_turn_of_its_own(loop: Loop) -> None:
    taken: list[int] = []

    def steps() -> Steps[int]:
        for number in range(3):
            taken.append(number)
            yield None
        return 7

    task = loop.task(steps())
    task.step()
    assert taken == [0]
    loop.turn()
    assert taken == [0, 1]
    loop.turn()
    loop.turn()
    assert (taken, loop.results, task.ended) == ([0, 1, 2], [7], True)


def test_thousands_of_waits_that_are_answered_at_once_do_not_stand_on_each_other(
    loop: Loop,
) -> None:
    def steps() -> Steps[int]:
        for _ in range(10_000):
            yield lambda go_on: go_on()
        return 1

    loop.task(steps()).step()
    turns = 0
    while loop.soon:
        loop.turn()
        turns += 1
    assert loop.results == [1]
    assert turns == 10_000


def test_a_wait_that_is_answered_later_goes_on_then(loop: Loop) -> None:
    waiting: list[Callable[[], None]] = []

    def steps() -> Steps[int]:
        yield waiting.append
        return 1

    loop.task(steps()).step()
    assert not loop.soon
    assert not loop.results
    waiting.pop()()
    assert loop.results == [1]


def test_what_goes_wrong_is_told_and_ends_it(loop: Loop) -> None:
    def steps() -> Steps[int]:
        yield None
        raise ValueError("no")

    task = loop.task(steps())
    task.step()
    loop.turn()
    assert [str(error) for error in loop.errors] == ["no"]
    assert task.ended


def test_one_that_is_cancelled_takes_no_more_steps(loop: Loop) -> None:
    closed: list[bool] = []

    def steps() -> Steps[int]:
        try:
            yield None
        finally:
            closed.append(True)
        return 1

    task = loop.task(steps())
    task.step()
    task.cancel()
    loop.turn()
    assert (closed, loop.results) == ([True], [])


def test_the_time_spent_is_that_of_the_steps_alone(loop: Loop) -> None:
    def steps() -> Steps[int]:
        loop.cpu += 2
        assert task.spent == 2
        yield None
        loop.cpu += 1
        return 1

    task = loop.task(steps())
    task.step()
    loop.cpu += 100  # others work
    loop.turn()
    assert task.spent == 3
