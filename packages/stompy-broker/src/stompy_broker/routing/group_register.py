"""Which groups of messages a queue knows, by their values, and to which one a message belongs.

There may be more values than are worth remembering. Those that come when so many are known share
`_BUCKETS` groups between them. A group of which nothing is in the queue is forgotten after a while.
"""

from __future__ import annotations

from binascii import crc32
from collections.abc import Callable, Iterator
from typing import Final

from stompy_broker.message import Message
from stompy_broker.routing.group_pace import GroupPace
from stompy_broker.routing.message_group import GroupedMessage, GroupKeeper, MessageGroup
from stompy_broker.selectors.names import text_of

MOST_GROUPS: Final = 65_536
"""So many are remembered of one queue."""

_BUCKETS: Final = 1024
"""So many groups all other values share."""


class GroupRegister:
    """The groups of one queue.

    Args:
        keeper: keeps them.
        pace: when they may go on.
        forgotten: told of a group that is no longer known.
        shared: called when values begin to share groups.

    Attributes:
        by_key: the groups, by their values.
        buckets: those that several values share, by number.
        header: whose values they are; empty = what messages say themselves.
        round: counts the time after which it is looked what may be forgotten.
    """

    __slots__ = (
        "_forgotten",
        "_full_since",
        "_keeper",
        "_pace",
        "_shared",
        "buckets",
        "by_key",
        "header",
        "round",
    )

    def __init__(
        self,
        keeper: GroupKeeper,
        pace: GroupPace,
        forgotten: Callable[[MessageGroup], None],
        shared: Callable[[], None],
    ) -> None:
        self.by_key: dict[str, MessageGroup] = {}
        self.buckets: dict[int, MessageGroup] = {}
        self.header = ""
        self.round = 0
        self._keeper = keeper
        self._pace = pace
        self._forgotten = forgotten
        self._shared = shared
        self._full_since = -1

    def key_of(self, message: Message) -> str | None:
        """The value by which a message belongs to a group; None = it belongs to none."""
        if not self.header:
            return message.head.traits.group
        return text_of(self.header, message) or None

    def of(self, key: str) -> MessageGroup:
        """The group of a value, made if need be."""
        found = self.by_key.get(key)
        if found is not None:
            return found
        if self.buckets or len(self.by_key) >= MOST_GROUPS:
            number = crc32(key.encode("utf-8", "surrogateescape")) % _BUCKETS
            bucket = self.buckets.get(number)
            if bucket is not None and not bucket.idle:
                return bucket
            if len(self.by_key) >= MOST_GROUPS and not self._make_room():
                if not self.buckets:
                    self._shared()
                if bucket is None:
                    name = f"bucket {number}"
                    bucket = self.buckets[number] = MessageGroup(name, self._keeper, number)
                return bucket
        found = self.by_key[key] = MessageGroup(key, self._keeper)
        found.touched = self.round
        return found

    def of_or_none(self, message: Message) -> MessageGroup:
        """The group of a message that only might come; one of its own if there is none."""
        key = self.key_of(message) or ""
        return self.by_key.get(key) or MessageGroup(key, self._keeper)

    def again(self, message: GroupedMessage) -> MessageGroup:
        """Give a message that had a group elsewhere the one that it has here."""
        key = self.key_of(message)
        group = MessageGroup("", self._keeper) if key is None else self.of(key)
        message.group = group
        return group

    def _make_room(self) -> bool:
        """Forget groups of which nothing is there, now and then; say whether there were any."""
        if self._full_since == self.round:
            return False
        self._full_since = self.round
        self.forget()
        return len(self.by_key) < MOST_GROUPS

    def forget(self) -> None:
        """Forget groups of which nothing has been in the queue for a while."""
        before = self.round - 2
        for group in self:
            if group.idle and group.touched <= before and not self._pace.is_used(group):
                self._forgotten(group)
                if self.by_key.get(group.key) is group:
                    del self.by_key[group.key]
                else:
                    del self.buckets[group.number]

    def __iter__(self) -> Iterator[MessageGroup]:
        """All groups, those of several values as well."""
        return iter([*self.by_key.values(), *self.buckets.values()])

    def __len__(self) -> int:
        return len(self.by_key) + len(self.buckets)
