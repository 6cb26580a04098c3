"""One heap for all deadlines."""

import gc
import logging
import weakref

import pytest
from tests.support.house import Time

from stompy_broker.timers import Clock, WallClock


def test_rings_in_order_and_once() -> None:
    time, rung = Time(), []
    for when in (3.0, 1.0, 2.0):
        time.clock.timer(lambda when=when: rung.append(when)).set(when)
    time.advance(2.5)
    assert rung == [1.0, 2.0]
    time.advance(10.0)
    assert rung == [1.0, 2.0, 3.0]


def test_a_timer_may_be_put_off_brought_forward_and_cancelled() -> None:
    time, rung = Time(), []
    timer = time.clock.timer(lambda: rung.append(time.now))
    timer.set(1.0)
    timer.set(5.0)
    time.advance(2.0)
    assert rung == []
    timer.set(3.0)
    time.advance(1.0)
    assert rung == [3.0]
    timer.set(4.0)
    timer.cancel()
    time.advance(10.0)
    assert rung == [3.0]
    timer.set(20.0)
    time.advance(10.0)
    assert rung == [3.0, 23.0]


def test_putting_off_again_and_again_does_not_grow_the_heap() -> None:
    time = Time()
    timer = time.clock.timer(lambda: None)
    for number in range(1000):
        timer.set(10.0 + number)
    assert len(time.clock._heap) == 1


def test_the_owner_is_told_of_earlier_deadlines_only() -> None:
    woken: list[float] = []
    clock = Clock(lambda: 0.0, woken.append)
    for when in (5.0, 7.0, 3.0, 9.0):
        clock.timer(lambda: None).set(when)
    assert woken == [5.0, 3.0]


def test_an_action_may_set_its_own_timer_again() -> None:
    time, rung = Time(), []

    def ring() -> None:
        rung.append(time.now)
        timer.set(time.now + 1.0)

    timer = time.clock.timer(ring)
    timer.set(1.0)
    for _ in range(3):
        time.advance(1.0)
    assert rung == [1.0, 2.0, 3.0]


def test_an_action_that_raises_stops_no_other_and_is_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    time, rung, tries = Time(), [], []

    def stumble() -> None:
        tries.append(time.now)
        raise ValueError("not today")

    time.clock.timer(stumble).set(1.0)
    for when in (1.0, 2.0):
        time.clock.timer(lambda when=when: rung.append(when)).set(when)
    for _ in range(60):
        time.advance(1.0)
    assert rung == [1.0, 2.0]
    assert len(tries) > 3
    faults = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert len(faults) == 1, "one line a minute"
    assert "not today" in str(faults[0].exc_info)
    assert "stumble" in faults[0].getMessage()


def test_the_owner_is_woken_again_whatever_an_action_raises() -> None:
    woken: list[float] = []
    now = 0.0
    clock = Clock(lambda: now, woken.append)

    def interrupt() -> None:
        raise KeyboardInterrupt

    clock.timer(interrupt).set(1.0)
    clock.timer(lambda: None).set(2.0)
    now = 1.0
    with pytest.raises(KeyboardInterrupt):
        clock.run()
    assert woken == [1.0, 2.0]


def test_the_owner_is_woken_for_a_new_timer_while_others_are_overdue() -> None:
    woken: list[float] = []
    now = 0.0
    clock = Clock(lambda: now, woken.append)
    clock.timer(lambda: None).set(1.0)
    now = 5.0  # nobody came at 1.0, as after a pause of the process
    clock.run()
    clock.timer(lambda: None).set(6.0)
    assert woken == [1.0, 6.0]


def test_what_is_set_for_the_past_waits_for_the_next_turn() -> None:
    time, rung = Time(), []

    def ring() -> None:
        rung.append(time.now)
        timer.set(0.0)

    timer = time.clock.timer(ring)
    timer.set(1.0)
    time.advance(1.0)
    assert rung == [1.0]
    time.advance(0.0)
    assert rung == [1.0, 1.0]


class Owner:
    def __init__(self, time: Time) -> None:
        self.timer = time.clock.timer(self.ring)

    def ring(self) -> None:
        """Nothing."""


def test_the_heap_holds_nobody_whose_timer_has_ended() -> None:
    time = Time()
    gc.disable()
    try:
        for _ in range(1000):
            owner = Owner(time)
            owner.timer.set(10.0)
            owner.timer.end()
            gone = weakref.ref(owner)
            del owner
            assert gone() is None
    finally:
        gc.enable()
    assert len(time.clock._heap) < 200, "dead entries do not pile up"


def test_a_timer_that_has_ended_cannot_be_set() -> None:
    time, rung = Time(), []
    timer = time.clock.timer(lambda: rung.append(time.now))
    timer.end()
    timer.set(1.0)
    time.advance(2.0)
    assert rung == []


def test_the_wall_follows_small_corrections_and_no_steps(caplog: pytest.LogCaptureFixture) -> None:
    real, now = 1_000_000, 0.0
    wall = WallClock(lambda: real, lambda: now)
    assert wall() == 1_000_000
    real, now = 1_010_400, 10.0
    assert wall() == 1_010_400, "slewed by 400 ms"
    for _ in range(3):
        real, now = real + 1000 + 3_600_000 * (now == 10.0), now + 1.0
        assert wall() == 1_010_400 + int((now - 10.0) * 1000), "set forward by an hour"
    assert len(caplog.records) == 1
    assert "forward by 3600 s" in caplog.text
    real -= 3_600_000
    assert wall() == real, "and back"
