"""Schedules with names: one at most under each."""

from __future__ import annotations

import heapq

from hypothesis import given
from hypothesis import strategies as st
from tests.support.house import make_head, make_message

from stompy_broker.routing.named_schedules import NamedSchedules, Waiting, may_have_name


def test_what_waits_under_a_name_is_taken_out() -> None:
    delayed: list[Waiting] = []
    named = NamedSchedules(delayed)
    one, other = make_message(1), make_message(2)
    for message in (one, other):
        heapq.heappush(delayed, (5.0, message.sequence, message))
    named.note("a", one, 5)
    assert named.holds("a", one)
    assert named.find("a") is one
    assert not named.holds("a", other)
    assert named.take("a") is one
    assert named.take("a") is None
    assert named.find("a") is None
    assert [entry[2] for entry in delayed] == [other]


def test_what_left_by_another_way_does_not_wait() -> None:
    delayed: list[Waiting] = []
    named = NamedSchedules(delayed)
    named.note("a", make_message(1), 5)
    assert named.take("a") is None


def test_what_left_is_forgotten_before_long() -> None:
    named = NamedSchedules([])
    for number in range(200):
        named.note(str(number), make_message(number), 5)
    assert sum(named.find(str(number)) is not None for number in range(200)) < 70


@given(st.lists(st.integers(0, 50), min_size=1), st.data())
def test_the_others_stay_in_order(times: list[int], data: st.DataObject) -> None:
    delayed: list[Waiting] = []
    named = NamedSchedules(delayed)
    for number, due in enumerate(times):
        message = make_message(number)
        heapq.heappush(delayed, (float(due), number, message))
        named.note(str(number), message, due + number % 2)
    gone = data.draw(st.integers(0, len(times) - 1))
    assert named.take(str(gone)) is not None
    left = [heapq.heappop(delayed)[:2] for _ in range(len(delayed))]
    assert left == sorted((float(due), n) for n, due in enumerate(times) if n != gone)


def test_a_head_with_a_name_is_seen_at_a_glance() -> None:
    assert may_have_name(make_head(**{"x-schedule-id": "a"}))
    assert not may_have_name(make_head(**{"x-delay": "5"}))
