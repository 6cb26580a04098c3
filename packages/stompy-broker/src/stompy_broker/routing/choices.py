"""Which subscriptions get a message of a topic, where some of them do not take everything.

A subscription may name a selector, or decline what one connection sends. It is decided when a
message is published, so what does not match is never in a backlog. Subscriptions whose selectors
begin with ``name = 'constant'`` are found by that; all others are asked one by one. What was found
for a header block is remembered, where it cannot differ between messages of one block.

Invariant: nothing here is made, and nobody asks, for topics whose subscriptions take everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stompy_broker.message import Message, MessageHead
from stompy_broker.routing.interface import Queue
from stompy_broker.selectors.names import text_of
from stompy_broker.selectors.selector import Selector

REMEMBERED: Final = 64
"""Header blocks of one topic for which it is remembered who gets their messages."""

NOBODY: Final[tuple[str, ...]] = ()
"""The sender of a message, where nobody declines what certain senders send."""


def by_client_id(client_id: str) -> str:
    """What all connections that have a ``client-id`` in common are called as a sender."""
    return f"client-id:{client_id}"


class Chooser:
    """A subscription that does not take everything.

    Args:
        queue: its backlog.
        selector: what it takes; None = whatever it is.
        not_from: a sender whose messages it does not take; empty = it takes those of everybody.

    Attributes:
        queue: its backlog.
        selector: what it takes; None = whatever it is.
        not_from: a sender whose messages it does not take; empty = it takes those of everybody.
        offered: messages that were published to its topics.
        matched: those of them that it took.
        patterns: under how many patterns it stands.
    """

    __slots__ = ("matched", "not_from", "offered", "patterns", "queue", "selector")

    def __init__(self, queue: Queue, selector: Selector | None, not_from: str) -> None:
        self.queue = queue
        self.selector = selector
        self.not_from = not_from
        self.offered = self.matched = self.patterns = 0

    def takes(self, message: Message, sender: tuple[str, ...]) -> bool:
        """Whether it takes a message of this sender."""
        if self.not_from and self.not_from in sender:
            return False
        return self.selector is None or self.selector.matches(message)

    @property
    def skipped(self) -> int:
        """Messages that were offered and not taken."""
        return self.offered - self.matched


class _Found:
    """Who gets the messages of one header block."""

    __slots__ = ("choosers", "queues")

    def __init__(self, choosers: list[Chooser], queues: tuple[Queue, ...]) -> None:
        self.choosers = choosers
        self.queues = queues


class Choice:
    """The subscriptions of one topic, of which some do not take everything.

    Args:
        plain: the backlogs of those that do.
        choosers: the others.

    Attributes:
        plain: the backlogs of those that take everything.
        choosers: the others.
        offered: messages that were published and do not stand in `Chooser.offered` yet.
    """

    __slots__ = ("_index", "_known", "_remembers", "_rest", "choosers", "offered", "plain")

    def __init__(self, plain: tuple[Queue, ...], choosers: tuple[Chooser, ...]) -> None:
        self.plain = plain
        self.choosers = choosers
        self.offered = 0
        self._index: dict[str, dict[str, list[Chooser]]] = {}
        self._rest: list[Chooser] = []
        self._known: dict[MessageHead, _Found] = {}
        self._remembers = True
        for chooser in choosers:
            selector = chooser.selector
            if chooser.not_from or (selector is not None and selector.varies):
                self._remembers = False
            if selector is None or selector.equals is None:
                self._rest.append(chooser)
                continue
            name, constant = selector.equals
            self._index.setdefault(name, {}).setdefault(constant, []).append(chooser)

    def find(self, message: Message, sender: tuple[str, ...]) -> tuple[Queue, ...]:
        """The backlogs that get a message, which is published now."""
        self.offered += 1
        found = self._known.get(message.head) if self._remembers else None
        if found is None:
            choosers = self._taking(message, sender)
            found = _Found(choosers, self.plain + tuple([one.queue for one in choosers]))
            if self._remembers:
                if len(self._known) >= REMEMBERED:
                    self._known.clear()
                self._known[message.head] = found
        for chooser in found.choosers:
            chooser.matched += 1
        return found.queues

    def would_take(self, message: Message, sender: tuple[str, ...]) -> list[Queue]:
        """The backlogs that would get a message, if it was published."""
        return [*self.plain, *[one.queue for one in self._taking(message, sender)]]

    def _taking(self, message: Message, sender: tuple[str, ...]) -> list[Chooser]:
        asked: Sequence[Chooser] = self._rest
        for name, by_constant in self._index.items():
            value = text_of(name, message)
            if value is not None and value in by_constant:
                asked = [*asked, *by_constant[value]]
        return [chooser for chooser in asked if chooser.takes(message, sender)]

    def count(self) -> None:
        """Tell the choosers how many messages they were offered."""
        if self.offered:
            for chooser in self.choosers:
                chooser.offered += self.offered
            self.offered = 0
