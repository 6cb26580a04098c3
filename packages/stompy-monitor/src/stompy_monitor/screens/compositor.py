"""Paint the cells that changed, not the line up to them.

Textual keeps which spans of a line are to be painted anew, but writes each from the left edge of
its widget. In a table whose ages tick that is nearly all of every line, each second.
"""

from __future__ import annotations

from rich.console import Console
from textual._compositor import ChopsUpdate, Compositor
from textual.geometry import Offset


class Spans(ChopsUpdate):
    """An update that writes its spans and nothing beside them."""

    def render_segments(self, console: Console) -> str:
        """The text for the terminal: each span with a move of the cursor before it."""
        written: list[str] = []
        for y, left, right in self.spans:
            for end, (x, strip) in zip(self.chop_ends[y], self.chops[y].items(), strict=False):
                if strip is None or x >= right or end <= left:
                    continue
                begin = max(x, left)
                written.append(_move(Offset(begin, y)))
                written.append(strip.crop(begin - x, min(end, right) - x).render(console))
        return "".join(written)


class SpanCompositor(Compositor):
    """Textual's compositor with updates that are as small as they could be."""

    def render_partial_update(self) -> ChopsUpdate | None:
        """What is to be painted anew; None when nothing is."""
        update = super().render_partial_update()
        return None if update is None else Spans(update.chops, update.spans, update.chop_ends)


def _move(to: Offset) -> str:
    return f"\x1b[{to.y + 1};{to.x + 1}H"
