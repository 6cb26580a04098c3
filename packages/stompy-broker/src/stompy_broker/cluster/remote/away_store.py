"""The store of a group that another broker owns: safe is what its owner has said is safe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from stompy_broker.cluster.remote.front import Front
from stompy_broker.message import Message
from stompy_broker.store.base import Callback, Restored, StoredId, StoredSubscription, StoreStats
from stompy_broker.store.interface import MessageStore


class AwayStore(MessageStore):
    """Keeps nothing itself. What is told to queues of the group goes to its owner.

    Args:
        front: tells the owner; None = nobody is told yet.
    """

    def __init__(self, front: Front | None = None) -> None:
        self.durable = True
        self.trouble = ""
        self._front = front

    @property
    def last_sequence(self) -> int:
        """Nothing is known at this broker."""
        return 0

    @property
    def gathered(self) -> int:
        """Nothing: the front makes senders wait by itself."""
        return 0

    def stats(self) -> StoreStats:
        """Nothing is kept at this broker."""
        return StoreStats(trouble=self.trouble)

    def restore(self) -> Iterator[Restored]:
        """Nothing was kept at this broker."""
        return iter(())

    def queues(self) -> Mapping[str, Mapping[str, str]]:
        """Nothing was kept at this broker."""
        return {}

    def subscriptions(self) -> list[StoredSubscription]:
        """Nothing was kept at this broker."""
        return []

    def append(self, destination: str, message: Message) -> None:
        """Leave it to the owner, which does so by itself."""

    def mark_delivered(
        self, message: Message, deliveries: int, due: int = 0, holder: int = 0
    ) -> None:
        """Leave it to the owner, which does so by itself."""

    def remove(self, message: Message) -> None:
        """Leave it to the owner, which does so by itself."""

    def is_written(self, message: Message) -> bool:
        """Nothing is written at this broker."""
        return False

    def load(self, messages: Sequence[Message], done: Callback) -> None:
        """Nothing can be read here."""
        done()

    def keep_queue(self, name: str, headers: Mapping[str, str] | None) -> None:
        """Leave it to the owner, which does so by itself."""

    def keep_subscription(self, subscription: StoredSubscription) -> None:
        """Leave it to the owner, which does so by itself."""

    def drop_subscription(self, name: str) -> None:
        """Leave it to the owner, which does so by itself."""

    def ids(self) -> Iterator[StoredId]:
        """Nothing was kept at this broker."""
        return iter(())

    def keep_id(
        self, destination: str, sequence: int, value: bytes, until: int, shown: int = 0
    ) -> None:
        """Leave it to the owner, which does so by itself."""

    def drop_ids(self, sequences: Sequence[int]) -> None:
        """Leave it to the owner, which does so by itself."""

    def sync(self, done: Callback) -> None:
        """Call ``done`` when the owner has said that all that was told is safe."""
        if self._front is None:
            done()
        else:
            self._front.sync(done)

    def end_of_read(self, before: int) -> bool:
        """Nobody has to wait: the front says so by its watermark."""
        return False

    def wait(self, go_on: Callback) -> None:
        """Go on: there is room."""
        go_on()

    def forget(self, go_on: Callback) -> None:
        """Nobody waits for this store."""

    def close(self) -> None:
        """Nothing is open at this broker."""
