"""What the sessions of one broker share, and what a session needs from its connection."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from stompy.admin.json_types import Tls
from stompy.errors import ErrorCode, ProtocolError
from stompy.protocol.header_cache import Head
from stompy.protocol.headers import Version
from stompy.protocol.heartbeat import HeartBeat
from stompy.protocol.limits import Limits
from stompy_broker.destinations.names import Destination
from stompy_broker.foreign_headers import ForeignHeaders
from stompy_broker.quota_config import QuotaConfig
from stompy_broker.routing.answers import Done
from stompy_broker.routing.router import Router
from stompy_broker.routing_config import RouteConfig
from stompy_broker.schedules.schedule_spec import CatchUp
from stompy_broker.security.access import Access
from stompy_broker.security.auth import Principal
from stompy_broker.security.login import Logins
from stompy_broker.session.active_subscribers import ActiveSubscriber, ActiveSubscribers
from stompy_broker.session.browse_pace import BrowsePace
from stompy_broker.session.browser import Browser
from stompy_broker.session.leaving import Leaving
from stompy_broker.session.output import OutputBuffer
from stompy_broker.session.permissions import Permissions
from stompy_broker.session.quotas import Quotas
from stompy_broker.session.scheduled_send import ScheduledSender
from stompy_broker.session.send_heads import head_caches
from stompy_broker.session.send_routes import SendRoutes
from stompy_broker.session.senders import Senders
from stompy_broker.session.subscription import Subscription
from stompy_broker.session.sys_subscription import StreamSpec, SysSubscription
from stompy_broker.session.transactions import Transactions
from stompy_broker.timers import Clock

_TAGS_PER_MS = 100

_MOST_AWAITED = 1024
"""Queues with a name where requests may wait for replies."""


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What all sessions of a broker have in common; times in seconds, sizes in bytes.

    Attributes:
        told: what CONNECTED says of the broker.
        schedule_zone: by whose clock a cron expression is meant that names no zone.
        catch_up: what becomes of what fell due while no broker was there.
        tail: what the names of clients end in, so that those of one cluster differ.
    """

    told: Mapping[str, str]
    limits: Limits
    heart_beat: tuple[int, int]
    heart_beat_grace: float
    login_timeout: float
    max_subscriptions: int
    max_temporary_queues: int
    max_transactions: int
    max_transaction_frames: int
    max_transaction_bytes: int
    prefetch_client: int
    prefetch_individual: int
    ignored_headers: tuple[str, ...] = ()
    schedule_zone: str = "UTC"
    catch_up: CatchUp = CatchUp.ONCE
    quotas: tuple[QuotaConfig, ...] = ()
    tail: str = ""


class Client(Protocol):
    """A client as reports name it.

    Attributes:
        key: what it is called in reports.
        principal: who logged in; None before that.
        client_id: header ``client-id`` of CONNECT.
        peer: its connection.
    """

    key: str
    principal: Principal | None
    client_id: str | None
    peer: Peer


class ClientState(Client, ActiveSubscriber, Protocol):
    """A client as the parts of its session know it.

    Attributes:
        permissions: what it may do, once it has logged in.
        received_at: when something was received last, on the clock.
        others: frames received that are no messages.
        sender: what it is called as a sender; empty unless somebody declines what it sends.
    """

    permissions: Permissions
    received_at: float
    others: int
    sender: tuple[str, ...]

    @property
    def version(self) -> Version:
        """The protocol version that was settled."""
        ...

    def refused(self, error: ProtocolError) -> None:
        """End with an ERROR frame: a SEND without receipt was refused."""
        ...

    def name_sender(self) -> None:
        """Say from now on who it is, whenever it sends."""
        ...

    def when_answered(
        self, head: Head, ask: Callable[[Done], None], act: Callable[[], None]
    ) -> bool:
        """Ask something, and act, before the next frame is carried out.

        Args:
            head: of the frame that it is about, which fails if it is refused.
            ask: asks.
            act: what to do when nothing is against it.

        Returns:
            Whether the next frame has to wait, because the answer comes later.
        """
        ...

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of it."""
        ...


class Looking(Protocol):
    """The subscriptions of one client that only look."""

    @property
    def written(self) -> int:
        """Messages that were shown so far."""
        ...

    def __iter__(self) -> Iterator[Browser]:
        """Those that have not ended."""
        ...


class AdminClient(ClientState, Protocol):
    """A client as the broker's own service knows it: what is told of it, and done to it."""

    @property
    def id(self) -> str:
        """Header ``session`` of its CONNECTED."""
        ...

    @property
    def heart_beat(self) -> HeartBeat | None:
        """What was agreed; None = nothing yet."""
        ...

    @property
    def connected_at(self) -> float:
        """When it connected, on the clock."""
        ...

    @property
    def in_frames(self) -> int:
        """Frames received; a run of ACKs counts once."""
        ...

    @property
    def in_msgs(self) -> int:
        """How many SEND frames were received."""
        ...

    @property
    def in_bytes(self) -> int:
        """How many bytes were received."""
        ...

    @property
    def delivered(self) -> int:
        """Messages written for subscriptions that have ended."""
        ...

    @property
    def held_by(self) -> str:
        """Why it has to wait before it may send more: ``room``, ``quota``; empty = it need not."""
        ...

    @property
    def subscriptions(self) -> Mapping[str, Subscription]:
        """The subscriptions to queues and topics, by the client's ids."""
        ...

    @property
    def browsers(self) -> Looking:
        """The subscriptions that only look."""
        ...

    @property
    def transactions(self) -> Transactions:
        """The transactions that are open."""
        ...

    @property
    def sys_subscriptions(self) -> Collection[SysSubscription]:
        """The subscriptions to ``$SYS`` topics."""
        ...

    def refuse(self, error: ProtocolError) -> None:
        """End the session with an ERROR frame."""
        ...

    def renew_permissions(self, principal: Principal) -> None:
        """Go by the rules as they are now, and by a role that may be another one."""
        ...

    def end_subscription(self, subscription: Subscription) -> bool:
        """End one of its subscriptions; say whether it was there."""
        ...

    def abort_transaction(self, transaction_id: str) -> None:
        """Abort one of its transactions.

        Raises:
            ProtocolError: there is none of that id.
        """
        ...


class SessionObserver:
    """Is told what becomes of sessions. This one does nothing with it."""

    def logged_in(self, client: AdminClient) -> None:
        """Take note of a client that has logged in."""

    def login_refused(self, client: Client, login: str, reason: str) -> None:
        """Take note of a client that could not log in."""

    def access_refused(self, client: Client, destination: str, reason: str) -> None:
        """Take note of a client that may not do what it wanted with a destination."""

    def left(self, client: AdminClient, why: str) -> None:
        """Take note of a client that had logged in and is gone."""

    def blocked(self, client: Client, blocked: bool, reason: str) -> None:
        """Take note of a client that has to wait before it may send more, or may go on.

        Args:
            client: it.
            blocked: whether it has to wait.
            reason: why, in a word; empty = there is no room.
        """

    def subscribed(self, client: Client, subscription: Subscription) -> None:
        """Take note of a new subscription."""

    def unsubscribed(self, client: Client, subscription: Subscription) -> None:
        """Take note of a subscription that ends."""

    def activated(self, client: Client, subscription: Subscription) -> None:
        """Take note of a subscription that is the only one of its queue that gets messages."""

    def timed_out(self, client: Client, subscription: Subscription, count: int) -> None:
        """Take note of so many deliveries that went back because they were not settled in time."""

    def transacted(self, client: Client, action: str, transaction_id: str) -> None:
        """Take note of a transaction that was begun, committed or aborted."""


Answer = Callable[[bytes, bool, bool], None]
"""Takes an answer to a command: body, whether it succeeded, and whether it is the last one."""


class SysService(Protocol):
    """The broker itself, as clients ask it: the ``$SYS`` topics, and commands.

    Attributes:
        clustered: whether it belongs to a cluster.
    """

    clustered: bool

    def subscribe(
        self, subscription: SysSubscription, streams: Sequence[StreamSpec], events: str | None
    ) -> None:
        """Begin to offer these streams, and the events that match a pattern."""
        ...

    def unsubscribe(self, subscription: SysSubscription) -> None:
        """Offer a subscription nothing more."""
        ...

    def execute(self, client: Client, body: bytes, answer: Answer | None, problem: str) -> None:
        """Carry out a command.

        Args:
            client: who wants it.
            body: the request.
            answer: takes the answers; None = nobody wants any.
            problem: why it cannot be; empty = it may.
        """
        ...


class BrokerContext:
    """What sessions of one broker share: settings, router, logins, access, parsed header blocks.

    Attributes:
        send_routes: where SENDs go.
        foreign_headers: knows headers that are refused.
        observer: is told what becomes of sessions.
        service: answers for the broker itself.
        active_subscribers: who holds durable subscriptions.
        leaving: ends what clients leave behind.
        browse_pace: says when those may go on who only look.
        senders: the clients with a ``client-id``.
        quotas: what users may use.
        peers: tells where the other live brokers of the cluster are: ``host:port``, or a URL where
            that says more; None = there is no cluster.
    """

    def __init__(
        self,
        settings: SessionSettings,
        router: Router,
        clock: Clock,
        logins: Logins,
        access: Access,
        observer: SessionObserver,
        service: SysService,
        new_token: Callable[[], str],
    ) -> None:
        self.settings = settings
        self.router = router
        self.clock = clock
        self.logins = logins
        self.access = access
        self.new_token = new_token
        self.caches = head_caches(settings.limits)
        self.send_routes = SendRoutes(router.directions)
        router.firing = ScheduledSender(
            router, self.send_routes, settings.schedule_zone, settings.catch_up
        )
        self.foreign_headers = ForeignHeaders(settings.ignored_headers, router.events)
        self.observer = observer
        self.service = service
        self.active_subscribers = ActiveSubscribers()
        self.leaving = Leaving(clock.pacing)
        self.browse_pace = BrowsePace(clock.pacing)
        self.senders = Senders(router.topics)
        self.quotas = Quotas(router)
        self.quotas.renew(settings.quotas)
        self.peers: Callable[[], Sequence[str]] | None = None
        self._numbers = count(1)
        # Beginning with the time keeps them new over restarts, without a file. Nobody subscribes
        # that often.
        self._tags = count(router.wall() * _TAGS_PER_MS)

    def go_by(self, settings: SessionSettings, routes: Sequence[RouteConfig]) -> None:
        """Go by other settings from now on, and by other routes for what is sent."""
        self.settings = settings
        self.quotas.renew(settings.quotas)
        if self.router.directions.lay_routes(routes):
            self._forget_plans()

    def await_replies(self, destination: Destination) -> None:
        """Have what is sent to a queue with a name be looked at: requests wait for it.

        Raises:
            ProtocolError: there are too many of those.
        """
        awaited, destination = self.send_routes.awaited, destination.plain
        if destination in awaited:
            return
        if len(awaited) >= _MOST_AWAITED:
            raise ProtocolError(
                ErrorCode.LIMIT_EXCEEDED,
                f"{_MOST_AWAITED} queues with a name are the reply-to of requests with a "
                "reply-timeout, which is the limit; a /temp-queue/ needs no place there",
            )
        awaited.add(destination)
        self._forget_plans()

    def _forget_plans(self) -> None:
        self.send_routes.forget()
        for cache in self.caches.values():
            cache.heads.clear()  # plans are kept there

    def peer_urls(self, listener: str) -> str:
        """The other brokers for the header ``peers``; empty = there is none.

        Args:
            listener: the URL that the client came in by. It can speak that, and nobody who came by
                TLS is to be told of a place without.
        """
        if self.peers is None:
            return ""
        scheme = listener.partition("://")[0]
        urls = [one if "://" in one else f"{scheme}://{one}" for one in self.peers()]
        return ",".join(url for url in urls if url.startswith(f"{scheme}://"))

    def peer_headers(self, listener: str) -> dict[str, str]:
        """The header ``peers``, if there are any; see `peer_urls`."""
        urls = self.peer_urls(listener)
        return {"peers": urls} if urls else {}

    def next_number(self) -> int:
        """A number that nothing in this broker had before."""
        return next(self._numbers)

    def next_tag(self) -> int:
        """A number for the deliveries of a subscription that no subscription ever had."""
        return next(self._tags)


class Peer(Protocol):
    """What a session needs from its connection.

    Attributes:
        address: who is there, for the log.
        host: the IP address.
        certificate: the login that the client's certificate stands for.
        since: when it connected.
        output: where the session writes.
        listener: the URL that the client came in by.
        tls: its encryption, for reports; None = there is none.
        ws: whether it speaks STOMP over WebSocket.
        best_version: none beyond this one was agreed on below STOMP.
    """

    address: str
    host: str
    certificate: str | None
    since: float
    output: OutputBuffer
    listener: str
    tls: Tls | None
    ws: bool
    best_version: Version

    @property
    def unwritten(self) -> int:
        """Bytes that the socket has not taken yet."""
        ...

    @property
    def has_left(self) -> bool:
        """Whether the client has closed its side, as far as that can be seen without reading."""
        ...

    def probe(self) -> None:
        """Have what is written next show soon whether anybody is there."""
        ...

    def pause(self) -> None:
        """Read no more from the client for now."""
        ...

    def resume(self) -> None:
        """Read from the client again."""
        ...

    @property
    def has_input(self) -> bool:
        """Whether the client sent something, or left, and that was not read yet."""
        ...

    def raise_read_limits(self) -> None:
        """Read more at once from now on: the client has logged in."""
        ...

    def close(self, reason: ErrorCode | None = None) -> None:
        """Write what waits, then close gracefully; the reason is None when all is well."""
        ...
