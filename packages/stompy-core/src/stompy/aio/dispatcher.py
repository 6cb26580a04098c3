"""Who gets what a connection brings: a handle, a confirmation, a request, or the inbox.

**Hot path** (`Mailroom.received`). The invariants:

* A MESSAGE finds its way by ``subscription`` alone. What still comes for a subscription that has
  ended is dropped: the broker has it back.
* Sorting is done once for each piece that was read, and only while there is somebody to sort for.
* Nothing is read while something that nobody fetches is full. While somebody waits for an answer,
  which may stand behind it, it may be overfull.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from stompy.aio.confirmation import Confirmation
from stompy.aio.connection import Link
from stompy.aio.inbox import Inbox
from stompy.aio.waiting import Signal, deadline_after
from stompy.errors import STOMPError, STOMPTimeout
from stompy.protocol.frame import STOMPFrame
from stompy.session.addressees import Addressees
from stompy.session.confirmations import Confirmations
from stompy.session.dialects import UNKNOWN, Dialect
from stompy.session.handshake import broker_error
from stompy.session.holding import ReceiptHabit
from stompy.session.timeouts import hindrance, within


class Receiver(Protocol):
    """Who gets the messages of one subscription."""

    @property
    def _full(self) -> bool:
        """Whether it wants no more for the time being."""

    @property
    def _overfull(self) -> bool:
        """Whether it wants no more even if somebody waits for an answer."""

    @property
    def _waiting(self) -> int:
        """How many messages it has that nobody has fetched."""

    def _deliver(self, frames: list[STOMPFrame], epoch: int) -> None:
        """Messages came over a connection."""

    def _connection_lost(self, reason: STOMPError | None) -> None:
        """What has come would be in vain to settle."""

    def _put_off(self, reason: STOMPError) -> None:
        """The broker does not give the subscription back yet."""

    def _end(self, reason: STOMPError | None) -> None:
        """Nothing more will come."""


class Mailroom:
    """What comes over the links of a client, and whom it concerns.

    Args:
        keeps_errors: whether ERROR frames go to the inbox, to be raised by who receives.

    Attributes:
        link: the newest link, if `has_link`.
        has_link: whether there ever was one.
        epoch: its number.
        dialect: the ways of its broker.
        inbox: frames for nobody in particular.
        confirmations: those that are pending.
        habit: whether the broker gives receipts.
        complaint: what the broker has said about why it may not answer, when it let us in.
        receivers: who gets the messages of a subscription, by its id.
    """

    link: Link

    def __init__(self, *, keeps_errors: bool) -> None:
        self.has_link = False
        self.epoch = 0
        self.dialect: Dialect = UNKNOWN
        self.inbox = Inbox(self.regulate)
        self.confirmations = Confirmations()
        self.habit = ReceiptHabit()
        self.complaint = ""
        self._addressees: Addressees[Receiver] = Addressees()
        self.receivers = self._addressees.held
        self._keeps_errors = keeps_errors
        self._urgent = 0
        self._settled = Signal()

    def received(self, link: Link, frames: list[STOMPFrame], size: int) -> None:
        """Frames came over the link."""
        if self._addressees or self.confirmations or frames[-1].Command == "ERROR":
            frames = self._distribute(frames)
            size = sum(len(frame.Body) for frame in frames)
        if frames:
            self.inbox.put(frames, size)
        if self.inbox.full or self.receivers:
            self.regulate()

    def adopt(self, sub_id: str, receiver: Receiver) -> None:
        """From now on the messages of a subscription go to a receiver."""
        self._addressees.add(sub_id, receiver)

    def forget(self, sub_id: str) -> None:
        """A subscription has ended; what still comes for it is dropped."""
        if self._addressees.remove(sub_id):
            self.regulate()

    def _distribute(self, frames: list[STOMPFrame]) -> list[STOMPFrame]:
        """Give each frame to whom it concerns; what is left is for the inbox."""
        batches, others = self._addressees.sort(frames)
        for receiver, batch in batches.items():
            receiver._deliver(batch, self.epoch)
        return [frame for frame in others if not self._is_answer(frame)]

    def _is_answer(self, frame: STOMPFrame) -> bool:
        """Whether a frame is not for the inbox, having told an outcome."""
        if frame.Command == "RECEIPT":
            self.habit.seen = True
            found = self.confirmations.receipt(frame.Headers.get("receipt-id", ""))
            self._settled.wake()
            return found is not None
        if frame.Command == "ERROR":
            names = self.dialect.error_names_receipt
            self.confirmations.refused(broker_error(frame), names_frames=names)
            return not self._keeps_errors
        return False

    def expect(
        self, receipt_id: str, command: str | None = None, destination: object = None
    ) -> Confirmation:
        """A frame with this receipt is about to be sent, and its outcome matters."""
        confirmation = Confirmation(receipt_id, self, command, destination)
        self.confirmations.expect(confirmation)
        return confirmation

    def check_loop(self) -> None:
        """See that it is used where it was made."""

    @contextmanager
    def urgently(self) -> Iterator[None]:
        """Somebody waits for an answer, which may stand behind messages that nobody fetches."""
        self.check_loop()
        self._urgent += 1
        self.regulate()
        try:
            yield
        finally:
            self._urgent -= 1

    def regulate(self) -> None:
        """Read, unless something that nobody fetches has reached its bound."""
        if self._urgent:
            full = self.inbox.overfull or any(one._overfull for one in self.receivers.values())
        else:
            full = self.inbox.full or any(one._full for one in self.receivers.values())
        self.link.read(not full)

    def hindrance(self) -> str:
        """What keeps an answer from being read."""
        crowds = [one._waiting for one in self.receivers.values() if one._overfull]
        if self.inbox.overfull:
            crowds.append(len(self.inbox))
        return hindrance(sum(crowds)) if crowds else self.complaint

    async def wait_settled(self, timeout: float | None) -> None:
        """Wait until no confirmation is pending.

        Raises:
            STOMPTimeout: some still are.
        """
        deadline = deadline_after(timeout)
        with self.urgently():
            while self.confirmations:
                if not await self._settled.wait(deadline):
                    count = len(self.confirmations)
                    raise STOMPTimeout(
                        f"{count} receipts did not come{within(timeout)}{self.hindrance()}"
                    )
