"""A local queue: who gets the next message, what is on its way, what comes back (**hot path**).

Invariants:

* A message is in exactly one of four places: ``_fresh`` (never delivered, in order of sequence),
  ``_returned`` (a heap by sequence), ``_delayed`` (a heap by time), or with a consumer.
* Whatever was delivered and came back has a smaller sequence than everything fresh, so taking
  from ``_returned`` first restores the original order.
* Between two calls, either nobody waits in ``_waiting`` or nothing is ready to be delivered.

To the rest of the broker a queue is five verbs: `publish`, `attach`, `detach`, `settle`,
`stats`. Those that change something take a ``done`` that is called when the change is safe, so
that another kind of queue may answer later. Nothing outside assumes that a queue's messages live
in this process.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.clock import Clock
from stompy_broker.message import Message
from stompy_broker.policy import Policy
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.pressure import Pressure
from stompy_broker.store.base import MessageStore

Done = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Rejection:
    """The outcome of a NACK.

    Attributes:
        requeue: whether the message may be delivered again; otherwise it is a dead letter.
        delay: seconds before that; None = as the policy says.
        reason: the consumer's own words, for the dead letter's headers.
    """

    requeue: bool = True
    delay: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class QueueStats:
    """A queue's counters at one moment."""

    name: str
    ready: int
    delayed: int
    unacked: int
    consumers: int
    bytes: int
    published: int
    delivered: int
    acked: int
    nacked: int
    redelivered: int
    dead_lettered: int
    dropped: int


class House(Protocol):
    """What a queue needs from the broker around it."""

    clock: Clock
    pressure: Pressure
    store: MessageStore

    def dead_letter(self, queue: Queue, message: Message, cause: str, reason: str) -> None:
        """Take a message that this queue gives up."""
        ...


class Queue:
    """One queue, or the private backlog of one topic subscription.

    Args:
        destination: as clients write it.
        name: without prefix.
        policy: how it behaves.
        house: clock, pressure, store and dead letters.
        private: whether it is a topic subscription's backlog: then it is bounded, and drops.
        volatile: whether it ends with its connection, so that nothing is stored.
        final: whether it is a dead-letter queue, which a message leaves by an ACK only.
    """

    def __init__(
        self,
        destination: str,
        name: str,
        policy: Policy,
        house: House,
        *,
        private: bool = False,
        volatile: bool = False,
        final: bool = False,
    ) -> None:
        self.destination = destination
        self.name = name
        self.policy = policy
        self.private = private
        self.volatile = volatile
        self.final = final
        bounded = policy.max_bytes and not private
        self.pressure = Pressure(policy.max_bytes) if bounded else None
        self.bytes = 0
        self.idle_since: float | None = house.clock.now()
        self._house = house
        self._total = house.pressure
        stored = house.store.durable and not volatile
        self._store: MessageStore | None = house.store if stored else None
        self._fresh: deque[Message] = deque()
        self._returned: list[tuple[int, Message]] = []
        self._delayed: list[tuple[float, int, Message]] = []
        self._consumers: dict[Consumer, None] = {}
        self._waiting: deque[Consumer] = deque()
        self._alarm = house.clock.alarm(self._release_delayed)
        self._unacked = 0
        self._closed = False
        self.published = 0
        self.delivered = 0
        self.acked = 0
        self.nacked = 0
        self.redelivered = 0
        self.dead_lettered = 0
        self.dropped = 0

    # -- the five verbs -------------------------------------------------------------------

    def publish(self, message: Message, done: Done | None = None) -> None:
        """Take a message: to a consumer that waits for one, or to the end of the queue.

        A message that goes straight to a consumer without acknowledgement is never stored.
        """
        self.published += 1
        waiting = self._waiting
        if waiting:
            consumer = waiting[0]
            if consumer.auto:
                self.delivered += 1
            else:
                self._keep(message)
                self.delivered += 1
                self._unacked += 1
            if not consumer.deliver(message):
                waiting.popleft()
                consumer.waiting = False
            elif len(waiting) > 1:
                waiting.rotate(-1)
        else:
            self._keep(message)
            self._fresh.append(message)
            if self.private:
                self._bound()
        if done is not None:
            self._house.store.sync(done)

    def attach(self, consumer: Consumer) -> None:
        """Let a consumer take part, last in line."""
        self._consumers[consumer] = None
        self.idle_since = None
        self.resume(consumer)

    def detach(self, consumer: Consumer, unsettled: Iterable[Message] = ()) -> None:
        """Let a consumer go; what it did not settle returns to its place."""
        self._consumers.pop(consumer, None)
        if consumer.waiting:
            consumer.waiting = False
            self._waiting.remove(consumer)
        for message in unsettled:
            self._unacked -= 1
            self._give_back(message.returned(), "delivery_limit", "", 0.0)
        if not self._consumers:
            self.idle_since = self._house.clock.now()
        self._pump()

    def settle(
        self, message: Message, rejection: Rejection | None = None, done: Done | None = None
    ) -> None:
        """A delivery came to its end: accepted, or rejected in some way."""
        self._unacked -= 1
        if rejection is None:
            self.acked += 1
            self._let_go(message)
        else:
            self.nacked += 1
            self._reject(message.returned(), rejection)
        if done is not None:
            self._house.store.sync(done)

    def stats(self, done: Callable[[QueueStats], None]) -> None:
        """Give the counters."""
        done(
            QueueStats(
                name=self.name,
                ready=len(self._fresh) + len(self._returned),
                delayed=len(self._delayed),
                unacked=self._unacked,
                consumers=len(self._consumers),
                bytes=self.bytes,
                published=self.published,
                delivered=self.delivered,
                acked=self.acked,
                nacked=self.nacked,
                redelivered=self.redelivered,
                dead_lettered=self.dead_lettered,
                dropped=self.dropped,
            )
        )

    # -- consumers ------------------------------------------------------------------------

    def resume(self, consumer: Consumer) -> None:
        """A consumer has room again."""
        if not consumer.waiting:
            consumer.waiting = True
            self._waiting.append(consumer)
            if self._fresh or self._returned:
                self._pump()

    @property
    def in_use(self) -> bool:
        """Whether anybody consumes from it, or anything is in it."""
        return bool(
            self._consumers or self._fresh or self._returned or self._delayed or self._unacked
        )

    def close(self) -> None:
        """The queue ends, and what is in it. What is with consumers ends when it is settled."""
        self._closed = True
        self._alarm.cancel()
        for message in self._all_messages():
            self._let_go(message)
        self._fresh.clear()
        self._returned.clear()
        self._delayed.clear()

    # -- within ---------------------------------------------------------------------------

    def _pump(self) -> None:
        """Hand out what is ready while somebody waits for it."""
        waiting, fresh, returned = self._waiting, self._fresh, self._returned
        delivered = unacked = 0
        while waiting and (fresh or returned):
            message = heapq.heappop(returned)[1] if returned else fresh.popleft()
            consumer = waiting[0]
            delivered += 1
            if message.deliveries:
                self.redelivered += 1
            if consumer.auto:
                self._let_go(message)
            else:
                unacked += 1
            if not consumer.deliver(message):
                waiting.popleft()
                consumer.waiting = False
            elif len(waiting) > 1:
                waiting.rotate(-1)
        self.delivered += delivered
        self._unacked += unacked

    def _keep(self, message: Message) -> None:
        """Account for a message, and store it where it is to survive."""
        size = message.size
        self.bytes += size
        total = self._total
        total.used += size
        if total.used >= total.high:
            total.reached()
        if self.pressure is not None:
            self.pressure.used += size
            if self.pressure.used >= self.pressure.high:
                self.pressure.reached()
        if self._store is not None and message.head.persistent:
            self._store.append(self.destination, message)

    def _let_go(self, message: Message) -> None:
        """Undo `_keep`."""
        size = message.size
        self.bytes -= size
        total = self._total
        total.used -= size
        if total.used <= total.floor:
            total.relieved()
        if self.pressure is not None:
            self.pressure.used -= size
            if self.pressure.used <= self.pressure.floor:
                self.pressure.relieved()
        if self._store is not None and message.head.persistent:
            self._store.remove(self.destination, message)

    def _reject(self, message: Message, rejection: Rejection) -> None:
        if not rejection.requeue and not self.final:
            self._give_up(message, "rejected", rejection.reason)
            return
        delay = rejection.delay
        if delay is None:
            delay = self.policy.delay(message.deliveries)
        self._give_back(message, "nack", rejection.reason, delay)
        self._pump()

    def _give_back(self, message: Message, cause: str, reason: str, delay: float) -> None:
        """To the original place, now or later; or out, when it came back too often."""
        if self._closed:
            self._let_go(message)
            return
        if not self.final and self.policy.exhausted(message.deliveries):
            self._give_up(message, cause, reason)
            return
        if self._store is not None and message.head.persistent:
            self._store.append(self.destination, message)
        if delay > 0:
            due = self._house.clock.now() + delay
            heapq.heappush(self._delayed, (due, message.sequence, message))
            self._alarm.set(self._delayed[0][0])
        else:
            heapq.heappush(self._returned, (message.sequence, message))

    def _give_up(self, message: Message, cause: str, reason: str) -> None:
        self.dead_lettered += 1
        self._house.dead_letter(self, message, cause, reason)
        self._let_go(message)

    def _release_delayed(self) -> None:
        now = self._house.clock.now()
        while self._delayed and self._delayed[0][0] <= now:
            _, sequence, message = heapq.heappop(self._delayed)
            heapq.heappush(self._returned, (sequence, message))
        if self._delayed:
            self._alarm.set(self._delayed[0][0])
        self._pump()

    def _bound(self) -> None:
        """Keep a topic subscriber's backlog within its limits."""
        policy, fresh = self.policy, self._fresh
        while len(fresh) > policy.backlog_messages or self.bytes > policy.backlog_bytes:
            if policy.overflow == "disconnect":
                reason = ProtocolError(
                    ErrorCode.SLOW_CONSUMER,
                    f"the subscription to {self.destination} does not keep up: "
                    f"{len(fresh)} messages wait for it",
                )
                for consumer in tuple(self._consumers):
                    consumer.fail(reason)
                return
            if not fresh:
                return
            self.dropped += 1
            self._let_go(fresh.popleft())

    def _all_messages(self) -> Iterable[Message]:
        yield from self._fresh
        yield from (message for _, message in self._returned)
        yield from (message for _, _, message in self._delayed)

    def __repr__(self) -> str:
        """Name and what is in it."""
        ready = len(self._fresh) + len(self._returned)
        return (
            f"<Queue {self.destination} ready:{ready} unacked:{self._unacked} "
            f"consumers:{len(self._consumers)}>"
        )
