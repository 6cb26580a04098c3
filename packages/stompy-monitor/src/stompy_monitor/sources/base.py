"""What the screens know of where their data comes from: a broker, or a recording of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from stompy.admin import Reply, Request, Role


class Phase(StrEnum):
    """How it stands with the connection."""

    CONNECTING = "connecting"
    """Never connected so far; trying."""
    LIVE = "live"
    """Connected, with the right to look."""
    LOST = "lost"
    """Was connected; trying again."""
    REFUSED = "refused"
    """The broker refused the login. Not tried again by itself: that would lock accounts."""
    FORBIDDEN = "forbidden"
    """Logged in, without the right to see ``$SYS``."""
    FOREIGN = "foreign"
    """A broker that has no admin topics."""
    REPLAY = "replay"
    """A recording."""


@dataclass(slots=True)
class ConnectionStatus:
    """The connection as the screens show it.

    Attributes:
        phase: how it stands.
        url: where to, without secrets.
        words: what the broker or the system said last, made safe.
        attempt: how many times it was tried in vain since the last success.
        retry_at: when the next attempt is due, on the clock of the event loop.
        lost_at: when the connection ended, in epoch milliseconds.
        role: what the broker lets us do.
        server: the server header of CONNECTED.
        user: the login.
        latest_at: when the last message came, on the clock of the event loop.
    """

    url: str = ""
    phase: Phase = Phase.CONNECTING
    words: str = ""
    attempt: int = 0
    retry_at: float = 0
    lost_at: float | None = None
    role: Role = Role.NONE
    server: str = ""
    user: str = ""
    latest_at: float | None = None


class Source(Protocol):
    """Where data come from. It applies them to the model that it was given."""

    status: ConnectionStatus

    async def run(self) -> None:
        """Bring data into the model until cancelled."""

    async def ask(self, request: Request, seconds: float = 10.0) -> Reply:
        """Send a command and wait for its last answer.

        Raises:
            OutcomeUnknown: no answer came.
        """

    def retry_now(self) -> None:
        """Do not wait any longer for the next attempt."""

    def log_in(self, login: str, passcode: str) -> None:
        """Try again with another login."""


@dataclass(frozen=True, slots=True)
class Target:
    """The broker to connect to.

    Attributes:
        url: one URL, which may hold login and passcode, or several after ``failover:``.
        login, passcode: win over those in the URL.
        options: more arguments of `stompy.aio.connect`.
    """

    url: str
    login: str | None = None
    passcode: str | None = field(default=None, repr=False)
    vhost: str | None = None
    timeout: float = 10.0
    options: Mapping[str, object] = field(default_factory=dict, repr=False)
