"""Who waits for tokens has his turn, and the rate holds whoever waits."""

from __future__ import annotations

from functools import partial

import pytest

from stompy_broker.rate_limit import Rate
from stompy_broker.session.turn_line import TurnLine
from stompy_broker.timers import Clock


class Time:
    """A time that is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.clock = Clock(lambda: self.now, lambda _: None)

    def pass_to(self, when: float) -> None:
        """Let the time pass, in steps of a hundredth of a second."""
        while self.now < when:
            self.now = round(self.now + 0.01, 6)
            self.clock.run()


@pytest.fixture
def time() -> Time:
    return Time()


def line_at(time: Time, rate: Rate | None, octets: Rate | None = None) -> TurnLine:
    line = TurnLine(time.clock)
    line.renew((("send_rate", rate), ("send_bytes_rate", octets)))
    return line


def test_without_a_rate_everybody_may_go(time: Time) -> None:
    line = line_at(time, None)
    for _ in range(1000):
        assert line.may_go()
        line.take(100)
    assert not line.is_limited


def test_who_waits_goes_in_turn_and_who_comes_later_is_behind(time: Time) -> None:
    line = line_at(time, Rate(10))
    for _ in range(10):
        assert line.may_go()
        line.take(1)
    served: list[str] = []

    def go(name: str) -> None:
        assert line.may_go()
        line.take(1)
        served.append(name)
        assert not line.may_go()
        line.wait(name, partial(go, name))

    for name in "abc":
        line.wait(name, partial(go, name))
    time.pass_to(0.95)
    assert "".join(served) == "abcabcabc"
    assert len(line) == 3
    # Nobody overtakes them, even if there is a token.
    time.now = 5.0
    assert not line.may_go()


def test_a_turn_that_nobody_takes_is_for_the_next(time: Time) -> None:
    line = line_at(time, Rate(1))
    line.take(1)
    served: list[str] = []
    line.wait("gone", lambda: None)
    line.wait("left", lambda: served.append("left"))
    line.wait("a", lambda: served.append("a"))
    line.forget("left")
    time.pass_to(1.1)
    assert served == ["a"]
    assert not len(line)


def test_both_rates_count(time: Time) -> None:
    line = line_at(time, Rate(100), Rate(1000))
    assert line.may_go()
    line.take(3000)
    key, seconds = line.delay()
    assert key == "send_bytes_rate"
    assert seconds == pytest.approx(2.0, abs=0.01)
    assert not line.may_go()
    time.now = 2.1
    assert line.may_go()


def test_another_rate_lets_those_go_who_wait(time: Time) -> None:
    line = line_at(time, Rate(1, 3600))
    line.take(1)
    served: list[str] = []
    line.wait("a", lambda: served.append("a"))
    time.pass_to(1.0)
    assert not served
    line.renew((("send_rate", None),))
    time.pass_to(1.1)
    assert served == ["a"]
    assert line.used() == {}


def test_who_has_left_is_released(time: Time) -> None:
    line = line_at(time, Rate(1, 3600))
    line.take(1)
    served: list[str] = []
    line.wait("a", lambda: served.append("a"))
    assert "a" in line
    line.release("a")
    line.release("a")
    assert served == ["a"]
