"""A local queue: who gets the next message, what is on its way, what comes back (**hot path**).

Invariants:

* A message is in exactly one of three places: in ``_line``, ``_departing``, or with a consumer.
* Between two calls, either nobody waits in ``_waiting`` or nothing is ready to be delivered, unless
  the queue is fetching bodies from disk.
* A message that is with a consumer has its body. So what a client settles is settled at once, and
  a COMMIT is one change in the store.

To the rest of the broker a queue is five verbs: `publish`, `attach`, `detach`, `settle`,
`stats`. Those that change something take a ``done`` that is called when the change is safe, so
that another kind of queue may answer later. Nothing outside assumes that a queue's messages live
in this process.
"""

from __future__ import annotations

import heapq
import logging
from collections import deque
from collections.abc import Callable, Iterable

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import DEFAULT_PRIORITY, Message
from stompy_broker.routing.chores import Chores
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.departing import Departing, first_of
from stompy_broker.routing.expiry import Expiry
from stompy_broker.routing.flow_control import Pressure
from stompy_broker.routing.leaving import Leaving
from stompy_broker.routing.paging import Reading
from stompy_broker.routing.ready_list import Line
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.services import Services
from stompy_broker.routing.settings import Setup
from stompy_broker.store.base import Done, MessageStore, when_safe

log = logging.getLogger("stompy_broker.queue")

_COMES_BACK = "very many messages come back"

_TOLD_MESSAGES = 10_000
"""So many messages for a durable subscriber who is away are worth a line in the log."""


class LocalQueue(Leaving):
    """One queue, or the private backlog of one topic subscription.

    Args:
        destination: as clients write it.
        name: without prefix.
        policy: how it behaves.
        house: clock, pressure, store and dead letters.
        private: whether it is the backlog of a topic subscription that ends with its connection.
        durable: whether it is the backlog of a durable topic subscription.
        volatile: whether it ends with its connection, so that nothing is stored.
        final: whether it is a dead-letter queue, which a message leaves by an ACK only.

    Attributes:
        subscriptions: how many subscriptions want to take part or do.
        bytes: size of everything in it, also of what is with consumers.
        idle_since: since when nobody takes part; None while somebody does.
        setup: what is kept of it, and of what operators decided.
        turn: the time of what is going on.
        created_at: when, in milliseconds since the epoch.
        removed: messages that operators took out.
    """

    def __init__(
        self,
        destination: str,
        name: str,
        policy: Policy,
        house: Services,
        *,
        private: bool = False,
        durable: bool = False,
        volatile: bool = False,
        final: bool = False,
    ) -> None:
        self.destination = destination
        self.name = name
        self.policy = policy
        self.private = private
        self.durable = durable
        # Whose messages are its own: they may be stored, or end before those of others.
        self.unshared = durable or bool(policy.message_ttl)
        self.volatile = volatile
        self.final = final
        bounded = policy.max_bytes and not private
        self.pressure = Pressure(policy.max_bytes) if bounded else None
        self.subscriptions = 0
        self.bytes = 0
        self.idle_since: float | None = house.clock.now()
        self._house = house
        self.turn = house.turn
        self.loans, self._disk = house.loans, house.disk
        # Where what waits is added up. Only one client can empty what is volatile.
        self.account: Pressure = house.loans if volatile else house.pressure
        house.loans.holders += volatile
        stored = house.store.durable and not volatile and policy.persistent
        self._store: MessageStore | None = house.store if stored else None
        self._line = line = Line()
        self._fresh, self._ordered = line.fresh, line.ordered
        self._consumers: dict[Consumer, None] = {}
        self._waiting: deque[Consumer] = deque()
        self._halts: set[str] = set()
        self._chores, self._returning = Chores(house.shift), 0
        self._timer = house.clock.timer(self._release_delayed)
        self._expiry = Expiry(house.clock, house.wall, self._expire)
        self._reading = Reading(self.account, house.store, self._have_read)
        self._departing = Departing(house.store, self._depart)
        # What `publish` looks at before anything else; most queues have none of it.
        self._special = bool(policy.message_ttl) or (
            not private and bool(policy.max_length or policy.max_length_bytes)
        )
        self._backlog = volatile or durable
        self._told_of = _TOLD_MESSAGES
        self._unacked = 0
        self._closed = False
        self.published = 0
        self.delivered = 0
        self.acked = 0
        self.nacked = 0
        self.redelivered = 0
        self.expired = 0
        self.dead_lettered = 0
        self.dropped = 0
        self.removed = 0
        self.setup = Setup()
        self.created_at = house.wall()

    # -- the five verbs -------------------------------------------------------------------

    def publish(self, message: Message, done: Done | None = None, *, admit: bool = True) -> None:
        """Take a message: to a consumer that waits for one, or to the end of the queue.

        A message that goes straight to a consumer without acknowledgement is never stored.

        Raises:
            ProtocolError: the queue is full and its policy is to refuse. With ``admit`` false,
                `admit` was asked before.
        """
        if self._special and not self._take_in(message, admit=admit):
            if done is not None:
                when_safe(self._house.store, message, done)
            return
        self.published += 1
        waiting = self._waiting
        if waiting and self._reading.wanted is None:
            consumer = waiting[0]
            self.delivered += 1
            if not consumer.auto:
                self._unacked += 1
                self._keep(message)
                if self._store is not None:
                    self._note_delivery(message, consumer.number)
            try:
                more = consumer.deliver(message)
            except Exception as error:
                self._take_back(message, consumer)
                self._cannot_write(message, error)
                more = True
            if not more:
                waiting.popleft()
                consumer.waiting = False
            elif len(waiting) > 1:
                waiting.rotate(-1)
        else:
            self._keep(message)
            self._put(message)
        if done is not None:
            when_safe(self._store, message, done)

    def attach(self, consumer: Consumer) -> None:
        """Let a consumer take part, last in line."""
        self._consumers[consumer] = None
        self._told_of = _TOLD_MESSAGES
        self.idle_since = None
        self.resume(consumer)

    def detach(
        self, consumer: Consumer, unsettled: Iterable[Message] = (), *, lost: bool = False
    ) -> None:
        """Let a consumer go; what it did not settle returns to its place.

        Args:
            consumer: who goes.
            unsettled: what it has of this queue, oldest first.
            lost: whether its connection was lost; it may have died on the oldest message.
        """
        self._consumers.pop(consumer, None)
        self.step_out(consumer)
        if not self._consumers:
            self.idle_since = self._house.clock.now()
        self.give_back(unsettled, lost=lost)

    def give_back(self, messages: Iterable[Message], *, lost: bool = False) -> None:
        """Deliveries came to nothing; of a lost consumer the first one counts as failed."""
        some, shift = list(messages), self._house.shift
        at_once = some[: max(1, shift.left)]
        for message in at_once:
            self._return(message, failed=lost)
            lost = False
        if len(at_once) > 1:
            shift.spend(len(at_once))
        if len(some) > len(at_once):
            self._hold_back()
            self._chores.do(some[len(at_once) :], self._return, self._have_returned)
        self.account.sink()
        self._pump()

    def _return(self, message: Message, *, failed: bool = False) -> None:
        self._unacked -= 1
        self._put_back(message.returned(failed=failed), "delivery_limit", "", 0.0)

    def _hold_back(self) -> None:
        """Others have their turn, but nothing of this queue overtakes what comes back."""
        self._returning += 1
        self.pause(_COMES_BACK)

    def _have_returned(self) -> None:
        self.account.sink()
        self._returning -= 1
        if not self._returning:
            self.proceed(_COMES_BACK)

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
            self._reject(message.returned(failed=True), rejection)
        if done is not None:
            when_safe(self._store if rejection is None else self._house.store, message, done)

    def settle_many(
        self,
        messages: Iterable[Message],
        rejection: Rejection | None,
        done: Done | None,
        then: Callable[[], None],
    ) -> None:
        """As `settle`, of very many deliveries: in steps, and then ``then``."""

        def end() -> None:
            if rejection is not None:
                self._have_returned()
            then()

        if rejection is not None:
            self._hold_back()
        self._chores.do(messages, lambda message: self.settle(message, rejection, done), end)

    # -- consumers and life ---------------------------------------------------------------

    def resume(self, consumer: Consumer) -> None:
        """A consumer has room again."""
        if not consumer.waiting:
            consumer.waiting = True
            self._waiting.append(consumer)
            if self._fresh or self._ordered:
                self._pump()

    def step_out(self, *consumers: Consumer) -> None:
        """Consumers want nothing for now. Those of many that do are best told together."""
        leaving = [consumer for consumer in consumers if consumer.waiting]
        for consumer in leaving:
            consumer.waiting = False
        if len(leaving) == 1:
            self._waiting.remove(leaving[0])
        elif leaving:
            staying = [consumer for consumer in self._waiting if consumer.waiting]
            self._waiting.clear()
            self._waiting.extend(staying)

    @property
    def in_use(self) -> bool:
        """Whether anybody consumes from it or is about to, or anything is in it."""
        return bool(
            self.subscribed or self._unacked or self._line or self._departing or self._chores
        )

    @property
    def is_stored(self) -> bool:
        """Whether persistent messages in it survive."""
        return self._store is not None

    @property
    def subscribed(self) -> bool:
        """Whether anybody consumes from it or is about to."""
        return bool(self.subscriptions or self._consumers)

    def admit(self, count: int = 1, before: int = 0) -> None:
        """Whether so many more messages would be taken.

        Args:
            count: how many.
            before: how many bytes all but the last of them have.

        Raises:
            ProtocolError: the queue is full, or would be, and its policy is to refuse.
        """
        if self.policy.refuses and not self.private and self._overflows(count, before):
            more = "no more" if count == 1 else f"not {count} more at once"
            raise ProtocolError(
                ErrorCode.QUEUE_FULL,
                f"{self.destination} holds {self.ready} messages and takes {more}",
            )

    def restore(self, message: Message, due: int) -> None:
        """Take a message back that the store has kept."""
        if self._store is None:
            # Its policy was another one. Until it is empty at a start it goes on as before.
            self._store = self._house.store
        size = message.size
        self.bytes += size
        message.charge(self.account)
        self._disk.used += size
        if self.pressure is not None:
            self.pressure.used += size
        wait = (due - self._house.wall()) / 1000 if due else 0
        if wait > 0:
            self._delay(message, wait)
        elif self._line.prioritized or message.head.priority != DEFAULT_PRIORITY:
            self._line.place(message)
        else:
            self._fresh.append(message)
        if message.expires:
            self._expiry.watch(message.expires)

    def close(self) -> None:
        """The queue ends, and what is in it. What is with consumers ends when it is settled."""
        # From now on `_take_in` turns everything away.
        self._closed = self._special = True
        self.loans.holders -= self.volatile
        self._timer.end()
        self._expiry.end()
        self._reading.close()
        for message in self._departing:
            message.body = None  # accounted for like that, also when it was read meanwhile
        if waiting := [*self._line, *self._departing]:
            self._chores.do(waiting, self._let_go)
        self._line.clear()
        self._departing.close()

    # -- handing out ----------------------------------------------------------------------

    def _put(self, message: Message) -> None:
        """To the end of the queue, or of its priority."""
        if message.head.priority == DEFAULT_PRIORITY and not self._line.prioritized:
            self._fresh.append(message)
        else:
            self._line.place(message)
        if message.expires:
            self._expiry.watch(message.expires)
        if self._backlog:
            self._watch_backlog()

    def _pump(self) -> None:
        """Hand out what is ready while somebody waits for it."""
        waiting, fresh, ordered = self._waiting, self._fresh, self._ordered
        reading = self._reading
        self.turn.now = self._house.clock.now()
        while waiting and (fresh or ordered) and reading.wanted is None:
            message = heapq.heappop(ordered)[2] if ordered else fresh.popleft()
            if message.body is None:
                self._line.put_back(message)
                self._read_ahead()
                break
            if (message.expires or message.redelivery) and self._ends(message):
                continue
            consumer = waiting[0]
            self.delivered += 1
            try:
                more = consumer.deliver(message)
            except Exception as error:
                self._cannot_write(message, error)
                continue
            if consumer.auto:
                self._let_go(message)
            else:
                self._unacked += 1
                if self._store is not None:
                    self._note_delivery(message, consumer.number)
            if not more:
                waiting.popleft()
                consumer.waiting = False
            elif len(waiting) > 1:
                waiting.rotate(-1)
        if self._line.prioritized and not ordered:
            self._line.prioritized = False

    def _ends(self, message: Message) -> bool:
        """Give up a message whose turn comes too late, or once too often; say whether it was so."""
        if message.expires and message.expires <= self._house.wall():
            self._give_up(message, "expired", "")
            return True
        if not message.deliveries:
            return False
        if not self.final and self.policy.exhausted(message.failures):
            # A crash cut its last delivery short.
            self._give_up(message, "delivery_limit", "")
            return True
        self.redelivered += 1
        return False

    def _read_ahead(self) -> None:
        """Have the next bodies read from disk; go on when they are there."""
        self._reading.begin(first_of(self._line.next_messages()))

    def _have_read(self, lost: set[int]) -> None:
        if lost:
            for message in self._line.take_out(lambda message: message.sequence in lost):
                self._lose(message)
        self._pump()

    # -- coming back and giving up --------------------------------------------------------

    def _reject(self, message: Message, rejection: Rejection) -> None:
        if not rejection.requeue and not self.final:
            self._give_up(message, "rejected", rejection.reason)
            return
        delay = rejection.delay
        if delay is None:
            delay = self.policy.delay(message.failures)
        self._put_back(message, "nack", rejection.reason, delay)
        self.account.sink()
        self._pump()

    def _put_back(self, message: Message, cause: str, reason: str, delay: float) -> None:
        """To the original place, now or later; or out, when it came back too often."""
        if self._closed:
            self._let_go(message)
            return
        if not self.final and self.policy.exhausted(message.failures):
            self._give_up(message, cause, reason)
            return
        self._shed(message)
        due = self._house.wall() + int(delay * 1000) if delay > 0 else 0
        if self._store is not None and message.head.persistent:
            self._store.mark_delivered(message, message.deliveries, due)
        if delay > 0:
            self._delay(message, delay)
        else:
            self._line.place(message)
        if message.expires:
            self._expiry.watch(message.expires)

    def _delay(self, message: Message, seconds: float) -> None:
        self._line.delay(message, self._house.clock.now() + seconds)
        self._set_timer()

    def _set_timer(self) -> None:
        due = self._line.next_due
        if due is not None:
            self._timer.set(due)

    def _grave(self, cause: str) -> str:
        return self._house.grave(self, cause)

    def _bury(self, message: Message, cause: str, reason: str) -> bool:
        return self._house.bury(self, message, cause, reason)

    def _release_delayed(self) -> None:
        self._line.release(self._house.clock.now())
        self._set_timer()
        self._pump()

    # -- limits ---------------------------------------------------------------------------

    def _take_in(self, message: Message, *, admit: bool) -> bool:
        """Apply time to live and length limits; false if the message is not for this queue."""
        if self._closed:
            # Its subscriber was cut off by one of the queues that the message is for.
            return False
        policy = self.policy
        if policy.message_ttl:
            expires = message.received_at + policy.message_ttl
            message.expires = min(message.expires or expires, expires)
        if self.private or not self._overflows(1):
            return True
        if policy.overflow == "drop-head":
            if self.durable and not self.dropped:
                log.warning("%s: its backlog is full; the oldest messages go", self.destination)
            while self.ready and self._overflows(1):
                self._give_up(self._line.pop(), "maxlen", "")
            return True
        if policy.overflow == "reject-publish-dlx":
            self.turn_away(message, "maxlen")
            return False
        if admit:
            self.admit()
        return True

    def _overflows(self, more: int, before: int = 0) -> bool:
        staying = self.bytes - self._departing.bytes
        return self.policy.exceeded(self.ready + more, staying + before)

    def _watch_backlog(self) -> None:
        """Say how many wait for a durable subscriber who is away; bound other backlogs."""
        if self.private:
            self._bound_backlog()
        elif self.volatile:
            self._bound_replies()
        elif self.ready >= self._told_of and not self._consumers:
            self._told_of = 2 * self.ready
            log.warning(
                "%s: %d messages, %d MiB, wait for its subscriber, who is away",
                self.destination,
                self.ready,
                self.bytes // 2**20,
            )

    def _bound_backlog(self) -> None:
        """Keep a topic subscriber's backlog within its limits."""
        policy, loans = self.policy, self.loans
        most: float = policy.backlog_bytes
        if loans.full:
            most = min(most, loans.share)
        while self.ready > policy.backlog_messages or self.bytes > most:
            if policy.backlog_overflow == "disconnect" and self._consumers:
                reason = ProtocolError(
                    ErrorCode.SLOW_CONSUMER,
                    f"the subscription to {self.destination} does not keep up: "
                    f"{self.ready} messages wait for it",
                )
                self._cut_off(reason)
                return
            if not self.ready:
                return
            self.dropped += 1
            self._let_go(self._line.pop())

    def _bound_replies(self) -> None:
        """Cut off who has replies sent to a temporary queue and does not take them."""
        loans = self.loans
        if loans.full and self.bytes > loans.share and self._consumers:
            self._cut_off(
                ProtocolError(
                    ErrorCode.SLOW_CONSUMER,
                    f"clients hold all the memory they may, and {self.bytes} bytes wait in "
                    f"{self.destination}",
                )
            )

    def _cut_off(self, reason: ProtocolError) -> None:
        for consumer in tuple(self._consumers):
            consumer.fail(reason)

    # -- expiry ---------------------------------------------------------------------------

    def _expire(self) -> None:
        """Give up everything whose time is over, wherever it waits."""
        now = self._house.wall()
        over = self._line.take_out_expired(now)
        self._expiry.look_again(self._line)
        self._chores.do(over, lambda message: self._give_up(message, "expired", ""))

    def __repr__(self) -> str:
        """Name and what is in it."""
        return (
            f"<LocalQueue {self.destination} ready:{self.ready} unacked:{self._unacked} "
            f"consumers:{len(self._consumers)}>"
        )
