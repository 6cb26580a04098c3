"""The promises of a message store.

A store is told what happens to persistent messages, in order, and returns at once. Later, when
everything told so far is safe, it calls back whoever asked through `sync`. Nothing waits on the
hot path, and everything told in one turn of the event loop becomes safe together or not at all:
that is what makes COMMIT atomic.

What is told and taken back before it was written never touches the disk: a message that was
settled meanwhile leaves no trace.

Two stores keep these promises: `stompy_broker.store.memory`, the reference, and
`stompy_broker.store.sqlite`. One suite of tests holds both to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from stompy_broker.message import Message

Done = Callable[[], None]

DeliveryState = tuple[int, int, int, int]
"""Deliveries, failures, not before, and who holds it."""


class StoreError(Exception):
    """The store cannot be used; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class StoredSubscription:
    """A durable topic subscription as it is kept.

    Attributes:
        name: what identifies it; unique.
        pattern: the topics it gets.
        settings: everything else, as text of the owner's choice.
    """

    name: str
    pattern: str
    settings: str


class Restored(NamedTuple):
    """A message that survived. There may be millions, so it is cheap to make.

    Attributes:
        destination: the queue it was in.
        message: the message; its body is not loaded.
        due: milliseconds since the epoch at which it may be delivered again, or 0.
        holder: `Consumer.number` of who had it when the broker crashed, or 0.
    """

    destination: str
    message: Message
    due: int
    holder: int = 0


@dataclass(frozen=True, slots=True)
class StoreStats:
    """How a store is doing.

    Attributes:
        trouble: why nothing can be written, or no more messages are taken; empty = all is well.
        bytes: the length of its files.
        free: bytes left on their disk.
        unwritten: changes that it was told and has not made safe yet.
        commits: how many it has made since the start.
        commit_seconds: how long one takes, a running average.
        damaged: messages that are set aside, because they are not what was written any more.
    """

    trouble: str = ""
    bytes: int = 0
    free: int = 0
    unwritten: int = 0
    commits: int = 0
    commit_seconds: float = 0.0
    damaged: int = 0


class MessageStore(Protocol):
    """What queues tell their store.

    Attributes:
        durable: whether what it is told outlives the process. Queues tell a store that is not
            durable nothing about messages.
        trouble: why nothing can be written just now, or no more messages are taken; empty when
            all is well.
    """

    durable: bool
    trouble: str

    @property
    def gathered(self) -> int:
        """How much it was told since it last began to write, by a rough count of bytes."""
        ...

    def stats(self) -> StoreStats:
        """How it is doing."""
        ...

    def restore(self) -> Iterator[Restored]:
        """Every message that survived, by sequence. Called once, before anything is told."""
        ...

    def queues(self) -> Mapping[str, Mapping[str, str]]:
        """The headers that queues were set up with, by name."""
        ...

    def subscriptions(self) -> list[StoredSubscription]:
        """Every durable subscription that survived."""
        ...

    def append(self, destination: str, message: Message) -> None:
        """A persistent message came into a queue."""
        ...

    def mark_delivered(
        self, message: Message, deliveries: int, due: int = 0, holder: int = 0
    ) -> None:
        """A message was delivered to ``holder`` for the so-manieth time, or came back.

        Then nobody holds it, and it may not be delivered again before ``due``. How often that
        has failed so far the message tells itself.
        """
        ...

    def remove(self, message: Message) -> None:
        """A message left its queue for good."""
        ...

    def is_written(self, message: Message) -> bool:
        """Whether it is written, so that its body may be let go and loaded again."""
        ...

    def load(self, messages: Sequence[Message], done: Done) -> None:
        """Give messages their bodies back, then call ``done``.

        A body that cannot be found stays None.
        """
        ...

    def keep_queue(self, name: str, headers: Mapping[str, str] | None) -> None:
        """A queue was set up by headers; None: it ended, and no message of it is left."""
        ...

    def keep_subscription(self, subscription: StoredSubscription) -> None:
        """A durable subscription was made or changed."""
        ...

    def drop_subscription(self, name: str) -> None:
        """A durable subscription was deleted."""
        ...

    def sync(self, done: Done) -> None:
        """Call ``done`` once everything told so far is safe; at once where it is already."""
        ...

    def end_of_read(self, before: int) -> bool:
        """What one client sent was worked through; what it waits for may be made safe now.

        Args:
            before: what `gathered` was before.

        Returns:
            Whether nothing more should be read from the client until `wait` calls: the store is
            behind, and the client told it much.
        """
        ...

    def wait(self, go_on: Done) -> None:
        """Call ``go_on`` once the store takes more. Harmless when repeated."""
        ...

    def forget(self, go_on: Done) -> None:
        """Do not call it any more."""
        ...

    def close(self) -> None:
        """Make everything safe and let go of all resources. Who waits is not told any more."""
        ...


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
