"""A selector: a text, the function made of it, and the answers that it has given (**hot path**)."""

from __future__ import annotations

import logging
from functools import lru_cache
from itertools import count
from typing import Final

from stompy_broker.message import Message
from stompy_broker.selectors.explanation import Clause, explain
from stompy_broker.selectors.expressions import AllOf, Comparison, Name, Node, Text
from stompy_broker.selectors.faults import tell_fault
from stompy_broker.selectors.functions import Function, names_in, safe_function_of
from stompy_broker.selectors.names import varies
from stompy_broker.selectors.parser import parse

log = logging.getLogger("stompy_broker.selectors")

REMEMBERED: Final = 1000
"""How many selectors are remembered after nobody uses them."""

_numbers = count()


class _Faults:
    """What one selector raised."""

    __slots__ = ("_text", "first")

    def __init__(self, text: str) -> None:
        self._text = text
        self.first: str | None = None

    def note(self, error: Exception) -> bool:
        """Take nothing, because of a fault of ours; whoever waits for others must go on."""
        if self.first is None:
            self.first = f"{type(error).__name__}: {error}"
            log.error("the selector %r failed; it takes nothing", self._text, exc_info=error)
            tell_fault(self._text, self.first)
        return False


class Selector:
    """What a consumer says of the messages that it wants; shared by all who say it.

    Args:
        text: as it was given.
        node: what was read in it.

    Attributes:
        text: as it was given. The same in other words is another selector.
        names: what it looks at.
        matches: tells whether it takes a message. Never raises: what cannot be told is no match.
            Answers for heads that many messages have are kept with these.
        varies: whether messages of one header block can get different answers.
        equals: the header and the text that it must have, if the selector begins with
            ``name = 'text'`` and nothing but AND follows; else None. Whoever has many selectors
            finds by it those that may match.
    """

    __slots__ = ("_faults", "_node", "equals", "matches", "names", "text", "varies")

    def __init__(self, text: str, node: Node) -> None:
        self.text = text
        self.names = frozenset(names_in(node))
        self.varies = any(map(varies, self.names))
        self.equals = _equality(node)
        self._faults = _Faults(text)
        self._node = node
        # No method: a call less for each message. It does not know this object: a circle of the two
        # would outlive the last who uses it, until the collector comes by, which is seldom.
        number = None if self.varies else next(_numbers)
        self.matches: Function = safe_function_of(node, self._faults.note, number)

    @property
    def fault(self) -> str | None:
        """What it raised, which no selector should; None if it never did."""
        return self._faults.first

    def explain(self, message: Message) -> list[Clause]:
        """Tell of each condition in it what it is for a message, and why."""
        return explain(self.text, self._node, message)

    def __repr__(self) -> str:
        """The text, for people."""
        return f"<Selector {self.text!r}>"


@lru_cache(maxsize=REMEMBERED)
def compile_selector(text: str) -> Selector:
    """Make a selector, or find the one that was made of this text.

    Raises:
        ProtocolError: ``bad-selector``, with the header ``error-column``.
    """
    return Selector(text, parse(text))


def _equality(node: Node) -> tuple[str, str] | None:
    first = node.parts[0] if isinstance(node, AllOf) else node
    if isinstance(first, Comparison) and first.operator == "=":
        for one, other in ((first.left, first.right), (first.right, first.left)):
            if isinstance(one, Name) and isinstance(other, Text):
                return one.name, other.value
    return None
