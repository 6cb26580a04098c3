"""Rates: over a second at least, and unknown at the first look."""

from __future__ import annotations

from stompy_broker.admin.snapshots.rates import STILL, Rates


def test_a_rate_is_what_moved_since_the_last_look() -> None:
    rates: Rates[str] = Rates()
    assert rates.look("a", 0.0, 1000, 500) is None
    assert rates.look("a", 0.5, 1050, 500) is None
    assert rates.look("a", 2.0, 1100, 520, 10) == {"in": 50.0, "out": 10.0, "ack": 5.0}


def test_looks_that_follow_each_other_quickly_give_the_same() -> None:
    rates: Rates[str] = Rates()
    rates.look("a", 0.0, 0, 0)
    rate = rates.look("a", 1.0, 10, 0)
    assert rates.look("a", 1.5, 99, 0) is rate
    assert rates.look("a", 2.0, 10, 0) is STILL


def test_who_is_forgotten_begins_anew() -> None:
    rates: Rates[str] = Rates()
    rates.look("a", 0.0, 0, 0)
    rates.look("b", 0.0, 0, 0)
    rates.keep({"b"})
    assert rates.look("a", 1.0, 10, 0) is None
    assert rates.look("b", 1.0, 10, 0)["in"] == 10
