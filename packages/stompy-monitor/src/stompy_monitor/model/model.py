"""All that is known of a broker: snapshots and events in, current rows out.

Plain Python, without a clock: time is what the envelopes say. A broker that was started anew (its
``boot`` is another one) begins with an empty model, so that no rate spans the gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy

from stompy_monitor.model.alarms import RULES, Alarms, Rule
from stompy_monitor.model.escape import safe, safe_value
from stompy_monitor.model.history import LONG, History
from stompy_monitor.model.problems import problem_rows
from stompy_monitor.model.row_set import LEVELS, RATES, Change, Envelope, Row, RowSet

KINDS = (
    "queues",
    "topics",
    "connections",
    "subscriptions",
    "durable",
    "transactions",
    "scheduled",
    "readers",
    "retained",
)
"""The kinds that come as rows."""

CLUSTER = "cluster"
"""The kind of rows that comes as well where the broker belongs to a cluster."""

EVENTS = 10_000
_MOST_NAMELESS = 1000
"""Connections that had events and are not known by name."""

BROKER_LEVELS = (
    "messages_ready",
    "messages_unacked",
    "connections",
    "cpu_pct",
    "loop_lag_ms.p99",
    "bytes_stored",
    "rss_bytes",
    "bytes_ram",
)
BROKER_RATES = {
    "in": "in_msgs",
    "out": "out_msgs",
    "ack": "acked",
    "in_bytes": "in_bytes",
    "out_bytes": "out_bytes",
    "dead": "dead_lettered",
}
"""What the overview draws of the broker itself: levels as they are, counters as rates."""


EVENT_FIELDS = (
    *("number", "at", "severity", "type", "who", "connection", "user", "subject", "reason"),
    "broker",
    "detail",
)
"""The columns of an event; ``who`` and ``subject`` are put together from what the broker names."""

SUBJECTS = ("destination", "subscription", "message_id")
"""The fields of an event that say what it is about."""


class Model:
    """The broker as it was when the last envelopes came.

    Attributes:
        broker: the ``$SYS.broker`` object, made safe.
        tables: the rows, by kind.
        events: how many have come; the latest are rows of the table ``events``.
        own: the id of the monitor's own connection.
        boot: which run of the broker this is.
        version: rises with every change; what was painted from an older one is old.
    """

    def __init__(self, rules: Iterable[Rule] = RULES) -> None:
        self.rules = tuple(rules)
        self.events = 0
        self._log = RowSet("events")
        self.version = 0
        self._problems: tuple[object, RowSet] = (None, RowSet("problems"))
        self.own = ""
        self._begin("")

    def _begin(self, boot: str) -> None:
        self.boot = boot
        self.broker: dict[str, object] = {}
        self.name = ""
        self.at: float = 0
        self.tick = -1
        self.up_ms: float | None = None
        self.interval_ms: float = 1000
        self.row_sets = {kind: RowSet(kind) for kind in ("broker", *KINDS, CLUSTER, "dead")}
        self.names: dict[str, str] = {}
        self._nameless: dict[str, list[Row]] = {}
        for row_set in self.row_sets.values():
            row_set.names = self.names
        self.row_sets["events"] = self._log  # what happened before stays true
        self.alarms = {kind: Alarms(kind, self.rules) for kind in self.row_sets}
        self.rates: dict[str, float | None] = dict.fromkeys(BROKER_RATES)
        self.history = History(len(BROKER_LEVELS), len(BROKER_RATES), LONG)
        self._watched: set[str] = set()
        self.know_own(self.own)

    def forget(self) -> None:
        """Begin anew, as for another broker; what happened is forgotten, too."""
        self.events = 0
        self._log = RowSet("events")
        self._begin("")
        self.version += 1

    # -- in ----------------------------------------------------------------------------------

    def apply(self, envelope: Envelope) -> Change | None:
        """Take one message of an admin topic.

        Returns:
            What changed, when it completes a set of rows.

        Raises:
            Gap: a delta to a snapshot that is not here.
        """
        boot = str(envelope.get("boot") or "")
        if boot != self.boot:
            self._begin(boot)
        kind = envelope.get("kind")
        self.version += 1
        if kind == "broker":
            self._apply_broker(envelope)
            return None
        if kind == "event":
            data = envelope.get("data")
            if isinstance(data, dict):
                self.add_event(data)
            return None
        row_set = self.row_sets.get(str(kind))
        if row_set is None:
            return None
        tick = row_set.version + 1
        change = row_set.apply(envelope)
        if row_set.kind == "connections":
            self._learn_names(row_set.page, change)
        # Page by page: at the end of a large set it would hold up everything else.
        self._remember(row_set, row_set.page, tick)
        if change is not None:
            self._remember(row_set, change.rested, tick)
            now = row_set.up_ms if row_set.up_ms is not None else row_set.at
            self.alarms[row_set.kind].update(row_set.rows, change.rows, now)
        return change

    def add_event(self, record: Mapping[str, object]) -> Row:
        """Take note of one event."""
        self.events += 1
        self.version += 1
        detail = record.get("detail")
        rest = detail if isinstance(detail, dict) else {}
        connection, user = (str(record.get(name) or "") for name in ("connection", "user"))
        told = rest.get("client_id") or rest.get("peer")
        if told and record.get("type") == "connection.opened":
            self._call(connection, safe(str(told)))
        name = rest.get("client_id") or self.names.get(connection) or rest.get("peer")
        subject = " ".join(str(record[name]) for name in SUBJECTS if record.get(name))
        values: list[object] = [
            self.events,
            record.get("at"),
            str(record.get("severity") or "info"),
            str(record.get("type") or "?"),
            str(name or user or connection),
            connection,
            user,
            subject or event_words({n: v for n, v in rest.items() if n != "client_id"}),
            str(record.get("reason") or ""),
            str(record.get("broker") or ""),
            dict(record),
        ]
        row = self._log.append(EVENT_FIELDS, values, EVENTS)
        if connection and not name:
            self._nameless.setdefault(connection, []).append(row)
            if len(self._nameless) > _MOST_NAMELESS:
                del self._nameless[next(iter(self._nameless))]
        if record.get("type") == "connection.closed":
            self._nameless.pop(connection, None)
            if connection not in self.row_sets["connections"].rows:
                self.names.pop(connection, None)
        return row

    def _call(self, connection: str, name: str) -> None:
        """Learn what a connection is called; events that came before are its own as well."""
        self.names[connection] = name
        for row in self._nameless.pop(connection, ()):
            row.rename("who", name)
            self._log.version += 1

    def _learn_names(self, rows: Iterable[Row], change: Change | None) -> None:
        """What connections are called: what they call themselves, else where they come from."""
        for row in rows:
            name = row.text("client_id") or row.text("peer")
            if self.names.get(row.key) != name or row.key in self._nameless:
                self._call(row.key, name)
        for key in change.removed if change is not None else ():
            self.names.pop(key, None)

    def _apply_broker(self, envelope: Envelope) -> None:
        data = envelope.get("data")
        if isinstance(data, list):
            data = data[0] if data else {}
        broker = safe_value(data)
        if not isinstance(broker, dict):
            return
        up_ms = _number(envelope.get("up_ms"))
        elapsed = (up_ms - self.up_ms) / 1000 if up_ms and self.up_ms is not None else 0
        for name, counter in BROKER_RATES.items():
            old, new = _number(self.broker.get(counter)), _number(broker.get(counter))
            known = elapsed > 0 and old is not None and new is not None and new >= old
            self.rates[name] = (new - old) / elapsed if known else None  # type: ignore[operator]
        self.broker = broker
        for one in self.row_sets.values():
            one.here = str(broker.get("broker") or "")
        self.name = str(safe_value(str(envelope.get("broker") or broker.get("name") or "")))
        self.at = _number(envelope.get("at")) or 0
        self.interval_ms = _number(envelope.get("interval_ms")) or 1000
        self.up_ms = up_ms
        self.tick += 1
        levels = [self.broker_number(name) for name in BROKER_LEVELS]
        self.history.add(self.tick, levels, [rate or 0 for rate in self.rates.values()])
        row_set = self.row_sets["broker"]
        row = {"fields": list(broker), "data": [list(broker.values())], "page": 1, "pages": 1}
        change = row_set.apply({**envelope, "base": None, **row})
        if change is not None:
            self.alarms["broker"].update(row_set.rows, change.rows, row_set.up_ms or row_set.at)

    def _remember(self, row_set: RowSet, rows: list[Row], tick: int) -> None:
        """Write the histories of rows."""
        names = LEVELS.get(row_set.kind)
        if names is None:
            return
        places = [row_set.index.get(name) for name in names]
        for row in rows:
            history = row.history
            if history is None:
                history = row.history = History(len(names), len(RATES[row_set.kind]))
                if row.key in self._watched:
                    history.grow(LONG)
            values = row.values
            levels = [0 if n is None else _number(values[n]) or 0 for n in places]
            history.add(tick, levels, [rate or 0.0 for rate in row.rates])

    def know_own(self, connection: str) -> None:
        """Learn the id of the monitor's connection, so that its rows can be told from others."""
        self.own = connection
        for row_set in self.row_sets.values():
            row_set.own = connection

    def watch(self, key: str) -> None:
        """Remember more of a queue from now on: somebody looks at it."""
        self._watched.add(key)
        row = self.row_sets["queues"].rows.get(key)
        if row is not None and row.history is not None:
            row.history.grow(LONG)

    # -- out ---------------------------------------------------------------------------------

    @property
    def clustered(self) -> bool:
        """Whether the broker belongs to a cluster."""
        return bool(self.broker.get("broker"))

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of rows that this broker tells."""
        return (*KINDS, CLUSTER) if self.clustered else KINDS

    @property
    def brokers(self) -> int:
        """How many brokers the cluster has; 1 without one."""
        members = self.row_sets[CLUSTER].rows.values()
        return max(1, sum(row.value("what") == "member" for row in members))

    def broker_number(self, name: str) -> float:
        """A number of the broker, ``a.b`` for one inside another; 0 when there is none."""
        found: object = self.broker
        for part in name.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        return _number(found) or 0

    def broker_values(self, name: str) -> list[float]:
        """The history of a level or rate of the broker, oldest first."""
        if name in BROKER_RATES:
            return self.history.values(len(BROKER_LEVELS) + list(BROKER_RATES).index(name))
        return self.history.values(BROKER_LEVELS.index(name))

    def row_values(self, row: Row, name: str) -> list[float]:
        """The history of a level or rate of a row, oldest first; empty without one."""
        if row.history is None:
            return []
        row.history.fill(row.row_set.version)
        names = LEVELS[row.kind]
        if name in names:
            return row.history.values(names.index(name))
        return row.history.values(len(names) + row.row_set.rate_names[name])

    def alarmed(self) -> list[Row]:
        """All rows with an alarm."""
        return [
            row for kind, a in self.alarms.items() for row in a.alarmed(self.row_sets[kind].rows)
        ]

    def criticals(self) -> int:
        """How many rows have an alarm of the worst kind."""
        return sum(a.counts(self.row_sets[kind].rows)[1] for kind, a in self.alarms.items())

    def problem_rows(self) -> RowSet:
        """The alarms as rows; put together anew when a table is another one."""
        stamp = tuple(row_set.version for row_set in self.row_sets.values())
        if self._problems[0] != stamp:
            self._problems = stamp, problem_rows(self.broker, self.alarmed())
        return self._problems[1]

    def still(self) -> Model:
        """A copy that stands still while this model goes on."""
        still = copy(self)
        still.row_sets = {kind: row_set.copy() for kind, row_set in self.row_sets.items()}
        still.rates, still.names = dict(self.rates), dict(self.names)
        for row_set in still.row_sets.values():
            row_set.names = still.names
        return still


def _number(value: object) -> float | None:
    return value if isinstance(value, (int, float)) else None


def event_words(detail: Mapping[str, object]) -> str:
    """What an event tells beside its usual fields, as a person would write it."""
    cmd = detail.get("cmd")
    told = detail if cmd is None else {**_dict(detail.get("args")), **_dict(detail.get("result"))}
    parts = [str(cmd)] if cmd is not None else []
    parts += ["dry run"] * bool(detail.get("dry_run"))
    parts += [f"{name} {_plain(value)}" for name, value in told.items() if value not in ("", None)]
    return ", ".join(parts)


def _dict(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return " ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return " ".join(map(_plain, value))
    return str(value)
