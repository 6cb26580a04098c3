"""The rows of queues and topics.

There may be thousands of queues, most of them as they were a second ago. So a row is made again
only when the queue has given other figures, and is the same object otherwise, which spares
everybody downstream to compare it. Whatever else a row is made of never changes, or is looked at
each time (`QueueSnapshots._is_as_made`).
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import fields
from functools import partial

from stompy.admin.json_types import Rate, Series
from stompy.admin.rows import QueueDetail, QueueRow, SubscriptionRow
from stompy.admin.snapshot import row_to_json
from stompy_broker.admin.asking import KnownFigures, ask
from stompy_broker.admin.cluster_status import ClusterStatus, lives_here
from stompy_broker.admin.snapshots.rates import STILL, WINDOW, Rates
from stompy_broker.admin.snapshots.readers import reader_row, stream_figures
from stompy_broker.admin.snapshots.scheduled_counts import ScheduledCounts
from stompy_broker.admin.tasks import Steps
from stompy_broker.destinations.names import DestinationKind, is_companion
from stompy_broker.routing.dead_letters import DEAD_LETTER_PREFIX
from stompy_broker.routing.interface import Browse, GroupFigures, Queue, QueueFigures
from stompy_broker.routing.router import Router
from stompy_broker.store.entry_log import LogEnds

AT_ONCE = 200
"""So many queues are looked at before the event loop has its turn again."""

STEP_SECONDS, STEPS = 5.0, 60
"""The history of a queue: so many steps of so many seconds."""

_PER_STEP = 3
_MOST = STEPS * _PER_STEP


_MOST_GROUPS = 100


def group_to_json(group: GroupFigures) -> dict[str, object]:
    """What is told of a message group."""
    return {
        "id": group.key,
        "owner": f"s-{group.owner}" if group.owner else "",
        "waiting": group.waiting,
        "unsettled": group.unsettled,
        "since": group.since or None,
        "held_until": group.held_until or None,
        "shared": group.shared,
    }


class CachedRow:
    """A row, what it was made of, and what never changes about its queue."""

    __slots__ = (
        "backlog_of",
        "came_at",
        "dead_letters",
        "dlq_of",
        "figures",
        "history",
        "made_at",
        "moves",
        "past",
        "policy",
        "queue",
        "row",
    )

    def __init__(self, queue: Queue, figures: QueueFigures, router: Router) -> None:
        durable = router.registry.durable.of(queue)
        self.queue = queue
        self.backlog_of = _backlog_of(queue, router)
        kind, name = (
            (DestinationKind.QUEUE, queue.name)
            if durable is None or durable.queue_name
            else (DestinationKind.TOPIC, durable.pattern)
        )
        is_default = router.policies.index(kind, name) is None
        self.policy = "" if is_default else queue.policy.match
        self.dlq_of = queue.name.removeprefix(DEAD_LETTER_PREFIX) if queue.final else ""
        target = "" if queue.final else queue.policy.dead_letter.replace("{name}", queue.name)
        self.dead_letters = target.removeprefix(DestinationKind.QUEUE.value)
        self.figures = figures
        self.made_at = 0.0
        self.came_at = figures.newest_at
        self.row = QueueRow()
        self.moves = True  # until its rate is known to be nothing
        self.history: array[float] | None = None
        self.past: LogEnds | None = None


class QueueSnapshots:
    """Makes rows of queues, and keeps them while nothing happens there.

    Args:
        router: where they are.
        cluster: which the broker belongs to.
    """

    def __init__(self, router: Router, cluster: ClusterStatus | None = None) -> None:
        self._router = router
        self._cluster = cluster
        self._known = KnownFigures()
        self._counts = ScheduledCounts()
        self._scheduled: Mapping[str, int] = {}
        self._queues: list[Queue] = []
        self._cached_rows: dict[Queue, CachedRow] = {}
        self._rates: Rates[str] = Rates()
        self._recorded_at = -STEP_SECONDS
        self._recorded_until = 0
        self._epoch: int | None = None

    def rows(self, now: float) -> Steps[list[QueueRow]]:
        """Make rows of all queues that are here, in the order in which they came to be."""
        every: list[Queue] = list(self._router.queues.values())
        if self._cluster is not None:
            every = [queue for queue in every if lives_here(self._cluster, queue)]
        self._scheduled = yield from self._counts.read(every)
        queues = [queue for queue in every if not is_companion(queue.name)]
        # What else a row says of its queue can change only when queues come or go.
        others_changed, self._queues = queues != self._queues, queues
        records = now - self._recorded_at >= STEP_SECONDS
        rows = []
        for at in range(0, len(queues), AT_ONCE):
            some = queues[at : at + AT_ONCE]
            figures = yield from self._known.read(some)
            cached_rows = self._cached_rows
            for queue, told in zip(some, figures, strict=True):
                cached = cached_rows.get(queue)
                if (
                    cached is None
                    or cached.figures is not told
                    or cached.moves
                    or others_changed
                    or cached.row.scheduled != self._scheduled.get(queue.destination, 0)
                ):
                    cached = self._look(queue, told, now)
                rows.append(cached.row)
                if records:
                    _record(cached)
            if len(some) == AT_ONCE:
                yield None
        if records:
            self._recorded_at, self._recorded_until = now, self._router.wall()
        self._known.keep(queues)
        if len(self._cached_rows) > len(queues):
            staying = set(queues)
            self._cached_rows = {q: row for q, row in self._cached_rows.items() if q in staying}
            self._rates.keep({queue.name for queue in queues})
        return rows

    def detail(
        self, queue: Queue, consumers: list[SubscriptionRow], now: float
    ) -> Steps[QueueDetail]:
        """Make the row of one queue, with all there is to know about it."""
        (told,) = yield from self._known.read([queue])
        later = self._router.registry.schedules(queue.destination)
        if later is not None:
            counts = yield from self._counts.read([later])
            self._scheduled = {**self._scheduled, **counts}
        browsed = yield from ask(partial(queue.browse, Browse(most=0, groups=True)))
        stream = yield from stream_figures(queue)
        readers = () if stream is None else stream.readers
        cached = self._look(queue, told, now)
        if cached.history is None and now - self._recorded_at >= STEP_SECONDS:
            _record(cached)
            self._recorded_until = self._router.wall()
        values = {field.name: getattr(cached.row, field.name) for field in fields(QueueRow)}
        return QueueDetail(
            **values,
            consumers_detail=tuple(row_to_json(row) for row in consumers),
            series=self._series(cached),
            message_groups=tuple([group_to_json(one) for one in browsed.groups[:_MOST_GROUPS]]),
            stream_readers=tuple(
                [row_to_json(reader_row(queue, one)) for one in readers[:_MOST_GROUPS]]
            ),
        )

    def clear(self) -> None:
        """Forget everything: nobody looks any more."""
        self._known.clear()
        self._counts.clear()
        self._scheduled = {}
        self._queues = []
        self._cached_rows.clear()
        self._rates.clear()
        self._recorded_at = -STEP_SECONDS
        self._epoch = None

    def _is_as_made(self, cached: CachedRow, told: QueueFigures) -> bool:
        """Whether everything that a row was made of, but for its rate, is as it was then."""
        # The queue for its dead letters may have been made for another one.
        has_dead_letters = cached.dead_letters in self._router.queues
        scheduled = self._scheduled.get(cached.queue.destination, 0)
        return (
            cached.figures is told
            and bool(cached.row.dlq) == has_dead_letters
            and cached.row.scheduled == scheduled
            and cached.past == self._past(cached.queue)
        )

    def _past(self, queue: Queue) -> LogEnds | None:
        """How much is kept of what has left a queue; None = nothing is to be."""
        if not queue.policy.history:
            return None
        past = self._router.histories.of(queue.destination)
        return None if past is None else past.ends

    def _look(self, queue: Queue, told: QueueFigures, now: float) -> CachedRow:
        cached = self._cached_rows.get(queue)
        if cached is None:
            cached = self._cached_rows[queue] = CachedRow(queue, told, self._router)
            self._renew(cached, now)
        elif not self._is_as_made(cached, told):
            if cached.figures.published != told.published:
                cached.came_at = self._router.wall()
            cached.figures = told
            self._renew(cached, now)
        elif (cached.moves and now - cached.made_at >= WINDOW) or cached.backlog_of != _backlog_of(
            queue, self._router
        ):
            self._renew(cached, now)
        return cached

    def _renew(self, cached: CachedRow, now: float) -> None:
        # Topics are bound to a queue with a name of its own, and not any more, while it goes on.
        cached.backlog_of = _backlog_of(cached.queue, self._router)
        cached.past = self._past(cached.queue)
        cached.row, cached.made_at = self._row(cached, now), now
        cached.moves = cached.row.rate is not STILL

    def _row(self, cached: CachedRow, now: float) -> QueueRow:
        queue, told, policy = cached.queue, cached.figures, cached.queue.policy
        past = cached.past
        rate = self._rates.look(queue.name, now, told.published, told.delivered, told.acked)
        return QueueRow(
            name=queue.name,
            destination=queue.destination,
            type=policy.type,
            durable=queue.is_stored,
            backlog_of=cached.backlog_of,
            paused=told.settings.paused,
            intake_paused=told.settings.intake_paused,
            full=told.full,
            policy=cached.policy,
            created_at=told.created_at,
            ready=told.ready,
            delayed=told.delayed,
            unacked=told.unacked,
            scheduled=self._scheduled.get(queue.destination, 0),
            total=told.ready + told.delayed + told.unacked,
            bytes=told.bytes,
            max_length=policy.max_length,
            max_length_bytes=policy.max_length_bytes,
            max_bytes=policy.max_bytes,
            auto_delete=policy.auto_delete,
            exclusive=told.settings.exclusive,
            consumers=told.consumers,
            idle_at=None if told.idle_since is None else self._at(told.idle_since),
            in_msgs=told.published,
            out_msgs=told.delivered,
            acked=told.acked,
            nacked=told.nacked,
            redelivered=told.redelivered,
            expired=told.expired,
            dead_lettered=told.dead_lettered,
            dropped=told.dropped,
            removed=told.removed,
            replaced=told.replaced,
            duplicates=told.duplicates,
            duplicate_ids=told.duplicate_ids,
            last_value_key="" if queue.final else policy.value_header,
            keys=told.keys,
            non_destructive=policy.non_destructive,
            rate=rate,
            unmatched=told.unmatched,
            groups=told.groups,
            first_offset=max(0, told.next_offset - told.ready),
            next_offset=told.next_offset,
            readers=told.readers,
            max_age=policy.max_age if policy.is_stream else "",
            history=policy.history,
            history_records=0 if past is None else past.next - past.first,
            history_bytes=0 if past is None else past.bytes,
            history_oldest_at=None if past is None else past.oldest or None,
            oldest_at=told.oldest_at,
            drain_eta_ms=_drain_ms(told.ready, rate),
            last_in_at=cached.came_at,
            dlq=cached.dead_letters if cached.dead_letters in self._router.queues else "",
            dlq_of=cached.dlq_of,
            broker=None if self._cluster is None else self._cluster.broker,
            group=None if self._cluster is None else queue.group.number,
        )

    def _at(self, then: float) -> int:
        """Give a time of the broker's clock in milliseconds since the epoch, always the same."""
        if self._epoch is None:
            self._epoch = self._router.wall() - int(self._router.clock.now() * 1000)
        return self._epoch + int(then * 1000)

    def _series(self, cached: CachedRow) -> Series:
        history = cached.history or array("d", _recorded(cached))
        return {
            "step_ms": int(STEP_SECONDS * 1000),
            "until": self._recorded_until or self._router.wall(),
            "in_msgs": [int(value) for value in history[0::_PER_STEP]],
            "out_msgs": [int(value) for value in history[1::_PER_STEP]],
            "ready": [int(value) for value in history[2::_PER_STEP]],
        }


def _recorded(cached: CachedRow) -> tuple[int, int, int]:
    return cached.figures.published, cached.figures.delivered, cached.figures.ready


def _backlog_of(queue: Queue, router: Router) -> str:
    """The durable subscription that a queue is for, or bound by; empty = none."""
    durable = router.registry.durable.of(queue)
    return "" if durable is None else durable.name


def _record(cached: CachedRow) -> None:
    """Add a step to the history; of a queue that never moved there is none."""
    figures = _recorded(cached)
    if cached.history is None:
        if not any(figures):
            return
        cached.history = array("d")
    cached.history.extend(figures)
    if len(cached.history) > _MOST:
        del cached.history[:_PER_STEP]


def stamp_time(stamp: bytes) -> int | None:
    """Read the time that `stompy_broker.message.stamp` wrote down; None if it wrote nothing."""
    return int(stamp.partition(b":")[2]) if stamp else None


def _drain_ms(ready: int, rate: Rate | None) -> int | None:
    shrinks = rate["out"] - rate["in"] if rate is not None else 0
    return int(1000 * ready / shrinks) if ready and shrinks > 0 else None
