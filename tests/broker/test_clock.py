"""One heap for all deadlines."""

from tests.support.house import Time

from stompy_broker.clock import Clock


def test_rings_in_order_and_once() -> None:
    time, rung = Time(), []
    for when in (3.0, 1.0, 2.0):
        time.clock.alarm(lambda when=when: rung.append(when)).set(when)
    time.advance(2.5)
    assert rung == [1.0, 2.0]
    time.advance(10.0)
    assert rung == [1.0, 2.0, 3.0]


def test_an_alarm_may_be_put_off_brought_forward_and_cancelled() -> None:
    time, rung = Time(), []
    alarm = time.clock.alarm(lambda: rung.append(time.now))
    alarm.set(1.0)
    alarm.set(5.0)
    time.advance(2.0)
    assert rung == []
    alarm.set(3.0)
    time.advance(1.0)
    assert rung == [3.0]
    alarm.set(4.0)
    alarm.cancel()
    time.advance(10.0)
    assert rung == [3.0]
    alarm.set(20.0)
    time.advance(10.0)
    assert rung == [3.0, 23.0]


def test_putting_off_again_and_again_does_not_grow_the_heap() -> None:
    time = Time()
    alarm = time.clock.alarm(lambda: None)
    for number in range(1000):
        alarm.set(10.0 + number)
    assert len(time.clock._heap) == 1


def test_the_owner_is_told_of_earlier_deadlines_only() -> None:
    woken: list[float] = []
    clock = Clock(lambda: 0.0, woken.append)
    for when in (5.0, 7.0, 3.0, 9.0):
        clock.alarm(lambda: None).set(when)
    assert woken == [5.0, 3.0]


def test_an_action_may_set_its_own_alarm_again() -> None:
    time, rung = Time(), []

    def ring() -> None:
        rung.append(time.now)
        alarm.set(time.now + 1.0)

    alarm = time.clock.alarm(ring)
    alarm.set(1.0)
    for _ in range(3):
        time.advance(1.0)
    assert rung == [1.0, 2.0, 3.0]
