"""What both clients tell of their last connection. Pure."""

from __future__ import annotations

import logging
from abc import abstractmethod
from typing import ClassVar, Generic, Protocol, TypeVar

from stompy.errors import STOMPConnectionError, STOMPError
from stompy.protocol.frame import STOMPFrame
from stompy.protocol.headers import Version
from stompy.protocol.heartbeat import HeartBeat
from stompy.session.address import Address
from stompy.session.effects import AnyConnection
from stompy.session.health import NEVER_CONNECTED, ClientHealth
from stompy.session.state import ConnectionState

logger = logging.getLogger("stompy")


class AnySession(Protocol):
    """What is asked of a session.

    Attributes:
        has_connection: whether there ever was one.
    """

    has_connection: bool

    @property
    def connection(self) -> AnyConnection:
        """The last connection, if there ever was one."""
        ...

    @property
    def is_usable(self) -> bool:
        """Whether frames can be sent."""
        ...

    def health(self) -> ClientHealth:
        """How the client and each of its subscriptions are."""
        ...


S = TypeVar("S", bound=AnySession)


def not_connected(connection: AnyConnection) -> STOMPConnectionError:
    """What to raise to who uses a connection that has ended."""
    reason = connection.close_reason
    if reason is None:
        return STOMPConnectionError(f"the connection to {connection.address} was closed")
    error = STOMPConnectionError(
        f"the connection to {connection.address} was lost: {reason}", reason.Frame
    )
    error.__cause__ = reason
    return error


def stood_still(heart_beat: HeartBeat | None, address: Address, what: str, now: float) -> None:
    """Say so if we ourselves could not keep the heart-beats that were agreed on."""
    late = 0.0 if heart_beat is None else heart_beat.lateness(now)
    if late:
        logger.warning(
            "%s stood still for %.1f s, and heart-beats to %s came late by as much: "
            "the broker may take the connection for dead",
            what,
            late,
            address,
        )


class ClientInfo(Generic[S]):
    """What a client tells of its last connection."""

    _shown_as: ClassVar[str]
    _session: S | None

    @property
    def _connection(self) -> AnyConnection | None:
        session = self._session
        return session.connection if session is not None and session.has_connection else None

    @property
    @abstractmethod
    def state(self) -> ConnectionState:
        """Where the client stands."""

    @property
    def is_connected(self) -> bool:
        """Whether frames can be sent; false from the moment that the connection ends."""
        return self._session is not None and self._session.is_usable

    @property
    def Connected(self) -> bool:  # noqa: N802 -- the manual's name
        """The same as `is_connected`."""
        return self.is_connected

    @property
    def connected(self) -> STOMPFrame | None:
        """The CONNECTED frame while there is a connection, None otherwise."""
        return self.connected_frame if self.is_connected else None

    @property
    def connected_frame(self) -> STOMPFrame | None:
        """The CONNECTED frame of the last connection, also after its end."""
        connection = self._connection
        return None if connection is None else connection.connected

    @property
    def broker_address(self) -> tuple[str, int] | None:
        """Host and port of the broker, as they were given to `connect`."""
        connection = self._connection
        return None if connection is None else (connection.address.host, connection.address.port)

    @property
    def BrokerAddress(self) -> tuple[str, int] | None:  # noqa: N802 -- the manual's name
        """The same as `broker_address`."""
        return self.broker_address

    @property
    def version(self) -> Version | None:
        """The version of STOMP that was agreed with the broker."""
        connection = self._connection
        return None if connection is None else connection.protocol.version

    @property
    def session(self) -> str | None:
        """The ``session`` header of CONNECTED."""
        connection = self._connection
        return None if connection is None else connection.connected.get("session")

    @property
    def close_reason(self) -> STOMPError | None:
        """Why the connection was lost; None while there is one, and after our own disconnect."""
        connection = self._connection
        return None if connection is None else connection.close_reason

    def health(self) -> ClientHealth:
        """How the client and each of its subscriptions are."""
        return NEVER_CONNECTED if self._session is None else self._session.health()

    def __repr__(self) -> str:
        """Address, version and state."""
        connection = self._connection
        if connection is None:
            return f"<{self._shown_as} not connected>"
        reason = connection.close_reason
        ended = f"lost: {reason}" if reason else "closed"
        state = self.state.value if connection.is_open else ended
        return f"<{self._shown_as} {connection.address} STOMP {self.version} {state}>"
