"""The broker's answer for itself: it is told what becomes of clients, and is asked by them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from stompy.admin.command import Request
from stompy.admin.explanation import RouteExplanation
from stompy.admin.rows import Event, Role
from stompy_broker.admin.cluster_control import ClusterControl
from stompy_broker.admin.cluster_status import ClusterStatus
from stompy_broker.admin.commands.base import Call, Command, CommandContext, Reload
from stompy_broker.admin.commands.broker import BrokerCommands
from stompy_broker.admin.commands.clients import ClientCommands
from stompy_broker.admin.commands.cluster import ClusterCommands
from stompy_broker.admin.commands.duplicates import DuplicateCommands
from stompy_broker.admin.commands.edits import EditCommands
from stompy_broker.admin.commands.explain import ExplainCommands
from stompy_broker.admin.commands.exports import ExportCommands
from stompy_broker.admin.commands.history import HistoryCommands
from stompy_broker.admin.commands.message_groups import GroupCommands
from stompy_broker.admin.commands.messages import MessageCommands
from stompy_broker.admin.commands.queues import QueueCommands
from stompy_broker.admin.commands.replays import ReplayCommands
from stompy_broker.admin.commands.retained import RetainedCommands
from stompy_broker.admin.commands.routes import RouteCommands
from stompy_broker.admin.commands.runner import CommandRunner
from stompy_broker.admin.commands.schedules import ScheduleCommands
from stompy_broker.admin.commands.streams import StreamCommands
from stompy_broker.admin.commands.transfers import TransferCommands
from stompy_broker.admin.commands.users import UserCommands
from stompy_broker.admin.metrics import Metrics
from stompy_broker.admin.pages import Pages
from stompy_broker.admin.publisher import Publisher
from stompy_broker.admin.snapshots.broker import Listening
from stompy_broker.admin.snapshots.process import Process
from stompy_broker.admin.snapshots.snapshots import Snapshots
from stompy_broker.admin.snapshots.totals import ClientTotals
from stompy_broker.admin.streams import BrokerIdentity, EnvelopeWriter
from stompy_broker.admin.tasks import Scheduler, Steps
from stompy_broker.foreign_headers import ForeignHeaders
from stompy_broker.http_config import HTTPConfig
from stompy_broker.routing.answers import nobody_asks
from stompy_broker.routing.router import Router
from stompy_broker.security.access import Access
from stompy_broker.security.login import Logins
from stompy_broker.session.context import AdminClient, Answer, Client, SessionObserver
from stompy_broker.session.quotas import Quotas
from stompy_broker.session.subscription import Subscription
from stompy_broker.session.sys_subscription import StreamSpec, SysSubscription

if TYPE_CHECKING:
    from stompy_broker.admin.peers.peer_brokers import Peers

CLOSED_KEPT = 200
"""Connections whose ends are remembered."""


class AdminService(SessionObserver):
    """Keeps the register of who is logged in, and knows whom to ask.

    Args:
        identity: who the broker is.
        router: queues, topics and durable subscriptions.
        logins: who may come in.
        access: the rules of the configuration.
        listening: where connections are taken.
        process: what the operating system says.
        scheduler: for work that takes many steps.
        cluster: which the broker belongs to.

    Attributes:
        snapshots: makes the rows of everything.
        control: what the cluster may be told to do, once it is known.
        reload: what reads the configuration again, once it is known.
        foreign_headers: knows headers that are refused, once that is known.
        quotas: what users may use, once that is known.
        sessions: who is logged in, by key.
        clustered: whether the broker belongs to a cluster.
        peers: the other brokers of the cluster; it has to be told of links. None = no cluster.
    """

    def __init__(
        self,
        identity: BrokerIdentity,
        router: Router,
        logins: Logins,
        access: Access,
        listening: Listening,
        process: Process,
        scheduler: Scheduler,
        cluster: ClusterStatus | None = None,
    ) -> None:
        self.control: ClusterControl | None = None
        self.reload: Reload | None = None
        self.foreign_headers: ForeignHeaders | None = None
        self.quotas: Quotas | None = None
        self._events = events = router.events
        self._wall = router.wall
        self._totals = totals = ClientTotals()
        self.sessions: dict[str, AdminClient] = {}
        self._closed: deque[dict[str, object]] = deque(maxlen=CLOSED_KEPT)
        self.snapshots = Snapshots(
            router, self.sessions, logins, listening, totals, process, cluster
        )
        self.clustered = cluster is not None
        writer = EnvelopeWriter(identity, lambda: self.snapshots.up_ms)
        self._publisher = Publisher(
            self.snapshots,
            events,
            writer,
            router.clock.machine,
            scheduler,
            None if cluster is None else cluster.broker,
        )
        self._writer, self._scheduler = writer, scheduler
        self._router, self._listening = router, listening
        self._pages: Pages | None = None
        context = CommandContext(
            router=router,
            sessions=self.sessions,
            snapshots=self.snapshots,
            events=events,
            access=access,
            logins=logins,
            identity=identity,
            publisher=self._publisher,
            writer=writer,
            closed=self._closed,
            cluster=cluster,
            control=lambda: self.control,
            reload=lambda: self.reload,
            foreign_headers=lambda: self.foreign_headers,
            quotas=lambda: self.quotas,
        )
        self._commands = CommandRunner(command_table(context), context, scheduler)
        self._explanations = ExplainCommands(context)
        self.peers: Peers | None = None
        if cluster is not None:
            self.peers = self._peers_of(cluster, router)

    def _peers_of(self, cluster: ClusterStatus, router: Router) -> Peers:
        # Nothing of it is loaded where there is no cluster.
        from stompy_broker.admin.peers.peer_brokers import Peers  # noqa: PLC0415 -- see above

        peers = Peers(
            cluster, self._publisher, self._events, self._commands, router.clock, router.set_alarm
        )
        self._publisher.peers = peers
        self.snapshots.links = lambda: peers.linked
        return peers

    def explain(
        self, destination: str, headers: Mapping[str, str], body_bytes: int, user: str | None
    ) -> Steps[RouteExplanation]:
        """Say to the program around the broker where a message would go, and why.

        Args:
            destination: of the SEND.
            headers: of the SEND.
            body_bytes: size of its body.
            user: who would send it; None = somebody without login.
        """
        about = {"destination": destination, "headers": headers, "body_bytes": body_bytes}
        (command,) = self._explanations.table()
        args = command.read({**about, "user": user})
        call = Call(Request(command.name, args), args, None, Role.ADMIN, nobody_asks)
        return self._explanations.explain(call)

    def open_pages(self, http: HTTPConfig) -> Pages:
        """Give what makes the pages that are asked for by HTTP.

        Args:
            http: what the configuration says of them.
        """
        router = self._router
        self._pages = Pages(
            self.snapshots,
            self._writer,
            Metrics(router, self._listening, http.max_series, http.metrics_match),
            router.clock.machine,
            self._scheduler,
            self._publisher.forget_unwatched,
        )
        return self._pages

    def close(self) -> None:
        """Make no more snapshots, for the broker ends."""
        if self.peers is not None:
            self.peers.close()
        if self._pages is not None:
            self._pages.close()
        self._publisher.close()

    # -- who comes and goes -------------------------------------------------------------------

    def logged_in(self, client: AdminClient) -> None:
        """Count the client, and tell who watches."""
        self.sessions[client.key] = client
        self._totals.connections += 1
        self._tell("connection.opened", client, detail=_about(client))

    def login_refused(self, client: Client, login: str, reason: str) -> None:
        """Count the failure, and tell who watches."""
        self._totals.auth_failures += 1
        event = Event(
            type="auth.failed",
            severity="warn",
            user=login[:200],
            reason=reason,
            detail={"peer": client.peer.address},
        )
        self._events.refuse(event)

    def access_refused(self, client: Client, destination: str, reason: str) -> None:
        """Tell who watches, as often as refusals may be told."""
        event = Event(
            type="auth.denied",
            severity="warn",
            connection=client.key,
            user=_user(client),
            destination=destination[:200],
            reason=reason,
        )
        self._events.refuse(event)

    def left(self, client: AdminClient, why: str) -> None:
        """Keep the client's counters, stop its commands, and tell who watches."""
        self.sessions.pop(client.key, None)
        self._totals.leave(client)
        self._commands.leave(client)
        self._tell("connection.closed", client, reason=why, detail=_about(client))
        kept: dict[str, object] = {"id": client.key, "user": _user(client), "reason": why}
        self._closed.append({**kept, **_about(client), "at": self._wall()})

    def blocked(self, client: Client, blocked: bool, reason: str) -> None:
        """Tell who watches that a client must wait before it may send more, or need not."""
        if blocked:
            self._tell("connection.blocked", client, severity="warn", reason=reason)
        else:
            self._tell("connection.unblocked", client)

    def subscribed(self, client: Client, subscription: Subscription) -> None:
        """Tell who watches of a new subscription."""
        self._tell_subscription("subscription.created", client, subscription)

    def unsubscribed(self, client: Client, subscription: Subscription) -> None:
        """Tell who watches that a subscription ends."""
        self._tell_subscription("subscription.closed", client, subscription)

    def activated(self, client: Client, subscription: Subscription) -> None:
        """Tell who watches of a subscription that is the only one that gets messages."""
        self._tell_subscription("subscription.activated", client, subscription)

    def timed_out(self, client: Client, subscription: Subscription, count: int) -> None:
        """Tell who watches of deliveries that went back, because they were not settled in time."""
        self._tell(
            "subscription.timed_out",
            client,
            severity="warn",
            destination=subscription.queue.destination,
            subscription=f"s-{subscription.number}",
            detail={"messages": count},
        )

    def transacted(self, client: Client, action: str, transaction_id: str) -> None:
        """Tell who watches, if anybody asked for transactions by name."""
        if "transaction" in self._events.detailed:
            self._tell(f"transaction.{action}", client, detail={"transaction": transaction_id})

    def _tell_subscription(self, what: str, client: Client, subscription: Subscription) -> None:
        self._tell(
            what,
            client,
            destination=subscription.queue.destination,
            subscription=f"s-{subscription.number}",
        )

    def _tell(
        self,
        what: str,
        client: Client,
        *,
        severity: str = "info",
        destination: str = "",
        subscription: str = "",
        reason: str = "",
        detail: dict[str, object] | None = None,
    ) -> None:
        event = Event(
            type=what,
            severity=severity,
            connection=client.key,
            user=_user(client),
            destination=destination,
            subscription=subscription,
            reason=reason,
            detail=detail,
        )
        self._events.tell(event)

    # -- what is asked ------------------------------------------------------------------------

    def subscribe(
        self, subscription: SysSubscription, streams: Sequence[StreamSpec], events: str | None
    ) -> None:
        """Begin to offer these streams, and the events that match a pattern."""
        self._publisher.subscribe(subscription, streams, events)

    def unsubscribe(self, subscription: SysSubscription) -> None:
        """Offer a subscription nothing more, and keep its counters."""
        self._publisher.unsubscribe(subscription)
        self._totals.watched_msgs += subscription.written
        self._totals.watched_bytes += subscription.octets
        self._totals.watched_dropped += subscription.dropped

    def execute(self, client: Client, body: bytes, answer: Answer | None, problem: str) -> None:
        """Carry out a command, and count it."""
        self._totals.commands += 1
        self._commands.execute(client, body, answer, problem)


def command_table(context: CommandContext) -> list[Command]:
    """Make the table of all commands."""
    table: list[Command] = []
    table += BrokerCommands(context, table).table()
    table += ClientCommands(context).table()
    table += QueueCommands(context).table()
    table += MessageCommands(context).table()
    table += TransferCommands(context).table()
    table += EditCommands(context).table()
    table += ExportCommands(context).table()
    table += HistoryCommands(context).table()
    table += ReplayCommands(context).table()
    table += ExplainCommands(context).table()
    table += RouteCommands(context).table()
    table += ScheduleCommands(context).table()
    table += UserCommands(context).table()
    table += GroupCommands(context).table()
    table += StreamCommands(context).table()
    table += RetainedCommands(context).table()
    table += DuplicateCommands(context).table()
    table += ClusterCommands(context).table()
    return table


def _user(client: Client) -> str:
    return client.principal.name if client.principal is not None else ""


def _about(client: Client) -> dict[str, object]:
    return {
        "peer": client.peer.address,
        "client_id": client.client_id or "",
        "listener": client.peer.listener,
    }
