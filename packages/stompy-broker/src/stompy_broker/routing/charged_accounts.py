"""What a queue's messages cost, and whom, in a broker whose users have quotas for that."""

from __future__ import annotations

from stompy_broker.message import Message
from stompy_broker.routing.accounts import Accounts
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.paging import BodyReader
from stompy_broker.routing.user_storage import StorageBook, UserStorage
from stompy_broker.store.interface import MessageStore


class ChargedAccounts(Accounts):
    """Accounts of a queue that also count for users what they have sent and is in it.

    Args:
        destination: of the queue.
        memory: where what is in it is added up.
        disk: where what is stored of it is.
        store: where persistent messages of it survive; None = they do not.
        own: makes senders of this queue wait; None = nothing of its own does.
        reader: reads its bodies from disk.
        shares: whether a message in it may share its memory with others.
        book: knows who sends just now; None = nobody wants to know.
    """

    __slots__ = ("_book", "_senders")

    def __init__(
        self,
        destination: str,
        memory: Watermark,
        disk: Watermark,
        store: MessageStore | None,
        own: Watermark | None,
        reader: BodyReader,
        *,
        shares: bool,
        book: StorageBook | None,
    ) -> None:
        super().__init__(destination, memory, disk, store, own, reader, shares=shares)
        self._book = book
        self._senders: dict[int, UserStorage] = {}  # of messages by sequence, not of all

    def keep(self, message: Message) -> None:
        """Account for a message, also to its sender."""
        book = self._book
        storage = None if book is None else book.current
        if storage is not None:
            storage.add(message.size)
            self._senders[message.sequence] = storage
        super().keep(message)

    def let_go(self, message: Message) -> None:
        """Count a message no more."""
        super().let_go(message)
        storage = self._senders.pop(message.sequence, None) if self._senders else None
        if storage is not None:
            storage.remove(message.size)

    def begin_for(self, message: Message) -> None:
        """Have what is published now be of who sent a message; `end_for` has to follow."""
        if self._book is not None:
            self._book.acting = self._senders.get(message.sequence)

    def end_for(self, message: Message) -> None:
        """Have it be of nobody again: undo `begin_for`."""
        if self._book is not None:
            self._book.acting = None

    def let_go_all(self, messages: list[Message]) -> None:
        """Count messages no more."""
        for message in messages:
            self.let_go(message)
