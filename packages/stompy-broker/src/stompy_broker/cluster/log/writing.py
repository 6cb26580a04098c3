"""A record of a log on its way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stompy_broker.cluster.log.changes import Changes, Placed, WrittenChanges
from stompy_broker.cluster.log.joint_commit import JointCommit
from stompy_broker.cluster.log.log_record import RecordHead
from stompy_broker.cluster.log.stored_share import Sharing
from stompy_broker.message import Message
from stompy_broker.store.base import DeliveryState


@dataclass(slots=True)
class Writing:
    """A record on its way into the log.

    Attributes:
        changes: what is in it.
        head: its head.
        written: the changes as bytes.
        parts: the record as bytes.
        begun: when it was appended first.
        below: the place of the record that is the floor in the head.
        dropped: `Index.dropped` at that time.
        joint: the change that it is part of; None = it is appended alone.
        sharing: the part of a change over several owners that is in it.
    """

    changes: Changes
    head: RecordHead
    written: WrittenChanges
    parts: list[bytes]
    begun: float
    below: int
    dropped: int
    joint: JointCommit | None = None
    sharing: Sharing | None = None

    @property
    def is_offered(self) -> bool:
        """Whether somebody else is to append it, because of the share in it."""
        return self.sharing is not None and self.sharing.whole is None

    def is_in_after_all(self, octets: bytes) -> bool:
        """Whether it is in the log with its share, if this is the last entry; then it is whole."""
        sharing = self.sharing
        if sharing is None or sharing.whole is None or sharing.whole[2][-1] != octets:
            return False
        self.changes, self.written, self.parts = sharing.whole
        sharing.whole = None
        return True

    def still_waiting(self, later: Changes) -> Iterator[Message]:
        """The messages in it that nobody was given meanwhile, as later changes say."""
        moved = {*self.changes.states, *later.states, *later.removed}
        for sequence, (_, message) in self.changes.appended.items():
            if sequence not in moved:
                yield message

    def placed(self) -> Iterator[tuple[Placed, DeliveryState]]:
        """Where the messages are that it holds, and what has become of them."""
        changes = self.changes
        states, appended = changes.states, changes.appended
        for placed in self.written.placed:
            sequence = placed.sequence
            state = states.get(sequence)
            if state is None:
                if sequence in appended:
                    message = appended[sequence][1]
                    state = (message.deliveries, message.failures, 0, 0)
                else:
                    state = changes.copied[sequence][2]
            yield placed, state
