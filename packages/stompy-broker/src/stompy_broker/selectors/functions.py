"""Makes one Python function of a selector.

UNKNOWN needs no value of its own: of each condition there are two Python expressions, for "it is
TRUE" and for "it is FALSE", and a message is taken by the first. NOT turns one into the other, so
AND and OR are Python's, and stop where the answer is known.

No text of the user gets into the source: names and constants are globals of the function, ``c0``,
``c1`` and so on. Whatever is nested deeply stands in a line of its own, because
Python reads so many parentheses and no more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Final, cast

from stompy_broker.message import Message
from stompy_broker.selectors.expressions import (
    AllOf,
    AnyOf,
    Arithmetic,
    Between,
    Comparison,
    In,
    IsNull,
    Like,
    Name,
    Negative,
    Node,
    Not,
    Number,
    Positive,
    Text,
    Truth,
)
from stompy_broker.selectors.names import line_begin, reader_of, value_at
from stompy_broker.selectors.values import (
    Pattern,
    Shape,
    difference,
    negative,
    number,
    product,
    quotient,
    remainder,
    shape_of,
    total,
)

Function = Callable[[Message], bool]
Failed = Callable[[Exception], bool]

_DEEPEST: Final = 12
"""Parentheses inside one another, after which a new line begins."""

_TURNED = {"=": "!=", "<>": "==", "<": ">=", ">": "<=", "<=": ">", ">=": "<"}
_PYTHON = {"=": "==", "<>": "!="}

_MOST_ANSWERS: Final = 64
"""Answers that are kept with one head; those of selectors that have gone are among them."""


def _remember(answers: dict[int, bool], number: int, answer: bool) -> None:
    """Keep an answer with a head."""
    if len(answers) >= _MOST_ANSWERS:
        answers.clear()
    answers[number] = answer


_HELPERS: dict[str, object] = {
    "__builtins__": {"Exception": Exception},
    "difference": difference,
    "negative": negative,
    "number": number,
    "product": product,
    "quotient": quotient,
    "remainder": remainder,
    "remember": _remember,
    "total": total,
    "value_at": value_at,
}

_STEPS = {"+": "total", "-": "difference", "*": "product", "/": "quotient", "%": "remainder"}

_SHAPES = {
    Shape.WHOLE: "{text} == {wanted}",
    Shape.BEGINS: "{text}.startswith({wanted})",
    Shape.ENDS: "{text}.endswith({wanted})",
    Shape.HOLDS: "{wanted} in {text}",
}

_PLAIN = """
def matches(message):
    lines = b'\\n' + message.head.block{lines}
    return {result}
"""

_SAFE = """
def matches(message):
    try:
        lines = b'\\n' + message.head.block{lines}
        return {result}
    except Exception as error:
        return failed(error)
"""

_REMEMBERING = """
def matches(message):
    try:
        answers = message.head.answers
        if answers is not None:
            answer = answers.get(selector)
            if answer is not None:
                return answer
        lines = b'\\n' + message.head.block{lines}
        answer = {result}
    except Exception as error:
        return failed(error)
    if answers is not None:
        remember(answers, selector, answer)
    return answer
"""


def function_of(node: Node) -> Function:
    """Make the function that tells whether a condition is TRUE of a message."""
    return _Source(node).function(_PLAIN)


def safe_function_of(node: Node, failed: Failed, number: int | None) -> Function:
    """Make a function that does the same, and never raises.

    Args:
        node: the condition.
        failed: asked for the answer if it does raise.
        number: under which answers are kept with heads; None = they are not.
    """
    source = _Source(node)
    if number is None:
        return source.function(_SAFE, failed=failed)
    return source.function(_REMEMBERING, failed=failed, selector=number)


def names_in(node: Node) -> Iterable[str]:
    """All the names in a part of a selector, as often as they stand there."""
    if isinstance(node, Name):
        yield node.name
    for child in children(node):
        yield from names_in(child)


def children(node: Node) -> Iterable[Node]:
    """The parts that a part of a selector is made of, as a function looks at them."""
    if isinstance(node, AllOf | AnyOf):
        return node.parts
    if isinstance(node, Arithmetic):
        return (node.first, *(operand for _, operand in node.rest))
    if isinstance(node, Comparison):
        return (node.left, node.right)
    if isinstance(node, Between):
        twice = (node.operand,) if isinstance(node.operand, Name) else ()
        return (node.operand, node.low, *twice, node.high)
    if isinstance(node, Not | Negative | Positive | IsNull | Like | In):
        return (node.operand,)
    return ()


@dataclass(slots=True)
class _Known(Node):
    """A number that a variable of the source has, and that is there."""

    variable: str


class _Source:
    """The source of one function, while it is written."""

    def __init__(self, node: Node) -> None:
        self._constants: dict[str, object] = {}
        self._known: dict[tuple[type, Hashable], str] = {}  # the other way round
        self._lines: list[str] = []
        self._variables = 0
        self._values: dict[str, str] = {}  # names that are read once, to their variables
        often = [name for name, times in Counter(names_in(node)).items() if times > 1]
        for name in often:
            variable = self._variable()
            self._lines.append(f"{variable} = {self._reading(name)}")
            self._values[name] = variable
        self._result = self._true(node)

    def function(self, template: str, **more: object) -> Function:
        lines = "".join(f"\n{' ' * template.count('try') * 4}    {one}" for one in self._lines)
        source = template.format(lines=lines, result=self._result)
        # What the source names are its globals: Python makes that in half the time of arguments.
        namespace: dict[str, object] = {**_HELPERS, **self._constants, **more}
        exec(compile(source, "<selector>", "exec"), namespace)  # the source is all ours
        # Taken out of them, it is gone with the last who uses it, without the collector.
        return cast(Function, namespace.pop("matches"))

    # Names of the source.

    def _constant(self, value: Hashable) -> str:
        name = self._known.get((type(value), value))
        if name is None:
            name = self._known[type(value), value] = f"c{len(self._known)}"
            self._constants[name] = value
        return name

    def _variable(self) -> str:
        self._variables += 1
        return f"v{self._variables}"

    def _shallow(self, source: str) -> str:
        """The same, in a line of its own if it is deep."""
        depth = deepest = 0
        for character in source:
            if character == "(":
                depth += 1
                deepest = max(deepest, depth)
            elif character == ")":
                depth -= 1
        if deepest < _DEEPEST:
            return source
        variable = self._variable()
        self._lines.append(f"{variable} = {source}")
        return variable

    def _reading(self, name: str) -> str:
        reader = reader_of(name)
        if reader is None:
            return f"value_at(lines, {self._constant(line_begin(name))})"
        return f"{self._constant(reader)}(message, lines)"

    # Values: a text, or None if there is no such header.

    def _text(self, node: Node) -> tuple[str, str]:
        """What reads a text the first time, and then."""
        if isinstance(node, Text):
            constant = self._constant(node.value)
            return constant, constant
        assert isinstance(node, Name)
        known = self._values.get(node.name)
        if known is not None:
            return known, known
        variable = self._variable()
        return f"({variable} := {self._reading(node.name)})", variable

    def _number(self, node: Node) -> str:
        """What is a number, or None if it is UNKNOWN."""
        if isinstance(node, Number):
            return self._constant(node.value)
        if isinstance(node, Name):
            return f"number({self._text(node)[0]})"
        if isinstance(node, Negative):
            return self._shallow(f"negative({self._number(node.operand)})")
        if isinstance(node, Positive):
            return self._number(node.operand)
        assert isinstance(node, Arithmetic)
        result = self._number(node.first)
        if len(node.rest) == 1:
            ((operator, operand),) = node.rest
            return self._shallow(f"{_STEPS[operator]}({result}, {self._number(operand)})")
        variable = self._variable()
        steps = [f"{variable} := {result}"]
        for operator, operand in node.rest:
            step = f"{_STEPS[operator]}({variable}, {self._number(operand)})"
            steps.append(f"{variable} := {step}")
        return self._shallow(f"({', '.join(steps)})[-1]")

    # Conditions.

    def _true(self, node: Node) -> str:
        return self._is(node, True)

    def _is(self, node: Node, truth: bool) -> str:
        """What says whether a condition is TRUE, or whether it is FALSE."""
        if isinstance(node, Not):
            return self._is(node.operand, not truth)
        if isinstance(node, AllOf | AnyOf):
            word = "and" if isinstance(node, AllOf) is truth else "or"
            parts = [self._is(part, truth) for part in node.parts]
            return self._shallow(f"({f' {word} '.join(parts)})")
        if isinstance(node, Truth):
            return repr(node.value is truth)
        if isinstance(node, Name):
            return self._is_truth(node, True, truth)
        if isinstance(node, Comparison):
            return self._is_comparison(node, truth)
        return self._is_other(node, truth)

    def _is_other(self, node: Node, truth: bool) -> str:
        if isinstance(node, IsNull):
            return self._is_null(node.operand, truth)
        if isinstance(node, Like):
            return self._is_like(node, truth)
        if isinstance(node, In):
            return self._is_in(node, truth)
        assert isinstance(node, Between)
        operand, known = node.operand, ""
        if isinstance(operand, Negative | Positive | Arithmetic):
            # Worked out once; without a result it is neither in the range nor out of it.
            variable = self._variable()
            known = f"({variable} := {self._number(operand)}) is not None and "
            operand = _Known(0, 0, variable)
        low = self._is_number(Comparison(0, 0, ">=", operand, node.low), truth)
        high = self._is_number(Comparison(0, 0, "<=", operand, node.high), truth)
        return f"({known}({low} {'and' if truth else 'or'} {high}))"

    def _is_comparison(self, node: Comparison, truth: bool) -> str:
        left, right = node.left, node.right
        for one, other in ((left, right), (right, left)):
            if isinstance(one, Truth):
                equal = one.value if node.operator == "=" else not one.value
                if isinstance(other, Name):
                    wanted = truth if node.operator == "=" else not truth
                    return self._is_truth(other, one.value, wanted)
                if isinstance(other, Truth):
                    return repr((other.value == equal) is truth)
                return self._is(other, truth is equal)
        if isinstance(left, Name | Text) and isinstance(right, Name | Text):
            return self._is_text(node, truth)
        return self._is_number(node, truth)

    def _is_text(self, node: Comparison, truth: bool) -> str:
        operator = _operator(node.operator, truth)
        first, left = self._text(node.left)
        second, right = self._text(node.right)
        if operator == "==" and isinstance(node.right, Text):
            return f"{first} == {second}"  # None equals no text
        if isinstance(node.right, Text):
            return f"({first} is not None and {left} {operator} {right})"
        if isinstance(node.left, Text):
            return f"({second} is not None and {left} {operator} {right})"
        return f"({first} is not None and {second} is not None and {left} {operator} {right})"

    def _is_truth(self, node: Name, value: bool, truth: bool) -> str:
        first, again = self._text(node)
        word = self._constant("true" if value else "false")
        if truth:
            return f"({first} is not None and {again}.lower() == {word})"
        return f"({first} is not None and {again}.lower() != {word})"

    def _is_number(self, node: Comparison, truth: bool) -> str:
        """What compares numbers; a header that is none makes a comparison FALSE."""
        operator = node.operator
        if operator == "<>":  # NOT of `=`, so TRUE of what is no number
            operator, truth = "=", not truth
        known: list[str] = []
        numbers: list[str] = []
        sides: list[str] = []
        for side in (node.left, node.right):
            if isinstance(side, Number):
                sides.append(self._constant(side.value))
                continue
            if isinstance(side, _Known):
                sides.append(side.variable)
                continue
            variable = self._variable()
            if isinstance(side, Name) and not truth:
                first, again = self._text(side)
                known.append(f"{first} is not None")
                numbers.append(f"({variable} := number({again})) is not None")
            else:
                # Arithmetic is UNKNOWN without a result, and so never FALSE.
                where = numbers if truth else known
                where.append(f"({variable} := {self._number(side)}) is not None")
            sides.append(variable)
        compared = f"{sides[0]} {_PYTHON.get(operator, operator)} {sides[1]}"
        if truth:
            return f"({' and '.join([*known, *numbers, compared])})"
        compared = f"not ({' and '.join([*numbers, compared])})"
        return f"({' and '.join([*known, compared])})"

    def _is_null(self, operand: Node, truth: bool) -> str:
        word = "is" if truth else "is not"
        if isinstance(operand, Name):
            return f"{self._text(operand)[0]} {word} None"
        if isinstance(operand, Text | Truth | Number):
            return repr(not truth)
        return f"{self._number(operand)} {word} None"

    def _is_like(self, node: Like, truth: bool) -> str:
        first, again = self._text(node.operand)
        shape = shape_of(node.pattern, node.escape)
        if shape is None:
            call = f"{self._constant(Pattern(node.pattern, node.escape).matches)}({again})"
        else:
            call = _SHAPES[shape[0]].format(text=again, wanted=self._constant(shape[1]))
        return f"({first} is not None and {'' if truth else 'not '}({call}))"

    def _is_in(self, node: In, truth: bool) -> str:
        texts = {member.value for member in node.members if isinstance(member, Text)}
        numbers = {member.value for member in node.members if isinstance(member, Number)}
        truths = {str(m.value).lower() for m in node.members if isinstance(m, Truth)}
        operand = node.operand
        if isinstance(operand, Truth):
            return repr((str(operand.value).lower() in truths) is truth)
        if not isinstance(operand, Name | Text):
            variable = self._variable()
            listed = self._constant(frozenset(numbers))
            word = "in" if truth else "not in"
            known = f"({variable} := {self._number(operand)}) is not None"
            return f"({known} and {variable} {word} {listed})"
        first, again = self._text(operand)
        found = []
        if texts:
            found.append(f"{again} in {self._constant(frozenset(texts))}")
        if numbers:
            found.append(f"number({again}) in {self._constant(frozenset(numbers))}")
        if truths:
            found.append(f"{again}.lower() in {self._constant(frozenset(truths))}")
        either = " or ".join(found)
        return f"({first} is not None and {'' if truth else 'not '}({either}))"


def _operator(operator: str, truth: bool) -> str:
    return _PYTHON.get(operator, operator) if truth else _TURNED[operator]
