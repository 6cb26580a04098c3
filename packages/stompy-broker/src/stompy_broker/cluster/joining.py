"""What a broker does before it joins a cluster: open the logs, see that they are safe, enter.

It is refused here rather than later, when it would have groups already.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from dataclasses import replace

from stompy_broker.cluster.log import Entry, LogError, Stored, StreamLog, open_logs
from stompy_broker.cluster.membership.roster import Roster
from stompy_broker.cluster.nats.client import NATSClient, NATSSettings
from stompy_broker.cluster.nats.codec import NATSLogin
from stompy_broker.cluster.nats.jetstream import JetStream
from stompy_broker.cluster.nats.sync_check import check_sync
from stompy_broker.cluster.takeover import append_until_told

log = logging.getLogger("stompy_broker.cluster")

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


async def check_servers(
    nats: NATSSettings, login: NATSLogin, names: Collection[str], *, seconds: float
) -> None:
    """Ask servers whether they sync always.

    Args:
        nats: how to connect to them.
        login: of the system account.
        names: of the servers that must.
        seconds: how long they may take to answer.

    Raises:
        NATSError: one does not, or cannot be asked.
    """
    servers = tuple(replace(server, login=login) for server in nats.servers)
    system = NATSClient(replace(nats, servers=servers))
    await system.start()
    try:
        await check_sync(system, names, seconds=seconds)
    finally:
        await system.close()


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
