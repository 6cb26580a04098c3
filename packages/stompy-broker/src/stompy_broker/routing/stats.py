"""The counters of a queue."""

from __future__ import annotations

from dataclasses import dataclass, fields

from stompy_broker.routing.interface import QueueFigures


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
    replaced: int

    @classmethod
    def of(cls, name: str, figures: QueueFigures) -> QueueStats:
        """Those of a queue, from its figures."""
        return cls(name, *map(figures.__getattribute__, (field.name for field in fields(cls)[1:])))

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from stompy.notebook import record_html  # noqa: PLC0415 -- needed in notebooks only

        return record_html(f"/queue/{self.name}", self)


@dataclass(slots=True)
class Totals:
    """The counters of several queues added up."""

    published: int = 0
    delivered: int = 0
    acked: int = 0
    nacked: int = 0
    redelivered: int = 0
    expired: int = 0
    dead_lettered: int = 0
    dropped: int = 0

    def add(self, figures: QueueFigures | Totals) -> None:
        """Count what a queue has counted."""
        self.published += figures.published
        self.delivered += figures.delivered
        self.acked += figures.acked
        self.nacked += figures.nacked
        self.redelivered += figures.redelivered
        self.expired += figures.expired
        self.dead_lettered += figures.dead_lettered
        self.dropped += figures.dropped
