"""What a client tells about itself: plain values, without secrets. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from stompy.errors import STOMPException
from stompy.protocol.traffic import Traffic
from stompy.records import Record
from stompy.session.state import ConnectionState


@dataclass(frozen=True, slots=True)
class SubscriptionHealth(Record):
    """How one subscription is."""

    id: str
    destination: str
    active: bool
    """Whether the broker has confirmed it on the connection there is now, or was asked to."""
    received: int
    """Messages that arrived."""
    waiting: int
    """Messages that arrived and were not fetched yet."""
    acked: int
    nacked: int
    stale: int
    """Messages that could not be settled because their connection had ended."""
    handler_errors: int
    """Exceptions that came out of handlers."""
    last_error: BaseException | None
    """The last of those, or why the subscription has ended."""


@dataclass(frozen=True, slots=True)
class ClientHealth(Record):
    """How a client is."""

    state: ConnectionState
    address: str | None
    """The broker's address, without secrets."""
    since: float
    """Seconds for which this has been the state."""
    last_received: float | None
    """Seconds since the last byte from the broker; None without a connection."""
    epoch: int
    """The number of the connection, from 1."""
    attempts: int
    """Rounds that have failed since the connection was lost."""
    last_error: STOMPException | None
    unconfirmed: int
    """Frames that wait for the broker's confirmation."""
    observer_errors: int
    """Exceptions that came out of the state callback."""
    late_replies: int
    """Replies nobody waited for any more."""
    traffic: Traffic
    """What was sent and received since `connect`, CONNECT itself left out; `epoch` says over how
    many connections."""
    subscriptions: tuple[SubscriptionHealth, ...]
    peers: tuple[str, ...] = ()
    """The addresses that brokers told of, without secrets: more to go to when this one is lost."""

    @property
    def ok(self) -> bool:
        """Whether there is a connection and every subscription is active."""
        connected = self.state is ConnectionState.CONNECTED
        return connected and all(one.active for one in self.subscriptions)


NEVER_CONNECTED = ClientHealth(
    state=ConnectionState.DISCONNECTED,
    address=None,
    since=0.0,
    last_received=None,
    epoch=0,
    attempts=0,
    last_error=None,
    unconfirmed=0,
    observer_errors=0,
    late_replies=0,
    traffic=Traffic(),
    subscriptions=(),
)
"""How a client is before its first connection."""
