"""What arrived and was not fetched yet: frames on their way from the I/O thread to the callers.

**Hot path** (`Inbox.get`). One thread puts, any number of threads get. The invariants:

* The frames are in the two chambers of a `FrameBuffer`. The I/O thread fills the one, under the
  lock, once for each piece that it read. Receivers empty the other without a lock, because a
  deque's ``popleft`` needs none. Only who finds it empty takes the lock, and moves over everything
  that has arrived.
* So a receiver takes one lock, and is woken at most once, for each batch and not for each frame.
* The bound is raised while somebody waits for a receipt, which may stand behind messages.
* After `end` what is there can still be fetched. After `discard` nothing can.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic

from stompy.errors import STOMPTimeout
from stompy.protocol.frame import STOMPFrame
from stompy.session.frame_buffer import (
    MAX_BYTES,
    MAX_FRAMES,
    MAX_RECEIPTS,
    FrameBuffer,
)
from stompy.session.timeouts import hindrance, until, within
from stompy.transport.spill import Spill


def _nothing() -> None:
    """Do nothing."""


class Inbox:
    """Bounded hand-over of frames.

    Args:
        made_room: called, from a receiving thread, when a full inbox is not full any more.
        about_to_wait: called, from a receiving thread without a lock, when it finds nothing.
        max_frames: bound for frames that are not RECEIPTs.
        max_bytes: bound for their size.
        max_receipts: bound for receipts that nobody asked about.

    Attributes:
        take: gives a frame that is here; raises `IndexError` if there is none that `get` need not
            move over first.
    """

    def __init__(
        self,
        made_room: Callable[[], None],
        about_to_wait: Callable[[], None] = _nothing,
        *,
        max_frames: int = MAX_FRAMES,
        max_bytes: int = MAX_BYTES,
        max_receipts: int = MAX_RECEIPTS,
    ) -> None:
        self._made_room = made_room
        self._about_to_wait = about_to_wait
        self._backlog = FrameBuffer(
            Spill(), max_frames=max_frames, max_bytes=max_bytes, max_receipts=max_receipts
        )
        self._current = self._backlog.current
        self.take = self._current.popleft
        self._waiting_for_receipts = 0
        self._full = False
        self._ended = False
        self._renew_locks()

    def _renew_locks(self) -> None:
        lock = threading.Lock()
        self._lock = lock
        self._something_arrived = threading.Condition(lock)
        self._receipt_arrived = threading.Condition(lock)

    @property
    def full(self) -> bool:
        """Whether the reader should wait."""
        return self._backlog.overfull if self._waiting_for_receipts else self._full

    @property
    def overfull(self) -> bool:
        """Whether it should wait even if an answer may stand behind what is here."""
        return self._backlog.overfull

    @property
    def receipt_is_awaited(self) -> bool:
        """Whether somebody waits for a receipt in here."""
        return self._waiting_for_receipts > 0

    @property
    def _hindrance(self) -> str:
        return hindrance(len(self)) if self.full else ""

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self._ended

    def __len__(self) -> int:
        """How many frames wait to be fetched, RECEIPTs included."""
        return len(self._backlog)

    # -- the I/O thread ----------------------------------------------------------------------

    def put(self, frames: Sequence[STOMPFrame], size: int) -> None:
        """Hand over what one read brought, oldest first; ``size`` is its size in bytes."""
        with self._lock:
            self._backlog.put(frames, size)
            self._full = self._backlog.full and not self._waiting_for_receipts
            self._something_arrived.notify_all()
            if self._waiting_for_receipts:
                self._receipt_arrived.notify_all()

    def end(self) -> None:
        """Have whoever waits learn that nothing more will come."""
        with self._lock:
            self._ended = True
            self._full = False
            self._something_arrived.notify_all()
            self._receipt_arrived.notify_all()

    # -- receiving threads -------------------------------------------------------------------

    def get(self, timeout: float | None = None) -> STOMPFrame | None:
        """Give the next frame, or None when there is none and none will come.

        Raises:
            STOMPTimeout: nothing came within ``timeout`` seconds.
        """
        try:
            return self._current.popleft()
        except IndexError:
            pass  # what is raised below is not to tell of this
        return self._get_waiting(timeout)

    def get_unless(self, unwanted: Callable[[], bool]) -> STOMPFrame | None:
        """Give the next frame, or None when none will come or is wanted; `look_again` says so."""
        if not unwanted():
            try:
                return self._current.popleft()
            except IndexError:
                pass
        self._about_to_wait()
        with self._lock:
            while not unwanted():
                with suppress(IndexError):
                    return self._current.popleft()
                if not self._move():
                    if self._ended:
                        break
                    self._something_arrived.wait()
        return None

    def look_again(self) -> None:
        """Have `get_unless` ask again whether a frame is wanted."""
        with self._lock:
            self._something_arrived.notify_all()

    def _get_waiting(self, timeout: float | None) -> STOMPFrame | None:
        self._about_to_wait()
        deadline = until(monotonic(), timeout)
        with self._lock:
            while True:
                # Another receiver may have moved the frames over meanwhile, or taken the last one.
                with suppress(IndexError):
                    return self._current.popleft()
                if not self._move():
                    if self._ended:
                        return None
                    self._wait(
                        self._something_arrived,
                        deadline,
                        lambda: f"no frame came{within(timeout)}",
                    )

    def _move(self) -> bool:
        """Move what has arrived to where receivers take it; false if there was nothing."""
        was_full = self._backlog.full
        if not self._backlog.move():
            return False
        if was_full and not self._backlog.full:
            self._full = False
            self._made_room()
        return True

    def claim_receipt(self, receipt_id: str, timeout: float | None) -> STOMPFrame | None:
        """Wait for a receipt, and take it; None when it did not come and nothing more will.

        Raises:
            STOMPTimeout: it did not come within ``timeout`` seconds.
        """
        self._about_to_wait()
        deadline = until(monotonic(), timeout)
        with self._lock:
            self._waiting_for_receipts += 1
            if self._full:
                self._full = False
                self._made_room()
            try:
                while (frame := self._backlog.claim_receipt(receipt_id)) is None:
                    if self._ended:
                        return None
                    self._wait(
                        self._receipt_arrived,
                        deadline,
                        lambda: f"no receipt {receipt_id!r} came{within(timeout)}{self._hindrance}",
                    )
                return frame
            finally:
                self._waiting_for_receipts -= 1

    def forget_receipt(self, receipt_id: str) -> None:
        """Forget what was noted under an id that is used again."""
        with self._lock:
            self._backlog.claim_receipt(receipt_id)

    def take_all(self) -> list[STOMPFrame]:
        """Take everything that was not fetched, for another inbox."""
        frames: list[STOMPFrame] = []
        with self._lock:
            while self._move() or self._current:
                # A receiver may be at it, too; each frame goes to one of us.
                with suppress(IndexError):
                    while True:
                        frames.append(self._current.popleft())
        return frames

    def put_first(self, frames: Sequence[STOMPFrame]) -> None:
        """Hand over what came before all that is here; nobody may have received from it yet."""
        with self._lock:
            self._backlog.put_first(frames)
            self._full = self._backlog.full and not self._waiting_for_receipts

    def put_last(self, frames: Sequence[STOMPFrame]) -> None:
        """Hand over what another connection brought, also when this one has ended."""
        with self._lock:
            self._backlog.put(frames, sum(len(frame.Body) for frame in frames))

    def discard(self) -> None:
        """Throw away what was not fetched; noted receipts stay."""
        with self._lock:
            self._backlog.discard()
            self._full = False

    def after_fork(self) -> None:
        """Let go of everything in a child process: frames and locks are the parent's."""
        self._renew_locks()
        self._made_room = self._about_to_wait = _nothing
        self.discard()
        self.end()

    @staticmethod
    def _wait(
        condition: threading.Condition, deadline: float | None, reason: Callable[[], str]
    ) -> None:
        """Wait for a sign, which may come for nothing."""
        remaining = None if deadline is None else deadline - monotonic()
        if remaining is not None and remaining <= 0:
            raise STOMPTimeout(reason())
        condition.wait(remaining)
