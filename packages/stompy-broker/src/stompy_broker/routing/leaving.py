"""Messages that a queue gives up: the way out, and what happens when there is none.

Whatever goes wrong with one message costs that message its turn, and nobody anything else: not its
consumer, not those behind it, not whoever is in the call. It is never in no queue.
"""

from __future__ import annotations

import logging
from abc import abstractmethod

from stompy_broker.message import Message
from stompy_broker.routing.departing import Departing
from stompy_broker.routing.oversight import Oversight

log = logging.getLogger("stompy_broker.queue")

_ASIDE_SECONDS = 60.0
"""After so long a message is tried again that could not be written, or given up."""


class Leaving(Oversight):
    """A queue as far as messages leave it that were not consumed.

    Attributes:
        private: whether it is the backlog of a topic subscription that ends with its connection.
        dropped: messages that were given up, and went nowhere.
    """

    private: bool
    dropped: int
    _departing: Departing

    @abstractmethod
    def _grave(self, cause: str) -> str:
        """Where messages go that it gives up; empty = they are dropped."""

    @abstractmethod
    def _bury(self, message: Message, cause: str, reason: str) -> bool:
        """Make a dead letter, or drop it; false: that went wrong."""

    @abstractmethod
    def _delay(self, message: Message, seconds: float) -> None:
        """Put a message where it waits for its time."""

    def _give_up(self, message: Message, cause: str, reason: str) -> None:
        """Out of the queue: to the dead letters, or nowhere."""
        if message.body is None and self._grave(cause):
            if self._reading.wanted is not None:
                self._reading.wanted.pop(message.sequence, None)
            self._departing.add(message, cause, reason)
            return
        if self._bury(message, cause, reason):
            self._let_go(message)
        else:
            self._set_aside(message)

    def turn_away(self, message: Message, cause: str) -> None:
        """A message that came in does not stay: a dead letter, or dropped."""
        if not self._bury(message, cause, ""):
            self._keep(message)
            self._set_aside(message)

    def _cannot_write(self, message: Message, error: Exception) -> None:
        """A fault of ours, which costs this message its turn, and nobody anything else."""
        log.error("%s: %s cannot be written", self.destination, message, exc_info=error)
        if self._grave("unwritable"):
            self._give_up(message, "unwritable", f"{type(error).__name__}: {error}")
        else:
            self._set_aside(message)

    def _set_aside(self, message: Message) -> None:
        """There is no place for it; later there may be."""
        if self.private:
            self.dropped += 1
            self._let_go(message)
        else:
            self._delay(message, _ASIDE_SECONDS)

    def _depart(self, message: Message, cause: str, reason: str) -> None:
        """A message that is given up has its body now."""
        if message.body is None:
            self._lose(message)
            return
        self.account.used += message.size - message.ram_on_disk
        self._give_up(message, cause, reason)

    def _lose(self, message: Message) -> None:
        """The disk has lost a body, or damaged it. There is nothing to deliver any more."""
        log.error("%s: message %s has no body to deliver any more", self.destination, message)
        self.dropped += 1
        self._let_go(message)
