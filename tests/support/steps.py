"""Steps of the broker's admin service, taken without an event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from stompy_broker.admin.tasks import Steps

T = TypeVar("T")


def finished(steps: Steps[T], turn: Callable[[], object] = lambda: None) -> T:
    """Take all steps, and give their result.

    Args:
        steps: what is to be done.
        turn: called between two steps, and again and again while something is waited for.
    """
    while True:
        try:
            wait = next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        happened: list[bool] = []
        if wait is not None:
            wait(lambda happened=happened: happened.append(True))  # type: ignore[misc]
        turn()
        for _ in range(1000):
            if wait is None or happened:
                break
            turn()
        assert wait is None or happened, "what was waited for did not happen"
