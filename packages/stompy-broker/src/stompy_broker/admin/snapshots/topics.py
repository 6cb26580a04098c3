"""The rows of topics."""

from __future__ import annotations

from stompy.admin.rows import TopicRow
from stompy_broker.admin.cluster_status import ClusterStatus, lives_here
from stompy_broker.admin.snapshots.queues import AT_ONCE, stamp_time
from stompy_broker.admin.snapshots.rates import Rates
from stompy_broker.admin.snapshots.scheduled_counts import ScheduledCounts
from stompy_broker.admin.tasks import Steps
from stompy_broker.destinations.names import topic_text
from stompy_broker.routing.router import Router


class TopicSnapshots:
    """Makes rows of topics.

    Args:
        router: where they are.
        cluster: which the broker belongs to.
    """

    def __init__(self, router: Router, cluster: ClusterStatus | None = None) -> None:
        self._router = router
        self._cluster = cluster
        self._counts = ScheduledCounts()
        self._broker = None if cluster is None else cluster.broker
        self._rows: dict[str, TopicRow] = {}
        self._rates: Rates[str] = Rates()

    def rows(self, now: float) -> Steps[list[TopicRow]]:
        """Make rows of all topics that were published to lately."""
        rows: dict[str, TopicRow] = {}
        every = list(self._router.queues.values())
        if self._cluster is not None:
            every = [queue for queue in every if lives_here(self._cluster, queue)]
        kept = self._router.retained.messages
        scheduled = yield from self._counts.read(every)
        book = self._router.duplicates
        for number, topic in enumerate(self._router.topics, 1):
            ids = book.find(topic_text(topic.name))
            row = TopicRow(
                name=topic.name,
                subscribers=topic.subscribers,
                durable_subscribers=topic.durables,
                scheduled=scheduled.get(topic_text(topic.name), 0),
                retained=0 if (one := kept.get(topic.name)) is None else one.size,
                in_msgs=topic.published,
                duplicates=0 if ids is None else ids.duplicates,
                duplicate_ids=0 if ids is None else len(ids),
                out_msgs=topic.copies,
                rate=self._rates.look(topic.name, now, topic.published, topic.copies),
                last_in_at=stamp_time(topic.came),
                broker=self._broker,
            )
            rows[topic.name] = row
            if number % AT_ONCE == 0:
                yield None
        self._rates.keep(set(rows))
        return list(rows.values())

    def clear(self) -> None:
        """Forget the rates: nobody looks any more."""
        self._counts.clear()
        self._rates.clear()
