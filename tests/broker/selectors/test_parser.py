"""How selectors are read, what is refused and where, and that hostile ones have an end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.message import Message, MessageHead
from stompy_broker.selectors.functions import function_of
from stompy_broker.selectors.parser import (
    DEEPEST,
    LONGEST,
    MOST_MEMBERS,
    MOST_NODES,
    MOST_WILDCARDS,
    parse,
)


def takes(selector: str, **headers: str) -> bool:
    head = MessageHead.from_headers({name.replace("_", "-"): h for name, h in headers.items()})
    return function_of(parse(selector))(Message(1, head, b"", b"\ntimestamp:1\n"))


@pytest.mark.parametrize(
    ("selector", "answer"),
    [
        ("TRUE OR TRUE AND FALSE", True),
        ("(TRUE OR TRUE) AND FALSE", False),
        ("NOT FALSE AND FALSE", False),
        ("NOT (FALSE AND FALSE)", True),
        ("NOT NOT TRUE", True),
        ("NOT 1 = 2", True),
        ("1 + 2 * 3 = 7", True),
        ("(1 + 2) * 3 = 9", True),
        ("10 - 3 - 2 = 5", True),
        ("12 / 3 / 2 = 2", True),
        ("7 % 4 + 1 = 4", True),
        ("-7 % 4 = -3", True),
        ("- - 3 = 3", True),
        ("2 - -3 = 5", True),
        ("2 BETWEEN 1 AND 3 AND TRUE", True),
        ("2 NOT BETWEEN 1 AND 3 OR TRUE", True),
        ("'a' IN ('a') AND 1 IN (1.0, 2)", True),
        ("TRUE IN (FALSE)", False),
        ("'abc' LIKE 'a%'", True),
        ("'a%c' LIKE 'a!%c' ESCAPE '!'", True),
        ("'abc' LIKE 'a!%c' ESCAPE '!'", False),
        ("(1 = 1) = TRUE", True),
        ("(1 = 1) <> TRUE", False),
        ("FALSE = (1 = 2)", True),
        ("TRUE = FALSE", False),
        ("TRUE <> FALSE", True),
        ("'a' = 'a'", True),
        ("1 IS NULL", False),
        ("1 IS NOT NULL", True),
        ("x + 1 IS NULL", True),
        ("1 / 0 = 1", False),
        ("1 / 0 <> 1", False),
        ("1 % 0 IS NULL", True),
        ("1.5 % 0 IS NULL", True),
        ("1e300 * 1e300 IS NULL", True),
        ("12345678901234567890 = 12345678901234567889", False),
    ],
)
def test_what_holds_together(selector: str, answer: bool) -> None:
    assert takes(selector) is answer


def test_prefixes() -> None:
    assert takes("convert_string_expressions:n > 5", n="7")
    assert takes("hyphenated_props:my-h = 'x'", my_h="x")
    assert takes("hyphenated_props:convert_string_expressions:my-h = 5", my_h="5")
    plain = "no_convert_string_expressions:"
    assert takes(f"{plain}n = 5", n="5")
    assert not takes(f"{plain}n = 5", n="5.0")
    assert takes(f"{plain}n = -5 AND ok = true", n="-5", ok="true")
    assert not takes(f"{plain}ok = true", ok="TRUE")
    assert not takes(f"{plain}n IN (1, 2)", n="1.0")
    for refused in ("n > 5", "n + 1 = 2", "TRUE"):
        with pytest.raises(ProtocolError):
            parse(plain + refused)


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("", 1, "empty"),
        ("   ", 4, "empty"),
        ("a =", 4, "missing before the end"),
        ("a = = 1", 5, "missing before '='"),
        ("AND a", 1, "missing before 'AND'"),
        ("a AND", 6, "missing before the end"),
        ("a b", 3, "no operator before 'b'"),
        ("(a = 1", 1, "no \\) for this"),
        ("a = 1)", 6, "nobody opened"),
        ("a = 1 = 2", 7, "second comparison"),
        ("a = 1 IS NULL", 7, "second comparison"),
        ("REGEX('^a', s)", 6, "LIKE"),
        ("XPATH '//a'", 7, "LIKE"),
        ("a = NULL", 5, "IS NULL"),
        ("a IS 5", 6, "NULL or NOT NULL"),
        ("a NOT 5", 7, "LIKE, BETWEEN or IN"),
        ("5", 1, "is a number"),
        ("'x'", 1, "is a text"),
        ("a + 1", 1, "is a number"),
        ("a AND 'x'", 7, "is a text"),
        ("NOT 5", 5, "is a number"),
        ("'x' + 1 = 2", 1, "is a text"),
        ("-'x' = 2", 2, "is a text"),
        ("TRUE + 1 = 2", 1, "TRUE or FALSE"),
        ("(a = 1) + 1 = 2", 1, "is a condition"),
        ("my-h = 'x'", 1, 'written "my-h"'),
        ("my - h IN ('x')", 1, 'written "my-h"'),
        ("n + 1 = 'x'", 9, "compared with what is a number"),
        ("5 = 'x'", 5, "compared with what is a number"),
        ("s > 'a'", 3, "= and <> only"),
        ("'a' < s", 5, "= and <> only"),
        ("s < TRUE", 3, "= and <> only"),
        ("5 = TRUE", 1, "is a number"),
        ("'true' = TRUE", 1, "is a text"),
        ("a = (b = 1)", 5, "TRUE and FALSE only"),
        ("(a = 1) < TRUE", 9, "= and <> only"),
        ("(a = 1) IS NULL", 1, "is no value"),
        ("(a = 1) IN (TRUE)", 1, "is no value"),
        ("(a = 1) LIKE 'x'", 1, "LIKE looks at a header"),
        ("5 LIKE '5'", 1, "LIKE looks at a header"),
        ("s LIKE 5", 8, "text in"),
        ("s LIKE t", 8, "text in"),
        ("s LIKE 'a' ESCAPE 'xy'", 19, "one character"),
        ("s LIKE 'a' ESCAPE ''", 19, "one character"),
        ("s LIKE 'a!' ESCAPE '!'", 8, "ends with its escape"),
        ("s BETWEEN 'a' AND 'c'", 11, "compares numbers"),
        ("s BETWEEN 1 OR 2", 13, "AND after its lower end"),
        ("s IN 'a'", 6, "followed by"),
        ("s IN ()", 7, "takes texts"),
        ("s IN (a)", 7, "takes texts"),
        ("s IN (1", 8, "missing before the end"),
        ("s IN (1 2)", 9, "missing before '2'"),
        ("5 IN ('a')", 7, "compared with what is a number"),
        ("'a' IN (5)", 9, "in a list for what is a text"),
        ("n = 010", 5, "octal"),
        ("n = 1.5L", 5, "whole number"),
        ("n = 1e999", 5, "too large"),
        ("convert_string_expressions:n =", 31, "missing before the end"),
    ],
)
def test_what_is_refused(text: str, column: int, says: str) -> None:
    with pytest.raises(ProtocolError, match=says) as caught:
        parse(text)
    assert caught.value.error_code is ErrorCode.BAD_SELECTOR
    assert caught.value.details == {"error-column": str(column)}


@given(st.text(alphabet="abAND '\"()=<>+-*/%,.1eLIKESORNTUB", max_size=60))
def test_whatever_is_written_is_read_or_refused(text: str) -> None:
    try:
        function_of(parse(text))
    except ProtocolError as error:
        column = int(error.details["error-column"])
    else:
        column = 1
    assert 1 <= column <= len(text) + 1


WIDE = MOST_NODES // 2 - 1
LARGEST = {
    "longest": f"x = '{'x' * (LONGEST - 6)}'",
    "longest IN": "x IN (" + ",".join(f"'{n:015}'" for n in range(MOST_MEMBERS)) + ")",
    "longest number": f"x = {'9' * (LONGEST - 4)}",
    "deep parentheses": "(" * DEEPEST + "x" + ")" * DEEPEST,
    "deep NOT": "NOT " * DEEPEST + "x",
    "deep signs": "- " * DEEPEST + "x = 1",
    "deep sums": "(x+" * DEEPEST + "1" + ")" * DEEPEST + " = 1",
    "deep sums and products": "(x+y*" * DEEPEST + "1" + ")" * DEEPEST + " = 1",
    "deep long sums": "(x+y-z*" * (DEEPEST - 1) + "1" + ")" * (DEEPEST - 1) + " = 1",
    "deep conditions": "(x OR y AND NOT " * (DEEPEST // 2) + "z" + ")" * (DEEPEST // 2),
    "deep comparisons": "(" * DEEPEST + "x = 1" + ") = TRUE" * DEEPEST,
    "wide OR": " OR ".join(f"x{n}" for n in range(WIDE)),
    "wide AND of names": " AND ".join(["x"] * WIDE),
    "wide sum": "+".join(["x"] * WIDE) + " = 1",
    "wide product": "*".join(["x"] * WIDE) + " = 1",
    "wide comparisons": " OR ".join(f"x{n}=y{n}" for n in range(WIDE // 2)),
    "wide BETWEEN": " OR ".join(["x+y BETWEEN y AND z"] * 80),
    "wide LIKE": " OR ".join(["x LIKE 'a%b%c_d%'"] * 170),
    "wildcards": f"x LIKE '{'%_' * (MOST_WILDCARDS // 2)}'",
}


@pytest.mark.parametrize("name", LARGEST)
def test_the_largest_that_are_taken(name: str) -> None:
    assert len(LARGEST[name]) <= LONGEST
    function = function_of(parse(LARGEST[name]))
    for value in ("1", "a" * 100, "9" * 40):
        head = MessageHead.from_headers(dict.fromkeys("xyz", value))
        assert function(Message(1, head, b"", b"\ntimestamp:1\n")) in (True, False)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"x = '{'x' * (LONGEST - 5)}'", "longer than 4096"),
        ("(" * (DEEPEST + 1) + "x" + ")" * (DEEPEST + 1), "deeper than 64"),
        ("NOT " * (DEEPEST + 1) + "x", "deeper than 64"),
        ("- " * (DEEPEST + 1) + "x = 1", "deeper than 64"),
        ("(" * LONGEST, "deeper than 64"),
        (" OR ".join(["x"] * (MOST_NODES // 2 + 2)), "more than 512"),
        (f"x IN ({', '.join(['1'] * (MOST_MEMBERS + 1))})", "more than 200"),
        (f"x LIKE '{'_' * (MOST_WILDCARDS + 1)}'", "64 are the most"),
    ],
)
def test_the_smallest_that_are_too_large(text: str, says: str) -> None:
    with pytest.raises(ProtocolError, match=says):
        parse(text)
