"""A broker put together from its parts, started and stopped. No rule about messages is here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from stompy.errors import ErrorCode, ProtocolError
from stompy.protocol.frame import STOMPFrame
from stompy.records import Rows
from stompy.session.address import Scheme
from stompy.transport.tls import TLSLayer
from stompy_broker.admin.cluster_status import ClusterStatus, tail_of
from stompy_broker.admin.health import STOPPING, Health
from stompy_broker.admin.queries import Queries
from stompy_broker.admin.service import AdminService
from stompy_broker.admin.snapshots.process import Process
from stompy_broker.admin.streams import BrokerIdentity
from stompy_broker.admin.tasks import Scheduler
from stompy_broker.config import BrokerConfig
from stompy_broker.config_checks import users_of, warnings_of
from stompy_broker.destinations.policy import Policies
from stompy_broker.event_loop import name_of
from stompy_broker.memory_limit import memory_mark
from stompy_broker.reload import ReloadParts, Reloads, session_settings_of, set_limits
from stompy_broker.routing.factory import QueueFactory
from stompy_broker.routing.interface import QueueFigures
from stompy_broker.routing.router import Router
from stompy_broker.routing.stats import QueueStats
from stompy_broker.security.access import Access
from stompy_broker.security.auth import ANONYMOUS, Anyone, PasscodeCache, Role, Users
from stompy_broker.security.login import Logins
from stompy_broker.session.context import BrokerContext
from stompy_broker.session.holdings import Holdings
from stompy_broker.session.quotas import count_storage
from stompy_broker.session.subscribe import origins_of
from stompy_broker.store.interface import MessageStore
from stompy_broker.store.memory import MemoryStore
from stompy_broker.store.sqlite import SQLiteStore, StoreListener
from stompy_broker.store_reports import StoreReports
from stompy_broker.virtual_clock import Time, VirtualClock, time_source, virtual_clock_of
from stompy_broker.wire.acceptor import Acceptor, allowed_connections, bind_to
from stompy_broker.wire.connection import Connection, ConnectionContext, Flusher, Origin
from stompy_broker.wire.connection_limits import ConnectionLimits
from stompy_broker.wire.endpoints import Endpoint, endpoints_of, page_endpoint
from stompy_broker.wire.fair_scheduler import FairScheduler
from stompy_broker.wire.handshake import Handshake, HandshakeContext
from stompy_broker.wire.http_exchange import ExchangeContext, HTTPExchange
from stompy_broker.wire.http_service import HTTPService
from stompy_broker.wire.input_memory import InputMemory
from stompy_broker.wire.layered import LayeredConnection
from stompy_broker.wire.tls import Certificates
from stompy_broker.wire.websocket import WebSocketServer

if TYPE_CHECKING:
    from stompy_broker.cluster_service import ClusterService

log = logging.getLogger("stompy_broker")

AnyConnection = Connection | Handshake | HTTPExchange
"""A connection, whether it is known what is spoken or not yet."""

_MOST_CHECKS = 4
"""Passcodes that are checked at once; each takes 19 MiB."""

_GOODBYE = ProtocolError(ErrorCode.SHUTTING_DOWN, "the broker is stopping")
_CUT_OFF_SECONDS = 1.0
"""Seconds beyond the linger time until a connection that does not end is cut off."""


class Broker:
    """A message broker in the running event loop.

    Used as ``async with Broker() as broker``, or with `start` and `stop`.

    Args:
        config: the settings; None for the defaults.
        reread: reads them again for `reload`; None = they are not read again.
        time: ``virtual``: it stands still unless `Broker.time` moves it, and begins now; a datetime
            with a time zone: the same, and it begins then.

    Attributes:
        config: the settings.
        host: where it listens.
        port: where it listens, once started.
        urls: all that clients may connect to, once started.
        http_urls: where the pages of HTTP are, once started.
        health: says whether clients should be sent here; see `Health`.
        census: makes rows of everything there is, once started.
        queries: answers what the program around it wants to know, once started.
    """

    def __init__(
        self,
        config: BrokerConfig | None = None,
        reread: Callable[[], BrokerConfig] | None = None,
        *,
        time: Time = "real",
    ) -> None:
        if config is not None and not isinstance(config, BrokerConfig):
            raise TypeError(
                "Broker() takes a BrokerConfig, such as load_config(overrides={…}) gives, "
                f"not {type(config).__name__}"
            )
        self.config = config or BrokerConfig()
        self.host = self.config.listen.host
        self.port = self.config.listen.port
        self.urls: tuple[str, ...] = ()
        self.http_urls: tuple[str, ...] = ()
        self.health = Health()
        limits = self.config.limits
        self._connections: ConnectionLimits[AnyConnection] = ConnectionLimits(
            limits.connections, limits.connections_per_address
        )
        self._servers: list[Acceptor] = []
        self._page_servers: list[Acceptor] = []
        self._certificates: Certificates | None = None
        self._reread = reread
        self._wanted_time: Time = time
        self._all_gone = asyncio.Event()
        self._cluster: ClusterService | None = None
        self._reports = StoreReports()

    @property
    def url(self) -> str:
        """What clients connect to, if they have no other wish; empty before the start."""
        return self.urls[0] if self.urls else ""

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    @property
    def connections_max(self) -> int:
        """How many clients may be connected."""
        return self._connections.most

    @property
    def connections_refused(self) -> int:
        """How many clients were turned away because there were too many."""
        return self._connections.refused

    @property
    def time(self) -> VirtualClock:
        """What moves the time, once started.

        Raises:
            RuntimeError: it moves by itself: the broker was not made with ``time="virtual"``.
        """
        return virtual_clock_of(self._source)

    def queues(self) -> Rows[QueueStats]:
        """The counters of all queues that tell them at once, by name: of those in this process."""
        rows: Rows[QueueStats] = Rows()
        for queue in sorted(self._router, key=lambda queue: queue.name):
            queue.stats(partial(_add_row, rows, queue.name))
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
        return await self.queries.browse(queue.removeprefix("/queue/"))

    async def start(self) -> None:
        """Open the store, restore what is in it, and listen.

        Raises:
            ConfigError: a file that the configuration names cannot be used.
            OSError: an address cannot be bound to.
            StoreError: the data directory cannot be used.
        """
        config = self.config
        self._loop = loop = asyncio.get_running_loop()
        self._source = time_source(loop, self._wanted_time, config.cluster.name)
        self._clock = self._source.clock
        self._settings_of = partial(session_settings_of, virtual=self._source.is_virtual)
        self._flusher = Flusher(self._source.soon)
        self._connections.most = allowed_connections(config.limits.connections)
        mark = memory_mark(config.limits)
        if config.cluster.name:
            self._cluster = await self._join_cluster()
        self._store = self._open_store()
        self._router = Router(
            self._clock,
            self._source.wall,
            [self._store] if self._cluster is None else self._cluster.stores(self._store),
            Policies(config.policy),
            memory_mark=mark,
            disk_mark=config.limits.disk,
            idle_queue_seconds=config.times.idle_queue,
            factory=self._queue_factory(),
        )
        self._router.directions.renew(config.exchange, config.virtual_topics, config.route)
        self._reports.begin(loop, self._router)
        set_limits(self._router, config)
        count_storage(self._router, config.quota)
        self._router.registry.arguments.strict = config.compat.strict_arguments
        self._source.watch(self._connections, self._router.groups, self._store)
        self._input_memory = InputMemory(self._router.memory, mark, self._clock.machine)
        if config.store.on_failure == "refuse":
            self._router.refuse_when_stalled()
        try:
            restored = self._router.registry.restore()
            if restored:
                log.info("%d messages restored", restored)
            self._open_door()
            if self._cluster is not None:
                self._cluster.bind(self._router, self._admin, self.health)
            await self._open_pages()
            await self._listen()
            if self._cluster is not None:
                await self._cluster.complete()
        except BaseException:
            _close(self._servers, self._page_servers)
            self._store.close()
            if self._cluster is not None:
                await self._cluster.close()
            raise
        log.info("runs on the event loop of %s", name_of(loop))
        log.info("listening on %s", ", ".join((*self.urls, *self.http_urls)))

    def _open_door(self) -> None:
        """Make everything that decides who may come in.

        Raises:
            ConfigError: a file that the configuration names cannot be used.
        """
        config, machine = self.config, self._clock.machine
        if config.tls.cert:
            self._certificates = Certificates(config.tls)
        authenticator = self._authenticator()
        self._logins = logins = Logins(
            authenticator,
            self._clock,
            connections_per_user=config.limits.connections_per_user,
            checks=min(len(os.sched_getaffinity(0)), _MOST_CHECKS),
        )
        access = Access(
            config.acl, config.security.default_access, partial(origins_of, self._router)
        )
        scheduler = Scheduler(self._source.soon, time.thread_time)
        self._admin = self._admin_service(logins, access, scheduler)
        self.census = self._admin.snapshots
        self.queries = Queries(self._router, self.census, scheduler, self._admin.explain)
        http = HTTPService(
            self.health,
            self._admin.open_pages(config.http),
            logins,
            check_names=config.http.auth == "auto",
        )
        self.health.watch(self._router, logins)
        self._context = BrokerContext(
            self._settings_of(config, tail_of(self._cluster_status())),
            self._router,
            self._clock,
            logins,
            access,
            observer=self._admin,
            service=self._admin,
            new_token=_token if self._cluster is None else self._cluster.new_token,
        )
        self._context.browse_pace.spent = time.thread_time
        if self._cluster is not None:
            self._context.peers = self._cluster.addresses
        self._make_reloads(access, authenticator, scheduler)
        self._connection_context = ConnectionContext(
            sessions=self._context,
            flusher=self._flusher,
            clock=self._clock,
            scheduler=FairScheduler(self._source.soon, time.perf_counter),
            input_memory=self._input_memory,
            output_mark=config.limits.output,
            linger=config.times.linger,
            ping=config.websocket.ping,
            closed=self._gone,
        )
        self._handshake_context = HandshakeContext(
            clock=self._clock,
            input_memory=self._input_memory,
            login_timeout=config.times.login,
            linger=config.times.linger,
            certificates=self._certificates,
            allowed_origins=config.websocket.allowed_origins,
            login_from=config.tls.login_from,
            urls=lambda: self.urls,
            admit=self._connections.admit,
            gone=self._gone,
            begin=self._begin,
            take_link=None if self._cluster is None else self._cluster.links.accept,
            not_ready=None if self._cluster is None else self._cluster.not_ready,
            exchanges=ExchangeContext(
                machine, config.times.linger, http, self._connections.replace, self._gone
            ),
        )

    def _make_reloads(
        self, access: Access, authenticator: Users | Anyone, scheduler: Scheduler
    ) -> None:
        parts = ReloadParts(
            self._router,
            access,
            self._logins,
            authenticator,
            self._certificates,
            self._admin.sessions,
            self.census,
            scheduler,
            self._withdraw,
            self._go_by,
        )
        self._reloads = Reloads(self.config, self._reread, parts)
        self._admin.reload = self._reloads.command
        self._admin.foreign_headers = self._context.foreign_headers
        self._admin.quotas = self._context.quotas

    async def _open_pages(self) -> None:
        """Answer by HTTP where nobody else comes, before clients can connect and after."""
        endpoint = page_endpoint(self.config)
        if endpoint is not None:
            await self._accept_at(endpoint, self._page_servers)

    async def _accept_at(self, endpoint: Endpoint, servers: list[Acceptor]) -> int:
        """Take connections at one more port, which is given."""
        server = Acceptor(
            await bind_to(endpoint),
            self.config.listen.backlog,
            partial(Handshake, self._handshake_context, endpoint),
        )
        servers.append(server)
        self.http_urls += tuple(endpoint.page_urls(server.port))
        return server.port

    async def _listen(self) -> None:
        urls = []
        for number, endpoint in enumerate(endpoints_of(self.config)):
            port = await self._accept_at(endpoint, self._servers)
            if number == 0:
                self.port = port
            urls += endpoint.urls(port)
        order = list(Scheme)
        self.urls = tuple(sorted(urls, key=lambda url: order.index(Scheme(url.split(":")[0]))))
        self.health.phase = ""

    def reload(self) -> list[str]:
        """Read configuration, users and certificates again, and go by them from now on.

        Returns:
            What went wrong; then nothing of it was taken over.
        """
        return self._reloads.now()

    def _go_by(self, config: BrokerConfig) -> None:
        if self._cluster is not None:
            self._cluster.reload(config)
        limits = config.limits
        self.config = config
        self._connections.most = allowed_connections(limits.connections)
        self._connections.most_there = limits.connections_per_address
        settings = self._settings_of(config, self._context.settings.tail)
        self._context.go_by(settings, config.route)

    def _withdraw(self, logins: set[str], why: ProtocolError) -> None:
        for connection in self._connections:
            if connection.login in logins:
                connection.refuse(why)

    async def stop(self) -> None:
        """Stop accepting, wait for outstanding acknowledgements, say goodbye, close.

        Harmless when repeated.
        """
        if not self._servers:
            return
        self.health.phase = STOPPING
        self._router.registry.closing = True
        _close(self._servers)
        self._logins.close(_GOODBYE)
        self._tell_all(lambda one: one.stop_deliveries())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.config.times.shutdown):
                await self._all_settled()
                await self._all_safe()
        self._tell_all(lambda one: one.refuse(_GOODBYE))
        if not await self._all_left(self.config.times.linger + _CUT_OFF_SECONDS):
            # Every connection cuts itself off after its linger time; should one fail to, it is cut.
            self.abort()
            await self._all_left(_CUT_OFF_SECONDS)
        _close(self._page_servers)
        self._context.leaving.finish()
        if self._cluster is not None:
            await self._cluster.hand_over()
            await self._cluster.close()
        self._admin.close()
        self._store.close()
        await self._source.end()
        log.info("stopped")

    def _tell_all(self, what: Callable[[AnyConnection], None]) -> None:
        """Do something with each connection, whatever goes wrong with another."""
        for one in self._connections:
            try:
                what(one)
            except Exception:
                log.exception("%s: fault while the broker stops", one.address)
                one.abort()

    async def _all_left(self, seconds: float) -> bool:
        """Wait until nobody is connected; say whether that came in time."""
        if self._connections:
            self._all_gone.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._all_gone.wait()
        return not self._connections

    async def _all_settled(self) -> None:
        # AckHandler a message need not know that somebody waits for the last one.
        while any(one.has_unsettled for one in self._connections):  # noqa: ASYNC110 -- polls on purpose
            await asyncio.sleep(0.02)

    async def _all_safe(self) -> None:
        """Wait until the store is safe, so that receipts can be given before the goodbye."""
        safe = asyncio.Event()
        self._router.groups.sync(safe.set)
        await safe.wait()

    def abort(self) -> None:
        """Stop without waiting for anybody: the next `stop` finds nobody to wait for."""
        for connection in self._connections:
            connection.abort()

    async def __aenter__(self) -> Self:
        """Start, as `start` does."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop, as `stop` does."""
        await self.stop()

    # -- parts ------------------------------------------------------------------------------

    def _queue_factory(self) -> QueueFactory:
        return QueueFactory() if self._cluster is None else self._cluster.queue_factory()

    async def _join_cluster(self) -> ClusterService:
        """Become a member of the cluster that the configuration names.

        Raises:
            ConfigError: a file that the configuration names cannot be used.
            StoreError: its servers cannot be used.
        """
        from stompy_broker.cluster_service import ClusterService  # noqa: PLC0415 -- members only

        return await ClusterService.open(
            self.config, self._clock, self._reports, self._flusher.flush, self._fenced
        )

    def _fenced(self, reason: str) -> None:
        """End all clients: what they were not told to be safe may be lost, and each has to know."""
        error = ProtocolError(
            ErrorCode.SHUTTING_DOWN, f"another broker has taken over from this one: {reason}"
        )
        self._tell_all(lambda one: one.refuse(error))

    def _open_store(self) -> MessageStore:
        directory = self.config.store.data
        if not directory or self._cluster is not None:
            return MemoryStore()  # of a cluster: for what belongs to this broker alone
        return SQLiteStore(
            Path(directory),
            self._clock.machine,
            self._source.soon,
            self._loop.call_soon_threadsafe,
            self.config.limits.disk_free,
            StoreListener(
                self._reports.written,
                self._reports.troubled,
                self._flusher.flush,
                self._reports.damaged,
            ),
        )

    def _cluster_status(self) -> ClusterStatus | None:
        """The cluster that the broker belongs to, as the admin topics tell of it."""
        return None if self._cluster is None else self._cluster.view

    def _admin_service(self, logins: Logins, access: Access, scheduler: Scheduler) -> AdminService:
        directory = self.config.store.data
        return AdminService(
            BrokerIdentity(Process.name, _token()),
            self._router,
            logins,
            access,
            self,
            Process(Path(directory) if directory else None, name_of(self._loop)),
            scheduler,
            self._cluster_status(),
        )

    def _authenticator(self) -> Users | Anyone:
        config = self.config
        users = users_of(config)
        for problem in warnings_of(config, users):
            log.warning("%s", problem)
        if not config.knows_users:
            return Anyone(config.role_of(ANONYMOUS))
        return Users(
            users,
            anonymous=config.anonymous,
            role_of=self._role_of,
            run_in_thread=self._source.in_thread,
            cache=PasscodeCache(config.security.login_memory, self._clock.now),
        )

    def _role_of(self, login: str) -> Role:
        return self.config.role_of(login)

    def _begin(
        self,
        handshake: Handshake,
        origin: Origin,
        tls: TLSLayer | None,
        websocket: WebSocketServer | None,
    ) -> Connection:
        connection = (
            Connection(self._connection_context, origin)
            if tls is None and websocket is None
            else LayeredConnection(self._connection_context, origin, tls, websocket)
        )
        self._connections.replace(handshake, connection)
        return connection

    def _gone(self, connection: AnyConnection) -> None:
        self._connections.remove(connection)
        if not self._connections:
            self._all_gone.set()

    def __repr__(self) -> str:
        """Where it listens, and how many are connected."""
        return f"<Broker {' '.join(self.urls)} connections:{self.connections}>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from stompy.notebook import table_html, titled_html  # noqa: PLC0415 -- in notebooks only

        queues = self.queues() if self._servers else []
        counts = [("connections", self.connections), ("queues", len(queues))]
        return titled_html(f"Broker {self.url}", counts, table_html(queues) if queues else "")


def _close(*servers: list[Acceptor]) -> None:
    for some in servers:
        while some:
            some.pop().close()


def _add_row(rows: Rows[QueueStats], name: str, figures: QueueFigures) -> None:
    rows.append(QueueStats.of(name, figures))


def _token() -> str:
    return secrets.token_urlsafe(16)
