"""Long work in small steps, so that messages go on flowing between them.

Work is a generator. It yields None to let the event loop take its turn, or something that is to
be waited for: a function that takes what to call when it has happened.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Generic, TypeVar

Wait = Callable[[Callable[[], None]], None]
"""Calls what it is given once something has happened."""

T = TypeVar("T")

Steps = Generator[Wait | None, None, T]


class Work(Generic[T]):
    """Steps on their way.

    Args:
        steps: what is to be done.
        soon: calls a function at the next turn of the event loop.
        finished: given the result.
        failed: given what the steps raised instead.
        cpu: gives the processor time of this thread, in seconds.

    Attributes:
        ended: whether it is over.
    """

    def __init__(
        self,
        steps: Steps[T],
        soon: Callable[[Callable[[], None]], object],
        finished: Callable[[T], None],
        failed: Callable[[Exception], None],
        cpu: Callable[[], float],
    ) -> None:
        self._steps = steps
        self._soon = soon
        self._finished = finished
        self._failed = failed
        self._cpu = cpu
        self._spent = 0.0
        self._begun: float | None = None  # the step that is being taken
        self.ended = False

    @property
    def spent(self) -> float:
        """Processor time that it took so far, the present step included."""
        return self._spent + (0.0 if self._begun is None else self._cpu() - self._begun)

    def step(self) -> None:
        """Take one step, and see to it that the next one follows."""
        if self.ended:
            return
        self._begun = self._cpu()
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
            self._soon(self.step)
        else:
            wait(self.step)

    def cancel(self) -> None:
        """Take no more steps."""
        self.ended = True
        self._steps.close()
