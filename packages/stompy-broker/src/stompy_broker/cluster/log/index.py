"""What is alive in a log, and where: one record after the other is worked in.

The same is done while a log is read and while it is written, so the two cannot differ. A record is
counted by what is alive in it: messages, durable subscriptions, the set-up of queues. The
**floor** is the first record that has any. Removals and delivery states need no record to stay:
what they are about is in an earlier one, and goes before them or with them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from stompy_broker.cluster.log.changes import Changes, FrontMark, Placed, ReadChanges
from stompy_broker.store.base import DeliveryState, StoredId, StoredSubscription

_OVERHEAD = 100
"""About so many bytes a message takes in a record beside its body."""


@dataclass(slots=True, eq=False)
class Logged:
    """A record that is in the log.

    Attributes:
        number: which one it is.
        places: of its parts.
        part_bytes: how much each part holds, but for the last.
        size: how long it is.
        living: how many things in it are alive.
    """

    number: int
    places: range
    part_bytes: int
    size: int
    living: int = 0


class Place(NamedTuple):
    """Where a message is.

    Attributes:
        record: in which record.
        placed: where in what it holds.
    """

    record: Logged
    placed: Placed


@dataclass(slots=True)
class Index:
    """What is alive in a log.

    Attributes:
        records: those from the floor on.
        messages: where they are, by sequence.
        states: what became of messages that something became of, by sequence.
        subscriptions: durable ones, by name.
        queues: how they were set up, by name.
        fronts: how far other brokers are, by the names of their fronts.
        ids: in which record duplicate ids are, by the sequences of their messages.
        highest: no message that was ever in the log has a higher sequence.
        bytes: how long the records are together.
        living_bytes: how much of that is alive.
        dropped: how long the records are together that it has let go of.
    """

    records: deque[Logged] = field(default_factory=deque)
    messages: dict[int, Place] = field(default_factory=dict)
    states: dict[int, DeliveryState] = field(default_factory=dict)
    subscriptions: dict[str, StoredSubscription] = field(default_factory=dict)
    queues: dict[str, Mapping[str, str]] = field(default_factory=dict)
    fronts: dict[str, FrontMark] = field(default_factory=dict)
    ids: dict[int, Logged] = field(default_factory=dict)
    highest: int = 0
    bytes: int = 0
    living_bytes: int = 0
    dropped: int = 0
    _pins: dict[tuple[str, str], Logged] = field(default_factory=dict)

    @property
    def floor(self) -> int:
        """The number of the first record that is needed; the last one always is."""
        return self.records[0].number if self.records else 0

    def add(self, record: Logged) -> None:
        """Take in a record; what it holds is told next, and `settle` at the end."""
        self.records.append(record)
        self.bytes += record.size

    def place(self, placed: Placed, state: DeliveryState) -> None:
        """A message is in the last record."""
        record = self.records[-1]
        sequence = placed.sequence
        old = self.messages.get(sequence)
        if old is not None:
            self._unplace(old)
        self.messages[sequence] = Place(record, placed)
        record.living += 1
        self.living_bytes += placed.length + _OVERHEAD
        self.highest = max(self.highest, sequence)
        self.mark(sequence, state)

    def mark(self, sequence: int, state: DeliveryState) -> None:
        """Something became of a message."""
        if any(state):
            if sequence in self.messages:
                self.states[sequence] = state
        else:
            self.states.pop(sequence, None)

    def remove(self, sequences: Iterable[int]) -> None:
        """Messages are not alive any more. Those that never were do no harm."""
        for sequence in sequences:
            place = self.messages.pop(sequence, None)
            if place is not None:
                self._unplace(place)
                self.states.pop(sequence, None)

    def _unplace(self, place: Place) -> None:
        place.record.living -= 1
        self.living_bytes -= place.placed.length + _OVERHEAD

    def keep(
        self,
        kept: Mapping[str, StoredSubscription | None],
        settings: Mapping[str, Mapping[str, str] | None],
        fronts: Mapping[str, FrontMark | None],
    ) -> None:
        """Durable subscriptions, queues and fronts are told of in the last record, or end."""
        for name, one in kept.items():
            self._pin(("subscription", name), one is not None)
            if one is None:
                self.subscriptions.pop(name, None)
            else:
                self.subscriptions[name] = one
        for name, headers in settings.items():
            self._pin(("queue", name), headers is not None)
            if headers is None:
                self.queues.pop(name, None)
            else:
                self.queues[name] = headers
        for name, mark in fronts.items():
            self._pin(("front", name), mark is not None)
            if mark is None:
                self.fronts.pop(name, None)
            else:
                self.fronts[name] = mark

    def keep_ids(self, came: Iterable[int], dropped: Iterable[int]) -> None:
        """Duplicate ids are told of in the last record, and others are known no longer."""
        ids, record = self.ids, self.records[-1]
        for sequence in came:
            old = ids.get(sequence)
            if old is not None:
                old.living -= 1
            ids[sequence] = record
            record.living += 1
            self.highest = max(self.highest, sequence)
        for sequence in dropped:
            old = ids.pop(sequence, None)
            if old is not None:
                old.living -= 1

    def keep_all(self, changes: Changes | ReadChanges) -> None:
        """Everything that changes tell of but messages is in the last record, or ends."""
        self.keep(changes.kept, changes.settings, changes.fronts)
        if changes.ids or changes.dropped_ids:
            self.keep_ids(changes.ids, changes.dropped_ids)

    def copy_pinned(self, record: Logged, writing: Changes, changes: Changes) -> None:
        """Have what a record pins but messages and duplicate ids be written again.

        Args:
            record: which.
            writing: what is on its way, and need not be.
            changes: what is written next.
        """
        kept, settings, fronts = self.pinned(record)
        for name in kept:
            if name not in writing.kept:
                changes.kept.setdefault(name, self.subscriptions[name])
        for name in settings:
            if name not in writing.settings:
                changes.settings.setdefault(name, self.queues[name])
        for name in fronts:
            if name not in writing.fronts:
                changes.fronts.setdefault(name, self.fronts[name])

    def copy_ids(
        self, record: Logged, there: Mapping[int, StoredId], writing: Changes, changes: Changes
    ) -> None:
        """Have the duplicate ids of a record that are alive be written again.

        Args:
            record: which.
            there: those that are in it.
            writing: what is on its way.
            changes: what is written next.
        """
        gone = {*writing.dropped_ids, *changes.dropped_ids}
        for sequence, one in there.items():
            if sequence not in gone and self.ids.get(sequence) is record:
                changes.ids[sequence] = one

    def _pin(self, what: tuple[str, str], alive: bool) -> None:
        old = self._pins.pop(what, None)
        if old is not None:
            old.living -= 1
        if alive:
            self._pins[what] = self.records[-1]
            self.records[-1].living += 1

    def settle(self) -> None:
        """Let go of the records below the floor. The last one stays."""
        records = self.records
        while len(records) > 1 and not records[0].living:
            self._drop(records.popleft())

    def cut(self, floor: int) -> list[int]:
        """Forget what is in records below a floor: somebody saw that nothing alive is there.

        Returns:
            The sequences of messages that seemed to be alive there.
        """
        if not self.records or self.records[0].number >= floor:
            return []
        gone = {record.number for record in self.records if record.number < floor}
        for sequence in [one for one, record in self.ids.items() if record.number in gone]:
            del self.ids[sequence]
        lost = [one for one, place in self.messages.items() if place.record.number in gone]
        self.remove(lost)
        for what in [what for what, record in self._pins.items() if record.number in gone]:
            kind, name = what
            del self._pins[what]
            if kind == "queue":
                del self.queues[name]
            elif kind == "front":
                del self.fronts[name]
            else:
                del self.subscriptions[name]
        while self.records and self.records[0].number < floor:
            self._drop(self.records.popleft())
        return lost

    def _drop(self, record: Logged) -> None:
        self.bytes -= record.size
        self.dropped += record.size

    def pinned(self, record: Logged) -> tuple[list[str], list[str], list[str]]:
        """Which durable subscriptions, set-up of queues, and fronts a record tells of."""
        pinned = [what for what, where in self._pins.items() if where is record]
        return (
            [name for kind, name in pinned if kind == "subscription"],
            [name for kind, name in pinned if kind == "queue"],
            [name for kind, name in pinned if kind == "front"],
        )
