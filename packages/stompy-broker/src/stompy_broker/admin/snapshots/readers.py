"""The rows of readers of streams: who reads, how far, and by how much they are behind."""

from __future__ import annotations

from functools import partial

from stompy.admin.rows import ReaderRow
from stompy_broker.admin.asking import ask
from stompy_broker.admin.cluster_status import ClusterStatus, lives_here
from stompy_broker.admin.tasks import Steps
from stompy_broker.routing.interface import Browse, Browsed, Queue
from stompy_broker.routing.router import Router
from stompy_broker.routing.stream_orders import ReaderFigures, StreamFigures

_AT_ONCE = 100


def stream_figures(queue: Queue, *, ages: bool = False) -> Steps[StreamFigures | None]:
    """Ask a queue for what there is to know of it as a stream; None = it is none.

    Args:
        queue: which one.
        ages: wait for what only the disk knows, by how much readers are behind.
    """
    if not queue.policy.is_stream:
        return None
    browsed: Browsed = yield from ask(partial(queue.browse, Browse(most=0, stream=True, ages=ages)))
    return browsed.stream


def reader_row(queue: Queue, reader: ReaderFigures, broker: str | None = None) -> ReaderRow:
    """Make the row of one reader.

    Args:
        queue: the stream.
        reader: what that tells of it.
        broker: id of this broker in its cluster; None = there is none.
    """
    subscription = f"s-{reader.number}" if reader.number else ""
    return ReaderRow(
        id=f"{queue.destination} {reader.name or subscription}",
        stream=queue.destination,
        name=reader.name,
        subscription=subscription,
        consumers=reader.consumers,
        active=f"s-{reader.active}" if reader.active else "",
        place=reader.place,
        settled=reader.settled,
        kept=reader.kept,
        lag=reader.lag,
        behind_ms=reader.behind_ms,
        unacked=reader.unacked,
        waiting=reader.waiting,
        delivered=reader.delivered,
        redelivered=reader.redelivered,
        acked=reader.acked,
        nacked=reader.nacked,
        selector=reader.selector,
        filters=reader.filters,
        unfiltered=reader.unfiltered,
        broker=broker,
    )


class ReaderSnapshots:
    """Makes rows of the readers of all streams.

    Args:
        router: where the streams are.
        cluster: which the broker belongs to.
    """

    def __init__(self, router: Router, cluster: ClusterStatus | None = None) -> None:
        self._router = router
        self._cluster = cluster

    def rows(self) -> Steps[list[ReaderRow]]:
        """Make rows of all of them, a stream at a time."""
        broker = None if self._cluster is None else self._cluster.broker
        rows: list[ReaderRow] = []
        for number, queue in enumerate(list(self._router.queues.values()), 1):
            if lives_here(self._cluster, queue):
                figures = yield from stream_figures(queue, ages=True)
                if figures is not None:
                    rows += [reader_row(queue, one, broker) for one in figures.readers]
            if number % _AT_ONCE == 0:
                yield None
        return rows
