"""How a queue answers: at once, or many turns of the event loop later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from stompy.errors import ProtocolError
from stompy_broker.message import Message
from stompy_broker.store.interface import MessageStore

Refused = Callable[[ProtocolError], None]
"""Takes the reason why a message was refused."""


class Done(Protocol):
    """Takes the answer of a verb, once."""

    def __call__(self, error: ProtocolError | None = None, /) -> None:
        """Take the answer: what was asked for is done and safe, or it was refused."""
        ...


def when_all(parts: int, done: Done) -> Done:
    """Something to call once for each of so many parts.

    The last call calls ``done``. A part that was refused does so at once, and is all that is told.
    """
    left = parts

    def part_done(error: ProtocolError | None = None, /) -> None:
        nonlocal left
        if error is not None:
            if left > 0:
                left = 0
                done(error)
            return
        left -= 1
        if left == 0:
            done()

    return part_done


def when_safe(store: MessageStore | None, message: Message, done: Done) -> None:
    """Call ``done`` when what a store was told about a message is safe.

    At once for what is not stored: it waits neither for a commit of others, nor for a disk that
    cannot be written to.

    Args:
        store: of the queues that it came to, or left; None = they store nothing.
        message: the message.
        done: what to call.
    """
    if store is not None and message.head.persistent:
        store.sync(done)
    else:
        done()


def nobody_asks(answer: object = None) -> None:
    """Take an answer that nobody waits for."""
