"""Marks, levels, and who waits."""

from stompy_broker.routing.flow_control import Loans, Watermark


def test_without_a_mark_nothing_ever_waits() -> None:
    assert Watermark(0).high == float("inf")


def test_consumers_stop_only_at_twice_the_mark() -> None:
    pressure = Watermark(100)
    pressure.used = 150
    pressure.went_over()
    assert pressure.blocks(consumes=False)
    assert not pressure.blocks(consumes=True)
    pressure.used = 200
    assert pressure.blocks(consumes=True)


def test_everybody_waits_once_and_may_leave() -> None:
    pressure, calls = Watermark(100), []

    def first() -> None:
        calls.append("first")

    def second() -> None:
        calls.append("second")

    pressure.went_over()
    pressure.wait(first)
    pressure.wait(first)
    pressure.wait(second)
    pressure.forget(second)
    pressure.went_under()
    pressure.went_under()
    assert calls == ["first"]


def test_who_has_more_than_its_share_of_a_full_loan_waits_for_the_others_too() -> None:
    loans, went_on = Loans(100), []
    loans.holders = 4
    loans.add(100)
    assert (loans.full, loans.share) == (True, 25)
    loans.wait(lambda: went_on.append(1))
    loans.used = 75
    loans.check()
    # Somebody is in the middle of handing out.
    assert (loans.full, went_on) == (False, [])
    loans.wake()
    assert went_on == [1]
