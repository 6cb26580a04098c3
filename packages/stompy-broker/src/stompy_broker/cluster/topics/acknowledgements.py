"""Who has acknowledged what was told by number, and who waits for that. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Acknowledgements(Generic[T]):
    """The numbers that several listeners have acknowledged. They only grow."""

    def __init__(self) -> None:
        self._reached: dict[T, int] = {}
        self._waiting: list[tuple[int, Callable[[], None]]] = []

    def add(self, listener: T) -> None:
        """Wait for one more listener from now on, who has acknowledged nothing."""
        self._reached[listener] = -1

    def remove(self, listener: T) -> None:
        """Wait for a listener no longer; harmless if it was not waited for."""
        if self._reached.pop(listener, None) is not None:
            self._review()

    def note(self, listener: T, number: int) -> None:
        """Note that a listener knows everything up to a number."""
        if number > self._reached.get(listener, number):
            self._reached[listener] = number
            self._review()

    def knows(self, listener: T, number: int) -> bool:
        """Whether a listener is one of those, and knows everything up to a number."""
        return self._reached.get(listener, -1) >= number

    def when(self, number: int, done: Callable[[], None]) -> None:
        """Call ``done`` once all listeners know everything up to a number."""
        if number <= self.lowest:
            done()
        else:
            self._waiting.append((number, done))

    @property
    def lowest(self) -> float:
        """Up to which number all listeners know everything."""
        return min(self._reached.values(), default=float("inf"))

    def _review(self) -> None:
        lowest, waiting = self.lowest, self._waiting
        ready = [done for number, done in waiting if number <= lowest]
        if ready:
            self._waiting = [one for one in waiting if one[0] > lowest]
            for done in ready:
                done()

    def __iter__(self) -> Iterator[T]:
        return iter(list(self._reached))
