"""What a broker does before it joins a cluster: open the logs, see that they are safe, enter.

It is refused here rather than later, when it would have groups already.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from dataclasses import replace

from stompy_broker.cluster.log.log import Entry, LogError, Stored, StreamLog, open_logs
from stompy_broker.cluster.log.takeover import append_until_told
from stompy_broker.cluster.membership.roster import Roster
from stompy_broker.cluster.nats.client import NATSClient, NATSSettings
from stompy_broker.cluster.nats.codec import NATSError, NATSLogin
from stompy_broker.cluster.nats.jetstream import JetStream
from stompy_broker.cluster.nats.sync_check import check_sync

log = logging.getLogger("stompy_broker.cluster")

_CHECK_SECONDS = 15.0
"""After how long servers are asked again that were away."""

_TRY_AGAIN = 0.5
"""Seconds after which servers are asked again that have no leader yet."""

_HINT = (
    "most of the NATS servers have to be there and reach each other: are they started, are their "
    "ports open to each other, and are secret and peers the same everywhere?"
)


async def open_when_led(
    jetstream: JetStream, cluster: str, names: Sequence[str], *, replicas: int, seconds: float
) -> list[StreamLog]:
    """Open logs as soon as the servers have elected who leads them.

    Args:
        jetstream: where they are.
        cluster: its name.
        names: of the logs.
        replicas: on how many servers they are.
        seconds: how long the servers may need.

    Raises:
        LogError: they cannot be used in that time.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    level = logging.INFO  # once; people wonder what it waits for
    while True:
        try:
            return await open_logs(jetstream, cluster, names, replicas=replicas)
        except LogError as error:
            if loop.time() > deadline:
                raise LogError(f"{error}; {_HINT}") from None
            log.log(level, "waits until most of the NATS servers are there: %s", error)
            level = logging.DEBUG
            await asyncio.sleep(_TRY_AGAIN)


class SyncChecks:
    """Asks the servers that keep a stream whether they sync always, until all have said so.

    Args:
        jetstream: knows which servers these are.
        stream: its name.
        nats: how to connect to them.
        login: of the system account.
        seconds: how long most of them may take to answer.

    Attributes:
        unheard: those that have not said so yet, because they are away.
    """

    def __init__(
        self,
        jetstream: JetStream,
        stream: str,
        nats: NATSSettings,
        login: NATSLogin,
        seconds: float,
    ) -> None:
        self.unheard: frozenset[str] = frozenset()
        self._jetstream = jetstream
        self._stream = stream
        servers = tuple(replace(server, login=login) for server in nats.servers)
        self._nats = replace(nats, servers=servers)
        self._seconds = seconds

    async def ask(self) -> None:
        """Ask all of them.

        Raises:
            NATSError: one does not sync always, or most of them cannot be asked.
        """
        state = await self._jetstream.state(self._stream)
        system = NATSClient(self._nats)
        await system.start()
        try:
            self.unheard = await check_sync(system, state.servers, seconds=self._seconds)
        finally:
            await system.close()

    async def ask_again(self) -> None:
        """Ask again and again, until those that were away are back and say so."""
        names, told = ", ".join(sorted(self.unheard)), ""
        log.warning("nobody can tell yet whether the NATS servers %s sync: they are away", names)
        while self.unheard:
            await asyncio.sleep(_CHECK_SECONDS)
            try:
                await self.ask()
            except NATSError as error:
                if str(error) != told:
                    told = str(error)
                    log.error("%s", error)


async def enter(
    roster_log: StreamLog, broker: str, layout: str, alive: Collection[str], *, seconds: float
) -> int:
    """Enter a broker into the roster, unless it is there already; gives its number there.

    Servers that know the log may still have nobody who leads it, when most of them have just come
    back; so it is tried again.

    Args:
        roster_log: where the roster is.
        broker: the id of the broker.
        layout: how it groups queues.
        alive: who may not lose its place to it.
        seconds: how long the servers may need.

    Raises:
        RosterError: the cluster groups queues otherwise, or has no place for it.
        LogError: the roster cannot be read in that time.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        last = await _last(roster_log, deadline)
        old = Roster(layout) if last is None else Roster.read(last.octets)
        roster = old.enter(broker, layout, alive)
        expected = 0 if last is None else last.place
        if roster is old or isinstance(
            await append_until_told(roster_log, [roster.write()], expected), Stored
        ):
            return roster.home(broker)


async def _last(roster_log: StreamLog, deadline: float) -> Entry | None:
    while True:
        try:
            return await roster_log.last()
        except LogError as error:
            if asyncio.get_running_loop().time() > deadline:
                raise
            log.debug("%s; trying again", error)
            await asyncio.sleep(_TRY_AGAIN)
