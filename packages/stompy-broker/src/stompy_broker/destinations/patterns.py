"""Patterns of names: what separates their words, and what two of them have in common.

Names have no separator of their own; the pattern decides how it is read. Words are separated by
dots, but in the pattern of a topic that holds no dot and has a slash by slashes:

==============  ===================================  =======================
pattern         matches                              does not match
==============  ===================================  =======================
``a/*``         ``a/b``, ``a/b.c``                   ``a.b``, ``a/b/c``
``a/**``        ``a``, ``a/b``, ``a/b/c``            ``a.b``
``a.*``         ``a.b``, ``a.b/c``                   ``a/b``
==============  ===================================  =======================

``**`` is the rest there, as ``>`` and ``#`` are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

DOT, SLASH = ".", "/"
ONE_WORD = "*"
REST = frozenset((">", "#"))
SLASHED_REST = REST | {"**"}
WILDCARDS = REST | {ONE_WORD}
_SLASHED_WILDCARDS = SLASHED_REST | {ONE_WORD}


def is_slashed(name: str) -> bool:
    """Whether it is the pattern of topics whose words are separated by slashes."""
    if DOT in name or (SLASH not in name and name != "**"):
        return False
    return not _SLASHED_WILDCARDS.isdisjoint(name.split(SLASH))


def words_of(pattern: str) -> list[str]:
    """The words of the pattern of a topic; a rest is always ``>``."""
    if not is_slashed(pattern):
        return pattern.split(DOT)
    return [">" if word in SLASHED_REST else word for word in pattern.split(SLASH)]


def overlap(one: str, other: str) -> bool:
    """Whether there may be a topic's name that both patterns match."""
    separator = _common_separator(one, other)
    if separator is not None:
        return overlaps(_split(one, separator), _split(other, separator))
    # Read in two ways, they cannot be compared by word; only what they begin with tells.
    begin, start = _beginning(one), _beginning(other)
    return begin.startswith(start) or start.startswith(begin)


def cover(pattern: str, other: str) -> bool:
    """Whether the pattern of a topic certainly matches every name that another one does."""
    separator = _common_separator(pattern, other)
    if separator is not None:
        return covers(_split(pattern, separator), _split(other, separator))
    first, *more = words_of(pattern)
    return first in REST and not more


def overlaps(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether there is a name that both patterns match, given by their words."""
    for word, twin in zip(one, other, strict=False):
        if word in REST or twin in REST:
            return True
        if word != twin and ONE_WORD not in (word, twin):
            return False
    rest = one[len(other) :] or other[len(one) :]
    return not rest or (len(rest) == 1 and rest[0] in REST)


def covers(pattern: Sequence[str], other: Sequence[str]) -> bool:
    """Whether a pattern matches every name that another one does, given by their words."""
    for index, word in enumerate(pattern):
        if word in REST:
            return True
        if index == len(other) or other[index] in REST:
            return False
        if word not in (ONE_WORD, other[index]):
            return False
    return len(pattern) == len(other)


def _common_separator(one: str, other: str) -> str | None:
    """By what both can be split: a name by anything, a pattern by its own; None = by nothing."""
    slashed, twin = is_slashed(one), is_slashed(other)
    if slashed == twin:
        return SLASH if slashed else DOT
    if WILDCARDS.isdisjoint((other if slashed else one).split(DOT)):
        return SLASH
    return None


def _split(pattern: str, separator: str) -> list[str]:
    return words_of(pattern) if is_slashed(pattern) else pattern.split(separator)


def _beginning(pattern: str) -> str:
    """What every name that it matches begins with."""
    separator = SLASH if is_slashed(pattern) else DOT
    words = words_of(pattern)
    plain: list[str] = []
    for word in words:
        if word in WILDCARDS:
            return separator.join([*plain, ""]) if word == ONE_WORD else separator.join(plain)
        plain.append(word)
    return pattern


def name_test(pattern: str) -> Callable[[str], object] | None:
    """What tells quickly whether names match a pattern of topics; None = it is a name itself.

    As `stompy_broker.destinations.matcher` has it: a wildcard at the beginning never matches a
    word that begins with ``$``.
    """
    words = words_of(pattern)
    if WILDCARDS.isdisjoint(words):
        return None
    between = SLASH if is_slashed(pattern) else DOT
    one, separator = f"[^{re.escape(between)}]*", re.escape(between)
    has_rest = words[-1] in REST
    parts = [one if word == ONE_WORD else re.escape(word) for word in words]
    if has_rest:
        text = separator.join(parts[:-1])
        text = f"{text}(?:{separator}.*)?" if parts[:-1] else ".*"
    else:
        text = separator.join(parts)
    guard = r"(?!\$)" if words[0] in WILDCARDS else ""
    return re.compile(guard + text, re.DOTALL).fullmatch
