"""Everything there is to know about the broker at one moment, as rows of `stompy.admin`.

This is what the ``$SYS`` topics are made of, and what the broker's own Python interface gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from stompy.admin.rows import BrokerRow, ClusterRow, Kind, QueueDetail, Row
from stompy.admin.snapshot import row_to_json
from stompy_broker.admin.cluster_status import ClusterStatus, lives_here
from stompy_broker.admin.snapshots.broker import BrokerSnapshots, Listening
from stompy_broker.admin.snapshots.clients import ClientSnapshots
from stompy_broker.admin.snapshots.cluster import cluster_rows
from stompy_broker.admin.snapshots.process import Process
from stompy_broker.admin.snapshots.queues import QueueSnapshots
from stompy_broker.admin.snapshots.readers import ReaderSnapshots
from stompy_broker.admin.snapshots.retained import retained_rows
from stompy_broker.admin.snapshots.schedules import ScheduleSnapshots
from stompy_broker.admin.snapshots.snapshot_time import SnapshotTime
from stompy_broker.admin.snapshots.topics import TopicSnapshots
from stompy_broker.admin.snapshots.totals import ClientTotals
from stompy_broker.admin.tasks import Steps
from stompy_broker.routing.router import Router
from stompy_broker.security.login import Logins
from stompy_broker.session.context import AdminClient


class Snapshots:
    """Makes the rows of every kind, when asked.

    Args:
        router: queues, topics and durable subscriptions.
        sessions: who is logged in, by key.
        logins: who may come in.
        listening: where connections are taken.
        totals: what was counted of clients that are gone.
        process: what the operating system says.
        cluster: which the broker belongs to.

    Attributes:
        broker: makes the row of the broker itself.
        queues: makes rows of queues.
        topics: makes rows of topics.
        clients: makes rows of clients and of what they hold.
        schedules: makes rows of what is to come later.
        readers: makes rows of readers of streams.
        links: gives the members of the cluster to which there is a link.
    """

    def __init__(
        self,
        router: Router,
        sessions: Mapping[str, AdminClient],
        logins: Logins,
        listening: Listening,
        totals: ClientTotals,
        process: Process,
        cluster: ClusterStatus | None = None,
    ) -> None:
        self.broker = BrokerSnapshots(router, sessions, logins, listening, totals, process, cluster)
        self.queues = QueueSnapshots(router, cluster)
        self.topics = TopicSnapshots(router, cluster)
        self.clients = ClientSnapshots(router, sessions, cluster)
        self.schedules = ScheduleSnapshots(router, cluster)
        self.readers = ReaderSnapshots(router, cluster)
        self.links: Callable[[], Iterable[str]] = tuple
        self._cluster = cluster
        self._own_row: tuple[int, BrokerRow] | None = None
        self._router = router
        self._started = router.clock.now()
        self._ticks = 0

    def moment(self) -> SnapshotTime:
        """Give the present time, with a number of its own."""
        self._ticks += 1
        return SnapshotTime(self._router.clock.now(), self._router.wall(), self._ticks)

    @property
    def up_ms(self) -> int:
        """For how long the broker has been running."""
        return int((self._router.clock.now() - self._started) * 1000)

    def rows(self, kind: Kind, name: str, moment: SnapshotTime) -> Steps[Sequence[Row]]:
        """Make the rows of one kind, in small steps.

        Args:
            kind: not `Kind.EVENT`.
            name: of the queue, for `Kind.QUEUE`, which gives one row or none.
            moment: when it is.
        """
        if kind is Kind.BROKER:
            return [(yield from self._broker_row(moment))]
        if kind is Kind.CLUSTER:
            return (yield from self._cluster_rows(moment))
        if kind is Kind.QUEUE:
            yield None
            detail = yield from self.detail(name, moment)
            return [] if detail is None else [detail]
        return (yield from self._many(kind, moment))

    def _many(self, kind: Kind, moment: SnapshotTime) -> Steps[Sequence[Row]]:
        now, clients = moment.now, self.clients
        if kind is Kind.QUEUES:
            return (yield from self.queues.rows(now))
        if kind is Kind.TOPICS:
            return (yield from self.topics.rows(now))
        if kind is Kind.CONNECTIONS:
            return (yield from clients.connections(moment))
        if kind is Kind.SUBSCRIPTIONS:
            return (yield from clients.subscriptions(moment))
        if kind is Kind.DURABLE:
            return (yield from clients.durable(moment))
        if kind is Kind.SCHEDULED:
            return (yield from self.schedules.rows())
        if kind in (Kind.READERS, Kind.RETAINED):
            return (yield from self._readers_or_retained(kind))
        return (yield from clients.transactions(moment))

    def _readers_or_retained(self, kind: Kind) -> Steps[Sequence[Row]]:
        if kind is Kind.READERS:
            return (yield from self.readers.rows())
        broker = None if self._cluster is None else self._cluster.broker
        return (yield from retained_rows(self._router, broker))

    def _broker_row(self, moment: SnapshotTime) -> Steps[BrokerRow]:
        """Make the row of the broker, once for all that is looked at together."""
        known = self._own_row
        if known is None or known[0] != moment.tick:
            row = yield from self.broker.row(moment)
            known = self._own_row = (moment.tick, row)
        return known[1]

    def _cluster_rows(self, moment: SnapshotTime) -> Steps[Sequence[ClusterRow]]:
        if self._cluster is None:
            yield None
            return []
        row = yield from self._broker_row(moment)
        return cluster_rows(self._cluster, row, self._router.queues.values(), self.links())

    def detail(self, name: str, moment: SnapshotTime) -> Steps[QueueDetail | None]:
        """Make the row of one queue with all there is to know; None = there is no such queue."""
        queue = self._router.queues.get(name)
        if queue is None:
            return None
        consumers = yield from self.clients.consumers_of(queue, moment)
        if not lives_here(self._cluster, queue):
            # Its owner tells the rest.
            told = tuple([row_to_json(row) for row in consumers])
            return QueueDetail(name=name, destination=queue.destination, consumers_detail=told)
        return (yield from self.queues.detail(queue, consumers, moment.now))

    def watch(self, kinds: Iterable[Kind]) -> None:
        """Remember what is needed for rows of these kinds, and forget everything else."""
        watched = set(kinds)
        if not watched & {Kind.QUEUES, Kind.QUEUE}:
            self.queues.clear()
        if Kind.TOPICS not in watched:
            self.topics.clear()
        if not watched & {Kind.CONNECTIONS, Kind.SUBSCRIPTIONS, Kind.QUEUE}:
            self.clients.clear()
        if watched & {Kind.BROKER, Kind.CLUSTER}:
            self.broker.watch()
        else:
            self.broker.clear()
