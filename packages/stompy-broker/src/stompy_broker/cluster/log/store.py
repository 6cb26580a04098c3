"""The store on a log: a group commit is one record, safe on most of the servers that keep the log.

How it keeps its promises:

* **Whole turns.** What one turn of the event loop told is in one record, and a record is in the
  log or is not.
* **What is settled in time is never written**, as in the store on a disk.
* **One record at a time.** It expects the place of the one before it, which is known when that one
  is stored. What is told meanwhile goes into the next one. Groups that share a stream do not wait
  for one another, and its servers sync for all of them at once.
* **Trouble is waited out.** While the log is busy the record stays as it is and is appended again:
  it may have been stored although nobody said so, and then it must not be another one.
* **Fenced for good.** If somebody else has written to the log, nothing that was not safe before
  becomes safe any more, nobody who waits is told anything, and nothing more is taken.
* **The log does not grow for ever.** Records below the floor are deleted, once a record that names
  the floor is stored, so that who reads the log knows. An old message would pin all that is behind
  it: when little of the log is alive, what is alive in its oldest record is written again at the
  end.

Memory holds where each message is, not its body twice: that is read from the log again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from stompy_broker.cluster.log.bodies import LoggedBodies
from stompy_broker.cluster.log.changes import (
    Changes,
    FrontMark,
    LoggedMessage,
    WrittenChanges,
    messages_of,
    read_changes,
    write_changes,
)
from stompy_broker.cluster.log.gathering import Gathering
from stompy_broker.cluster.log.index import Index, Logged
from stompy_broker.cluster.log.joint_commit import JointCommit
from stompy_broker.cluster.log.log import Answer, Append, Busy, Fenced, Stored
from stompy_broker.cluster.log.log_record import (
    HEAD_BYTES,
    RecordError,
    RecordHead,
    RecordKind,
    join,
    read_part,
    write_record,
)
from stompy_broker.cluster.log.shared_store import SharedStore
from stompy_broker.cluster.log.stored_share import StoredShare
from stompy_broker.cluster.log.takeover import Tenure
from stompy_broker.cluster.log.writing import Writing
from stompy_broker.message import Message, earlier_deliveries, stamp
from stompy_broker.store.base import Callback, Restored, StoredSubscription, StoreStats, call_all
from stompy_broker.store.batch import Damaged
from stompy_broker.store.paused_senders import PausedSenders
from stompy_broker.timers import Clock

log = logging.getLogger("stompy_broker.cluster")

LAZY_SECONDS = 0.02
"""How long a change that nobody waits for may stay unwritten. Most are taken back before."""

PATIENCE_SECONDS = 2.0
"""A record that takes longer is trouble: producers are stopped, and it is said."""

_RETRY_SECONDS = 1.0
"""After how long a record is asked for again that could not be read."""

_BATCH = 1024 * 1024
"""The weight of changes from which on nobody is to tell much more."""

_MUCH = 64 * 1024
"""Who tells less in one read need not wait, unless there are very many of them."""

_OVERLOADED = 4
"""At how many times the weight everybody waits who tells anything."""

_TRIM_BYTES, _TRIM_RECORDS = 4 * 1024 * 1024, 2000
"""So much below the floor is worth being deleted."""

_LONG_BYTES, _ALIVE = 32 * 1024 * 1024, 4
"""From which length on, and if less than one in so many bytes is alive, records are copied."""

_COPY_SECONDS = 0.02
"""How long it pauses between two records that are copied."""


@dataclass(frozen=True, slots=True)
class LogListener:
    """What is called when something happens in a store on a log.

    Attributes:
        written: told the messages that are safe, so that bodies can be let go.
        troubled: told whenever trouble begins and ends.
        released: called when the only one who waited was told, so that the answer can go out.
        damaged: told of each message whose body turns out not to be what was written.
        fenced: told who owns the log now; called once, and nothing becomes safe any more.
    """

    written: Callable[[Iterable[Message]], None] = lambda messages: None
    troubled: Callable[[bool], None] = lambda trouble: None
    released: Callable[[], None] = lambda: None
    damaged: Callable[[Damaged], None] = lambda damaged: None
    fenced: Callable[[str], None] = lambda reason: None


class LoggedStore(SharedStore):
    """Messages in a log that this broker owns.

    Args:
        tenure: the ownership, just begun.
        clock: for lazy writing and for trying again.
        soon: calls a function at the end of the present turn of the event loop.
        listener: is told what happens.

    Attributes:
        index: what is alive in the log.
        fenced: who owns the log now, if not this broker.
        place: of the last entry in the log.
        joint: the change of several groups that the next record is part of.
    """

    def __init__(
        self,
        tenure: Tenure,
        clock: Clock,
        soon: Callable[[Callable[[], None]], object],
        listener: LogListener | None = None,
    ) -> None:
        replay = tenure.replay
        self.durable = True
        self.trouble = ""
        self.fenced = ""
        self.index: Index = replay.index
        self._rows: dict[int, LoggedMessage] | None = replay.rows
        self._ids = replay.ids
        self._last_sequence = replay.index.highest
        self._doubtful = replay.doubtful
        self._log = tenure.log
        self._tenure = tenure.number
        self._number = replay.number
        self.place = tenure.place
        self._trimmed = replay.floor
        self._trimmed_bytes = 0
        self._clock = clock
        self._soon = soon
        self._listener = listener or LogListener()
        self._bodies = LoggedBodies(self._log, self.index, clock, self._listener.damaged)
        self._changes = Changes()
        self.joint: JointCommit | None = None
        self.share = self._carried_out = None
        self._writing: Writing | None = None
        self._leaving: Callback | None = None
        self._closed = False
        self._flush_is_due = False
        self._asked = 0  # how many wait for a commit since the last turn
        self._alone = False  # whether one did in the turn before
        self._gathering = Gathering(clock, self._flush)
        self._paused = PausedSenders(self._has_room, soon)
        self._commits = 0
        self._commit_seconds = 0.0
        self._copying = False
        self._lazy_timer = clock.timer(self._flush)
        self._again_timer = clock.timer(self._append)
        self._patience_timer = clock.timer(self._lose_patience)
        self._copy_timer = clock.timer(self._copy_oldest)
        self._busy = ""  # why the record is not stored yet

    @property
    def last_sequence(self) -> int:
        """Of what was ever in the log when it was taken over."""
        return self._last_sequence

    def stats(self) -> StoreStats:
        """How it is doing."""
        return StoreStats(
            self.trouble,
            self.index.bytes,
            0,
            self._changes.size + (0 if self._writing is None else self._writing.changes.size),
            self._commits,
            self._commit_seconds,
            self._bodies.damaged,
        )

    # -- what survived ------------------------------------------------------------------------

    def restore(self) -> Iterator[Restored]:
        """Every message that is alive in the log, without its body."""
        rows, self._rows = self._rows or {}, None
        states = self.index.states
        at, last_received = b"", -1
        for sequence in sorted(rows):
            row = rows.pop(sequence)
            if row.received != last_received:
                at, last_received = stamp(row.received), row.received
            deliveries, failures, due, holder = states.get(sequence, (0, 0, 0, 0))
            past = earlier_deliveries(deliveries, failures, perhaps_more=sequence <= self._doubtful)
            length = row.placed.length
            message = Message(sequence, row.head, None, at, past, length=length)
            message.expires = row.expires
            yield Restored(row.destination, message, due, holder)

    def queues(self) -> Mapping[str, Mapping[str, str]]:
        """The set-up of queues in the log."""
        return dict(self.index.queues)

    def subscriptions(self) -> list[StoredSubscription]:
        """Every durable subscription in the log."""
        return list(self.index.subscriptions.values())

    # -- what happens -------------------------------------------------------------------------

    def append(self, destination: str, message: Message) -> None:
        """Put a message into the next record, from which it is taken if it is removed soon."""
        if self._carried_out and self._carried_out.appended.pop(message.sequence, None):
            return
        changes = self._changes
        changes.appended[message.sequence] = (destination, message)
        changes.bytes += message.size
        if not self._flush_is_due:
            self._flush_lazily()

    def mark_delivered(
        self, message: Message, deliveries: int, due: int = 0, holder: int = 0
    ) -> None:
        """Put into the next record how often a message was delivered, and who has it."""
        failures = 0 if message.redelivery is None else message.redelivery.failures
        self._changes.states[message.sequence] = (deliveries, failures, due, holder)
        if not self._flush_is_due:
            self._flush_lazily()

    def remove(self, message: Message) -> None:
        """Take a message out of the next record if it is there; have that say so otherwise."""
        changes, sequence = self._changes, message.sequence
        if self._carried_out and sequence in self._carried_out.removed:
            return
        changes.states.pop(sequence, None)
        if changes.appended.pop(sequence, None) is None:
            changes.removed.append(sequence)
            if not self._flush_is_due:
                self._flush_lazily()
        else:
            changes.bytes -= message.size

    def is_written(self, message: Message) -> bool:
        """Whether it is in the log."""
        return message.sequence in self.index.messages

    def load(self, messages: Sequence[Message], done: Callback) -> None:
        """Have bodies read from the log: who has none was written before."""
        self._bodies.load(messages, done)

    def keep_queue(self, name: str, headers: Mapping[str, str] | None) -> None:
        """Put the set-up of a queue, or its end, into the next record."""
        self._changes.settings[name] = headers
        self._flush_lazily()

    def keep_subscription(self, subscription: StoredSubscription) -> None:
        """Put a durable subscription into the next record."""
        self._changes.kept[subscription.name] = subscription
        self._flush_lazily()

    def drop_subscription(self, name: str) -> None:
        """Put the end of a durable subscription into the next record."""
        self._changes.kept[name] = None
        self._flush_lazily()

    def doubt(self, sequence: int) -> None:
        """Messages up to this one may have been delivered by somebody of whom nothing is known."""
        self._doubtful = max(self._doubtful, sequence)

    def fronts(self) -> Mapping[str, FrontMark]:
        """How far other brokers are, by the names of their fronts, as the log has it."""
        return dict(self.index.fronts)

    def keep_front(self, name: str, mark: FrontMark | None) -> None:
        """Put into the next record how far another broker is; None: it has gone."""
        self._changes.fronts[name] = mark
        self._flush_lazily()

    def sync(self, done: Callback) -> None:
        """Call ``done`` once a record with all that was told is stored."""
        if self._is_all_safe and not self.fenced:
            done()
            return
        self._changes.waiting.append(done)
        self._asked += 1
        self._flush_is_due = True
        if self._writing is None and len(self._changes.waiting) in (1, self._gathering.expected):
            self._soon(self._end_turn)

    @property
    def _is_all_safe(self) -> bool:
        return self._changes.empty and self._writing is None and self.joint is None

    @property
    def gathered(self) -> int:
        """The weight of the next record."""
        return self._changes.weight

    def end_of_read(self, before: int) -> bool:
        """Append for a sender who was alone in the turn before; hold back one who told too much."""
        waiting = len(self._changes.waiting)
        if self._alone and self._asked == 1 and waiting >= max(1, self._gathering.expected):
            self._flush()
            return False
        gathered = self._changes.weight
        if gathered < _BATCH:
            return False
        if self._writing is None:
            self._flush()
            if self._writing is not None or self.joint is None:
                return False
        much = gathered - before >= _MUCH
        return not self.trouble and (much or before < gathered >= _BATCH * _OVERLOADED)

    def wait(self, go_on: Callback) -> None:
        """Call ``go_on`` when there is room in a record, in the order of who asked."""
        self._paused.add(go_on)

    def forget(self, go_on: Callback) -> None:
        """Do not call ``go_on`` any more."""
        self._paused.forget(go_on)

    def leave(self, done: Callback) -> None:
        """Make everything safe, say in the log that this was an orderly end, then call ``done``.

        It is not called while the log is busy, nor if somebody else owns it.
        """
        self._begin_leaving(done)
        self._flush()

    def close(self) -> None:
        """Let go of everything. What is not safe is so only if `leave` came first."""
        self._closed = True
        self._break_joint()
        self._lose_shares("its group goes elsewhere")
        for timer in (self._lazy_timer, self._again_timer, self._patience_timer, self._copy_timer):
            timer.end()
        self._gathering.end()
        self._bodies.close()
        self._paused.clear()

    # -- writing ------------------------------------------------------------------------------

    def _flush_lazily(self) -> None:
        self._flush_is_due = True
        self._lazy_timer.set(self._clock.now() + LAZY_SECONDS)

    def _end_turn(self) -> None:
        self._alone, self._asked = self._asked == 1, 0
        self._flush_gathered()

    def _flush_gathered(self) -> None:
        """Begin the next record, once those are in it who were just told, or do not come."""
        at_once = bool(self.joint or self.share) or self._changes.weight >= _BATCH
        if at_once or not self._gathering.holds(len(self._changes.waiting)):
            self._flush()

    def _flush(self) -> None:
        """Begin the next record, unless one is on its way."""
        if self._writing is not None or self._closed:
            return
        self._flush_is_due = False
        self._lazy_timer.cancel()
        if self.fenced:
            self._changes = Changes()
        elif self.joint is not None:
            self.joint.flush()
        elif self.share is not None:
            share, self.share = self.share, None
            self._begin(RecordKind.CHANGES, share=share)
        elif not self._changes.empty:
            self._begin(RecordKind.CHANGES)
            self._append()
        elif self._leaving is not None:
            self._begin(RecordKind.LEAVE)
            self._append()
        else:
            self._confirm(self._changes)
            self._paused.resume()

    def _begin(
        self,
        kind: RecordKind,
        joint: JointCommit | None = None,
        share: StoredShare | None = None,
    ) -> None:
        changes, self._changes = self._changes, Changes()
        self._gathering.begun()
        sharing = None
        if share is not None:
            changes, sharing = share.put_into(changes)
        self._paused.resume()
        written = write_changes(changes) if kind is RecordKind.CHANGES else WrittenChanges(b"", [])
        index = self.index
        highest = max(index.highest, max(changes.appended, default=0))
        head = RecordHead(
            kind, self._tenure, self._number + 1, index.floor, highest, self._doubtful
        )
        parts = write_record(head, written.payload, self._log.part_bytes)
        now = self._clock.now()
        below = index.records[0].places[0]
        self._writing = Writing(
            changes, head, written, parts, now, below, index.dropped, joint, sharing
        )
        self._patience_timer.set(now + PATIENCE_SECONDS + len(written.payload) / _BATCH)
        if share is not None:
            share.closed(self, Append(self._log, parts, self.place))

    def _append(self) -> None:
        writing = self._writing
        if writing is None or self._closed or writing.is_offered:
            return
        if writing.joint is None:
            self._log.append(writing.parts, self.place, self.answered)
        else:
            writing.joint.append()

    def answered(self, answer: Answer) -> None:
        """Take what came of the record that is on its way."""
        writing = self._writing
        if writing is None or self._closed:
            return
        match answer:
            case Stored(last):
                self._writing = None
                self._stored(writing, last)
            case Busy(reason, seconds):
                if reason != self._busy:
                    log.debug("record %d is not stored yet: %s", writing.head.number, reason)
                self._busy = reason
                self._again_timer.set(self._clock.now() + seconds)
            case Fenced(reason, place, octets):
                if writing.is_in_after_all(octets):
                    self._writing = None
                    self._stored(writing, place)
                else:
                    self._fence(reason)

    def _lose_patience(self) -> None:
        writing = self._writing
        if writing is not None:
            seconds = self._clock.now() - writing.begun
            reason = f": {self._busy}" if self._busy else ""
            log.error("the log takes no record for %.0f s%s; trying again", seconds, reason)
            self._update_trouble(f"the log is not answered by most of its servers{reason}")

    # -- the end ------------------------------------------------------------------------------

    def _fence(self, reason: str) -> None:
        """Somebody else has written to the log: whatever is not safe never becomes so here."""
        log.error("tenure %d has ended: the log was taken over by %s", self._tenure, reason)
        self.fenced = reason
        self._break_joint()
        self._lose_shares(reason)
        self._writing, self._changes = None, Changes()
        self._again_timer.end()
        self._patience_timer.end()
        self._copy_timer.end()
        self._update_trouble(f"the log belongs to another broker: {reason}")
        self._listener.fenced(reason)

    def _update_trouble(self, trouble: str) -> None:
        was, self.trouble = self.trouble, trouble
        if trouble:
            # Who needs the log waits for its recovery, the others for nobody.
            self._paused.resume()
        if bool(was) != bool(trouble):
            self._listener.troubled(bool(trouble))

    def _has_room(self) -> bool:
        return bool(self.trouble) or self._changes.weight < _BATCH

    # -- what is stored -----------------------------------------------------------------------

    def _stored(self, writing: Writing, last: int) -> None:
        seconds = self._clock.now() - writing.begun
        self._commit_seconds += (seconds - self._commit_seconds) / 8
        self._commits += 1
        self._busy = ""
        self._patience_timer.cancel()
        if self.trouble:
            log.warning("the log takes records again, after %.1f s", seconds)
            self._update_trouble("")
        self._number, self.place = writing.head.number, last
        self._work_in(writing, last)
        expected = len(writing.changes.waiting) + len(self._changes.waiting)
        self._gathering.told(expected, self._commit_seconds)
        if writing.sharing is not None:
            self._end_share(writing.sharing, last)
        # Receipts first: somebody waits for them. Bodies may leave memory after that.
        self._confirm(writing.changes)
        self._listener.written(writing.still_waiting(self._changes))
        self._trim(writing)
        if writing.head.kind is RecordKind.LEAVE:
            self._paused.resume()  # who waits for room goes on with the next owner
            done, self._leaving = self._leaving, None
            if done is not None:
                done()
        elif self._leaving is not None:
            self._flush()
        elif self._is_wanted:
            self._flush_gathered()
        else:
            self._paused.resume()
            if self._flush_is_due:
                self._lazy_timer.set(self._clock.now() + LAZY_SECONDS)

    @property
    def _is_wanted(self) -> bool:
        """Whether the next record is to be begun at once."""
        wanted = bool(self._changes.waiting) or self._changes.weight >= _BATCH
        joint = self.joint is not None and self.joint.wanted
        return wanted or joint or self.share is not None

    def _work_in(self, writing: Writing, last: int) -> None:
        index, changes, parts = self.index, writing.changes, writing.parts
        places = range(last - len(parts) + 1, last + 1)
        index.add(
            Logged(
                writing.head.number,
                places,
                len(parts[0]) - HEAD_BYTES,
                sum(map(len, parts)),
            )
        )
        for placed, state in writing.placed():
            index.place(placed, state)
        for sequence, state in changes.states.items():
            index.mark(sequence, state)
        index.remove(changes.removed)
        index.keep_all(changes)
        index.settle()
        self._copying = False
        self._copy_if_due()

    def _confirm(self, changes: Changes) -> None:
        waiting, changes.waiting = changes.waiting, []
        call_all(waiting)
        if len(waiting) == 1:
            self._listener.released()

    def _trim(self, writing: Writing) -> None:
        """Delete what is below the floor that a stored record names, once it is worth it."""
        floor = writing.head.floor
        much = (
            floor - self._trimmed >= _TRIM_RECORDS
            or writing.dropped - self._trimmed_bytes >= _TRIM_BYTES
            or writing.head.kind is RecordKind.LEAVE
        )
        if much and floor > self._trimmed:
            self._trimmed, self._trimmed_bytes = floor, writing.dropped
            self._log.trim(writing.below)

    # -- copying ------------------------------------------------------------------------------

    def _copy_if_due(self) -> None:
        """Have what is alive in the oldest record written again, if little of the log is alive."""
        index = self.index
        sparse = index.bytes >= _LONG_BYTES and index.living_bytes * _ALIVE < index.bytes
        if sparse and len(index.records) > 1 and not self._copying and self._leaving is None:
            self._copying = True
            self._copy_timer.set(self._clock.now() + _COPY_SECONDS)

    def _copy_oldest(self) -> None:
        record = self.index.records[0]
        self._log.get(record.places, partial(self._copy, record), self._cannot_copy)

    def _cannot_copy(self, reason: str) -> None:
        log.debug("the oldest record of the log cannot be read: %s", reason)
        self._copy_timer.set(self._clock.now() + _RETRY_SECONDS)

    def _copy(self, record: Logged, entries: Mapping[int, bytes]) -> None:
        if self._closed or self.fenced:
            return
        try:
            parts = [read_part(entries[place]) for place in record.places if place in entries]
            _, payload = join(parts) if parts else (None, b"")
            read = read_changes(payload)
        except RecordError as error:
            # It stays where it is, and so does all behind it; who takes over next will be told.
            log.error("record %d of the log is damaged: %s", record.number, error)
            return
        writing = Changes() if self._writing is None else self._writing.changes
        index, changes = self.index, self._changes
        gone = {*writing.removed, *changes.removed}
        alive = [
            one
            for one in read.messages
            if one.placed.sequence not in gone
            and (place := index.messages.get(one.placed.sequence)) is not None
            and place.record is record
        ]
        for destination, message in messages_of(payload, alive):
            sequence = message.sequence
            state = writing.states.get(sequence) or index.states.get(sequence) or (0, 0, 0, 0)
            changes.copied[sequence] = (destination, message, state)
        index.copy_pinned(record, writing, changes)
        index.copy_ids(record, read.ids, writing, changes)
        self._flush_lazily()
