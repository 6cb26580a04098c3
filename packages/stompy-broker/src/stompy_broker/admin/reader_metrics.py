"""Metrics of the readers of streams: by how much those with a name are behind."""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter

from stompy_broker.admin.metrics_text import MetricFamily, label
from stompy_broker.admin.snapshots.readers import stream_figures
from stompy_broker.admin.tasks import Steps
from stompy_broker.routing.interface import Queue

_AT_ONCE = 100


def reader_families(queues: Iterable[Queue], most: int) -> Steps[list[MetricFamily]]:
    """Collect what is measured of readers with a name, in small steps.

    Args:
        queues: among which the streams are.
        most: readers that have metrics; those that are furthest behind.
    """
    found: list[tuple[int, str, int | None]] = []
    for number, queue in enumerate(queues, 1):
        figures = yield from stream_figures(queue)
        readers = () if figures is None else figures.readers
        for reader in readers:
            if reader.name:
                labels = f"{label('queue', queue.name)},{label('reader', reader.name)}"
                found.append((reader.lag, labels, reader.behind_ms))
        if number % _AT_ONCE == 0:
            yield None
    if len(found) > most:
        found = sorted(found, key=itemgetter(0), reverse=True)[:most]
    lag, behind = "stompy_stream_lag_messages", "stompy_stream_lag_seconds"
    return [
        MetricFamily(
            lag,
            "gauge",
            "Messages of a stream that a reader with a name has not settled.",
            [f"{lag}{{{labels}}} {messages}\n" for messages, labels, _ in found],
        ),
        MetricFamily(
            behind,
            "gauge",
            "How old the first message is that a reader with a name has not settled; 0 = none is.",
            [f"{behind}{{{labels}}} {ms / 1000}\n" for _, labels, ms in found if ms is not None],
        ),
    ]
