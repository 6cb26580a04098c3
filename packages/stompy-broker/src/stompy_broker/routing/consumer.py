"""What a queue sees of whoever takes messages from it."""

from __future__ import annotations

from typing import Protocol

from stompy.errors import ProtocolError
from stompy_broker.message import Message


class Consumer(Protocol):
    """Takes messages. Implemented by the sessions' subscriptions.

    Attributes:
        number: unique while the broker runs.
        auto: whether a message counts as settled once `deliver` took it.
        waiting: the queue's own mark: whether the consumer stands in line for the next message.
    """

    number: int
    auto: bool
    waiting: bool

    def deliver(self, message: Message) -> bool:
        """Take a message; say whether another one is welcome.

        Must not call back into the queue. A consumer that said no comes back by `Queue.resume`.
        """
        ...

    def fail(self, reason: ProtocolError) -> None:
        """Give up on this consumer: the queue has no more messages for it."""
        ...
