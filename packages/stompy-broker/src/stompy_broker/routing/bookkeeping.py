"""Which accounts a queue has: what is counted of its messages, and what is written down."""

from __future__ import annotations

from collections.abc import Collection

from stompy_broker.routing.accounts import Accounts
from stompy_broker.routing.charged_accounts import ChargedAccounts
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.history_accounts import HistoryAccounts
from stompy_broker.routing.interface import QueueIdentity
from stompy_broker.routing.paging import BodyReader
from stompy_broker.routing.services import Services
from stompy_broker.store.interface import MessageStore


def keeps_history(queue: QueueIdentity) -> bool:
    """Whether what leaves a queue is to be written down."""
    named = not (queue.private or queue.volatile or queue.durable)
    stays = queue.policy.is_stream or queue.policy.non_destructive
    return bool(queue.policy.history) and named and not stays


def keep_accounts(
    queue: QueueIdentity,
    services: Services,
    group: QueueGroup,
    memory: Watermark,
    own: Watermark | None,
    reader: BodyReader,
    consumers: Collection[Consumer],
) -> Accounts:
    """Make the accounts of a queue.

    Args:
        queue: it.
        services: of the broker.
        group: of the queue.
        memory: where what is in it is added up.
        own: makes senders of this queue wait; None = nothing of its own does.
        reader: reads its bodies from disk.
        consumers: of the queue.
    """
    destination, volatile, store = queue.destination, queue.volatile, group.store
    kept = store if store.durable and not volatile and queue.policy.persistent else None
    shares = volatile or queue.durable
    if not (keeps_history(queue) and store.keeps_logs):
        return accounts_for(queue, services, memory, group.disk, kept, own, reader, shares=shares)
    return HistoryAccounts(
        destination,
        memory,
        group.disk,
        kept,
        own,
        reader,
        shares=shares,
        book=services.storage,
        log=services.histories.begin(destination, group, consumers),
    )


def accounts_for(
    queue: QueueIdentity,
    services: Services,
    memory: Watermark,
    disk: Watermark,
    store: MessageStore | None,
    own: Watermark | None,
    reader: BodyReader,
    *,
    shares: bool,
) -> Accounts:
    """Make the accounts of a queue, which ask who sends where that is wanted; see `Accounts`."""
    book, destination = services.storage, queue.destination
    if book is None or queue.volatile:
        return Accounts(destination, memory, disk, store, own, reader, shares=shares)
    return ChargedAccounts(destination, memory, disk, store, own, reader, shares=shares, book=book)
