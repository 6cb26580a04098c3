"""A broker on another thread, as tests and notebooks see it: looked into, and waited for.

What holds at all times:

* Looking takes nothing: no message is consumed, counted as delivered or moved.
* What is looked at together is of one moment, because the broker's own thread looks.
* Every wait is bounded, and one in vain raises `BrokerTimeoutError` with the state of the broker.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Literal, TypeVar, overload

from stompy.admin.rows import (
    BrokerRow,
    ConnectionRow,
    DurableRow,
    Kind,
    QueueDetail,
    QueueRow,
    Row,
    SubscriptionRow,
    TopicRow,
    TransactionRow,
)
from stompy.protocol.frame import STOMPFrame
from stompy.records import Rows
from stompy_broker.broker import Broker
from stompy_broker.destinations.names import parse_destination
from stompy_broker.routing.stats import QueueStats
from stompy_broker.session.holdings import Holdings

T = TypeVar("T")

PATIENCE = 5.0
"""Seconds that a wait takes at most, unless told otherwise."""

_PAUSE = 0.005
"""Seconds between two looks."""
_ANSWER_SECONDS = 10.0
"""A broker that does not answer for so long never will."""

_QUEUE = "/queue/"
_COUNTERS = ("ready", "delayed", "unacked", "consumers", "published", "acked", "nacked")


class BrokerTimeoutError(TimeoutError):
    """What was waited for did not happen; the text says how the broker stands."""


class Watched(ABC):
    """A broker of this process that can be looked into from any thread."""

    @abstractmethod
    def _submit(self, work: Callable[[Broker], Coroutine[object, object, T]]) -> Future[T]:
        """Do something on the broker's thread."""

    def _ask(self, question: Callable[[Broker], T]) -> T:
        async def answer(broker: Broker) -> T:
            return question(broker)

        return self._await(answer)

    def _await(self, work: Callable[[Broker], Coroutine[object, object, T]]) -> T:
        return self._submit(work).result(_ANSWER_SECONDS)

    # -- looking -------------------------------------------------------------------------------

    def queues(self) -> Rows[QueueStats]:
        """The counters of all queues, by name."""
        return self._await(lambda broker: broker.all_queues())

    def connections(self) -> int:
        """How many clients are connected."""
        return self._ask(lambda broker: broker.connections)

    @overload
    def snapshot(
        self, kind: Literal[Kind.BROKER, "broker"], name: str = ...
    ) -> Rows[BrokerRow]: ...

    @overload
    def snapshot(self, kind: Literal[Kind.QUEUES, "queues"], name: str = ...) -> Rows[QueueRow]: ...

    @overload
    def snapshot(self, kind: Literal[Kind.TOPICS, "topics"], name: str = ...) -> Rows[TopicRow]: ...

    @overload
    def snapshot(
        self, kind: Literal[Kind.CONNECTIONS, "connections"], name: str = ...
    ) -> Rows[ConnectionRow]: ...

    @overload
    def snapshot(
        self, kind: Literal[Kind.SUBSCRIPTIONS, "subscriptions"], name: str = ...
    ) -> Rows[SubscriptionRow]: ...

    @overload
    def snapshot(
        self, kind: Literal[Kind.DURABLE, "durable"], name: str = ...
    ) -> Rows[DurableRow]: ...

    @overload
    def snapshot(
        self, kind: Literal[Kind.TRANSACTIONS, "transactions"], name: str = ...
    ) -> Rows[TransactionRow]: ...

    @overload
    def snapshot(
        self, kind: Literal[Kind.QUEUE, "queue"], name: str = ...
    ) -> Rows[QueueDetail]: ...

    @overload
    def snapshot(self, kind: Kind, name: str = ...) -> Rows[Row]: ...

    def snapshot(self, kind: Kind | str, name: str = "") -> Rows[Any]:
        """All there is to know about the things of one kind, as the admin topics tell it.

        Args:
            kind: ``broker``, ``queues``, ``topics``, ``connections``, ``subscriptions``,
                ``durable``, ``transactions``, or ``queue``.
            name: of the queue, for ``queue``.

        Raises:
            ValueError: there is no such kind of snapshot.
        """
        wanted = Kind(kind)
        if wanted is Kind.EVENT:
            raise ValueError("events are no snapshot: subscribe to /topic/$SYS.event.>")
        return self._await(lambda broker: broker.snapshot(wanted, name))

    def queue(self, name: str) -> QueueView:
        """A queue, to look into. It need not exist yet.

        Args:
            name: its name, with or without ``/queue/``.

        Raises:
            ProtocolError: no queue can have such a name.
            ValueError: it is no queue.
        """
        return QueueView(self, name)

    def holdings(self) -> list[Holdings]:
        """What each client holds: subscriptions, unsettled deliveries, open transactions."""
        return self._ask(lambda broker: broker.holdings())

    def describe(self) -> str:
        """Queues and clients as a text of some lines, for people."""
        return self._await(_described)

    def cut(self) -> None:
        """Cut all connections off, as a network that breaks would. The broker goes on."""
        self._ask(lambda broker: broker.abort())

    # -- waiting -------------------------------------------------------------------------------

    def join(self, *queues: str, timeout: float = PATIENCE, count: int = 1) -> None:
        """Wait until everything in some queues was consumed and settled.

        A message that was sent without asking for a receipt may still be on its way when this
        is called. So a queue counts as done only when at least ``count`` messages have come
        into it, and when no client has sent something that the broker has not read.

        Args:
            queues: their names, with or without ``/queue/``.
            timeout: seconds.
            count: how many messages each of them must have had.

        Raises:
            BrokerTimeoutError: it did not happen in time.
            ValueError: no queue was named.
        """
        __tracebackhide__ = True  # pytest shows the caller's line instead
        waiting = self._submit(_joined(queues, timeout, count))
        _raise(waiting.result(timeout + _ANSWER_SECONDS))

    def wait_for(
        self, condition: Callable[[], T], timeout: float = PATIENCE, *, what: str = ""
    ) -> T:
        """Wait until a condition holds, and give what it returned.

        Args:
            condition: called again and again, on this thread, until it returns something true.
            timeout: seconds.
            what: words for what is waited for, for the error; default: the condition's name.

        Raises:
            BrokerTimeoutError: it did not happen in time.
        """
        __tracebackhide__ = True
        deadline = time.monotonic() + timeout
        while not (result := condition()):
            if time.monotonic() >= deadline:
                raise self._in_vain(condition, timeout, what)
            time.sleep(_PAUSE)
        return result

    @property
    def aio(self) -> AwaitableWaits:
        """The same waits for coroutines, which must not block their event loop."""
        return AwaitableWaits(self)

    def _in_vain(
        self, condition: Callable[[], object], timeout: float, what: str
    ) -> BrokerTimeoutError:
        named = what or getattr(condition, "__qualname__", repr(condition))
        return _late(f"{named} did not come true", timeout, self.describe())


class AwaitableWaits:
    """`Watched.join` and `Watched.wait_for` for coroutines."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched

    async def join(
        self,
        *queues: str,
        timeout: float = PATIENCE,  # noqa: ASYNC109 -- the error at its end tells more
        count: int = 1,
    ) -> None:
        """Wait until everything in some queues was consumed and settled; see `Watched.join`.

        Raises:
            BrokerTimeoutError: it did not happen in time.
            ValueError: no queue was named.
        """
        __tracebackhide__ = True
        waiting = self._watched._submit(_joined(queues, timeout, count))
        _raise(await asyncio.wrap_future(waiting))

    async def wait_for(
        self,
        condition: Callable[[], T],
        timeout: float = PATIENCE,  # noqa: ASYNC109 -- the error at its end tells more
        *,
        what: str = "",
    ) -> T:
        """Wait until a condition holds; see `Watched.wait_for`.

        Raises:
            BrokerTimeoutError: it did not happen in time.
        """
        __tracebackhide__ = True
        deadline = time.monotonic() + timeout
        # The condition is any code; nothing tells when to look again.
        while not (result := condition()):
            if time.monotonic() >= deadline:
                raise self._watched._in_vain(condition, timeout, what)
            await asyncio.sleep(_PAUSE)
        return result


class QueueView:
    """A window on one queue. Each look shows the queue at that moment.

    Attributes:
        name: its name, without ``/queue/``.
    """

    def __init__(self, watched: Watched, name: str) -> None:
        self.name = _name_of(name)
        self._watched = watched

    @property
    def messages(self) -> list[STOMPFrame]:
        """The messages that wait for a consumer, next one first; then those that are delayed.

        They are copies: nothing is consumed. Those that are with consumers are not among them.
        """
        return self._watched._await(lambda broker: broker.browse(self.name))

    @property
    def stats(self) -> QueueStats:
        """All its counters; all 0 when there is no such queue."""
        return self._stats() or QueueStats(self.name, *([0] * 13))

    @property
    def exists(self) -> bool:
        """Whether the broker knows it: something was sent to it, or somebody subscribed."""
        return self._stats() is not None

    def _stats(self) -> QueueStats | None:
        return self._watched._await(lambda broker: broker.queue_stats(self.name))

    @property
    def ready(self) -> int:
        """How many messages wait for a consumer."""
        return self.stats.ready

    @property
    def delayed(self) -> int:
        """How many messages wait out a redelivery delay."""
        return self.stats.delayed

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
        """True: a window, also on an empty queue."""
        return True

    def __repr__(self) -> str:
        """Name and what is in it."""
        stats = self.stats
        inside = " ".join(f"{name}:{getattr(stats, name)}" for name in _COUNTERS[:4])
        return f"<QueueView {_QUEUE}{self.name} {inside}>"


def _name_of(queue: str) -> str:
    """The name of a queue, which may be given with its prefix.

    Raises:
        ValueError: it is no queue.
    """
    whole = str(parse_destination(queue))
    if not whole.startswith(_QUEUE):
        raise ValueError(f"{queue!r} is no queue, and only queues can be looked into")
    return whole.removeprefix(_QUEUE)


# -- on the broker's thread ------------------------------------------------------------------------


def _joined(
    queues: tuple[str, ...], timeout: float, count: int
) -> Callable[[Broker], Coroutine[object, object, BrokerTimeoutError | None]]:
    """Work that waits for some queues; it gives the error instead of raising it over there."""
    if not queues:
        raise ValueError("name a queue to wait for")
    names = [_name_of(queue) for queue in queues]

    async def wait(broker: Broker) -> BrokerTimeoutError | None:
        deadline = time.monotonic() + timeout
        # Queues are looked at from outside: that somebody waits must not cost them anything.
        while broker.has_input or await _missing(broker, names, count):
            if time.monotonic() >= deadline:
                why = "; ".join(await _missing(broker, names, count)) or "clients go on sending"
                return _late(why, timeout, await _described(broker))
            await asyncio.sleep(_PAUSE)
        return None

    return wait


def _raise(error: BrokerTimeoutError | None) -> None:
    __tracebackhide__ = True
    if error is not None:
        raise error


async def _missing(broker: Broker, names: list[str], count: int) -> list[str]:
    """In words, what is still to happen until all that went into some queues is settled."""
    reasons = []
    for name in names:
        stats = await broker.queue_stats(name)
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


def _late(why: str, timeout: float, state: str) -> BrokerTimeoutError:
    return BrokerTimeoutError(f"waited {timeout:g} s in vain: {why}\n{state}")


async def _described(broker: Broker) -> str:
    lines = [f"broker {broker.url}"]
    rows = await broker.all_queues()
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
