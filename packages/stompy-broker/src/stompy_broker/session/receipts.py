"""Receipts leave in the order of their frames, each when its work is done (design, promise 1)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

Action = Callable[[], None]


class _Entry:
    __slots__ = ("action", "done")

    def __init__(self, action: Action) -> None:
        self.action = action
        self.done = False


class Receipts:
    """Actions that were promised, oldest first."""

    def __init__(self) -> None:
        self._owed: deque[_Entry] = deque()

    def after(self, action: Action) -> Action:
        """Promise an action. Call what comes back when its work is done.

        The action runs then, or as soon as everything promised earlier has run.
        """
        entry = _Entry(action)
        self._owed.append(entry)

        def done() -> None:
            entry.done = True
            self._release()

        return done

    def now(self, action: Action) -> None:
        """Run an action whose work is done, in its turn."""
        if self._owed:
            self.after(action)()
        else:
            action()

    def forget(self) -> None:
        """The connection is gone; nobody waits any more."""
        self._owed.clear()

    def _release(self) -> None:
        owed = self._owed
        while owed and owed[0].done:
            owed.popleft().action()


def when_all(parts: int, done: Action) -> Action:
    """Something to call once for each of so many parts; the last call calls ``done``."""
    left = parts

    def part_done() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            done()

    return part_done
