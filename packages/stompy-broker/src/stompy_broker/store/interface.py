"""The promises of a message store.

A store is told what happens to persistent messages, in order, and returns at once. Later, when
everything told so far is safe, it calls back whoever asked through `sync`. Nothing waits on the
hot path, and everything told in one turn of the event loop becomes safe together or not at all:
that is what makes COMMIT atomic.

What is told and taken back before it was written never touches the disk: a message that was
settled meanwhile leaves no trace.

Streams and what was in a queue are logs: entries with offsets that can be read again
(`stompy_broker.store.entry_log`), in the same batches as messages.

Two stores keep these promises: `stompy_broker.store.memory`, the reference, and
`stompy_broker.store.sqlite`. One suite of tests holds both to them.

It is a class, not a protocol: compiled, its verbs are called through a table of functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from stompy.compiler import mypyc_attr
from stompy_broker.message import Message
from stompy_broker.store.base import (
    Callback,
    Restored,
    StoredId,
    StoredSubscription,
    StoreStats,
)
from stompy_broker.store.entry_log import EntryLogs


@mypyc_attr(allow_interpreted_subclasses=True)
class MessageStore:
    """What queues tell their store, and ask of it.

    Attributes:
        durable: whether what it is told outlives the process. Queues tell a store that is not
            durable nothing about messages.
        trouble: why nothing can be written just now, or no more messages are taken; empty when
            all is well.
    """

    durable: bool
    trouble: str

    @property
    def last_sequence(self) -> int:
        """No message that it has kept has a higher one; 0 = it has kept none."""
        raise NotImplementedError

    @property
    def keeps_logs(self) -> bool:
        """Whether it has `logs`."""
        return False

    @property
    def logs(self) -> EntryLogs:
        """Its logs, for streams and for what was. They are safe when its messages are."""
        raise NotImplementedError

    @property
    def busy(self) -> bool:
        """Whether another thread works for it just now."""
        return False

    @property
    def gathered(self) -> int:
        """How much it was told since it last began to write, by a rough count of bytes."""
        raise NotImplementedError

    def stats(self) -> StoreStats:
        """How it is doing."""
        raise NotImplementedError

    def restore(self) -> Iterator[Restored]:
        """Every message that survived, by sequence. Called once, before anything is told."""
        raise NotImplementedError

    def queues(self) -> Mapping[str, Mapping[str, str]]:
        """The headers that queues were set up with, by name."""
        raise NotImplementedError

    def subscriptions(self) -> list[StoredSubscription]:
        """Every durable subscription that survived."""
        raise NotImplementedError

    def append(self, destination: str, message: Message) -> None:
        """Take note of a persistent message that came into a queue."""
        raise NotImplementedError

    def mark_delivered(
        self, message: Message, deliveries: int, due: int = 0, holder: int = 0
    ) -> None:
        """Take note of a delivery of a message to ``holder``, or that it came back.

        Args:
            message: it; it tells itself how many of the deliveries have failed.
            deliveries: how many there were, this one included.
            due: when it may be delivered again, in milliseconds since the epoch; 0 = at once.
            holder: `Consumer.number` of who has it; 0 = it came back, and nobody has it.
        """
        raise NotImplementedError

    def remove(self, message: Message) -> None:
        """Take note of a message that left its queue for good."""
        raise NotImplementedError

    def pass_on(self, sequence: int) -> None:
        """Take note that a message will be appended that has the sequence of one that was removed.

        It is for stores in one process: a message of a cluster has a sequence of its own for good.
        """

    def is_written(self, message: Message) -> bool:
        """Whether it is written, so that its body may be let go and loaded again."""
        raise NotImplementedError

    def load(self, messages: Sequence[Message], done: Callback) -> None:
        """Give messages their bodies back, then call ``done``.

        A body that cannot be found stays None.
        """
        raise NotImplementedError

    def keep_queue(self, name: str, headers: Mapping[str, str] | None) -> None:
        """Keep the headers that a queue was set up with; None: it ended, with all its messages."""
        raise NotImplementedError

    def keep_subscription(self, subscription: StoredSubscription) -> None:
        """Keep a durable subscription that was made or changed."""
        raise NotImplementedError

    def drop_subscription(self, name: str) -> None:
        """Delete a durable subscription."""
        raise NotImplementedError

    def ids(self) -> Iterator[StoredId]:
        """Every duplicate id that survived, by sequence. Called once, before anything is told."""
        raise NotImplementedError

    def keep_id(
        self, destination: str, sequence: int, value: bytes, until: int, shown: int = 0
    ) -> None:
        """Keep a duplicate id, in one change with all else that this turn tells; see `StoredId`."""
        raise NotImplementedError

    def drop_ids(self, sequences: Sequence[int]) -> None:
        """Drop duplicate ids that are known no longer, by sequence, whether they are there or not.

        That has time: one that is still there after a crash is only known a little longer.
        """
        raise NotImplementedError

    def sync(self, done: Callback) -> None:
        """Call ``done`` once everything told so far is safe; at once where it is already."""
        raise NotImplementedError

    def end_of_read(self, before: int) -> bool:
        """Make safe what one client waits for, whose bytes were worked through.

        Args:
            before: what `gathered` was before.

        Returns:
            Whether nothing more should be read from the client until `wait` calls: the store is
            behind, and the client told it much.
        """
        raise NotImplementedError

    def wait(self, go_on: Callback) -> None:
        """Call ``go_on`` once the store takes more. Harmless when repeated."""
        raise NotImplementedError

    def forget(self, go_on: Callback) -> None:
        """Do not call ``go_on`` any more."""
        raise NotImplementedError

    def close(self) -> None:
        """Make everything safe and let go of all resources. Who waits is not told any more."""
        raise NotImplementedError
