"""The functions made of selectors, against an evaluator that is slow and obvious.

Each selector of the property comes with its meaning: a closure that knows True, False and None, for
UNKNOWN, and looks at nothing but a dictionary of headers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from stompy_broker.message import Message, MessageHead
from stompy_broker.selectors.expressions import Not
from stompy_broker.selectors.functions import function_of, safe_function_of
from stompy_broker.selectors.parser import parse

Headers = dict[str, str]
Value = str | int | float | bool | None

NAMES = ["a", "b", "c", "my-h", "$x", "größe"]
TEXTS = [
    "",
    "red",
    "5",
    "5.0",
    " 7 ",
    "-3",
    "+3",
    "1e2",
    "1e999",
    "0x10",
    "1_000",
    "٣",
    "nan",
    "true",
    "FALSE",
    "a%b_c",
    "a\nb:c\\d\r",
    "it's",
    "größe",
    "12345678901234567890",
    "1" * 41,
]

headers = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(TEXTS))


@dataclass(frozen=True)
class Part:
    """A part of a selector: its text, how tightly it holds together, and what it means."""

    text: str
    power: int
    meaning: Callable[[Headers], Value]


OR, AND, NOT, COMPARISON, SUM, PRODUCT, UNARY = range(1, 8)


def inside(part: Part, power: int) -> str:
    """The text where something of this power stands around it."""
    return part.text if part.power >= power else f"({part.text})"


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def as_number(text: Value) -> int | float | None:
    """What a header is as a number, by the letter of the rule."""
    if not isinstance(text, str) or len(text) > 40:
        return None if isinstance(text, str | bool) else text
    if not re.fullmatch(r"[ \t]*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[ \t]*", text):
        return None
    if re.fullmatch(r"[ \t]*[+-]?[0-9]+[ \t]*", text):
        return int(text)
    return None if math.isinf(float(text)) else float(text)


@st.composite
def names(draw: st.DrawFn) -> Part:
    name = draw(st.sampled_from(NAMES))
    plain = re.fullmatch(r"[^\W\d][\w$]*|\$\w+", name) is not None and draw(st.booleans())
    return Part(name if plain else f'"{name}"', UNARY, lambda headers: headers.get(name))


@st.composite
def texts(draw: st.DrawFn) -> Part:
    text = draw(st.sampled_from(TEXTS))
    return Part(quoted(text), UNARY, lambda _headers: text)


NUMBERS = {"0": 0, "5": 5, "7L": 7, "0x10": 16, "1.5": 1.5, "5.": 5.0, ".5": 0.5, "1e2": 100.0}
NUMBERS |= {"3D": 3.0, "-3": -3, "12345678901234567890": 12345678901234567890}


@st.composite
def numbers(draw: st.DrawFn) -> Part:
    text = draw(st.sampled_from(list(NUMBERS)))
    return Part(text, UNARY, lambda _headers: NUMBERS[text])


def step(sign: str, left: int | float | None, right: int | float | None) -> int | float | None:
    if left is None or right is None:
        return None
    try:
        if sign == "%" and isinstance(left, int) and isinstance(right, int):
            # Java's: with the sign of what is divided.
            value: int | float = abs(left) % abs(right) * (-1 if left < 0 else 1)
        elif sign == "%":
            value = math.fmod(left, right)
        elif sign == "/":
            value = left / right
        else:
            value = {"+": left + right, "-": left - right, "*": left * right}[sign]
    except (ZeroDivisionError, OverflowError, ValueError):
        return None
    return None if isinstance(value, float) and not math.isfinite(value) else value


@st.composite
def signed(draw: st.DrawFn, parts: st.SearchStrategy[Part]) -> Part:
    operand, sign = draw(parts), draw(st.sampled_from("+-"))

    def meaning(headers: Headers) -> Value:
        value = as_number(operand.meaning(headers))
        return value if value is None or sign == "+" else -value

    return Part(f"{sign} {inside(operand, UNARY)}", UNARY, meaning)


@st.composite
def chains(draw: st.DrawFn, parts: st.SearchStrategy[Part]) -> Part:
    power, signs = draw(st.sampled_from([(SUM, "+-"), (PRODUCT, "*/%")]))
    first = draw(parts)
    rest = draw(st.lists(st.tuples(st.sampled_from(signs), parts), min_size=1, max_size=3))

    def meaning(headers: Headers) -> Value:
        value = as_number(first.meaning(headers))
        for sign, operand in rest:
            value = step(sign, value, as_number(operand.meaning(headers)))
        return value

    text = inside(first, power)
    for sign, operand in rest:
        text += f" {sign} {inside(operand, power + 1)}"
    return Part(text, power, meaning)


arithmetic = st.recursive(
    names() | numbers(), lambda parts: signed(parts) | chains(parts), max_leaves=6
)
"""Names, numbers and what is made of them; a name alone is not arithmetic yet."""


def compared(sign: str, left: Value, right: Value) -> bool:
    match sign:
        case "=":
            return left == right
        case "<>":
            return left != right
        case "<":
            return left < right  # type: ignore[operator]
        case ">":
            return left > right  # type: ignore[operator]
        case "<=":
            return left <= right  # type: ignore[operator]
    return left >= right  # type: ignore[operator]


def number_comparison(sign: str, left: Value, right: Value) -> bool | None:
    """Rules 1 and 2: nothing is UNKNOWN, and a header that is no number compares FALSE."""
    if sign == "<>":
        equal = number_comparison("=", left, right)
        return None if equal is None else not equal
    if left is None or right is None:
        return None
    left, right = as_number(left), as_number(right)
    return left is not None and right is not None and compared(sign, left, right)


SIGNS = ["=", "<>", "<", ">", "<=", ">="]


@st.composite
def number_comparisons(draw: st.DrawFn) -> Part:
    left, right = draw(arithmetic), draw(arithmetic)
    sign = draw(st.sampled_from(SIGNS))
    both_names = {left.text[0], right.text[0]} & set("0123456789.+-") == set() and (
        left.power == right.power == UNARY
    )

    def meaning(headers: Headers) -> bool | None:
        if both_names and "(" not in left.text + right.text:
            one, other = left.meaning(headers), right.meaning(headers)
            return None if one is None or other is None else compared(sign, one, other)
        return number_comparison(sign, left.meaning(headers), right.meaning(headers))

    text = f"{inside(left, SUM)} {sign} {inside(right, SUM)}"
    return Part(text, COMPARISON, meaning)


@st.composite
def text_comparisons(draw: st.DrawFn) -> Part:
    left, right = draw(st.permutations([draw(names()), draw(texts() | names())]))
    both = not {left.text[0], right.text[0]} & {"'"}
    sign = draw(st.sampled_from(SIGNS if both else ["=", "<>"]))

    def meaning(headers: Headers) -> bool | None:
        one, other = left.meaning(headers), right.meaning(headers)
        return None if one is None or other is None else compared(sign, one, other)

    return Part(f"{left.text} {sign} {right.text}", COMPARISON, meaning)


def truth_comparison(value: Value, wanted: bool) -> bool | None:
    return None if value is None else str(value).lower() == str(wanted).lower()


@st.composite
def truth_comparisons(draw: st.DrawFn) -> Part:
    name, wanted = draw(names()), draw(st.booleans())
    negated = draw(st.booleans())
    word = draw(st.sampled_from([str(wanted), str(wanted).upper(), str(wanted).lower()]))

    def meaning(headers: Headers) -> bool | None:
        equal = truth_comparison(name.meaning(headers), wanted)
        return None if equal is None else equal is not negated

    pair = draw(st.permutations([name.text, word]))
    return Part(f"{pair[0]} {'<>' if negated else '='} {pair[1]}", COMPARISON, meaning)


@st.composite
def bare_truths(draw: st.DrawFn) -> Part:
    name = draw(names())
    return Part(name.text, UNARY, lambda headers: truth_comparison(name.meaning(headers), True))


def like(text: str, pattern: Sequence[str]) -> bool:
    """Whether a text has a shape: a list of characters, of which `%` and `_` are wild."""
    if not pattern:
        return not text
    if pattern[0] == "%":
        return any(like(text[n:], pattern[1:]) for n in range(len(text) + 1))
    if not text:
        return False
    return pattern[0] in ("_", text[0], "!" + text[0]) and like(text[1:], pattern[1:])


@st.composite
def likes(draw: st.DrawFn) -> Part:
    name, negated = draw(names()), draw(st.booleans())
    signs = draw(
        st.lists(
            st.sampled_from(["%", "_", "a", "b", "5", "r", "\n", "!%", "!_", "!!"]), max_size=6
        )
    )
    escaped = any(sign[0] == "!" for sign in signs) or draw(st.booleans())
    pattern = quoted("".join(signs)) + (" ESCAPE '!'" if escaped else "")

    def meaning(headers: Headers) -> bool | None:
        value = name.meaning(headers)
        return None if value is None else like(str(value), signs) is not negated

    return Part(f"{name.text} {'NOT ' if negated else ''}LIKE {pattern}", COMPARISON, meaning)


@st.composite
def betweens(draw: st.DrawFn) -> Part:
    one, low, high = draw(arithmetic), draw(arithmetic), draw(arithmetic)
    negated = draw(st.booleans())

    def meaning(headers: Headers) -> bool | None:
        value = one.meaning(headers)
        above = number_comparison(">=", value, low.meaning(headers))
        inside_ = kleene_and([above, number_comparison("<=", value, high.meaning(headers))])
        return None if inside_ is None else inside_ is not negated

    text = f"{inside(one, SUM)} {'NOT ' if negated else ''}BETWEEN "
    return Part(text + f"{inside(low, SUM)} AND {inside(high, SUM)}", COMPARISON, meaning)


@st.composite
def ins(draw: st.DrawFn) -> Part:
    name, negated = draw(names()), draw(st.booleans())
    members = draw(st.lists(texts() | numbers(), min_size=1, max_size=4))
    wanted = [member.meaning({}) for member in members]

    def meaning(headers: Headers) -> bool | None:
        value = name.meaning(headers)
        if value is None:
            return None
        found = any(
            value == one if isinstance(one, str) else as_number(value) == one for one in wanted
        )
        return found is not negated

    listed = ", ".join(member.text for member in members)
    return Part(f"{name.text} {'NOT ' if negated else ''}IN ({listed})", COMPARISON, meaning)


@st.composite
def nulls(draw: st.DrawFn) -> Part:
    one, negated = draw(names() | arithmetic), draw(st.booleans())
    text = f"{inside(one, SUM)} IS {'NOT ' if negated else ''}NULL"
    return Part(text, COMPARISON, lambda headers: (one.meaning(headers) is None) is not negated)


def kleene_and(values: list[bool | None]) -> bool | None:
    return False if False in values else None if None in values else True


def kleene_or(values: list[bool | None]) -> bool | None:
    return True if True in values else None if None in values else False


@st.composite
def nots(draw: st.DrawFn, parts: st.SearchStrategy[Part]) -> Part:
    operand = draw(parts)

    def meaning(headers: Headers) -> Value:
        value = operand.meaning(headers)
        return None if value is None else not value

    return Part(f"NOT {inside(operand, COMPARISON)}", NOT, meaning)


@st.composite
def logic(draw: st.DrawFn, parts: st.SearchStrategy[Part]) -> Part:
    power, word, table = draw(st.sampled_from([(AND, "AND", kleene_and), (OR, "or", kleene_or)]))
    operands = draw(st.lists(parts, min_size=2, max_size=3))
    return Part(
        f" {word} ".join(inside(one, power + 1) for one in operands),
        power,
        lambda headers: table([one.meaning(headers) for one in operands]),  # type: ignore[misc]
    )


conditions = st.recursive(
    number_comparisons()
    | text_comparisons()
    | truth_comparisons()
    | bare_truths()
    | likes()
    | betweens()
    | ins()
    | nulls(),
    lambda parts: nots(parts) | logic(parts),
    max_leaves=6,
)


def message(headers: Headers) -> Message:
    return Message(1, MessageHead.from_headers(headers), b"", b"\ntimestamp:1\n")


@given(conditions, headers)
def test_a_function_says_what_the_selector_means(part: Part, headers: Headers) -> None:
    node, meant = parse(part.text), part.meaning(headers)
    asked = message(headers)
    assert function_of(node)(asked) is (meant is True)
    assert function_of(Not(0, 0, node))(asked) is (meant is False)


@given(conditions, headers)
def test_answers_of_a_head_that_repeats_are_kept(part: Part, headers: Headers) -> None:
    node, asked = parse(part.text), message(headers)
    asked.head.answers = {}
    function = safe_function_of(node, failed, 5)
    first = function(asked)
    assert asked.head.answers == {5: first}
    assert function(asked) is first is function_of(node)(asked)


def failed(error: Exception) -> bool:
    raise error


def test_a_head_keeps_so_many_answers_and_no_more() -> None:
    asked = message({"a": "1"})
    asked.head.answers = {}
    for number in range(1000):
        assert safe_function_of(parse("a = 1"), failed, number)(asked)
        assert len(asked.head.answers) <= 64


def test_a_function_that_fails_asks_what_to_answer() -> None:
    no_message = cast(Message, None)
    told: list[Exception] = []

    def tell(error: Exception) -> bool:
        told.append(error)
        return False

    assert not safe_function_of(parse("a = 1"), tell, None)(no_message)
    assert not safe_function_of(parse("a = 1"), tell, 1)(no_message)
    assert [type(one) for one in told] == [AttributeError, AttributeError]


def test_the_first_of_two_headers_counts() -> None:
    twice = message({})
    twice.head.block = b"b:1\na:1\na:2\n\n"
    assert function_of(parse("a = 1 AND b = 1"))(twice)
    assert not function_of(parse("a = 2"))(twice)


def test_no_text_of_a_user_is_in_the_code() -> None:
    function = function_of(parse("\"__import__('os')\" = 'import os' AND x LIKE '%os%'"))
    code = function.__code__
    assert not [one for one in code.co_consts if isinstance(one, str) and "os" in one]
    assert "os" not in "".join((*code.co_names, *code.co_varnames))
