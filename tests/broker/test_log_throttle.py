"""What happens again and again is said once a minute."""

from stompy_broker.log_throttle import LogThrottle


def test_says_how_often_it_was_silent() -> None:
    now = 0.0
    throttle = LogThrottle(lambda: now, 60.0)
    assert throttle.count("a") == 0
    assert [throttle.count("a") for _ in range(5)] == [None] * 5
    assert throttle.count("b") == 0
    now = 60.0
    assert throttle.count("a") == 5
    assert throttle.count("a") is None
