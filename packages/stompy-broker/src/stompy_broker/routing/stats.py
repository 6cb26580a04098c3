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

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from stompy.display import record_html  # noqa: PLC0415 -- needed in notebooks only

        return record_html(f"/queue/{self.name}", self)
