"""Messages of a queue counted by some of their headers, without counting twice.

Dead-letter queues grow long and are asked about again and again. What was counted is kept: while
messages have only been added, only these are looked at; when any went, all of them are again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from stompy_broker.admin.asking import ask
from stompy_broker.admin.tasks import Steps
from stompy_broker.message import Message
from stompy_broker.routing.interface import Browse, Browsed, Queue, QueueFigures
from stompy_broker.routing.selection import EVERYTHING, HeaderReader, Selection

MOST_GROUPS = 1000
"""More groups are neither told nor kept."""

_MOST_KEPT = 1000

_LOOKED_AT_ONCE = 500
"""Messages that are looked at in one step."""

Values = tuple[str | None, ...]


class Group:
    """Messages that have some headers in common."""

    __slots__ = ("bytes", "count", "newest", "oldest")

    def __init__(self, received_at: int) -> None:
        self.count = self.bytes = 0
        self.oldest = self.newest = received_at

    def add(self, message: Message) -> None:
        """Count one more message."""
        self.count += 1
        self.bytes += message.size
        self.oldest = min(self.oldest, message.received_at)
        self.newest = max(self.newest, message.received_at)

    def copy(self) -> Group:
        """Give a group of the same counts, to go on counting."""
        copy = Group(self.oldest)
        copy.count, copy.bytes, copy.newest = self.count, self.bytes, self.newest
        return copy

    def to_json(self) -> dict[str, object]:
        """Give the counts as ``message.count`` tells them."""
        return {
            "count": self.count,
            "bytes": self.bytes,
            "oldest_at": self.oldest,
            "newest_at": self.newest,
        }


@dataclass(frozen=True, slots=True)
class Count:
    """The messages that were counted, and when they would have to be counted again.

    Attributes:
        groups: the messages, by the values of their headers.
        matched: how many there are.
        last: the sequence of the last one that came.
        queue, figures: of which queue, and how that was before.
    """

    groups: dict[Values, Group] = field(default_factory=dict)
    matched: int = 0
    last: int = 0
    queue: Queue | None = None
    figures: QueueFigures | None = None


def counted(queue: Queue, readers: Sequence[HeaderReader], selection: Selection) -> Steps[Count]:
    """Count the messages of a queue that are meant, by the values of some headers."""
    everything = yield from _browse(queue, EVERYTHING)
    picked: list[Message] = []
    is_meant = selection.test()
    for at in range(0, len(everything), _LOOKED_AT_ONCE):
        picked += filter(is_meant, everything[at : at + _LOOKED_AT_ONCE])
        yield None
    groups: dict[Values, Group] = {}
    yield from _add(groups, picked, readers)
    return Count(groups, len(picked), _last(0, everything))


def _browse(queue: Queue, selection: Selection) -> Steps[list[Message]]:
    browsed: Browsed = yield from ask(partial(queue.browse, Browse(selection)))
    return browsed.messages


def _last(before: int, messages: Sequence[Message]) -> int:
    return max((message.sequence for message in messages), default=before)


def _add(
    groups: dict[Values, Group], messages: Sequence[Message], readers: Sequence[HeaderReader]
) -> Steps[None]:
    for at in range(0, len(messages), _LOOKED_AT_ONCE):
        for message in messages[at : at + _LOOKED_AT_ONCE]:
            values = tuple([read(message) for read in readers])
            group = groups.get(values)
            if group is None:
                group = groups[values] = Group(message.received_at)
            group.add(message)
        yield None


class Groups:
    """Keeps the counts of all queues that somebody asked about."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, tuple[str, ...]], Count] = {}

    def count(
        self, queue: Queue, names: tuple[str, ...], readers: Sequence[HeaderReader]
    ) -> Steps[Count]:
        """Count what waits in a queue, by the values of some headers.

        Args:
            queue: whose messages.
            names: of the headers.
            readers: find them, in the same order.
        """
        key = (queue.name, names)
        known = self._kept.get(key)
        if known is None or known.queue is not queue:
            known = Count()
        figures = yield from ask(partial(queue.stats, known=known.figures))
        if figures is known.figures:
            return known
        new: list[Message] | None = None
        if known.figures is not None and _gone(known.figures) == _gone(figures):
            new = yield from _browse(queue, Selection(after=known.last))
        if new is None or known.matched + len(new) != figures.ready + figures.delayed:
            known, new = Count(), (yield from _browse(queue, EVERYTHING))
        groups = {values: group.copy() for values, group in known.groups.items()}
        last = _last(known.last, new)
        found = Count(groups, known.matched + len(new), last, queue, figures)
        yield from _add(groups, new, readers)
        self._keep(key, found)
        return found

    def _keep(self, key: tuple[str, tuple[str, ...]], count: Count) -> None:
        self._kept.pop(key, None)
        if len(count.groups) <= MOST_GROUPS:
            self._kept[key] = count
        if len(self._kept) > _MOST_KEPT:
            del self._kept[next(iter(self._kept))]


def _gone(told: QueueFigures) -> object:
    """While this is the same, no message has left the queue."""
    return told.delivered, told.expired, told.dropped, told.dead_lettered, told.removed
