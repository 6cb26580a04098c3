"""A broker put together from its parts, started and stopped. No rule about messages is here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from stompy.errors import ErrorCode, ProtocolError
from stompy.frame import STOMPFrame
from stompy.rows import Rows
from stompy_broker.auth import ANONYMOUS, Anyone, Authenticator, Users
from stompy_broker.clock import Clock
from stompy_broker.config import BrokerConfig
from stompy_broker.message import Message
from stompy_broker.policy import Policies
from stompy_broker.routing.router import Router
from stompy_broker.routing.stats import QueueStats
from stompy_broker.session.holdings import Holdings
from stompy_broker.session.lobby import Lobby, SessionSettings
from stompy_broker.store.base import MessageStore
from stompy_broker.store.memory import MemoryStore
from stompy_broker.store.sqlite import SQLiteStore
from stompy_broker.version import __version__
from stompy_broker.wire.connection import Connection, Flusher

log = logging.getLogger("stompy_broker")

_GOODBYE = ProtocolError(ErrorCode.SHUTTING_DOWN, "the broker is stopping")
_TOO_MANY = ProtocolError(ErrorCode.LIMIT_EXCEEDED, "the broker has all the connections it takes")


class Broker:
    """A message broker in the running event loop.

    Used as ``async with Broker() as broker``, or with `start` and `stop`.

    Args:
        config: the settings; None for the defaults.

    Attributes:
        config: the settings.
        host: where it listens.
        port: where it listens, once started.
    """

    def __init__(self, config: BrokerConfig | None = None) -> None:
        self.config = config or BrokerConfig()
        self.host = self.config.listen.host
        self.port = self.config.listen.port
        self._connections: dict[Connection, None] = {}
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._all_gone = asyncio.Event()

    @property
    def url(self) -> str:
        """What clients connect to."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "") else self.host
        host = "::1" if host == "::" else host
        return f"stomp://[{host}]:{self.port}" if ":" in host else f"stomp://{host}:{self.port}"

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    def queues(self) -> Rows[QueueStats]:
        """The counters of all queues, by name."""
        rows: Rows[QueueStats] = Rows()
        for queue in sorted(self._router, key=lambda queue: queue.name):
            queue.stats(rows.append)
        return rows

    def holdings(self) -> list[Holdings]:
        """What each client has of us: subscriptions, unsettled deliveries, open transactions."""
        return [connection.holdings for connection in self._connections]

    @property
    def has_input(self) -> bool:
        """Whether any client sent something that was not read yet."""
        return any(connection.has_input for connection in self._connections)

    async def browse(self, queue: str) -> list[STOMPFrame]:
        """The messages that wait in a queue, as consumers would get them, next one first.

        Args:
            queue: its name, with or without ``/queue/``.

        Returns:
            MESSAGE frames; none if there is no such queue.
        """
        found = self._router.queues.get(queue.removeprefix("/queue/"))
        if found is None:
            return []
        copies = [message.restored(message.deliveries) for message in found.browse()]
        unread = [copy for copy in copies if copy.body is None]
        if unread:
            read = asyncio.Event()
            self._store.load(unread, read.set)
            await read.wait()
        # What has no body now was settled meanwhile.
        return [copy.frame(found.destination) for copy in copies if copy.body is not None]

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address cannot be bound to.
            StoreError: the data directory cannot be used.
        """
        config = self.config
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._clock = Clock(loop.time, self._wake)
        self._flusher = Flusher(loop)
        self._store = self._open_store()
        self._router = Router(
            self._clock,
            _wall_ms,
            self._store,
            Policies(config.policy),
            memory_mark=config.limits.memory,
            disk_mark=config.limits.disk,
            idle_queue_seconds=config.times.idle_queue,
        )
        if config.store.on_failure == "refuse":
            self._router.refuse_when_stalled()
        try:
            restored = self._router.restore()
            if restored:
                log.info("%d messages restored", restored)
            self._lobby = Lobby(
                self._session_settings(), self._router, self._clock, self._authenticator(), _token
            )
            self._server = await loop.create_server(
                self._new_connection, self.host, self.port, backlog=config.listen.backlog
            )
        except BaseException:
            self._store.close()
            raise
        self.port = self._server.sockets[0].getsockname()[1]
        log.info("listening on %s", self.url)

    async def stop(self) -> None:
        """Stop accepting, wait for outstanding acknowledgements, say goodbye, close.

        Harmless when repeated.
        """
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for connection in self._connections:
            connection.stop_deliveries()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.config.times.shutdown):
                await self._all_settled()
                await self._all_safe()
        for connection in list(self._connections):
            connection.refuse(_GOODBYE)
        if self._connections:
            # Every connection cuts itself off after its linger time.
            self._all_gone.clear()
            await self._all_gone.wait()
        self._store.close()
        if self._timer is not None:
            self._timer.cancel()
        log.info("stopped")

    async def _all_settled(self) -> None:
        # Polling, so that settling a message need not know that somebody waits for the last one.
        while any(connection.owes for connection in self._connections):  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    async def _all_safe(self) -> None:
        """Receipts that are owed can be given before the goodbye."""
        safe = asyncio.Event()
        self._store.sync(safe.set)
        await safe.wait()

    def abort(self) -> None:
        """Stop without waiting for anybody: the next `stop` finds nobody to wait for."""
        for connection in list(self._connections):
            connection.abort()

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop."""
        await self.stop()

    # -- parts ------------------------------------------------------------------------------

    def _open_store(self) -> MessageStore:
        directory = self.config.store.data
        if not directory:
            return MemoryStore()
        return SQLiteStore(
            Path(directory),
            self._clock,
            self._loop.call_soon,
            self._loop.call_soon_threadsafe,
            written=self._on_disk,
            troubled=self._store_troubled,
            disk_free=self.config.limits.disk_free,
            released=self._flusher.flush,
        )

    # The store exists before the router, so it cannot be given the router's own methods.

    def _on_disk(self, messages: Iterable[Message]) -> None:
        self._router.on_disk(messages)

    def _store_troubled(self, trouble: bool) -> None:
        self._router.store_troubled(trouble)

    def _session_settings(self) -> SessionSettings:
        config = self.config
        return SessionSettings(
            server=f"stompy-broker/{__version__}" if config.security.show_server else "",
            limits=config.frame_limits(),
            heart_beat=config.times.heart_beat,
            heart_beat_grace=config.times.heart_beat_grace,
            login_timeout=config.times.login,
            max_subscriptions=config.limits.subscriptions,
            max_transactions=config.limits.transactions,
            max_transaction_frames=config.limits.transaction_frames,
            max_transaction_bytes=config.limits.transaction_bytes,
            prefetch_client=config.prefetch.client,
            prefetch_individual=config.prefetch.client_individual,
        )

    def _authenticator(self) -> Authenticator:
        config = self.config
        if not config.users:
            return Anyone(config.role_of(ANONYMOUS))
        return Users(
            config.users,
            anonymous=config.anonymous,
            role_of=config.role_of,
            beside=self._beside,
        )

    def _beside(self, work: Callable[[], bool], done: Callable[[bool], None]) -> None:
        """Run slow work on a thread; call back on the loop."""
        future = self._loop.run_in_executor(None, work)
        future.add_done_callback(lambda f: None if f.cancelled() else done(f.result()))

    def _new_connection(self) -> Connection:
        connection = Connection(
            self._lobby,
            self._flusher,
            self._clock,
            output_mark=self.config.limits.output,
            linger=self.config.times.linger,
            closed=self._connection_closed,
            refusal=_TOO_MANY if self.connections >= self.config.limits.connections else None,
        )
        self._connections[connection] = None
        return connection

    def _connection_closed(self, connection: Connection) -> None:
        self._connections.pop(connection, None)
        if not self._connections:
            self._all_gone.set()

    def _wake(self, when: float) -> None:
        """The clock's next deadline has moved."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._clock.run)

    def __repr__(self) -> str:
        """Where it listens, and how many are connected."""
        return f"<Broker {self.url} connections:{self.connections}>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from stompy.display import table_html, titled_html  # noqa: PLC0415 -- in notebooks only

        queues = self.queues() if self._server is not None else []
        counts = [("connections", self.connections), ("queues", len(queues))]
        return titled_html(f"Broker {self.url}", counts, table_html(queues) if queues else "")


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _token() -> str:
    return secrets.token_urlsafe(16)
