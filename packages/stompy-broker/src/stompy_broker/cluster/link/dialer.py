"""Keeps the outgoing link to one member: connects, and connects again when it was lost."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from functools import partial

from stompy.session.address import parse_address
from stompy_broker.cluster.link.connection import LinkConnection
from stompy_broker.cluster.link.settings import LinkSettings
from stompy_broker.timers import Clock


class Dialer:
    """The link to one member, or the next attempt at one.

    Args:
        peer: whom to reach.
        address: where it is, as ``host:port``.
        settings: how long is waited.
        clock: for that.
        connect: makes the connection to a peer at a host, for the log known by an address.
        failed: told why it did not come to a connection.

    Attributes:
        peer: whom to reach.
        address: where it is.
        connection: the one that there is, link or not yet.
        trouble: why there is no link; empty = there is one.
        attempts: how many were made since there was one.
    """

    def __init__(
        self,
        peer: str,
        address: str,
        settings: LinkSettings,
        clock: Clock,
        connect: Callable[[str, str, str], LinkConnection],
        failed: Callable[[Dialer, str], None],
    ) -> None:
        self.peer = peer
        self.address = address
        self.connection: LinkConnection | None = None
        self.trouble = "it was not tried yet"
        self.attempts = 0
        self._settings = settings
        self._clock = clock
        self._connect = connect
        self._failed = failed
        self._pause = settings.retry_seconds[0]
        self._since = 0.0
        self._over = False
        self._timer = clock.timer(self.dial)
        self._dialling: asyncio.Task[None] | None = None

    def dial(self) -> None:
        """Begin an attempt, unless one is under way."""
        if not self._over and self.connection is None and self._dialling is None:
            self._dialling = asyncio.create_task(self._dial(), name=f"stompy-link-{self.peer}")

    async def _dial(self) -> None:
        reason = ""
        try:
            text = self.address
            address = parse_address(text if "://" in text else f"stomp://{text}")
            host = address.host
            begin = partial(self._begin, host)
            async with asyncio.timeout(self._settings.connect_seconds):
                await asyncio.get_running_loop().create_connection(begin, host, address.port)
        except TimeoutError:
            reason = f"no connection within {self._settings.connect_seconds:g} s"
        except (OSError, ValueError) as error:
            reason = _words(error)
        except asyncio.CancelledError:
            self._forsake()
            raise
        self._dialling = None
        if reason:
            self._forsake()
            self.failed(reason)
            self.again()
            self._failed(self, reason)

    def _forsake(self) -> None:
        if self.connection is not None:
            self.connection.forsake()

    @property
    def is_dialling(self) -> bool:
        """Whether an attempt is under way."""
        return self._dialling is not None and not self._dialling.done()

    def _begin(self, host: str) -> LinkConnection:
        self.connection = self._connect(self.peer, host, self.address)
        return self.connection

    def opened(self) -> None:
        """Take notice that there is a link."""
        self.trouble = ""
        self.attempts = 0
        self._since = self._clock.now()

    def failed(self, reason: str) -> None:
        """Take notice that there is no link, or no more, and why."""
        shortest, longest = self._settings.retry_seconds
        if not self.trouble and self._clock.now() - self._since > longest:
            self._pause = shortest
        self.trouble = reason
        self.attempts += 1

    def again(self) -> None:
        """Try again after a pause, which grows while no link lasts: nothing is left of the last."""
        self.connection = None
        if not self._over:
            self._timer.set(self._clock.now() + self._pause)
        self._pause = min(self._pause * 2, self._settings.retry_seconds[1])

    def end(self, reason: str) -> None:
        """Try no more, and close what there is."""
        self._over = True
        self._timer.end()
        if self._dialling is not None:
            self._dialling.cancel()
        if self.connection is not None:
            self.connection.close(reason)

    async def ended(self) -> None:
        """Wait until nothing is left of an attempt."""
        if self._dialling is not None:
            await asyncio.wait((self._dialling,))


def _words(error: Exception) -> str:
    """Why a connection was not made, without the address, which is known."""
    if isinstance(error, OSError) and not isinstance(error, socket.gaierror) and error.errno:
        return os.strerror(error.errno)
    return getattr(error, "strerror", None) or str(error)
