"""The row of the broker itself."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Protocol

from stompy.admin.json_types import Alarm, Listener, StoreFigures, Traffic, Watching
from stompy.admin.rows import BrokerRow
from stompy_broker.admin.asking import KnownFigures
from stompy_broker.admin.cluster_status import ClusterStatus, lives_here
from stompy_broker.admin.snapshots.lag import LagMeter
from stompy_broker.admin.snapshots.process import Process
from stompy_broker.admin.snapshots.queues import AT_ONCE
from stompy_broker.admin.snapshots.rates import WINDOW
from stompy_broker.admin.snapshots.snapshot_time import SnapshotTime
from stompy_broker.admin.snapshots.totals import ClientTotals
from stompy_broker.admin.tasks import Steps
from stompy_broker.destinations.names import is_companion, scheduled_for
from stompy_broker.routing.interface import Queue, QueueFigures
from stompy_broker.routing.router import Router
from stompy_broker.routing.stats import Totals
from stompy_broker.security.login import Logins
from stompy_broker.session.context import AdminClient
from stompy_broker.version import __version__

_COUNTERS = tuple(Totals.__slots__)
_COUNTS = attrgetter(*_COUNTERS)

_TROUBLE = {
    "memory": "waiting messages have reached limits.memory; producers wait",
    "disk": "messages on disk have reached limits.disk; producers of persistent messages wait",
}


class Listening(Protocol):
    """Where connections are taken, and how many there are."""

    @property
    def urls(self) -> tuple[str, ...]:
        """All that clients may connect to."""
        ...

    @property
    def connections(self) -> int:
        """How many clients are connected, logged in or not."""
        ...

    @property
    def connections_max(self) -> int:
        """How many there may be."""
        ...

    @property
    def connections_refused(self) -> int:
        """How many were too many, so far."""
        ...


class BrokerSnapshots:
    """Makes the row of the broker itself.

    Args:
        router: queues, topics and durable subscriptions.
        sessions: who is logged in, by key.
        logins: who may come in.
        listening: where connections are taken.
        totals: what was counted of clients that are gone.
        process: what the operating system says.
        cluster: which the broker belongs to.

    Attributes:
        lag: measures the event loop, once started.
    """

    def __init__(
        self,
        router: Router,
        sessions: Mapping[str, AdminClient],
        logins: Logins,
        listening: Listening,
        totals: ClientTotals,
        process: Process,
        cluster: ClusterStatus | None = None,
    ) -> None:
        self.lag = LagMeter(router.clock.machine)
        self._router = router
        self._sessions = sessions
        self._logins = logins
        self._listening = listening
        self._totals = totals
        self._process = process
        self._cluster = cluster
        self._known = KnownFigures()
        self._started_at = router.wall()
        self._traffic: tuple[float, tuple[int, ...], Traffic | None] | None = None
        self._commits: tuple[float, int, float] | None = None

    def watch(self) -> None:
        """Measure the event loop from now on."""
        self.lag.start()

    def clear(self) -> None:
        """Measure no more, and forget what rates were reckoned from."""
        self.lag.stop()
        self._known.clear()
        self._traffic = self._commits = None

    def row(self, moment: SnapshotTime) -> Steps[BrokerRow]:
        """Make the row of the broker from all that there is, in small steps."""
        totals, waiting = Totals(), [0, 0, 0, 0]
        totals.add(self._router.registry.gone)
        present = yield from self._look_at_clients()
        every = list(self._router.queues.values())
        cluster = self._cluster
        if cluster is not None:
            every = [queue for queue in every if lives_here(cluster, queue)]
        named = [queue for queue in every if not is_companion(queue.name)]
        present.queues = len(named)
        later = [queue for queue in every if scheduled_for(queue.name)]
        waiting[3] = sum([told.delayed for told in (yield from self._known.read(later))])
        queues = [
            *named,
            *self._router.registry.replies.values(),
            *present.backlogs,
        ]
        kept = [*queues, *later]
        for at in range(0, len(queues), AT_ONCE * 2):
            figures = yield from self._known.read(queues[at : at + AT_ONCE * 2])
            _count(figures, totals, waiting)
            yield None
        self._known.keep(kept)
        return self._row(moment, totals, waiting, present)

    def _look_at_clients(self) -> Steps[_Present]:
        """Add up what is known of those who are logged in, in small steps."""
        present = _Present()
        for number, session in enumerate(list(self._sessions.values()), 1):
            if not session.ended:
                present.add(session)
            if number % AT_ONCE == 0:
                yield None
        present.finish()
        return present

    def _row(
        self, moment: SnapshotTime, totals: Totals, waiting: Sequence[int], present: _Present
    ) -> BrokerRow:
        router, gone = self._router, self._totals
        facts = self._process.look()
        listening = self._listening
        traffic = {
            "in_msgs": gone.in_msgs + present.in_msgs,
            "in_bytes": gone.in_bytes + present.in_bytes,
            "out_msgs": gone.out_msgs + present.out_msgs,
            "out_bytes": gone.out_bytes + present.out_bytes,
        }
        return BrokerRow(
            name=self._process.name,
            version=__version__,
            python=self._process.python,
            compiled=self._process.compiled,
            loop=self._process.loop,
            os=self._process.system,
            pid=self._process.pid,
            started_at=self._started_at,
            listeners=tuple(self._listeners(present)),
            draining=self._logins.draining,
            connections=listening.connections,
            connections_max=listening.connections_max,
            connections_total=gone.connections,
            connections_refused=listening.connections_refused,
            auth_failures=gone.auth_failures,
            logins_waiting=self._logins.waiting,
            subscriptions=present.subscriptions,
            queues=present.queues,
            topics=len(router.topics),
            durable_subscriptions=len(router.registry.durable.by_name),
            transactions=present.transactions,
            messages_ready=waiting[0],
            messages_delayed=waiting[1],
            messages_unacked=waiting[2],
            messages_scheduled=waiting[3],
            bytes_ram=router.memory.used,
            bytes_ram_mark=_mark(router.memory.high),
            bytes_stored=router.groups.disk_used,
            bytes_stored_mark=_mark(router.groups.disk_mark),
            acked=totals.acked,
            nacked=totals.nacked,
            redelivered=totals.redelivered,
            expired=totals.expired,
            dead_lettered=totals.dead_lettered,
            dropped=totals.dropped,
            unroutable=router.unroutable,
            retained=len(router.retained),
            retained_bytes=router.retained.bytes,
            duplicates=router.duplicates.dropped,
            duplicate_ids=router.duplicates.kept,
            requests=router.requests.asked,
            requests_open=router.requests.open,
            requests_failed=router.requests.failed,
            late_replies=router.requests.late,
            rate=self._rate(moment, traffic, totals.acked),
            cpu_pct=facts.cpu_pct,
            rss_bytes=facts.rss_bytes,
            fds=facts.fds,
            fds_max=facts.fds_max,
            threads=facts.threads,
            loop_lag_ms=self.lag.lag,
            disk_free_bytes=facts.disk_free_bytes,
            store=self._store(moment),
            alarms=tuple(self._alarms()),
            admin=self._watching(present),
            broker=None if self._cluster is None else self._cluster.broker,
            **traffic,
        )

    def _listeners(self, present: _Present) -> Iterator[Listener]:
        for url in self._listening.urls:
            yield {"url": url, "clients": present.listeners[url]}

    def _rate(self, moment: SnapshotTime, traffic: Mapping[str, int], acked: int) -> Traffic | None:
        counts = (
            traffic["in_msgs"],
            traffic["out_msgs"],
            acked,
            traffic["in_bytes"],
            traffic["out_bytes"],
        )
        rate: Traffic | None = None
        if self._traffic is not None:
            then, before, rate = self._traffic
            seconds = moment.now - then
            if seconds < WINDOW:
                return rate
            rate = _traffic([n - b for n, b in zip(counts, before, strict=True)], seconds)
        self._traffic = (moment.now, counts, rate)
        return rate

    def _store(self, moment: SnapshotTime) -> StoreFigures:
        figures = self._router.groups.stats()
        then, before, rate = self._commits or (moment.now, figures.commits, 0.0)
        seconds = moment.now - then
        if seconds >= WINDOW:
            rate = round((figures.commits - before) / seconds, 1)
        if self._commits is None or seconds >= WINDOW:
            self._commits = (moment.now, figures.commits, rate)
        return {
            "kind": "sqlite" if self._router.groups.durable else "memory",
            "bytes": figures.bytes,
            "trouble": self._router.groups.trouble,
            "unwritten": figures.unwritten,
            "commits": figures.commits,
            "fsync_per_s": rate,
            "fsync_avg_ms": round(figures.commit_seconds * 1000, 3),
            "damaged": figures.damaged,
        }

    def _alarms(self) -> Iterator[Alarm]:
        for name, since in self._router.alarms.items():
            reasons = self._router.alarm_reasons
            reason = _TROUBLE.get(name) or reasons.get(name) or self._router.groups.trouble
            yield {"name": name, "since": since, "reason": reason or "cannot be written"}

    def _watching(self, present: _Present) -> Watching:
        gone = self._totals
        return {
            "watchers": present.watchers,
            "out_msgs": gone.watched_msgs + present.watched_msgs,
            "out_bytes": gone.watched_bytes + present.watched_bytes,
            "dropped": gone.watched_dropped + present.watched_dropped,
            "commands": gone.commands,
        }


class _Present:
    """What is known of the clients that are logged in, of all of them together."""

    def __init__(self) -> None:
        self.backlogs: list[Queue] = []
        self.listeners: Counter[str] = Counter()
        self.queues = 0
        self._counted: list[tuple[AdminClient, tuple[int, ...]]] = []

    def add(self, session: AdminClient) -> None:
        """Take note of one."""
        subscriptions = session.subscriptions.values()
        self.backlogs += [one.queue for one in subscriptions if one.queue.private]
        self.listeners[session.peer.listener] += 1
        watchers = session.sys_subscriptions
        counts = (
            session.in_msgs,
            session.in_bytes,
            session.delivered + sum([one.delivered for one in subscriptions]),
            session.peer.output.written,
            len(subscriptions),
            len(session.transactions),
            len(watchers),
            sum([watcher.written for watcher in watchers]),
            sum([watcher.octets for watcher in watchers]),
            sum([watcher.dropped for watcher in watchers]),
        )
        self._counted.append((session, counts))

    def finish(self) -> None:
        """Add everything up. Who has left meanwhile is counted among those who are gone."""
        here = [counts for session, counts in self._counted if not session.ended]
        sums = [sum(column) for column in zip(*here, strict=True)] or [0] * 10
        self.in_msgs, self.in_bytes, self.out_msgs, self.out_bytes = sums[:4]
        self.subscriptions, self.transactions, self.watchers = sums[4:7]
        self.watched_msgs, self.watched_bytes, self.watched_dropped = sums[7:]
        self._counted.clear()


def _count(figures: Sequence[QueueFigures], totals: Totals, waiting: list[int]) -> None:
    columns = zip(*map(_COUNTS, figures), strict=True)
    for name, column in zip(_COUNTERS, columns, strict=True):
        setattr(totals, name, getattr(totals, name) + sum(column))
    waiting[0] += sum([told.ready for told in figures])
    waiting[1] += sum([told.delayed for told in figures])
    waiting[2] += sum([told.unacked for told in figures])


def _mark(high: float) -> int:
    return 0 if math.isinf(high) else int(high)


def _traffic(moved: Sequence[int], seconds: float) -> Traffic:
    came, went, acked, came_bytes, went_bytes = (round(n / seconds, 1) for n in moved)
    return {
        "in": came,
        "out": went,
        "ack": acked,
        "in_bytes": came_bytes,
        "out_bytes": went_bytes,
    }
