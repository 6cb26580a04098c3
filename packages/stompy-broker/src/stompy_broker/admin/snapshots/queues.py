"""The rows of queues and topics.

There may be thousands of queues, most of them as they were a second ago. So a row is made again
only when one of the counters has moved, and is the same object otherwise, which spares everybody
downstream to compare it.
"""

from __future__ import annotations

from array import array
from dataclasses import fields

from stompy.admin.json_types import Rate, Series
from stompy.admin.rows import QueueDetail, QueueRow, SubscriptionRow
from stompy.admin.snapshot import row_to_json
from stompy_broker.admin.snapshots.rates import STILL, WINDOW, Rates
from stompy_broker.admin.tasks import Steps
from stompy_broker.destinations.names import Kind
from stompy_broker.routing.dead_letters import DEAD_LETTER_PREFIX
from stompy_broker.routing.queue import LocalQueue as Queue
from stompy_broker.routing.router import Router

AT_ONCE = 200
"""So many queues are looked at before the event loop has its turn again."""

STEP_SECONDS, STEPS = 5.0, 60
"""The history of a queue: so many steps of so many seconds."""

_PER_STEP = 3
_MOST = STEPS * _PER_STEP


class CachedRow:
    """What was seen of a queue when its row was made, and what never changes about it."""

    __slots__ = (
        "backlog_of",
        "came_at",
        "dlq_of",
        "grave",
        "history",
        "made_at",
        "policy",
        "published",
        "queue",
        "row",
        "state",
    )

    def __init__(self, queue: Queue, router: Router) -> None:
        durable = router.durable_of(queue)
        self.queue = queue
        self.backlog_of = "" if durable is None else durable.name
        kind, name = (Kind.QUEUE, queue.name) if durable is None else (Kind.TOPIC, durable.pattern)
        is_default = router.policies.index(kind, name) is None
        self.policy = "" if is_default else queue.policy.match
        self.dlq_of = queue.name.removeprefix(DEAD_LETTER_PREFIX) if queue.final else ""
        grave = "" if queue.final else queue.policy.dead_letter.replace("{name}", queue.name)
        self.grave = grave.removeprefix(Kind.QUEUE.value)
        self.state: tuple[object, ...] = ()
        self.made_at = -WINDOW
        self.published = queue.published
        self.came_at = newest(queue)
        self.row = QueueRow()
        self.history: array[float] | None = None


class QueueSnapshots:
    """Rows of queues.

    Args:
        router: where they are.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        self._cached_rows: dict[str, CachedRow] = {}
        self._rates: Rates[str] = Rates()
        self._recorded_at = -STEP_SECONDS
        self._recorded_until = 0
        self._epoch: int | None = None

    def rows(self, now: float) -> Steps[list[QueueRow]]:
        """All of them, in the order in which they came to be."""
        queues = list(self._router.queues.values())
        records = now - self._recorded_at >= STEP_SECONDS
        rows = []
        cached_rows = self._cached_rows
        for number, queue in enumerate(queues, 1):
            cached = cached_rows.get(queue.name)
            state = queue.state
            if (
                cached is None
                or state != cached.state
                or cached.row.rate is not STILL
                or cached.queue is not queue
            ):
                cached = self._look(queue, now)
            rows.append(cached.row)
            if records:
                _record(cached)
            if number % AT_ONCE == 0:
                yield None
        if records:
            self._recorded_at, self._recorded_until = now, self._router.wall()
        if len(self._cached_rows) > len(self._router.queues):
            self._cached_rows = {
                n: m for n, m in self._cached_rows.items() if n in self._router.queues
            }
            self._rates.keep(set(self._cached_rows))
        return rows

    def row(self, queue: Queue, now: float) -> QueueRow:
        """One of them."""
        return self._look(queue, now).row

    def detail(self, queue: Queue, consumers: list[SubscriptionRow], now: float) -> QueueDetail:
        """One of them, with all there is to know about it."""
        cached = self._look(queue, now)
        if cached.history is None and now - self._recorded_at >= STEP_SECONDS:
            _record(cached)
            self._recorded_until = self._router.wall()
        values = {field.name: getattr(cached.row, field.name) for field in fields(QueueRow)}
        return QueueDetail(
            **values,
            consumers_detail=tuple(row_to_json(row) for row in consumers),
            series=self._series(cached),
        )

    def clear(self) -> None:
        """Nobody looks any more."""
        self._cached_rows.clear()
        self._rates.clear()
        self._recorded_at = -STEP_SECONDS
        self._epoch = None

    def _look(self, queue: Queue, now: float) -> CachedRow:
        cached = self._cached_rows.get(queue.name)
        if cached is None or cached.queue is not queue:
            cached = self._cached_rows[queue.name] = CachedRow(queue, self._router)
        state = queue.state
        if state != cached.state or (
            cached.row.rate is not STILL and now - cached.made_at >= WINDOW
        ):
            cached.state, cached.made_at = state, now
            rate = self._rates.look(queue.name, now, queue.published, queue.delivered, queue.acked)
            if queue.published != cached.published:
                cached.published, cached.came_at = queue.published, self._router.wall()
            cached.row = self._row(cached, rate)
        return cached

    def _row(self, cached: CachedRow, rate: Rate | None) -> QueueRow:
        queue, idle = cached.queue, cached.queue.idle_since
        policy, ready, delayed = queue.policy, queue.ready, queue.delayed
        return QueueRow(
            name=queue.name,
            destination=queue.destination,
            durable=queue.is_stored,
            backlog_of=cached.backlog_of,
            paused=queue.setup.paused,
            intake_paused=queue.setup.intake_paused,
            full=queue.pressure is not None and queue.pressure.full,
            policy=cached.policy,
            created_at=queue.created_at,
            ready=ready,
            delayed=delayed,
            unacked=queue.unacked,
            total=ready + delayed + queue.unacked,
            bytes=queue.bytes,
            max_length=policy.max_length,
            max_length_bytes=policy.max_length_bytes,
            max_bytes=policy.max_bytes,
            consumers=queue.consumers,
            idle_at=None if idle is None else self._at(idle),
            in_msgs=queue.published,
            out_msgs=queue.delivered,
            acked=queue.acked,
            nacked=queue.nacked,
            redelivered=queue.redelivered,
            expired=queue.expired,
            dead_lettered=queue.dead_lettered,
            dropped=queue.dropped,
            removed=queue.removed,
            rate=rate,
            oldest_at=oldest(queue),
            drain_eta_ms=_drain_ms(ready, rate),
            last_in_at=cached.came_at,
            dlq=cached.grave if cached.grave in self._router.queues else "",
            dlq_of=cached.dlq_of,
        )

    def _at(self, then: float) -> int:
        """A time of the broker's clock in milliseconds since the epoch; for one always the same."""
        if self._epoch is None:
            self._epoch = self._router.wall() - int(self._router.clock.now() * 1000)
        return self._epoch + int(then * 1000)

    def _series(self, cached: CachedRow) -> Series:
        history = cached.history or array("d", _figures(cached.queue))
        return {
            "step_ms": int(STEP_SECONDS * 1000),
            "until": self._recorded_until or self._router.wall(),
            "in_msgs": [int(value) for value in history[0::_PER_STEP]],
            "out_msgs": [int(value) for value in history[1::_PER_STEP]],
            "ready": [int(value) for value in history[2::_PER_STEP]],
        }


def _figures(queue: Queue) -> tuple[int, int, int]:
    return queue.published, queue.delivered, queue.ready


def _record(cached: CachedRow) -> None:
    """Add a step to the history; of a queue that never moved there is none."""
    figures = _figures(cached.queue)
    if cached.history is None:
        if not any(figures):
            return
        cached.history = array("d")
    cached.history.extend(figures)
    if len(cached.history) > _MOST:
        del cached.history[:_PER_STEP]


def oldest(queue: Queue) -> int | None:
    """When the message came that is next in line."""
    first = queue.line.first
    return None if first is None else stamp_time(first.stamp)


def newest(queue: Queue) -> int | None:
    """When the message came that is last in line."""
    return stamp_time(queue.line.fresh[-1].stamp) if queue.line.fresh else oldest(queue)


def stamp_time(stamp: bytes) -> int | None:
    """The time that `stompy_broker.message.stamp` wrote down; None if it wrote nothing."""
    return int(stamp.partition(b":")[2]) if stamp else None


def _drain_ms(ready: int, rate: Rate | None) -> int | None:
    shrinks = rate["out"] - rate["in"] if rate is not None else 0
    return int(1000 * ready / shrinks) if ready and shrinks > 0 else None
