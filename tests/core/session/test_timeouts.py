"""What a time-out says."""

import pytest

from stompy.session.timeouts import nothing_came, until, within


def test_how_long():
    assert within(None) == ""
    assert within(0.5) == " within 0.5 s"


def test_where_nothing_came_from():
    assert nothing_came(["/queue/a"], 2.0) == "nothing came from /queue/a within 2 s"
    many = [f"/queue/{number}" for number in range(5)]
    assert nothing_came(many, 1) == (
        "nothing came from /queue/0, /queue/1, /queue/2 and 2 more within 1 s"
    )
    assert "there is no subscription" in nothing_came([], 1)


def test_what_stands_in_the_way():
    some = nothing_came(["/queue/a"], 1, unsettled=2, prefetch=3)
    assert some.endswith("; 2 messages of it are not settled")
    assert "which is its prefetch" in nothing_came(["/queue/a"], 1, unsettled=3, prefetch=3)
    assert "prefetch" not in nothing_came(["/queue/a"], 1, unsettled=300, prefetch=0)


def test_when_it_is_over():
    assert until(3.0, 2) == 5.0
    assert until(3.0, None) is None
    with pytest.raises(TypeError, match="a time-out is a number of seconds, not '5'"):
        until(3.0, "5")
