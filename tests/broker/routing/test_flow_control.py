"""Marks, levels, and who waits."""

from stompy_broker.routing.flow_control import Loans, Pressure


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


def test_who_has_more_than_its_share_of_a_full_loan_waits_for_the_others_too() -> None:
    loans, went_on = Loans(100), []
    loans.holders = 4
    loans.add(100)
    assert (loans.full, loans.share) == (True, 25)
    loans.wait(lambda: went_on.append(1))
    loans.used = 75
    loans.sink()
    # Somebody is in the middle of handing out.
    assert (loans.full, went_on) == (False, [])
    loans.lend()
    assert went_on == [1]
