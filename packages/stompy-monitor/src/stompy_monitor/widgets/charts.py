"""Curves of the last minutes, each with its title and its newest value."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual.app import RenderResult
from textual.content import Content
from textual.widget import Widget

from stompy_monitor import drawing
from stompy_monitor.widgets.bars import MUTED

_MOST_POINTS = 300


class Chart(Widget):
    """One or two curves over a common zero, drawn with braille dots.

    Args:
        title: over it.
        show: how a value is written.
        names: of the curves, when there are several.
    """

    DEFAULT_CSS = """
    Chart { height: 5; padding: 0 1; }
    """
    TONES = ("$primary", "$accent", "$success")

    def __init__(
        self,
        title: str,
        show: Callable[[float], str],
        names: Sequence[str] = (),
        *,
        ascii_only: bool = False,
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self.title = title
        self._show = show
        self._names = names
        self._ascii_only = ascii_only
        self._series: tuple[tuple[float, ...], ...] = ()

    def draw(self, *series: Sequence[float]) -> None:
        """Take the values, oldest first; repaint when they are others."""
        newest = tuple(tuple(values[-_MOST_POINTS:]) for values in series)
        if newest != self._series:
            self._series = newest
            self.refresh()

    def render(self) -> RenderResult:
        """Title, newest values, and the curves one below the other."""
        width, height = self.size.width, self.size.height
        if not self._series or width < 4 or height < 2:  # noqa: PLR2004 -- no room for a curve
            return Content(self.title)
        parts: list[tuple[str, str]] = [(self.title, "bold")]
        top = max((max(values, default=0) for values in self._series), default=0)
        for number, values in enumerate(self._series):
            name = f" {self._names[number]}" if self._names else ""
            parts.append((f"{name} {self._show(values[-1] if values else 0)}", self.TONES[number]))
        peak = f"max {self._show(top)}"
        used = sum(len(text) for text, _ in parts)
        if used + len(peak) < width:
            parts.append((" " * (width - used - len(peak)) + peak, MUTED))
        return Content.assemble(*parts, *self._curves(width, height - 1, top))

    def _curves(self, width: int, height: int, top: float) -> list[tuple[str, str]]:
        each = max(1, height // len(self._series))
        parts: list[tuple[str, str]] = []
        for number, values in enumerate(self._series):
            lines = each if number else height - each * (len(self._series) - 1)
            curve = drawing.curve(values, width, lines, top, ascii_only=self._ascii_only)
            parts += [("\n" + text, self.TONES[number]) for text in curve]
        return parts
