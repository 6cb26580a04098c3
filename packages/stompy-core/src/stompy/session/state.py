"""The life of a client over all its connections: its states, its epochs, and what made them change.

Pure: the time is handed in. Each connection has a number, its *epoch*; what was begun in one epoch
(a delivery, a transaction, a receipt asked for) means nothing in the next one.

=============  =====================================  ===================================
state          meaning                                goes on to
=============  =====================================  ===================================
disconnected   never connected, lost, or given up     connecting
connecting     the first connection is being made     connected, disconnected, closed
connected      frames can be sent                     reconnecting, disconnected, closed
reconnecting   lost, and being made again             connected, disconnected, closed
closed         ended by the application               connecting
=============  =====================================  ===================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from stompy.errors import STOMPException

FORGOTTEN = (
    "nobody refers to the client any more, so it has closed its connection; "
    "keep the client for as long as its subscriptions"
)
"""Why a client that nobody has disconnected came to its end."""


class ConnectionState(StrEnum):
    """Where a client stands."""

    DISCONNECTED = "disconnected"
    """Never connected; or the connection was lost and nobody makes it again."""
    CONNECTING = "connecting"
    """The first connection is being made."""
    CONNECTED = "connected"
    """The broker has answered, and all subscriptions are back that it gives for now."""
    RECONNECTING = "reconnecting"
    """The connection was lost and is being made again."""
    CLOSED = "closed"
    """The application has ended it."""


_MOVES: Mapping[ConnectionState, frozenset[ConnectionState]] = {
    ConnectionState.DISCONNECTED: frozenset((ConnectionState.CONNECTING,)),
    ConnectionState.CONNECTING: frozenset(
        (ConnectionState.CONNECTED, ConnectionState.DISCONNECTED, ConnectionState.CLOSED)
    ),
    ConnectionState.CONNECTED: frozenset(
        (ConnectionState.RECONNECTING, ConnectionState.DISCONNECTED, ConnectionState.CLOSED)
    ),
    ConnectionState.RECONNECTING: frozenset(
        (ConnectionState.CONNECTED, ConnectionState.DISCONNECTED, ConnectionState.CLOSED)
    ),
    ConnectionState.CLOSED: frozenset((ConnectionState.CONNECTING,)),
}


@dataclass(frozen=True, slots=True)
class StateChange:
    """One change of state, as observers get it."""

    state: ConnectionState
    """The new state."""
    previous: ConnectionState
    address: str | None
    """The broker's address, without secrets; of the last one when there is no connection."""
    epoch: int
    """The number of the connection, from 1."""
    error: STOMPException | None
    """Why the connection was lost, or could not be made."""
    lasted: float
    """For how many seconds the previous state was the state."""


class Lifecycle:
    """Keeps the state; every change goes through `move`.

    Attributes:
        state: where the client stands.
        since: when that began.
        epoch: the number of the last connection; 0 before the first.
        address: where it leads or led.
        attempts: rounds that have failed since the connection was lost.
        last_error: the last reason for a loss or a failed round.
    """

    def __init__(self, now: float) -> None:
        self.state = ConnectionState.DISCONNECTED
        self.since = now
        self.epoch = 0
        self.address: str | None = None
        self.attempts = 0
        self.last_error: STOMPException | None = None

    def move(
        self, state: ConnectionState, now: float, error: STOMPException | None = None
    ) -> StateChange | None:
        """Go to a state.

        Returns:
            The change, or None when this is the state already.

        Raises:
            RuntimeError: such a change cannot be: a fault of the library.
        """
        previous = self.state
        if state is previous:
            return None
        if state not in _MOVES[previous]:
            raise RuntimeError(f"a client cannot go from {previous} to {state}")
        lasted = now - self.since
        self.state = state
        self.since = now
        if error is not None:
            self.last_error = error
        if state is ConnectionState.CONNECTED:
            self.attempts = 0
        return StateChange(state, previous, self.address, self.epoch, error, lasted)

    def opened(self, address: str) -> int:
        """Begin an epoch: a broker has answered CONNECTED. Gives its number."""
        self.epoch += 1
        self.address = address
        return self.epoch

    def round_failed(self, error: STOMPException) -> None:
        """Count a round in which no address could be connected to."""
        self.attempts += 1
        self.last_error = error
