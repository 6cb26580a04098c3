"""The first ones of a heap, which stays as it is."""

from __future__ import annotations

import heapq

from hypothesis import given
from hypothesis import strategies as st
from tests.support.house import make_message

from stompy_broker.routing.named_schedules import Waiting
from stompy_broker.routing.schedule_walk import next_first


@given(st.lists(st.integers(0, 20)), st.integers(0, 30))
def test_the_first_ones_in_order(times: list[int], most: int) -> None:
    heap: list[Waiting] = []
    for number, due in enumerate(times):
        heapq.heappush(heap, (float(due), number, make_message(number)))
    before = list(heap)
    found = [entry[:2] for entry in next_first(heap, most)]
    assert found == sorted((float(due), number) for number, due in enumerate(times))[:most]
    assert heap == before
