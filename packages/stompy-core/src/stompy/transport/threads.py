"""Threads whose end can be waited for by several, and again where that was interrupted."""

from __future__ import annotations

import threading
from collections.abc import Callable


class WaitableThread(threading.Thread):
    """A daemon that does one piece of work.

    Before Python 3.13 a `join` that is interrupted takes the thread for ended: use `wait`.

    Args:
        work: what it does.
        name: what the thread is called.
    """

    def __init__(self, work: Callable[[], None], name: str) -> None:
        super().__init__(target=work, name=name, daemon=True)
        self._over = threading.Event()

    def run(self) -> None:
        """Do the work, and let go who waits for its end."""
        try:
            super().run()
        finally:
            self._over.set()

    @property
    def is_over(self) -> bool:
        """Whether the work has ended."""
        return self._over.is_set()

    def wait(self, timeout: float | None = None) -> None:
        """Wait for the end of a thread; it may be started later, by another one.

        Args:
            timeout: seconds; None waits to the end.
        """
        if self._over.wait(timeout):
            self.join()
