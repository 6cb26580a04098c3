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
        private: whether it ends with its connection.
        name: the header that has to have a certain value for it; None = there is none such.
        constant: that value.
        differs: whether it may take one message and not another one of the same header block.
    """

    __slots__ = (
        "constant",
        "differs",
        "matched",
        "name",
        "not_from",
        "offered",
        "patterns",
        "private",
        "queue",
        "selector",
    )

    def __init__(self, queue: Queue, selector: Selector | None, not_from: str) -> None:
        self.queue = queue
        self.selector = selector
        self.not_from = not_from
        self.offered = self.matched = self.patterns = 0
        self.private = queue.private
        self.name: str | None = None
        self.constant = ""
        self.differs = bool(not_from)
        if selector is not None:
            self.differs = self.differs or selector.varies
            if selector.equals is not None:
                self.name, self.constant = selector.equals

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

    __slots__ = (
        "_index",
        "_known",
        "_remembers",
        "_rest",
        "_same",
        "choosers",
        "offered",
        "plain",
    )

    def __init__(self, plain: tuple[Queue, ...], choosers: tuple[Chooser, ...]) -> None:
        self.plain = plain
        self.choosers = choosers
        self.offered = 0
        # The first one of each constant, and the further ones of the same by it: mostly there are
        # none, and ten thousand lists of one would cost more than all the rest.
        self._index: dict[str, dict[str, Chooser]] = {}
        self._same: dict[Chooser, list[Chooser]] = {}
        self._rest: list[Chooser] = []
        self._known: dict[MessageHead, _Found] = {}
        self._remembers = True
        for chooser in choosers:
            if chooser.differs:
                self._remembers = False
            name = chooser.name
            if name is None:
                self._rest.append(chooser)
                continue
            by_constant = self._index.get(name)
            if by_constant is None:
                by_constant = self._index[name] = {}
            first = by_constant.setdefault(chooser.constant, chooser)
            if first is not chooser:
                self._same.setdefault(first, []).append(chooser)

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
            first = None if value is None else by_constant.get(value)
            if first is not None:
                asked = [*asked, first, *self._same.get(first, ())]
        return [chooser for chooser in asked if chooser.takes(message, sender)]

    def count(self) -> None:
        """Tell the choosers how many messages they were offered."""
        if self.offered:
            for chooser in self.choosers:
                chooser.offered += self.offered
            self.offered = 0
