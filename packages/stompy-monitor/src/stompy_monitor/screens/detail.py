"""One thing in full: its facts, its curves, and the rows that belong to it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import ClassVar

from rich.cells import cell_len
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from stompy import OutcomeUnknown
from stompy.admin import CommandError, Request
from stompy_monitor.actions import queue_of
from stompy_monitor.dashboard import Dashboard
from stompy_monitor.model import formats
from stompy_monitor.model.model import Model
from stompy_monitor.model.row_set import Row
from stompy_monitor.screens.actions import Hint
from stompy_monitor.screens.base import MonitorScreen
from stompy_monitor.screens.table import jumps_from
from stompy_monitor.tables import details
from stompy_monitor.tables.related import related_to
from stompy_monitor.tables.view_state import ViewState
from stompy_monitor.widgets.bars import MUTED, Part
from stompy_monitor.widgets.charts import Chart
from stompy_monitor.widgets.row_table import RowTable

GROUP_SECONDS = 2.0
"""How often the message groups of a queue are asked for while it is looked at."""

_MOST_GROUPS = 20
_LABEL = 16
_COLUMN = 39


class DetailScreen(MonitorScreen):
    """One row in full: its facts, curves, and the tables that belong to it.

    Args:
        session: what all screens share.
        kind: of the row.
        key: of the row.
        tab: the view whose tab is lit.
        path: the names of the screens that led here, and of this one.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "messages", "Messages of the queue", id="detail.messages"),
        Binding("tab", "app.focus_next", "Next table", show=False, id="detail.next"),
        Binding("Y", "copy_row", "Copy as JSON", id="detail.copy-row"),
    ]

    def __init__(
        self, dashboard: Dashboard, kind: str, key: str, tab: str, path: tuple[str, ...]
    ) -> None:
        super().__init__(dashboard, tab, path)
        self.kind = kind
        self.key = key
        self._row: Row | None = dashboard.picture.row_sets[kind].rows.get(key)
        self._gone = False
        self._facts_shown: list[Part] = []
        self._groups = ""
        if kind == "queues":
            dashboard.model.watch(key)

    def compose_body(self) -> Iterable[Widget]:
        """Lay out facts, curves and tables."""
        yield VerticalScroll(Static(id="fact-lines"), id="facts", classes="fades", can_focus=False)
        ascii_only = self.dashboard.options.ascii_only
        if self.kind == "queues":
            names = ("in/s", "out/s")
            yield Chart("Messages", formats.rate, names, ascii_only=ascii_only, id="detail-chart")
            names = ("ready", "unacked")
            waiting = Chart("Waiting", formats.number, names, ascii_only=ascii_only, id="waiting")
            yield waiting
        tables = []
        self._related = related_to(self.kind, self._row)
        for number, related in enumerate(self._related):
            view_state = ViewState(related.view)
            if self._row is not None:
                view_state.scope = related.belongs(self._row)
            table = RowTable(view_state, ascii_only=ascii_only, id=f"related-{number}")
            table.border_title = related.title
            table.add_class("boxed")
            tables.append(table)
        yield Vertical(*tables, id="related", classes="fades")

    def on_mount(self) -> None:
        """The first table takes the keys; message groups are not in the rows, and are asked for."""
        self.focus_body()
        if self.kind == "queues":
            self.call_later(self.ask_for_groups)
            self.set_interval(GROUP_SECONDS, self.ask_for_groups)

    def ask_for_groups(self) -> None:
        """See who has which message groups, if the queue has any."""
        row = self._row
        if row is None or self._gone or not row.number("groups"):
            self._groups = ""
        else:
            self.run_worker(self._look_at_groups(row), group="message groups", exclusive=True)

    async def _look_at_groups(self, row: Row) -> None:
        args: dict[str, object] = {"queue": queue_of(row), "limit": _MOST_GROUPS}
        with suppress(CommandError, OutcomeUnknown):
            told = await self.dashboard.command(Request("group.list", args))
            self._groups = details.group_lines(told)

    def focus_body(self) -> None:
        """The first table takes the keys."""
        tables = self.query("#related RowTable")
        if tables:
            self.set_focus(tables.first())

    def draw(self, model: Model, now: float) -> None:
        """Renew facts, curves and tables."""
        row = model.row_sets[self.kind].rows.get(self.key)
        self._gone = row is None
        if row is not None:
            self._row = row
        if self._row is not None:
            self._draw_facts(self._row)
            if self.kind == "queues":
                values = model.row_values
                chart = self.query_one("#detail-chart", Chart)
                chart.draw(values(self._row, "in"), values(self._row, "out"))
                waiting = self.query_one("#waiting", Chart)
                waiting.draw(values(self._row, "ready"), values(self._row, "unacked"))
        for number, related in enumerate(self._related):
            table = self.query_one(f"#related-{number}", RowTable)
            table.view_state.show_own = True
            table.show(model, model.row_sets[related.view.kind], now)

    def _draw_facts(self, row: Row) -> None:
        facts = details.facts(row)
        if self._groups:
            facts.append(("message groups", self._groups))
        columns = max(1, (self.app.size.width - 2) // _COLUMN)
        room = _COLUMN - _LABEL - 1
        long = [fact for fact in facts if cell_len(fact[1]) > room or "\n" in fact[1]]
        parts: list[Part] = []
        for number, (label, value) in enumerate(fact for fact in facts if fact not in long):
            if number and number % columns == 0:
                parts.append(("\n", ""))
            parts += [(label.ljust(_LABEL), MUTED), (value, "")]
            parts.append((" " * (_COLUMN - _LABEL - cell_len(value)), ""))
        for label, value in long:
            indented = value.replace("\n", "\n" + " " * _LABEL)
            parts += [("\n" + label.ljust(_LABEL), MUTED), (indented, "")]
        lines = self.query_one("#fact-lines", Static)
        if parts != self._facts_shown:
            self._facts_shown = parts
            lines.update(Content.assemble(*parts))

    def title_parts(self) -> list[Part]:
        """The way here; and whether it still exists."""
        parts: list[Part] = [(f" {' › '.join(self.path[:-1])} › ", MUTED)]
        parts.append((self.path[-1], "bold $primary"))
        if self._row is not None and self._row.severity:
            tone = ("", "$warning", "$error bold")[self._row.severity]
            parts.append((f"   {'!' * self._row.severity} {self._row.reason}", tone))
        if self._gone:
            parts.append(("   gone: this is how it was", "$warning"))
        return parts

    def hints(self) -> list[Hint]:
        """The keys that do something here."""
        keys: list[Hint] = [("esc", "back", True)]
        if self.kind == "queues":
            keys.append(("m", "messages", self.dashboard.may_see_bodies()))
        return [*keys, *self.actions.hints(), ("g", "go to …", True), ("tab", "next table", True)]

    def rows_to_act_on(self) -> list[Row]:
        """Give the row that is shown in full."""
        return [self._row] if self._row is not None and not self._gone else []

    def action_messages(self) -> None:
        """Look at the messages of the queue."""
        if self.kind == "queues":
            self.dashboard.navigator.browse(self.key, {})

    def action_copy_row(self) -> None:
        """Copy the row as JSON to the clipboard of the terminal."""
        if self._row is not None:
            text = json.dumps(self._row.as_dict(), ensure_ascii=False, indent=2)
            self.app.copy_to_clipboard(text)
            self.tell("copied")

    def on_row_table_opened(self, event: RowTable.Opened) -> None:
        """Open a row that belongs to it."""
        self.dashboard.navigator.inspect(event.row.kind, event.row.key)

    def jumps(self) -> list[tuple[str, str]]:
        """Give the places to which ``g`` leads from this row."""
        return jumps_from(self._row)

    def jump_to(self, key: str) -> None:
        """Go where a key after ``g`` leads."""
        self.dashboard.navigator.jump(key, self.kind, self.key)
