"""The words that a selector is taken apart into."""

from __future__ import annotations

import pytest

from stompy.errors import ProtocolError
from stompy_broker.selectors.tokens import Token, TokenKind, tokens

NAME, TEXT, NUMBER, KEYWORD, SIGN = list(TokenKind)[:5]


def words(text: str, *, hyphens: bool = False) -> list[tuple[TokenKind, str]]:
    *found, end = tokens(text, 0, hyphens=hyphens)
    assert end == Token(TokenKind.END, "", len(text), len(text))
    assert all(text[one.start : one.end] for one in found)
    return [(one.kind, one.value) for one in found]


def test_names_and_keywords() -> None:
    assert words("color Größe _x $y a1 And BETWEEN") == [
        (NAME, "color"),
        (NAME, "Größe"),
        (NAME, "_x"),
        (NAME, "$y"),
        (NAME, "a1"),
        (KEYWORD, "AND"),
        (KEYWORD, "BETWEEN"),
    ]


def test_quotes() -> None:
    assert words('\'it\'\'s\' \'\' "my-h" "and" "a""b"') == [
        (TEXT, "it's"),
        (TEXT, ""),
        (NAME, "my-h"),
        (NAME, "and"),
        (NAME, 'a"b'),
    ]


@pytest.mark.parametrize(
    "number", ["0", "12", "12L", "0x1F", "0XffL", "1.5", "5.", ".5", "1e3", "1.5e-3D", "2f"]
)
def test_numbers(number: str) -> None:
    assert words(number) == [(NUMBER, number)]


def test_signs_need_no_blanks() -> None:
    assert words("a<>1+b*-2<=(c)") == [
        (NAME, "a"),
        (SIGN, "<>"),
        (NUMBER, "1"),
        (SIGN, "+"),
        (NAME, "b"),
        (SIGN, "*"),
        (SIGN, "-"),
        (NUMBER, "2"),
        (SIGN, "<="),
        (SIGN, "("),
        (NAME, "c"),
        (SIGN, ")"),
    ]


def test_a_hyphen_is_a_sign_unless_names_may_have_it() -> None:
    assert words("my-h") == [(NAME, "my"), (SIGN, "-"), (NAME, "h")]
    assert words("my-h - 1", hyphens=True) == [(NAME, "my-h"), (SIGN, "-"), (NUMBER, "1")]


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("a = 'x", 5, "does not end"),
        ('a = "x', 5, "single quotes"),
        ("a = \u2018x\u2019", 5, "no quote"),
        ("a == 1", 3, "write = instead of =="),
        ("a != 1", 3, "write <> instead of !="),
        ("a -- x", 3, "no comments"),
        ("a /* x */", 3, "no comments"),
        ("a && b", 3, "write AND"),
        ("a || b", 3, "write OR"),
        ("!a", 1, "write NOT"),
        ("a ^ b", 3, "no such operator"),
        ("a ; b", 3, "means nothing"),
        ("12abc", 1, "no number"),
        ("1.2.3", 1, "no number"),
        ("0xfg", 1, "no number"),
        ("my.h = 1", 3, "double quotes"),
        ('"" = 1', 1, "at least one character"),
        ("a = #5", 5, "means nothing"),
        ("a = \0", 5, "means nothing"),
    ],
)
def test_what_is_no_word(text: str, column: int, says: str) -> None:
    with pytest.raises(ProtocolError, match=says) as caught:
        list(tokens(text, 0))
    assert caught.value.details == {"error-column": str(column)}
