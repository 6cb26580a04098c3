"""Bodies that a queue reads back from disk: for consumers who wait, and for dead letters.

A dead letter needs its body. So messages that a queue gives up while their bodies are on disk wait
in a `DeadLetterReader`, still counted and still in the store, until their bodies have been read,
some at a time. A crash meanwhile finds them in their queue.

It is the same for messages that go to a queue of another broker: they are under way until they are
safe there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice

from stompy.errors import ProtocolError
from stompy_broker.message import Message
from stompy_broker.routing.answers import Done
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.store.interface import MessageStore

READ_MESSAGES, READ_BYTES = 256, 4 * 1024 * 1024
"""How many bodies are read from disk at once."""


class BodyReader:
    """What is being read for the consumers of one queue.

    Args:
        account: where the queue adds up what waits in it.
        store: reads.
        done: called when something was read, with the sequences of bodies that are lost.

    Attributes:
        wanted: what is being read, by sequence; None = nothing.
    """

    __slots__ = ("_account", "_done", "_store", "wanted")

    def __init__(
        self, account: Watermark, store: MessageStore, done: Callable[[set[int]], None]
    ) -> None:
        self.wanted: dict[int, Message] | None = None
        self._account = account
        self._store = store
        self._done = done

    def begin(self, messages: Sequence[Message]) -> None:
        """Have bodies read, and call ``done``. Some may not be wanted any more by then."""
        self.wanted = {message.sequence: message for message in messages}
        self._store.load(messages, self._have_read)

    def forget(self, message: Message) -> None:
        """Do not account for a body that is being read: its message is gone."""
        if self.wanted is not None:
            self.wanted.pop(message.sequence, None)

    def close(self) -> None:
        """Read nothing more, for good. What is being read now is still counted."""
        self._done = _nobody_waits

    def _have_read(self) -> None:
        wanted, self.wanted = self.wanted or {}, None
        found = [message for message in wanted.values() if message.body is not None]
        self._account.add(sum(message.size - message.ram_on_disk for message in found))
        self._done(wanted.keys() - {message.sequence for message in found})


class DeadLetterReader:
    """Messages that leave for the dead letters once their bodies have been read, in order.

    Args:
        store: reads the bodies.
        leave: takes a message, cause and reason once the body is there, or cannot be found.

    Attributes:
        bytes: the size of what waits, or is under way.
    """

    __slots__ = (
        "_leave",
        "_reading",
        "_store",
        "_under_way",
        "_under_way_bytes",
        "_waiting",
        "bytes",
    )

    def __init__(self, store: MessageStore, leave: Callable[[Message, str, str], None]) -> None:
        self.bytes = 0
        self._store = store
        self._leave = leave
        self._waiting: dict[int, tuple[Message, str, str]] = {}
        self._reading = False
        self._under_way: dict[int, tuple[Message, list[Done]]] = {}
        self._under_way_bytes = 0

    def add(self, message: Message, cause: str, reason: str) -> None:
        """Let a message go as soon as its body is there."""
        self._waiting[message.sequence] = (message, cause, reason)
        self.bytes += message.size
        self._read()

    def depart(self, message: Message, arrived: Callable[[Message], None]) -> Done:
        """Count a message that goes to another broker.

        Args:
            message: it.
            arrived: called when it is safe there, unless the queue has ended meanwhile.

        Returns:
            What to call when it is safe there.
        """
        waiting: list[Done] = []
        self._under_way[message.sequence] = message, waiting
        self._under_way_bytes += message.size
        self.bytes += message.size
        return partial(self._arrive, message, waiting, arrived)

    def _arrive(
        self,
        message: Message,
        waiting: list[Done],
        arrived: Callable[[Message], None],
        error: ProtocolError | None = None,
        /,
    ) -> None:
        # There is no error: who gives something up has asked before, or may not be refused.
        if self._under_way.get(message.sequence, (None,))[0] is message:
            del self._under_way[message.sequence]
            self._under_way_bytes -= message.size
            self.bytes -= message.size
            arrived(message)
        for done in waiting:
            done()
        self._read()

    def when_gone(self, message: Message, done: Done) -> bool:
        """Call ``done`` when a message has arrived; false: it is not under way."""
        under_way = self._under_way.get(message.sequence)
        if under_way is not None:
            under_way[1].append(done)
        return under_way is not None

    @property
    def under_way(self) -> list[Message]:
        """What goes to another broker, and is perhaps there."""
        return [message for message, _ in self._under_way.values()]

    def close(self) -> list[Message]:
        """Let nothing go any more; gives what was about to."""
        waiting = [message for message, _, _ in self._waiting.values()]
        for message in waiting:
            message.body = None  # accounted for like that, also when it was read meanwhile
        waiting += self.under_way
        self._waiting.clear()
        self._under_way.clear()
        self.bytes = self._under_way_bytes = 0
        self._leave = _nothing_leaves
        return waiting

    def _read(self) -> None:
        if self._reading or not self._waiting or self._under_way_bytes >= READ_BYTES:
            return
        ahead = [message for message, _, _ in islice(self._waiting.values(), READ_MESSAGES)]
        # Some may have their bodies already: they were being read when they had to go.
        missing = first_without_body(iter(ahead))
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
        return iter([message for message, _, _ in self._waiting.values()] + self.under_way)

    def __len__(self) -> int:
        return len(self._waiting) + len(self._under_way)


def _nobody_waits(lost: set[int]) -> None:
    """Do nothing: the queue has ended."""


def _nothing_leaves(message: Message, cause: str, reason: str) -> None:
    """Do nothing: the queue has ended."""


def first_without_body(messages: Iterator[Message]) -> list[Message]:
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
