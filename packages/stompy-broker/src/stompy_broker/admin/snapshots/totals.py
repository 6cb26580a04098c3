"""What is counted of clients beyond their connections."""

from __future__ import annotations

from dataclasses import dataclass

from stompy_broker.session.context import AdminClient


@dataclass(slots=True)
class ClientTotals:
    """What was counted since the start; of what clients count themselves, those that are gone."""

    connections: int = 0
    auth_failures: int = 0
    in_msgs: int = 0
    in_bytes: int = 0
    out_msgs: int = 0
    out_bytes: int = 0
    watched_msgs: int = 0
    watched_bytes: int = 0
    watched_dropped: int = 0
    commands: int = 0

    def leave(self, session: AdminClient) -> None:
        """Add the counters of a client that goes."""
        self.in_msgs += session.in_msgs
        self.in_bytes += session.in_bytes
        self.out_msgs += session.delivered
        self.out_bytes += session.peer.output.written
