"""What a store has kept goes back to its queues when a broker starts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from stompy.errors import ProtocolError
from stompy_broker.message import Message
from stompy_broker.routing.duplicate_book import DuplicateBook
from stompy_broker.routing.durable import DurableSubscription
from stompy_broker.routing.interface import RestorableQueue
from stompy_broker.routing.message_group import grouped
from stompy_broker.routing.unique_message import queued_again
from stompy_broker.store.interface import MessageStore

log = logging.getLogger("stompy_broker.router")


def restore_subscriptions(store: MessageStore) -> tuple[list[DurableSubscription], bool]:
    """The durable subscriptions that a store has kept, and whether all of them can be read.

    One that the disk has damaged is passed over: nobody can tell whose it is.

    Raises:
        StoreError: the store is damaged.
    """
    stored, found = store.subscriptions(), []
    for one in stored:
        try:
            found.append(DurableSubscription.from_stored(one))
        except (ProtocolError, KeyError, TypeError, ValueError) as error:
            log.error(
                "the durable subscription %r is damaged (%r): it gets nothing until somebody "
                "subscribes anew; what waited for it stays in the data directory, for "
                "`stompy-broker store export`",
                one.name,
                error,
            )
    return found, len(found) == len(stored)


def restore_messages(
    store: MessageStore,
    queue_of: Callable[[str], RestorableQueue | None],
    *,
    book: DuplicateBook,
    drop_orphans: bool = True,
    held: dict[int, list[Message]] | None = None,
) -> int:
    """Put every message that a store has kept where it was; gives how many there are.

    Args:
        store: it.
        queue_of: gives the queue of a destination; None: it belonged to a durable subscription
            that was deleted.
        book: the duplicate ids of all destinations.
        drop_orphans: whether such messages are dropped; else they stay in the store.
        held: takes what consumers had, by their numbers, who may still be there; None = they have
            gone.

    Raises:
        StoreError: the store is damaged.
    """
    restored = 0
    orphans: list[Message] = []
    queues: dict[str, RestorableQueue | None] = {}
    had: dict[int, list[Message]] = {} if held is None else held
    for destination, stored, due, holder in store.restore():
        # The very object that the queue keeps: it may count as failed.
        message = stored if stored.head.traits.group is None else grouped(stored)
        queue = queues.get(destination)
        if queue is None and destination not in queues:
            queue = queues[destination] = queue_of(destination)
        if queue is None:
            orphans.append(message)
            continue
        message = queued_again(message, queue, book)
        if holder:
            had.setdefault(holder, []).append(message)
        queue.restore(message, due)
        restored += 1
    _drop(store, orphans if drop_orphans else ())
    if held is None:
        for messages in had.values():
            take_back(store, messages)
    return restored


def _drop(store: MessageStore, orphans: Sequence[Message]) -> None:
    if orphans:
        log.warning("%d messages of deleted subscriptions are dropped", len(orphans))
    for message in orphans:
        store.remove(message)


def take_back(store: MessageStore, messages: list[Message]) -> None:
    """A crash cut off a consumer who had these: the first in line counts as failed."""
    first = min(messages, key=lambda message: (-message.head.priority, message.sequence))
    first.count_failure()
    for message in messages:
        store.mark_delivered(message, message.deliveries)
