"""The lines round a table: who the broker is, the tabs, the title, the keys."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.app import RenderResult
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from stompy_monitor.model import formats
from stompy_monitor.model.model import Model
from stompy_monitor.sources.base import ConnectionStatus, Phase
from stompy_monitor.tables import sparkline as drawing

Part = tuple[str, str]
"""Text and its style. Text in here is never read as markup."""

MUTED = "$foreground 60%"
OFF = "$foreground 35%"
"""Styles for what is less important, and for what cannot be done now."""

STALE_INTERVALS = 3
_NARROW = 100


class Bar(Widget):
    """One line or two that repaint only when they say something else."""

    DEFAULT_CSS = "Bar { height: 1; }"

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._shown: tuple[Part, ...] = ()
        self._title = ""

    def show(self, parts: Sequence[Part]) -> None:
        """Show another text in the line."""
        if tuple(parts) != self._shown:
            self._shown = tuple(parts)
            # Not the border: a line of it is as many bytes as ten lines of text.
            self.refresh(*([self.size.region] if self.size else []))

    def head(self, title: str) -> None:
        """Write this on the border, as it is."""
        if title != self._title:
            self._title = title
            # A text would be read as markup, with or without backslashes before its brackets.
            self.border_title = Content(title)

    def render(self) -> RenderResult:
        """Give the text that is shown."""
        return Content.assemble(*self._shown)


def connection_words(status: ConnectionStatus, model: Model, now: float) -> Part:
    """How it stands with the connection, with a dot, a word and a colour."""
    if status.phase is Phase.LIVE:
        age = now - status.latest_at if status.latest_at is not None else 0.0
        if age * 1000 > STALE_INTERVALS * model.interval_ms:
            return (f"● stale {age:.1f} s", "$warning bold")
        return (f"● live {age:.1f} s", "$success")
    if status.phase is Phase.REPLAY:
        return ("▶ replay", "$accent")
    wait = max(0, round(status.retry_at - now))
    if status.phase is Phase.LOST:
        lost = formats.clock(status.lost_at)
        when = f"retry in {wait} s (r now)" if wait else "trying"
        return (f"● lost {lost} · {when}", "$error bold")
    if status.phase is Phase.CONNECTING:
        if not status.words:
            return ("○ connecting", "$warning")
        when = f"next in {wait} s" if wait else "trying"
        return (f"○ connecting (try {status.attempt}, {when})", "$warning")
    return (f"● {status.phase}", "$error bold")


_ASCII = str.maketrans("●○▶", "*o>")


def identity(
    status: ConnectionStatus,
    model: Model,
    now: float,
    wall: float,
    badge: str,
    width: int,
    *,
    ascii_only: bool = False,
) -> list[Part]:
    """The first line: what, where, how old."""
    parts: list[Part] = [(" stompy-monitor ", "bold $primary")]
    if model.name:
        parts.append((f"{formats.middle_cut(model.name, 20)}  ", "bold"))
    parts.append((formats.middle_cut(status.url, max(20, width // 3)) + "  ", MUTED))
    if badge:
        parts.append((f" {badge} ", "reverse $accent"))
        parts.append(("  ", ""))
    words, style = connection_words(status, model, now)
    parts.append((words.translate(_ASCII) if ascii_only else words, style))
    if status.phase is Phase.LIVE and width >= _NARROW:
        parts.append((f"   {status.user or 'anonymous'} ({status.role})", MUTED))
    if model.broker and width >= _NARROW:
        version = model.broker.get("version") or "?"
        up = formats.duration(model.broker_number("uptime_ms"))
        parts.append((f"   v{version}  up {up}", MUTED))
    clock = formats.clock(wall)
    used = sum(len(text) for text, _ in parts)
    parts.append((" " * max(1, width - used - len(clock) - 1) + clock, MUTED))
    return parts


def pulse(model: Model, width: int, *, ascii_only: bool, known: bool) -> list[Part]:
    """The second line: how much goes through."""
    if not model.broker:
        return []
    parts: list[Part] = []
    for name in ("in", "out", "ack"):
        rate = formats.rate(model.rates[name] if known else None)
        parts += [(f" {name} ", MUTED), (f"{rate}/s ".rjust(8), "bold")]
        if width >= _NARROW:
            values = model.broker_values(name)[-40:]
            parts.append((drawing.sparkline(values, 8, ascii_only=ascii_only) + " ", "$secondary"))
    for label, field, show in (
        ("ready", "messages_ready", formats.number),
        ("unacked", "messages_unacked", formats.number),
        ("conn", "connections", formats.number),
        ("tx", "transactions", formats.number),
    ):
        parts += [(f" {label} ", MUTED), (f"{show(model.broker_number(field))} ", "bold")]
    if width >= _NARROW:
        cpu, lag = model.broker_number("cpu_pct"), model.broker_number("loop_lag_ms.p99")
        parts += [(" cpu ", MUTED), (f"{cpu:.0f} % ", "bold")]
        parts += [(" lag ", MUTED), (f"{lag:.0f} ms", "bold" if lag < _LATE else "$warning")]
    while width >= _NARROW and sum(len(text) for text, _ in parts) > width:
        # A spark goes rather than a number.
        sparks = [n for n, (_, style) in enumerate(parts) if style == "$secondary"]
        if not sparks:
            break
        parts[sparks[-1]] = (" ", "")
    return parts


_LATE = 200
"""Milliseconds of lag that deserve a look."""


_SHORT = {"Overview": "All", "Queues": "Queue", "Topics": "Topic", "Durable": "Dur"}
"""Titles where there is little room."""


class Tabs(Bar):
    """The views by number, each with how many rows and how many alarms it has."""

    class Chosen(Message):
        """Says which tab was clicked."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id)
        self._places: list[tuple[int, str]] = []

    def show_tabs(self, tabs: Sequence[tuple[str, str, str, int, str]], active: str) -> None:
        """Draw the tabs, the open one lit.

        Args:
            tabs: for each its key, name, title, severity, and count.
            active: the name of the one that is open.
        """
        parts: list[Part] = [(" ", "")]
        self._places = []
        end = 1
        short = sum(len(title) + len(count) + 4 for _, _, title, _, count in tabs) > self.size.width
        for key, name, title, severity, count in tabs:
            here = name == active
            style = "bold reverse $primary" if here else ""
            tint = (MUTED, "$warning", "$error bold")[severity]
            shown = _SHORT.get(title, title) if short and not here else title
            number = f"{key} " if short else f" {key} "
            pieces: list[Part] = [(number, style or "$primary"), (shown, style)]
            if count and not (short and not severity and not here):
                pieces.append((f" {count}{'!' * severity}", style or tint))
            pieces.append((" ", style))
            parts += pieces
            end += sum(len(text) for text, _ in pieces)
            self._places.append((end, name))
        self.show(parts)

    def on_click(self, event: events.Click) -> None:
        """Open the tab that was clicked."""
        for end, name in self._places:
            if event.x < end:
                self.post_message(self.Chosen(name))
                return


class Hints(Bar):
    """The keys that do something here."""

    def show_keys(self, keys: Sequence[tuple[str, str, bool]], right: str = "") -> None:
        """Draw the keys, dim where they do nothing now.

        Args:
            keys: for each the key, what it does, and whether it does so now.
            right: something for the right edge.
        """
        parts: list[Part] = [(" ", "")]
        room = self.size.width - len(right) - 2
        for key, label, works in keys:
            if len(key) + len(label) + 3 > room:
                break
            room -= len(key) + len(label) + 3
            parts.append((key, "bold $primary" if works else OFF))
            parts.append((f" {label}  ", "" if works else OFF))
        used = sum(len(text) for text, _ in parts)
        parts.append((" " * max(0, self.size.width - used - len(right) - 1) + right, MUTED))
        self.show(parts)
