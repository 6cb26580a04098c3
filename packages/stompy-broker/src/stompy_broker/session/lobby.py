"""What the sessions of one broker share, and what a session needs from its connection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from stompy.codec import HeadCache
from stompy.errors import ErrorCode
from stompy.headers import ALL_VERSIONS, Version
from stompy.limits import Limits
from stompy_broker.access import Access
from stompy_broker.clock import Clock
from stompy_broker.login import Logins
from stompy_broker.routing.router import Router
from stompy_broker.session.outlet import Outlet


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What all sessions of a broker have in common; times in seconds, sizes in bytes."""

    server: str
    limits: Limits
    heart_beat: tuple[int, int]
    heart_beat_grace: float
    login_timeout: float
    max_subscriptions: int
    max_transactions: int
    max_transaction_frames: int
    max_transaction_bytes: int
    prefetch_client: int
    prefetch_individual: int


class Lobby:
    """What sessions of one broker share: settings, router, logins, access, parsed header blocks."""

    def __init__(
        self,
        settings: SessionSettings,
        router: Router,
        clock: Clock,
        logins: Logins,
        access: Access,
        new_token: Callable[[], str],
    ) -> None:
        self.settings = settings
        self.router = router
        self.clock = clock
        self.logins = logins
        self.access = access
        self.new_token = new_token
        self.caches: Mapping[Version, HeadCache] = {v: HeadCache() for v in ALL_VERSIONS}


class Peer(Protocol):
    """What a session needs from its connection.

    Attributes:
        address: who is there, for the log.
        host: the IP address.
        certificate: the login that the client's certificate stands for.
        since: when it connected.
        outlet: where the session writes.
    """

    address: str
    host: str
    certificate: str | None
    since: float
    outlet: Outlet

    @property
    def has_left(self) -> bool:
        """Whether the client has closed its side, as far as that can be seen without reading."""
        ...

    def pause(self) -> None:
        """Read no more for now."""
        ...

    def resume(self) -> None:
        """Read again."""
        ...

    def close(self, reason: ErrorCode | None = None) -> None:
        """Write what waits, then close gracefully; the reason is None when all is well."""
        ...
