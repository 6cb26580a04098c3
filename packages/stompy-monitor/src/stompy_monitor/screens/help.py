"""Help for the screen in hand, made from its key bindings."""

from __future__ import annotations

from collections.abc import Container, Mapping

from textual.content import Content
from textual.screen import Screen

_FILTER = (
    ("orders", "the name contains it"),
    ("ready>1k consumers=0", "both hold"),
    ("~^app\\. or !test", "a regular expression, or not this word"),
    ("oldest>5m", "units: k M G, KiB MiB GiB, ms s m h d"),
)


def help_page(
    screen: Screen[None],
    title: str,
    leave_out: Container[str] = (),
    words: Mapping[str, str] | None = None,
) -> Content:
    """What each key does, grouped by where it is bound.

    Args:
        screen: below the help.
        title: of that screen.
        leave_out: bindings that do nothing there.
        words: what bindings do there, where that is not what they say themselves.
    """
    parts: list[tuple[str, str]] = [(f"{title}\n", "bold $primary")]
    groups: dict[str, dict[str, list[str]]] = {group: {} for group in _GROUPS.values()}
    for _, binding, enabled, _ in screen.active_bindings.values():
        if enabled and binding.id and binding.description and binding.id not in leave_out:
            group = _GROUPS.get(binding.id.partition(".")[0], "Program")
            does = (words or {}).get(binding.id, binding.description)
            keys = groups[group].setdefault(does, [])
            shown = screen.app.get_key_display(binding)
            if shown not in keys:
                keys.append(shown)
    for group, entries in groups.items():
        if not entries:
            continue
        parts.append((f"\n{group}\n", "bold"))
        for description, keys in entries.items():
            parts.append((f"  {', '.join(keys):<18}", "$primary"))
            parts.append((f"{description}\n", ""))
    parts.append(("\nFilters\n", "bold"))
    for example, meaning in _FILTER:
        parts += [(f"  {example:<24}", "$primary"), (f"{meaning}\n", "")]
    return Content.assemble(*parts)


_GROUPS = {
    "act": "Actions: a preview and a question come first",
    "messages": "Here",
    "message": "Here",
    "detail": "Here",
    "overview": "Here",
    "cluster": "Here",
    "go": "Moving about",
    "table": "Table",
    "view": "Views",
    "time": "Time",
    "app": "Program",
    "screen": "Program",
}
"""The heading for each kind of binding, in the order of the page."""
