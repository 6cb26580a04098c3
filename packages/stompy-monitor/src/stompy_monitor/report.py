"""A set of rows as a script reads it: as aligned text, JSON or CSV, whole or in part."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from rich.cells import cell_len

from stompy_monitor.model import formats
from stompy_monitor.model.alarms import WORDS
from stompy_monitor.model.filter import Everything, Expression
from stompy_monitor.model.model import Model
from stompy_monitor.model.row_set import Row
from stompy_monitor.sources.feed import as_snapshot
from stompy_monitor.tables import definitions
from stompy_monitor.tables.columns import Column
from stompy_monitor.tables.definitions import View
from stompy_monitor.tables.view_state import ViewState

_PROPORTION = 120
_WIDEST = 60
"""A longer cell does not push the others of its column away."""

_BY_KIND = {view.kind: view for view in definitions.TABLES}


class Form(StrEnum):
    """How a set is written."""

    TEXT = "text"
    JSON = "json"
    CSV = "csv"


@dataclass(frozen=True)
class Report:
    """What is written, and how.

    Attributes:
        form: how.
        kinds: which rows; all by default.
        filter: which of them.
        sort: a column to sort by; by their names otherwise.
        descending: whether the largest come first.
        columns: what of each row; all by default.
    """

    form: Form = Form.TEXT
    kinds: tuple[str, ...] = ()
    filter: Expression = field(default_factory=Everything)
    sort: Column | None = None
    descending: bool = False
    columns: tuple[Column, ...] = ()

    def write(self, model: Model) -> str:
        """A set in this form."""
        if self.form is Form.JSON:
            return self._json(model)
        return self._csv(model) if self.form is Form.CSV else self._text(model)

    def rows(self, model: Model, kind: str) -> list[Row]:
        """The rows of a kind, in their order."""
        row_set = model.row_sets[kind]
        if self.sort is None:
            found = [
                row for row in row_set.rows.values() if not row.own and self.filter.matches(row)
            ]
            return sorted(found, key=lambda row: in_order_of_numbers(row.key))
        view_state = ViewState(_BY_KIND[kind], filter=self.filter)
        view_state.sort(self.sort, self.descending)
        view_state.refresh(row_set, 0.0)
        return [row_set.rows[key] for key in view_state.keys]

    def _json(self, model: Model) -> str:
        snapshot: Mapping[str, object] = as_snapshot(model)
        wanted = {kind: rows for kind, rows in snapshot.items() if kind in (self.kinds or snapshot)}
        if self._picks:
            wanted |= {kind: list(map(self._object, self.rows(model, kind))) for kind in self.kinds}
        return json.dumps(wanted, ensure_ascii=False)

    @property
    def _picks(self) -> bool:
        """Whether not all of it is wanted as it came."""
        everything = isinstance(self.filter, Everything)
        return bool(self.columns) or self.sort is not None or not everything

    def _object(self, row: Row) -> dict[str, object]:
        if self.columns:
            return {column.name: row.value(column.name) for column in self.columns}
        return row.as_dict()

    def _csv(self, model: Model) -> str:
        (kind,) = self.kinds
        names = [column.name for column in self.columns] or model.row_sets[kind].fields
        target = io.StringIO()
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([row.value(name) for name in names] for row in self.rows(model, kind))
        return target.getvalue().removesuffix("\n")

    def _text(self, model: Model) -> str:
        parts = []
        if not self.kinds or "broker" in self.kinds:
            parts.append(_broker_text(model))
        if not self.kinds:
            parts += _alarms_text(model)
        for view in definitions.TABLES:
            shown = view.kind in self.kinds if self.kinds else view.kind in model.kinds
            rows = self.rows(model, view.kind) if shown else []
            if shown and (self.kinds or rows):
                parts.append(
                    _aligned(view.name.upper(), *self._cells(view, rows, model.brokers > 1))
                )
        return "\n\n".join(parts)

    def _cells(
        self, view: View, rows: Sequence[Row], spread: bool
    ) -> tuple[list[str], list[list[str]]]:
        usual = view.shown(_PROPORTION, spread=spread)
        columns = self.columns or [col for col in usual if col.name != "reason"]
        columns = [column for column in columns if column.title and not column.trend]
        titles = [column.title for column in columns]
        return titles, [[column.text(row) for column in columns] for row in rows]


def in_order_of_numbers(text: str) -> list[tuple[bool, int, str]]:
    """A key by which ``c-2`` comes before ``c-11``."""
    parts = re.split(r"(\d{1,18})", text)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def _broker_text(model: Model) -> str:
    number, rate = model.broker_number, model.rates
    facts = (
        ("broker", f"{model.name or '?'}, stompy-broker {model.broker.get('version', '?')}"),
        ("up", formats.duration(number("uptime_ms"))),
        ("connections", formats.number(number("connections"))),
        ("subscriptions", formats.number(number("subscriptions"))),
        ("transactions", formats.number(number("transactions"))),
        ("queues", formats.number(number("queues"))),
        ("ready", formats.number(number("messages_ready"))),
        ("unacked", formats.number(number("messages_unacked"))),
        ("in", f"{formats.rate(rate['in'])}/s"),
        ("out", f"{formats.rate(rate['out'])}/s"),
        ("ack", f"{formats.rate(rate['ack'])}/s"),
        ("alarms", formats.number(len(model.problem_rows().rows)) if model.broker else "?"),
    )
    return "\n".join(f"{label:<14}{value}" for label, value in facts)


def _alarms_text(model: Model) -> list[str]:
    problems = model.problem_rows().rows.values()
    lines = [[row.text("name"), WORDS[row.severity], row.text("reason")] for row in problems]
    return [_aligned("ALARMS", ["NAME", "LEVEL", "WHY"], lines)] if lines else []


def _aligned(heading: str, titles: list[str], rows: list[list[str]]) -> str:
    lines = [[heading, *titles[1:]], *rows]
    widths = [
        max([cell_len(line[n]) for line in lines if cell_len(line[n]) <= _WIDEST], default=0)
        for n in range(len(titles))
    ]
    numeric = [all(_is_number(line[n]) for line in rows) for n in range(len(titles))]
    return "\n".join(
        "  ".join(
            _pad(cell, width, right)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in lines
    )


def _pad(text: str, width: int, right: bool) -> str:
    blank = " " * (width - cell_len(text))
    return blank + text if right else text + blank


def _is_number(text: str) -> bool:
    return not text or text[0].isdigit() or text in ("–", "∞")
