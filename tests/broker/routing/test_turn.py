"""When deliveries were made, without a clock for each."""

from __future__ import annotations

from stompy_broker.routing.turn import Marks


def test_each_delivery_has_its_moment() -> None:
    marks = Marks()
    for number, now in ((1, 1.0), (4, 2.0), (5, 3.0)):
        assert not marks.add(number, now)
    assert [marks.when(number) for number in range(1, 8)] == [1.0, 1.0, 1.0, 2.0, 3.0, 3.0, 3.0]


def test_the_oldest_stays_exact_and_there_are_never_many() -> None:
    marks = Marks()
    for number in range(1, 10_001):
        if marks.add(number, float(number)):
            marks.trim(1)
        assert marks.when(1) == 1.0
    assert marks.when(10_000) == 10_000.0
    assert all(marks.when(number) <= number for number in range(1, 10_001, 7))
    assert len(marks._marks) <= Marks.MOST


def test_a_client_that_keeps_up_is_known_exactly() -> None:
    marks = Marks()
    for number in range(1, 10_001):
        oldest = max(1, number - 30)
        if marks.add(number, float(number)):
            marks.trim(oldest)
        assert marks.when(oldest) == oldest
