"""Curves made of characters: one line of blocks, or several of braille dots.

Both start at a true zero and take the top from outside, so that a steady queue and an idle one do
not look alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

BLOCKS = " ▁▂▃▄▅▆▇█"
ASCII_BLOCKS = " ._-=+*%#"

_HEADROOM = 1.3
"""A steady value does not fill its cells: the line stays one."""

_BRAILLE = 0x2800
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_DOT_ROWS, _DOT_COLUMNS = 4, 2


def shrink(values: Sequence[float], width: int) -> list[float]:
    """The last values in at most ``width`` steps; each step shows its highest value."""
    if len(values) <= width or width <= 0:
        return list(values)
    edges = [len(values) * step // width for step in range(width + 1)]
    return [max(values[start:end]) for start, end in pairwise(edges)]


def steps(values: Sequence[float], every: int, tick: int) -> list[float]:
    """The highest value of every few ticks; where a step begins does not move with the time.

    Args:
        values: oldest first, one for each tick.
        every: ticks of a step.
        tick: of the newest value.
    """
    first = (len(values) - 1 - tick) % every
    edges = [0] * bool(first) + list(range(first, len(values), every)) + [len(values)]
    return [max(values[start:end]) for start, end in pairwise(edges) if end > start]


def sparkline(
    values: Sequence[float], width: int, top: float = 0, *, ascii_only: bool = False
) -> str:
    """One line of blocks, the newest value at the right.

    Args:
        values: oldest first.
        width: in cells.
        top: what fills a cell; the highest value, when that is more.
        ascii_only: without block characters.
    """
    blocks = ASCII_BLOCKS if ascii_only else BLOCKS
    points = shrink(values, width)
    top = max(top, _HEADROOM * max(points, default=0))
    if top <= 0:
        return (blocks[1] * len(points)).rjust(width)
    steps = len(blocks) - 2
    return "".join(blocks[1 + round(max(value, 0) / top * steps)] for value in points).rjust(width)


def curve(
    values: Sequence[float], width: int, height: int, top: float = 0, *, ascii_only: bool = False
) -> list[str]:
    """Lines of braille with one connected curve, the newest value at the right.

    Args:
        values: oldest first.
        width: in cells; each shows two values.
        height: in lines; each has four steps.
        top: the value at the upper edge; the highest value, when that is more.
        ascii_only: columns of blocks instead of braille.
    """
    if ascii_only:
        return _columns(values, width, height, top)
    points = shrink(values, width * _DOT_COLUMNS)
    top = max([top, 1e-9, *points])
    rows = height * _DOT_ROWS
    cells = [[0] * width for _ in range(height)]
    start = width * _DOT_COLUMNS - len(points)
    levels = [round(max(value, 0) / top * (rows - 1)) for value in points]
    for step, level in enumerate(levels):
        before = levels[step - 1] if step else level
        for row in _between(before, level):
            x, y = start + step, rows - 1 - row
            cells[y // _DOT_ROWS][x // _DOT_COLUMNS] |= _DOTS[y % _DOT_ROWS][x % _DOT_COLUMNS]
    return ["".join(chr(_BRAILLE + cell) if cell else " " for cell in line) for line in cells]


def _between(before: int, level: int) -> Iterable[int]:
    """The rows that join a point with the one before it."""
    if before < level:
        return range(before + 1, level + 1)
    return range(level, before) if before > level else (level,)


def _columns(values: Sequence[float], width: int, height: int, top: float) -> list[str]:
    points = shrink(values, width)
    top = max([top, 1e-9, *points])
    lines = []
    for line in range(height):
        floor = height - 1 - line
        fill = [min(max(value / top * height - floor, 0), 1) for value in points]
        lines.append("".join("#" if part > 0.5 else "." if part > 0 else " " for part in fill))  # noqa: PLR2004 -- half a line
    return [line.rjust(width) for line in lines]
