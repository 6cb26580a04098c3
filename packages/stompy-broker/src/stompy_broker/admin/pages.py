"""What the broker shows by HTTP: health, readiness, metrics, and the snapshots of ``$SYS``.

Pages are made when somebody asks, in small steps. Who asks for one that is being made gets the
same, and however many ask, all of it together takes a tenth of the time: the next page waits until
then.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import chain

from stompy.admin.snapshot import SINGLE, TOPIC_PREFIX
from stompy.errors import ProtocolError
from stompy_broker.admin.health import LONGEST_TURN, Health
from stompy_broker.admin.metrics import Metrics
from stompy_broker.admin.metrics_text import CONTENT_TYPES, MetricsFormat, wanted_format, written
from stompy_broker.admin.snapshots.snapshots import Snapshots
from stompy_broker.admin.streams import BUSY, EnvelopeWriter, Stream
from stompy_broker.admin.tasks import Scheduler, Steps, Task
from stompy_broker.destinations.names import parse_destination
from stompy_broker.session.sys_subscription import read_streams
from stompy_broker.timers import Clock

log = logging.getLogger("stompy_broker.admin")

HEALTH, READINESS, METRICS, SNAPSHOT = "/healthz", "/readyz", "/metrics", "/api/snapshot/"

_TEXT, _JSON = "text/plain; charset=utf-8", "application/json"
_DATA = b',"data":'

Made = tuple[str, bytes]
"""The content of a page, its type first."""


@dataclass(frozen=True, slots=True)
class Page:
    """What is answered to a request.

    Attributes:
        status: of HTTP.
        type: of the content.
        content: it.
        headers: what else is to be said.
    """

    status: HTTPStatus
    type: str
    content: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def note(status: HTTPStatus, text: str, headers: Mapping[str, str] | None = None) -> Page:
    """A page of one line."""
    return Page(status, _TEXT, f"{text}\n".encode(errors="replace"), headers or {})


def health_page(turn: float) -> Page:
    """The page about health.

    Args:
        turn: seconds that a turn of the event loop took.
    """
    if turn > LONGEST_TURN:
        words = f"a turn of the event loop takes {turn:.1f} s"
        return note(HTTPStatus.SERVICE_UNAVAILABLE, words)
    return note(HTTPStatus.OK, "alive")


def readiness_page(health: Health) -> Page:
    """The page about readiness."""
    reason = health.not_ready()
    if reason:
        return note(HTTPStatus.SERVICE_UNAVAILABLE, f"not ready: {reason}")
    return note(HTTPStatus.OK, "ready")


def may_exist(path: str) -> bool:
    """Whether there may be a page that `Pages` makes."""
    return path == METRICS or path.startswith(SNAPSHOT)


class Pages:
    """Makes metrics and snapshots for who asks by HTTP.

    Args:
        snapshots: makes the rows.
        writer: makes the envelopes of snapshots.
        metrics: collects the metrics.
        clock: says when.
        scheduler: for the steps.
        forget: called when rows were made that nobody may want again.
    """

    def __init__(
        self,
        snapshots: Snapshots,
        writer: EnvelopeWriter,
        metrics: Metrics,
        clock: Clock,
        scheduler: Scheduler,
        forget: Callable[[], None],
    ) -> None:
        self._snapshots = snapshots
        self._writer = writer
        self._metrics = metrics
        self._clock = clock
        self._scheduler = scheduler
        self._forget = forget
        self._asked: dict[tuple[str, MetricsFormat], list[Callable[[Page], None]]] = {}
        self._line: deque[tuple[str, MetricsFormat]] = deque()
        self._task: Task[Made] | None = None
        self._timer = clock.timer(self._begin)
        self._rests_until = 0.0

    def make(self, path: str, accept: str, answer: Callable[[Page], None]) -> None:
        """Make a page, and give it away once it is there.

        Args:
            path: of the page; one that `may_exist`.
            accept: the header of the request.
            answer: takes it.
        """
        kind = wanted_format(accept) if path == METRICS else MetricsFormat.PROMETHEUS
        key = (path, kind)
        if key not in self._asked:
            self._line.append(key)
        self._asked.setdefault(key, []).append(answer)
        self._next()

    def health(self, answer: Callable[[Page], None]) -> None:
        """Give away the page about health, once the event loop has made a turn."""
        begun = self._clock.now()
        self._scheduler.soon(lambda: answer(health_page(self._clock.now() - begun)))

    def close(self) -> None:
        """Make no more pages."""
        self._timer.cancel()
        self._metrics.close()
        if self._task is not None:
            self._task.cancel()

    def _next(self) -> None:
        if self._line and self._task is None:
            self._timer.set(max(self._clock.now(), self._rests_until))

    def _begin(self) -> None:
        if self._task is None and self._line:
            path, kind = self._line.popleft()
            steps = self._metrics_page(kind) if path == METRICS else self._snapshot(path)

            def made(content: Made) -> None:
                self._end((path, kind), Page(HTTPStatus.OK, *content))

            def failed(error: Exception) -> None:
                self._end((path, kind), _failure(path, error))

            self._task = Task(self._scheduler, steps, made, failed)
            self._task.step()

    def _end(self, key: tuple[str, MetricsFormat], page: Page) -> None:
        spent = 0.0 if self._task is None else self._task.spent
        self._rests_until = self._clock.now() + spent * (BUSY - 1)
        self._task = None
        for answer in self._asked.pop(key):
            answer(page)
        self._next()

    # -- what there is ------------------------------------------------------------------------

    def _metrics_page(self, kind: MetricsFormat) -> Steps[Made]:
        families = yield from self._metrics.collect()
        content = yield from written(families, kind)
        return CONTENT_TYPES[kind], content

    def _snapshot(self, path: str) -> Steps[Made]:
        destination = parse_destination(f"{TOPIC_PREFIX}{path.removeprefix(SNAPSHOT)}")
        streams, _ = read_streams(destination, {})
        if len(streams) != 1:
            raise KeyError(path)
        stream = Stream(streams[0], self._writer)
        moment = self._snapshots.moment()
        rows = yield from self._snapshots.rows(streams[0].kind, streams[0].name, moment)
        if not rows and streams[0].kind in SINGLE:
            raise KeyError(path)
        yield from stream.publish(rows, moment)
        pages = yield from stream.everything()
        self._forget()
        return _JSON, _as_one([page.body or b"" for page in pages])


def _as_one(pages: list[bytes]) -> bytes:
    """Put the pages of a snapshot together, which is one more page of the same form."""
    if len(pages) == 1:
        return pages[0]
    # The data stand last. Within a text the quotation marks would be escaped, so what is found is
    # the key.
    envelope = json.loads(pages[0][: pages[0].index(_DATA)] + b"}")
    envelope |= {"page": 1, "pages": 1}
    start = json.dumps(envelope, separators=(",", ":")).encode()[:-1]
    rows = [page[page.index(_DATA) + len(_DATA) + 1 : -2] for page in pages]
    return b"".join(chain((start, _DATA, b"["), (b",".join(filter(None, rows)),), (b"]}",)))


def _failure(path: str, error: Exception) -> Page:
    if isinstance(error, KeyError | ProtocolError):
        return note(HTTPStatus.NOT_FOUND, f"there is no page {path[:200]!r}")
    log.error("fault while a page was made", exc_info=error)
    return note(HTTPStatus.INTERNAL_SERVER_ERROR, "a fault in the broker; its log has the details")
