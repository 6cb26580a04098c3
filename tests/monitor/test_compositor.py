"""What is written to the terminal when some cells changed."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from stompy_monitor.screens.compositor import Spans

WIDTH = 40
PIECES = st.lists(st.text("abcdefg", min_size=1, max_size=9), min_size=1, max_size=9)
SPAN = st.tuples(st.integers(0, WIDTH - 1), st.integers(1, WIDTH)).filter(lambda s: s[0] < s[1])


def written(pieces: list[str], cuts: list[int], spans: list[tuple[int, int]]) -> list[str]:
    """The screen after an update, a line of dots before it; and the text that came."""
    styles = [Style(bold=True), Style(italic=True)]
    segments = [Segment(text, styles[n % 2]) for n, text in enumerate(pieces)]
    line = Strip(segments).extend_cell_length(WIDTH, styles[0]).crop(0, WIDTH)
    edges = [0, *cuts, WIDTH]
    strips = line.divide(edges[1:])
    chops = [dict(zip(edges, strips, strict=False))]
    update = Spans(chops, [(0, *span) for span in spans], [edges[1:]])
    sent = update.render_segments(Console(force_terminal=True, color_system="truecolor"))
    screen, x, count = ["."] * WIDTH, 0, 0
    for move, text in re.findall(r"\x1b\[1;(\d+)H|\x1b\[[\d;]*m|([a-g ]+)", sent):
        x = int(move) - 1 if move else x
        screen[x : x + len(text)] = text
        x, count = x + len(text), count + len(text)
    return ["".join(screen), line.text, str(count)]


@given(PIECES, st.lists(st.integers(1, WIDTH - 1), unique=True, max_size=2), st.lists(SPAN))
def test_the_spans_are_written_and_nothing_beside_them(
    pieces: list[str], cuts: list[int], spans: list[tuple[int, int]]
) -> None:
    if not spans:
        return
    screen, line, _ = written(pieces, sorted(cuts), spans)
    changed = {x for left, right in spans for x in range(left, right)}
    assert screen == "".join(line[x] if x in changed else "." for x in range(WIDTH))


@pytest.mark.parametrize("span", [(30, 34)])
def test_cells_before_a_span_are_not_written_again(span: tuple[int, int]) -> None:
    assert written(["abcdefg"] * 6, [], [span])[2] == "4"
