"""Where a broker has its time from: the system's clocks, and the event loop that it runs on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from stompy_broker.event_loop import run_in_thread
from stompy_broker.routing.group import QueueGroups
from stompy_broker.session.holdings import Holdings
from stompy_broker.store.interface import MessageStore
from stompy_broker.timers import Clock, WallClock


class ClientConnection(Protocol):
    """A connection of a client, as far as the time waits for it."""

    @property
    def has_input(self) -> bool:
        """Whether the client sent something that was not read yet."""
        ...

    @property
    def reads(self) -> bool:
        """Whether what it sends is read."""
        ...

    @property
    def holdings(self) -> Holdings:
        """What the client has of the broker."""
        ...


class Surroundings:
    """What has to come to rest before the time goes on.

    Args:
        connections: of clients.
        groups: of queues, which keep what is told to them.
        store: which may work on a thread of its own.
    """

    def __init__(
        self, connections: Iterable[ClientConnection], groups: QueueGroups, store: MessageStore
    ) -> None:
        self._connections, self._groups, self._store = connections, groups, store

    @property
    def is_working(self) -> bool:
        """Whether a thread works, and tells of it later."""
        return self._store.busy

    @property
    def has_unread(self) -> bool:
        """Whether a client that is being read from sent something that was not read yet."""
        return any(peer.reads and peer.has_input for peer in self._connections)

    @property
    def unsettled(self) -> int:
        """How many deliveries are with clients, and neither acknowledged nor refused."""
        return sum(peer.holdings.unsettled for peer in self._connections)

    def sync(self, done: Callable[[], None]) -> None:
        """Call ``done`` when everything so far is safe."""
        self._groups.sync(done)


class Alarm:
    """A clock that an event loop rings, when it is due.

    Args:
        loop: rings.

    Attributes:
        clock: rings in real time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None
        self.clock = Clock(loop.time, self._set)

    def _set(self, when: float) -> None:
        """Have the clock run at its next deadline, which has moved."""
        self.clear()
        self._handle = self._loop.call_at(when, self.clock.run)

    def clear(self) -> None:
        """Do not ring any more."""
        if self._handle is not None:
            self._handle.cancel()


class RealTime:
    """The time as it passes, and the turns of the event loop.

    Args:
        loop: on which the broker runs.

    Attributes:
        clock: rings.
        wall: gives the time in milliseconds since the epoch.
        soon: calls a function at the next turn of the event loop.
    """

    is_virtual = False
    """Whether somebody else moves it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._alarm = Alarm(loop)
        self.soon: Callable[[Callable[[], None]], object] = loop.call_soon
        self.clock = self._alarm.clock
        self.wall: Callable[[], int] = WallClock(wall_ms, loop.time)

    def in_thread(
        self, work: Callable[[], bool | None], done: Callable[[bool | None], None]
    ) -> None:
        """Run slow work on a thread, and call ``done`` with what it gave; None = it could not."""
        run_in_thread(self._loop, work, done)

    def watch(
        self, connections: Iterable[ClientConnection], groups: QueueGroups, store: MessageStore
    ) -> None:
        """Do nothing: the time waits for nobody."""

    async def end(self) -> None:
        """Ring no more: the broker has ended."""
        self._alarm.clear()


def wall_ms() -> int:
    """Milliseconds since the epoch, by the system's clock."""
    return time.time_ns() // 1_000_000
