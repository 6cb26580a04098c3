"""What a queue counts beside published, delivered and accepted messages."""

from __future__ import annotations


class Counts:
    """Counters of one queue, shared by its parts.

    Attributes:
        nacked: deliveries that were rejected.
        redelivered: deliveries of what came back.
        expired: messages whose time was over.
        dead_lettered: messages that were given up, and kept elsewhere.
        dropped: messages that were given up, and went nowhere.
        removed: messages that operators took out.
        replaced: messages whose place newer ones took that have the same key.
        duplicates: messages that were dropped because their duplicate id was known.
    """

    __slots__ = (
        "dead_lettered",
        "dropped",
        "duplicates",
        "expired",
        "nacked",
        "redelivered",
        "removed",
        "replaced",
    )

    def __init__(self) -> None:
        self.nacked = self.redelivered = self.expired = 0
        self.dead_lettered = self.dropped = self.removed = self.replaced = self.duplicates = 0

    def values(self) -> tuple[int, int, int, int, int, int, int, int]:
        """All of them, in the order of `QueueFigures`."""
        return (
            self.nacked,
            self.redelivered,
            self.expired,
            self.dead_lettered,
            self.dropped,
            self.removed,
            self.replaced,
            self.duplicates,
        )
