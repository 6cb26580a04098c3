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
    dots = _dots(values, width, height, top)
    return ["".join(chr(_BRAILLE + cell) if cell else " " for cell in line) for line in dots]


Run = tuple[str, int]
"""Neighbouring cells that belong to the same curve, and its number."""


def curves(
    series: Sequence[Sequence[float]],
    width: int,
    height: int,
    top: float = 0,
    *,
    ascii_only: bool = False,
) -> list[list[Run]]:
    """Lines with several curves over one another, all on one scale.

    Where two meet, the cell shows the dots of both, and belongs to the later one.

    Args:
        series: the values of each, oldest first.
        width: in cells.
        height: in lines.
        top: the value at the upper edge; the highest value, when that is more.
        ascii_only: columns of signs instead of braille.
    """
    top = max([top, *(max(values, default=0) for values in series)])
    lines: list[list[Run]] = []
    if ascii_only:
        drawn = [_columns(values, width, height, top) for values in series]
        fills = [[sum(line[at] != " " for line in one) for at in range(width)] for one in drawn]
        # The smaller one stands before the larger one, so that both are seen.
        order = [
            sorted(range(len(series)), key=lambda n: (fills[n][at], -n)) for at in range(width)
        ]
        return [
            _runs([_front(drawn, order[at], line, at) for at in range(width)])
            for line in range(height)
        ]
    grids = [_dots(values, width, height, top) for values in series]
    for line in range(height):
        cells = []
        for at in range(width):
            here = [grid[line][at] for grid in grids]
            owner = max((number for number, dots in enumerate(here) if dots), default=0)
            together = 0
            for dots in here:
                together |= dots
            cells.append((chr(_BRAILLE + together) if together else " ", owner))
        lines.append(_runs(cells))
    return lines


def _front(drawn: Sequence[Sequence[str]], order: Sequence[int], line: int, at: int) -> Run:
    """The sign of the first curve in an order that reaches into a cell."""
    for number in order:
        char = drawn[number][line][at]
        if char != " ":
            return (_FILLS[number % len(_FILLS)] if char == "#" else char, number)
    return (" ", 0)


_FILLS = "#o+"


def _runs(cells: Sequence[Run]) -> list[Run]:
    runs: list[Run] = []
    for char, number in cells:
        if runs and (runs[-1][1] == number or char == " "):
            runs[-1] = (runs[-1][0] + char, runs[-1][1])
        else:
            runs.append((char, number))
    return runs


def _dots(values: Sequence[float], width: int, height: int, top: float) -> list[list[int]]:
    """The dots of a curve, as numbers in a grid of cells."""
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
    return cells


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
