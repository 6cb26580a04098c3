"""The last messages of topics, by the names of the topics: what there is, and what fits a pattern.

Whoever changes it is the queue that holds them (`stompy_broker.routing.retained_queue`); everybody
may look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.names import topic_text
from stompy_broker.destinations.patterns import name_test
from stompy_broker.message import Message
from stompy_broker.routing.caps import Caps

Entry = tuple[str, Message]
"""A topic, and what it keeps."""

Load = Callable[[list[Entry], Callable[[], None]], None]
"""Has bodies be read from disk, and calls back; what cannot be read is in the table no more."""


class RetainedTable:
    """What topics keep for who subscribes later.

    Attributes:
        messages: by topic, in the order in which they came.
        bytes: of all of them.
        kept: how many came so far.
        load: has bodies be read from disk.
    """

    def __init__(self) -> None:
        self.messages: dict[str, Message] = {}
        self.bytes = 0
        self.kept = 0
        self.load: Load = _nothing_to_load

    def put(self, topic: str, message: Message) -> Message | None:
        """Have a message be the last one of a topic; gives the one that was."""
        before = self.drop(topic)
        self.messages[topic] = message
        self.bytes += message.size
        return before

    def drop(self, topic: str) -> Message | None:
        """Have nothing of a topic any more; gives what there was."""
        before = self.messages.pop(topic, None)
        if before is not None:
            self.bytes -= before.size
        return before

    def check(self, wanted: Iterable[tuple[str, int]], caps: Caps) -> None:
        """Check that there is room for messages that come together.

        Args:
            wanted: topic and size of each; a later one of the same topic takes its place.
            caps: how many there may be.

        Raises:
            ProtocolError: there are too many, or they are too large.
        """
        sizes = dict(wanted)
        new = total = 0
        for topic, size in sizes.items():
            known = self.messages.get(topic)
            new += known is None
            total += size - (0 if known is None else known.size)
        if new and len(self.messages) + new > caps.retained:
            raise ProtocolError(
                ErrorCode.LIMIT_EXCEEDED,
                f"{topic_text(next(iter(sizes)))[:200]!r} keeps no message: {len(self.messages)} "
                f"topics do already, and {caps.retained} are the limit (limits.retained); an "
                "empty one with x-retain:true has a topic forget its own",
            )
        if total > 0 and self.bytes + total > caps.retained_bytes:
            raise ProtocolError(
                ErrorCode.LIMIT_EXCEEDED,
                f"{topic_text(next(iter(sizes)))[:200]!r} does not keep the message: what topics "
                f"keep would be {self.bytes + total} bytes together, and {caps.retained_bytes} "
                "are the limit (limits.retained_bytes)",
            )

    def matching(self, pattern: str, now: int) -> list[Entry]:
        """Topics that a pattern matches, with what they keep, in the order in which that came.

        Args:
            pattern: of topics, or the name of one.
            now: milliseconds since the epoch; what has ended by then is left out.
        """
        is_meant = name_test(pattern)
        if is_meant is None:
            one = self.messages.get(pattern)
            found = [] if one is None else [(pattern, one)]
        else:
            found = [(topic, one) for topic, one in self.messages.items() if is_meant(topic)]
        return [entry for entry in found if not 0 < entry[1].expires <= now]

    def expired(self, now: int) -> list[str]:
        """The topics whose message has ended."""
        return [topic for topic, one in self.messages.items() if 0 < one.expires <= now]

    def __len__(self) -> int:
        return len(self.messages)


def _nothing_to_load(entries: list[Entry], done: Callable[[], None]) -> None:
    """Have nothing read: there is no queue yet, and no message."""
    done()
