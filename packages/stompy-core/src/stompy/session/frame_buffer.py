"""What arrived and was not fetched yet: the bounds, and the receipts among it.

Both clients keep their frames in one. The invariants:

* There are two chambers. What is read goes to the one, once for each piece; what is fetched
  comes from the other, `FrameBuffer.current`, and when that is empty everything that has arrived
  moves over. So sizes are counted for each piece, never for each frame.
* Each chamber takes half of the bound. When that of the arrivals has its half the backlog is full,
  which holds up the reader; the next move makes it not full again. What does not fit any more is
  what the last piece read brought beyond the mark.
* Who waits for an answer that may stand behind frames has more read than that. It goes to disk (see
  `stompy.transport.spill`), and comes back when there is room. Nothing has more read than that
  takes (`FrameBuffer.overfull`).
* Receipts are noted when they arrive, so that nobody has to fetch frames to learn of them. They
  also stand among the frames, for who reads them there, but do not fill the backlog: those that
  were claimed are thrown out, and of the others a bounded number is kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from stompy.protocol.frame import STOMPFrame

MAX_FRAMES = 10_000
MAX_BYTES = 16 * 1024 * 1024
MAX_RECEIPTS = 50_000
"""How many receipts nobody asked about are remembered."""

_SWEEP_AT = 1000


class Overflow(Protocol):
    """Takes what has no room in memory, first in, first out."""

    @property
    def has_room(self) -> bool:
        """Whether more can be put."""

    def __len__(self) -> int:
        """How many frames are here."""

    def put(self, frames: Sequence[STOMPFrame]) -> None:
        """Take what one read brought."""

    def take(self) -> list[STOMPFrame]:
        """Give the oldest of what was put; there must be something."""

    def drain(self) -> Iterator[list[STOMPFrame]]:
        """Take all that is there now; more may be put meanwhile."""

    def clear(self) -> None:
        """Throw away every frame that waits."""


class FrameBuffer:
    """Frames on their way from a connection to the application.

    Args:
        spill: takes what has no room in memory.
        max_frames: bound for frames that are not RECEIPTs.
        max_bytes: bound for their size.
        max_receipts: bound for receipts that nobody asked about.

    Attributes:
        full: whether the reader should wait.
        current: the chamber that frames are fetched from, always the same object.
    """

    def __init__(
        self,
        spill: Overflow,
        *,
        max_frames: int = MAX_FRAMES,
        max_bytes: int = MAX_BYTES,
        max_receipts: int = MAX_RECEIPTS,
    ) -> None:
        self.full = False
        self._half_frames = max_frames // 2
        self._half_bytes = max_bytes // 2
        self._max_receipts = max_receipts
        self.current: deque[STOMPFrame] = deque()
        self._arrived: deque[STOMPFrame] = deque()
        self._spill = spill
        self._arrived_bytes = 0
        self._arrived_receipts = 0
        self._sweep_at = _SWEEP_AT
        self._noted: dict[str, STOMPFrame] = {}

    @property
    def overfull(self) -> bool:
        """Whether the reader should wait even if an answer may stand behind what is here."""
        return self.full and not self._spill.has_room

    def __len__(self) -> int:
        """How many frames wait to be fetched, RECEIPTs included."""
        return len(self.current) + len(self._arrived) + len(self._spill)

    def put(self, frames: Sequence[STOMPFrame], size: int) -> None:
        """Take what one read brought, oldest first; ``size`` is its size in bytes."""
        receipts = [frame for frame in frames if frame.Command == "RECEIPT"]
        if receipts:
            # Else a producer's receipts, thrown out later, would fill the backlog by their bytes.
            size = sum(len(frame.Body) for frame in frames)
            self._note(receipts)
        if self.full:
            # Only while somebody waits for an answer does it come to this.
            self._spill.put(frames)
            return
        self._arrived.extend(frames)
        self._arrived_bytes += size
        if receipts:
            self._count_receipts(len(receipts))
        self.full = self._is_over()

    def put_first(self, frames: Sequence[STOMPFrame]) -> None:
        """Take what came before all that is here; nothing may have been fetched yet."""
        self._arrived.extendleft(reversed(frames))
        self._arrived_bytes += sum(len(frame.Body) for frame in frames)
        self._arrived_receipts += sum(frame.Command == "RECEIPT" for frame in frames)
        self.full = bool(self._spill) or self._is_over()

    def move(self) -> bool:
        """Move what has arrived to where it is fetched from; false if there was nothing.

        Afterwards it is not `full` any more, but for what is on disk.
        """
        if not self._arrived:
            return False
        self.current.extend(self._arrived)
        self._arrived.clear()
        self._arrived_bytes = self._arrived_receipts = 0
        self.full = False
        if self._spill:
            self._refill()
        return True

    def _refill(self) -> None:
        """Bring back from disk what has room now."""
        noted = self._noted
        while self._spill and not self._is_over():
            frames = self._spill.take()
            receipts = [frame for frame in frames if frame.Command == "RECEIPT"]
            for frame in receipts:
                receipt_id = frame.Headers.get("receipt-id", "")
                if receipt_id in noted:
                    noted[receipt_id] = frame
            self._arrived.extend(frames)
            self._arrived_bytes += sum(len(frame.Body) for frame in frames)
            self._arrived_receipts += len(receipts)
        self.full = bool(self._spill) or self._is_over()

    def drop(self, unwanted: Callable[[STOMPFrame], bool]) -> None:
        """Throw away some of what was not fetched."""
        for chamber in (self.current, self._arrived):
            kept = [frame for frame in chamber if not unwanted(frame)]
            if len(kept) < len(chamber):
                chamber.clear()
                chamber.extend(kept)
        for frames in self._spill.drain():
            if kept := [frame for frame in frames if not unwanted(frame)]:
                self._spill.put(kept)
        self._arrived_bytes = sum(len(frame.Body) for frame in self._arrived)
        self._arrived_receipts = sum(frame.Command == "RECEIPT" for frame in self._arrived)
        self._refill()

    def discard(self) -> None:
        """Throw away what was not fetched; noted receipts stay."""
        self._arrived.clear()
        self.current.clear()
        self._spill.clear()
        self._arrived_bytes = self._arrived_receipts = 0
        self.full = False

    # -- receipts ----------------------------------------------------------------------------

    def claim_receipt(self, receipt_id: str) -> STOMPFrame | None:
        """Take a receipt, if it has come; what was noted before under an id used again, too."""
        return self._noted.pop(receipt_id, None)

    def _is_over(self) -> bool:
        messages = len(self._arrived) - self._arrived_receipts
        return messages >= self._half_frames or self._arrived_bytes >= self._half_bytes

    def _note(self, receipts: Sequence[STOMPFrame]) -> None:
        noted = self._noted
        for frame in receipts:
            noted[frame.Headers.get("receipt-id", "")] = frame
        while len(noted) > self._max_receipts:
            del noted[next(iter(noted))]

    def _count_receipts(self, count: int) -> None:
        self._arrived_receipts += count
        if self._arrived_receipts >= self._sweep_at:
            self._sweep()

    def _sweep(self) -> None:
        """Throw out receipts that were claimed, or forgotten because there were too many.

        The next sweep comes when twice as many have gathered as are left now, so that sweeping
        costs each frame a constant.
        """
        noted = self._noted
        kept = [
            frame
            for frame in self._arrived
            if frame.Command != "RECEIPT" or noted.get(frame.Headers.get("receipt-id", "")) is frame
        ]
        self._arrived_receipts -= len(self._arrived) - len(kept)
        self._arrived = deque(kept)
        self._sweep_at = max(_SWEEP_AT, 2 * self._arrived_receipts)
