"""What a selector is made of: the tree that the parser makes, and the function is made from.

A chain of one precedence is one node, ``a AND b AND c`` as ``a + b - c``, so that a long selector
is not a deep one.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Node:
    """A part of a selector.

    Attributes:
        start: where its text begins in the selector.
        end: where it ends.
    """

    start: int
    end: int


@dataclass(slots=True)
class Name(Node):
    """A header, or what JMS or Artemis calls it."""

    name: str


@dataclass(slots=True)
class Text(Node):
    """A text in single quotes."""

    value: str


@dataclass(slots=True)
class Number(Node):
    """A number, and its text for where it is to be one."""

    value: int | float


@dataclass(slots=True)
class Truth(Node):
    """The word TRUE or FALSE."""

    value: bool


@dataclass(slots=True)
class Negative(Node):
    """A minus before something that is no number already."""

    operand: Node


@dataclass(slots=True)
class Positive(Node):
    """A plus before something: it makes it a number."""

    operand: Node


@dataclass(slots=True)
class Arithmetic(Node):
    """A chain of ``+`` and ``-``, or of ``*``, ``/`` and ``%``."""

    first: Node
    rest: list[tuple[str, Node]]


@dataclass(slots=True)
class Comparison(Node):
    """Two values and one of ``= <> < > <= >=`` between them."""

    operator: str
    left: Node
    right: Node


@dataclass(slots=True)
class IsNull(Node):
    """``IS NULL``: whether there is no value."""

    operand: Node


@dataclass(slots=True)
class Like(Node):
    """``LIKE``: whether a text has a shape."""

    operand: Node
    pattern: str
    escape: str


@dataclass(slots=True)
class Between(Node):
    """``BETWEEN … AND …``: whether a number is in a range, its ends included."""

    operand: Node
    low: Node
    high: Node


@dataclass(slots=True)
class In(Node):
    """``IN (…)``: whether a value is one of several."""

    operand: Node
    members: list[Text | Number | Truth]


@dataclass(slots=True)
class Not(Node):
    """``NOT`` before a condition, or inside ``NOT LIKE`` and its like."""

    operand: Node


@dataclass(slots=True)
class AllOf(Node):
    """Conditions with AND between them."""

    parts: list[Node]


@dataclass(slots=True)
class AnyOf(Node):
    """Conditions with OR between them."""

    parts: list[Node]


NUMBERS = (Number, Negative, Positive, Arithmetic)
"""Nodes whose value is a number."""

CONDITIONS = (Comparison, IsNull, Like, Between, In, Not, AllOf, AnyOf)
"""Nodes that are TRUE, FALSE or UNKNOWN."""
