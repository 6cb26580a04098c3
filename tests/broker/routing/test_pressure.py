"""Marks, levels, and who waits."""

from stompy_broker.routing.pressure import Pressure


def test_without_a_mark_nothing_ever_waits() -> None:
    assert Pressure(0).high == float("inf")


def test_consumers_stop_only_at_twice_the_mark() -> None:
    pressure = Pressure(100)
    pressure.used = 150
    pressure.reached()
    assert pressure.stops(consumes=False)
    assert not pressure.stops(consumes=True)
    pressure.used = 200
    assert pressure.stops(consumes=True)


def test_everybody_waits_once_and_may_leave() -> None:
    pressure, calls = Pressure(100), []

    def first() -> None:
        calls.append("first")

    def second() -> None:
        calls.append("second")

    pressure.reached()
    pressure.wait(first)
    pressure.wait(first)
    pressure.wait(second)
    pressure.forget(second)
    pressure.relieved()
    pressure.relieved()
    assert calls == ["first"]
