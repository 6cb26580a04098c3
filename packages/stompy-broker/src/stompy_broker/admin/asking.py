"""Questions that are answered by callback, asked from steps of a `Task`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from stompy_broker.admin.tasks import Steps
from stompy_broker.routing.interface import Order, Outcome, Queue, QueueFigures

A = TypeVar("A")


def ask(question: Callable[[Callable[[A], None]], object]) -> Steps[A]:
    """Ask something, and wait for the answer unless it is there at once.

    Args:
        question: calls what it is given with the answer, before it returns or later.
    """
    answers: list[A] = []
    waiting: list[Callable[[], None]] = []

    def take(answer: A) -> None:
        answers.append(answer)
        for go_on in waiting:
            go_on()

    question(take)
    if not answers:
        yield waiting.append
    return answers[0]


def order(queue: Queue, what: Order) -> Steps[int]:
    """Give a queue an order, and wait for its end; gives how many messages it concerned.

    Raises:
        ProtocolError: it was refused, and had no effect.
    """
    outcome: Outcome = yield from ask(partial(queue.control, what))
    if isinstance(outcome, int):
        return outcome
    raise outcome


class _Answers:
    """The last figures of one queue, and who waits for the next ones."""

    __slots__ = ("answered", "asked", "figures", "waiting")

    def __init__(self) -> None:
        self.figures: QueueFigures | None = None
        self.asked = self.answered = 0
        self.waiting: list[tuple[int, Callable[[], None]]] = []

    def take(self, figures: QueueFigures) -> None:
        self.figures = figures
        self.answered += 1
        if self.waiting:
            waiting, self.waiting = self.waiting, []
            for number, go_on in waiting:
                # Answers come in the order of the questions: this may be that of an earlier one.
                if number <= self.answered:
                    go_on()
                else:
                    self.waiting.append((number, go_on))


class KnownFigures:
    """The figures of queues as they were last told.

    A queue is shown what is known of it, and gives the same object again if nothing has happened.
    So it costs little to ask thousands, and whoever made something of the figures can tell by `is`
    that it still holds.
    """

    def __init__(self) -> None:
        self._known: dict[Queue, _Answers] = {}

    def read(self, queues: Sequence[Queue]) -> Steps[list[QueueFigures]]:
        """Ask queues for their figures, all at once, and wait until all of them have answered."""
        known, asked = self._known, []
        for queue in queues:
            answers = known.get(queue)
            if answers is None:
                answers = known[queue] = _Answers()
            answers.asked += 1
            queue.stats(answers.take, answers.figures)
            asked.append(answers)
        late = [answers for answers in asked if answers.answered < answers.asked]
        if late:
            yield partial(_when_all, late)
        return [answers.figures for answers in asked if answers.figures is not None]

    def keep(self, queues: Sequence[Queue]) -> None:
        """Forget all other queues."""
        if len(self._known) > len(queues):
            staying = set(queues)
            self._known = {q: known for q, known in self._known.items() if q in staying}

    def clear(self) -> None:
        """Forget everything."""
        self._known.clear()


def _when_all(late: Sequence[_Answers], done: Callable[[], None]) -> None:
    missing = len(late)

    def answered() -> None:
        nonlocal missing
        missing -= 1
        if not missing:
            done()

    for answers in late:
        answers.waiting.append((answers.asked, answered))
