"""How deliveries and the stay of messages in a queue end, as the history of a queue tells. Pure.

A row of the history is one such end. So a message that was refused twice and then accepted has
three rows, of which the last one says that it left.
"""

from __future__ import annotations

from enum import StrEnum


class SettlementKind(StrEnum):
    """What became of a message in a queue."""

    ACKED = "acked"
    """Its consumer accepted it; it left."""
    TAKEN = "taken"
    """It was written for a consumer that acknowledges nothing; it left."""
    NACKED = "nacked"
    """Its consumer refused it; it came back to its queue."""
    LOST = "lost"
    """The connection of its consumer was lost over it, and that counts as failed; it came back."""
    RETURNED = "returned"
    """Its consumer left, or did not settle it in time; it came back."""
    EXPIRED = "expired"
    """Its time was over; it left."""
    DEAD_LETTERED = "dead_lettered"
    """Its queue gave it up, and it became a dead letter; it left."""
    DROPPED = "dropped"
    """Its queue gave it up, and it went nowhere; it left."""
    MOVED = "moved"
    """An operator sent it elsewhere; it left."""
    DELETED = "deleted"
    """An operator deleted it, or purged its queue; it left."""
    REPLACED = "replaced"
    """A newer value of the same key took its place; it left."""
    CLOSED = "closed"
    """Its queue ended; it left."""

    @property
    def leaves(self) -> bool:
        """Whether the message is in its queue no more."""
        return self not in _COMES_BACK


_COMES_BACK = frozenset((SettlementKind.NACKED, SettlementKind.LOST, SettlementKind.RETURNED))

HISTORY_COLUMNS = (
    "queue",
    "place",
    "sequence",
    "message_id",
    "received_at",
    "delivered_at",
    "ended_at",
    "outcome",
    "cause",
    "reason",
    "sent_to",
    "consumer",
    "client_id",
    "user",
    "session",
    "subscription",
    "deliveries",
    "failures",
    "size",
    "content_type",
    "headers",
    "body",
)
"""The columns of a row of the history, in their order.

``place`` counts the rows of one queue. ``delivered_at`` is None where nobody had the message,
``headers`` and ``body`` where it did not leave.
"""
