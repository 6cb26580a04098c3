"""What both clients tell of their last connection. Pure."""

from __future__ import annotations

import logging
from abc import abstractmethod
from typing import Protocol

from stompy.errors import STOMPConnectionError, STOMPError
from stompy.protocol.client import ClientProtocol
from stompy.protocol.frame import STOMPFrame
from stompy.protocol.headers import Version
from stompy.protocol.heartbeat import HeartBeat
from stompy.session.address import Address

logger = logging.getLogger("stompy")


class AnyLink(Protocol):
    """What is asked of a connection, blocking or not; it may have ended."""

    @property
    def address(self) -> Address:
        """Where the broker is."""
        ...

    @property
    def protocol(self) -> ClientProtocol:
        """The protocol of the connection, with its version."""
        ...

    @property
    def connected(self) -> STOMPFrame:
        """The CONNECTED frame that opened it."""
        ...

    @property
    def close_reason(self) -> STOMPError | None:
        """Why it was lost."""
        ...


def not_connected(link: AnyLink) -> STOMPConnectionError:
    """What to raise to who uses a link that has ended."""
    reason = link.close_reason
    if reason is None:
        return STOMPConnectionError(f"the connection to {link.address} was closed")
    error = STOMPConnectionError(
        f"the connection to {link.address} was lost: {reason}", reason.Frame
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


class ClientInfo:
    """What a client tells of its last connection."""

    @property
    @abstractmethod
    def _link(self) -> AnyLink | None:
        """The last connection's link."""

    @property
    @abstractmethod
    def is_connected(self) -> bool:
        """Whether frames can be sent; false from the moment that the connection ends."""

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
        link = self._link
        return None if link is None else link.connected

    @property
    def broker_address(self) -> tuple[str, int] | None:
        """Host and port of the broker, as they were given to `connect`."""
        link = self._link
        return None if link is None else (link.address.host, link.address.port)

    @property
    def BrokerAddress(self) -> tuple[str, int] | None:  # noqa: N802 -- the manual's name
        """The same as `broker_address`."""
        return self.broker_address

    @property
    def version(self) -> Version | None:
        """The version of STOMP that was agreed with the broker."""
        link = self._link
        return None if link is None else link.protocol.version

    @property
    def session(self) -> str | None:
        """The ``session`` header of CONNECTED."""
        link = self._link
        return None if link is None else link.connected.get("session")

    @property
    def close_reason(self) -> STOMPError | None:
        """Why the connection was lost; None while there is one, and after our own disconnect."""
        link = self._link
        return None if link is None else link.close_reason
