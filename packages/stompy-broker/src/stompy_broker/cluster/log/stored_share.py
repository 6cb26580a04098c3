"""A part of a change over several owners, as the store of its group sees it.

The store puts it into the record that it closes next, and does not append that by itself: somebody
else appends it, with the records of the other groups. If nobody does, the store appends the record
without it, with the same expectation. So the log decides, once and for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Protocol

from stompy_broker.cluster.log.changes import Changes, WrittenChanges
from stompy_broker.cluster.log.log import Append
from stompy_broker.message import Message


class SharingStore(Protocol):
    """The store of a share."""

    def share_stored(self, share: StoredShare, place: int) -> None:
        """Take note that the record with the share is in the log."""
        ...

    def append_without(self, share: StoredShare) -> None:
        """Append the record without the share, unless it is in the log with it."""
        ...


class StoredShare(ABC):
    """A share, as the store sees it.

    Attributes:
        appended: messages that come, and the destinations of their queues, by sequence.
        removed: sequences of messages that go.
    """

    def __init__(self) -> None:
        self.appended: dict[int, tuple[str, Message]] = {}
        self.removed: set[int] = set()

    @abstractmethod
    def gather(self) -> None:
        """Fill in what comes and what goes."""

    @abstractmethod
    def closed(self, store: SharingStore, append: Append) -> None:
        """Take the record that it is in: somebody else is to append it."""

    @abstractmethod
    def is_in(self, place: int) -> None:
        """Carry it out: it is in the log. What it tells the store of its messages is known."""

    @abstractmethod
    def is_out(self) -> None:
        """Undo it: it is not in the log, and never will be."""

    @abstractmethod
    def lost(self, reason: str) -> None:
        """Forget it: who owns the log next knows what became of it."""

    def put_into(self, changes: Changes) -> tuple[Changes, Sharing]:
        """Fill it in, and give the changes of a record with it."""
        self.gather()
        return self.join(changes), Sharing(self, changes)

    def join(self, changes: Changes) -> Changes:
        """The changes of a record, with it."""
        appended, states = dict(changes.appended), dict(changes.states)
        removed, size = list(changes.removed), changes.bytes
        for sequence in self.removed:
            states.pop(sequence, None)
            known = appended.pop(sequence, None)
            if known is None:
                removed.append(sequence)
            else:
                size -= known[1].size
        appended |= self.appended
        size += sum([message.size for _, message in self.appended.values()])
        return Changes(
            appended,
            changes.copied,
            size,
            states,
            removed,
            changes.kept,
            changes.settings,
            changes.fronts,
            changes.waiting,
            changes.ids,
            changes.dropped_ids,
        )


@dataclass(slots=True)
class Sharing:
    """A record that is on its way with a share in it.

    Attributes:
        share: it.
        without: the changes without it.
        whole: the changes with it, as values and as bytes, and the record; None = they are what
            is on its way.
    """

    share: StoredShare
    without: Changes
    whole: tuple[Changes, WrittenChanges, list[bytes]] | None = field(default=None)
