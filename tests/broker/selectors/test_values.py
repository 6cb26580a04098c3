"""Numbers, steps of arithmetic and patterns."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stompy_broker.selectors.values import (
    ANY_ONE,
    ANY_RUN,
    NumberOrNone,
    Pattern,
    Shape,
    difference,
    literal_number,
    negative,
    number,
    pieces_of,
    product,
    quotient,
    remainder,
    shape_of,
    total,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("007", 7),
        (" -7\t", -7),
        ("+7", 7),
        ("7.50", 7.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("-1.5E-1", -0.15),
        ("9" * 40, int("9" * 40)),
        ("9" * 41, None),
        (" " * 40 + "1", None),
        ("", None),
        (" ", None),
        (".", None),
        ("e5", None),
        ("1e", None),
        ("1 2", None),
        ("\n7", None),
        ("0x10", None),
        ("1_000", None),
        ("1,5", None),
        ("٣", None),
        ("²", None),
        ("nan", None),
        ("inf", None),
        ("1e999", None),
        (None, None),
    ],
)
def test_which_headers_are_numbers(text: str | None, value: NumberOrNone) -> None:
    found = number(text)
    assert found == value
    assert type(found) is type(value)


def test_which_literals_are_numbers() -> None:
    assert [literal_number(one) for one in ("12", "12L", "0x1F", "0X1fl")] == [12, 12, 31, 31]
    assert [literal_number(one) for one in ("1.5", "1e3", "1.5D", "2f", ".5", "5.")] == [
        1.5,
        1000.0,
        1.5,
        2.0,
        0.5,
        5.0,
    ]
    for refused in ("010", "00", "1.5L", "1e999"):
        with pytest.raises(ValueError, match="number"):
            literal_number(refused)


def test_arithmetic() -> None:
    assert total(2**70, 1) == 2**70 + 1
    assert difference(1, 0.5) == 0.5
    assert product(3, -2) == -6
    assert quotient(7, 2) == 3.5
    assert remainder(7, 4) == 3
    assert remainder(-7, 4) == remainder(-7, -4) == -3
    assert remainder(7.5, -2) == 1.5
    assert negative(5) == -5


def test_what_has_no_result_is_unknown() -> None:
    for step in (total, difference, product, quotient, remainder):
        assert step(None, 1) is step(1, None) is None
    assert quotient(1, 0) is quotient(1.0, 0) is remainder(1, 0) is remainder(1.5, 0.0) is None
    assert product(1e300, 1e300) is total(10**400, 0.5) is quotient(10**400, 1) is None
    assert remainder(10**400, 0.5) is negative(None) is None


def test_the_pieces_of_a_pattern() -> None:
    assert pieces_of("a%b_", "") == ["a", ANY_RUN, "b", ANY_ONE]
    assert pieces_of("!%!_!!!x", "!") == ["%_!x"]
    assert pieces_of("%%", "%") == ["%"]
    with pytest.raises(ValueError, match="ends with"):
        pieces_of("a!", "!")


def test_simple_patterns_are_known() -> None:
    assert shape_of("abc", "") == (Shape.WHOLE, "abc")
    assert shape_of("abc%", "") == (Shape.BEGINS, "abc")
    assert shape_of("%abc", "") == (Shape.ENDS, "abc")
    assert shape_of("%a!%c%", "!") == (Shape.HOLDS, "a%c")
    for other in ("", "%", "a_", "a%b", "%%a", "a%%"):
        assert shape_of(other, "") is None


@given(st.text("ab%_", max_size=8), st.text("ab\n", max_size=12))
def test_patterns_match_as_the_expression_that_stands_for_them(pattern: str, text: str) -> None:
    said = pattern.replace("%", ".*").replace("_", ".")
    assert Pattern(pattern, "").matches(text) is bool(re.fullmatch(said, text, re.DOTALL))


def test_nothing_is_tried_twice() -> None:
    # One step for each place would be 10,000 to the 60th power in an expression of that kind.
    assert not Pattern("%a" * 60 + "%b_c", "").matches("a" * 10_000)
