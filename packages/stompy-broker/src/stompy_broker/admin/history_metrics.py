"""Metrics of the pasts of queues: how much of them there is."""

from __future__ import annotations

from stompy_broker.admin.metrics_text import MetricFamily, label
from stompy_broker.routing.histories import Histories

_RECORDS, _BYTES = "stompy_history_records", "stompy_history_bytes"


def history_families(histories: Histories, most: int) -> list[MetricFamily]:
    """Give what is measured of pasts.

    Args:
        histories: of the broker.
        most: pasts that have metrics; the largest.
    """
    found = [
        (past.ends.bytes, past.records, past.destination.removeprefix("/queue/"))
        for past in histories
    ]
    if len(found) > most:
        found = sorted(found, reverse=True)[:most]
    every = [(size, records, label("queue", name)) for size, records, name in found]
    return [
        MetricFamily(
            _RECORDS,
            "gauge",
            "Settlements that the history of a queue tells of.",
            [f"{_RECORDS}{{{queue}}} {records}\n" for _, records, queue in every],
        ),
        MetricFamily(
            _BYTES,
            "gauge",
            "Size of the history of a queue.",
            [f"{_BYTES}{{{queue}}} {size}\n" for size, _, queue in every],
        ),
    ]
