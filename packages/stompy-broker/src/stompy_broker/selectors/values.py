"""What texts mean in a selector: numbers, truths, patterns (**hot path**).

Headers are texts. None stands for UNKNOWN wherever a value can be it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from math import fmod, isfinite
from operator import add, mul, sub, truediv
from typing import Final

NumberOrNone = int | float | None

LONGEST_NUMBER: Final = 40
"""Characters of a header that may be a number."""

_NUMBER = re.compile(
    r"[ \t]*[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[ \t]*", re.ASCII
)
_WHOLE = re.compile(r"[ \t]*[+-]?[0-9]+[ \t]*")


def number(text: str | None) -> NumberOrNone:
    """The decimal number that a header is; None if it is none, or there is no header."""
    if text is None or len(text) > LONGEST_NUMBER:
        return None
    if (text.isdigit() and text.isascii()) or _WHOLE.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        value = float(text)
        return value if isfinite(value) else None
    return None


def literal_number(text: str) -> int | float:
    """The number that a literal is: ``12``, ``12L``, ``0x1F``, ``1.5``, ``1e3``, ``1.5D``.

    Raises:
        ValueError: it is none; the text says why.
    """
    if text[:2] in ("0x", "0X"):
        return int(text[2:].rstrip("lL"), 16)
    digits = text.rstrip("lLdDfF")
    if digits.isdigit():
        if digits[0] == "0" and len(digits) > 1:
            raise ValueError(f"a number that begins with 0 could be octal; write {int(digits)}")
        return float(digits) if text[-1] in "dDfF" else int(digits)
    if text[-1] in "lL":
        raise ValueError("L stands behind a whole number only")
    value = float(digits)
    if not isfinite(value):
        raise ValueError("a number that is too large")
    return value


def total(left: NumberOrNone, right: NumberOrNone) -> NumberOrNone:
    """The sum; None if a side is unknown, or it is too large."""
    return None if left is None or right is None else _finite(add, left, right)


def difference(left: NumberOrNone, right: NumberOrNone) -> NumberOrNone:
    """What is left of a number; None if a side is unknown, or it is too large."""
    return None if left is None or right is None else _finite(sub, left, right)


def product(left: NumberOrNone, right: NumberOrNone) -> NumberOrNone:
    """The product; None if a side is unknown, or it is too large."""
    return None if left is None or right is None else _finite(mul, left, right)


def quotient(left: NumberOrNone, right: NumberOrNone) -> NumberOrNone:
    """The quotient, with a fraction; None if a side is unknown, or there is none."""
    return None if left is None or right is None else _finite(truediv, left, right)


def remainder(left: NumberOrNone, right: NumberOrNone) -> NumberOrNone:
    """What a division leaves; None if a side is unknown, or it cannot be divided."""
    return None if left is None or right is None else _finite(_remainder, left, right)


_Step = Callable[[int | float, int | float], int | float]


def _finite(step: _Step, left: int | float, right: int | float) -> NumberOrNone:
    try:
        value = step(left, right)
    except ArithmeticError:
        return None
    return value if isinstance(value, int) or isfinite(value) else None


def negative(value: NumberOrNone) -> NumberOrNone:
    """A number with its sign turned."""
    return None if value is None else -value


def _remainder(left: int | float, right: int | float) -> int | float:
    # With the sign of the left side, as SQL has it and Python has not.
    if isinstance(left, int) and isinstance(right, int):
        rest = abs(left) % abs(right)
        return -rest if left < 0 else rest
    try:
        return fmod(left, right)
    except ValueError as error:
        raise ZeroDivisionError from error


ANY_RUN: Final = 0
"""The piece of a pattern that ``%`` is: any characters, or none."""
ANY_ONE: Final = 1
"""The piece of a pattern that ``_`` is: one character."""


def pieces_of(pattern: str, escape: str) -> list[str | int]:
    """Take a pattern of LIKE apart into texts, `ANY_RUN` and `ANY_ONE`.

    Raises:
        ValueError: it ends with its escape character.
    """
    pieces: list[str | int] = []
    run: list[str] = []
    characters = iter(pattern)
    for character in characters:
        if character == escape:
            following = next(characters, None)
            if following is None:
                raise ValueError("a pattern that ends with its escape character")
            run.append(following)
        elif character in "%_":
            if run:
                pieces.append("".join(run))
                run = []
            pieces.append(ANY_RUN if character == "%" else ANY_ONE)
        else:
            run.append(character)
    if run:
        pieces.append("".join(run))
    return pieces


class Shape(Enum):
    """What the simple patterns of LIKE ask of a text."""

    WHOLE = "is it"
    BEGINS = "begins with it"
    ENDS = "ends with it"
    HOLDS = "has it somewhere"


def shape_of(pattern: str, escape: str) -> tuple[Shape, str] | None:
    """What a simple pattern asks, and of which text; None if it is not one of those."""
    pieces = pieces_of(pattern, escape)
    texts = [piece for piece in pieces if isinstance(piece, str)]
    runs = [piece == ANY_RUN for piece in pieces]
    if len(texts) != 1 or ANY_ONE in pieces:
        return None
    shapes = {
        (False,): Shape.WHOLE,
        (False, True): Shape.BEGINS,
        (True, False): Shape.ENDS,
        (True, False, True): Shape.HOLDS,
    }
    shape = shapes.get(tuple(runs))
    return None if shape is None else (shape, texts[0])


class Pattern:
    """Any other pattern of LIKE.

    What stands between two ``%`` is looked for from where the one before it was found, once, and
    found is found: so the cost grows with the text, and not with its square or worse.

    Args:
        pattern: as written.
        escape: the character before a ``%`` or ``_`` that means itself; empty = none.
    """

    __slots__ = ("_first", "_last", "_length_of_last", "_searches")

    def __init__(self, pattern: str, escape: str) -> None:
        segments: list[list[str | int]] = [[]]
        for piece in pieces_of(pattern, escape):
            if piece == ANY_RUN:
                segments.append([])
            else:
                segments[-1].append(piece)
        first, *middle = map(_expression, segments)
        self._length_of_last = 0
        self._last: re.Pattern[str] | None = None
        if middle:
            self._last = middle.pop()
            self._length_of_last = sum(
                1 if isinstance(piece, int) else len(piece) for piece in segments[-1]
            )
        self._first = first
        self._searches = [one.search for one in middle if one.pattern]

    def matches(self, text: str) -> bool:
        """Whether the whole text has this shape."""
        if self._last is None:
            return self._first.fullmatch(text) is not None
        end = len(text) - self._length_of_last
        if end < 0:
            return False
        found = self._first.match(text, 0, end)
        for search in self._searches:
            if found is None:
                return False
            found = search(text, found.end(), end)
        return found is not None and self._last.match(text, end) is not None


def _expression(segment: list[str | int]) -> re.Pattern[str]:
    written = ("." if isinstance(piece, int) else re.escape(piece) for piece in segment)
    return re.compile("".join(written), re.DOTALL)
