"""The words of a selector: names, texts, numbers, keywords and signs, each with its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from stompy_broker.selectors.refusal import bad_selector

KEYWORDS = frozenset(
    (
        "AND",
        "BETWEEN",
        "ESCAPE",
        "FALSE",
        "IN",
        "IS",
        "LIKE",
        "NOT",
        "NULL",
        "OR",
        "TRUE",
    )
)
"""Words that are no names, in any case; in double quotes they are."""


class TokenKind(Enum):
    """What a token is."""

    NAME = "a name"
    TEXT = "a text"
    NUMBER = "a number"
    KEYWORD = "a keyword"
    SIGN = "a sign"
    END = "the end"


class Token(NamedTuple):
    """One word of a selector.

    Attributes:
        kind: what it is.
        value: a name or text without its quotes, a keyword in capitals, else as written.
        start: where it begins in the selector.
        end: where it ends.
    """

    kind: TokenKind
    value: str
    start: int
    end: int

    def is_sign(self, *signs: str) -> bool:
        """Whether it is one of these signs."""
        return self.kind is TokenKind.SIGN and self.value in signs

    def is_keyword(self, *words: str) -> bool:
        """Whether it is one of these keywords, given in capitals."""
        return self.kind is TokenKind.KEYWORD and self.value in words

    def __str__(self) -> str:
        """As an error names it."""
        return "the end" if self.kind is TokenKind.END else f"{self.value[:40]!r}"


_WORD = r"[^\W\d][\w$]*|\$[\w$]*"
_HYPHENATED = r"[^\W\d][\w$]*(?:-[\w$]+)*|\$[\w$]*(?:-[\w$]+)*"

_PATTERN = r"""
    (?P<blank>\s+)
  | (?P<text>'(?:[^']|'')*')
  | (?P<quoted>"(?:[^"]|"")*")
  | (?P<number>0[xX][0-9a-fA-F]+[lL]?
      | (?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[lLdDfF]?)
  | (?P<word>%s)
  | (?P<refused>==|!=|--|/\*|&&|\|\||!|\^)
  | (?P<sign><>|<=|>=|[=<>+\-*/%%(),])
"""

_PLAIN = re.compile(_PATTERN % _WORD, re.VERBOSE)
_WITH_HYPHENS = re.compile(_PATTERN % _HYPHENATED, re.VERBOSE)

_INSTEAD = {
    "==": "write = instead of ==",
    "!=": "write <> instead of !=",
    "--": "there are no comments, and -- is none; write - - for the number below zero",
    "/*": "there are no comments",
    "&&": "write AND instead of &&",
    "||": "write OR instead of ||",
    "!": "write NOT instead of !",
    "^": "there is no such operator",
}


def tokens(text: str, start: int, *, hyphens: bool = False) -> Iterator[Token]:
    """Take a selector apart, and end with a token of the kind `TokenKind.END`.

    Args:
        text: the whole selector.
        start: where its expression begins.
        hyphens: whether a name may have hyphens without being quoted.

    Raises:
        ProtocolError: something that is no word of a selector.
    """
    pattern = _WITH_HYPHENS if hyphens else _PLAIN
    position = start
    while position < len(text):
        match = pattern.match(text, position)
        if match is None:
            raise bad_selector(text, position, _unknown(text[position]))
        position = match.end()
        kind, word = match.lastgroup, match.group()
        if kind != "blank":
            yield _token(text, kind or "", word, match.start(), position)
    yield Token(TokenKind.END, "", len(text), len(text))


def _token(text: str, kind: str, word: str, start: int, end: int) -> Token:
    if kind == "text":
        return Token(TokenKind.TEXT, word[1:-1].replace("''", "'"), start, end)
    if kind == "quoted":
        if word == '""':
            raise bad_selector(text, start, "a name has at least one character")
        return Token(TokenKind.NAME, word[1:-1].replace('""', '"'), start, end)
    if kind == "number":
        after = text[end : end + 1]
        if after.isalnum() or after in ("_", "$", "."):
            raise bad_selector(text, start, f"{word + after!r} is no number")
        return Token(TokenKind.NUMBER, word, start, end)
    if kind == "refused":
        raise bad_selector(text, start, _INSTEAD[word])
    if kind == "sign":
        return Token(TokenKind.SIGN, word, start, end)
    capitals = word.upper()
    if capitals in KEYWORDS:
        return Token(TokenKind.KEYWORD, capitals, start, end)
    if text[end : end + 1] == ".":
        raise bad_selector(text, end, "a name with a dot stands in double quotes")
    return Token(TokenKind.NAME, word, start, end)


def _unknown(character: str) -> str:
    if character == "'":
        return "a text that does not end; '' is a quote in it"
    if character == '"':
        return "a name that does not end; texts stand in single quotes"
    if character in "\u2018\u2019\u201c\u201d\u00b4`":
        return f"{character!r} is no quote; texts stand in '…'"
    return f"{character!r} means nothing in a selector"
