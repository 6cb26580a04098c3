"""Numbers for messages, taken in two ways."""

from __future__ import annotations

from stompy_broker.routing.sequences import STEP, Sequences


def test_each_number_is_one_step_beyond_the_last_one() -> None:
    numbers = Sequences(7)
    assert [numbers.take() for _ in range(3)] == [7, 7 + STEP, 7 + 2 * STEP]


def test_a_number_may_be_taken_without_a_call() -> None:
    numbers = Sequences(7)
    numbers.last += STEP
    assert (numbers.last, numbers.take()) == (7, 7 + STEP)
