"""Why a selector takes a message, or does not: each of its conditions, one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from stompy_broker.message import Message
from stompy_broker.selectors.expressions import AllOf, AnyOf, Node, Not
from stompy_broker.selectors.functions import function_of, names_in
from stompy_broker.selectors.names import text_of


class Verdict(StrEnum):
    """What a condition is for a message; a message is taken if the whole is TRUE."""

    TRUE = "TRUE"
    FALSE = "FALSE"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Clause:
    """One condition of a selector, for one message.

    Attributes:
        text: as it stands in the selector.
        verdict: what it is.
        values: the names in it, and what the message has for each; None = nothing.
    """

    text: str
    verdict: Verdict
    values: Mapping[str, str | None]

    @property
    def why(self) -> str:
        """For people: what it is, and of which values."""
        missing = [name for name, value in self.values.items() if value is None]
        text = f"`{self.text}` is {self.verdict}"
        if self.verdict is Verdict.UNKNOWN and missing:
            are = "is" if len(missing) == 1 else "are"
            return f"{text} because {_listed(missing)} {are} missing"
        if not self.values:
            return text
        told = (
            f"{name} is missing" if value is None else f"{name} is {value[:200]!r}"
            for name, value in self.values.items()
        )
        return f"{text} because {', '.join(told)}"

    def __str__(self) -> str:
        """As `why`."""
        return self.why


def explain(text: str, node: Node, message: Message) -> list[Clause]:
    """Tell of each condition what it is for a message. Not for the hot path.

    Args:
        text: the selector.
        node: what was read in it.
        message: the one that it is asked about.
    """
    return [_clause(text, one, message) for one in _conditions(node)]


def _conditions(node: Node) -> Iterator[Node]:
    if isinstance(node, AllOf | AnyOf):
        for part in node.parts:
            yield from _conditions(part)
    elif isinstance(node, Not) and isinstance(node.operand, AllOf | AnyOf | Not):
        yield from _conditions(node.operand)
    else:
        yield node


def _clause(text: str, node: Node, message: Message) -> Clause:
    if function_of(node)(message):
        verdict = Verdict.TRUE
    elif function_of(Not(node.start, node.end, node))(message):
        verdict = Verdict.FALSE
    else:
        verdict = Verdict.UNKNOWN
    values = {name: text_of(name, message) for name in dict.fromkeys(names_in(node))}
    return Clause(text[node.start : node.end], verdict, values)


def _listed(names: list[str]) -> str:
    if len(names) == 1:
        return f"header {names[0]}"
    return f"headers {', '.join(names[:-1])} and {names[-1]}"
