"""The JSON envelope of ``$SYS`` topics, and how a reader keeps a set of rows up to date.

A snapshot comes in pages of at most `PAGE_ROWS` rows: several MESSAGE frames with one ``seq`` and
rising ``page``. It is the full set, or (``mode:delta``) what changed since the snapshot ``base``.
`read_page` reads one page; a `Table` gathers pages and gives the rows as they are now. Which pages
fit together, a `SnapshotSequence` knows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import Enum, StrEnum
from functools import cache
from typing import Any, cast

from stompy.admin.rows import (
    BrokerRow,
    ClusterRow,
    ConnectionRow,
    DurableRow,
    Event,
    Kind,
    QueueDetail,
    QueueRow,
    ReaderRow,
    RetainedRow,
    Row,
    ScheduledRow,
    SubscriptionRow,
    TopicRow,
    TransactionRow,
)
from stompy.records import Rows

VERSION = 1
"""Version of the schema: ``"v"`` in each envelope, ``admin-version`` in CONNECTED."""

PAGE_ROWS = 200
"""Rows to a page, at most."""

TOPIC_PREFIX = "/topic/$SYS."
COMMAND_DESTINATION = "/queue/$SYS.command"

ROWS: Mapping[Kind, type[Row]] = {
    Kind.BROKER: BrokerRow,
    Kind.QUEUES: QueueRow,
    Kind.TOPICS: TopicRow,
    Kind.CONNECTIONS: ConnectionRow,
    Kind.SUBSCRIPTIONS: SubscriptionRow,
    Kind.DURABLE: DurableRow,
    Kind.TRANSACTIONS: TransactionRow,
    Kind.SCHEDULED: ScheduledRow,
    Kind.READERS: ReaderRow,
    Kind.RETAINED: RetainedRow,
    Kind.CLUSTER: ClusterRow,
    Kind.QUEUE: QueueDetail,
    Kind.EVENT: Event,
}
"""The dataclass of each kind."""

SINGLE = frozenset((Kind.BROKER, Kind.QUEUE, Kind.EVENT))
"""Kinds whose ``data`` is one object rather than a list of rows."""

KEYS: Mapping[Kind, str] = dict.fromkeys(Kind, "id") | {
    Kind.BROKER: "name",
    Kind.QUEUES: "name",
    Kind.TOPICS: "name",
    Kind.DURABLE: "name",
    Kind.RETAINED: "name",
    Kind.QUEUE: "name",
}
"""The field that tells the rows of a kind apart; it never changes within one boot."""


_AGES: Mapping[type[Row], Mapping[str, str]] = {
    cls: {one.name: one.metadata["age_of"] for one in fields(cls) if "age_of" in one.metadata}
    for cls in ROWS.values()
}

AGES: Mapping[str, str] = {age: since for ages in _AGES.values() for age, since in ages.items()}
"""`age_fields` of all kinds together."""


_CLUSTER_FIELDS: Mapping[type[Row], tuple[str, ...]] = {
    cls: tuple(one.name for one in fields(cls) if "cluster" in one.metadata)
    for cls in ROWS.values()
}


class Mode(StrEnum):
    """What a subscription gets after its first snapshot: header ``mode``."""

    FULL = "full"
    """Everything, each time."""
    DELTA = "delta"
    """What changed since the one before; everything once a minute, and after a gap."""


class Format(StrEnum):
    """How rows are written: header ``format``."""

    OBJECTS = "objects"
    """Each row a JSON object."""
    COLUMNS = "columns"
    """``fields`` once a page, each row an array."""


class SchemaError(ValueError):
    """What came is no page of a version that is understood here."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a snapshot, or one event.

    Attributes:
        kind: what the rows are.
        broker: its name.
        boot: new for each start of the broker; counters and ids belong to it.
        seq: number of the snapshot within this topic, mode, format, interval and fields.
        base: the snapshot that this one builds on; None = it is complete in itself.
        tick: the same for all kinds that were looked at together.
        at: when, in milliseconds since the epoch.
        up_ms: the same on a clock that only goes forward; rates are to be worked out with it.
        interval_ms: until the next one.
        page: number of this page, from 1.
        pages: how many there are.
        total: rows in the full set.
        rows: the rows of this page.
        removed: keys of rows that are gone since ``base``; on the first page.
        brokers: ids of the brokers of a cluster whose rows these are; empty without a cluster.
        missing: ids of those that did not answer in time, whose rows are not here.
    """

    kind: Kind
    broker: str
    boot: str
    seq: int
    base: int | None
    tick: int
    at: int
    up_ms: int
    interval_ms: int
    page: int
    pages: int
    total: int
    rows: tuple[Row, ...]
    removed: tuple[str, ...] = ()
    brokers: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return Rows(self.rows)._repr_html_()


@cache
def field_names(kind: Kind, *, clustered: bool = False) -> tuple[str, ...]:
    """The fields of a kind in the order of the schema, without ``self``.

    Args:
        kind: what the rows are.
        clustered: whether with those that only brokers of a cluster send.
    """
    left_out = {"self"} if clustered else {"self", *cluster_fields(kind)}
    return tuple(field.name for field in fields(ROWS[kind]) if field.name not in left_out)


@cache
def cluster_fields(kind: Kind) -> frozenset[str]:
    """The fields of a kind that only brokers of a cluster send."""
    return frozenset(_CLUSTER_FIELDS[ROWS[kind]])


def age_fields(kind: Kind) -> Mapping[str, str]:
    """The fields of a kind that say how long ago another one is, and which one that is.

    A delta does not repeat a row because of them.
    """
    return _AGES[ROWS[kind]]


@cache
def moving_fields(kind: Kind) -> frozenset[str]:
    """The fields of a kind that may change although nothing has happened, ages included."""
    moving = (field.name for field in fields(ROWS[kind]) if field.metadata.get("moving"))
    return frozenset((*age_fields(kind), *moving))


def read_page(body: bytes | str, headers: Mapping[str, str] | None = None) -> Page:
    """Read the body of a MESSAGE from a ``$SYS`` topic, in either format.

    Args:
        body: JSON.
        headers: of the MESSAGE; its ``self`` marks the rows of the connection that asks.

    Raises:
        SchemaError: it is no page, or of a version or kind that is not known.
    """
    try:
        envelope = json.loads(body)
    except ValueError as error:
        raise SchemaError(f"not JSON: {error}") from None
    return page_from(envelope, (headers or {}).get("self", ""))


def page_from(envelope: object, own: str = "") -> Page:
    """`read_page` for JSON that is read already.

    Args:
        envelope: the JSON object.
        own: id of the connection that asks; empty = unknown.

    Raises:
        SchemaError: it is no page, or of a version or kind that is not known.
    """
    if not isinstance(envelope, dict):
        raise SchemaError(f"a page is a JSON object, not {type(envelope).__name__}")
    if envelope.get("v") != VERSION:
        raise SchemaError(f"schema version {envelope.get('v')!r}; version {VERSION} is known here")
    try:
        kind = Kind(envelope["kind"])
        data = envelope["data"]
        return Page(
            kind=kind,
            broker=str(envelope.get("broker", "")),
            boot=str(envelope.get("boot", "")),
            seq=int(envelope.get("seq", 0)),
            base=envelope.get("base"),
            tick=int(envelope.get("tick", 0)),
            at=int(envelope.get("at", 0)),
            up_ms=int(envelope.get("up_ms", 0)),
            interval_ms=int(envelope.get("interval_ms", 0)),
            page=int(envelope.get("page", 1)),
            pages=int(envelope.get("pages", 1)),
            total=int(envelope.get("total", 1)),
            rows=tuple(_rows(kind, data, envelope.get("fields"), own)),
            removed=tuple(map(str, envelope.get("removed", ()))),
            brokers=tuple(map(str, envelope.get("brokers", ()))),
            missing=tuple(map(str, envelope.get("missing", ()))),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SchemaError(f"no page of a snapshot: {error!r}") from None


def _rows(kind: Kind, data: Any, names: Sequence[str] | None, own: str) -> list[Row]:
    if data is None and kind in SINGLE:
        return []  # there is nothing of that name
    listed: list[Any] = data if isinstance(data, list) else [data]
    if names is not None:
        listed = [dict(zip(names, values, strict=False)) for values in listed]
    return [row_from(kind, value, own) for value in listed]


def row_from(kind: Kind, value: Mapping[str, object], own: str = "") -> Row:
    """A row from its JSON object; fields that are not known are ignored.

    Args:
        kind: what it is.
        value: the JSON object.
        own: id of the connection that asks; its rows get ``self``.

    Raises:
        TypeError: it is not an object.
    """
    if not isinstance(value, Mapping):
        raise TypeError(f"a row is a JSON object, not {type(value).__name__}")
    known = _known(kind)
    found = {
        name: tuple(cell) if isinstance(cell, list) else cell
        for name, cell in value.items()
        if name in known
    }
    if own and "self" in known:
        found["self"] = own == value.get("connection", value.get("id"))
    return ROWS[kind](**found)  # type: ignore[arg-type]  # what a broker sends is taken as it is


@cache
def _known(kind: Kind) -> frozenset[str]:
    return frozenset(field.name for field in fields(ROWS[kind]))


def row_to_json(row: Row) -> dict[str, object]:
    """The JSON object of a row, without what is said in a cluster only where there is none."""
    found = {field.name: getattr(row, field.name) for field in fields(row)}
    for name in _CLUSTER_FIELDS[type(row)]:
        if found[name] is None:
            del found[name]
    return found


def key_of(kind: Kind, row: Row) -> str:
    """What tells a row from the others of its kind."""
    return cast(str, getattr(row, KEYS[kind]))


def aged(row: Row, at: int) -> Row:
    """The row with its ages as they are at another time, in milliseconds since the epoch."""
    changed = {}
    for age, since in _AGES[type(row)].items():
        then = getattr(row, since)
        if then is not None:
            changed[age] = max(0, at - then)
    return replace(row, **changed) if changed else row


class Fit(Enum):
    """How a page fits to those before it."""

    PART = "part"
    """It is the next one of its snapshot, and more are to come."""
    WHOLE = "whole"
    """With it the snapshot is complete."""
    MISFIT = "misfit"
    """Something before it is missing: it means nothing."""


class SnapshotSequence:
    """Whether the pages of one subscription fit together; what is in them is the reader's business.

    `Table` keeps rows by it. A reader with rows of another form can do the same, page by page.

    Attributes:
        boot, seq: of the last complete snapshot; `seq` is None before the first.
        lost: whether something is missing, so that the next full snapshot has to be waited for,
            or asked for.
        gaps: how many snapshots never came, or not as a whole, so far.
    """

    def __init__(self) -> None:
        self.boot = ""
        self.seq: int | None = None
        self.lost = False
        self.gaps = 0
        self._begun: tuple[str, int] | None = None
        self._pages = 0

    def take(self, boot: str, seq: int, base: int | None, page: int = 1, pages: int = 1) -> Fit:
        """Take the head of the next page, as `Page` has it."""
        if page == 1:
            # A page 1 always begins anew: what the one before had begun was given up.
            known = base is None or (base == self.seq and boot == self.boot)
            self._begun = (boot, seq) if known else None
        else:
            known = page == self._pages + 1 and (boot, seq) == self._begun
        if not known:
            self._begun = None
            # After a full snapshot that broke off, what was there before is still true.
            self.lost = self.lost or base is not None
            return Fit.MISFIT
        self._pages = page
        if page < pages:
            return Fit.PART
        if self.seq is not None and boot == self.boot:
            self.gaps += max(0, seq - self.seq - 1)
        self.boot, self.seq, self.lost, self._begun = boot, seq, False, None
        return Fit.WHOLE


class Table:
    """The rows of one subscription as they are now, put together from pages.

    Args:
        kind: what the rows are.

    Attributes:
        rows: by key, in the order of their first coming; as of the last complete snapshot.
        page: the last page of that snapshot; None before the first.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.rows: dict[str, Row] = {}
        self.page: Page | None = None
        self._sequence = SnapshotSequence()
        self._gathered: list[Page] = []

    @property
    def lost(self) -> bool:
        """Whether something is missing, so that the next full snapshot has to be waited for.

        The command ``snapshot.get`` asks for one.
        """
        return self._sequence.lost

    @property
    def gaps(self) -> int:
        """How many snapshots never came, or not as a whole, so far."""
        return self._sequence.gaps

    def add(self, page: Page) -> bool:
        """Take a page; say whether it completes a snapshot, so that `rows` has changed."""
        fit = self._sequence.take(page.boot, page.seq, page.base, page.page, page.pages)
        if page.page == 1 or fit is Fit.MISFIT:
            self._gathered = []
        if fit is Fit.MISFIT:
            return False
        self._gathered.append(page)
        if fit is Fit.PART:
            return False
        pages, self._gathered = self._gathered, []
        self._complete(pages)
        return True

    def _complete(self, pages: list[Page]) -> None:
        if pages[0].base is None:
            self.rows = {}
        for key in pages[0].removed:
            self.rows.pop(key, None)
        for page in pages:
            for row in page.rows:
                self.rows[key_of(self.kind, row)] = row
        self.page = pages[-1]

    def now(self) -> Rows[Row]:
        """All rows, with their ages as of the last snapshot."""
        at = self.page.at if self.page else 0
        return Rows(aged(row, at) for row in self.rows.values())

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return self.now()._repr_html_()
