"""The routes of the broker, as a page to read."""

from __future__ import annotations

from collections.abc import Mapping

from textual.content import Content

from stompy_monitor.model.escape import safe
from stompy_monitor.widgets.bars import MUTED


def route_page(told: Mapping[str, object]) -> Content:
    """What ``route.list`` tells, two lines for each route, and more where there is more."""
    rows = told.get("rows")
    parts: list[tuple[str, str]] = [("Routes\n", "bold $primary")]
    for row in rows if isinstance(rows, list) else []:
        arrow = "moves to" if row.get("mode") == "move" else "copies to"
        targets = ", ".join(safe(str(one)) for one in row.get("to", ()))
        parts.append((f"\n{safe(str(row.get('number')))}  {safe(str(row.get('from')))}\n", "bold"))
        parts.append((f"   {arrow} {targets}\n", ""))
        if row.get("selector"):
            parts.append((f"   what matches {safe(str(row['selector']))}\n", ""))
        added = row.get("set")
        for name, value in added.items() if isinstance(added, dict) else ():
            parts.append((f"   with {safe(str(name))}: {safe(str(value))}\n", ""))
    if len(parts) == 1:
        parts.append(("\nthe configuration has no [[route]]\n", MUTED))
    return Content.assemble(*parts)
