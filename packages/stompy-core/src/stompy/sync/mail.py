"""Who gets what a connection brings: a subscription's handle, a confirmation, or `recv`.

**Hot path** (`Mail.put`). The I/O thread sorts what it has read, once for each piece, and only
while there is somebody to sort for. The invariants:

* A `Mailroom` lasts as long as the client's connections do, one after another; each of these has a
  `Mail` of its own, so that nothing of an earlier one is mixed into a later one.
* A MESSAGE finds its way by ``subscription`` alone. What still comes for a subscription that has
  ended is dropped: the broker has it back.
* An outcome is settled under the lock, and who waits for one is woken once for each piece.
* While somebody waits for an outcome reading goes on beyond the bound of what was not fetched yet,
  to disk: what is waited for may stand behind it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Protocol

from stompy.errors import STOMPError, STOMPTimeout
from stompy.protocol.frame import STOMPFrame
from stompy.session.addressees import Addressees
from stompy.session.confirmations import Confirmation, Confirmations
from stompy.session.dialects import Dialect
from stompy.session.handshake import broker_error
from stompy.session.holding import ReceiptHabit
from stompy.session.timeouts import hindrance, until, within
from stompy.sync.inbox import Inbox


class Box(Protocol):
    """Takes the messages of one subscription."""

    @property
    def _full(self) -> bool:
        """Whether it should get no more for now."""

    @property
    def _overfull(self) -> bool:
        """Whether it should not even if an answer may stand behind that."""

    @property
    def _waiting(self) -> int:
        """How many messages wait to be fetched."""

    def _put(self, frames: list[STOMPFrame], epoch: int) -> None:
        """Take messages, from the I/O thread."""


class Mailroom:
    """The addressees of one client.

    Attributes:
        confirmations: those that are pending; only to be touched with the lock.
        habit: whether the broker gives receipts.
        complaint: what the broker has said about why it may not answer, when it let us in.
    """

    def __init__(self) -> None:
        self.confirmations = Confirmations()
        self.habit = ReceiptHabit()
        self.complaint = ""
        self._boxes: Addressees[Box] = Addressees()
        self._waiting = 0
        self._refusal: tuple[STOMPError, bool] | None = None
        self._made_room: Callable[[], None] = _nothing
        self._inbox: Inbox | None = None
        self._renew_lock()

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()
        self._settled = threading.Condition(self._lock)

    # -- for any thread ----------------------------------------------------------------------

    def open_box(self, sub_id: str, box: Box) -> None:
        """From now on the messages of this subscription go there."""
        self._boxes.add(sub_id, box)

    def close_box(self, sub_id: str) -> None:
        """The subscription has ended; what still comes for it is dropped."""
        if self._boxes.remove(sub_id):
            self.made_room()

    def made_room(self) -> None:
        """A box that was full is not full any more."""
        self._made_room()

    def expect(self, confirmation: Confirmation) -> None:
        """A frame is about to be sent."""
        with self._lock:
            self.confirmations.expect(confirmation)

    def forget(self, confirmation: Confirmation) -> None:
        """It was not sent after all."""
        with self._lock:
            self.confirmations.forget(confirmation)
            self._settled.notify_all()

    def wait(self, condition: Callable[[], bool], timeout: float | None, what: str) -> None:
        """Wait until something that the I/O thread brings has come.

        Raises:
            STOMPTimeout: it did not come in time.
        """
        deadline = until(monotonic(), timeout)
        with self._lock:
            if condition():
                return
            self._waiting += 1
            self._made_room()
            try:
                while not condition():
                    remaining = None if deadline is None else deadline - monotonic()
                    if remaining is not None and remaining <= 0:
                        raise STOMPTimeout(f"{what}{within(timeout)}{self._hindrance()}")
                    self._settled.wait(remaining)
            finally:
                self._waiting -= 1

    def wait_settled(self, timeout: float | None) -> None:
        """Wait until no confirmation is pending.

        Raises:
            STOMPTimeout: some still are.
        """
        self.wait(lambda: not self.confirmations, timeout, "not everything was confirmed")

    def _hindrance(self) -> str:
        """What keeps an answer from being read."""
        inbox = self._inbox
        if inbox is not None and inbox.overfull:
            return hindrance(len(inbox))
        crowds = [box._waiting for box in tuple(self._boxes.held.values()) if box._overfull]
        return hindrance(sum(crowds)) if crowds else self.complaint

    # -- the I/O thread ----------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether there is anything to sort for."""
        return bool(self._boxes or self.confirmations)

    @property
    def patient(self) -> bool:
        """Whether nobody waits for an outcome."""
        return not self._waiting

    @property
    def full(self) -> bool:
        """Whether a box is full."""
        return any(box._full for box in tuple(self._boxes.held.values()))

    @property
    def overfull(self) -> bool:
        """Whether a box is fuller than any wait is worth."""
        return any(box._overfull for box in tuple(self._boxes.held.values()))

    def opened(self, inbox: Inbox, made_room: Callable[[], None]) -> None:
        """A connection begins; the function has its I/O thread look round."""
        self._inbox = inbox
        self._refusal = None
        self._made_room = made_room

    def sort(self, frames: Sequence[STOMPFrame], epoch: int, dialect: Dialect) -> list[STOMPFrame]:
        """Hand out what is for somebody in particular; give the rest."""
        for_boxes, rest = self._boxes.sort(frames)
        for box, messages in for_boxes.items():
            box._put(messages, epoch)
        if any(frame.Command != "MESSAGE" for frame in rest):
            rest = self._answered(rest, dialect)
        if for_boxes and self._waiting:
            self.look()
        return rest

    def _answered(self, frames: list[STOMPFrame], dialect: Dialect) -> list[STOMPFrame]:
        """Settle what was confirmed; give what is for nobody in here.

        What was refused is settled when the connection has ended, which is at once: who learns of
        it and sends the next frame is not to send it into a connection that is about to end.
        """
        rest = []
        with self._lock:
            confirmations = self.confirmations
            for frame in frames:
                if frame.Command == "RECEIPT":
                    self.habit.seen = True
                    receipt_id = frame.Headers.get("receipt-id", "")
                    if receipt_id in confirmations:
                        if self._refusal is None:  # else the ERROR wins
                            confirmations.receipt(receipt_id)
                        continue
                elif frame.Command == "ERROR":
                    self._refusal = broker_error(frame), dialect.error_names_receipt
                rest.append(frame)
            if self._waiting or not confirmations:
                self._settled.notify_all()
        return rest

    def look(self) -> None:
        """Have everybody who waits look whether it has come."""
        with self._lock:
            self._settled.notify_all()

    def lost(self, reason: STOMPError | None) -> None:
        """The connection has ended: what is pending will never be known."""
        with self._lock:
            if self._refusal is not None:
                error, names_frames = self._refusal
                self.confirmations.refused(error, names_frames=names_frames)
            self.confirmations.lost(reason)
            self._settled.notify_all()

    def after_fork(self) -> None:
        """In a child process: the parent may have held the lock."""
        self._renew_lock()
        self._made_room = _nothing
        self.lost(None)


class Mail(Inbox):
    """The inbox of one connection. What is for nobody in particular stays in it.

    Args:
        made_room: has the I/O thread look round.
        room: who gets the rest.
        epoch: the number of the connection.
        dialect: how its broker answers.
        ended: called, from the I/O thread, when nothing more will come.
        keeps_errors: whether ERROR frames stay in it, to be raised by `recv`.
    """

    def __init__(
        self,
        made_room: Callable[[], None],
        *,
        room: Mailroom,
        epoch: int,
        dialect: Dialect,
        ended: Callable[[], None],
        keeps_errors: bool,
    ) -> None:
        super().__init__(made_room)
        self._room = room
        self._epoch = epoch
        self._dialect = dialect
        self._tell_end = ended
        self._keeps_errors = keeps_errors
        room.opened(self, made_room)

    @property
    def full(self) -> bool:
        """Whether the reader should wait."""
        room = self._room
        if room.patient and not self._waiting_for_receipts:
            return self._full or room.full
        return self.overfull or room.overfull

    def put(self, frames: Sequence[STOMPFrame], size: int) -> None:
        """Hand over what one read brought, oldest first."""
        if self._room.busy:
            rest = self._room.sort(frames, self._epoch, self._dialect)
            if len(rest) != len(frames):
                size = sum(len(frame.Body) for frame in rest)
            frames = rest
        if not self._keeps_errors:
            frames = [frame for frame in frames if frame.Command != "ERROR"]
        if frames:
            super().put(frames, size)

    def end(self) -> None:
        """Nothing more will come; whoever waits learns it."""
        super().end()
        self._tell_end()

    def after_fork(self) -> None:
        """In a child process: everything belongs to the parent."""
        self._room.after_fork()
        self._tell_end = _nothing
        super().after_fork()


def _nothing() -> None:
    """Nobody is to be told."""
