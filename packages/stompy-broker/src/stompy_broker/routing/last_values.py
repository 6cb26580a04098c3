"""Which messages of a queue have a value that a newer one replaces, by what they are values of.

In a last-value queue a header of a message says what it is a value of: its *key*, such as the name
of a share. Of one key at most one message waits. What is with a consumer stays there, whatever
comes; when it comes back, and a newer one of its key is in the queue, it has had its time.

It holds what is in the queue only: a message that leaves, however it leaves, is forgotten here
(`Accounts.let_go` tells). So it costs as much memory as there are keys in the queue.
"""

from __future__ import annotations

from stompy_broker.message import Message
from stompy_broker.selectors.names import text_of


class LastValues:
    """The messages of one queue that have keys.

    Args:
        header: whose value is the key of a message.
        in_place: whether a message stands where the one stood that it replaces; else at the end.

    Attributes:
        header: as above.
        in_place: as above.
        outdated: what a store gave back, and was replaced by what it gave back after that.
    """

    __slots__ = ("_keys", "_newest", "_older", "header", "in_place", "outdated")

    def __init__(self, header: str, *, in_place: bool) -> None:
        self.header = header
        self.in_place = in_place
        self.outdated: list[Message] = []
        self._keys: dict[Message, str] = {}
        self._newest: dict[str, Message] = {}
        # Those that were with consumers when newer ones came, in the order in which they came.
        self._older: dict[str, dict[Message, None]] = {}

    def key_of(self, message: Message) -> str | None:
        """What a message is a value of; None = of nothing, it is a message like any other."""
        return (text_of(self.header, message) or None) if self.header else None

    def newest_like(self, message: Message) -> Message | None:
        """The last message in the queue with the key of one that comes; None = there is none."""
        key = self.key_of(message)
        return None if key is None else self._newest.get(key)

    def note(self, message: Message) -> Message | None:
        """Take note of a message that is in the queue now, the last one of its key.

        Returns:
            The one that was it before, and stays for now.
        """
        key = self.key_of(message)
        if key is None:
            return None
        before = self._newest.get(key)
        if before is not None:
            self._older.setdefault(key, {})[before] = None
        self._keys[message] = key
        self._newest[key] = message
        return before

    def is_outdated(self, message: Message) -> bool:
        """Whether a message that comes back has a newer one of its key in the queue."""
        key = self._keys.get(message)
        return key is not None and self._newest[key] is not message

    def gone(self, message: Message) -> None:
        """Forget a message that has left the queue."""
        key = self._keys.pop(message, None)
        if key is None:
            return
        older = self._older.get(key)
        if self._newest[key] is not message:
            assert older is not None
            del older[message]
        elif older:
            self._newest[key], _ = older.popitem()
        else:
            del self._newest[key]
        if older is not None and not older:
            del self._older[key]

    def __len__(self) -> int:
        """How many keys have a message in the queue."""
        return len(self._newest)
