"""When a snapshot is made, on both clocks of the broker."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SnapshotTime:
    """When a snapshot is made.

    Attributes:
        now: on the broker's clock, in seconds.
        at: in milliseconds since the epoch.
        tick: its number.
    """

    now: float
    at: int
    tick: int

    def when(self, then: float) -> int:
        """Give a time of the broker's clock in milliseconds since the epoch."""
        return self.at - int((self.now - then) * 1000)
