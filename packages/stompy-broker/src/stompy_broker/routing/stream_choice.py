"""Which messages of a stream are for a reader: by its selector, and by exact filter values."""

from __future__ import annotations

from typing import Final

from stompy_broker.message import Message, MessageHead
from stompy_broker.routing.selection import header_reader
from stompy_broker.selectors.selector import compile_selector

FILTER_VALUE: Final = "x-stream-filter-value"
"""The header of a SEND that gives a message its filter value."""

_read_value: Final = header_reader(FILTER_VALUE)


def filter_value_of(message: Message) -> str | None:
    """The filter value of a message; None = it has none."""
    if b"x-stream-filter-value:" not in message.head.block:
        return None
    return _read_value(message)


class StreamChoice:
    """Says which messages a reader takes.

    Args:
        selector: what their headers must match; empty = anything.
        values: the filter values of which they must have one; empty = they need none.
        unfiltered: whether those without any filter value are taken as well.

    Attributes:
        selector: as above.
        values: as above.
        unfiltered: as above.

    Raises:
        ProtocolError: the selector is none.
    """

    __slots__ = ("_head", "_is_meant", "_matches", "selector", "unfiltered", "values")

    def __init__(
        self, selector: str, values: frozenset[str] = frozenset(), unfiltered: bool = False
    ) -> None:
        self.selector, self.values, self.unfiltered = selector, values, unfiltered
        self._matches = compile_selector(selector).matches if selector else None
        self._head: MessageHead | None = None  # that was looked at last, and what came of it
        self._is_meant = False

    def takes(self, message: Message) -> bool:
        """Whether a message is for the reader."""
        if self.values:
            if message.head is not self._head:
                self._head = message.head
                value = filter_value_of(message)
                self._is_meant = self.unfiltered if value is None else value in self.values
            if not self._is_meant:
                return False
        return self._matches is None or self._matches(message)

    def same_as(self, other: StreamChoice | None) -> bool:
        """Whether another reader takes the same ones."""
        return (
            other is not None
            and self.selector == other.selector
            and self.values == other.values
            and self.unfiltered == other.unfiltered
        )
