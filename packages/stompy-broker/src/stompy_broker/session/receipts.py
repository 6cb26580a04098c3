"""Receipts leave in the order of their frames, each when its work is done (promise 1)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial

from stompy.errors import ProtocolError
from stompy.protocol.header_cache import Head
from stompy_broker.routing.answers import Done

Action = Callable[[], None]
Fail = Callable[[ProtocolError, Head | None], None]
"""Ends the client, because of what became of a frame."""

Told = Mapping[str, str]
"""What a RECEIPT tells beside its id. It may be filled until the RECEIPT is written."""


class _Entry:
    __slots__ = ("_head", "_receipts", "action", "finished")

    def __init__(self, receipts: Receipts, action: Action, head: Head | None) -> None:
        self._receipts = receipts
        self._head = head
        self.action = action
        self.finished = False

    def done(self, error: ProtocolError | None = None, /) -> None:
        if error is not None:
            self._receipts.fail(error, self._head)
            return
        self.finished = True
        owed = self._receipts.owed
        while owed and owed[0].finished:
            owed.popleft().action()


class Receipts:
    """Receipts and other actions that were promised, oldest first.

    Args:
        write: writes the RECEIPT of that id, whoever's turn it is.
        fail: ends the client; the frame that something was promised for was refused.
        write_telling: writes the RECEIPT of that id, with further headers, likewise.

    Attributes:
        owed: what was promised.
        write: as above.
        tell: the same as ``write_telling``.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        fail: Fail,
        write_telling: Callable[[str, Told], None],
    ) -> None:
        self.owed: deque[_Entry] = deque()
        self.write = write
        self.fail = fail
        self.tell = write_telling

    def when_done(self, receipt: str, head: Head | None = None) -> Done:
        """Promise a receipt. Call what comes back when the frame's work is done, or refused."""
        return self.after(partial(self.write, receipt), head)

    def when_told(self, receipt: str, told: Told, head: Head | None = None) -> Done:
        """Promise a receipt that has further headers, as `when_done` does."""
        return self.after(partial(self.tell, receipt, told), head)

    def answer(self, receipt: str | None, told: Told | None = None) -> None:
        """Give the receipt of a frame whose work is done, in its turn; None = nobody wants one."""
        if receipt is None:
            return
        if told is None:
            self.now(partial(self.write, receipt))
        else:
            self.now(partial(self.tell, receipt, told))

    def after(self, action: Action, head: Head | None = None) -> Done:
        """Promise an action for a frame. Call what comes back when its work is done, or refused.

        The action runs then, or as soon as everything promised earlier has run.
        """
        entry = _Entry(self, action, head)
        self.owed.append(entry)
        return entry.done

    def if_refused(self, head: Head) -> Done:
        """Promise nothing for a frame. Call what comes back if it is refused."""
        return partial(self._tell_refusal, head)

    def _tell_refusal(self, head: Head, error: ProtocolError | None = None, /) -> None:
        if error is not None:
            self.fail(error, head)

    def now(self, action: Action) -> None:
        """Run an action whose work is done, in its turn."""
        if self.owed:
            self.after(action)()
        else:
            action()

    def forget(self) -> None:
        """Drop what was promised: the connection is gone."""
        self.owed.clear()


def nothing_owed() -> None:
    """Do nothing, for a frame without receipt."""
