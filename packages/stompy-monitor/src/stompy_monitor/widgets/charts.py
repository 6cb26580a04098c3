"""Curves of the last minutes, each with its title and its newest value."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual.app import RenderResult
from textual.content import Content
from textual.widget import Widget

from stompy_monitor.tables import sparkline as drawing
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
        """Title, newest values, and the curves on one scale."""
        width, height = self.size.width, self.size.height
        if not self._series or width < 4 or height < 2:  # noqa: PLR2004 -- no room for a curve
            return Content(self.title)
        top = max((max(values, default=0) for values in self._series), default=0)
        parts: list[tuple[str, str]] = [(self.title, "bold")]
        used = len(self.title)
        for number, values in enumerate(self._series):
            name = f" {self._names[number]}" if self._names else ""
            words = f"{name} {self._show(values[-1] if values else 0)}"
            if used + len(words) <= width:  # else it would wrap into the curve
                parts.append((words, self.TONES[number]))
                used += len(words)
        peak = f"max {self._show(top)}"
        if used + len(peak) < width:
            parts.append((" " * (width - used - len(peak)) + peak, MUTED))
        lines = drawing.curves(self._series, width, height - 1, top, ascii_only=self._ascii_only)
        for line in lines:
            parts.append(("\n", ""))
            parts += [(text, self.TONES[number]) for text, number in line]
        return Content.assemble(*parts)
