"""Which queues a pattern takes part in."""

from __future__ import annotations

from itertools import count

import pytest
from tests.broker.routing.test_joined_queues import at_once
from tests.support.house import Taker, Time, figures, make_router

from stompy.errors import ProtocolError
from stompy_broker.routing import queue_patterns
from stompy_broker.routing.interface import Queue
from stompy_broker.routing.joined_queues import JoinedQueues
from stompy_broker.routing.queue_patterns import QueuePattern, QueuePatterns
from stompy_broker.routing.router import Router


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("a.*", ["a.b", "a."], ["a", "a.b.c", "b.a"]),
        ("a.>", ["a", "a.b", "a.b.c"], ["b", "ab"]),
        ("a.#", ["a", "a.b.c"], ["b"]),
        (">", ["a", "a.b", "DLQ", "durables.x"], ["DLQ.a", "durable.x", "$SYS.command"]),
        ("*.a", ["x.a"], ["DLQ.a", "durable.a", "$x.a"]),
        ("DLQ.>", ["DLQ.a", "DLQ.a.b"], ["a"]),
        ("durable.*", ["durable.a"], ["DLQ.a"]),
        ("a/*", ["a/*"], ["a/b"]),
        ("Consumer.*.x.>", ["Consumer.A.x.y", "Consumer.A.x.>"], ["Consumer.A.y"]),
    ],
)
def test_what_it_takes_part_in(pattern: str, matching: list[str], others: list[str]) -> None:
    assert QueuePattern(pattern).matching([*matching, *others]) == matching


@pytest.fixture
def router() -> Router:
    return make_router(Time())


def watching(router: Router, pattern: str, *, admits: bool = True) -> tuple[Taker, JoinedQueues]:
    """A consumer of all queues of a pattern that are made from now on."""
    numbers = count(1)
    several = JoinedQueues(pattern, (), (), router.work_budget, lambda: next(numbers), at_once)
    taker = Taker(100)
    several.attach(taker)
    several.resume(taker)
    table = router.registry.table
    table.patterns = table.patterns or QueuePatterns()

    def judge(queue: Queue) -> bool:
        return admits

    table.patterns.add(QueuePattern(pattern), several, judge)
    return taker, several


def test_new_queues_are_joined_by_those_who_may(router: Router) -> None:
    _, several = watching(router, "a.*")
    _, refused = watching(router, "a.>", admits=False)
    queue = router.queue("a.b")
    router.queue("b.a")
    assert several.queues == [queue]
    assert refused.queues == []
    assert figures(queue).consumers == 1


def test_a_queue_that_has_ended_makes_room_for_the_next(router: Router) -> None:
    taker, several = watching(router, "a.*")
    queue = router.queue("a.b")
    router.registry.delete_queue(queue, "test")
    assert several.queues == []
    again = router.queue("a.b")
    assert several.queues == [again]
    assert again is not queue
    assert not taker.failures


def test_a_queue_too_many_is_said_to_the_subscriber(
    router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_patterns, "MOST_JOINED", 2)
    taker, several = watching(router, "a.*")
    for number in range(3):
        router.queue(f"a.{number}")
    assert len(several.queues) == 2
    assert isinstance(taker.failures[0], ProtocolError)


def test_nobody_asks_once_the_last_has_gone(router: Router) -> None:
    _, several = watching(router, "a.*")
    patterns = router.registry.table.patterns
    assert patterns is not None
    assert patterns.wants("a.b")
    assert not patterns.wants("b")
    patterns.remove(several)
    assert len(patterns) == 0
    router.queue("a.b")
    assert several.queues == []
