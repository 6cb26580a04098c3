"""Bodies that a queue has read from disk, because somebody waits for its messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stompy_broker.message import Message
from stompy_broker.routing.flow_control import Pressure
from stompy_broker.store.base import MessageStore


class Reading:
    """What is being read for one queue.

    Args:
        account: where the queue adds up what waits in it.
        store: reads.
        done: called when something was read, with the sequences of bodies that are lost.

    Attributes:
        wanted: what is being read, by sequence; None = nothing.
    """

    __slots__ = ("_account", "_done", "_store", "wanted")

    def __init__(
        self, account: Pressure, store: MessageStore, done: Callable[[set[int]], None]
    ) -> None:
        self.wanted: dict[int, Message] | None = None
        self._account = account
        self._store = store
        self._done = done

    def begin(self, messages: Sequence[Message]) -> None:
        """Have bodies read, and call ``done``. Some may not be wanted any more by then."""
        self.wanted = {message.sequence: message for message in messages}
        self._store.load(messages, self._have_read)

    def close(self) -> None:
        """Nothing more has to be read, for good. What is being read now is still counted."""
        self._done = _nobody_cares

    def _have_read(self) -> None:
        wanted, self.wanted = self.wanted or {}, None
        found = [message for message in wanted.values() if message.body is not None]
        self._account.add(sum(message.size - message.ram_on_disk for message in found))
        self._done(wanted.keys() - {message.sequence for message in found})


def _nobody_cares(lost: set[int]) -> None:
    """The queue has ended."""
