"""What texts mean in a selector: numbers, truths, patterns (**hot path**).

Headers are texts. None stands for UNKNOWN wherever a value can be it.
"""

from __future__ import annotations

import re
from math import fmod, isfinite
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


def calculate(left: NumberOrNone, operator: str, right: NumberOrNone) -> NumberOrNone:
    """One step of arithmetic; None if a side is unknown, or there is no result."""
    if left is None or right is None:
        return None
    try:
        if operator == "+":
            value = left + right
        elif operator == "-":
            value = left - right
        elif operator == "*":
            value = left * right
        elif operator == "/":
            value = left / right
        else:
            value = _remainder(left, right)
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


class Pattern:
    """A pattern of LIKE, whose cost grows with the text and not with its square.

    Args:
        pattern: as written.
        escape: the character before a ``%`` or ``_`` that means itself; empty = none.
    """

    __slots__ = ("_begins", "_ends", "_ends_after")

    def __init__(self, pattern: str, escape: str) -> None:
        segments: list[list[str | int]] = [[]]
        for piece in pieces_of(pattern, escape):
            if piece == ANY_RUN:
                segments.append([])
            else:
                segments[-1].append(piece)
        written = [_segment(segment) for segment in segments]
        # What was found first is kept, so that nothing is tried twice: an atomic group, (?>…).
        middle = "".join(f"(?>.*?{segment})" for segment in written[1:-1] if segment)
        self._begins = re.compile(written[0] + middle, re.DOTALL)
        last = segments[-1] if len(segments) > 1 else None
        self._ends_after = 0
        self._ends: re.Pattern[str] | None = None
        if last is None:
            self._begins = re.compile(written[0] + r"\Z", re.DOTALL)
        elif last:
            self._ends_after = sum(1 if isinstance(piece, int) else len(piece) for piece in last)
            self._ends = re.compile(written[-1], re.DOTALL)

    def matches(self, text: str) -> bool:
        """Whether the whole text has this shape."""
        end = len(text) - self._ends_after
        if end < 0 or self._begins.match(text, 0, end) is None:
            return False
        return self._ends is None or self._ends.match(text, end) is not None


def _segment(pieces: list[str | int]) -> str:
    return "".join("." if isinstance(piece, int) else re.escape(piece) for piece in pieces)
