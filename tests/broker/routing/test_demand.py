"""Whether anybody wants what comes to a queue of a virtual topic."""

from __future__ import annotations

import pytest
from tests.support.house import Taker, make_message

from stompy_broker.routing.demand import is_wanted
from stompy_broker.routing.terms import Terms

COPY = {"original-destination": "/topic/VirtualTopic.x"}


def takers(*selectors: str) -> list[Taker]:
    found = []
    for text in selectors:
        taker = Taker(1)
        taker.terms = Terms(selector=text)
        found.append(taker)
    return found


@pytest.mark.parametrize(
    ("selectors", "headers", "wanted"),
    [
        ((), COPY, True),
        (("n = 1",), COPY, False),
        (("n = 1", ""), COPY, True),
        (("n = 1",), COPY | {"n": "1"}, True),
        (("n = 2", "n = 1"), COPY | {"n": "1"}, True),
        (("n = 1",), {}, True),
        (("n = 1",), {"original-destination": "/queue/q"}, True),
    ],
)
def test_a_copy_is_wanted_if_a_selector_takes_it(
    selectors: tuple[str, ...], headers: dict[str, str], wanted: bool
) -> None:
    assert is_wanted(make_message(1, b"", **headers), takers(*selectors)) is wanted
