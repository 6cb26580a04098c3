"""What has gone over connections, counted. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from stompy.records import Record


@dataclass(slots=True)
class Traffic(Record):
    """What a client has sent and received since `connect`, on all its connections."""

    frames_sent: int = 0
    frames_received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    heart_beat_timeouts: int = 0
    """Connections that were given up because the broker was silent."""
