"""The rows of connections, subscriptions, durable subscriptions and transactions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from stompy.admin.json_types import Holding
from stompy.admin.rows import ConnectionRow, DurableRow, SubscriptionRow, TransactionRow
from stompy.protocol.frame import AckMode
from stompy_broker.admin.asking import KnownFigures
from stompy_broker.admin.cluster_status import ClusterStatus, lives_here, tail_of
from stompy_broker.admin.snapshots.queues import AT_ONCE
from stompy_broker.admin.snapshots.rates import Rates
from stompy_broker.admin.snapshots.snapshot_time import SnapshotTime
from stompy_broker.admin.tasks import Steps
from stompy_broker.destinations.names import topic_text
from stompy_broker.routing.durable import DurableSubscription
from stompy_broker.routing.interface import Queue, QueueFigures
from stompy_broker.routing.joined_queues import by_queue, queues_of
from stompy_broker.routing.router import Router
from stompy_broker.session.browser import Browser
from stompy_broker.session.context import AdminClient
from stompy_broker.session.limited_subscription import LimitedSubscription
from stompy_broker.session.subscription import AckSubscription, Subscription
from stompy_broker.session.transactions import Publication, Transaction

SLOW_SECONDS, STUCK_SECONDS = 30.0, 300.0


class ClientSnapshots:
    """Makes rows of clients, and of what they hold.

    Args:
        router: where durable subscriptions are.
        sessions: who is connected, by key.
        cluster: which the broker belongs to.
    """

    def __init__(
        self,
        router: Router,
        sessions: Mapping[str, AdminClient],
        cluster: ClusterStatus | None = None,
    ) -> None:
        self._router = router
        self._cluster = cluster
        self._broker = None if cluster is None else cluster.broker
        self._tail = tail_of(cluster)
        self._sessions = sessions
        self._known = KnownFigures()
        self._connection_rates: Rates[str] = Rates()
        self._subscription_rates: Rates[int] = Rates()

    def connections(self, moment: SnapshotTime) -> Steps[list[ConnectionRow]]:
        """Make the rows of everybody who is logged in."""
        rows = []
        for number, session in enumerate(list(self._sessions.values()), 1):
            if not session.ended:  # it may have left since
                rows.append(self.connection(session, moment))
            if number % AT_ONCE == 0:
                yield None
        self._connection_rates.keep({row.id for row in rows})
        return rows

    def connection(self, session: AdminClient, moment: SnapshotTime) -> ConnectionRow:
        """Make the row of one client."""
        principal, peer, beat = session.principal, session.peer, session.heart_beat
        subscriptions = session.subscriptions.values()
        out = session.delivered + sum(subscription.delivered for subscription in subscriptions)
        out += session.browsers.written
        return ConnectionRow(
            id=session.key,
            session=session.id,
            peer=peer.address,
            user=principal.name if principal else "",
            role=principal.role.value if principal else "",
            client_id=session.client_id or "",
            listener=peer.listener,
            tls=peer.tls,
            ws=peer.ws,
            protocol=session.version.value,
            state="blocked" if session.held_by else "running",
            blocked_by=session.held_by,
            connected_at=moment.when(session.connected_at),
            last_in_at=moment.when(session.received_at),
            heart_beat=None
            if beat is None
            else {"in_ms": int(beat.receive * 1000), "out_ms": int(beat.send * 1000)},
            subscriptions=len(subscriptions),
            transactions=len(session.transactions),
            unacked=sum(_unsettled(subscription) for subscription in subscriptions),
            pending_bytes=peer.unwritten,
            in_frames=session.in_frames,
            in_msgs=session.in_msgs,
            in_bytes=session.in_bytes,
            out_msgs=out,
            out_bytes=peer.output.written,
            rate=self._connection_rates.look(session.key, moment.now, session.in_msgs, out),
            broker=self._broker,
        )

    def subscriptions(self, moment: SnapshotTime) -> Steps[list[SubscriptionRow]]:
        """Make the rows of who gets what."""
        pairs: list[tuple[AdminClient, Subscription]] = []
        for number, session in enumerate(list(self._sessions.values()), 1):
            if not session.ended:
                pairs += [(session, one) for one in session.subscriptions.values()]
            if number % AT_ONCE == 0:
                yield None
        rows: list[SubscriptionRow] = []
        for at in range(0, len(pairs), AT_ONCE):
            some = [pair for pair in pairs[at : at + AT_ONCE] if not pair[0].ended]
            rows += yield from self._rows_of(some, moment)
            if at + AT_ONCE <= len(pairs):
                yield None
        rows += [
            self._browser(session, one, moment)
            for session in self._sessions.values()
            for one in session.browsers
        ]
        self._known.keep([queue for _, one in pairs for queue in self._telling(one)])
        self._subscription_rates.keep({subscription.number for _, subscription in pairs})
        return rows

    def consumers_of(self, queue: Queue, moment: SnapshotTime) -> Steps[list[SubscriptionRow]]:
        """Make the rows of the subscriptions to one queue."""
        pairs = [
            (session, subscription)
            for session in self._sessions.values()
            for subscription in session.subscriptions.values()
            if queue in queues_of(subscription.queue)
        ]
        return (yield from self._rows_of(pairs, moment))

    def _rows_of(
        self, pairs: Sequence[tuple[AdminClient, Subscription]], moment: SnapshotTime
    ) -> Steps[list[SubscriptionRow]]:
        self._router.topics.count()
        queues = list({queue: None for _, one in pairs for queue in self._telling(one)})
        figures = yield from self._known.read(queues)
        told = dict(zip(queues, figures, strict=True))
        rows = []
        for session, one in pairs:
            backlog = told.get(one.queue) if self._has_backlog(one.queue) else None
            row = self._subscription(session, one, backlog, moment)
            if one.terms.selector:
                _add_line(
                    row, one.terms.selector, [told.get(queue) for queue in queues_of(one.queue)]
                )
            rows.append(row)
        return rows

    def _telling(self, subscription: Subscription) -> list[Queue]:
        """The queues whose figures tell something of a subscription."""
        queue = subscription.queue
        if subscription.terms.selector:
            return [one for one in queues_of(queue) if not one.private]
        return [queue] if self._has_backlog(queue) else []

    def _subscription(
        self,
        session: AdminClient,
        subscription: Subscription,
        told: QueueFigures | None,
        moment: SnapshotTime,
    ) -> SubscriptionRow:
        queue, unacked = subscription.queue, _unsettled(subscription)
        durable = self._router.registry.durable.of(queue)
        acked = nacked = 0
        if isinstance(subscription, AckSubscription):
            nacked = subscription.nacked
            acked = subscription.delivered - unacked - nacked
        oldest_at, waits = self._oldest(subscription, moment)
        stopped = not subscription.auto and not subscription.waiting
        destination = queue.destination
        if durable is not None and queue.durable:
            destination = topic_text(durable.pattern)
        row = SubscriptionRow(
            id=f"s-{subscription.number}{self._tail}",
            connection=session.key,
            user=session.principal.name if session.principal else "",
            subscription=subscription.id or "",
            destination=destination,
            queues=len(queues_of(queue)),
            ack=subscription.mode.value,
            prefetch=subscription.prefetch,
            selector=self._selector_of(subscription),
            durable_name="" if durable is None else durable.name,
            priority=subscription.terms.priority,
            single_active=subscription.terms.single_active,
            active=not subscription.stands_by,
            blocked=session.peer.output.was_full,
            pending=told.ready if told is not None else 0,
            unacked=unacked,
            delivered=subscription.delivered,
            acked=acked,
            nacked=nacked,
            dropped=told.dropped if told is not None and queue.private else 0,
            rate=self._subscription_rates.look(
                subscription.number, moment.now, 0, subscription.delivered, acked
            ),
            oldest_unacked_at=oldest_at,
            slow=stopped and waits >= SLOW_SECONDS,
            stuck=stopped and waits >= STUCK_SECONDS,
            created_at=moment.when(subscription.created_at),
            broker=self._broker,
        )
        self._add_choice(row, subscription)
        return row

    def _add_choice(self, row: SubscriptionRow, subscription: Subscription) -> None:
        """Add what few subscriptions have: a choice among the messages of a topic, and limits."""
        for queue in queues_of(subscription.queue):
            chooser = self._router.topics.chooser(queue)
            if chooser is not None:
                row.selector = "" if chooser.selector is None else chooser.selector.text
                row.matched += chooser.matched
                row.skipped += chooser.skipped
                row.no_local = bool(chooser.not_from)
        if isinstance(subscription, LimitedSubscription):
            settling = subscription.settling
            row.window_bytes, row.timed_out = settling.window, subscription.timed_out
            row.timeout_ms = round((settling.timeout or 0.0) * 1000)

    def _selector_of(self, subscription: Subscription) -> str:
        """Which messages a subscription takes; empty = all."""
        chooser = self._router.topics.chooser(subscription.queue)
        if chooser is None or chooser.selector is None:
            return subscription.terms.selector
        return chooser.selector.text

    def _browser(self, session: AdminClient, one: Browser, moment: SnapshotTime) -> SubscriptionRow:
        request = one.request
        return SubscriptionRow(
            id=f"s-{one.number}{self._tail}",
            connection=session.key,
            user=session.principal.name if session.principal else "",
            subscription=request.id or "",
            destination=str(request.destination),
            ack=AckMode.AUTO.value,
            selector=request.selection.selector,
            browser=True,
            blocked=one.blocked,
            delivered=one.shown,
            created_at=moment.when(one.created_at),
            broker=self._broker,
        )

    def _oldest(self, subscription: Subscription, moment: SnapshotTime) -> tuple[int | None, float]:
        """Since when the oldest delivery waits to be settled, and for how many seconds."""
        if not isinstance(subscription, AckSubscription):
            return None, 0.0
        oldest = subscription.oldest
        if oldest is None:
            return None, 0.0
        since = subscription.times.when(oldest)
        return moment.when(since), moment.now - since

    def durable(self, moment: SnapshotTime) -> Steps[list[DurableRow]]:
        """Make the rows of the durable subscriptions, with or without subscriber."""
        yield None
        online: dict[str, list[str]] = {}
        for session in self._sessions.values():
            for subscription in session.subscriptions.values():
                if self._router.registry.durable.of(subscription.queue) is not None:
                    online.setdefault(subscription.queue.name, []).append(session.key)
        durable = list(self._router.registry.durable.by_name.values())
        queues = {known.name: self._router.queues[known.queue] for known in durable}
        here = [known for known in durable if lives_here(self._cluster, queues[known.name])]
        figures = yield from KnownFigures().read([queues[known.name] for known in here])
        told = dict(zip([known.name for known in here], figures, strict=True))
        rows = []
        for known in durable:
            connections = tuple(online.get(known.queue, ()))
            if known.name in told or connections:
                found = told.get(known.name)
                row = _durable(known, queues[known.name], found, connections, moment)
                if self._cluster is not None:
                    row.broker, row.group = self._broker, queues[known.name].group.number
                rows.append(row)
        return rows

    def transactions(self, moment: SnapshotTime) -> Steps[list[TransactionRow]]:
        """Make the rows of all transactions that are open."""
        yield None
        rows = [
            _transaction(session, name, transaction, moment)
            for session in self._sessions.values()
            for name, transaction in session.transactions.items()
        ]
        if self._cluster is not None:
            for row in rows:
                row.id, row.broker = f"{row.id}{self._tail}", self._broker
        return rows

    def _has_backlog(self, queue: Queue) -> bool:
        """Whether what waits in a queue waits for one subscription, or a shared durable one.

        A backlog that another broker has is told of by that broker.
        """
        return queue.private or (queue.durable and lives_here(self._cluster, queue))

    def clear(self) -> None:
        """Forget everything: nobody looks any more."""
        self._known.clear()
        self._connection_rates.clear()
        self._subscription_rates.clear()


def _durable(
    known: DurableSubscription,
    queue: Queue,
    told: QueueFigures | None,
    connections: tuple[str, ...],
    moment: SnapshotTime,
) -> DurableRow:
    """Make a row; without figures it says who is subscribed here, and its broker the rest."""
    row = DurableRow(
        name=known.name,
        destination=topic_text(known.pattern),
        destinations=tuple([topic_text(pattern) for pattern in known.patterns]),
        queue=queue.name,
        selector=known.selector,
        not_from=known.not_from,
        shared=known.shared,
        share=known.share,
        auto_delete=known.auto_delete,
        owner=known.owner,
        online=bool(connections),
        connections=connections,
    )
    if told is None:
        return row
    seconds = known.expires or queue.policy.expires
    idle = told.idle_since
    return replace(
        row,
        pending=told.ready + told.delayed,
        unacked=told.unacked,
        bytes=told.bytes,
        dropped=told.dropped,
        last_online_at=None if idle is None else moment.when(idle),
        expires_at=moment.when(idle + seconds) if seconds and idle is not None else None,
    )


def _unsettled(subscription: Subscription) -> int:
    if isinstance(subscription, AckSubscription):
        return len(subscription.unacked) + len(subscription.claimed)
    return 0


def _transaction(
    session: AdminClient, name: str, transaction: Transaction, moment: SnapshotTime
) -> TransactionRow:
    holdings: dict[str, Holding] = {}
    sends = acks = nacks = 0
    for operation in transaction.operations:
        if isinstance(operation, Publication):
            sends += 1
            holding = _holding(holdings, operation.destination)
            holding["sends"] += 1
            holding["bytes"] += operation.size
        else:
            claimed = operation.subscription.claimed
            settled = [claimed[number] for number in operation.numbers]
            for queue, some in by_queue(operation.subscription.queue, settled).items():
                holding = _holding(holdings, queue.destination)
                if operation.rejection is None:
                    acks += len(some)
                    holding["acks"] += len(some)
                else:
                    nacks += len(some)
                    holding["nacks"] += len(some)
    return TransactionRow(
        id=f"t-{transaction.number}",
        transaction=name,
        connection=session.key,
        user=session.principal.name if session.principal else "",
        begun_at=moment.when(transaction.begun_at),
        last_frame_at=moment.when(transaction.touched_at),
        sends=sends,
        acks=acks,
        nacks=nacks,
        bytes=transaction.size,
        destinations=tuple(holdings.values()),
        limits={
            "frames": session.transactions.max_frames,
            "bytes": session.transactions.max_bytes,
        },
    )


def _holding(holdings: dict[str, Holding], name: str) -> Holding:
    holding = holdings.get(name)
    if holding is None:
        holding = {"name": name, "sends": 0, "acks": 0, "nacks": 0, "bytes": 0}
        holdings[name] = holding
    return holding


def _add_line(row: SubscriptionRow, selector: str, told: list[QueueFigures | None]) -> None:
    """Add what became of the messages that were looked at for the selector of a subscription."""
    for figures in told:
        for line in () if figures is None else figures.lines:
            if line.selector == selector:
                row.matched += line.matched
                row.skipped += line.skipped
