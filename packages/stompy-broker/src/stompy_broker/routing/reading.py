"""Bodies that a queue has read from disk, because somebody waits for its messages.

A consumer without limit that settles nothing would have all of them read. So in a broker that is
full twice over nothing is read for consumers who hold much already, until there is room or they
have settled something.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stompy_broker.clock import Clock
from stompy_broker.message import Message
from stompy_broker.routing.pressure import HARD, Pressure
from stompy_broker.store.base import MessageStore

_AGAIN_SECONDS = 1.0
"""How often is looked whether something was settled."""


class Reading:
    """What is being read for one queue.

    Args:
        clock: to look again.
        memory: in use by the broker.
        store: reads.
        done: called when something was read, with the sequences of bodies that are lost.

    Attributes:
        wanted: what is being read, by sequence; empty while that has to wait; None = nothing.
    """

    __slots__ = ("_again", "_clock", "_done", "_memory", "_store", "_waits", "wanted")

    def __init__(
        self, clock: Clock, memory: Pressure, store: MessageStore, done: Callable[[set[int]], None]
    ) -> None:
        self.wanted: dict[int, Message] | None = None
        self._clock = clock
        self._memory = memory
        self._store = store
        self._done = done
        self._waits = False
        self._again = clock.alarm(self._go_on)

    def begin(self, messages: Sequence[Message], held: float) -> None:
        """Have bodies read, and call ``done``.

        Args:
            messages: which; some of them may not be wanted any more by then.
            held: bytes that the queue's consumers hold, about.
        """
        memory = self._memory
        if memory.full and memory.used >= memory.high * HARD and held > memory.high / 2:
            self.wanted, self._waits = {}, True
            memory.wait(self._go_on)
            self._again.set(self._clock.now() + _AGAIN_SECONDS)
            return
        self.wanted = {message.sequence: message for message in messages}
        self._store.load(messages, self._have_read)

    def close(self) -> None:
        """Nothing more has to be read. What is being read now still comes."""
        self._memory.forget(self._go_on)
        self._again.cancel()

    def _go_on(self) -> None:
        """Look again whether it has to wait."""
        if self._waits:
            self.close()
            self._waits, self.wanted = False, None
            self._done(set())

    def _have_read(self) -> None:
        wanted, self.wanted = self.wanted or {}, None
        found = [message for message in wanted.values() if message.body is not None]
        self._memory.add(sum(message.size - message.ram_on_disk for message in found))
        self._done(wanted.keys() - {message.sequence for message in found})
