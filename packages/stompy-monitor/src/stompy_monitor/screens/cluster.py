"""A cluster at one look: its brokers and who owns what, its NATS servers, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Grid, Vertical
from textual.widget import Widget

from stompy_monitor.dashboard import Dashboard
from stompy_monitor.model.model import CLUSTER, Model
from stompy_monitor.model.row_set import Row
from stompy_monitor.screens.actions import Hint
from stompy_monitor.screens.base import MonitorScreen
from stompy_monitor.tables import short_tables
from stompy_monitor.tables.definitions import View
from stompy_monitor.tables.view_state import ViewState
from stompy_monitor.widgets.bars import MUTED, Part
from stompy_monitor.widgets.row_table import RowTable

_LISTS = (
    short_tables.MEMBERS,
    short_tables.GROUPS,
    short_tables.SERVERS,
    short_tables.PROBLEMS,
)


class ClusterScreen(MonitorScreen):
    """The cluster: brokers above, groups below them, servers and alarms beside these."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "app.focus_next", "Next list", show=False, id="cluster.next"),
    ]

    def __init__(self, dashboard: Dashboard) -> None:
        super().__init__(dashboard, "cluster", ("Cluster",))

    def compose_body(self) -> Iterable[Widget]:
        """Four lists: the brokers over the whole width, the others in two columns."""
        members, groups, servers, problems = (self._list(view) for view in _LISTS)
        side = Vertical(servers, problems, id="cluster-side")
        yield Vertical(
            members, Grid(groups, side, id="cluster-lower"), id="cluster", classes="fades"
        )

    def _list(self, view: View) -> RowTable:
        ascii_only = self.dashboard.options.ascii_only
        table = RowTable(ViewState(view), ascii_only=ascii_only, id=f"part-{view.name}")
        table.border_title = view.title
        table.add_class("boxed")
        return table

    def on_mount(self) -> None:
        """The brokers take the keys."""
        self.focus_body()

    def focus_body(self) -> None:
        """The first list takes the keys."""
        self.set_focus(self.query_one("#part-members", RowTable))

    def draw(self, model: Model, now: float) -> None:
        """Renew the rows of all lists."""
        for view in _LISTS:
            rows = model.row_sets[CLUSTER]
            if view is short_tables.PROBLEMS:
                rows = model.problem_rows()
            self.query_one(f"#part-{view.name}", RowTable).show(model, rows, now)

    def title_parts(self) -> list[Part]:
        """Where we are, which broker was asked, and what of the cluster is there."""
        model = self.dashboard.picture
        parts: list[Part] = [(" Cluster ", "bold $primary")]
        rows = [row for row in model.row_sets[CLUSTER].rows.values() if not row.own]
        if not rows:
            words = "this broker belongs to no cluster" if model.broker else ""
            return [*parts, (f"  {words}", MUTED)]
        members = [row for row in rows if row.value("what") == "member"]
        up = sum(row.value("state") != "lost" for row in members)
        tone = "$success" if up == len(members) else "$error bold"
        parts.append((f"  {up} of {len(members)} brokers up", tone))
        groups = [row for row in rows if row.value("what") == "group"]
        owned = sum(bool(row.value("owner")) for row in groups)
        tone = "$success" if owned == len(groups) else "$error bold"
        parts.append((f"   {owned} of {len(groups)} groups owned", tone))
        leads = any(row.value("state") == "leader" for row in rows)
        if any(row.value("what") == "server" for row in rows) and not leads:
            parts.append(("   no server leads", "$error bold"))
        parts.append((f"   seen from {model.broker.get('broker')}", MUTED))
        return parts

    def hints(self) -> list[Hint]:
        """The keys that do something here."""
        return [("enter", "open", True), ("tab", "next list", True), ("1-9", "views", True)]

    def rows_to_act_on(self) -> list[Row]:
        """The row under the cursor of the list that has the keys."""
        table = self.focused if isinstance(self.focused, RowTable) else None
        row = table.row() if table is not None else None
        return [row] if row is not None else []

    def on_row_table_opened(self, event: RowTable.Opened) -> None:
        """Open the row of a list."""
        kind, key = event.row.kind, event.row.key
        if kind == "problems":
            kind, key = event.row.text("kind"), str(event.row.told("key"))
        if key:
            self.dashboard.navigator.inspect(kind, key)
        else:
            self.dashboard.navigator.go(f"{kind} alarm>0")
