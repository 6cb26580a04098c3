"""The names that an expression may use, and what each stands for.

Names are those of the JSON. What a person reads on the screen holds as well: the title of a column
of numbers, and a name without its unit, so that ``oldest>5m`` is ``oldest_ms>5m``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import get_args, get_origin, get_type_hints, is_typeddict

from stompy.admin import ROWS, Kind
from stompy_monitor.model.filter import COUNTS, SIZES, TIMES, Name, Sort
from stompy_monitor.model.model import BROKER_RATES
from stompy_monitor.model.row_set import RATES
from stompy_monitor.tables import definitions
from stompy_monitor.tables.definitions import View

KINDS = {
    "queue": "queues",
    "topic": "topics",
    "connection": "connections",
    "subscription": "subscriptions",
    "transaction": "transactions",
    "durable": "durable",
    "schedule": "scheduled",
    "reader": "readers",
    "retained": "retained",
    "broker": "broker",
    "cluster": "cluster",
}
"""What stands before a name in a condition, and the kind that it means."""

_UNITS = ("_ms", "_msgs")
_UNITS_BY_WORD = {"ms": TIMES, "at": TIMES, "bytes": SIZES, "pct": "%"}
"""What goes with a number, by a word in its name; else it is a count."""


def names_of(view: View) -> dict[str, Name]:
    """What a filter of a table may use."""
    known: dict[str, Name] = {}
    for column in view.columns:
        if not column.trend:
            known[column.name] = _number(column.name) if column.right else _text(column.name)
    known |= _of_kind(view.kind)
    known |= {name: _number(name) for name in ("alarm", "growth")}
    for column in view.columns:
        title = column.title.lower()
        if column.right and title.isidentifier():
            known.setdefault(title, known[column.name])
    return _without_units(known)


def condition_names() -> dict[str, Name]:
    """What a condition may use: names with their kinds before them."""
    by_kind = {view.kind: view for view in definitions.TABLES}
    found: dict[str, Name] = {}
    for prefix, kind in KINDS.items():
        view = by_kind.get(kind)
        known = _without_units(_of_kind(kind)) if view is None else names_of(view)
        for name, meant in known.items():
            found[f"{prefix}.{name}"] = replace(meant, name=f"{prefix}.{meant.name}")
    return found


def _without_units(known: dict[str, Name]) -> dict[str, Name]:
    for name, meant in list(known.items()):
        for unit in _UNITS:
            if name.endswith(unit):
                known.setdefault(name.removesuffix(unit), meant)
    return known


def _of_kind(kind: str) -> dict[str, Name]:
    """The fields of the broker's rows, those within them, and the rates."""
    known = {name: _number(name) for name in RATES.get(kind, {})}
    if kind == "broker":
        known = {name: _number(name) for name in BROKER_RATES}
    if kind in list(Kind):
        row = ROWS[Kind(kind)]
        hints = get_type_hints(row)
        for field in fields(row):
            known |= dict(_fields(field.name, hints[field.name]))
    return known


def _fields(name: str, hint: object) -> Iterator[tuple[str, Name]]:
    if get_origin(hint) in (list, tuple):
        yield name, Name(name, Sort.WHOLE)
        return
    types = [part for part in (get_args(hint) or (hint,)) if part is not type(None)]
    inner = next((part for part in types if is_typeddict(part)), None)
    if inner is not None:
        told: Mapping[str, object] = get_type_hints(inner)
        for key, of in told.items():
            yield from _fields(f"{name}.{key}", of)
        yield name, Name(name, Sort.WHOLE)
    elif bool in types:
        yield name, Name(name, Sort.FLAG)
    elif int in types or float in types:
        yield name, _number(name)
    else:
        yield name, Name(name, Sort.TEXT if str in types else Sort.OTHER)


def _number(name: str) -> Name:
    words = re.split(r"[._]", name)
    units = next((units for word, units in _UNITS_BY_WORD.items() if word in words), COUNTS)
    return Name(name, Sort.NUMBER, units)


def _text(name: str) -> Name:
    return Name(name, Sort.TEXT)
