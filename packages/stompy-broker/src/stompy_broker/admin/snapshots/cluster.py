"""The rows of a cluster: its members, its groups of queues, and its NATS servers.

Each broker makes all of them from what it knows. Where several tell theirs, a row is taken from
the one that it is about (`is_own`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from stompy.admin.rows import BrokerRow, ClusterRow
from stompy_broker.admin.cluster_status import (
    ClusterStatus,
    GroupFacts,
    MemberFacts,
    ServerFacts,
    lives_here,
)
from stompy_broker.routing.interface import Queue

MEMBER, GROUP, SERVER = "member", "group", "server"
"""What a row may be of."""


def is_own(row: ClusterRow) -> bool:
    """Whether a row is about the broker that tells it, or about a group that it owns."""
    if row.what == MEMBER:
        return row.name == row.broker
    return row.what == GROUP and row.owner == row.broker


def cluster_rows(
    cluster: ClusterStatus, broker: BrokerRow, queues: Iterable[Queue], links: Iterable[str]
) -> list[ClusterRow]:
    """Make the rows of a cluster.

    Args:
        cluster: it.
        broker: the row of this broker.
        queues: all named queues that it knows.
        links: ids of the members that it has a link to.
    """
    members = cluster.members()
    up = set(links)
    wanted = [one.id for one in members if one.id != cluster.broker and one.state != "lost"]
    rows = []
    for member in members:
        row = _member(member, cluster.broker)
        if member.id == cluster.broker:
            row.links, row.links_wanted = len(up.intersection(wanted)), len(wanted)
            _add_figures(row, broker)
        rows.append(row)
    counts = Counter(queue.group.number for queue in queues if lives_here(cluster, queue))
    rows += [_group(one, counts[one.number], cluster.broker) for one in cluster.groups()]
    rows += [_server(one, cluster.broker) for one in cluster.servers()]
    return rows


def _member(member: MemberFacts, teller: str) -> ClusterRow:
    return ClusterRow(
        id=f"{MEMBER}.{member.id}",
        what=MEMBER,
        name=member.id,
        state=member.state,
        since_at=member.since_at,
        address=member.address,
        version=member.version,
        load=round(member.load, 1),
        broker=teller,
    )


def _add_figures(row: ClusterRow, broker: BrokerRow) -> None:
    """Say of this broker what its own row says."""
    row.version = broker.version
    row.connections = broker.connections
    row.queues = broker.queues
    row.messages_ready = broker.messages_ready
    row.in_msgs, row.out_msgs = broker.in_msgs, broker.out_msgs
    row.cpu_pct, row.rss_bytes = broker.cpu_pct, broker.rss_bytes
    row.alarms = tuple([alarm["name"] for alarm in broker.alarms])


def _group(group: GroupFacts, queues: int, teller: str) -> ClusterRow:
    return ClusterRow(
        id=f"{GROUP}.{group.number}",
        what=GROUP,
        name=str(group.number),
        state=group.state,
        since_at=group.since_at,
        owner=group.owner,
        queues=queues,
        tenure=group.tenure,
        last_sequence=group.last_sequence,
        records=group.records,
        bytes=group.bytes,
        replayed_pct=group.replayed_pct,
        standby=group.standby,
        behind=group.behind,
        broker=teller,
    )


def _server(server: ServerFacts, teller: str) -> ClusterRow:
    return ClusterRow(
        id=f"{SERVER}.{server.name}",
        what=SERVER,
        name=server.name,
        state=server.state,
        address=server.address,
        version=server.version,
        sync=server.sync,
        bytes=server.bytes,
        broker=teller,
    )
