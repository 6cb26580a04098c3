"""Long work in small steps, so that messages go on flowing between them.

Work is a generator. It yields None to let the event loop take its turn, or something that is to
be waited for: a function that takes what to call when it has happened.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Generic, TypeVar

Wait = Callable[[Callable[[], None]], object]
"""Calls what it is given once something has happened, at once or later."""

T = TypeVar("T")

Steps = Generator[Wait | None, None, T]


@dataclass(frozen=True, slots=True)
class Scheduler:
    """The event loop as tasks need it.

    Attributes:
        soon: calls a function at the next turn of the event loop.
        cpu: gives the processor time of this thread, in seconds.
    """

    soon: Callable[[Callable[[], None]], object]
    cpu: Callable[[], float]


class Task(Generic[T]):
    """Steps on their way: a cooperative task. Nothing happens before the first `step`.

    Args:
        scheduler: for the turns between two steps.
        steps: what is to be done.
        finished: given the result.
        failed: given what the steps raised instead.

    Attributes:
        ended: whether it is over.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        steps: Steps[T],
        finished: Callable[[T], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._scheduler = scheduler
        self._steps = steps
        self._finished = finished
        self._failed = failed
        self._spent = 0.0
        self._begun: float | None = None  # the step that is being taken
        self._asking = False
        self.ended = False

    @property
    def spent(self) -> float:
        """Processor time that it took so far, the present step included."""
        return self._spent + (0.0 if self._begun is None else self._scheduler.cpu() - self._begun)

    def step(self) -> None:
        """Take one step, and see to it that the next one follows."""
        if self.ended:
            return
        self._begun = self._scheduler.cpu()
        try:
            wait = next(self._steps)
        except StopIteration as end:
            self.ended = True
            self._finished(end.value)
            return
        except Exception as error:
            self.ended = True
            self._failed(error)
            return
        finally:
            self._spent, self._begun = self.spent, None
        if wait is None:
            self._scheduler.soon(self.step)
            return
        self._asking = True
        wait(self._go_on)
        self._asking = False

    def _go_on(self) -> None:
        """Take the next step, now that has happened what was waited for."""
        if self._asking:
            # Answered within the call. A step from here would stand on this one, and thousands of
            # them on each other; and messages are to flow between two steps.
            self._scheduler.soon(self.step)
        else:
            self.step()

    def cancel(self) -> None:
        """Take no more steps, and end the one that waits."""
        self.ended = True
        self._steps.close()
