"""What the rows of a member of a cluster say, and that those of others need not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.cluster_status import MemberBroker, ToldCluster
from tests.support.looping import looped, soon

import stompy.aio
from stompy.admin.rows import ClusterRow, ConnectionRow, Kind, QueueRow
from stompy.admin.snapshot import cluster_fields, row_to_json
from stompy_broker.admin.cluster_status import GroupFacts, MemberFacts, ServerFacts
from stompy_broker.admin.snapshots.cluster import is_own
from stompy_broker.config import load_config


@asynccontextmanager
async def member() -> AsyncIterator[MemberBroker]:
    cluster = ToldCluster("ann", {0: "ann", 1: "bob", 2: ""})
    cluster.known = [MemberFacts("ann", version="1"), MemberFacts("bob", load=12.34)]
    cluster.nats = [ServerFacts("n1", "leader", sync="always", bytes=7)]
    cluster.told[1] = GroupFacts(1, "bob", "owned", 4, 100, 90, 1000)
    config = load_config(overrides={"listen": {"port": 0}, "store": {"data": ""}})
    async with MemberBroker(config, cluster) as broker:
        yield broker


@looped
async def test_members_groups_and_servers_are_rows() -> None:
    async with member() as ann, await stompy.aio.connect(ann.url) as client:
        await client.message("/queue/a", "1")
        await soon(lambda: ann._router.queues, "the queue")
        found = await ann.queries.snapshot(Kind.CLUSTER)
        rows = {row.id: row for row in found if isinstance(row, ClusterRow)}
    assert list(rows) == [
        "member.ann",
        "member.bob",
        "group.0",
        "group.1",
        "group.2",
        "server.n1",
    ]
    own, other = rows["member.ann"], rows["member.bob"]
    assert (own.links, own.links_wanted, own.connections, own.queues) == (0, 1, 1, 1)
    assert own.messages_ready == 1
    assert (other.load, other.connections, other.links_wanted) == (12.3, 0, 0)
    group = rows["group.1"]
    assert (group.owner, group.tenure, group.last_sequence, group.records) == ("bob", 4, 100, 90)
    assert [name for name, row in rows.items() if is_own(row)] == [
        "member.ann",
        "group.0",
    ]


@looped
async def test_rows_name_broker_and_group() -> None:
    async with member() as ann, await stompy.aio.connect(ann.url) as client:
        await client.message("/queue/a", "1")
        await soon(lambda: ann._router.queues, "the queue")
        (queue,) = await ann.queries.snapshot(Kind.QUEUES)
        (connection,) = await ann.queries.snapshot(Kind.CONNECTIONS)
    assert isinstance(queue, QueueRow)
    assert (queue.broker, queue.group) == ("ann", 0)
    assert isinstance(connection, ConnectionRow)
    assert connection.broker == "ann"
    assert connection.id.endswith("@ann")


@looped
async def test_a_queue_that_another_broker_owns_is_not_in_the_rows() -> None:
    async with member() as ann, await stompy.aio.connect(ann.url) as client:
        await client.message("/queue/a", "1")
        await soon(lambda: ann._router.queues, "the queue")
        ann.cluster.owners[0] = "bob"
        assert not await ann.queries.snapshot(Kind.QUEUES)
        (row,) = await ann.queries.snapshot(Kind.BROKER)
        assert row_to_json(row)["queues"] == 0
        (detail,) = await ann.queries.snapshot(Kind.QUEUE, "a")
        assert row_to_json(detail)["total"] == 0


def test_without_a_cluster_no_row_is_longer() -> None:
    for kind in Kind:
        assert cluster_fields(kind), kind
    assert not row_to_json(QueueRow(name="a")).keys() & {"broker", "group"}
