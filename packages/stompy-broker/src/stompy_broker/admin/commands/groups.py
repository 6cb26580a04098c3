"""Messages of a queue counted by some of their headers, without counting twice.

Dead-letter queues grow long and are asked about again and again. What was counted is kept: while
messages have only been added, only these are looked at; when any went, all of them are again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from stompy_broker.admin.commands.selection import LOOKED_AT_ONCE, Picker, all_in_order
from stompy_broker.admin.tasks import Steps
from stompy_broker.message import Message
from stompy_broker.routing.queue import LocalQueue as Queue

MOST_GROUPS = 1000
"""More groups are neither told nor kept."""

_MOST_KEPT = 1000

Reader = Callable[[Message], str | None]
Values = tuple[str | None, ...]


class Group:
    """Messages that have some headers in common."""

    __slots__ = ("bytes", "count", "newest", "oldest")

    def __init__(self, received_at: int) -> None:
        self.count = self.bytes = 0
        self.oldest = self.newest = received_at

    def add(self, message: Message) -> None:
        """One more."""
        self.count += 1
        self.bytes += message.size
        self.oldest = min(self.oldest, message.received_at)
        self.newest = max(self.newest, message.received_at)

    def copy(self) -> Group:
        """The same, to go on counting."""
        copy = Group(self.oldest)
        copy.count, copy.bytes, copy.newest = self.count, self.bytes, self.newest
        return copy

    def to_json(self) -> dict[str, object]:
        """As ``message.count`` tells it."""
        return {
            "count": self.count,
            "bytes": self.bytes,
            "oldest_at": self.oldest,
            "newest_at": self.newest,
        }


@dataclass(frozen=True, slots=True)
class Count:
    """What was counted.

    Attributes:
        groups: the messages, by the values of their headers.
        matched: how many there are.
        last: the sequence of the last one that came.
        queue, state, gone: of which queue, and how that was.
    """

    groups: dict[Values, Group] = field(default_factory=dict)
    matched: int = 0
    last: int = 0
    queue: Queue | None = None
    state: object = None
    gone: object = None


def counted(queue: Queue, readers: Sequence[Reader], picker: Picker) -> Steps[Count]:
    """The messages of a queue that are meant."""
    picked: list[Message] = []
    everything = all_in_order(queue)
    for at in range(0, len(everything), LOOKED_AT_ONCE):
        picked += filter(picker, everything[at : at + LOOKED_AT_ONCE])
        yield None
    groups: dict[Values, Group] = {}
    yield from _add(groups, picked, readers)
    last = max((message.sequence for message in everything), default=0)
    return Count(groups, len(picked), last)


def _add(
    groups: dict[Values, Group], messages: Sequence[Message], readers: Sequence[Reader]
) -> Steps[None]:
    for at in range(0, len(messages), LOOKED_AT_ONCE):
        for message in messages[at : at + LOOKED_AT_ONCE]:
            values = tuple([read(message) for read in readers])
            group = groups.get(values)
            if group is None:
                group = groups[values] = Group(message.received_at)
            group.add(message)
        yield None


class Groups:
    """The counts of all queues that somebody asked about."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, tuple[str, ...]], Count] = {}

    def count(
        self, queue: Queue, names: tuple[str, ...], readers: Sequence[Reader]
    ) -> Steps[Count]:
        """What waits in a queue, by the values of some headers.

        Args:
            queue: whose messages.
            names: of the headers.
            readers: find them, in the same order.
        """
        key, state, gone = (queue.name, names), queue.state, _gone(queue)
        known = self._kept.get(key)
        if known is None or known.queue is not queue:
            known = Count()
        elif known.state == state:
            return known
        new = _added(queue, known.last) if known.gone == gone else None
        if new is None or known.matched + len(new) != len(queue.line):
            known, new = Count(), all_in_order(queue)
        groups = {values: group.copy() for values, group in known.groups.items()}
        last = max([known.last, *(message.sequence for message in new)])
        found = Count(groups, known.matched + len(new), last, queue, state, gone)
        yield from _add(groups, new, readers)
        self._keep(key, found)
        return found

    def _keep(self, key: tuple[str, tuple[str, ...]], count: Count) -> None:
        self._kept.pop(key, None)
        if len(count.groups) <= MOST_GROUPS:
            self._kept[key] = count
        if len(self._kept) > _MOST_KEPT:
            del self._kept[next(iter(self._kept))]


def _gone(queue: Queue) -> object:
    """While this is the same, nothing has left the line of a queue."""
    return queue.delivered, queue.expired, queue.dropped, queue.dead_lettered, queue.removed


def _added(queue: Queue, last: int) -> list[Message] | None:
    """What came since a count; None when that cannot be told."""
    line = queue.line
    if line.ordered or line.delayed:
        return None
    new = []
    for message in reversed(line.fresh):
        if message.sequence <= last:
            break
        new.append(message)
    return new[::-1]
