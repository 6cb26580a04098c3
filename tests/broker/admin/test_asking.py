"""Questions that are answered at once, later, and in another order than they were asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from tests.support.house import Time, make_head, make_router

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.admin.asking import KnownFigures, ask, order
from stompy_broker.admin.tasks import Steps
from stompy_broker.routing.interface import Close, Queue, QueueFigures

FULL = ProtocolError(ErrorCode.QUEUE_FULL, "no")


class Asked:
    """Steps that are taken by hand, and what came of them."""

    def __init__(self, steps: Steps[Any]) -> None:
        self.result: Any = None
        self.ended = False
        self._steps = steps
        self.go_on()

    def go_on(self) -> None:
        """Take steps until something is waited for."""
        try:
            while (wait := next(self._steps)) is None:
                pass
        except StopIteration as end:
            self.result, self.ended = end.value, True
        else:
            wait(self.go_on)


class Slow:
    """A queue that answers when the test says so; whom nothing is asked but figures and orders."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._answers: list[Callable[[], None]] = []

    def stats(
        self, done: Callable[[QueueFigures], None], known: QueueFigures | None = None
    ) -> None:
        self._answers.append(lambda: self._queue.stats(done, known))

    def control(self, order: object, done: Callable[[object], None]) -> None:
        self._answers.append(lambda: done(FULL))

    def answer(self) -> None:
        self._answers.pop(0)()


class Queues:
    """A router with queues, some of which are slow."""

    def __init__(self) -> None:
        self.router = make_router(Time())

    def quick(self, name: str) -> Queue:
        return self.router.queue(name)

    def slow(self, name: str) -> Slow:
        return Slow(self.quick(name))

    def fill(self, name: str) -> None:
        self.router.publish_to(self.router.queue(name), make_head(), b"x")


@pytest.fixture
def queues() -> Queues:
    return Queues()


def test_an_answer_that_is_there_is_not_waited_for() -> None:
    asked = Asked(ask(lambda done: done(3)))
    assert (asked.ended, asked.result) == (True, 3)


def test_an_answer_that_comes_later_is(queues: Queues) -> None:
    slow = queues.slow("a")
    asked = Asked(ask(slow.stats))
    assert not asked.ended
    slow.answer()
    assert asked.ended
    assert asked.result.ready == 0


def test_an_order_that_is_refused_raises(queues: Queues) -> None:
    slow = queues.slow("a")
    asked = Asked(order(cast(Queue, slow), Close()))
    with pytest.raises(ProtocolError, match="no"):
        slow.answer()
    assert not asked.ended


def test_figures_come_in_the_order_of_the_queues_whoever_is_late(queues: Queues) -> None:
    names = ["a", "b", "c", "d", "e"]
    for number, name in enumerate(names):
        for _ in range(number):
            queues.fill(name)
    slow = {name: queues.slow(name) for name in ("a", "c", "d")}
    mixed = [cast(Queue, slow.get(name) or queues.quick(name)) for name in names]
    known = KnownFigures()
    asked = Asked(known.read(mixed))
    for name in ("d", "a", "c"):
        assert not asked.ended
        slow[name].answer()
    assert [figures.ready for figures in asked.result] == [0, 1, 2, 3, 4]


def test_nothing_new_is_the_same_object(queues: Queues) -> None:
    known, both = KnownFigures(), [queues.quick("a"), queues.quick("b")]
    first = Asked(known.read(both)).result
    queues.fill("b")
    second = Asked(known.read(both)).result
    assert second[0] is first[0]
    assert second[1] is not first[1]


def test_two_who_ask_one_queue_get_an_answer_each(queues: Queues) -> None:
    slow, known = queues.slow("a"), KnownFigures()
    first = Asked(known.read([cast(Queue, slow)]))
    queues.fill("a")
    second = Asked(known.read([cast(Queue, slow)]))
    slow.answer()
    assert first.ended
    assert not second.ended
    slow.answer()
    assert second.result[0].ready == 1


def test_queues_that_are_gone_are_forgotten(queues: Queues) -> None:
    known, both = KnownFigures(), [queues.quick("a"), queues.quick("b")]
    Asked(known.read(both))
    known.keep(both[:1])
    assert list(known._known) == both[:1]
