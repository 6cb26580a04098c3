"""A log is read back: what is alive in it, who wrote last, and whether anything is missing.

Records are numbered, so one that is not there is seen, and one that is not what was written says
so by its checksum. Either is a `Gap`. A gap is never passed over in silence: it may hold messages,
and the removal of others, which would come back.

Below the floor of the last record nothing is missed. Whoever writes to the log deletes what is
there, perhaps while it is read; so what was read from there is forgotten in the end.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from typing import NamedTuple

from stompy_broker.cluster.log.changes import LoggedMessage, ReadChanges, read_changes
from stompy_broker.cluster.log.index import Index, Logged
from stompy_broker.cluster.log.log import Entry
from stompy_broker.cluster.log.log_record import (
    RecordError,
    RecordHead,
    RecordKind,
    join,
    read_part,
)
from stompy_broker.store.base import StoredId

log = logging.getLogger("stompy_broker.cluster")


class Gap(NamedTuple):
    """Something is missing.

    Attributes:
        first: the number of the first record concerned.
        last: the number of the last one.
        reason: what is wrong with it.
    """

    first: int
    last: int
    reason: str

    def __str__(self) -> str:
        """Which records, and why."""
        which = f"record {self.first}"
        if self.first != self.last:
            which = f"records {self.first}-{self.last}"
        return f"{which}: {self.reason}"


@dataclass(frozen=True, slots=True)
class TenureMark:
    """What the record says that begins a tenure.

    Attributes:
        owner: the name of the broker.
        nonce: tells two apart that begin the same tenure at once.
        accepted: whether an operator has accepted what was missing before.
    """

    owner: str
    nonce: str
    accepted: bool = False

    def write(self) -> bytes:
        """As it stands in the record."""
        return json.dumps([self.owner, self.nonce, self.accepted]).encode()

    @classmethod
    def read(cls, payload: bytes) -> TenureMark:
        """Read what `write` has written.

        Raises:
            RecordError: it is something else.
        """
        try:
            owner, nonce, accepted = json.loads(payload)
            return cls(str(owner), str(nonce), bool(accepted))
        except (ValueError, TypeError) as error:
            raise RecordError(f"what it holds makes no sense: {error}") from None


@dataclass(slots=True)
class LogReplay:
    """What was read so far.

    Attributes:
        index: what is alive.
        rows: messages as their records have them, by sequence.
        ids: duplicate ids, by the sequences of their messages.
        last: the place of the last entry.
        number: the last record.
        tenure: the last one.
        owner: who had it; empty = the log does not tell any more.
        doubtful: of the last record.
        floor: of the last record.
        left: whether the last tenure had an orderly end.
    """

    index: Index = field(default_factory=Index)
    rows: dict[int, LoggedMessage] = field(default_factory=dict)
    ids: dict[int, StoredId] = field(default_factory=dict)
    last: int = 0
    number: int = 0
    tenure: int = 0
    owner: str = ""
    doubtful: int = 0
    floor: int = 0
    left: bool = False
    _gaps: list[Gap] = field(default_factory=list)
    _unreadable: str = ""  # what was wrong with entries behind the last record
    _parts: list[tuple[Entry, RecordHead, memoryview]] = field(default_factory=list)

    @property
    def next_number(self) -> int:
        """Of the record to write now. What is unreadable at the end keeps a number."""
        return self.number + (2 if self._unreadable else 1)

    def take(self, entry: Entry) -> None:
        """Work in the next entry."""
        self.last = entry.place
        try:
            head, payload = read_part(entry.octets)
        except RecordError as error:
            self._break_off("not all of its parts can be read")
            self._unreadable = f"entry {entry.place} of the log: {error}"
            return
        if self._parts and head != self._parts[0][1]._replace(part=len(self._parts)):
            self._break_off("not all of its parts are there")
        if head.part != len(self._parts):
            if head.number != self.number:
                self._begin(head)
                self._gaps.append(Gap(head.number, head.number, "its first part is not there"))
            return
        self._parts.append((entry, head, payload))
        if len(self._parts) == head.parts:
            parts, self._parts = self._parts, []
            self._work_in(parts)

    def _break_off(self, reason: str) -> None:
        """The record whose parts were coming is not complete."""
        if self._parts:
            head = self._parts[0][1]
            self._parts = []
            self._begin(head)
            self._gaps.append(Gap(head.number, head.number, reason))

    def _begin(self, head: RecordHead) -> bool:
        """Take note of a record's head, and say whether it is new."""
        before, number = self.number, head.number
        unreadable, self._unreadable = self._unreadable, ""
        if number <= before:
            self._gaps.append(Gap(number, number, f"it comes again, behind record {before}"))
            return False
        if number > before + 1:
            self._gaps.append(Gap(before + 1, number - 1, unreadable or "it is not there"))
        elif unreadable:
            self._gaps.append(Gap(before, number, f"between them, {unreadable}"))
        self.number, self.tenure = number, head.tenure
        self.floor, self.doubtful = head.floor, head.doubtful
        self.index.highest = max(self.index.highest, head.highest)
        self.left = head.kind is RecordKind.LEAVE
        return True

    def _work_in(self, parts: list[tuple[Entry, RecordHead, memoryview]]) -> None:
        head = parts[0][1]
        if not self._begin(head):
            return
        try:
            head, payload = join([(head, octets) for _, head, octets in parts])
            changes = read_changes(payload) if head.kind is RecordKind.CHANGES else None
            mark = TenureMark.read(payload) if head.kind is RecordKind.TENURE else None
        except RecordError as error:
            self._gaps.append(Gap(head.number, head.number, str(error)))
            return
        if mark is not None:
            self.owner = mark.owner
            if mark.accepted:
                self._gaps.clear()
        places = range(parts[0][0].place, parts[-1][0].place + 1)
        size = sum(len(entry.octets) for entry, _, _ in parts)
        self.index.add(Logged(head.number, places, len(parts[0][2]), size))
        if changes is not None:
            self._apply(changes)

    def _apply(self, changes: ReadChanges) -> None:
        index, rows = self.index, self.rows
        for message in changes.messages:
            index.place(message.placed, message.state)
            rows[message.placed.sequence] = message
        for sequence, state in changes.states.items():
            index.mark(sequence, state)
        index.remove(changes.removed)
        for sequence in changes.removed:
            rows.pop(sequence, None)
        index.keep_all(changes)
        self.ids |= changes.ids
        for sequence in changes.dropped_ids:
            self.ids.pop(sequence, None)

    def finish(self) -> list[Gap]:
        """Forget what is below the floor, and say what is missing above it.

        May be called again after more was taken.
        """
        self._break_off("not all of its parts are there")
        self.settle()
        gaps = list(self._gaps)
        if self._unreadable:
            gaps.append(Gap(self.number + 1, self.number + 1, self._unreadable))
        return gaps

    def settle(self) -> bool:
        """Forget what is below the floor, although more is to come; whether nothing is missing.

        Who reads a log for days has to do so again and again. What was missed because it was
        deleted before it was read is below the floor of a later record, and is no gap then.
        """
        floor = self.floor
        for sequence in self.index.cut(floor):
            del self.rows[sequence]
        if len(self.ids) > len(self.index.ids):
            known = self.index.ids
            self.ids = {sequence: one for sequence, one in self.ids.items() if sequence in known}
        self.index.settle()
        if self._gaps:
            self._gaps = [
                gap._replace(first=max(gap.first, floor)) for gap in self._gaps if gap.last >= floor
            ]
        return not (self._gaps or self._unreadable)
