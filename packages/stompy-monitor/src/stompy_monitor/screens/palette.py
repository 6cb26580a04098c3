"""What the palette finds beside commands: queues, topics and connections, by their names."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from textual.command import Hit, Hits, Provider
from textual.content import Content

if TYPE_CHECKING:
    from stompy_monitor.dashboard import Dashboard

KINDS = ("queues", "topics", "connections", "durable")
_MOST = 50
"""More hits are no answer."""


class RowsProvider(Provider):
    """Opens a row whose name holds what was typed."""

    async def search(self, query: str) -> Hits:
        """Offer the rows whose names fit what was typed."""
        dashboard: Dashboard = self.app.dashboard  # type: ignore[attr-defined]  # of our program
        matcher, wanted, found = self.matcher(query), query.casefold(), 0
        for kind in KINDS:
            for row in dashboard.picture.row_sets[kind].rows.values():
                name = row.label
                if wanted in name.casefold() and not row.own and found < _MOST:
                    found += 1
                    open_it = partial(dashboard.navigator.inspect, kind, row.key)
                    # Names come from clients: `Matcher.highlight` would read markup in them.
                    yield Hit(matcher.match(name), Content(name), open_it, name, kind)
