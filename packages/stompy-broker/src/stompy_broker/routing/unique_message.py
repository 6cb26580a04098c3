"""A message whose duplicate id is known as long as it is in its queue, and no longer."""

from __future__ import annotations

from typing import Final

from stompy.errors import ProtocolError
from stompy_broker.dedup_headers import DUPLICATE_MODE, QUEUED, read_duplicate_id
from stompy_broker.message import OVERHEAD, Account, CopiedMessage, Message
from stompy_broker.routing.duplicate_book import DuplicateBook
from stompy_broker.routing.duplicate_ids import DuplicateIds
from stompy_broker.routing.interface import Queue, ShareMemory

_MARK: Final = f"{DUPLICATE_MODE}:{QUEUED}\n".encode()

SHARE: Final = ShareMemory()
"""What the queue of such a message is told before it comes."""


class UniqueMessage(CopiedMessage):
    """It tells when it comes and when it leaves: whatever counts it in or out comes by here.

    Its queue has to be told before that it shares memory (`ShareMemory`).

    Args:
        message: what it is beside that.
        value: its duplicate id.
        ids: those of its queue.
    """

    __slots__ = ("_ids", "_value")

    def __init__(self, message: Message, value: bytes, ids: DuplicateIds) -> None:
        common, own = None, OVERHEAD
        if isinstance(message, CopiedMessage):
            common, own = message.common, message.own
        super().__init__(message.sequence, message.head, message.body, message.stamp, common, own)
        self.redelivery = message.redelivery
        self.expires = message.expires
        self.size = message.size
        self._value = value
        self._ids = ids

    def charge(self, account: Account) -> None:
        """Count it: it is in the queue now."""
        super().charge(account)
        self._ids.queued[self._value] = int(self.message_id)

    def discharge(self, account: Account) -> None:
        """Count it no longer: it has gone from its queue."""
        super().discharge(account)
        if self._ids.queued.get(self._value) == int(self.message_id):
            del self._ids.queued[self._value]


def queued_again(message: Message, queue: Queue, book: DuplicateBook) -> Message:
    """A message that a store has kept, as it was when it came; its queue is told."""
    if _MARK not in message.head.block:
        return message
    try:
        duplicate_id = read_duplicate_id(message.head.headers())
    except ProtocolError:  # it stands there by chance
        return message
    if duplicate_id is None or duplicate_id.mode != QUEUED:
        return message
    queue.control(SHARE)
    ids = book.of(queue.destination, queue.policy, queue.group.store)
    return UniqueMessage(message, duplicate_id.value, ids)
