"""A table that paints only what is seen and only what changed.

It stands on Textual's line API: of thousands of rows it formats the visible ones, compares them
with what it painted last, and refreshes the cells that differ. Textual's own `DataTable` stopped
the event loop for half a second with 5,000 changing rows; this one for a few milliseconds.
"""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from stompy_monitor.model import formats
from stompy_monitor.model.escape import safe
from stompy_monitor.model.model import Model
from stompy_monitor.model.row_set import Row, RowSet
from stompy_monitor.tables import sparkline as drawing
from stompy_monitor.tables.columns import Column
from stompy_monitor.tables.view_state import ViewState

TREND_SAMPLES = 60
_MARGIN = 1
_NAME_CELLS = 13
"""The least that the column of names gets; columns of low rank go before that."""

_REASON_CELLS, _REASON_SHARE = 44, 0.45
"""The most that a second column without a width gets, and its part of what is free."""

_MOST_SPANS = 5
"""A line of which more than so many spans changed is painted as a whole: that is fewer bytes."""

_WHEEL_LINES = 3

Cells = tuple[tuple[str, str], ...]
"""The texts of a line with their tones."""
Line = tuple[tuple[object, ...], object, Cells]
"""What a line looks like: its sort and place, its words or glyph, its cells."""

_TONES = ("header", "sorted", "plain", "dim", "warn", "critical", "accent", "good", "glyph")


class RowTable(ScrollView, can_focus=True):
    """The rows of one view, with a cursor."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"row-table--{tone}" for tone in (*_TONES, "cursor")}
    DEFAULT_CSS = """
    RowTable {
        height: 1fr;
        background: $background;
        color: $foreground;
        scrollbar-size-vertical: 1;
        scrollbar-size-horizontal: 0;
        scrollbar-background: $background;
        scrollbar-color: $panel;
        & > .row-table--header { color: $text-muted; background: $surface; text-style: bold; }
        & > .row-table--sorted { color: $primary; background: $surface; text-style: bold; }
        & > .row-table--plain { color: $foreground; }
        & > .row-table--dim { color: $foreground 45%; }
        & > .row-table--warn { color: $warning; }
        & > .row-table--critical { color: $error; text-style: bold; }
        & > .row-table--accent { color: $secondary; }
        & > .row-table--good { color: $success; }
        & > .row-table--glyph { color: $primary; text-style: bold; }
        & > .row-table--cursor { background: $panel; }
        &:focus > .row-table--cursor { background: $primary 28%; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False, id="table.up"),
        Binding("down,j", "move(1)", "Down", show=False, id="table.down"),
        Binding("pageup,ctrl+u", "page(-1)", "Page up", show=False, id="table.page-up"),
        Binding("pagedown,ctrl+d", "page(1)", "Page down", show=False, id="table.page-down"),
        Binding("home", "to_end(-1)", "First row", show=False, id="table.first"),
        Binding("end,G", "to_end(1)", "Last row", show=False, id="table.last"),
        Binding("left,h", "sideways(-8)", "Scroll left", show=False, id="table.left"),
        Binding("right,l", "sideways(8)", "Scroll right", show=False, id="table.right"),
        Binding("enter", "open", "Open", id="table.open"),
    ]

    class Moved(Message):
        """The cursor is on another row."""

        def __init__(self, table: RowTable) -> None:
            super().__init__()
            self.row_set = table

        @property
        def control(self) -> RowTable:
            """The table whose cursor has moved."""
            return self.row_set

    class Opened(Message):
        """A row was chosen with enter or a double click."""

        def __init__(self, table: RowTable, row: Row) -> None:
            super().__init__()
            self.row_set = table
            self.row = row

        @property
        def control(self) -> RowTable:
            """The table whose row was opened."""
            return self.row_set

    class Fitted(Message):
        """The columns have got their widths.

        Attributes:
            lefts: the cells where columns begin that change more often than those before.
        """

        def __init__(self, table: RowTable, lefts: list[int]) -> None:
            super().__init__()
            self.table = table
            self.lefts = lefts

        @property
        def control(self) -> RowTable:
            """The table that says so."""
            return self.table

    class HeaderClicked(Message):
        """The title of a column was clicked."""

        def __init__(self, table: RowTable, column: Column) -> None:
            super().__init__()
            self.row_set = table
            self.column = column

        @property
        def control(self) -> RowTable:
            """The table whose header was clicked."""
            return self.row_set

    def __init__(
        self, view_state: ViewState, *, ascii_only: bool = False, id: str | None = None
    ) -> None:
        super().__init__(id=id)
        self.view_state = view_state
        self.model = Model(())
        self.row_set = RowSet(view_state.view.kind)
        self.ascii_only = ascii_only
        self.chosen: frozenset[str] | None = None
        self.wide = False
        self.trends = True
        self.now = 0.0
        self._columns: list[tuple[Column, int]] = []
        self._for_width = -1
        self._spread = False
        self._used = 0
        self._seen: object = None
        self._painted: dict[int, Line] = {}
        self._lines_now: dict[int, Line] = {}
        self._styles: dict[str, Style] = {}

    # -- what is shown ---------------------------------------------------------------------------

    def show(self, model: Model, row_set: RowSet, now: float) -> None:
        """Take the rows of this moment, and repaint the lines that changed."""
        seen = (model, row_set, row_set.version, self.view_state.stamp(now), self.size)
        self.now = now
        if seen == self._seen:
            return
        self._seen = seen
        self.model, self.row_set = model, row_set
        if self._spread != (spread := model.brokers > 1):
            self._spread, self._for_width = spread, -1
            self._painted.clear()
            self.refresh()
        before = self.view_state.cursor
        self.view_state.refresh(row_set, now)
        self._fit()
        height = len(self.view_state.keys) + 1
        if self.virtual_size.height != height:
            self.virtual_size = Size(self._content_width(), height)
        self._scroll_to_cursor()
        self.paint_changed()
        if self.view_state.cursor != before:
            self.post_message(self.Moved(self))

    def paint_changed(self) -> None:
        """Let the cells that differ from what was painted be painted again."""
        self._lines_now.clear()
        width = self.size.width
        for y in range(self.size.height):
            before, now = self._painted.get(y), self._line_at(y)
            if before is not now and before != now:
                for left, right in self._different(before, now):
                    if left < width and right > 0:
                        self.refresh(Region(max(left, 0), y, min(right, width) - max(left, 0), 1))

    def _different(self, before: Line | None, now: Line) -> list[tuple[int, int]]:
        """The spans of a line that are not as they were; all of it when these are many."""
        whole = [(0, self.size.width)]
        if before is None or before[:2] != now[:2] or len(before[2]) != len(now[2]):
            return whole
        spans: list[tuple[int, int]] = []
        x = _MARGIN - self.scroll_offset.x
        for (_, width), old, new in zip(self._columns, before[2], now[2], strict=False):
            if old != new:
                if spans and spans[-1][1] >= x - 1:
                    spans[-1] = (spans[-1][0], x + width)
                else:
                    spans.append((x, x + width))
            x += width + 1
        return whole if len(spans) > _MOST_SPANS else spans

    def repaint(self) -> None:
        """Paint everything anew: columns or colours are others."""
        self._for_width = -1
        self._seen = None
        self._styles.clear()
        self._painted.clear()
        self._lines_now.clear()
        self._fit()
        self.virtual_size = Size(self._content_width(), len(self.view_state.keys) + 1)
        self.refresh()

    def row(self) -> Row | None:
        """The row under the cursor."""
        cursor = self.view_state.cursor
        return None if cursor is None else self.row_set.rows.get(cursor)

    def marked_rows(self) -> list[Row]:
        """The marked rows, or the one under the cursor."""
        marks, here = self.view_state.marks, self.row()
        rows = (
            [self.row_set.rows[key] for key in self.view_state.keys if key in marks]
            if marks
            else []
        )
        return rows or ([here] if here is not None else [])

    def _line_at(self, y: int) -> Line:
        """All that a line depends on, worked out once for what is shown now."""
        line = self._lines_now.get(y)
        if line is None:
            line = self._lines_now[y] = self._read_line(y)
        return line

    def _read_line(self, y: int) -> Line:
        top = self.scroll_offset
        if y == 0:
            return (("header", self._for_width, top.x), tuple(self.view_state.order()[:1]), ())
        position = y - 1 + top.y
        keys = self.view_state.keys
        row = self.row_set.rows.get(keys[position]) if position < len(keys) else None
        if row is None:
            empty = not keys and y == 2  # noqa: PLR2004 -- a line below the header
            return (("words", top.x), self.view_state.words if empty else "", ())
        # Not in lists that nobody has to do with: many cursors are none.
        shows = self.view_state.touched or self.has_focus
        here = shows and row.key == self.view_state.cursor
        glyph = self._glyph(here, row.key in self.view_state.marks)
        return (("row", here, top.x), glyph, self._cells(row))

    def _cells(self, row: Row) -> Cells:
        return tuple(
            [
                (
                    self._trend(row, width) if column.trend else column.text(row),
                    column.tone(row) if column.tone is not None else "",
                )
                for column, width in self._columns
            ]
        )

    def _trend(self, row: Row, width: int) -> str:
        values = self.model.row_values(row, "ready")[-TREND_SAMPLES:]
        points = drawing.steps(values, max(1, TREND_SAMPLES // width), row.row_set.version)
        return drawing.sparkline(points[-width:], width, ascii_only=self.ascii_only)

    # -- columns ---------------------------------------------------------------------------------

    def _fit(self) -> None:
        if self._for_width == self.size.width:
            return
        self._for_width = width = self.size.width
        self._lines_now.clear()
        view = self.view_state.view
        room = 10_000 - 1 if self.wide else max(width, 1)
        columns = list(view.shown(room, self.chosen, spread=self._spread))
        if not self.trends:
            columns = [column for column in columns if not column.trend]
        free = width - _MARGIN - sum(column.width + 1 for column in columns)
        while not self.wide and free < _NAME_CELLS and len(columns) > 2:  # noqa: PLR2004 -- mark, name
            last = max(columns, key=lambda column: (column.rank, columns.index(column)))
            if last.width == 0 and last.rank == 0:
                break
            columns.remove(last)
            free += last.width + 1
        stretched = [column for column in columns if column.width == 0]
        each = max(int(free * _REASON_SHARE), _NAME_CELLS)
        # Of two the first, which is the name, has what the other would hardly use.
        widths = {column.name: min(each, _REASON_CELLS) for column in stretched[1:]}
        first = max(free - sum(widths.values()), _NAME_CELLS)
        self._columns = [(col, col.width or widths.get(col.name, first)) for col in columns]
        self._used = _MARGIN + sum(width + 1 for _, width in self._columns)
        self.post_message(self.Fitted(self, self._restless()))

    def _restless(self) -> list[int]:
        """Where the numbers begin, and each column that changes although nothing has happened."""
        lefts: list[int] = []
        x = _MARGIN
        for column, width in self._columns:
            if column.ticks or column.trend or (column.right and not lefts):
                lefts.append(x)
            x += width + 1
        return lefts

    def _content_width(self) -> int:
        return max(self.size.width, self._used)

    def column_at(self, x: int) -> Column | None:
        """The column at a cell of the header."""
        x += self.scroll_offset.x - _MARGIN
        for column, width in self._columns:
            if x <= width:
                return column
            x -= width + 1
        return None

    # -- painting --------------------------------------------------------------------------------

    def style_of(self, tone: str) -> Style:
        """The style of a tone in the present theme."""
        if tone not in self._styles:
            self._styles[tone] = self.get_component_rich_style(f"row-table--{tone}")
        return self._styles[tone]

    def render_line(self, y: int) -> Strip:
        """One line of the visible part."""
        self._fit()
        self._painted[y] = line = self._line_at(y)
        (sort, here, *_), what, cells = line
        left, width, used = self.scroll_offset.x, self.size.width, self._used
        # Every segment has a style, the filling too: the filter for NO_COLOR relies on it.
        filling = self.style_of("header" if y == 0 else "plain")
        if sort == "header":
            segments = self._header()
        elif sort == "words":
            segments = [Segment(f"   {what}", self.style_of("dim"))]
            used = 3 + len(str(what))
        else:
            over = self._cursor_style() if here else Style.null()
            filling += over
            segments = self._row_segments(str(what), cells, over)
        if left or used > width:
            return Strip(segments).crop(left, left + width).extend_cell_length(width, filling)
        # Nearly all lines: a strip is dear, and this is one where the other way makes three.
        if used < width:
            segments.append(Segment(" " * (width - used), filling))
        return Strip(segments, width)

    def _header(self) -> list[Segment]:
        order = self.view_state.order()[:1]
        first, descending = order[0] if order else (None, True)
        plain, chosen = self.style_of("header"), self.style_of("sorted")
        arrow = ("v" if descending else "^") if self.ascii_only else ("▼" if descending else "▲")
        runs = [(" " * _MARGIN, plain)]
        for column, width in self._columns:
            here = first is not None and column.name == first.name and bool(column.title)
            title = column.title + (arrow if here else "")
            runs.append((_pad(title, width, column.right) + " ", chosen if here else plain))
        return _joined(runs)

    def _row_segments(self, glyph: str, cells: Cells, over: Style) -> list[Segment]:
        plain = self.style_of("plain") + over
        runs = [(glyph, self.style_of("glyph") + over)]
        for (column, width), (text, tone) in zip(self._columns, cells, strict=True):
            style = self.style_of(tone) + over if tone else plain
            if column.sentence and len(text) > width:
                text = safe(text, width)  # noqa: PLW2901 -- the beginning of the same
            runs.append((_pad(text, width, column.right) + " ", style))
        return _joined(runs)

    def _glyph(self, here: bool, marked: bool) -> str:
        if marked:
            return "*" if self.ascii_only else "●"
        if here:
            return ">" if self.ascii_only else "▸"
        return " "

    def _cursor_style(self) -> Style:
        style = self.style_of("cursor")
        return Style(bgcolor=style.bgcolor) if style.bgcolor else Style(reverse=True)

    # -- the cursor ------------------------------------------------------------------------------

    def _scroll_to_cursor(self) -> None:
        top, height = self.scroll_offset.y, self.size.height - 1
        position = self.view_state.position
        if height <= 0:
            return
        if position < top:
            self.scroll_to(y=position, animate=False)
        elif position >= top + height:
            self.scroll_to(y=position - height + 1, animate=False)

    def _go(self, position: int) -> None:
        self.view_state.move_to(position, self.now)
        self._scroll_to_cursor()
        self.paint_changed()
        self.post_message(self.Moved(self))

    def action_move(self, lines: int) -> None:
        """Move the cursor by some lines."""
        self._go(self.view_state.position + lines)

    def action_page(self, pages: int) -> None:
        """Move the cursor by a screenful."""
        self._go(self.view_state.position + pages * max(1, self.size.height - 2))

    def action_to_end(self, end: int) -> None:
        """Move the cursor to the first or last row."""
        self._go(0 if end < 0 else len(self.view_state.keys) - 1)

    def action_sideways(self, cells: int) -> None:
        """Scroll to columns that do not fit."""
        self.scroll_relative(x=cells, animate=False)
        self.refresh()

    def watch_scroll_x(self, old_value: float, new_value: float) -> None:
        """Read the lines anew: other cells are seen."""
        self._lines_now.clear()
        super().watch_scroll_x(old_value, new_value)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Read the lines anew: other rows are seen."""
        self._lines_now.clear()
        super().watch_scroll_y(old_value, new_value)

    def action_open(self) -> None:
        """Open the row under the cursor."""
        row = self.row()
        if row is not None:
            self.post_message(self.Opened(self, row))

    def on_focus(self) -> None:
        """Paint the cursor, which is seen now."""
        self.paint_changed()

    def on_blur(self) -> None:
        """Paint no cursor any more, unless somebody has moved it."""
        self.paint_changed()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """The wheel moves the cursor: what is seen stays where it is when new rows come."""
        self._wheel(event, _WHEEL_LINES)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Scroll up by some rows."""
        self._wheel(event, -_WHEEL_LINES)

    def _wheel(self, event: events.Event, lines: int) -> None:
        event.stop()
        event.prevent_default()
        self.action_move(lines)

    def on_click(self, event: events.Click) -> None:
        """Sort by the title that was clicked, or move to the row."""
        if event.y == 0:
            column = self.column_at(event.x)
            if column is not None and column.title:
                self.post_message(self.HeaderClicked(self, column))
            return
        position = event.y - 1 + self.scroll_offset.y
        if position < len(self.view_state.keys):
            self._go(position)
            if event.chain == 2:  # noqa: PLR2004 -- a double click
                self.action_open()

    def on_resize(self) -> None:
        """Fit the columns to the new width."""
        self.repaint()
        self._scroll_to_cursor()


def _joined(runs: list[tuple[str, Style]]) -> list[Segment]:
    """One segment for neighbours of one style: every change of style costs bytes."""
    segments = []
    text, style = runs[0]
    for more, other in runs[1:]:
        if other == style:
            text += more
        else:
            segments.append(Segment(text, style))
            text, style = more, other
    return [*segments, Segment(text, style)]


def _pad(text: str, width: int, right: bool) -> str:
    cells = len(text) if text.isascii() else cell_len(text)
    if cells > width:
        text = formats.middle_cut(text, width)
        cells = cell_len(text)
    blank = " " * (width - cells)
    return blank + text if right else text + blank
