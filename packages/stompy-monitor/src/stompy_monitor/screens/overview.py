"""All at one look: six curves, and what deserves attention first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Grid
from textual.widget import Widget

from stompy_monitor.dashboard import Dashboard
from stompy_monitor.model import formats
from stompy_monitor.model.alarms import RAISED_AFTER
from stompy_monitor.model.model import Model
from stompy_monitor.model.row_set import Row
from stompy_monitor.screens.actions import Hint
from stompy_monitor.screens.base import MonitorScreen
from stompy_monitor.tables import short_tables
from stompy_monitor.tables.view_state import ViewState
from stompy_monitor.widgets.bars import Part
from stompy_monitor.widgets.charts import Chart
from stompy_monitor.widgets.row_table import RowTable

_CHARTS = (
    ("traffic", "Messages/s", formats.rate, ("in", "out"), ("in", "out")),
    ("acks", "Acknowledged/s", formats.rate, ("ack",), ()),
    (
        "waiting",
        "Messages",
        formats.number,
        ("messages_ready", "messages_unacked"),
        ("ready", "unacked"),
    ),
    ("bytes", "Bytes/s", formats.size, ("in_bytes", "out_bytes"), ("in", "out")),
    ("cpu", "Processor %", formats.number, ("cpu_pct",), ()),
    ("lag", "Loop lag p99, ms", formats.number, ("loop_lag_ms.p99",), ()),
)
"""For each its id, title, how values are written, the values, and their names."""

_SECOND_ROW = 3
_SLOW_SECONDS, _GROWTH_SECONDS = 5.0, 3.0


class OverviewScreen(MonitorScreen):
    """The broker at one look: curves above, lists below."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "app.focus_next", "Next list", show=False, id="overview.next"),
    ]

    def __init__(self, dashboard: Dashboard) -> None:
        super().__init__(dashboard, "overview", ("Overview",))
        self._drawn_at = self._grown_at = float("-inf")

    def compose_body(self) -> Iterable[Widget]:
        """Six charts above six lists."""
        ascii_only = self.dashboard.options.ascii_only
        charts = [
            Chart(title, show, names, ascii_only=ascii_only, id=f"chart-{name}")
            for name, title, show, _, names in _CHARTS
        ]
        for chart in charts[_SECOND_ROW:]:
            chart.add_class("second")
        yield Grid(*charts, id="overview-charts", classes="fades")
        lists = []
        for view in short_tables.TOPS:
            table = RowTable(ViewState(view), ascii_only=ascii_only, id=f"top-{view.name}")
            table.trends = not self.dashboard.options.slow_link
            table.border_title = view.title
            table.add_class("boxed")
            lists.append(table)
        for table in (lists[2], lists[4]):
            table.add_class("second")
        yield Grid(*lists, id="overview-lists", classes="fades")

    def on_mount(self) -> None:
        """The alarms take the keys."""
        self.focus_body()

    def focus_body(self) -> None:
        """The first list takes the keys."""
        self.set_focus(self.query_one("#top-problems", RowTable))

    def draw(self, model: Model, now: float) -> None:
        """Renew curves and lists; over a slow link now and then."""
        slow = self.dashboard.options.slow_link
        if slow and now - self._drawn_at < _SLOW_SECONDS:
            return
        if model.broker:
            self._drawn_at = now
            for name, _, _, values, _ in _CHARTS:
                chart = self.query_one(f"#chart-{name}", Chart)
                chart.draw(*(model.broker_values(value) for value in values))
        problems = model.problem_rows()
        grows = now - self._grown_at >= _GROWTH_SECONDS
        for view in short_tables.TOPS:
            if view is short_tables.GROWING and model.broker:
                # Growth changes while rows do not, so all of them have to be looked at.
                if not grows:
                    continue
                if model.row_sets["queues"].version > 1:  # before that nobody knows what grows
                    self._grown_at = now
                self.query_one(f"#top-{view.name}", RowTable).view_state.release()
            table = problems if view is short_tables.PROBLEMS else model.row_sets[view.kind]
            self.query_one(f"#top-{view.name}", RowTable).show(model, table, now)

    def title_parts(self) -> list[Part]:
        """Where we are, and how many alarms there are."""
        model = self.dashboard.picture
        count = len(model.alarmed()) + len(_own_alarms(model))
        parts: list[Part] = [(" Overview ", "bold $primary")]
        if count:
            parts.append((f"  {count:,} alarm{'s' if count > 1 else ''}", "$warning"))
        elif model.tick >= RAISED_AFTER:
            # Not at the first look: an alarm takes two.
            parts.append(("  all is well", "$success"))
        return parts

    def hints(self) -> list[Hint]:
        """The keys that do something here."""
        return [("enter", "open", True), ("tab", "next list", True), ("1-9", "views", True)]

    def _focused(self) -> RowTable | None:
        return self.focused if isinstance(self.focused, RowTable) else None

    def rows_to_act_on(self) -> list[Row]:
        """The row under the cursor of the list that has the keys."""
        table = self._focused()
        row = table.row() if table is not None else None
        return [row] if row is not None else []

    def on_row_table_opened(self, event: RowTable.Opened) -> None:
        """Open the row of a list."""
        row = event.row
        kind, key = row.kind, row.key
        if kind == "problems":
            kind, key = row.text("kind"), str(row.told("key"))
        if key:
            self.dashboard.navigator.inspect(kind, key)
        else:
            self.dashboard.navigator.go(f"{kind} alarm>0")


def _own_alarms(model: Model) -> list[object]:
    """What the broker itself calls an alarm."""
    found = model.broker.get("alarms")
    return found if isinstance(found, list) else []
