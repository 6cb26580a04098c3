"""The store of a broker that runs with ``--memory``: the process is all there is."""

from __future__ import annotations

from collections.abc import Callable

from stompy_broker.message import Message


class MemoryStore:
    """Keeps nothing beside what the queues hold, so everything is as safe as it will ever be."""

    durable = False

    def append(self, queue: str, message: Message) -> None:
        """Nothing to do."""

    def remove(self, queue: str, message: Message) -> None:
        """Nothing to do."""

    def sync(self, done: Callable[[], None]) -> None:
        """At once."""
        done()

    def close(self) -> None:
        """Nothing to do."""
