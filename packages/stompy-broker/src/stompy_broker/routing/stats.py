"""The counters of a queue."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QueueStats:
    """A queue's counters at one moment."""

    name: str
    ready: int
    delayed: int
    unacked: int
    consumers: int
    bytes: int
    published: int
    delivered: int
    acked: int
    nacked: int
    redelivered: int
    expired: int
    dead_lettered: int
    dropped: int
