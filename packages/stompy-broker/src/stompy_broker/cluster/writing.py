"""A record of a log on its way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stompy_broker.cluster.changes import Changes, Placed, WrittenChanges
from stompy_broker.cluster.joint_commit import JointCommit
from stompy_broker.cluster.log_record import RecordHead
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
    """

    changes: Changes
    head: RecordHead
    written: WrittenChanges
    parts: list[bytes]
    begun: float
    below: int
    dropped: int
    joint: JointCommit | None = None

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
