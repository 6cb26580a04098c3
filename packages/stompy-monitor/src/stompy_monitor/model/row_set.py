"""The rows of one kind: a page of a snapshot in, current rows with rates out.

Rows keep the values as they came, a list beside one index of the fields: thousands of them come
each second and a dozen are looked at, so the dataclasses of `stompy.admin`, which say what the
fields mean, are not built here. What holds:

* Foreign text is made safe here, once. What it was tells rows apart, and goes into commands: two
  names may look alike.
* Rates are differences of counters over the broker's own running time (``up_ms``), which no
  change of the wall clock disturbs. A counter that fell has no rate for that tick.
* Which pages fit together the library knows (`SnapshotSequence`); one that does not is a `Gap`.
  Pages are taken as they come, not gathered: a large set would hold up the screen at its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from stompy.admin import AGES, KEYS, ROWS, Fit, Kind, SnapshotSequence, age_fields
from stompy_monitor.model.escape import safe, safe_value
from stompy_monitor.model.history import History

Envelope = Mapping[str, object]
"""One message of an admin topic, read from JSON."""

RATES = {
    "queues": {"in": "in_msgs", "out": "out_msgs", "ack": "acked"},
    "topics": {"in": "in_msgs", "out": "out_msgs"},
    "connections": {"in": "in_msgs", "out": "out_msgs"},
    "subscriptions": {"out": "delivered", "ack": "acked"},
    "cluster": {"in": "in_msgs", "out": "out_msgs"},
    "readers": {"out": "delivered", "ack": "acked"},
}
"""Rates by kind, and the counters that they come from."""

LEVELS = {"queues": ("ready", "unacked")}
"""The values that have a history beside the rates, by kind."""

_OWN_KEYS: Mapping[str, tuple[str, ...]] = {
    "dead": ("queue", "origin", "reason"),
    "events": ("number",),
    "messages": ("message_id",),
    "problems": ("kind", "key", "name", "reason"),
}
"""What tells rows apart, of the kinds that the monitor puts together itself."""

HAYSTACK = {
    "queues": ("name",),
    "topics": ("name",),
    "connections": ("id", "peer", "user", "client_id"),
    "subscriptions": ("connection", "client", "user", "destination", "id", "durable_name"),
    "transactions": ("id", "transaction", "connection", "client", "user"),
    "durable": ("name", "destination"),
    "scheduled": ("destination", "job_id", "cron"),
    "readers": ("stream", "name", "subscription", "selector"),
    "retained": ("name", "message_id"),
    "cluster": ("what", "name", "owner", "state", "address"),
    "dead": ("queue", "origin", "reason"),
    "events": ("type", "who", "connection", "user", "subject", "reason"),
    "messages": ("message_id", "preview", "words"),
    "problems": ("kind", "name", "reason"),
}
"""The fields in which a bare word of a filter is looked for."""

_JOINT = " · "
"""Between the parts of a key that has several."""

_PLAIN = ("int", "float", "bool", "int | None")
_HARMLESS = {
    kind.value: frozenset(field.name for field in fields(row) if field.type in _PLAIN)
    for kind, row in ROWS.items()
}
"""The fields that can hold no text, by kind; all others, unknown ones as well, are made safe."""


_NOTHING: Mapping[str, object] = {}

Reason = tuple[int, Callable[["Row", float], str], float]


class Gap(Exception):  # noqa: N818 -- not an error: the next full set mends it
    """Something is missing: a page, or the snapshot that a delta builds on."""


class Row:
    """One row, always the current one of its key.

    Attributes:
        key: what tells it from others; never reused while the broker runs.
        values: as they came, made safe.
        raw: those that were others before they were made safe, by name.
        rates: per second, by name; None while unknown.
        history: rings of levels and rates, for the kinds that have them.
        severity: 0, 1 for warn, 2 for critical.
        said: the reasons, the worst first: how severe each is, its words, and what was measured.
        changed: the version of its table in which it last became another one; that its ages grow
            does not count.
    """

    __slots__ = (
        "_haystack",
        "changed",
        "history",
        "key",
        "rates",
        "raw",
        "row_set",
        "said",
        "seen",
        "severity",
        "values",
    )

    def __init__(self, key: str, row_set: RowSet, values: list[object]) -> None:
        self.key = key
        self.row_set = row_set
        self.values = values
        self.raw: Mapping[str, object] = _NOTHING
        self.rates: tuple[float | None, ...] = row_set.unknown_rates
        self.history: History | None = None
        self.severity = 0
        self.said: tuple[Reason, ...] = ()
        self.seen = 0
        self.changed = 0
        self._haystack = ""

    @property
    def kind(self) -> str:
        """What it is a row of, as in the envelope."""
        return self.row_set.kind

    def value(self, name: str) -> object:
        """A column by its JSON name, ``a.b`` for one inside another; None when there is none."""
        where = self.row_set.index.get(name)
        if where is not None:
            return self.values[where]
        if name in self.row_set.ages:
            then = self.values[self.row_set.ages[name]]
            return max(0, self.row_set.at - then) if isinstance(then, (int, float)) else None
        if name in self.row_set.rate_names:
            return self.rates[self.row_set.rate_names[name]]
        if name in _COMPUTED:
            return _COMPUTED[name](self)
        head, _, rest = name.partition(".")
        found = self.value(head) if rest else None
        return found.get(rest) if isinstance(found, dict) else None

    @property
    def reason(self) -> str:
        """In words, all that is wrong; empty when nothing is."""
        return _JOINT.join([words(self, measure) for _, words, measure in self.said])

    def judge(self, said: tuple[Reason, ...]) -> bool:
        """Take a judgement; whether it is another one than before."""
        if said == self.said:
            return False
        self.severity = said[0][0] if said else 0
        self.said = said
        self.changed = self.row_set.version
        return True

    @property
    def label(self) -> str:
        """The row as people call it."""
        kind = self.kind
        if kind == "connections":
            return self.text("client")
        if kind == "subscriptions":
            return f"{self.text('destination')} of {self.text('client')}"
        if kind == "transactions":
            return f"{self.text('transaction') or self.key} of {self.text('client')}"
        if kind == "scheduled":
            return f"{self.text('job_id')} to {self.text('destination')}"
        if kind == "readers":
            return f"{self.text('name') or self.text('subscription')} of {self.text('stream')}"
        if kind == "cluster":
            return f"{self.text('what')} {self.text('name')}"
        if kind == "dead":
            names = ("queue", "origin", "reason")
            return _JOINT.join(filter(None, map(self.text, names)))
        return self.text("name") or self.text("destination") or self.key

    @property
    def own(self) -> bool:
        """Whether it belongs to the monitor's own connection."""
        own = self.row_set.own
        return bool(own) and own in (self.value("connection"), self.value("id"))

    def number(self, name: str) -> float:
        """A column as a number; 0 when there is none."""
        where = self.row_set.index.get(name)
        found = self.values[where] if where is not None else self.value(name)
        return found if isinstance(found, (int, float)) else 0

    def told(self, name: str) -> object:
        """A column as the broker told it, for commands; never for a screen."""
        return self.raw[name] if name in self.raw else self.value(name)

    def text(self, name: str) -> str:
        """A column as text; empty when there is none."""
        found = self.value(name)
        return "" if found is None else str(found)

    def rename(self, name: str, value: str) -> None:
        """Put a better word into a column."""
        self.values[self.row_set.index[name]] = value
        self._haystack = ""
        self.changed = self.row_set.version + 1

    @property
    def haystack(self) -> str:
        """The text in which a filter looks for bare words."""
        if not self._haystack:
            names = HAYSTACK.get(self.kind, ())
            self._haystack = " ".join(filter(None, map(self.text, names)))
        return self._haystack

    def as_dict(self) -> dict[str, object]:
        """The fields with their values."""
        return dict(zip(self.row_set.fields, self.values, strict=False))

    def copy(self, row_set: RowSet) -> Row:
        """The row as it is now, for a picture that stands still."""
        row = Row(self.key, row_set, self.values)
        row.raw, row.rates, row.history = self.raw, self.rates, self.history
        row.severity, row.said = self.severity, self.said
        row._haystack = self._haystack
        return row


_GROWTH_MS = 60_000


def _growth(row: Row) -> float | None:
    """By how much more waits each second, over the last minute."""
    if row.history is None:
        return None
    row.history.fill(row.row_set.version)
    samples = max(2, round(_GROWTH_MS / row.row_set.interval_ms))
    before, now, apart = row.history.ends(0, samples)
    return (now - before) * 1000 / (apart * row.row_set.interval_ms) if apart else None


def _next_in(row: Row) -> float | None:
    """How long until a schedule is due."""
    due = row.value("next_at")
    return max(0, due - row.row_set.at) if isinstance(due, (int, float)) else None


def _client(row: Row) -> str:
    """The connection of a row as people call it."""
    key = row.text("id") if row.kind == "connections" else row.text("connection")
    return row.row_set.names.get(key, key)


def _groups(row: Row) -> str | None:
    """The numbers of the groups that a member of a cluster owns, such as ``0-4 7``."""
    if row.kind != "cluster" or row.value("what") != "member":
        return None
    name = row.value("name")
    owned = sorted(
        int(other.text("name"))
        for other in row.row_set.rows.values()
        if other.value("owner") == name and other.text("name").isdecimal()
    )
    return spans(owned)


def spans(numbers: Iterable[int]) -> str:
    """Rising numbers in short: those in a row with a hyphen."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return " ".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


_COMPUTED = {
    "alarm": lambda row: row.severity,
    "reason": lambda row: row.reason,
    "key": lambda row: row.key,
    "growth": _growth,
    "client": _client,
    "next_in_ms": _next_in,
    "groups": _groups,
}
"""Columns that are not on the wire; a field of the same name comes first."""


@dataclass
class Change:
    """What a complete set changed."""

    rows: list[Row] = field(default_factory=list)
    rested: list[Row] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)


class RowSet:
    """All rows of one kind.

    Attributes:
        kind: as in the envelope.
        fields: the names of the values, in the order of the rows.
        rows: by key.
        sequence: which pages fit.
        at, up_ms: the broker's wall clock and running time at that moment.
        version: rises with each complete set.
        complete: whether a set has come at all.
        own: the id of the monitor's connection.
        page: the rows of the page that came last.
        names: what connections are called, by their ids.
        here: the id of the broker in its cluster, of which the monitor asked; empty = no cluster.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.fields: tuple[str, ...] = ()
        self.index: dict[str, int] = {}
        self.ages: dict[str, int] = {}
        self.rows: dict[str, Row] = {}
        self.sequence = SnapshotSequence()
        self.tick = 0
        self.at: float = 0
        self.up_ms: float | None = None
        self.interval_ms: float = 1000
        self.version = 0
        self.complete = False
        self.own = ""
        self.here = ""
        self.page: list[Row] = []
        self.names: Mapping[str, str] = {}
        names = RATES.get(kind, {})
        self.counters = tuple(names.values())
        self.rate_names = {name: n for n, name in enumerate(names)}
        self.rate_names |= {f"rate.{name}": n for n, name in enumerate(names)}
        self.unknown_rates: tuple[float | None, ...] = (None,) * len(names)
        self._idle: tuple[float | None, ...] = (0.0,) * len(names)
        self._ages = age_fields(Kind(kind)) if kind in list(Kind) else AGES
        self._flowing: set[str] = set()
        self._change = Change()
        self._where: tuple[int, ...] = ()
        self._keys: tuple[int, ...] = ()
        self._texts: tuple[int, ...] = ()
        self._removed: list[str] = []
        self._others: tuple[object, int] = (None, 0)

    def apply(self, envelope: Envelope) -> Change | None:
        """Take one page of a snapshot.

        Returns:
            What changed, when this page completes a set.

        Raises:
            Gap: something before it is missing.
        """
        base, page = _whole(envelope.get("base")), _whole(envelope.get("page")) or 1
        seq, pages = _whole(envelope.get("seq")) or 0, _whole(envelope.get("pages")) or 1
        last = self.sequence.seq
        fit = self.sequence.take(str(envelope.get("boot") or ""), seq, base, page, pages)
        if fit is Fit.MISFIT:
            raise Gap(f"{self.kind}: page {page} of {seq}, a change to {base}, does not fit {last}")
        up_ms = _number(envelope.get("up_ms")) or _number(envelope.get("at"))
        elapsed = None if self.up_ms is None or up_ms is None else (up_ms - self.up_ms) / 1000
        if page == 1:
            self._change = Change()
            removed = envelope.get("removed")
            self._removed = [str(key) for key in removed] if isinstance(removed, list) else []
        taken = len(self._change.rows)
        for values in self._decoded(envelope):
            self._take(values, elapsed)
        self.page = self._change.rows[taken:]
        if fit is Fit.PART:
            return None
        return self._finish(envelope, up_ms, full=base is None)

    def _decoded(self, envelope: Envelope) -> Iterator[list[object]]:
        data = envelope.get("data")
        rows = data if isinstance(data, list) else []
        fields = envelope.get("fields")
        if isinstance(fields, list):
            self._learn(tuple(map(str, fields)))
            yield from rows
            return
        for row in rows:
            if new := [name for name in row if name not in self.fields]:
                self._learn((*self.fields, *new))
            yield [row.get(name) for name in self.fields]

    def _learn(self, fields: tuple[str, ...]) -> None:
        if fields == self.fields:
            return
        self.fields = fields
        everything = {name: where for where, name in enumerate(fields)}
        # An age grows by itself, and a delta does not repeat a row because of it.
        since = {age: everything.get(name) for age, name in self._ages.items()}
        self.ages = {age: where for age, where in since.items() if where is not None}
        self.index = {n: where for n, where in everything.items() if n not in self.ages}
        none = len(fields)
        self._where = tuple(everything.get(name, none) for name in self.counters)
        keys = _OWN_KEYS.get(self.kind) or (KEYS[Kind(self.kind)],)
        self._keys = tuple(everything[name] for name in keys if name in everything)
        harmless = _HARMLESS.get(self.kind, frozenset())
        self._texts = tuple(n for n, name in enumerate(fields) if name not in harmless)

    def _take(self, values: list[object], elapsed: float | None) -> None:
        keys = self._keys
        key = str(values[keys[0]]) if len(keys) == 1 else _JOINT.join(str(values[w]) for w in keys)
        raw: Mapping[str, object] = _NOTHING
        for where in self._texts:
            value = values[where]
            if value.__class__ is str:
                shown: object = safe(value)
            elif value:
                shown = safe_value(value)
            else:
                continue
            if shown != value:
                raw = {**raw, self.fields[where]: value}
                values[where] = shown
        row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = Row(key, self, values)
            row.changed = self.version + 1
        else:
            rates = self._rates(row.values, values, elapsed)
            if values != row.values or rates != row.rates:
                row.changed = self.version + 1
            row.rates, row.values = rates, values
        row.raw = raw
        row.seen = self.version + 1
        self._change.rows.append(row)

    def _rates(
        self, before: list[Any], now: list[Any], elapsed: float | None
    ) -> tuple[float | None, ...]:
        if not elapsed or elapsed <= 0:
            return self.unknown_rates
        try:
            return tuple(
                [
                    (now[where] - before[where]) / elapsed if now[where] >= before[where] else None
                    for where in self._where
                ]
            )
        except (IndexError, TypeError):
            return self.unknown_rates

    def _finish(self, envelope: Envelope, up_ms: float | None, *, full: bool) -> Change:
        change, self._change = self._change, Change()
        self.version += 1
        self.tick = _whole(envelope.get("tick")) or self.sequence.seq or 0
        self.at = _number(envelope.get("at")) or 0
        self.up_ms = up_ms
        self.interval_ms = _number(envelope.get("interval_ms")) or 1000
        self.complete = True
        if full:
            change.removed = [key for key, row in self.rows.items() if row.seen != self.version]
        else:
            # A recording has the rows as they were shown.
            gone = (key if key in self.rows else safe(key) for key in self._removed)
            change.removed = [key for key in gone if key in self.rows]
        for key in change.removed:
            del self.rows[key]
            self._flowing.discard(key)
        self._let_rest(change)
        return change

    def _let_rest(self, change: Change) -> None:
        """A row that is not in a delta has not moved since: its rates are zero."""
        for key in list(self._flowing):
            row = self.rows[key]
            if row.seen != self.version:
                row.rates = self._idle
                row.changed = self.version
                change.rested.append(row)
        change.rows += change.rested
        idle = self._idle
        self._flowing = {
            row.key for row in change.rows if row.rates != idle and row.key in self.rows
        }

    @property
    def others(self) -> int:
        """How many rows there are beside those of the monitor itself."""
        if not self.own:
            return len(self.rows)
        if self._others[0] != (self.version, self.own):
            count = sum(not row.own for row in self.rows.values())
            self._others = (self.version, self.own), count
        return self._others[1]

    def append(self, fields: tuple[str, ...], values: list[object], limit: int) -> Row:
        """Add one row that comes alone; the oldest one goes when there are too many."""
        self._learn(fields)
        self._take(values, None)
        row = self._change.rows.pop()
        if len(self.rows) > limit:
            del self.rows[next(iter(self.rows))]
        self.version += 1
        self.complete = True
        return row

    def copy(self) -> RowSet:
        """The table as it is now, for a picture that stands still."""
        row_set = RowSet(self.kind)
        row_set._learn(self.fields)
        row_set.tick, row_set.at, row_set.up_ms = self.tick, self.at, self.up_ms
        row_set.interval_ms, row_set.version = self.interval_ms, self.version
        row_set.complete, row_set.own, row_set.names = self.complete, self.own, self.names
        row_set.here = self.here
        row_set.rows = {key: row.copy(row_set) for key, row in self.rows.items()}
        return row_set


def _number(value: object) -> float | None:
    return value if isinstance(value, (int, float)) else None


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, (int, float)) else None
