"""Help for the screen in hand, made from its key bindings."""

from __future__ import annotations

from textual.content import Content
from textual.screen import Screen

_FILTER = (
    ("orders", "the name contains it"),
    ("ready>1k consumers=0", "both hold"),
    ("~^app\\. or !test", "a regular expression, or not this word"),
    ("oldest_ms>5m", "units: k M G, KiB MiB GiB, ms s m h d"),
)


def help_page(screen: Screen[None], title: str) -> Content:
    """What each key does, grouped by where it is bound.

    Args:
        screen: below the help.
        title: of that screen.
    """
    parts: list[tuple[str, str]] = [(f"{title}\n", "bold $primary")]
    groups: dict[str, dict[str, list[str]]] = {}
    for key, (node, binding, _, _) in screen.active_bindings.items():
        if not binding.id or not binding.description:
            continue
        group = _GROUPS.get(binding.id.partition(".")[0], type(node).__name__)
        shown = screen.app.get_key_display(binding)
        keys = groups.setdefault(group, {}).setdefault(binding.description, [])
        if shown not in keys:
            keys.append(shown)
        del key
    for group, entries in groups.items():
        parts.append((f"\n{group}\n", "bold"))
        for description, keys in entries.items():
            parts.append((f"  {', '.join(keys):<18}", "$primary"))
            parts.append((f"{description}\n", ""))
    parts.append(("\nFilters\n", "bold"))
    for example, meaning in _FILTER:
        parts += [(f"  {example:<24}", "$primary"), (f"{meaning}\n", "")]
    return Content.assemble(*parts)


_GROUPS = {
    "view": "Views",
    "table": "Table",
    "go": "Moving about",
    "act": "Actions: a preview and a question come first",
    "time": "Time",
    "app": "Program",
    "screen": "Program",
    "detail": "Here",
    "messages": "Here",
    "message": "Here",
    "overview": "Here",
}
