"""A thread for handlers."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Worker(threading.Thread):
    """Runs handlers. Its end can be waited for again where that was interrupted.

    Before Python 3.13 a `join` that is interrupted takes the thread for ended.
    """

    def __init__(self, work: Callable[[], None], name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._work = work
        self._over = threading.Event()

    def run(self) -> None:
        """Work until there is nothing more to do."""
        try:
            self._work()
        finally:
            self._over.set()

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._over.is_set()

    def wait(self, timeout: float | None = None) -> None:
        """Wait for its end."""
        if self._over.wait(timeout):
            self.join()
