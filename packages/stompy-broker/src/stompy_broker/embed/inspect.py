"""What can be seen of a broker on another thread, and waited for.

What holds at all times:

* Looking takes nothing: no message is consumed, counted as delivered or moved.
* What is looked at together is of one moment, because the broker's own thread looks.
* Every wait is bounded, and one in vain raises `BrokerTimeoutError` with the state of the broker.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import fields
from typing import Protocol, TypeVar

from stompy.data_table import DataTable
from stompy.protocol.frame import STOMPFrame
from stompy_broker.broker import Broker
from stompy_broker.destinations.names import parse_destination
from stompy_broker.embed.message_table import FORMS, BodyForm, message_table
from stompy_broker.routing.stats import QueueStats
from stompy_broker.session.holdings import Holdings

T = TypeVar("T")

TIMEOUT = 5.0
"""Seconds that a wait takes at most, unless told otherwise."""

PAUSE = 0.005
"""Seconds between two looks."""
ANSWER_SECONDS = 10.0
"""A broker that does not answer for so long never will."""
TABLE_SECONDS = 300.0
"""The same of a table, which may have millions of rows."""

_QUEUE = "/queue/"
_COUNTERS = ("ready", "delayed", "unacked", "consumers", "published", "acked", "nacked")


class BrokerTimeoutError(TimeoutError):
    """What was waited for did not happen; the text says how the broker stands."""


class Inspected(Protocol):
    """A broker on another thread."""

    def _submit(self, work: Callable[[Broker], Coroutine[object, object, T]]) -> Future[T]:
        """Do something on the broker's thread."""
        ...

    def describe(self) -> str:
        """Tell of queues and clients in some lines, for people."""
        ...


class AwaitableWaits:
    """`RunningBroker.join` and `RunningBroker.wait_for` for coroutines."""

    def __init__(self, broker: Inspected) -> None:
        self._broker = broker

    async def join(
        self,
        *queues: str,
        timeout: float = TIMEOUT,  # noqa: ASYNC109 -- the error at its end tells more
        count: int = 1,
    ) -> None:
        """Wait until everything in some queues was consumed and settled; see `RunningBroker.join`.

        Raises:
            BrokerTimeoutError: it did not happen in time.
            ValueError: no queue was named.
        """
        __tracebackhide__ = True
        error = await asyncio.wrap_future(self._broker._submit(joined(queues, timeout, count)))
        if error is not None:
            raise error

    async def wait_for(
        self,
        condition: Callable[[], T],
        timeout: float = TIMEOUT,  # noqa: ASYNC109 -- the error at its end tells more
        *,
        what: str = "",
    ) -> T:
        """Wait until a condition holds; see `RunningBroker.wait_for`.

        Raises:
            BrokerTimeoutError: it did not happen in time.
        """
        __tracebackhide__ = True
        deadline = time.monotonic() + timeout
        # The condition is any code; nothing tells when to look again.
        while not (result := condition()):
            if time.monotonic() >= deadline:
                raise in_vain(condition, timeout, what, self._broker.describe())
            await asyncio.sleep(PAUSE)
        return result


class QueueView:
    """A window on one queue. Each look shows the queue at that moment.

    Attributes:
        name: its name, without ``/queue/``.
    """

    def __init__(self, broker: Inspected, name: str) -> None:
        self.name = _name_of(name)
        self._broker = broker

    @property
    def messages(self) -> list[STOMPFrame]:
        """The messages that wait for a consumer, next one first; then those that are delayed.

        They are copies: nothing is consumed. Those that are with consumers are not among them.
        """
        return self._await(lambda broker: broker.browse(self.name))

    def table(
        self, selector: str | None = None, limit: int | None = 10_000, body: BodyForm = "auto"
    ) -> DataTable:
        """The messages as a table, which pandas, Polars, Arrow and DuckDB take.

        They are those that are in the queue at this moment, also those that are with consumers or
        delayed, in the order in which they would be delivered. Nothing is consumed.

        Args:
            selector: which of them: an expression as on SUBSCRIBE; None = all.
            limit: how many at most; None = without limit.
            body: ``auto``: text where it is UTF-8, else bytes. ``text``, ``bytes``: always that.
                ``json``: as ``auto``, and a column ``body.KEY`` for each key of the bodies that are
                JSON objects. ``none``: no column, and nothing is read from the disk.

        Raises:
            ProtocolError: the selector cannot be read.
            ValueError: there is no such form.
        """
        if body not in FORMS:
            raise ValueError(f"body is one of {', '.join(FORMS)}, not {body!r}")
        found = self._broker._submit(
            lambda broker: broker.queries.found(self.name, selector, limit, bodies=body != "none")
        )
        return message_table(found.result(TABLE_SECONDS), body)

    @property
    def stats(self) -> QueueStats:
        """All its counters; all 0 when there is no such queue."""
        return self._stats() or QueueStats(self.name, *[0] * (len(fields(QueueStats)) - 1))

    @property
    def exists(self) -> bool:
        """Whether the broker knows it: something was sent to it, or somebody subscribed."""
        return self._stats() is not None

    def _await(self, work: Callable[[Broker], Coroutine[object, object, T]]) -> T:
        return self._broker._submit(work).result(ANSWER_SECONDS)

    def _stats(self) -> QueueStats | None:
        return self._await(lambda broker: broker.queries.queue(self.name))

    @property
    def ready(self) -> int:
        """How many messages wait for a consumer."""
        return self.stats.ready

    @property
    def delayed(self) -> int:
        """How many messages wait out a redelivery delay."""
        return self.stats.delayed

    @property
    def scheduled(self) -> int:
        """How many messages are to come to it later. They are not in it yet."""
        return self._await(lambda broker: broker.queries.scheduled(_QUEUE + self.name))

    @property
    def unacked(self) -> int:
        """How many messages are with consumers, not settled."""
        return self.stats.unacked

    @property
    def consumers(self) -> int:
        """How many subscriptions it has."""
        return self.stats.consumers

    def __len__(self) -> int:
        """How many messages are in it, wherever: ready, delayed and unacked."""
        return _inside(self.stats)

    def __bool__(self) -> bool:
        """Say true: a window is there also on an empty queue."""
        return True

    def __repr__(self) -> str:
        """Show its name and what is in it."""
        stats = self.stats
        inside = " ".join(f"{name}:{getattr(stats, name)}" for name in _COUNTERS[:4])
        return f"<QueueView {_QUEUE}{self.name} {inside}>"


def _name_of(queue: str) -> str:
    """Read the name of a queue, which may be given with its prefix.

    Raises:
        ValueError: it is no queue.
    """
    whole = str(parse_destination(queue))
    if not whole.startswith(_QUEUE):
        raise ValueError(f"{queue!r} is no queue, and only queues can be looked into")
    return whole.removeprefix(_QUEUE)


# -- on the broker's thread ------------------------------------------------------------------------


def joined(
    queues: tuple[str, ...], timeout: float, count: int
) -> Callable[[Broker], Coroutine[object, object, BrokerTimeoutError | None]]:
    """Make work that waits for some queues; it gives the error instead of raising it over there.

    Raises:
        ValueError: no queue was named.
    """
    if not queues:
        raise ValueError("name a queue to wait for")
    names = [_name_of(queue) for queue in queues]

    async def wait(broker: Broker) -> BrokerTimeoutError | None:
        deadline = time.monotonic() + timeout
        # Queues are looked at from outside: that somebody waits must not cost them anything.
        while broker.has_input or await _missing(broker, names, count):
            if time.monotonic() >= deadline:
                why = "; ".join(await _missing(broker, names, count)) or "clients go on sending"
                return _late(why, timeout, await described(broker))
            await asyncio.sleep(PAUSE)
        return None

    return wait


async def _missing(broker: Broker, names: list[str], count: int) -> list[str]:
    """Say what is still to happen until all that went into some queues is settled."""
    reasons = []
    for name in names:
        stats = await broker.queries.queue(name)
        if stats is None:
            reasons.append(f"nothing was ever sent to {_QUEUE}{name}")
        elif _inside(stats):
            reasons.append(
                f"{_QUEUE}{name} still holds messages: {stats.ready} ready, "
                f"{stats.delayed} delayed, {stats.unacked} unacked"
            )
        elif stats.published < count:
            reasons.append(
                f"{stats.published} of {count} messages that are to go through {_QUEUE}{name} "
                "have come"
            )
    return reasons


def _inside(stats: QueueStats) -> int:
    return stats.ready + stats.delayed + stats.unacked


def in_vain(
    condition: Callable[[], object], timeout: float, what: str, state: str
) -> BrokerTimeoutError:
    """Make the error for a condition that did not come true.

    Args:
        condition: what was waited for.
        timeout: seconds.
        what: words for it; empty = its name.
        state: how the broker stands.
    """
    named = what or getattr(condition, "__qualname__", repr(condition))
    return _late(f"{named} did not come true", timeout, state)


def _late(why: str, timeout: float, state: str) -> BrokerTimeoutError:
    return BrokerTimeoutError(f"waited {timeout:g} s in vain: {why}\n{state}")


async def described(broker: Broker) -> str:
    """Tell of queues and clients in some lines, for people."""
    lines = [f"broker {broker.url}"]
    rows = await broker.queries.queues()
    width = max((len(row.name) for row in rows), default=0)
    for row in rows:
        counters = " ".join(f"{name}:{getattr(row, name)}" for name in _COUNTERS)
        lines.append(f"  queue {row.name:<{width}} {counters} dead:{row.dead_lettered}")
    for client in broker.holdings():
        lines += _client_lines(client)
    if len(lines) == 1:
        lines.append("  no queues, no clients")
    return "\n".join(lines)


def _client_lines(client: Holdings) -> list[str]:
    lines = [f"  client {client.address} {client.user or '(not logged in)'}"]
    lines += [
        f"    subscription {held.id} to {held.destination} unsettled:{held.unsettled}"
        for held in client.subscriptions
    ]
    lines += [f"    open transaction {transaction}" for transaction in client.transactions]
    return lines
