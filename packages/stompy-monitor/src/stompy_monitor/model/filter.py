r"""The one small language for filters, alarms and scripts.

=====================  ==========================================================
``orders``             the name contains it, upper and lower case alike
``~^app\.``            the name matches a regular expression
``ready>1k``           a column compared: ``= != > >= < <=``, and ``~`` for a pattern
``a b``, ``a or b``    both; either
``!a``, ``( )``        not; grouping
``"a b"``              quotes, for blanks and signs
=====================  ==========================================================

Units: ``k M G``, ``KiB MiB GiB``, ``ms s m h d`` (all times are milliseconds). Columns go by their
JSON names, or by what `stompy_monitor.tables.vocabulary` takes for one. In ``--fail-if`` names
carry their kind, as in ``queue.ready>1000``.

An expression prints itself in a form that reads back as the same expression.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from functools import lru_cache
from typing import Protocol

_UNITS = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "ms": 1,
    "s": 1_000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "%": 1,
}
_NUMBER = re.compile(r"(-?\d+(?:\.\d+)?)([A-Za-z%]*)")
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<paren>[()])
      | (?P<not>!(?![=]))
      | (?P<compare>[A-Za-z_][\w.-]*)(?P<op>\s*(?:!=|>=|<=|=|>|<)|~)
        \s*(?P<value>"(?:[^"\\]|\\.)*"|[^\s()"]+)
      | (?P<regex>~\s*(?:"(?:[^"\\]|\\.)*"|\S+))
      | (?P<quoted>"(?:[^"\\]|\\.)*")
      | (?P<word>[^\s()"!~<>=][^\s()"<>=]*)
    )""",
    re.VERBOSE,
)
_BARE = re.compile(r"[A-Za-z0-9_./$*:-]+")
_PLAIN_PATTERN = re.compile(r'[^\s()"]+')
_WORDS = ("or", "and")
_FOREIGN = {
    "&&": "“and”",
    "&": "“and”",
    "||": "“or”",
    "|": "“or”",
    "and": "“and”",
    "or": "“or”",
    "not": "“!”",
    ",": "“and”",
}
"""What other languages join and turn with; a name that is just that stands in quotes."""
_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")
_FLAGS = (*_TRUE, *_FALSE)
_HAYSTACKS = 100_000
"""How many names each pattern remembers; a name is matched once, not at every tick."""
_ORDERED: dict[str, Callable[[float, float], bool]] = {
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
}


class Sort(StrEnum):
    """What the values of a column are."""

    NUMBER = "number"
    FLAG = "flag"
    TEXT = "text"
    WHOLE = "whole"
    """Several values in one."""
    OTHER = "other"


TIMES, SIZES, COUNTS = "ms s m h d", "k M G KiB MiB GiB", "k M G"
"""The units that go with numbers."""


@dataclass(frozen=True)
class Name:
    """What a word before an operator stands for.

    Attributes:
        name: of the column.
        sort: of its values.
        units: those that may stand behind a number; empty = any.
    """

    name: str
    sort: Sort = Sort.OTHER
    units: str = ""


class Subject(Protocol):
    """What an expression is asked about."""

    @property
    def haystack(self) -> str:
        """The text in which bare words are looked for."""

    def value(self, name: str) -> object:
        """A column by its JSON name; None when there is no value."""


class ExpressionError(ValueError):
    """An expression that cannot be understood.

    Attributes:
        position: where it breaks, counted in characters from 0.
    """

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


@dataclass(frozen=True)
class Everything:
    """The empty expression."""

    def matches(self, subject: Subject) -> bool:
        """Let every row pass."""
        return True

    def __str__(self) -> str:
        return ""


@dataclass(frozen=True)
class Contains:
    """A word somewhere in the name."""

    text: str

    def matches(self, subject: Subject) -> bool:
        """Whether the word is there, upper and lower case alike."""
        return self.text.lower() in subject.haystack.lower()

    def __str__(self) -> str:
        return self.text if _is_bare(self.text) else _quote(self.text)


@dataclass(frozen=True)
class Matches:
    """A regular expression that fits somewhere in the name, or in one column."""

    pattern: str
    name: str = ""

    def matches(self, subject: Subject) -> bool:
        """Whether it fits; remembered for each name."""
        text = subject.value(self.name) if self.name else subject.haystack
        return text is not None and _fits(self.pattern, str(text))

    def __str__(self) -> str:
        plain = bool(self.name) and _PLAIN_PATTERN.fullmatch(self.pattern) is not None
        return f"{self.name}~{self.pattern if plain else _quote(self.pattern)}"


@dataclass(frozen=True)
class Compare:
    """A column beside a value."""

    name: str
    operator: str
    literal: str

    def matches(self, subject: Subject) -> bool:
        """Whether the comparison holds; a column without a value holds for ``!=`` only."""
        found = subject.value(self.name)
        wanted = number(self.literal)
        if self.operator in _ORDERED:
            comparable = isinstance(found, (int, float)) and wanted is not None
            return comparable and _ORDERED[self.operator](found, wanted)  # type: ignore[arg-type]
        return self._equals(found, wanted) == (self.operator == "=")

    def _equals(self, found: object, wanted: float | None) -> bool:
        if isinstance(found, bool):
            return found == (self.literal.lower() in _TRUE)
        if isinstance(found, (int, float)) and wanted is not None:
            return found == wanted
        return found is not None and str(found) == self.literal

    def __str__(self) -> str:
        text = self.literal if _is_bare(self.literal) else _quote(self.literal)
        return f"{self.name}{self.operator}{text}"


@dataclass(frozen=True)
class Not:
    """Matches what its part does not."""

    inner: Expression

    def matches(self, subject: Subject) -> bool:
        """Whether the inner one does not."""
        return not self.inner.matches(subject)

    def __str__(self) -> str:
        grouped = isinstance(self.inner, (And, Or))
        return f"!({self.inner})" if grouped else f"!{self.inner}"


@dataclass(frozen=True)
class And:
    """Matches what all of its parts match."""

    parts: tuple[Expression, ...]

    def matches(self, subject: Subject) -> bool:
        """Whether all of the parts match."""
        return all(part.matches(subject) for part in self.parts)

    def __str__(self) -> str:
        grouped = (And, Or)
        return " ".join(f"({p})" if isinstance(p, grouped) else str(p) for p in self.parts)


@dataclass(frozen=True)
class Or:
    """Matches what one of its parts matches."""

    parts: tuple[Expression, ...]

    def matches(self, subject: Subject) -> bool:
        """Whether one of the parts matches."""
        return any(part.matches(subject) for part in self.parts)

    def __str__(self) -> str:
        return " or ".join(f"({p})" if isinstance(p, Or) else str(p) for p in self.parts)


Expression = Everything | Contains | Matches | Compare | Not | And | Or


def names_in(expression: Expression) -> set[str]:
    """The columns that an expression asks for."""
    if isinstance(expression, Not):
        return names_in(expression.inner)
    if isinstance(expression, (And, Or)):
        return set().union(*map(names_in, expression.parts))
    name = getattr(expression, "name", "")
    return {name} if name else set()


def number(text: str) -> float | None:
    """A number with its unit, or None when it is none."""
    found = _NUMBER.fullmatch(text)
    if found is None or found[2] not in _UNITS:
        return None
    return float(found[1]) * _UNITS[found[2]]


def parse(text: str, known: Mapping[str, Name] | None = None) -> Expression:
    """Read an expression as somebody typed it.

    Args:
        text: what somebody typed.
        known: the words that stand for columns; None takes any name.

    Raises:
        ExpressionError: it cannot be understood; the error says where.
    """
    return _Parser(text, known).whole()


@dataclass
class _Token:
    kind: str
    text: str
    at: int
    op: str = ""
    value: str = ""
    value_at: int = 0


class _Parser:
    def __init__(self, text: str, known: Mapping[str, Name] | None) -> None:
        self.known = known
        self.tokens = list(_tokens(text))
        self.next = 0
        self.end = len(text)

    def whole(self) -> Expression:
        if not self.tokens:
            return Everything()
        found = self.either()
        if self.next < len(self.tokens):
            raise ExpressionError("a “)” too many", self.tokens[self.next].at)
        return found

    def either(self) -> Expression:
        parts = [self.all_of()]
        while self.takes("word", "or"):
            parts.append(self.all_of())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def all_of(self) -> Expression:
        parts = [self.one()]
        while True:
            joined = self.takes("word", "and")
            token = self.peek()
            ends = token is None or (token.kind, token.text) in (("paren", ")"), ("word", "or"))
            if ends and not joined:
                return parts[0] if len(parts) == 1 else And(tuple(parts))
            parts.append(self.one())

    def one(self) -> Expression:
        token = self.peek()
        if token is None:
            raise ExpressionError("something is missing here", self.end)
        self.next += 1
        if token.kind == "not":
            return Not(self.one())
        if (token.kind, token.text) == ("paren", "("):
            inner = self.either()
            if not self.takes("paren", ")"):
                raise ExpressionError("this “(” is never closed", token.at)
            return inner
        if token.kind == "paren" or (token.kind == "word" and token.text in _WORDS):
            raise ExpressionError(f"“{token.text}” has nothing before it", token.at)
        return self.leaf(token)

    def leaf(self, token: _Token) -> Expression:
        if token.kind == "regex":
            pattern = token.text[1:].lstrip()
            return Matches(_pattern(_unquote(pattern), token.at + 1))
        if token.kind != "compare":
            here = _FOREIGN.get(token.text.lower())
            if token.kind == "word" and here is not None:
                raise ExpressionError(f"“{token.text}” is written {here} here", token.at)
            return Contains(_unquote(token.text))
        meant, value = self.meant(token), _unquote(token.value)
        if token.op == "~":
            return Matches(_pattern(value, token.value_at), meant.name)
        ordered = token.op in _ORDERED
        if (ordered or meant.sort is Sort.NUMBER) and number(value) is None:
            raise ExpressionError(f"“{value}” is not a number", token.value_at)
        if ordered and meant.sort in (Sort.FLAG, Sort.TEXT):
            raise ExpressionError(f"“{token.text}” is no number: it can be = or !=", token.at)
        if meant.sort is Sort.WHOLE:
            parts = [name for name in self.known or () if name.startswith(f"{token.text}.")]
            hint = f"; there is {', '.join(parts)}" if parts else f"; {token.text}~… looks into it"
            raise ExpressionError(f"“{token.text}” is no single value{hint}", token.at)
        if meant.sort is Sort.NUMBER:
            self.check_unit(meant, value, token.value_at)
        if meant.sort is Sort.FLAG and value.lower() not in _FLAGS:
            raise ExpressionError(f"“{value}” is neither true nor false", token.value_at)
        return Compare(meant.name, token.op, value)

    def meant(self, token: _Token) -> Name:
        if self.known is None:
            return Name(token.text)
        found = self.known.get(token.text) or self.known.get(token.text.lower())
        if found is None:
            near = get_close_matches(token.text, self.known, 1, 0.5)
            hint = f"; “{near[0]}” perhaps?" if near else ""
            raise ExpressionError(f"there is no column “{token.text}”{hint}", token.at)
        return found

    def check_unit(self, meant: Name, value: str, at: int) -> None:
        """Minutes are no bytes, and “1m” is no million."""
        found = _NUMBER.fullmatch(value)
        unit = found[2] if found is not None else ""
        if unit and meant.units and unit not in meant.units.split():
            raise ExpressionError(f"“{unit}” does not go with it, but {meant.units}", at)

    def peek(self) -> _Token | None:
        return self.tokens[self.next] if self.next < len(self.tokens) else None

    def takes(self, kind: str, text: str) -> bool:
        token = self.peek()
        taken = token is not None and (token.kind, token.text) == (kind, text)
        self.next += taken
        return taken


def _tokens(text: str) -> list[_Token]:
    tokens = []
    position = 0
    while text[position:].strip():
        found = _TOKEN.match(text, position)
        if found is None:
            at = position + len(text[position:]) - len(text[position:].lstrip())
            quoted = text[at] == '"'
            what = "this quote is never closed" if quoted else "a name and a value belong here"
            raise ExpressionError(what, at)
        kind = found.lastgroup or ""
        if kind in ("op", "value"):
            kind = "compare"
        at = found.start(kind)
        token = _Token(kind, found[kind], at, (found["op"] or "").strip(), found["value"] or "")
        token.value_at = found.start("value")
        tokens.append(token)
        position = found.end()
    return tokens


def _pattern(text: str, position: int) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ExpressionError(f"not a regular expression: {error}", position) from error
    return text


@lru_cache(maxsize=_HAYSTACKS)
def _fits(pattern: str, text: str) -> bool:
    return re.search(pattern, text) is not None


def _is_bare(text: str) -> bool:
    return _BARE.fullmatch(text) is not None and text.lower() not in _FOREIGN


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _unquote(text: str) -> str:
    if not text.startswith('"'):
        return text
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
