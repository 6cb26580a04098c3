"""Questions to a broker from its own program, as coroutines."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final, TypeVar

from stompy.admin.explanation import RouteExplanation
from stompy.admin.rows import Kind, Row
from stompy.admin.sql_tables import (
    EVENTS,
    HISTORY,
    KINDS,
    MESSAGES,
    TABLES,
    VIEWS,
    row_values,
)
from stompy.data_table import DataTable, Value
from stompy.protocol.frame import STOMPFrame
from stompy.records import Rows
from stompy.sql_query import MOST_BYTES, SECONDS, SqlQuery
from stompy_broker.admin.asking import KnownFigures, ask, look_through
from stompy_broker.admin.message_rows import message_rows
from stompy_broker.admin.past_walk import history_rows
from stompy_broker.admin.snapshots.scheduled_counts import ScheduledCounts
from stompy_broker.admin.snapshots.snapshots import Snapshots
from stompy_broker.admin.tasks import Scheduler, Steps, Task
from stompy_broker.destinations.names import is_companion
from stompy_broker.message import Message
from stompy_broker.routing.interface import Browse, Browsed, Queue
from stompy_broker.routing.message_state import MessageState
from stompy_broker.routing.router import Router
from stompy_broker.routing.selection import Selection
from stompy_broker.routing.stats import QueueStats
from stompy_broker.selectors.selector import compile_selector

T = TypeVar("T")

Explain = Callable[[str, Mapping[str, str], int, str | None], Steps[RouteExplanation]]
"""Says where a message would go: destination, headers, size of the body, who sends it."""

FoundMessage = tuple[Message, MessageState, int]
"""A message, where it is, and when it is due, in milliseconds since the epoch; 0 = it is."""

_PAGE: Final = 8 * 1024 * 1024
"""Bytes of messages that are asked for at once, if with their bodies."""


class Queries:
    """Asks the parts of a broker, in its event loop, and waits for their answers.

    Args:
        router: where the queues are.
        snapshots: makes the rows of everything.
        scheduler: for the steps of an answer.
        explain: says where a message would go: destination, headers, size of the body, user.
    """

    def __init__(
        self, router: Router, snapshots: Snapshots, scheduler: Scheduler, explain: Explain
    ) -> None:
        self._explain = explain
        self._router = router
        self._snapshots = snapshots
        self._scheduler = scheduler

    async def queues(self) -> Rows[QueueStats]:
        """Give the counters of all queues, by name."""
        queues = sorted(self._router, key=lambda queue: queue.name)
        figures = await self._done(KnownFigures().read(queues))
        return Rows(
            QueueStats.of(queue.name, told) for queue, told in zip(queues, figures, strict=True)
        )

    async def queue(self, name: str) -> QueueStats | None:
        """Give the counters of one queue; None if there is none of that name.

        Args:
            name: without ``/queue/``.
        """
        queue = self._router.queues.get(name)
        if queue is None:
            return None
        return QueueStats.of(name, await self._done(ask(queue.stats)))

    async def scheduled(self, destination: str) -> int:
        """Say how many messages are to come later to a destination.

        Args:
            destination: with its prefix.
        """
        counts = await self._done(ScheduledCounts().read(list(self._router.queues.values())))
        return counts.get(destination, 0)

    async def browse(self, name: str) -> list[STOMPFrame]:
        """Give the messages that wait in a queue, as consumers would get them, next one first.

        Args:
            name: without ``/queue/``.

        Returns:
            MESSAGE frames; none if there is no such queue.
        """
        queue = self._router.queues.get(name)
        if queue is None:
            return []
        look = Browse(bodies=sys.maxsize)
        browsed: Browsed = await self._done(ask(partial(queue.browse, look)))
        # What has no body now was settled meanwhile.
        return [one.frame(queue.destination) for one in browsed.messages if one.body is not None]

    async def found(
        self, name: str, selector: str | None, limit: int | None, *, bodies: bool = True
    ) -> list[FoundMessage]:
        """Give the messages of a queue as they are now, wherever in it they are, in their order.

        Args:
            name: without ``/queue/``.
            selector: an expression that they match; None = any.
            limit: how many at most; None = all.
            bodies: whether they have their bodies.

        Returns:
            Of each the message, where it is, and when it is due; none if there is no such queue.

        Raises:
            ProtocolError: ``bad-selector``.
        """
        wanted = "" if selector is None else compile_selector(selector).text
        queue = self._router.queues.get(name)
        if queue is None:
            return []
        states = frozenset(MessageState)
        begin: Browsed = await self._done(ask(partial(queue.browse, Browse(most=0, states=states))))
        found: list[FoundMessage] = []

        def take(page: Browsed) -> int:
            found.extend(zip(page.messages, page.states, page.due, strict=True))
            return len(page.messages)

        look = Browse(
            Selection(selector=wanted, up_to=begin.last),
            bodies=_PAGE if bodies else 0,
            states=states,
        )
        await self._done(look_through(queue, look, limit, take))
        # What has no body now was settled meanwhile.
        return [one for one in found if not bodies or one[0].body is not None]

    async def snapshot(self, kind: Kind, name: str = "") -> Rows[Row]:
        """Give all there is to know about the things of one kind, as the admin topics tell it.

        Args:
            kind: not `Kind.EVENT`.
            name: of the queue, for `Kind.QUEUE`.
        """
        return Rows(await self._done(self._snapshots.rows(kind, name, self._snapshots.moment())))

    async def explain(
        self, destination: str, headers: Mapping[str, str], body_bytes: int, user: str | None
    ) -> RouteExplanation:
        """Say where a message would go, and why; see `RunningBroker.explain`.

        Raises:
            CommandError: no SEND may go there.
        """
        return await self._done(self._explain(destination, headers, body_bytes, user))

    async def sql(
        self,
        query: str,
        parameters: Sequence[Value] | Mapping[str, Value] = (),
        *,
        queues: Iterable[str] = (),
        seconds: float = SECONDS,
        most_bytes: int = MOST_BYTES,
    ) -> DataTable:
        """Answer one SELECT from what there is now; it is carried out on a thread of its own.

        Args:
            query: from ``messages``, ``dead_letters``, ``queues``, ``connections``,
                ``subscriptions``, ``events`` and ``history``.
            parameters: for the question marks and names in it.
            queues: whose messages and history to read, with or without ``/queue/``; all by
                default.
            seconds: how long it may take.
            most_bytes: how large its rows may be together, and also what comes of it.

        Raises:
            SqlError: it cannot be, or took too long or too much memory.
        """
        wanted = SqlQuery(query, TABLES, VIEWS)
        rows: dict[str, Iterable[Sequence[Value]]] = {}
        for name, columns in wanted.needs.items():
            if name == MESSAGES:
                there = self._queues_of([one.removeprefix("/queue/") for one in queues])
                rows[name] = await self._done(message_rows(there, columns, most_bytes))
                continue
            if name == HISTORY:
                wanted_past = [one.removeprefix("/queue/") for one in queues]
                pasts = history_rows(self._router.histories, wanted_past, columns, most_bytes)
                rows[name] = await self._done(pasts)
                continue
            found: Sequence[Row]
            if name == EVENTS:
                found = self._router.events.recent
            else:
                found = await self.snapshot(KINDS[name])
            rows[name] = [row_values(TABLES[name], row) for row in found]
        run = partial(wanted.run, rows, parameters, seconds=seconds, most_bytes=most_bytes)
        return DataTable(*await asyncio.to_thread(run))

    def _queues_of(self, names: list[str]) -> list[Queue]:
        """Those of these queues that there are; all, wherever they are, if none is named."""
        registry = self._router.registry
        if not names:
            others = registry.table.others
            elsewhere = () if others is None else others.queue_names()
            every = {*registry.queues, *elsewhere}
            names = sorted(name for name in every if not is_companion(name))
        return [registry.queue(name, capped=False) for name in names if registry.has_queue(name)]

    def _done(self, steps: Steps[T]) -> asyncio.Future[T]:
        """Take steps, and give what comes of them."""
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def finish(found: T) -> None:
            if not result.done():  # who asked may have stopped waiting
                result.set_result(found)

        def fail(error: Exception) -> None:
            if not result.done():
                result.set_exception(error)

        Task(self._scheduler, steps, finish, fail).step()
        return result
