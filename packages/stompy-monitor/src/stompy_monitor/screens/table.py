"""A table of one kind of rows, with filter, order, marks, and a preview of the row in hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget

from stompy_monitor.actions import QUEUE, queue_of
from stompy_monitor.dashboard import Dashboard
from stompy_monitor.model import formats
from stompy_monitor.model.filter import Everything, Expression, ExpressionError, parse
from stompy_monitor.model.model import Model
from stompy_monitor.model.row_set import Row, RowSet
from stompy_monitor.screens.actions import Hint
from stompy_monitor.screens.base import MonitorScreen
from stompy_monitor.screens.dialogs import ChoiceDialog, ColumnsDialog
from stompy_monitor.tables import details
from stompy_monitor.tables import sparkline as drawing
from stompy_monitor.tables.columns import Column
from stompy_monitor.tables.definitions import View
from stompy_monitor.tables.view_state import ViewState
from stompy_monitor.tables.vocabulary import names_of
from stompy_monitor.widgets.bars import MUTED, Bar, Part
from stompy_monitor.widgets.column_edges import EdgedTable
from stompy_monitor.widgets.row_table import RowTable

COPY_LIMIT = 64 * 1024
"""Most terminals refuse to copy more."""
_PREVIEW_SAMPLES = 60


class TableScreen(MonitorScreen):
    """All rows of a view, or those in a scope.

    Args:
        session: what all screens share.
        view: which table.
        path: the names of the screens that led here, and of this one.
        scope: which rows belong here; all by default.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        # Ahead of its turn: else what comes in the same read goes to the table, as commands.
        Binding("slash", "filter", "Filter", priority=True, id="table.filter"),
        Binding("s", "sort", "Sort by …", id="table.sort"),
        Binding("S", "reverse", "Reverse the order", id="table.reverse"),
        Binding(
            "less_than_sign", "sort_next(-1)", "Sort by the column before", id="table.sort-prev"
        ),
        Binding(
            "greater_than_sign", "sort_next(1)", "Sort by the next column", id="table.sort-next"
        ),
        Binding("c", "columns", "Columns", id="table.columns"),
        Binding("w", "wide", "All wide columns", id="table.wide"),
        Binding("space", "mark", "Mark", id="table.mark"),
        Binding("A", "mark_all", "Mark all that are shown", id="table.mark-all"),
        Binding("ctrl+backslash", "unmark", "Clear marks", id="table.unmark"),
        Binding("y", "copy_name", "Copy the name", id="table.copy-name"),
        Binding("Y", "copy_row", "Copy the row as JSON", id="table.copy-row"),
        Binding("e", "export", "Export what is shown", id="table.export"),
        Binding("m", "messages", "Messages of the queue", id="table.messages"),
        Binding("H", "own", "Show the monitor itself", id="table.own"),
    ]

    def __init__(
        self,
        dashboard: Dashboard,
        view: View,
        path: tuple[str, ...] = (),
        scope: Callable[[Row], bool] | None = None,
        expression: Expression | None = None,
    ) -> None:
        super().__init__(dashboard, view.name, path or (view.title,))
        self.view = view
        self.view_state = ViewState(view)
        if scope is not None:
            self.view_state.scope = scope
        if expression is not None:
            self.view_state.filter_by(expression)
        self.view_state.sort_seconds = 5.0 if dashboard.options.slow_link else 0.0
        self.first_columns: frozenset[str] | None = None
        self._previewed: object = ()
        self._newest = 0
        self._filter_before: Expression = self.view_state.filter
        self._typed_before = self.view_state.typed

    def compose_body(self) -> Iterable[Widget]:
        """The table, and what there is to say about the row in hand."""
        table = RowTable(self.view_state, ascii_only=self.dashboard.options.ascii_only, id="rows")
        table.trends = not self.dashboard.options.slow_link
        table.chosen = self.first_columns
        yield EdgedTable(table, classes="fades")
        yield Bar(id="preview")

    @property
    def rows(self) -> RowTable:
        """The widget that shows the rows."""
        return self.query_one("#rows", RowTable)

    # -- drawing ---------------------------------------------------------------------------------

    def row_set_of(self, model: Model) -> RowSet:
        """The rows that are shown."""
        return model.row_sets[self.view.kind]

    def draw(self, model: Model, now: float) -> None:
        """Renew the rows, and the preview of the one in hand."""
        self.view_state.show_own = self.dashboard.show_own
        self.rows.show(model, self.row_set_of(model), now)
        row = self.rows.row()
        stamp = row and (row, row.row_set.version, row.changed, self.app.size.width)
        if stamp == self._previewed:
            return
        self._previewed = stamp
        preview = self.query_one("#preview", Bar)
        preview.head(formats.middle_cut(_heading(row), 80))
        preview.show(self._preview(model, row) if row is not None else [])

    def _preview(self, model: Model, row: Row) -> list[Part]:
        width = max(20, self.app.size.width - 4)
        lines: list[list[Part]] = [[]]
        used = 0
        if row.severity:
            words = f"{'!' * row.severity} {row.reason}   "
            lines[0].append((words, ("", "$warning", "$error bold")[row.severity]))
            used = len(words)
        for label, value in details.facts(row):
            if value in ("–", "", "0", "no", "none of its own") or label in _ON_THE_LINE:
                continue
            value = value.replace("\n", "; ")  # noqa: PLW2901 -- the same, in one line
            cells = len(label) + len(value) + 4
            if used + cells > width:
                lines.append([])
                used = 0
            used += cells
            lines[-1] += [(f"{label} ", MUTED), (f"{value}   ", "")]
        if row.history is not None and len(lines) < 4:  # noqa: PLR2004 -- room for the curves
            lines = [lines[0], self._curves(model, row, width), *lines[1:]]
        return [
            part for n, parts in enumerate(lines[:4]) for part in ([("\n", "")] * bool(n) + parts)
        ]

    def _curves(self, model: Model, row: Row, width: int) -> list[Part]:
        parts: list[Part] = []
        each = max(8, min(_PREVIEW_SAMPLES // 2, width // 3 - 16))
        for name, show in (("in", formats.rate), ("out", formats.rate), ("ready", formats.number)):
            values = model.row_values(row, name)[-_PREVIEW_SAMPLES:]
            spark = drawing.sparkline(values, each, ascii_only=self.dashboard.options.ascii_only)
            parts += [(f"{name} ", MUTED), (spark, "$secondary")]
            parts.append((f" {show(values[-1] if values else 0)}   ", ""))
        return parts

    def title_parts(self) -> list[Part]:
        """Where we are, what is shown of how many, and in which order."""
        view_state = self.view_state
        parts: list[Part] = [(f" {' › '.join(self.path)} ", "bold $primary")]
        expression = view_state.typed
        if expression:
            parts += [(f" / {expression} ", "reverse $accent"), (" ", "")]
            parts.append((f" {len(view_state.keys):,} of {view_state.total:,}", ""))
        elif self.rows.row_set.complete:
            parts.append((f" {view_state.total:,}", MUTED))
        if view_state.sorted_by is not None:
            arrow = "descending" if view_state.descending else "ascending"
            parts.append((f"   by {view_state.sorted_by.title.lower()}, {arrow}", MUTED))
        if view_state.marks:
            parts.append((f"   {len(view_state.marks)} marked", "$accent"))
        row = self.rows.row()
        if row is not None and row.severity and self.has_class("short"):
            tone = ("", "$warning", "$error bold")[row.severity]
            parts.append((f"   {'!' * row.severity} {row.reason}", tone))
        newer = self._newer()
        if newer:
            parts.append((f"   {newer:,} newer, home", "$accent"))
        if view_state.holds(self.dashboard.clock()):
            parts.append(("   hold", "$warning"))
        if self.dashboard.busy and not self.dashboard.batches:
            parts.append(("   working…", "$accent"))
        return parts

    def _newer(self) -> int:
        """Of a list that is read from its top, how many rows came since its top was left."""
        keys, newest = self.view_state.keys, self._newest
        if not self.view.follows:
            return 0
        if not self.view_state.touched:
            self._newest = max(map(int, keys), default=0)
            return 0
        return sum(int(key) > newest for key in keys)

    def hints(self) -> list[Hint]:
        """The keys that do something here."""
        row = self.rows.row()
        keys: list[Hint] = [("enter", "open", row is not None), ("/", "filter", True)]
        if row is not None and row.kind in ("queues", "dead"):
            keys.append(("m", "messages", self.dashboard.may_see_bodies()))
        return [*keys, *self.actions.hints(), ("s", "sort", True), ("space", "mark", True)]

    # -- the filter ------------------------------------------------------------------------------

    def action_filter(self) -> None:
        """Type a filter."""
        self._filter_before = self.view_state.filter
        self._typed_before = self.view_state.typed
        self.prompt.open("/", self.view_state.typed)

    def filter_typed(self, text: str) -> None:
        """Filter as it is typed; what is not understood keeps the former filter."""
        try:
            expression = parse(text, names_of(self.view))
        except ExpressionError as error:
            self.prompt.complain(str(error), error.position)
            return
        self.prompt.complain("")
        self.view_state.filter_by(expression, text.strip())
        self.tick()

    def filter_given_up(self) -> None:
        """Back to the filter that was there before."""
        self.view_state.filter_by(self._filter_before, self._typed_before)

    def focus_body(self) -> None:
        """Give the keys to the table."""
        self.set_focus(self.rows)

    def action_back(self) -> None:
        """Shut the prompt, clear the filter, or go back."""
        filtered = not isinstance(self.view_state.filter, Everything)
        if filtered and not self.prompt.is_open and not self.dashboard.stop_batches():
            self.view_state.filter_by(Everything())
            self.tick()
        else:
            super().action_back()

    # -- order and columns -----------------------------------------------------------------------

    def _sortable(self) -> list[Column]:
        return [column for column in self.view.columns if column.title and not column.trend]

    def action_sort(self) -> None:
        """Choose the column to sort by."""
        choices = [("", "as usual"), *((c.name, c.title.lower()) for c in self._sortable())]
        now = self.view_state.sorted_by
        dialog = ChoiceDialog("Sort by", choices, now.name if now else "")
        self.app.push_screen(dialog, self._sort_chosen)

    def _sort_chosen(self, name: str | None) -> None:
        if name is not None:
            column = self.view.column(name)
            self.view_state.sort(column, column is not None and column.right)
            self.tick()

    def action_reverse(self) -> None:
        """Sort the other way round."""
        (column, descending), *_ = self.view_state.order()
        self.view_state.sort(column, not descending)
        self.tick()

    def action_sort_next(self, steps: int) -> None:
        """Sort by the next column."""
        columns = self._sortable()
        now = self.view_state.sorted_by
        where = columns.index(now) + steps if now in columns else 0
        column = columns[where % len(columns)]
        self.view_state.sort(column, column.right)
        self.tick()

    def on_row_table_header_clicked(self, event: RowTable.HeaderClicked) -> None:
        """Sort by the column, or reverse it."""
        now, view_state = event.column, self.view_state
        descending = not view_state.descending if view_state.sorted_by is now else now.right
        view_state.sort(now, descending)
        self.tick()

    def action_columns(self) -> None:
        """Choose the columns."""
        table = self.rows
        shown = table.chosen or frozenset(c.name for c in self._shown())
        choices = [(c.name, c.title.lower()) for c in self.view.columns if c.title]
        self.app.push_screen(ColumnsDialog(choices, shown), self._columns_chosen)

    def _shown(self) -> tuple[Column, ...]:
        spread = self.dashboard.picture.brokers > 1
        return self.view.shown(self.app.size.width, spread=spread)

    def _columns_chosen(self, names: frozenset[str] | None) -> None:
        if names is not None:
            self.rows.chosen = names or None
            self.rows.repaint()

    def action_wide(self) -> None:
        """All columns, also those that do not fit."""
        self.rows.wide = not self.rows.wide
        self.rows.scroll_to(x=0, animate=False)
        self.rows.repaint()

    # -- rows ------------------------------------------------------------------------------------

    def rows_to_act_on(self) -> list[Row]:
        """The marked rows, or the one under the cursor."""
        return self.rows.marked_rows()

    def acted(self) -> None:
        """Clear the marks, which have served."""
        self.view_state.marks.clear()

    def action_mark(self) -> None:
        """Mark the row, and go on to the next one."""
        self.view_state.toggle_mark()
        self.rows.action_move(1)

    def action_mark_all(self) -> None:
        """Mark every row that is shown."""
        self.view_state.mark_all()
        self.rows.paint_changed()

    def action_unmark(self) -> None:
        """Clear all marks."""
        self.view_state.marks.clear()
        self.rows.paint_changed()

    def action_own(self) -> None:
        """Show the monitor's own connection and subscriptions, or hide them."""
        self.dashboard.show_own = not self.dashboard.show_own
        self.view_state.release()
        self.tick()

    def on_row_table_moved(self) -> None:
        """Show the preview of the row that is in hand now."""
        self.tick()

    def on_row_table_opened(self, event: RowTable.Opened) -> None:
        """Open the row."""
        event.stop()
        row = event.row
        if row.kind == "dead":
            self.dashboard.navigator.browse(queue_of(row), _group_of(row))
        else:
            self.dashboard.navigator.inspect(row.kind, row.key)

    def action_messages(self) -> None:
        """Look at the messages of the queue."""
        row = self.rows.row()
        if row is not None and row.kind in ("queues", "dead"):
            self.dashboard.navigator.browse(queue_of(row), _group_of(row))

    def jumps(self) -> list[tuple[str, str]]:
        """Give the places to which ``g`` leads from this row."""
        return [("g", "first row"), *jumps_from(self.rows.row())]

    def jump_to(self, key: str) -> None:
        """Go where a key after ``g`` leads."""
        row = self.rows.row()
        if key == "g":
            self.rows.action_to_end(-1)
        elif row is not None:
            self.dashboard.navigator.jump(key, row.kind, row.key)

    # -- taking away -----------------------------------------------------------------------------

    def action_copy_name(self) -> None:
        """Copy the name to the clipboard of the terminal."""
        row = self.rows.row()
        if row is not None:
            self._copy(row.text("destination") or row.text("name") or row.key)

    def action_copy_row(self) -> None:
        """Copy the row as JSON."""
        row = self.rows.row()
        if row is not None:
            self._copy(json.dumps(row.as_dict(), ensure_ascii=False, indent=2))

    def _copy(self, text: str) -> None:
        if len(text.encode()) > COPY_LIMIT:
            self.tell(
                f"not copied: {formats.size(len(text))} is more than terminals take", "warning"
            )
            return
        self.app.copy_to_clipboard(text)
        self.tell(f"copied {formats.size(len(text.encode()))}")

    def action_export(self) -> None:
        """Write what is shown to a file."""
        rows = [self.rows.row_set.rows[key] for key in self.view_state.keys]
        self.dashboard.navigator.export(self.view, rows)


_ON_THE_LINE = frozenset(("id", "destination", "ready", "unacked", "oldest", "drains in", "state"))
"""What a row shows anyway need not stand in its preview."""


def _group_of(row: Row) -> dict[str, object]:
    """What the messages of a row have in common; empty for a whole queue."""
    headers = row.told("headers")
    return headers if isinstance(headers, dict) else {}


def _heading(row: Row | None) -> str:
    if row is None:
        return ""
    return row.text("destination") or row.label


def jumps_from(row: Row | None) -> list[tuple[str, str]]:
    """Where ``g`` and a letter lead to from a row."""
    if row is None:
        return []
    found = []
    if row.kind not in ("queues", "topics") and queue_of(row).startswith(QUEUE):
        found.append(("q", "its queue"))
    if row.kind != "connections" and row.text("connection"):
        found.append(("c", "its connection"))
    if row.kind in ("queues", "topics", "connections", "durable"):
        found.append(("s", "its subscriptions"))
    if row.kind in ("connections",):
        found.append(("t", "its transactions"))
    if row.kind == "queues" and row.text("dlq"):
        found.append(("d", "its dead letters"))
    return found
