"""Receipts leave in the order of their frames, each when its work is done (promise 1)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

Action = Callable[[], None]


class _Entry:
    __slots__ = ("_owed", "action", "finished")

    def __init__(self, owed: deque[_Entry], action: Action) -> None:
        self._owed = owed
        self.action = action
        self.finished = False

    def done(self) -> None:
        self.finished = True
        owed = self._owed
        while owed and owed[0].finished:
            owed.popleft().action()


class Receipts:
    """Receipts and other actions that were promised, oldest first.

    Args:
        write: writes the RECEIPT of that id, whoever's turn it is.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._owed: deque[_Entry] = deque()
        self.write = write

    def when_done(self, receipt: str) -> Action:
        """Promise a receipt. Call what comes back when the frame's work is done."""
        return self.after(partial(self.write, receipt))

    def answer(self, receipt: str | None) -> None:
        """Give the receipt of a frame whose work is done, in its turn; None = nobody wants one."""
        if receipt is not None:
            self.now(partial(self.write, receipt))

    def after(self, action: Action) -> Action:
        """Promise an action. Call what comes back when its work is done.

        The action runs then, or as soon as everything promised earlier has run.
        """
        entry = _Entry(self._owed, action)
        self._owed.append(entry)
        return entry.done

    def now(self, action: Action) -> None:
        """Run an action whose work is done, in its turn."""
        if self._owed:
            self.after(action)()
        else:
            action()

    def forget(self) -> None:
        """Give no receipt any more: the connection is gone."""
        self._owed.clear()


def nothing_owed() -> None:
    """Do nothing when the work of a frame without receipt is done."""


def when_all(parts: int, done: Action) -> Action:
    """Make something to call once for each of so many parts; the last call calls ``done``."""
    left = parts

    def part_done() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            done()

    return part_done
