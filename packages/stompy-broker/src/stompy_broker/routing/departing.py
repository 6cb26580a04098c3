"""Messages that leave a queue for the dead letters while their bodies are still on disk.

A dead letter needs its body. So they wait here, still counted and still in the store, until their
bodies have been read, some at a time. A crash meanwhile finds them in their queue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from stompy_broker.message import Message
from stompy_broker.store.base import MessageStore

READ_MESSAGES, READ_BYTES = 256, 4 * 1024 * 1024
"""How many bodies are read from disk at once."""


class Departing:
    """Who waits, in order.

    Args:
        store: reads the bodies.
        leave: takes a message, cause and reason once the body is there, or cannot be found.

    Attributes:
        bytes: the size of who waits.
    """

    def __init__(self, store: MessageStore, leave: Callable[[Message, str, str], None]) -> None:
        self.bytes = 0
        self._store = store
        self._leave = leave
        self._waiting: dict[int, tuple[Message, str, str]] = {}
        self._reading = False

    def add(self, message: Message, cause: str, reason: str) -> None:
        """Let a message go as soon as its body is there."""
        self._waiting[message.sequence] = (message, cause, reason)
        self.bytes += message.size
        self._read()

    def close(self) -> None:
        """They need not go any more, nor anybody else."""
        self._waiting.clear()
        self.bytes = 0
        self._leave = _nobody_leaves

    def _read(self) -> None:
        if self._reading or not self._waiting:
            return
        ahead = [message for message, _, _ in islice(self._waiting.values(), READ_MESSAGES)]
        # Some may have their bodies already: they were being read when they had to go.
        missing = first_of(iter(ahead))
        if missing:
            del ahead[ahead.index(missing[-1]) + 1 :]
        self._reading = True
        self._store.load(missing, lambda: self._have_read(ahead))

    def _have_read(self, messages: list[Message]) -> None:
        self._reading = False
        for message in messages:
            if self._waiting.get(message.sequence, (None,))[0] is message:
                _, cause, reason = self._waiting.pop(message.sequence)
                self.bytes -= message.size
                self._leave(message, cause, reason)
        self._read()

    def __iter__(self) -> Iterator[Message]:
        return (message for message, _, _ in list(self._waiting.values()))

    def __len__(self) -> int:
        return len(self._waiting)


def _nobody_leaves(message: Message, cause: str, reason: str) -> None:
    """The queue has ended."""


def first_of(messages: Iterator[Message]) -> list[Message]:
    """As many of the first ones without body as are read at once."""
    some: list[Message] = []
    size = 0
    for message in islice(messages, READ_MESSAGES):
        if message.body is None:
            some.append(message)
            size += message.size
            if size > READ_BYTES:
                break
    return some
