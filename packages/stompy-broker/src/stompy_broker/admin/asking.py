"""Questions that are answered by callback, asked from steps of a `Task`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from stompy.errors import ProtocolError
from stompy_broker.admin.tasks import Steps
from stompy_broker.routing.answers import Done
from stompy_broker.routing.interface import (
    Browse,
    Browsed,
    Order,
    Outcome,
    Queue,
    QueueFigures,
    place_of,
)
from stompy_broker.routing.selection import Selection

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


def look_through(
    queue: Queue, look: Browse, limit: int | None, take: Callable[[Browsed], int]
) -> Steps[Selection]:
    """Look at what is in a queue now, in its order, a page at a time.

    Args:
        queue: it.
        look: which messages, with `Browse.states`; and how large a page is.
        limit: how many messages at most; None = all.
        take: given each page; says how many messages of it count.

    Returns:
        Which messages were meant: none that came since.
    """
    found, largest = 0, look.most
    while limit is None or found < limit:
        if limit is not None:
            left = limit - found
            look = replace(look, most=left if largest is None else min(largest, left))
        page: Browsed = yield from ask(partial(queue.browse, look))
        if look.selection.up_to is None:
            look = replace(look, selection=replace(look.selection, up_to=page.last))
        found += take(page)
        if not page.more or not page.messages:
            break
        look = replace(look, beyond=place_of(page.messages[-1]))
        yield None
    return look.selection


def order(queue: Queue, what: Order) -> Steps[int]:
    """Give a queue an order, and wait for its end; gives how many messages it concerned.

    Raises:
        ProtocolError: it was refused, and had no effect.
    """
    outcome: Outcome = yield from ask(partial(queue.control, what))
    if isinstance(outcome, int):
        return outcome
    raise outcome


def agreed(question: Callable[[Done], object]) -> Steps[None]:
    """Ask for something that may be refused, and wait for the answer.

    Raises:
        ProtocolError: it was refused, and had no effect.
    """
    error: ProtocolError | None = yield from ask(partial(_ask_for, question))
    if error is not None:
        raise error


def _ask_for(
    question: Callable[[Done], object], take: Callable[[ProtocolError | None], None]
) -> None:
    def done(error: ProtocolError | None = None, /) -> None:
        take(error)

    question(done)


class _Slot:
    """Takes the answer of one queue, which may come later."""

    __slots__ = ("figures", "go_on")

    def __init__(self) -> None:
        self.figures: QueueFigures | None = None
        self.go_on: Callable[[], None] | None = None

    def take(self, figures: QueueFigures) -> None:
        self.figures = figures
        if self.go_on is not None:
            self.go_on()


class KnownFigures:
    """The figures of queues as they were last told.

    A queue is shown what is known of it, and gives the same object again if nothing has happened.
    So it costs little to ask thousands, and whoever made something of the figures can tell by `is`
    that it still holds.
    """

    def __init__(self) -> None:
        self._known: dict[Queue, QueueFigures] = {}

    def read(self, queues: Sequence[Queue]) -> Steps[list[QueueFigures]]:
        """Ask queues for their figures, all at once, and wait until all of them have answered."""
        known = self._known
        told: list[QueueFigures] = []
        late: list[tuple[int, _Slot]] = []
        slot = _Slot()
        for number, queue in enumerate(queues):
            before = known.get(queue)
            queue.stats(slot.take, before)
            figures = slot.figures
            if figures is None:
                # The slot is this queue's own from now on; the others get another one.
                late.append((number, slot))
                slot = _Slot()
                continue
            slot.figures = None
            told.append(figures)
            if figures is not before:
                known[queue] = figures
        if late:
            yield partial(_when_all, [slot for _, slot in late])
        for number, slot in late:
            assert slot.figures is not None
            told.insert(number, slot.figures)
            known[queues[number]] = slot.figures
        return told

    def keep(self, queues: Sequence[Queue]) -> None:
        """Forget the figures of all other queues."""
        if len(self._known) > len(queues):
            staying = set(queues)
            self._known = {q: known for q, known in self._known.items() if q in staying}

    def clear(self) -> None:
        """Forget the figures of all queues."""
        self._known.clear()


def _when_all(late: Sequence[_Slot], done: Callable[[], None]) -> None:
    missing = len(late)

    def answered() -> None:
        nonlocal missing
        missing -= 1
        if not missing:
            done()

    for slot in late:
        slot.go_on = answered
