"""What single users have in queues: counted only where a quota asks for it.

A broker whose configuration counts it has a `StorageBook`, and its queues have accounts that ask
who sends what is kept (`stompy_broker.routing.charged_accounts`). Where nothing asks for it there
is no book, and no message is longer or looked at once more.

What was there when the broker started is nobody's: the store does not know who sent it. The same
holds for dead letters and for what operators move: they are new messages, which no user has sent.
"""

from __future__ import annotations

from typing import Final

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.topics import Topics

_NO_LIMIT: Final = 0


class UserStorage:
    """What one user has sent that is still in queues, and the queues that it was first to use.

    Attributes:
        messages: how many, against their limit.
        octets: how many bytes, against theirs.
        queues: the names of the queues.
        most_queues: how many of them there may be; 0 = no limit.
    """

    def __init__(self) -> None:
        self.messages = Watermark(_NO_LIMIT)
        self.octets = Watermark(_NO_LIMIT)
        self.queues: dict[str, None] = {}
        self.most_queues = 0

    def renew(self, messages: int, octets: int, queues: int) -> None:
        """Have these limits from now on; 0 = none."""
        self.messages.move(messages)
        self.octets.move(octets)
        self.most_queues = queues

    def add(self, size: int) -> None:
        """Count a message that is kept now."""
        self.messages.add(1)
        self.octets.add(size)

    def remove(self, size: int) -> None:
        """Count a message no more, which has left."""
        self.messages.used -= 1
        self.messages.check()
        self.octets.used -= size
        self.octets.check()

    @property
    def full(self) -> Watermark | None:
        """What is used up, and its user has to wait for; None = nothing is."""
        if self.messages.full:
            return self.messages
        return self.octets if self.octets.full else None

    def check_queues(self, more: int = 1) -> None:
        """Check that the user may be the first to use so many queues more.

        Raises:
            ProtocolError: there are as many as may be.
        """
        if self.most_queues and len(self.queues) + more > self.most_queues:
            raise ProtocolError(
                ErrorCode.LIMIT_EXCEEDED,
                f"the user has {len(self.queues)} queues of its own, and {self.most_queues} are "
                "the limit (quota.queues)",
                details={"quota": "queues"},
            )

    @property
    def is_empty(self) -> bool:
        """Whether the user has nothing in the broker."""
        return not self.messages.used and not self.queues


class StorageBook:
    """Knows what users have in the queues of one broker.

    Args:
        topics: know who sends just now.

    Attributes:
        acting: for whom something is published that he has sent before; None = for nobody.
    """

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._by_sender: dict[str, UserStorage] = {}
        self.acting: UserStorage | None = None
        self._makers: dict[str, UserStorage] = {}

    def enter(self, sender: str, storage: UserStorage) -> None:
        """Count for a user what a client sends.

        Args:
            sender: what the client is called as a sender.
            storage: of the user.
        """
        self._by_sender[sender] = storage

    def leave(self, sender: str) -> None:
        """Forget a client that has gone; what it sent counts on."""
        self._by_sender.pop(sender, None)

    @property
    def current(self) -> UserStorage | None:
        """Of the user who is served just now; None = of somebody who is not counted."""
        sender = self._topics.sender
        return self._by_sender.get(sender[0]) if sender else self.acting

    def check_queues(self, more: int) -> None:
        """Check that the user who is served may be the first to use so many queues more.

        Raises:
            ProtocolError: there are as many as may be.
        """
        storage = self.current
        if storage is not None:
            storage.check_queues(more)

    def made(self, name: str) -> None:
        """Note that a queue was made for the user who is served."""
        storage = self.current
        if storage is not None:
            storage.queues[name] = None
            self._makers[name] = storage

    def ended(self, name: str) -> None:
        """Note that a queue has ended."""
        storage = self._makers.pop(name, None)
        if storage is not None:
            storage.queues.pop(name, None)
