"""When deliveries were made, without a clock for each."""

from __future__ import annotations

from stompy_broker.routing.delivery_times import DeliveryTimes


def test_each_delivery_has_its_moment() -> None:
    times = DeliveryTimes()
    for number, now in ((1, 1.0), (4, 2.0), (5, 3.0)):
        assert not times.add(number, now)
    assert [times.when(number) for number in range(1, 8)] == [1.0, 1.0, 1.0, 2.0, 3.0, 3.0, 3.0]


def test_the_oldest_stays_exact_and_there_are_never_many() -> None:
    times = DeliveryTimes()
    for number in range(1, 10_001):
        if times.add(number, float(number)):
            times.trim(1)
        assert times.when(1) == 1.0
    assert times.when(10_000) == 10_000.0
    assert all(times.when(number) <= number for number in range(1, 10_001, 7))
    assert len(times._times) <= DeliveryTimes.MOST


def test_a_client_that_keeps_up_is_known_exactly() -> None:
    times = DeliveryTimes()
    for number in range(1, 10_001):
        oldest = max(1, number - 30)
        if times.add(number, float(number)):
            times.trim(oldest)
        assert times.when(oldest) == oldest
