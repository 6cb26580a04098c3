"""Who holds each durable subscription, and whether they are still there.

A client whose network has changed comes again while the broker still holds its former connection,
which nothing has ended. A tenant of the same ``client-id`` and login that is silent gives way. One
that spoke lately is asked for a sign of life, for who tries again.
"""

from __future__ import annotations

from typing import Protocol

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.security.auth import Principal

IDLE_SECONDS = 60.0
"""For how long who agreed on no heart-beats may be silent."""
LATE = 1.5
"""After how many intervals a client's heart-beat is late."""


class Tenant(Protocol):
    """A client that holds durable subscriptions.

    Attributes:
        principal: who logged in.
    """

    principal: Principal | None

    @property
    def is_silent(self) -> bool:
        """Whether it should have been heard by now."""
        ...

    @property
    def silence(self) -> float:
        """Seconds since it was heard."""
        ...

    def probe(self) -> None:
        """Have the network find out whether it is there."""

    def refuse(self, error: ProtocolError) -> None:
        """End it with an ERROR frame."""


class Tenants:
    """The holders of durable subscriptions that have one subscriber at a time, by their backlog."""

    def __init__(self) -> None:
        self._by_queue: dict[str, Tenant] = {}

    def moves_in(self, queue: str, tenant: Tenant) -> None:
        """A client has subscribed."""
        self._by_queue[queue] = tenant

    def moves_out(self, queue: str, tenant: Tenant) -> None:
        """Its subscription has ended; harmless if it was not there."""
        if self._by_queue.get(queue) is tenant:
            del self._by_queue[queue]

    def make_room(self, queue: str, newcomer: Tenant) -> None:
        """The same client may have come again over another connection: end the former one.

        Raises:
            ProtocolError: that one is alive.
        """
        tenant = self._by_queue.get(queue)
        if tenant is None or tenant is newcomer or not _same_login(tenant, newcomer):
            return  # free, or the router says that it is in use
        silence = tenant.silence
        if not tenant.is_silent:
            tenant.probe()
            raise ProtocolError(
                ErrorCode.SUBSCRIPTION_IN_USE,
                "the durable subscription has a subscriber with this client-id, heard "
                f"{silence:.1f} s ago on another connection",
            )
        tenant.refuse(
            ProtocolError(
                ErrorCode.SUBSCRIPTION_IN_USE,
                f"this client has come again, and here it was silent for {silence:.0f} s",
            )
        )


def _same_login(one: Tenant, other: Tenant) -> bool:
    names = [tenant.principal and tenant.principal.name for tenant in (one, other)]
    return names[0] == names[1]
