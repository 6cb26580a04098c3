"""What arrived and was not fetched yet, with what it takes to wait for more.

**Hot path** (`Inbox.take`). All of it happens on the event loop. A frame leaves the backlog at
the moment at which its receiver gets it, with no ``await`` between the two, so that cancelling
a receiver never loses a frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stompy.aio.waiting import Signal, deadline_after
from stompy.errors import STOMPTimeout
from stompy.protocol.frame import STOMPFrame
from stompy.session.frame_buffer import FrameBuffer
from stompy.session.timeouts import hindrance, within
from stompy.transport.spill import Spill


def _nothing_came() -> str:
    return "no frame came in time"


class Inbox:
    """Bounded hand-over of frames.

    Args:
        made_room: called when a full inbox is not full any more.
        backlog: keeps the frames.
    """

    def __init__(self, made_room: Callable[[], None], backlog: FrameBuffer | None = None) -> None:
        self._made_room = made_room
        self._backlog = backlog or FrameBuffer(Spill())
        self._current = self._backlog.current
        self._arrival = Signal()
        self._ended = False

    @property
    def full(self) -> bool:
        """Whether the reader should wait."""
        return self._backlog.full

    @property
    def overfull(self) -> bool:
        """Whether it should wait even if an answer may stand behind what is here."""
        return self._backlog.overfull

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self._ended

    def __len__(self) -> int:
        """How many frames wait to be fetched, RECEIPTs included."""
        return len(self._backlog)

    def put(self, frames: Sequence[STOMPFrame], size: int) -> None:
        """Hand over what one read brought, oldest first; ``size`` is its size in bytes."""
        self._backlog.put(frames, size)
        self._arrival.wake()

    def end(self) -> None:
        """Have whoever waits learn that nothing more will come."""
        self._ended = True
        self._arrival.wake()

    def drop(self, unwanted: Callable[[STOMPFrame], bool]) -> None:
        """Throw away some of what was not fetched."""
        self._backlog.drop(unwanted)

    def take(self) -> STOMPFrame | None:
        """Give the next frame, or None when none is there."""
        try:
            return self._current.popleft()
        except IndexError:
            pass  # what is raised below is not to tell of this
        return self._take_moved()

    def _take_moved(self) -> STOMPFrame | None:
        was_full = self._backlog.full
        if not self._backlog.move():
            return None
        if was_full and not self._backlog.full:
            self._made_room()
        return self._current.popleft()

    async def get(
        self, timeout: float | None = None, says: Callable[[], str] = _nothing_came
    ) -> STOMPFrame | None:
        """Give the next frame, or None when there is none and none will come.

        Raises:
            STOMPTimeout: nothing came within ``timeout`` seconds.
        """
        deadline = deadline_after(timeout)
        while (frame := self.take()) is None and not self._ended:
            await self.wait(deadline, says)
        return frame

    def look_again(self) -> None:
        """Have whoever waits look again: something has changed."""
        self._arrival.wake()

    async def wait(self, deadline: float | None, says: Callable[[], str] = _nothing_came) -> None:
        """Wait for a sign that something came, until a time of the event loop.

        Raises:
            STOMPTimeout: nothing came in time; the text is what ``says`` gives.
        """
        if not await self._arrival.wait(deadline):
            raise STOMPTimeout(says())

    async def claim_receipt(
        self, receipt_id: str, timeout: float | None, hopeless: Callable[[], bool]
    ) -> STOMPFrame | None:
        """Wait for a receipt, and take it.

        Args:
            receipt_id: which one.
            timeout: seconds; None for no end.
            hopeless: whether it cannot come any more.

        Returns:
            The RECEIPT; None when it did not come and cannot any more.

        Raises:
            STOMPTimeout: it did not come in time.
        """
        deadline = deadline_after(timeout)
        while (frame := self._backlog.claim_receipt(receipt_id)) is None and not hopeless():
            if not await self._arrival.wait(deadline):
                hindered = hindrance(len(self)) if self.overfull else ""
                raise STOMPTimeout(f"no receipt {receipt_id!r} came{within(timeout)}{hindered}")
        return frame

    def forget_receipt(self, receipt_id: str) -> None:
        """Forget what was noted under an id that is used again."""
        self._backlog.claim_receipt(receipt_id)

    def discard(self) -> None:
        """Throw away what was not fetched; noted receipts stay."""
        self._backlog.discard()
