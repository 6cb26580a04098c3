"""What a session asks of a connection, and what it has its front do with one. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from stompy.errors import STOMPConnectionError, STOMPError
from stompy.protocol.client import ClientProtocol
from stompy.protocol.frame import STOMPFrame
from stompy.session.address import Address
from stompy.session.dialects import Dialect
from stompy.session.subscriptions import Subscriptions


class AnyConnection(Protocol):
    """What a session asks of a connection, and what it says to it.

    Attributes:
        epoch: its number; the session sets it, like the next two, when CONNECTED has come.
        dialect: the ways of its broker.
        subscriptions: what is owed for its messages.
    """

    epoch: int
    dialect: Dialect
    subscriptions: Subscriptions

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
        """The CONNECTED frame."""
        ...

    @property
    def is_open(self) -> bool:
        """Whether frames can be sent."""
        ...

    @property
    def close_reason(self) -> STOMPError | None:
        """Why it was lost."""
        ...

    def error(self) -> STOMPConnectionError:
        """Make the exception for who uses it after its end."""
        ...


C = TypeVar("C", bound=AnyConnection)


@dataclass(frozen=True, slots=True)
class Write(Generic[C]):
    """A frame to be sent."""

    connection: C
    frame: bytes


@dataclass(frozen=True, slots=True)
class Drop(Generic[C]):
    """A connection to be ended."""

    connection: C
