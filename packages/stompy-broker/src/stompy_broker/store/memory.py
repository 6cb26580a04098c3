"""The store of a broker that runs with ``--memory``: the process is all there is.

It also is the reference of what a store does: made with ``durable=True`` it remembers everything
as a store on disk would, and `restore` gives it to the next broker in the same process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from stompy_broker.message import Message
from stompy_broker.store.base import (
    Callback,
    DeliveryState,
    Restored,
    StoredId,
    StoredSubscription,
    StoreStats,
)
from stompy_broker.store.interface import MessageStore
from stompy_broker.store.memory_logs import MemoryLogs


class MemoryStore(MessageStore):
    """Everything is as safe as it will ever be, at once.

    Args:
        durable: whether to remember messages for `restore`.
    """

    def __init__(self, *, durable: bool = False) -> None:
        self.durable = durable
        self.trouble = ""
        self._messages: dict[int, tuple[str, Message, DeliveryState]] = {}
        self._queues: dict[str, Mapping[str, str]] = {}
        self._subscriptions: dict[str, StoredSubscription] = {}
        self._ids: dict[int, StoredId] = {}
        self._logs = MemoryLogs(self._body)

    @property
    def keeps_logs(self) -> bool:
        """Yes, also where it remembers no messages."""
        return True

    @property
    def logs(self) -> MemoryLogs:
        """Its logs, packed in memory."""
        return self._logs

    def _body(self, sequence: int) -> bytes | None:
        kept = self._messages.get(sequence)
        return None if kept is None else kept[1].body

    @property
    def last_sequence(self) -> int:
        """Of what it remembers."""
        return max(max(self._messages, default=0), max(self._ids, default=0))

    def stats(self) -> StoreStats:
        """Tell nothing: there are no files, and nothing waits."""
        return StoreStats()

    def restore(self) -> Iterator[Restored]:
        """Give the messages that were appended and not removed."""
        for sequence in sorted(self._messages):
            destination, message, (deliveries, failures, due, holder) = self._messages[sequence]
            restored = message.restored(deliveries, failures)
            restored.body = None
            yield Restored(destination, restored, due, holder)

    def queues(self) -> Mapping[str, Mapping[str, str]]:
        """The set-up of queues that was kept."""
        return dict(self._queues)

    def subscriptions(self) -> list[StoredSubscription]:
        """The durable subscriptions that were kept and not dropped."""
        return list(self._subscriptions.values())

    def append(self, destination: str, message: Message) -> None:
        """Remember a message."""
        state = (message.deliveries, message.failures, 0, 0)
        self._messages[message.sequence] = (destination, message, state)

    def mark_delivered(
        self, message: Message, deliveries: int, due: int = 0, holder: int = 0
    ) -> None:
        """Remember how often a message was delivered, and who has it."""
        destination, kept, _ = self._messages[message.sequence]
        state = (deliveries, message.failures, due, holder)
        self._messages[message.sequence] = (destination, kept, state)

    def remove(self, message: Message) -> None:
        """Forget a message."""
        del self._messages[message.sequence]

    def is_written(self, message: Message) -> bool:
        """No: there is no second copy of a body."""
        return False

    def load(self, messages: Sequence[Message], done: Callback) -> None:
        """Give restored messages their bodies back; those of others never leave memory."""
        for message in messages:
            kept = self._messages.get(message.sequence)
            if message.body is None and kept is not None:
                message.body = kept[1].body
        done()

    def keep_queue(self, name: str, headers: Mapping[str, str] | None) -> None:
        """Remember or forget the set-up of a queue."""
        if headers is None:
            self._queues.pop(name, None)
        else:
            self._queues[name] = headers

    def keep_subscription(self, subscription: StoredSubscription) -> None:
        """Remember a durable subscription."""
        self._subscriptions[subscription.name] = subscription

    def drop_subscription(self, name: str) -> None:
        """Forget a durable subscription."""
        del self._subscriptions[name]

    def ids(self) -> Iterator[StoredId]:
        """The duplicate ids that were kept and not dropped."""
        return iter([self._ids[sequence] for sequence in sorted(self._ids)])

    def keep_id(
        self, destination: str, sequence: int, value: bytes, until: int, shown: int = 0
    ) -> None:
        """Remember a duplicate id."""
        self._ids[sequence] = StoredId(destination, sequence, value, until, shown)

    def drop_ids(self, sequences: Sequence[int]) -> None:
        """Forget duplicate ids by sequence."""
        for sequence in sequences:
            self._ids.pop(sequence, None)

    def sync(self, done: Callback) -> None:
        """Call ``done`` at once: there is nothing to wait for."""
        done()

    @property
    def gathered(self) -> int:
        """Nothing: all is safe."""
        return 0

    def end_of_read(self, before: int) -> bool:
        """No: there is nothing to write, so nobody has to wait for it."""
        return False

    def wait(self, go_on: Callback) -> None:
        """Do nothing: nobody is ever told to wait."""

    def forget(self, go_on: Callback) -> None:
        """Do nothing: nobody waits."""

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""
