"""Which rows a table shows, in which order, and where the cursor is.

* The order is total and stable: rows that compare equal stand by their key.
* The cursor belongs to a row's key, never to a line; until somebody moves it, it stands on the
  first row, so that a list that nobody has touched shows its top.
* While the reader moves, the order holds still: rows keep their places, new ones come at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from stompy_monitor.model.filter import Everything, Expression
from stompy_monitor.model.row_set import Row, RowSet
from stompy_monitor.tables.columns import Column, SortKey
from stompy_monitor.tables.definitions import View

HOLD_SECONDS = 3.0
"""For how long the order holds still after a cursor key."""
MANY_ROWS = 10_000
SORT_SECONDS = 2.0
"""So many rows are not sorted more often than this."""

_MAY_BE_OWN = frozenset(("connections", "subscriptions", "transactions"))

Scope = Callable[[Row], bool]


Place = tuple[object, ...]
"""Where a row stands among the others: one comparison settles it, the row's key at the latest."""


class _Backwards(str):
    """Text that comes in the opposite order."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return str.__gt__(self, other)

    def __gt__(self, other: str) -> bool:
        return str.__lt__(self, other)


def _all(_: Row) -> bool:
    return True


@dataclass
class ViewState:
    """The state of one table on the screen.

    Attributes:
        view: what it is a table of.
        scope: which rows belong here at all; the filter is within them.
        filter: what the reader asked for.
        typed: the same as it was written.
        sorted_by: a column, or None for the view's own order.
        descending: whether the largest come first, with ``sorted_by``.
        show_own: whether rows that belong to the monitor itself are shown.
        marks: the keys of the marked rows.
        keys: the rows that are shown, in their order.
        cursor: the key of the row under the cursor; None when there is none.
        position: its line.
        touched: whether the reader has chosen a row; else the list stays at its top.
        total: how many rows there are without the filter.
    """

    view: View
    scope: Scope = _all
    filter: Expression = field(default_factory=Everything)
    typed: str = ""
    sorted_by: Column | None = None
    descending: bool = True
    show_own: bool = False
    sort_seconds: float = 0.0
    marks: set[str] = field(default_factory=set)
    keys: list[str] = field(default_factory=list)
    cursor: str | None = None
    position: int = 0
    touched: bool = False
    total: int = 0
    _held_until: float = 0.0
    _sorted_at: float = float("-inf")
    _dirty: bool = True
    _places: dict[str, Place] = field(default_factory=dict)
    _placed: tuple[RowSet | None, int] = (None, -1)

    def __post_init__(self) -> None:
        """A view of some rows only has their scope."""
        if self.view.only is not None and self.scope is _all:
            self.scope = self.view.only

    # -- what the reader does ------------------------------------------------------------------

    def sort(self, column: Column | None, descending: bool = True) -> None:
        """Order by a column, or by the view's own order again."""
        self.sorted_by, self.descending = column, descending
        self.release()

    def filter_by(self, expression: Expression, typed: str = "") -> None:
        """Show only the rows that match; ``typed`` is how somebody wrote it."""
        self.filter, self.typed = expression, typed or str(expression)
        self.release()

    def move_to(self, position: int, now: float) -> None:
        """Put the cursor on a line, and hold the order for a while."""
        self._place(position)
        # Where the top is what matters, who goes there wants to follow it again.
        self.touched = self.position > 0 or not self.view.follows
        self._held_until = now + HOLD_SECONDS if self.touched else 0.0

    def select(self, key: str) -> None:
        """Put the cursor on a row, if it is shown."""
        if key in self.keys:
            self._place(self.keys.index(key))
            self.touched = True

    def _place(self, position: int) -> None:
        self.position = max(0, min(position, len(self.keys) - 1))
        self.cursor = self.keys[self.position] if self.keys else None

    def toggle_mark(self) -> None:
        """Mark the row under the cursor, or take its mark."""
        if self.cursor is not None:
            self.marks ^= {self.cursor}

    def mark_all(self) -> None:
        """Mark every row that is shown."""
        self.marks |= set(self.keys)

    def release(self) -> None:
        """Let the order move again, and renew it at the next look."""
        self._held_until = 0.0
        self._dirty = True

    def holds(self, now: float) -> bool:
        """Whether the order holds still."""
        return now < self._held_until

    def stamp(self, now: float) -> object:
        """What the rows depend on beside the table: equal stamps need no other look."""
        return (
            self._dirty,
            self.holds(now),
            now - self._sorted_at >= self.sort_seconds if self.sort_seconds else None,
            self.cursor,
            len(self.marks),
            self.show_own,
            self.filter,
            self.touched,
        )

    @property
    def words(self) -> str:
        """What stands there when there is no row."""
        return "nothing matches the filter; esc clears it" if self.total else self.view.empty

    # -- what time does ------------------------------------------------------------------------

    def refresh(self, row_set: RowSet, now: float) -> None:
        """Renew the rows and their order from the table."""
        shown = self._belonging(row_set)
        if self.holds(now) and not self._dirty:
            self._keep(shown)
        elif self._dirty or now - self._sorted_at >= self._pause(len(shown)):
            self.keys = self._ordered(row_set, shown)
            self._sorted_at, self._dirty = now, False
        else:
            self._keep(shown)
        if self.marks:
            self.marks &= row_set.rows.keys()
        self._follow_cursor()

    def _belonging(self, row_set: RowSet) -> dict[str, Row]:
        """The rows that could be shown; all of them, without a copy, where that is so."""
        rows, scope = row_set.rows, self.scope
        hides = bool(row_set.own) and not self.show_own and row_set.kind in _MAY_BE_OWN
        if hides:
            return {key: row for key, row in rows.items() if not row.own and scope(row)}
        return rows if scope is _all else {key: row for key, row in rows.items() if scope(row)}

    def _pause(self, rows: int) -> float:
        return SORT_SECONDS if rows > MANY_ROWS else self.sort_seconds

    def _keep(self, rows: dict[str, Row]) -> None:
        """The old order without the rows that went; the new ones at the end."""
        self.total = len(rows)
        if rows.keys() == set(self.keys):
            return
        known = set(self.keys)
        new = [key for key, row in rows.items() if key not in known and self.filter.matches(row)]
        self.keys = [key for key in self.keys if key in rows] + new

    def _ordered(self, row_set: RowSet, rows: dict[str, Row]) -> list[str]:
        """The matching rows in their order; only those that changed look for a new place."""
        self.total = len(rows)
        moved = self._renew_places(row_set, rows)
        matches = self.filter.matches
        everything = isinstance(self.filter, Everything)
        found = rows if everything else {key: row for key, row in rows.items() if matches(row)}
        if not moved and len(found) == len(self.keys) and found.keys() == set(self.keys):
            return self.keys
        # One long ordered run, and behind it the others: the sort of Python merges the two.
        stay = [key for key in self.keys if key in found and key not in moved]
        known = set(stay)
        return sorted(
            [*stay, *(key for key in found if key not in known)], key=self._places.__getitem__
        )

    def _renew_places(self, row_set: RowSet, rows: dict[str, Row]) -> set[str]:
        """Work out the places of the rows that changed; the keys of those that got another one."""
        places = self._places
        of, since = self._placed
        if self._dirty or of is not row_set:
            places.clear()
        order = [(column.key, descending) for column, descending in self.order()]
        moved = set()
        for key, row in rows.items():
            if row.changed > since or key not in places:
                place = _place_of(row, order)
                if places.get(key) != place:
                    places[key] = place
                    moved.add(key)
        for key in places.keys() - rows.keys() if len(places) > len(rows) else ():
            del places[key]
        self._placed = row_set, row_set.version
        return moved

    def order(self) -> list[tuple[Column, bool]]:
        """The columns that the rows stand by, the first one first."""
        if self.sorted_by is not None:
            return [(self.sorted_by, self.descending)]
        named = [(self.view.column(name), descending) for name, descending in self.view.order]
        return [(column, descending) for column, descending in named if column is not None]

    def _follow_cursor(self) -> None:
        if not self.keys:
            self.cursor, self.position = None, 0
        elif not self.touched:
            self._place(0)
        elif (
            self.cursor is not None
            and self.position < len(self.keys)
            and self.keys[self.position] == self.cursor
        ):
            return
        elif self.cursor in self.keys:
            self.position = self.keys.index(self.cursor)
        else:
            # Its row is gone: the one that took its place is the next best.
            self._place(self.position)


def _place_of(row: Row, order: list[tuple[Callable[[Row], SortKey], bool]]) -> Place:
    place: list[object] = []
    for key, descending in order:
        sort, number, text = key(row)
        place += (-sort, -number, text and _Backwards(text)) if descending else (sort, number, text)
    return (*place, row.key)
