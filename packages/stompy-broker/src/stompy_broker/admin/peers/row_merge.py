"""The rows of several brokers put together, so that nothing stands twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar, cast

from stompy.admin.json_types import Rate
from stompy.admin.rows import (
    ClusterRow,
    DurableRow,
    Kind,
    QueueDetail,
    QueueRow,
    Row,
    TopicRow,
)
from stompy_broker.admin.snapshots.cluster import MEMBER, is_own

OwnerOf = Callable[[int], str]

_R = TypeVar("_R", QueueRow, DurableRow)


def merge_rows(
    kind: Kind, own: Sequence[Row], others: Sequence[Sequence[Row]], owner_of: OwnerOf
) -> Sequence[Row]:
    """Put rows together.

    Args:
        kind: what they are.
        own: those of the broker that was asked.
        others: those of each of its peers.
        owner_of: gives the id of the broker that owns a group.
    """
    if kind is Kind.BROKER or not others:
        return own
    every = [row for rows in (own, *others) for row in rows]
    if kind is Kind.QUEUES:
        return _by_owner(cast(list[QueueRow], every), owner_of)
    if kind is Kind.TOPICS:
        return _topics(cast(list[TopicRow], every))
    if kind is Kind.DURABLE:
        return _durable(cast(list[DurableRow], every), owner_of)
    if kind is Kind.CLUSTER:
        return _cluster(cast(list[ClusterRow], every))
    if kind is Kind.QUEUE:
        return _details(cast(list[QueueDetail], every), owner_of)
    return every  # ids are unique in a cluster


def _by_owner(rows: Iterable[_R], owner_of: OwnerOf) -> list[_R]:
    """Give each name once: as its owner tells it, for two may while it moves."""
    found: dict[str, _R] = {}
    for row in rows:
        known = found.get(row.name)
        if known is None or _owns(row, owner_of):
            found[row.name] = row
    return list(found.values())


def _owns(row: QueueRow | DurableRow, owner_of: OwnerOf) -> bool:
    return row.group is not None and owner_of(row.group) == row.broker


def _topics(rows: Iterable[TopicRow]) -> list[TopicRow]:
    """Add up: each broker counts what was published at it, and its own subscribers."""
    found: dict[str, TopicRow] = {}
    for row in rows:
        known = found.get(row.name)
        if known is None:
            found[row.name] = row
            continue
        # Every broker knows all durable subscriptions.
        durable = max(known.durable_subscribers, row.durable_subscribers)
        own = [one.subscribers - one.durable_subscribers for one in (known, row)]
        last = [at for at in (known.last_in_at, row.last_in_at) if at is not None]
        found[row.name] = replace(
            known,
            subscribers=durable + sum(own),
            durable_subscribers=durable,
            scheduled=known.scheduled + row.scheduled,
            in_msgs=known.in_msgs + row.in_msgs,
            out_msgs=known.out_msgs + row.out_msgs,
            rate=_sum(known.rate, row.rate),
            last_in_at=max(last, default=None),
            broker=f"{known.broker},{row.broker}",
        )
    return list(found.values())


def _sum(one: Rate | None, other: Rate | None) -> Rate | None:
    if one is None or other is None:
        return one or other
    return {
        "in": one["in"] + other["in"],
        "out": one["out"] + other["out"],
        "ack": one["ack"] + other["ack"],
    }


def _durable(rows: Sequence[DurableRow], owner_of: OwnerOf) -> list[DurableRow]:
    """Give the owner's row, with the subscribers that are at other brokers."""
    connections: dict[str, tuple[str, ...]] = {}
    for row in rows:
        connections[row.name] = (*connections.get(row.name, ()), *row.connections)
    merged = []
    for row in _by_owner(rows, owner_of):
        here = connections[row.name]
        merged.append(row if here == row.connections else _with_connections(row, here))
    return merged


def _with_connections(row: DurableRow, connections: tuple[str, ...]) -> DurableRow:
    return replace(row, connections=connections, online=bool(connections))


def _cluster(rows: Iterable[ClusterRow]) -> list[ClusterRow]:
    """Take each row from the broker that it is about, else from the one that was asked.

    Whether a member is alive is as the asked one sees it: a member that is cut off thinks that it
    is.
    """
    found: dict[str, ClusterRow] = {}
    for row in rows:
        known = found.get(row.id)
        if known is None:
            found[row.id] = row
        elif is_own(row) and not is_own(known):
            if row.what == MEMBER:
                row = replace(row, state=known.state, since_at=known.since_at)  # noqa: PLW2901 -- the same, seen from here
            found[row.id] = row
    return list(found.values())


def _details(rows: Sequence[QueueDetail], owner_of: OwnerOf) -> list[QueueDetail]:
    """Give the owner's row, with the subscriptions at all brokers."""
    if not rows:
        return []
    owner = next((row for row in rows if _owns(row, owner_of)), rows[0])
    consumers = [one for row in rows for one in row.consumers_detail]
    return [replace(owner, consumers_detail=tuple(consumers))]
