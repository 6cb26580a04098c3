"""Changes that become safe together: one transaction of the database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from stompy_broker.message import Message
from stompy_broker.store.base import Callback, DeliveryState, StoredSubscription
from stompy_broker.store.log_changes import LogChanges

_PAGE = 4096

_MAPS = 12
"""About so many pages say where pages belong that are free, so that the file can shrink."""

_CHANGE = 600
"""What a change weighs beside its bytes: its row takes as long to write as so many bytes do."""


_ENTRY = 100
"""The same of an entry of a log, of which many make one row."""

IdRow = tuple[str, int, bytes, int, int]
"""What `StoredId` has, as it is made at less cost."""

_ID = 150
"""The same for a duplicate id, whose row is short and stands at the end of its table."""


class Damaged(NamedTuple):
    """A message that is not what was written any more.

    Attributes:
        sequence: its place.
        destination: its queue, as far as that can be told.
        reason: what is wrong with it.
    """

    sequence: int
    destination: str
    reason: str


class Batch:
    """What becomes safe together.

    Attributes:
        appended: new messages, and the destinations of their queues.
        bytes: the size of the new messages.
        taken_back: how many new messages were settled meanwhile, and are in it no more.
        delivery_states: what became of messages.
        removed: sequences of messages that may be on disk.
        passed_on: those of them that other messages have got meanwhile.
        damaged: messages that were found to be.
        kept: durable subscriptions by name; None = it was deleted.
        settings: the set-up of queues by name; None = it ended.
        logs: what changes in logs; None = nothing.
        ids: duplicate ids that came, by the sequences of their messages.
        dropped_ids: sequences of those that are known no longer, and may be on disk.
        marks: whether the database is yet to be marked as being in use.
        waiting: who is to be told.
        safe: whether it was written.
    """

    def __init__(self) -> None:
        # By the messages themselves: their sequences are numbers to be made and compared each time.
        self.appended: dict[Message, str] = {}
        self.bytes = 0
        self.taken_back = 0
        self.delivery_states: dict[Message, DeliveryState] = {}
        self.removed: list[int] = []
        self.passed_on: set[int] = set()
        self.damaged: list[Damaged] = []
        self.kept: dict[str, StoredSubscription | None] = {}
        self.settings: dict[str, Mapping[str, str] | None] = {}
        self.logs: LogChanges | None = None
        self.ids: dict[int, IdRow] = {}
        self.dropped_ids: list[int] = []
        self.marks = False
        self.waiting: list[Callback] = []
        self.safe = False

    @property
    def size(self) -> int:
        """How many changes there are."""
        subscriptions_and_queues = len(self.kept) + len(self.settings) + len(self.damaged)
        messages = len(self.appended) + len(self.delivery_states) + len(self.removed)
        if self.logs is not None:
            messages += self.logs.size
        return messages + subscriptions_and_queues + len(self.ids) + len(self.dropped_ids)

    @property
    def pages(self) -> int:
        """About how many pages are written for it."""
        written = self.bytes if self.logs is None else self.bytes + self.logs.bytes
        changed, filled = len(self.delivery_states) + len(self.removed), written // _PAGE
        maps = min(filled, _MAPS) + min(len(self.removed), _MAPS)
        return 2 + changed // 4 + filled + maps

    @property
    def weight(self) -> int:
        """How long it takes to write, by a rough count, in bytes."""
        weight = self.bytes + _ID * (len(self.ids) + len(self.dropped_ids))
        weight += _CHANGE * (
            len(self.appended) + len(self.delivery_states) + len(self.removed) + len(self.kept)
        )
        if self.logs is not None:
            weight += self.logs.bytes + _ENTRY * self.logs.size
        return weight

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (
            self.appended
            or self.delivery_states
            or self.removed
            or self.kept
            or self.settings
            or self.ids
            or self.dropped_ids
            or self.damaged
            or self.logs is not None
            or self.marks
        )

    def absorb(self, later: Batch) -> None:
        """Take in the batch that came after this one, which could not be written."""
        # Not of what came later: it may have the place of one that is gone.
        gone = set(later.removed)
        for message in [message for message in self.appended if message.sequence in gone]:
            del self.appended[message]
            self.bytes -= message.size
        for message in [message for message in self.delivery_states if message.sequence in gone]:
            del self.delivery_states[message]
        self.appended |= later.appended
        self.bytes += later.bytes
        self.delivery_states |= later.delivery_states
        # Also those that were taken back: deleting what is not there does no harm.
        self.removed += later.removed
        self.passed_on |= later.passed_on
        self.damaged += later.damaged
        if self.logs is None:
            self.logs = later.logs
        elif later.logs is not None:
            self.logs.absorb(later.logs)
        self.marks |= later.marks
        self.kept |= later.kept
        self.ids |= later.ids
        for sequence in later.dropped_ids:
            self.ids.pop(sequence, None)
        self.dropped_ids += later.dropped_ids
        self.settings |= later.settings
        self.waiting += later.waiting
