"""What a store on a log does together with others, of the same owner (`JointCommit`) or not."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence

from stompy_broker.cluster.log.changes import Changes, write_changes
from stompy_broker.cluster.log.index import Index
from stompy_broker.cluster.log.joint_commit import JointCommit
from stompy_broker.cluster.log.log import Answer, Append, Log, Stored
from stompy_broker.cluster.log.log_record import RecordKind, write_record
from stompy_broker.cluster.log.stored_share import Sharing, StoredShare
from stompy_broker.cluster.log.writing import Writing
from stompy_broker.store.base import Callback, StoredId
from stompy_broker.store.interface import MessageStore
from stompy_broker.timers import Timer


class SharedStore(MessageStore):
    """A store whose records may be part of a change of several groups.

    Attributes:
        joint: the change of several groups of this owner that the next record is part of.
        fenced: who owns the log now, if not this broker.
        share: a part of a change over several owners that the next record is to have.
    """

    share: StoredShare | None
    _carried_out: StoredShare | None  # just now
    _leaving: Callback | None
    _writing: Writing | None
    _ids: dict[int, StoredId]
    index: Index
    _changes: Changes
    _log: Log
    _soon: Callable[[Callable[[], None]], object]

    joint: JointCommit | None
    fenced: str
    _closed: bool
    _flush_is_due: bool
    _lazy_timer: Timer
    place: int

    @abstractmethod
    def _begin(
        self,
        kind: RecordKind,
        joint: JointCommit | None = None,
        share: StoredShare | None = None,
    ) -> None: ...

    @abstractmethod
    def _fence(self, reason: str) -> None: ...

    @abstractmethod
    def _flush(self) -> None: ...

    @abstractmethod
    def _flush_lazily(self) -> None: ...

    @abstractmethod
    def _append(self) -> None: ...

    @abstractmethod
    def answered(self, answer: Answer) -> None:
        """Take what came of the record that is on its way."""

    def ids(self) -> Iterator[StoredId]:
        """Every duplicate id in the log."""
        ids, self._ids = self._ids, {}
        return iter([ids[sequence] for sequence in sorted(ids)])

    def keep_id(
        self, destination: str, sequence: int, value: bytes, until: int, shown: int = 0
    ) -> None:
        """Put a duplicate id into the next record."""
        self._changes.ids[sequence] = StoredId(destination, sequence, value, until, shown)
        if not self._flush_is_due:
            self._flush_lazily()

    def drop_ids(self, sequences: Sequence[int]) -> None:
        """Take duplicate ids out of the next record, and have that say so of others."""
        changes = self._changes
        for sequence in sequences:
            if changes.ids.pop(sequence, None) is None or sequence in self.index.ids:
                changes.dropped_ids.append(sequence)
        self._flush_lazily()

    @property
    def is_sharing(self) -> bool:
        """Whether a record is, or is to be, part of a change of several owners."""
        writing = self._writing
        return self.share is not None or (writing is not None and writing.sharing is not None)

    def take_share(self, share: StoredShare) -> None:
        """Have the next record be one that somebody else appends, with a share in it."""
        self.share = share
        if self._writing is None:
            self._soon(self._flush)

    def share_stored(self, share: StoredShare, place: int) -> None:
        """Take note that the record with a share is in the log."""
        writing = self._writing
        sharing = None if writing is None else writing.sharing
        if sharing is not None and sharing.share is share and sharing.whole is None:
            self.answered(Stored(place))

    def append_without(self, share: StoredShare) -> None:
        """Append the record without a share, unless it is in the log with it."""
        writing = self._writing
        sharing = None if writing is None else writing.sharing
        if writing is None or sharing is None or sharing.share is not share or sharing.whole:
            return
        sharing.whole = writing.changes, writing.written, writing.parts
        writing.changes, writing.written = sharing.without, write_changes(sharing.without)
        payload = writing.written.payload
        writing.parts = write_record(writing.head, payload, self._log.part_bytes)
        self._append()

    def _end_share(self, sharing: Sharing, place: int) -> None:
        """Have a share carried out, or undone; the log has it, or not."""
        share = sharing.share
        if sharing.whole is not None:
            share.is_out()
            return
        self._carried_out = share
        try:
            share.is_in(place)
        finally:
            self._carried_out = None
        if self._leaving is not None:
            return  # its queues have gone, and the next owner finds in the log what is for them
        # What was turned away by its queue, or went straight to a consumer.
        self._changes.removed += share.appended
        if share.appended:
            self._flush_lazily()

    def _begin_leaving(self, done: Callback) -> None:
        """Call ``done`` after the last record, and refuse a share that is in none yet.

        The queues have gone already: the record would be without what is for them.
        """
        self._leaving = done
        share, self.share = self.share, None
        if share is not None:
            share.lost("its group goes elsewhere")

    def _lose_shares(self, reason: str) -> None:
        shares = [] if self.share is None else [self.share]
        self.share = None
        if self._writing is not None and self._writing.sharing is not None:
            shares.append(self._writing.sharing.share)
        for share in shares:
            share.lost(reason)

    @property
    def is_writing(self) -> bool:
        """Whether a record is on its way."""
        return self._writing is not None

    def close_record(self, joint: JointCommit) -> Append:
        """Close the record that is gathered, and give it: it is on its way, with the others.

        It may be empty: who waits for it waits for the others as well.
        """
        self.joint = None
        self._flush_is_due = False
        self._lazy_timer.cancel()
        self._begin(RecordKind.CHANGES, joint)
        assert self._writing is not None
        return Append(self._log, self._writing.parts, self.place)

    def give_up(self, reason: str) -> None:
        """End as if somebody had taken over the log: what its queues were told cannot be."""
        if not self._closed and not self.fenced:
            self._fence(reason)

    def _break_joint(self) -> None:
        joint, self.joint = self.joint, None
        if joint is not None:
            joint.break_up()
