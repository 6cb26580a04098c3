"""One stream of snapshots: what is written for everybody who asked for the same.

Each snapshot is encoded once, a page at a time, and its bytes are shared. Who comes later, or did
not keep up, gets the full set as of the last snapshot, which is encoded when it is first needed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Protocol

from stompy.admin.rows import Kind, Row
from stompy.admin.snapshot import (
    KEYS,
    PAGE_ROWS,
    SINGLE,
    TOPIC_PREFIX,
    VERSION,
    Format,
    Mode,
    age_fields,
)
from stompy_broker.admin.cluster_status import MergedRows
from stompy_broker.admin.snapshots.snapshot_time import SnapshotTime
from stompy_broker.admin.tasks import Steps
from stompy_broker.message import Message, MessageHead, stamp
from stompy_broker.session.sys_subscription import StreamSpec

FULL_SECONDS = 60.0
"""A stream of changes repeats everything this often."""

BUSY = 10
"""Work for a stream may take one part in so many of its interval, and of the time in all."""

_NOTHING: Mapping[str, str] = {}

Values = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class BrokerIdentity:
    """The broker as snapshots name it.

    Attributes:
        name: of the broker.
        boot: new for each start.
    """

    name: str
    boot: str


class Watcher(Protocol):
    """Who gets snapshots: a client's subscription, or another broker.

    Attributes:
        closed: whether it has ended.
    """

    closed: bool

    def behind(self, stream: StreamSpec) -> bool:
        """Whether a snapshot of a stream still waits, so that the next takes its place."""
        ...

    def offer(self, stream: StreamSpec, pages: Sequence[Message]) -> None:
        """Take a snapshot of a stream, in pages."""
        ...


class EnvelopeWriter:
    """Makes the MESSAGEs of ``$SYS`` topics.

    Args:
        identity: who speaks.
        up_ms: tells for how long the broker has been running.
    """

    def __init__(self, identity: BrokerIdentity, up_ms: Callable[[], int]) -> None:
        self._identity = identity
        self._up_ms = up_ms
        self._numbers = 0

    def message(
        self,
        kind: Kind,
        topic: str,
        seq: int,
        at: int,
        about: dict[str, object],
        more: Mapping[str, str] = _NOTHING,
    ) -> Message:
        """Make a MESSAGE with an envelope as its body.

        Args:
            kind: what the rows are.
            topic: where it is published, without ``/topic/$SYS.``.
            seq: number of the snapshot.
            at: when, in milliseconds since the epoch.
            about: the rest of the envelope.
            more: headers that it has beside the usual ones, unless they are empty.
        """
        self._numbers += 1
        envelope = {
            "v": VERSION,
            "kind": kind,
            "broker": self._identity.name,
            "boot": self._identity.boot,
            "seq": seq,
            "at": at,
            "up_ms": self._up_ms(),
            **about,
        }
        headers = {
            "destination": f"{TOPIC_PREFIX}{topic}",
            "content-type": "application/json",
            "kind": kind.value,
            "seq": str(seq),
        }
        for name in ("page", "pages"):
            if name in about:
                headers[name] = str(about[name])
        headers |= {name: value for name, value in more.items() if value}
        number = f"sys-{self._identity.boot}-{self._numbers}".encode()
        head = MessageHead.from_headers(headers, message_id=number)
        body = json.dumps(envelope, separators=(",", ":")).encode()
        return Message(self._numbers, head, body, stamp(at))


class Stream:
    """Snapshots of one kind, in one form, at one interval.

    Args:
        wanted: what it holds.
        writer: makes the messages.

    Attributes:
        subscriptions: who gets it.
        due: when the next snapshot is, on the clock; None = as soon as possible.
        interval_ms: until the next one; grows when the work takes too long.
    """

    def __init__(self, wanted: StreamSpec, writer: EnvelopeWriter) -> None:
        self.wanted = wanted
        self.subscriptions: dict[Watcher, None] = {}
        self.due: float | None = None
        self.interval_ms = wanted.interval_ms
        self._writer = writer
        self._key = attrgetter(KEYS[wanted.kind])
        self._values = _getter(wanted.fields)
        self._merged: MergedRows | None = None
        ages = age_fields(wanted.kind)
        self._ages = [
            (place, attrgetter(ages[name]))
            for place, name in enumerate(wanted.fields)
            if name in ages
        ]
        self._lasting = _getter([name for name in wanted.fields if name not in ages])
        self._seq = 0
        self._rows: dict[str, Row] = {}
        self._moment: SnapshotTime | None = None
        self._full: list[Message] | None = None
        self._full_at = 0.0

    @property
    def fresh(self) -> bool:
        """Whether there is a snapshot already."""
        return self._moment is not None

    def publish(
        self, rows: Sequence[Row], moment: SnapshotTime, merged: MergedRows | None = None
    ) -> Steps[None]:
        """Make the next snapshot, and offer it to everybody who has subscribed.

        Args:
            rows: all of them.
            moment: when it is.
            merged: the brokers whose rows they are; None = this one's alone.
        """
        self._merged = merged
        before, key = self._rows, self._key
        is_delta = (
            self.wanted.mode is Mode.DELTA
            and self.fresh
            and moment.now - self._full_at < FULL_SECONDS
        )
        after = {key(row): row for row in rows}
        self._seq += 1
        self._moment, self._rows, self._full = moment, after, None
        if not self.subscriptions:
            return  # Those who are new get it by `welcome`.
        if not is_delta:
            pages = yield from self.everything()
        else:
            lasting = self._lasting
            changed = []
            for number, (name, row) in enumerate(after.items(), 1):
                if number % PAGE_ROWS == 0:
                    yield None
                old = before.get(name)
                # Most rows are the same objects as before, which spares a look at their fields.
                if old is not row and (old is None or lasting(old) != lasting(row)):
                    changed.append(row)
            removed = [name for name in before if name not in after]
            pages = yield from self._pages(changed, self._seq - 1, removed)
        for subscription in list(self.subscriptions):
            if subscription.behind(self.wanted) and is_delta:
                # What waits there is replaced, so that changes would have nothing to build on.
                full = yield from self.everything()
                if subscription in self.subscriptions:
                    subscription.offer(self.wanted, full)
            elif subscription in self.subscriptions:
                subscription.offer(self.wanted, pages)

    def welcome(self, subscription: Watcher) -> Steps[None]:
        """Offer the last snapshot in full to one who is new, and from now on all others too."""
        pages = yield from self.everything()
        if not subscription.closed:
            self.subscriptions[subscription] = None
            subscription.offer(self.wanted, pages)

    def schedule(self, now: float, spent: float) -> None:
        """Choose when the next snapshot is due.

        Args:
            now: on the clock.
            spent: processor time that this one took, in seconds.
        """
        wanted = self.wanted.interval_ms
        self.interval_ms = wanted * max(1, -int(-spent * 1000 * BUSY // wanted))
        seconds = self.interval_ms / 1000
        # Multiples of the interval, so that streams of one interval are made in one go.
        self.due = (now // seconds + 1) * seconds

    def everything(self) -> Steps[list[Message]]:
        """Give the full set as of the last snapshot."""
        if self._full is not None:
            return self._full
        assert self._moment is not None
        self._full_at, seq = self._moment.now, self._seq
        pages = yield from self._pages(list(self._rows.values()), None, ())
        if seq == self._seq:
            self._full = pages  # else a command took so long over them that there is a newer one
        return pages

    def _pages(
        self, rows: Sequence[Row], base: int | None, removed: Sequence[str]
    ) -> Steps[list[Message]]:
        moment, wanted, seq, total = self._moment, self.wanted, self._seq, len(self._rows)
        assert moment is not None
        pages = []
        number_of_pages = max(1, -(-len(rows) // PAGE_ROWS))
        for page in range(1, number_of_pages + 1):
            some = rows[(page - 1) * PAGE_ROWS : page * PAGE_ROWS]
            envelope: dict[str, object] = {} if base is None else {"base": base}
            envelope |= {
                "tick": moment.tick,
                "interval_ms": self.interval_ms,
                "page": page,
                "pages": number_of_pages,
                "total": total,
            }
            if page == 1 and removed:
                envelope["removed"] = removed
            if self._merged is not None:
                envelope["brokers"] = self._merged.brokers
                if self._merged.missing:
                    envelope["missing"] = self._merged.missing
            if wanted.format is Format.COLUMNS:
                envelope["fields"] = wanted.fields
            envelope["data"] = self._data(some, moment.at)
            topic = wanted.topic.removeprefix("$SYS.")
            pages.append(self._writer.message(wanted.kind, topic, seq, moment.at, envelope))
            yield None
        return pages

    def _data(self, rows: Sequence[Row], at: int) -> object:
        values = [self._aged(row, at) for row in rows]
        if self.wanted.format is Format.COLUMNS:
            return values
        names = self.wanted.fields
        objects = [dict(zip(names, row, strict=True)) for row in values]
        if self.wanted.kind in SINGLE:
            return objects[0] if objects else None
        return objects

    def _aged(self, row: Row, at: int) -> Sequence[object]:
        values = self._values(row)
        if not self._ages:
            return values
        cells = list(values)
        for place, since in self._ages:
            then = since(row)
            cells[place] = None if then is None else max(0, at - then)
        return cells


def _getter(names: Sequence[str]) -> Callable[[Row], Values]:
    """Make what takes fields out of a row, as a tuple also when there is one."""
    if len(names) == 1:
        one = attrgetter(names[0])
        return lambda row: (one(row),)
    return attrgetter(*names)
