"""What happens again and again is said once a minute."""

from stompy_broker.seldom import Seldom


def test_says_how_often_it_was_silent() -> None:
    now = 0.0
    seldom = Seldom(lambda: now, 60.0)
    assert seldom.count("a") == 0
    assert [seldom.count("a") for _ in range(5)] == [None] * 5
    assert seldom.count("b") == 0
    now = 60.0
    assert seldom.count("a") == 5
    assert seldom.count("a") is None
