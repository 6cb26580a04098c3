"""What a broker is in its cluster, put together from the parts; for members only.

Three parts tell what happens, and each is told by the others through here: the node says which
groups of queues are ours and who else is there, links bring what other brokers want, and the
stores say how it goes with what we own.

In the order of a life: `open` reads the secret, starts a server if it is ours, and joins; the
broker makes its router with our factory and stores, and `bind`s it; it listens, because other
brokers come in by the same door; `complete` returns when clients can be served; `hand_over`
leaves all groups to others, and `close` ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Self

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.admin.health import Health
from stompy_broker.admin.service import AdminService
from stompy_broker.cluster.link.link import Link
from stompy_broker.cluster.link.links import Links
from stompy_broker.cluster.link.settings import LinkSettings
from stompy_broker.cluster.log.log import LogError
from stompy_broker.cluster.log.store import LoggedStore, LogListener
from stompy_broker.cluster.log.takeover import Tenure
from stompy_broker.cluster.membership.members import Member, Standing
from stompy_broker.cluster.membership.roster import RosterError
from stompy_broker.cluster.nats.codec import NATSError
from stompy_broker.cluster.nats.server import ServerProcess
from stompy_broker.cluster.node import ClusterNode, TwinError
from stompy_broker.cluster.node_control import NodeControl
from stompy_broker.cluster.remote.away_store import AwayStore
from stompy_broker.cluster.remote.places import ClusterQueueFactory, Places
from stompy_broker.cluster.spans.coordinator import Spans
from stompy_broker.cluster.spans.span_messages import SPAN_KINDS
from stompy_broker.cluster.topics.exchange import KINDS, TopicExchange
from stompy_broker.cluster.topics.remote_replies import reply_token
from stompy_broker.cluster_secret import ClusterSecret, read_secret
from stompy_broker.cluster_settings import (
    agreed_settings,
    broker_id,
    embedded_server,
    link_tls,
    node_settings,
)
from stompy_broker.cluster_view import ClusterView
from stompy_broker.config import BrokerConfig
from stompy_broker.config_checks import users_of
from stompy_broker.routing.router import Router
from stompy_broker.store.base import StoreError
from stompy_broker.store.directory import FILE, lock_directory
from stompy_broker.store.interface import MessageStore
from stompy_broker.store_reports import StoreReports
from stompy_broker.timers import Clock
from stompy_broker.version import __version__

log = logging.getLogger("stompy_broker.cluster")

_LEAVE_SECONDS = 10.0
"""How long handing over may take, and how long others may need our server to do so."""

_LOOK_SECONDS = 1.0

_JOINING = ProtocolError(
    ErrorCode.STORE_UNAVAILABLE, "this broker has not joined its cluster yet; try again soon"
)


class ClusterService:
    """The part of one broker in its cluster.

    Args:
        config: of the broker.
        clock: for all that waits.
        reports: takes what the stores tell.
        released: called when the only one who waited was told, so that the answer can go out.
        fenced: told that another broker has taken over what this one thought it had, and why: what
            its clients were not told to be safe may be lost.

    Attributes:
        broker: the id of this broker.
        count: how many groups of queues there are.
        node: knows members and owners.
        view: what the admin topics show of it.
        links: to the other brokers.
        exchange: topics, replies and durable subscriptions.
        places: where the queues are.
    """

    exchange: TopicExchange
    _admin: AdminService

    def __init__(
        self,
        config: BrokerConfig,
        clock: Clock,
        reports: StoreReports,
        released: Callable[[], None],
        fenced: Callable[[str], None],
    ) -> None:
        secret = read_secret(config.cluster.secret_file)
        self._lock = -1
        self._config, self._clock = config, clock
        self._reports, self._released, self._fenced = reports, released, fenced
        self._loop = asyncio.get_running_loop()
        self.broker = broker_id(config)
        self._server: ServerProcess | None = embedded_server(config, secret)
        self.node = ClusterNode(node_settings(config, self.broker, secret), self)
        settings = self._link_settings(secret)
        self.links = Links(clock, settings, self, link_tls(config))
        self.node.membership.in_reach = lambda broker: broker in self.links.outgoing
        self.places = Places(self.broker, settings.instance, self._loop.call_soon)
        self.node.last_of = self._place_of
        self.count = self.node.settings.groups.count
        self.view = ClusterView(self.node, self._facts, self._figures)
        self._stores: dict[int, LoggedStore] = {}
        self._members: set[str] = set()
        self._timer = clock.timer(self._look)
        self._looked = self._spent = self._cut_off_since = 0.0
        self._is_cut_off = False
        self._control: NodeControl | None = None
        self._early: list[Callable[[], None]] | None = []  # what the node told before `bind`
        self._is_complete = False

    @classmethod
    async def open(
        cls,
        config: BrokerConfig,
        clock: Clock,
        reports: StoreReports,
        released: Callable[[], None],
        fenced: Callable[[str], None],
    ) -> Self:
        """Join a cluster; see the class.

        Raises:
            ConfigError: a file that the configuration names cannot be used.
            StoreError: the servers cannot be used, or others are not as this broker is.
        """
        # Two brokers on one directory would be the same member.
        lock = lock_directory(Path(config.store.data))
        try:
            service = cls(config, clock, reports, released, fenced)
        except BaseException:
            os.close(lock)
            raise
        service._lock = lock
        left = Path(config.store.data) / FILE
        if left.exists():
            log.warning(
                "%s is of a broker that was alone: nobody in the cluster reads it, and its "
                "messages stay there; `stompy-broker store export` gives them",
                left,
            )
        try:
            if service._server is not None:
                await service._server.start()
            await service.node.start()
        except (NATSError, LogError, RosterError, TwinError, OSError) as error:
            await service.close()
            raise StoreError(f"cluster {config.cluster.name!r}: {error}") from error
        except BaseException:
            await service.close()
            raise
        return service

    def _link_settings(self, secret: ClusterSecret) -> LinkSettings:
        cluster = self._config.cluster
        return LinkSettings(
            cluster.name,
            self.broker,
            secret.key("link"),
            facts=self._facts,
            silent_seconds=cluster.silence,
        )

    def _facts(self) -> Mapping[str, str]:
        agreed = agreed_settings(self._config, users_of(self._config))
        return {
            "version": __version__,
            "groups": str(self.count),
            **{f"settings.{name}": value for name, value in agreed.items()},
        }

    def _figures(self, group: int) -> tuple[int, int]:
        """Records and bytes of the log of a group that is ours; zeros for others, as unknown."""
        store = self._stores.get(group)
        return (0, 0) if store is None else (len(store.index.records), store.index.bytes)

    # -- the broker around it -------------------------------------------------------------------

    def stores(self, home: MessageStore) -> list[MessageStore]:
        """The stores of all groups, to begin with: none of them is here; the last one is home."""
        return [*(AwayStore() for _ in range(self.count)), home]

    def queue_factory(self) -> ClusterQueueFactory:
        """Make what makes the queues."""
        groups = self.node.settings.groups
        return ClusterQueueFactory(self.places, groups.of, groups.count, self.node.home)

    def bind(self, router: Router, admin: AdminService, health: Health) -> None:
        """Take what the broker has made: the router with our factory and our stores, and the rest.

        Args:
            router: of the broker.
            admin: is asked by other brokers, too, and moves groups.
            health: is told why clients should not be sent here.
        """
        self._reports.router = router
        self.places.bind(router)
        self._admin = admin
        self._control = admin.control = NodeControl(self.node, self.count)
        health.reasons.append(self._not_whole)
        self._look()
        # A new durable subscription waits until a link that is dead, a new owner and being cut off
        # are certainly known to all, which takes a beat or two more than a silence.
        patience = self._config.cluster.silence + 2.0
        self.exchange = TopicExchange(router, self._loop.call_soon, patience)
        self._spans = Spans(self.places, self.node.log_of)
        early, self._early = self._early or [], None
        for tell in early:
            tell()

    def _not_whole(self) -> str:
        """Why clients should rather go to another broker, if there is one."""
        if not self._is_complete:
            return "the broker is joining its cluster"
        groups = [str(n) for n in range(self.count) if not self.node.owner_of(n)]
        return f"no owner of group{'s' * (len(groups) > 1)} {', '.join(groups)}" if groups else ""

    def _look(self) -> None:
        """See how we are, each second."""
        now, spent = self._clock.now(), time.process_time()
        if self._looked:
            self.node.load = (spent - self._spent) / max(now - self._looked, _LOOK_SECONDS / 2)
        self._looked, self._spent = now, spent
        trouble = self.node.trouble
        self._cut_off_since = (self._cut_off_since or now) if trouble else 0.0
        is_long = bool(trouble) and now - self._cut_off_since >= self._config.cluster.silence
        if is_long != self._is_cut_off:
            self._is_cut_off = is_long
            self.exchange.cut_off(is_long)
        if self._admin.peers is not None:
            self._admin.peers.alarms.quorum(trouble if is_long else "")
        self._timer.set(now + _LOOK_SECONDS)

    def new_token(self) -> str:
        """Make a word that nobody can guess, and that other brokers find this one by."""
        return reply_token(self.broker, partial(secrets.token_urlsafe, 16))

    async def complete(self) -> None:
        """Wait until clients can be served: all that others have is known."""
        await self.node.every_owner_known()
        await self.exchange.complete()
        self._is_complete = True

    def not_ready(self) -> ProtocolError | None:
        """Give the reason why clients are turned away; None = they are not."""
        return None if self._is_complete else _JOINING

    def addresses(self) -> list[str]:
        """Where the other brokers are, for clients of this one."""
        return [
            member.address
            for member in self.node.members.values()
            if member.standing is Standing.UP
        ]

    def reload(self, config: BrokerConfig) -> None:
        """Tell others of these settings from now on, and have our server read its certificates."""
        self._config = config
        if self._server is not None:
            self._server.reload()

    async def hand_over(self) -> None:
        """Leave all groups to other brokers."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LEAVE_SECONDS):
                await self.node.leave()

    async def close(self) -> None:
        """End it. Harmless when repeated."""
        self._timer.end()
        if self._control is not None:
            await self._control.close()
        for group in list(self._stores):
            self._let_go(group)
        await self.links.close()
        server, self._server = self._server, None
        if server is not None:
            await self._serve_the_others()
            await self.node.close()
            await server.stop()
        else:
            await self.node.close()
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)

    async def _serve_the_others(self) -> None:
        """Keep our server until nobody else is about to leave.

        When all machines stop at once, they need most of the servers to do it in good order.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LEAVE_SECONDS):
                while any(  # noqa: ASYNC110 -- members tell by beats
                    member.standing is not Standing.UP for member in self.node.members.values()
                ):
                    await asyncio.sleep(0.1)

    # -- what the node tells --------------------------------------------------------------------

    def owned(self, group: int, tenure: Tenure) -> None:
        """Serve a group: it is ours."""
        if self._early is not None:
            self._early.append(partial(self.owned, group, tenure))
            return
        store = LoggedStore(
            tenure,
            self._clock,
            self._loop.call_soon,
            LogListener(
                self._reports.written,
                partial(self._troubled, group),
                self._released,
                self._reports.damaged,
                partial(self.node.fenced, group, tenure.number),
            ),
        )
        self._stores[group] = store
        self.places.here(group, tenure.number, store, set(self.node.members))
        self.exchange.owned(group, tenure.number)

    def _place_of(self, group: int) -> int:
        store = self._stores.get(group)
        return 0 if store is None else store.place

    def _troubled(self, group: int, trouble: bool) -> None:
        self._reports.troubled(trouble, group)

    def deposed(self, group: int, reason: str) -> None:
        """Forget a group that was taken over: what was not safe never will be."""
        self._let_go(group)
        self.places.deposed(group)
        self.exchange.deposed(group)
        if self._admin.peers is not None:
            self._admin.peers.alarms.fenced(group, reason)
        self._fenced(reason)

    def leave(self, group: int, done: Callable[[], None]) -> None:
        """Hand a group over in good order."""

        def left() -> None:
            self._let_go(group)
            done()

        # First, so that nobody here decides any more about what is in it.
        self.exchange.deposed(group)
        self.places.leave(group, left)

    def _let_go(self, group: int) -> None:
        store = self._stores.pop(group, None)
        if store is not None:
            store.close()
            if store.trouble:
                self._reports.troubled(False, group)

    def owner_changed(self, group: int, owner: str) -> None:
        """Have the queues of a group at their owner, or nowhere (empty)."""
        if self._early is not None:
            self._early.append(partial(self.owner_changed, group, owner))
            return
        self.places.owner_changed(group, owner)
        self.exchange.owner_changed(group, owner)

    def members_changed(self, members: Mapping[str, Member]) -> None:
        """Have a link to each of the others."""
        if self._early is not None:
            self._early.append(partial(self.members_changed, members))
            return
        for gone in self._members - members.keys():
            self.places.forget(gone)
        self._members = set(members)
        self.links.update({name: member.address for name, member in members.items()})
        self.exchange.members_changed(members)
        if self._admin.peers is not None:
            self._admin.peers.alarms.look()

    # -- what links tell ------------------------------------------------------------------------

    def opened(self, link: Link) -> None:
        """Use a new link."""
        self.places.opened(link)
        self.exchange.opened(link)
        if self._admin.peers is not None:
            self._admin.peers.opened(link)

    def received(self, link: Link, message: bytes) -> None:
        """Pass a message on to whose it is, by its first byte."""
        kind = message[0]
        if kind in SPAN_KINDS:
            self._spans.received(link, message)
        elif kind < SPAN_KINDS.start:
            self.places.received(link, message)
        elif kind in KINDS:
            self.exchange.received(link, message)
        elif self._admin.peers is not None:
            self._admin.peers.received(link, message)

    def lost(self, link: Link, reason: str) -> None:
        """Go on without a link."""
        self.places.lost(link, reason)
        self._spans.lost(link, reason)
        self.exchange.lost(link, reason)
        if self._admin.peers is not None:
            self._admin.peers.lost(link, reason)
        self.node.suspect(link.peer)
