"""The promises of a message store.

A store is told what happened to persistent messages, in order, and returns at once. Later, when
everything told so far is safe, it calls back whoever asked through `sync`. So nothing waits on
the hot path, and everything that was told in one turn of the event loop becomes safe together:
that is what makes COMMIT atomic.

`stompy_broker.store.memory` keeps nothing and calls back at once. A store on disk follows the
same protocol.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from stompy_broker.message import Message


class MessageStore(Protocol):
    """What queues tell their store.

    Attributes:
        durable: whether what it is told outlives the process. Queues tell a store that is not
            durable nothing about messages.
    """

    durable: bool

    def append(self, queue: str, message: Message) -> None:
        """A persistent message came into a queue, or came back with another delivery count."""
        ...

    def remove(self, queue: str, message: Message) -> None:
        """A message left a queue for good."""
        ...

    def sync(self, done: Callable[[], None]) -> None:
        """Call ``done`` once everything told so far is safe; at once where it is already."""
        ...

    def close(self) -> None:
        """Make everything safe and let go of all resources."""
        ...
