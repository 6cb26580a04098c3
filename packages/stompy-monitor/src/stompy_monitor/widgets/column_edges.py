"""Where the columns of a table begin, so that a cell which changed is written without those before.

Textual writes a line from the left edge of a widget to what changed in it. A table is one widget,
and in one whose ages tick that would be nearly all of every line, each second. So behind the table
lie widgets that are never seen: at their edges, which are those of columns, lines are cut.
"""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Container, Horizontal
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from stompy_monitor.widgets.row_table import RowTable

_MOST = 4
"""Widgets with two edges each, at most."""


class _Edges(Widget):
    """Nothing to see; it has edges."""

    def render_lines(self, crop: Region) -> list[Strip]:
        """Give blank lines: the table is before them, so they need no style and no cache."""
        return [Strip.blank(crop.width)] * crop.height


class ColumnEdges(Horizontal):
    """A row of widgets whose edges are those of columns."""

    def compose(self) -> ComposeResult:
        """As many as there could be; what is not needed has no width."""
        for _ in range(_MOST):
            yield _Edges()

    def place(self, lefts: Sequence[int]) -> None:
        """Put the edges to the places where columns begin."""
        # One widget has two edges, so the columns between them need none.
        pairs = [*zip(lefts[::2], [*lefts[1::2], lefts[-1] + 1], strict=False)] if lefts else []
        end = 0
        for number, edge in enumerate(self.children):
            left, right = pairs[number] if number < len(pairs) else (end, end)
            edge.styles.margin = (0, 0, 0, left - end)
            edge.styles.width = right - left
            end = right


class EdgedTable(Container):
    """A table with the edges of its columns behind it."""

    DEFAULT_CSS = """
    EdgedTable { layers: edges rows; height: 1fr; }
    EdgedTable > RowTable { layer: rows; }
    EdgedTable > ColumnEdges { layer: edges; }
    ColumnEdges > _Edges { height: 1fr; }
    """
    ALLOW_MAXIMIZE = True

    def __init__(self, table: RowTable, classes: str | None = None) -> None:
        self.edges = ColumnEdges()
        super().__init__(self.edges, table, classes=classes)

    def on_row_table_fitted(self, event: RowTable.Fitted) -> None:
        """The columns have other places."""
        event.stop()
        self.edges.place(event.lefts)
