"""A broker as a member of a cluster whose queues have one owner: it waits until it is its turn.

The owner says each half second that it is alive, to whoever listens. When nobody has said so for a
while, or the owner has left in good order, those who wait take the log over, and one of them gets
it. **Nothing is wrong if that is an error**, because a network was slow, say: the log has one
owner all the same, and who was it before is told so. Only how long a takeover takes depends on the
clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from dataclasses import dataclass, replace

from stompy_broker.cluster.log import LogError, StreamLog, open_log
from stompy_broker.cluster.log_record import RecordKind
from stompy_broker.cluster.nats.client import NATSClient, NATSSettings
from stompy_broker.cluster.nats.codec import NATSError, NATSLogin, NATSMessage
from stompy_broker.cluster.nats.jetstream import JetStream
from stompy_broker.cluster.nats.sync_check import check_sync
from stompy_broker.cluster.takeover import LogTakenError, Tenure, take_over

log = logging.getLogger("stompy_broker.cluster")

_GROUP = 0

_TRY_AGAIN = 0.5
"""Seconds after which servers are asked again that have no leader yet."""


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """How a broker takes part.

    Attributes:
        cluster: its name.
        broker: the name of this broker, unique in the cluster.
        nats: how to connect to the servers.
        replicas: on how many servers the log is.
        system: the login of the servers' system account, with which they are asked whether they
            sync; None = they are trusted.
        patience_seconds: how long the servers may need at the start until one of them leads.
        beat_seconds: how often the owner says that it is alive.
        silent_seconds: after how long without that it counts as dead.
    """

    cluster: str
    broker: str
    nats: NATSSettings
    replicas: int = 3
    system: NATSLogin | None = None
    patience_seconds: float = 30.0
    beat_seconds: float = 0.5
    silent_seconds: float = 3.0


class ClusterNode:
    """A broker's part in the cluster.

    Args:
        settings: how it takes part.

    Attributes:
        heard_of: the owner that was heard last; empty = none was.
    """

    def __init__(self, settings: NodeSettings) -> None:
        self.heard_of = ""
        self._settings = settings
        self._client = NATSClient(settings.nats)
        self._jetstream = JetStream(self._client)
        self._log: StreamLog | None = None
        self._subject = f"stompy.{settings.cluster}.alive.{_GROUP}"
        self._heard_at = 0.0
        self._left = asyncio.Event()  # the owner has left, or a new look is worth it
        self._beating: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect, see that the servers sync, and open the log.

        Raises:
            NATSError: no server can be reached, or what they store would not be safe.
            LogError: the log cannot be used.
        """
        self._heard_at = self._now()
        self._client.subscribe(self._subject, self._hear)
        await self._client.start()
        try:
            self._log = await self._open()
            if self._settings.system is not None:
                await self._check_sync(self._settings.system)
        except BaseException:
            await self.close()
            raise

    async def _open(self) -> StreamLog:
        """Open the log as soon as the servers have elected who leads them."""
        settings = self._settings
        deadline = self._now() + settings.patience_seconds
        while True:
            try:
                return await open_log(
                    self._jetstream, settings.cluster, _GROUP, replicas=settings.replicas
                )
            except LogError as error:
                if self._now() > deadline:
                    raise
                log.debug("%s; trying again", error)
                await asyncio.sleep(_TRY_AGAIN)

    async def _check_sync(self, login: NATSLogin) -> None:
        nats = self._settings.nats
        servers = tuple(replace(server, login=login) for server in nats.servers)
        system = NATSClient(replace(nats, servers=servers))
        await system.start()
        try:
            state = await self._jetstream.state(self._opened.stream)
            await check_sync(system, state.servers)
        finally:
            await system.close()

    @property
    def _opened(self) -> StreamLog:
        assert self._log is not None
        return self._log

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    # -- whose turn it is -----------------------------------------------------------------------

    async def own(self, *, accept_damage: bool = False) -> Tenure:
        """Wait until the log has no living owner, and become its owner.

        Raises:
            LogDamagedError: something is missing in the log.
        """
        told = False
        while True:
            try:
                tenure = await self._try(accept_damage)
            except LogTakenError as error:
                log.info("%s", error)
                self._heard_at = self._now()
            except (LogError, NATSError) as error:
                if getattr(error, "gaps", None):
                    raise
                log.warning("%s; trying again", error)
                await asyncio.sleep(_TRY_AGAIN)
            else:
                if tenure is not None:
                    self._begin(tenure)
                    return tenure
                if not told:
                    told = True
                    log.info("waiting: the log of %s has an owner", self._settings.cluster)
            await self._silence()

    async def _try(self, accept_damage: bool) -> Tenure | None:
        """Take the log over if its owner has left or says nothing; None = it is alive."""
        self._left.clear()
        head = await self._opened.last_head()
        if head is not None and head.kind is not RecordKind.LEAVE and not self._is_silent():
            return None
        return await take_over(
            self._opened,
            self._settings.broker,
            after=0 if head is None else head.tenure,
            accept_damage=accept_damage,
        )

    def _is_silent(self) -> bool:
        return self._now() >= self._heard_at + self._settings.silent_seconds

    async def _silence(self) -> None:
        """Wait until the owner has left, or was not heard for long."""
        while not self._is_silent():
            rest = self._heard_at + self._settings.silent_seconds - self._now()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest):
                    await self._left.wait()
                    return

    def _hear(self, message: NATSMessage) -> None:
        try:
            owner, alive = json.loads(message.body)
        except (ValueError, TypeError):
            return
        if owner != self._settings.broker:
            self.heard_of = str(owner)
            self._heard_at = self._now()
            if not alive:
                self._left.set()

    # -- owning ---------------------------------------------------------------------------------

    def _begin(self, tenure: Tenure) -> None:
        whose = f" after {tenure.before}" if tenure.before else ""
        log.info("tenure %d of %s%s has begun", tenure.number, tenure.owner, whose)
        self._beating = asyncio.create_task(self._beat(), name="stompy-cluster-beat")

    async def _beat(self) -> None:
        while True:
            self._say(alive=True)
            await asyncio.sleep(self._settings.beat_seconds)

    def _say(self, *, alive: bool) -> None:
        body = json.dumps([self._settings.broker, alive]).encode()
        self._client.publish(self._subject, body)

    async def fall_silent(self, *, left: bool) -> None:
        """Say no more that it is alive: somebody else owns the log, or it has left.

        Args:
            left: whether the log says so, and the next one need not wait.
        """
        task, self._beating = self._beating, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            if left:
                self._say(alive=False)

    async def close(self) -> None:
        """End it; whoever owned the log should have left."""
        await self.fall_silent(left=False)
        if self._log is not None:
            await self._log.close()
        await self._client.close()
