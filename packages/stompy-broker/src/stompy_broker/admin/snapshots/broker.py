"""Everything there is to know about the broker at one moment, as rows of `stompy.admin`.

This is what snapshots are made of, and what the broker's own Python interface may give as it is.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from stompy.admin.json_types import Alarm, Lag, Listener, StoreFigures, Traffic, Watching
from stompy.admin.rows import BrokerRow, Kind, QueueDetail, Row
from stompy_broker.admin.snapshots.clients import ClientCensus, Moment
from stompy_broker.admin.snapshots.process import Process
from stompy_broker.admin.snapshots.queues import AT_ONCE, QueueCensus, TopicCensus
from stompy_broker.admin.snapshots.rates import WINDOW
from stompy_broker.admin.tasks import Steps, Wait
from stompy_broker.routing.queue import LocalQueue as Queue
from stompy_broker.routing.router import Router
from stompy_broker.routing.stats import Totals
from stompy_broker.session.session import Session
from stompy_broker.timers import Clock
from stompy_broker.version import __version__

LAG_SECONDS, LAGS = 0.1, 100
"""How often the event loop's lateness is measured while somebody watches, and for how long."""

_COUNTERS = tuple(Totals.__slots__)
_COUNTS = attrgetter(*_COUNTERS)

_TROUBLE = {
    "memory": "waiting messages have reached limits.memory; producers wait",
    "disk": "messages on disk have reached limits.disk; producers of persistent messages wait",
}


class LagMeter:
    """By how much the event loop is late, measured while it runs.

    Args:
        clock: rings.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._alarm = clock.alarm(self._ring)
        self._due: float | None = None
        self._lags: deque[float] = deque(maxlen=LAGS)

    def start(self) -> None:
        """Measure from now on."""
        if self._due is None:
            self._set()

    def stop(self) -> None:
        """Measure no more, and forget."""
        self._due = None
        self._alarm.cancel()
        self._lags.clear()

    def _set(self) -> None:
        self._due = self._clock.now() + LAG_SECONDS
        self._alarm.set(self._due)

    def _ring(self) -> None:
        if self._due is not None:
            self._lags.append(max(0.0, self._clock.now() - self._due))
            self._set()

    @property
    def lag(self) -> Lag | None:
        """In milliseconds, over the last seconds; None = not measured yet."""
        if not self._lags:
            return None
        lags = sorted(self._lags)
        return {
            "avg": round(1000 * sum(lags) / len(lags), 2),
            "p99": round(1000 * lags[math.ceil(0.99 * len(lags)) - 1], 2),
            "max": round(1000 * lags[-1], 2),
        }


@dataclass(slots=True)
class Tally:
    """What the desk has counted since the start; of clients, those that are gone."""

    connections: int = 0
    refused: int = 0
    auth_failures: int = 0
    in_msgs: int = 0
    in_bytes: int = 0
    out_msgs: int = 0
    out_bytes: int = 0
    watched_msgs: int = 0
    watched_bytes: int = 0
    watched_dropped: int = 0
    commands: int = 0

    def leave(self, session: Session) -> None:
        """Keep the counters of a client that goes."""
        self.in_msgs += session.in_msgs
        self.in_bytes += session.in_bytes
        self.out_msgs += session.delivered
        self.out_bytes += session.peer.output.written


class Census:
    """Counts everything, when asked.

    Args:
        router: queues, topics and durable subscriptions.
        sessions: who is logged in, by key.
        clock: the broker's.
        tally: what the desk has counted.
        process: what the operating system says.
        listeners: where connections are taken.
        connections: how many there are, logged in or not, and how many there may be.
        door: whether only operators may come in, and how many wait to be let in.

    Attributes:
        clients: rows about clients.
        queues: rows about queues.
        lag: measures the event loop, once started.
    """

    def __init__(
        self,
        router: Router,
        sessions: Mapping[str, Session],
        clock: Clock,
        tally: Tally,
        process: Process,
        *,
        listeners: Callable[[], Sequence[str]],
        connections: Callable[[], tuple[int, int]],
        door: Callable[[], tuple[bool, int]],
    ) -> None:
        self.queues = QueueCensus(router)
        self.topics = TopicCensus(router)
        self.clients = ClientCensus(router, sessions)
        self.lag = LagMeter(clock)
        self._router = router
        self._sessions = sessions
        self._clock = clock
        self._tally = tally
        self._process = process
        self._listeners = listeners
        self._connections = connections
        self._door = door
        self._started = clock.now()
        self._started_at = router.wall()
        self._ticks = 0
        self._traffic: tuple[float, tuple[int, ...], Traffic | None] | None = None
        self._commits: tuple[float, int, float] | None = None

    def moment(self) -> Moment:
        """Now, with a number of its own."""
        self._ticks += 1
        return Moment(self._clock.now(), self._router.wall(), self._ticks)

    @property
    def up_ms(self) -> int:
        """For how long the broker has been running."""
        return int((self._clock.now() - self._started) * 1000)

    def rows(self, kind: Kind, name: str, moment: Moment) -> Steps[Sequence[Row]]:
        """The rows of one kind as they are now, looked at in small steps.

        Args:
            kind: not `Kind.EVENT`.
            name: of the queue, for `Kind.QUEUE`, which gives one row or none.
            moment: when it is.
        """
        now, clients = moment.now, self.clients
        if kind is Kind.BROKER:
            return [(yield from self.broker(moment))]
        if kind is Kind.QUEUES:
            return (yield from self.queues.rows(now))
        if kind is Kind.TOPICS:
            return (yield from self.topics.rows(now))
        if kind is Kind.CONNECTIONS:
            return (yield from clients.connections(moment))
        if kind is Kind.SUBSCRIPTIONS:
            return (yield from clients.subscriptions(moment))
        if kind is Kind.DURABLE:
            return (yield from clients.durable(moment))
        if kind is Kind.TRANSACTIONS:
            return (yield from clients.transactions(moment))
        yield None
        detail = self.detail(name, moment)
        return [] if detail is None else [detail]

    def now(self, kind: Kind, name: str = "") -> Sequence[Row]:
        """The rows of one kind, all at once; for whoever may keep the event loop waiting."""
        return finished(self.rows(kind, name, self.moment()))

    def detail(self, name: str, moment: Moment) -> QueueDetail | None:
        """One queue with all there is to know about it; None if there is none of that name."""
        queue = self._router.queues.get(name)
        if queue is None:
            return None
        return self.queues.detail(queue, self.clients.consumers_of(name, moment), moment.now)

    def quiet(self, kinds: Iterable[Kind]) -> None:
        """Nobody watches other kinds than these any more: forget what was remembered for them."""
        watched = set(kinds)
        if not watched & {Kind.QUEUES, Kind.QUEUE}:
            self.queues.clear()
        if Kind.TOPICS not in watched:
            self.topics.clear()
        if not watched & {Kind.CONNECTIONS, Kind.SUBSCRIPTIONS, Kind.QUEUE}:
            self.clients.clear()
        if Kind.BROKER in watched:
            self.lag.start()
        else:
            self.lag.stop()
            self._traffic = self._commits = None

    # -- the broker itself ------------------------------------------------------------------

    def broker(self, moment: Moment) -> Steps[BrokerRow]:
        """The row of the broker itself."""
        totals, waiting = Totals(), [0, 0, 0]
        totals.add(self._router.gone)
        queues = [*self._router.queues.values(), *self._router.replies.values(), *self._backlogs()]
        for at in range(0, len(queues), AT_ONCE * 2):
            _count(queues[at : at + AT_ONCE * 2], totals, waiting)
            yield None
        return self._broker(moment, totals, waiting)

    def _backlogs(self) -> Iterator[Queue]:
        """The private backlogs of topic subscriptions."""
        for session in self._sessions.values():
            for subscription in session.subscriptions.values():
                if subscription.queue.private:
                    yield subscription.queue

    def _broker(self, moment: Moment, totals: Totals, waiting: Sequence[int]) -> BrokerRow:
        router, tally, sessions = self._router, self._tally, self._sessions.values()
        facts = self._process.look()
        connected, most = self._connections()
        draining, logins_waiting = self._door()
        traffic = {
            "in_msgs": tally.in_msgs + sum(session.in_msgs for session in sessions),
            "in_bytes": tally.in_bytes + sum(session.in_bytes for session in sessions),
            "out_msgs": tally.out_msgs + sum(_delivered(session) for session in sessions),
            "out_bytes": tally.out_bytes + sum(s.peer.output.written for s in sessions),
        }
        return BrokerRow(
            name=self._process.name,
            version=__version__,
            python=self._process.python,
            os=self._process.system,
            pid=self._process.pid,
            started_at=self._started_at,
            listeners=tuple(self._listening()),
            draining=draining,
            connections=connected,
            connections_max=most,
            connections_total=tally.connections,
            connections_refused=tally.refused,
            auth_failures=tally.auth_failures,
            logins_waiting=logins_waiting,
            subscriptions=sum(len(session.subscriptions) for session in sessions),
            queues=len(router.queues),
            topics=len(router.topics),
            durable_subscriptions=len(router.durable),
            transactions=sum(len(session.transactions) for session in sessions),
            messages_ready=waiting[0],
            messages_delayed=waiting[1],
            messages_unacked=waiting[2],
            bytes_ram=router.pressure.used,
            bytes_ram_mark=_mark(router.pressure.high),
            bytes_stored=router.disk.used,
            bytes_stored_mark=_mark(router.disk.high),
            acked=totals.acked,
            nacked=totals.nacked,
            redelivered=totals.redelivered,
            expired=totals.expired,
            dead_lettered=totals.dead_lettered,
            dropped=totals.dropped,
            unroutable=router.unroutable,
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
            admin=self._watching(),
            **traffic,
        )

    def _listening(self) -> Iterator[Listener]:
        for url in self._listeners():
            clients = sum(session.peer.listener == url for session in self._sessions.values())
            yield {"url": url, "clients": clients}

    def _rate(self, moment: Moment, traffic: Mapping[str, int], acked: int) -> Traffic | None:
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

    def _store(self, moment: Moment) -> StoreFigures:
        figures = self._router.store.stats()
        then, before, rate = self._commits or (moment.now, figures.commits, 0.0)
        seconds = moment.now - then
        if seconds >= WINDOW:
            rate = round((figures.commits - before) / seconds, 1)
        if self._commits is None or seconds >= WINDOW:
            self._commits = (moment.now, figures.commits, rate)
        return {
            "kind": "sqlite" if self._router.store.durable else "memory",
            "bytes": figures.bytes,
            "trouble": self._router.store.trouble,
            "unwritten": figures.unwritten,
            "commits": figures.commits,
            "fsync_per_s": rate,
            "fsync_avg_ms": round(figures.commit_seconds * 1000, 3),
            "damaged": figures.damaged,
        }

    def _alarms(self) -> Iterator[Alarm]:
        for name, since in self._router.alarms.items():
            reason = _TROUBLE.get(name) or self._router.store.trouble or "cannot be written"
            yield {"name": name, "since": since, "reason": reason}

    def _watching(self) -> Watching:
        tally = self._tally
        watchers = [watcher for session in self._sessions.values() for watcher in session.console]
        return {
            "watchers": len(watchers),
            "out_msgs": tally.watched_msgs + sum(watcher.written for watcher in watchers),
            "out_bytes": tally.watched_bytes + sum(watcher.octets for watcher in watchers),
            "dropped": tally.watched_dropped + sum(watcher.dropped for watcher in watchers),
            "commands": tally.commands,
        }


def _count(queues: Sequence[Queue], totals: Totals, waiting: list[int]) -> None:
    columns = zip(*map(_COUNTS, queues), strict=True)
    for name, column in zip(_COUNTERS, columns, strict=True):
        setattr(totals, name, getattr(totals, name) + sum(column))
    waiting[0] += sum([queue.ready for queue in queues])
    waiting[1] += sum([queue.delayed for queue in queues])
    waiting[2] += sum([queue.unacked for queue in queues])


def _delivered(session: Session) -> int:
    current = sum(subscription.delivered for subscription in session.subscriptions.values())
    return session.delivered + current


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


def finished(steps: Generator[Wait | None, None, Sequence[Row]]) -> Sequence[Row]:
    """The result of steps that wait for nothing, taken all at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Sequence[Row] = end.value
            return result
