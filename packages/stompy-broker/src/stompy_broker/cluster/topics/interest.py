"""Which topics the clients of this broker have subscribed to, and which others know that. Pure.

Every broker that has opened a link to this one is told: all of it when the link is new, then what
has changed. What changes within one turn of the event loop is told at once, by its difference. Who
is told publishes by it from then on, and says so; so a subscriber that has its receipt misses
nothing that anybody publishes later, over a link that is there. A link that is not does not count:
all is told when it comes.

Durable subscriptions are no part of this: every broker knows them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from stompy_broker.cluster.link.link import Link
from stompy_broker.cluster.topics.acknowledgements import Acknowledgements
from stompy_broker.cluster.topics.topic_codec import Interest, write

_AT_ONCE = 1000
"""Patterns in one message."""


class OwnInterest:
    """The topics that this broker wants.

    Args:
        soon: calls a function at the end of this turn of the event loop.
    """

    def __init__(self, soon: Callable[[Callable[[], None]], object]) -> None:
        self._soon = soon
        self._subscriptions: Counter[str] = Counter()
        self._told: dict[str, None] = {}
        self._changed: dict[str, None] = {}
        self._asked: list[Callable[[], None]] = []  # who waits for what is not told yet
        self._number = 0
        self._known: Acknowledgements[Link] = Acknowledgements()

    def add(self, pattern: str) -> None:
        """Count one more subscription to these topics."""
        self._subscriptions[pattern] += 1
        if self._subscriptions[pattern] == 1:
            self._change(pattern)

    def remove(self, pattern: str) -> None:
        """Count one subscription less, undoing `add`."""
        self._subscriptions[pattern] -= 1
        if not self._subscriptions[pattern]:
            del self._subscriptions[pattern]
            self._change(pattern)

    def _change(self, pattern: str) -> None:
        if not self._changed:
            self._soon(self._tell)
        self._changed[pattern] = None

    def _tell(self) -> None:
        changed, self._changed = self._changed, {}
        added = [one for one in changed if one in self._subscriptions and one not in self._told]
        removed = [one for one in changed if one in self._told and one not in self._subscriptions]
        for pattern in removed:
            del self._told[pattern]
        self._told.update(dict.fromkeys(added))
        if added or removed:
            self._number += 1
            for link in self._known:
                self._send(link, added, removed, whole=False)
        asked, self._asked = self._asked, []
        for done in asked:
            self._known.when(self._number, done)

    def _send(self, link: Link, added: list[str], removed: list[str], *, whole: bool) -> None:
        steps = max(1, -(-max(len(added), len(removed)) // _AT_ONCE))
        for step in range(steps):
            piece = slice(step * _AT_ONCE, (step + 1) * _AT_ONCE)
            told = Interest(
                self._number,
                whole and step == 0,
                step == steps - 1,
                tuple(added[piece]),
                tuple(removed[piece]),
            )
            link.send(write(told))

    def opened(self, link: Link) -> None:
        """Tell everything to who has opened a link to this broker."""
        self._known.add(link)
        self._send(link, list(self._told), [], whole=True)

    def lost(self, link: Link) -> None:
        """Wait for nobody there any more."""
        self._known.remove(link)

    def acknowledged(self, link: Link, number: int) -> None:
        """Note that the other end of a link publishes by what was told with this number."""
        self._known.note(link, number)

    @property
    def informed(self) -> set[str]:
        """The brokers that have a link to this one, and know what it wants."""
        return {link.peer for link in self._known if self._known.knows(link, 0)}

    def when_known(self, done: Callable[[], None]) -> None:
        """Call ``done`` once all know what is wanted now."""
        if self._changed:
            self._asked.append(done)
        else:
            self._known.when(self._number, done)
