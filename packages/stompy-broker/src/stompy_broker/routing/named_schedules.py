"""The schedules of one queue that have names: under each name there is one at most."""

from __future__ import annotations

import heapq
from typing import Final

from stompy_broker.message import Message, MessageHead
from stompy_broker.schedules.headers import NAME

_NAMES: Final = tuple(name.encode() + b":" for name in NAME)
_SPARE: Final = 64

Waiting = tuple[float, int, Message]
"""When a message is due, its sequence, and it."""


class NamedSchedules:
    """Finds what waits under a name.

    What left by other ways than by its name may still be known here: it does not wait any more.

    Args:
        delayed: what waits, a heap.
    """

    __slots__ = ("_delayed", "_named")

    def __init__(self, delayed: list[Waiting]) -> None:
        self._delayed = delayed
        self._named: dict[str, Message] = {}

    def note(self, name: str, message: Message) -> None:
        """Know a message under a name from now on."""
        self._named[name] = message
        if len(self._named) > 2 * len(self._delayed) + _SPARE:
            waiting = {id(entry[2]) for entry in self._delayed}
            waiting.add(id(message))
            kept = {one: known for one, known in self._named.items() if id(known) in waiting}
            self._named = kept

    def take(self, name: str) -> Message | None:
        """Take out what waits under a name, which is free then; None if nothing waits."""
        message = self._named.pop(name, None)
        if message is None:
            return None
        delayed = self._delayed
        for number, entry in enumerate(delayed):
            if entry[2] is message:
                last = delayed.pop()
                if number < len(delayed):
                    delayed[number] = last
                    heapq.heapify(delayed)
                return message
        return None

    def holds(self, name: str, message: Message) -> bool:
        """Whether a message is still the one of a name."""
        return self._named.get(name) is message

    def find(self, name: str) -> Message | None:
        """What is known under a name."""
        return self._named.get(name)


def may_have_name(head: MessageHead) -> bool:
    """Whether it is worth to read a head for the name of a schedule."""
    return any(name in head.block for name in _NAMES)
