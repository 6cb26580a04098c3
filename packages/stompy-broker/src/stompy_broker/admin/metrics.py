"""The metrics of a broker, as Prometheus counts and names them.

Every queue has some twenty numbers of its own, so they are collected in small steps, and beyond
``http.max_series`` queues the smaller ones are added up. What is remembered between two scrapes is
forgotten when no more come.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from operator import itemgetter
from typing import NamedTuple

from stompy_broker.admin.asking import KnownFigures
from stompy_broker.admin.history_metrics import history_families
from stompy_broker.admin.metrics_text import MetricFamily, label, single
from stompy_broker.admin.reader_metrics import reader_families
from stompy_broker.admin.snapshots.broker import Listening
from stompy_broker.admin.snapshots.lag import LagMeter
from stompy_broker.admin.snapshots.process import Process, began_at
from stompy_broker.admin.snapshots.scheduled_counts import ScheduledCounts
from stompy_broker.admin.tasks import Steps
from stompy_broker.destinations.matcher import Matcher
from stompy_broker.destinations.names import DestinationKind
from stompy_broker.routing.interface import QueueFigures
from stompy_broker.routing.router import Router
from stompy_broker.routing.wait_times import BOUNDS, WaitHistogram

OTHERS = "*other*"
"""The label of all queues that have no metrics of their own."""

_AT_ONCE = 250
_HISTOGRAMS_AT_ONCE = 100
_LEASE = 300.0
"""Seconds after the last scrape when everything is forgotten."""

COUNTERS = {
    "received": ("published", "Messages that came into the queue."),
    "delivered": ("delivered", "Deliveries to consumers, redeliveries included."),
    "acked": ("acked", "Deliveries that were accepted."),
    "nacked": ("nacked", "Deliveries that were rejected."),
    "redelivered": ("redelivered", "Deliveries of what came back."),
    "expired": ("expired", "Messages whose time was over."),
    "dead_lettered": ("dead_lettered", "Messages that were given up, and kept elsewhere."),
    "dropped": ("dropped", "Messages that were given up, and went nowhere."),
    "replaced": ("replaced", "Messages whose place newer ones took that have the same key."),
    "duplicate": ("duplicates", "Messages that were dropped because their dedup-id was known."),
}
"""What `stompy_messages_…_total` counts: the figure of a queue, and its meaning."""

GAUGES = {
    "ready": ("ready", "Messages that wait for a consumer."),
    "unacked": ("unacked", "Messages that are with consumers."),
    "delayed": ("delayed", "Messages that wait out a redelivery delay."),
    "bytes": ("bytes", "Size of everything in the queue, also of what is with consumers."),
    "consumers": ("consumers", "Consumers of the queue."),
}
"""What `stompy_queue_…` measures."""

_WAIT = "stompy_queue_wait_seconds"
_LES = (*(f'le="{bound / 1000}"' for bound in BOUNDS), 'le="+Inf"')
_HISTOGRAM = "".join(
    [
        *(f"{_WAIT}_bucket{{\0,{le}}} %d\n" for le in _LES),
        f"{_WAIT}_sum{{\0}} %s\n{_WAIT}_count{{\0}} %d\n",
    ]
)
"""The lines of a histogram, with a NUL where its labels belong."""

_SIZE, _NAME = itemgetter(0), itemgetter(1)
_NO_ALARM = ("memory", "disk", "store")
"""Alarms that there always are, though they are hardly ever raised."""


class _Shown(NamedTuple):
    """A queue with metrics of its own, or all others together.

    Attributes:
        label: it, as a label.
        name: it.
        figures: what is counted, a value for each of `COUNTERS` and `GAUGES`.
        oldest: when the message came that is next in line, in milliseconds; None if none is.
    """

    label: str
    name: str
    figures: Sequence[int]
    oldest: int | None


_FIGURES = tuple(figure for figure, _ in (*COUNTERS.values(), *GAUGES.values()))
_PLACES = tuple(QueueFigures._fields.index(figure) for figure in _FIGURES)


class Metrics:
    """Collects the metrics of a broker.

    Args:
        router: queues and their stores.
        listening: tells how many clients are connected.
        max_series: queues that have metrics of their own.
        patterns: of the queues that may have some; none = all may.
    """

    def __init__(
        self,
        router: Router,
        listening: Listening,
        max_series: int,
        patterns: Sequence[str] = (),
    ) -> None:
        self._router = router
        # One of its own, for it measures from one look to the next.
        self._process = Process(None)
        self._listening = listening
        self._max_series = max_series
        self._matcher: Matcher[None] | None = Matcher() if patterns else None
        for pattern in patterns:
            assert self._matcher is not None
            self._matcher.add(pattern.removeprefix(DestinationKind.QUEUE.value), None)
        self._known = KnownFigures()
        self._scheduled = ScheduledCounts()
        self._lag = LagMeter(router.clock.machine)
        self._lease = router.clock.machine.timer(self.close)

    def close(self) -> None:
        """Forget what is remembered between two scrapes."""
        self._lease.cancel()
        self._lag.stop()
        self._known.clear()
        self._scheduled.clear()

    def collect(self) -> Steps[list[MetricFamily]]:
        """Collect everything, in small steps."""
        router = self._router
        self._lease.set(router.clock.machine.now() + _LEASE)
        self._lag.start()
        # A queue learns of it as it is asked for its figures.
        router.wait_times.wanted = True
        shown = yield from self._look()
        families = []
        for place, (name, (_, meaning)) in enumerate(COUNTERS.items()):
            families.append(_counter(name, meaning, shown, place))
            yield None
        for place, (name, (_, meaning)) in enumerate(GAUGES.items(), len(COUNTERS)):
            families.append(_gauge(name, meaning, shown, place))
            yield None
        families.append(_oldest(shown, router.wall()))
        yield None
        counts = yield from self._scheduled.read(list(router.queues.values()))
        families.append(_scheduled(shown, counts))
        yield None
        families.append((yield from self._waits(shown)))
        families += yield from reader_families(list(router), self._max_series)
        families += history_families(router.histories, self._max_series)
        families += self._broker()
        return families

    # -- queues -------------------------------------------------------------------------------

    def _look(self) -> Steps[list[_Shown]]:
        """Ask all queues, and say which are shown, and what the others are together."""
        queues = list(self._router)
        largest: list[tuple[int, str, QueueFigures]] = []
        others = _Sum()
        for at in range(0, len(queues), _AT_ONCE):
            some = queues[at : at + _AT_ONCE]
            figures = yield from self._known.read(some)
            if self._matcher is None:
                largest += [
                    (told.bytes, queue.name, told)
                    for queue, told in zip(some, figures, strict=True)
                ]
            else:
                for queue, told in zip(some, figures, strict=True):
                    if self._matcher.match(queue.name):
                        largest.append((told.bytes, queue.name, told))
                    else:
                        others.add([told])
            # Now and then, so that there is never very much to sort.
            if len(largest) > 2 * self._max_series:
                self._keep_largest(largest, others)
            yield None
        self._keep_largest(largest, others)
        yield None
        self._known.keep(queues)
        largest.sort(key=_NAME)
        shown = [
            _Shown(label("queue", name), name, _picked(told), told.oldest_at)
            for _, name, told in largest
        ]
        if others.count:
            shown.append(_Shown(label("queue", OTHERS), OTHERS, others.figures, others.oldest))
        yield None
        return shown

    def _keep_largest(self, largest: list[tuple[int, str, QueueFigures]], others: _Sum) -> None:
        if len(largest) > self._max_series:
            largest.sort(key=_SIZE, reverse=True)
            others.add([told for _, _, told in largest[self._max_series :]])
            del largest[self._max_series :]

    def _waits(self, shown: Sequence[_Shown]) -> Steps[MetricFamily]:
        """The histograms of the queues that are shown, and of all others together."""
        by_queue = self._router.wait_times.by_queue
        own = {one.name for one in shown}
        lines: list[str] = []
        for number, one in enumerate(shown, 1):
            histogram = by_queue.get(one.name)
            if histogram is not None and histogram.buckets:
                lines += _histogram(one.label, histogram)
            if number % _HISTOGRAMS_AT_ONCE == 0:
                yield None
        if len(shown) and shown[-1].name == OTHERS:
            total = WaitHistogram(self._router.wall)
            for number, (name, histogram) in enumerate(list(by_queue.items()), 1):
                if name not in own:
                    total.include(histogram)
                if number % _AT_ONCE == 0:
                    yield None
            if total.buckets:
                lines += _histogram(shown[-1].label, total)
        meaning = "From the arrival of a message until it was accepted; every 16th is counted."
        return MetricFamily(_WAIT, "histogram", meaning, lines)

    # -- the broker ---------------------------------------------------------------------------

    def _broker(self) -> Iterator[MetricFamily]:
        router = self._router
        yield _one("stompy_connections", "Clients that are connected.", self._listening.connections)
        yield _one("stompy_memory_bytes", "Waiting messages in memory.", router.memory.used)
        retained = router.retained
        yield _one("stompy_retained_messages", "Topics that keep a message.", len(retained))
        kept = router.duplicates.kept
        yield _one("stompy_duplicate_ids", "Duplicate ids that are known.", kept)
        yield _one("stompy_retained_bytes", "Size of what topics keep.", retained.bytes)
        if router.groups.durable:
            yield _one(
                "stompy_store_commit_seconds",
                "How long a commit of the store takes, a running average.",
                router.groups.stats().commit_seconds,
            )
        lag = self._lag.lag
        if lag is not None:
            yield _one(
                "stompy_loop_lag_seconds",
                "By how much the event loop was late at most in the last ten seconds.",
                lag["max"] / 1000,
            )
        alarms = dict.fromkeys((*_NO_ALARM, *router.alarms), 0) | dict.fromkeys(router.alarms, 1)
        yield MetricFamily(
            "stompy_alarm",
            "gauge",
            "Whether an alarm is raised.",
            [f"stompy_alarm{{{label('name', name)}}} {on}\n" for name, on in alarms.items()],
        )
        yield from self._of_process()

    def _of_process(self) -> Iterator[MetricFamily]:
        facts = self._process.look()
        cpu = "process_cpu_seconds"
        yield MetricFamily(
            cpu,
            "counter",
            "Processor time of the process.",
            single(f"{cpu}_total", time.process_time()),
        )
        yield _one("process_resident_memory_bytes", "Memory of the process.", facts.rss_bytes)
        yield _one("process_open_fds", "Open file descriptors.", facts.fds)
        yield _one("process_max_fds", "Most file descriptors that may be open.", facts.fds_max)
        yield _one("process_threads", "Threads of the process.", facts.threads)
        yield _one(
            "process_start_time_seconds",
            "When the process began, in seconds since the epoch.",
            began_at(),
        )


class _Sum:
    """The figures of several queues added up."""

    def __init__(self) -> None:
        self.count = 0
        self.figures = [0] * len(_PLACES)
        self.oldest: int | None = None

    def add(self, some: Sequence[QueueFigures]) -> None:
        """Add some more."""
        self.count += len(some)
        for number, place in enumerate(_PLACES):
            self.figures[number] += sum([told[place] for told in some])  # type: ignore[misc]
        for told in some:
            then = told.oldest_at
            if then is not None and (self.oldest is None or then < self.oldest):
                self.oldest = then


def _picked(told: QueueFigures) -> list[int]:
    return [told[place] for place in _PLACES]  # type: ignore[misc]


def _one(name: str, meaning: str, value: float) -> MetricFamily:
    return MetricFamily(name, "gauge", meaning, single(name, value))


def _counter(name: str, meaning: str, shown: Sequence[_Shown], place: int) -> MetricFamily:
    full = f"stompy_messages_{name}"
    lines = [f"{full}_total{{{one.label}}} {one.figures[place]}\n" for one in shown]
    return MetricFamily(full, "counter", meaning, lines)


def _gauge(name: str, meaning: str, shown: Sequence[_Shown], place: int) -> MetricFamily:
    full = f"stompy_queue_{name}"
    lines = [f"{full}{{{one.label}}} {one.figures[place]}\n" for one in shown]
    return MetricFamily(full, "gauge", meaning, lines)


def _oldest(shown: Sequence[_Shown], now: int) -> MetricFamily:
    full = "stompy_queue_oldest_seconds"
    lines = [f"{full}{{{one.label}}} {_age(one.oldest, now)}\n" for one in shown]
    meaning = "For how long the message waits that is next in line; 0 = there is none."
    return MetricFamily(full, "gauge", meaning, lines)


def _scheduled(shown: Sequence[_Shown], counts: Mapping[str, int]) -> MetricFamily:
    full, prefix = "stompy_queue_scheduled", DestinationKind.QUEUE.value
    own = {one.name: counts.get(prefix + one.name, 0) for one in shown}
    own[OTHERS] = sum(n for name, n in counts.items() if name.startswith(prefix)) - sum(
        own.values()
    )
    lines = [f"{full}{{{one.label}}} {own[one.name]}\n" for one in shown]
    meaning = "Messages that were sent to come later, and are not in the queue before."
    return MetricFamily(full, "gauge", meaning, lines)


def _age(then: int | None, now: int) -> float:
    return 0.0 if then is None else max(0, now - then) / 1000


def _histogram(name: str, histogram: WaitHistogram) -> list[str]:
    counts = (*accumulate(histogram.buckets),)
    return [(_HISTOGRAM % (*counts, histogram.total_ms / 1000, counts[-1])).replace("\0", name)]
