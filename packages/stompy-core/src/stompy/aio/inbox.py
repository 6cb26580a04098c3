"""What arrived and was not fetched yet, with what it takes to wait for more.

**Hot path** (`Inbox.take`). All of it happens on the event loop. A frame leaves the backlog at
the moment at which its receiver gets it, with no ``await`` between the two, so that cancelling
a receiver never loses a frame.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from stompy.backlog import MAX_BYTES, MAX_FRAMES, MAX_RECEIPTS, Backlog
from stompy.errors import STOMPTimeout
from stompy.frame import STOMPFrame


class Signal:
    """Wakes whoever waits for something to happen; they look for themselves what it was."""

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()

    def wake(self) -> None:
        """It happened."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, deadline: float | None) -> bool:
        """Wait until it happens; false when a time of the event loop came first."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            async with asyncio.timeout_at(deadline):
                await waiter
        except TimeoutError:
            return False
        finally:
            self._waiters.discard(waiter)
        return True


class Inbox:
    """Bounded hand-over of frames.

    Args:
        made_room: called when a full inbox is not full any more.
        max_frames: bound for frames that are not RECEIPTs.
        max_bytes: bound for their size.
        max_receipts: bound for receipts that nobody asked about.
    """

    def __init__(
        self,
        made_room: Callable[[], None],
        *,
        max_frames: int = MAX_FRAMES,
        max_bytes: int = MAX_BYTES,
        max_receipts: int = MAX_RECEIPTS,
    ) -> None:
        self._made_room = made_room
        self._backlog = Backlog(
            max_frames=max_frames, max_bytes=max_bytes, max_receipts=max_receipts
        )
        self._arrival = Signal()
        self._receipt_arrival = Signal()
        self._ended = False

    @property
    def full(self) -> bool:
        """Whether the reader should wait."""
        return self._backlog.full

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
        self._receipt_arrival.wake()

    def end(self) -> None:
        """Nothing more will come; whoever waits learns it."""
        self._ended = True
        self._arrival.wake()
        self._receipt_arrival.wake()

    def discard(self) -> None:
        """Throw away what was not fetched; noted receipts stay."""
        self._backlog.discard()

    def take(self) -> STOMPFrame | None:
        """The next frame, or None when none is there."""
        backlog = self._backlog
        was_full = backlog.full
        frame = backlog.take()
        if was_full and not backlog.full:
            self._made_room()
        return frame

    async def get(self, timeout: float | None = None) -> STOMPFrame | None:
        """The next frame, or None when there is none and none will come.

        Raises:
            STOMPTimeout: nothing came within ``timeout`` seconds.
        """
        deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
        while (frame := self.take()) is None and not self._ended:
            await self.wait(deadline)
        return frame

    async def wait(self, deadline: float | None) -> None:
        """Wait for a sign that something came, until a time of the event loop.

        Raises:
            STOMPTimeout: nothing came in time.
        """
        if not await self._arrival.wait(deadline):
            raise STOMPTimeout("no frame came in time")

    async def claim_receipt(self, receipt_id: str, timeout: float | None) -> STOMPFrame | None:
        """Wait for a receipt, and take it; None when it did not come and nothing more will.

        Raises:
            STOMPTimeout: it did not come within ``timeout`` seconds.
        """
        deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
        was_full = self._backlog.full
        self._backlog.await_receipt()
        if was_full:
            self._made_room()
        try:
            while (frame := self._backlog.claim_receipt(receipt_id)) is None and not self._ended:
                if not await self._receipt_arrival.wait(deadline):
                    raise STOMPTimeout(f"no receipt {receipt_id!r} came in time")
            return frame
        finally:
            self._backlog.await_no_more()

    def forget_receipt(self, receipt_id: str) -> None:
        """An id is used again, so what was noted under it is not what will be waited for."""
        self._backlog.claim_receipt(receipt_id)
