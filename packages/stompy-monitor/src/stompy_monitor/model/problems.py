"""The alarms of all rows as rows of their own: the worst first, those of one reason together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stompy_monitor.model.alarms import CRITICAL
from stompy_monitor.model.row_set import Row, RowSet

FIELDS = ("kind", "key", "name", "reason")
"""Whose an alarm is, and why; without a key it is that of many."""

APART = 5
"""More rows of one kind that have the same to say are told in one line."""

_MOST = 1000
_PLURALS = {
    "queues": "queues",
    "connections": "connections",
    "subscriptions": "subscriptions",
    "transactions": "transactions",
    "topics": "topics",
    "scheduled": "schedules",
    "readers": "readers of streams",
    "durable": "durable subscriptions",
    "cluster": "parts of the cluster",
}


def problem_rows(broker: Mapping[str, object], rows: Iterable[Row]) -> RowSet:
    """The table of alarms.

    Args:
        broker: what it says of itself; its own alarms stand first.
        rows: those with an alarm.
    """
    row_set = RowSet("problems")
    said = broker.get("alarms")
    name = str(broker.get("name"))
    for alarm in said if isinstance(said, list) else []:
        words = f"{alarm.get('name')}: {alarm.get('reason')}"
        row_set.append(FIELDS, ["broker", name, "broker", words], _MOST).severity = CRITICAL
    groups: dict[object, list[Row]] = {}
    for row in rows:
        why = (row.kind, row.severity, *(reason[:2] for reason in row.said))
        groups.setdefault(why, []).append(row)
    for group in sorted(groups.values(), key=lambda group: (-group[0].severity, len(group))):
        first = min(group, key=lambda row: row.key)
        if len(group) > APART:
            what = f"{len(group):,} {_PLURALS.get(first.kind, first.kind)}"
            values: list[object] = [first.kind, "", what, f"{first.reason}: {first.label}, …"]
            row_set.append(FIELDS, values, _MOST).severity = first.severity
            continue
        for row in sorted(group, key=lambda row: row.key):
            values = [row.kind, row.key, row.label, row.reason]
            row_set.append(FIELDS, values, _MOST).severity = row.severity
    return row_set
