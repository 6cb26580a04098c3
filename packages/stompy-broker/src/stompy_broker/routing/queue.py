"""A local queue: who gets the next message, what is on its way, what comes back (**hot path**).

Invariants:

* A message is in exactly one of three places: it waits in the ready list, it waits for its body to
  leave for the dead letters, or it is with a consumer.
* Between two calls, either nobody waits in ``_waiting`` or nothing is ready to be delivered, unless
  the queue is paused or is fetching bodies from disk.
* A message that is with a consumer has its body. So what a client settles is settled at once, and
  a COMMIT is one change in the store.

It answers all verbs of `stompy_broker.routing.interface.Queue` at once, but for what waits for the
disk and for work on very many messages.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Set

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import DEFAULT_PRIORITY, Message
from stompy_broker.routing.answers import Done, Refused, nobody_asks, when_safe
from stompy_broker.routing.batching import AT_ONCE
from stompy_broker.routing.browsing import browse
from stompy_broker.routing.consumer import Consumer, NotNow
from stompy_broker.routing.dealer import ALWAYS_SOME, Dealer
from stompy_broker.routing.duplicate_check import take_simply
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.group_delivery import Dealt
from stompy_broker.routing.group_table import GroupTable
from stompy_broker.routing.interface import (
    AssignGroup,
    Browse,
    Browsed,
    Close,
    Configure,
    Expire,
    KeepGroups,
    Order,
    Outcome,
    PublishOnce,
    QueueFigures,
    QueueIdentity,
    QueueKind,
    RestorableQueue,
)
from stompy_broker.routing.message_group import GroupedMessage
from stompy_broker.routing.moving import carry_out
from stompy_broker.routing.paging import first_without_body
from stompy_broker.routing.queue_parts import QueueParts
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.sequences import Sequences
from stompy_broker.routing.services import Services
from stompy_broker.routing.settings import NO_SETTINGS, QueueSettings
from stompy_broker.routing.wait_times import NOT_COUNTED, WaitHistogram

_BY_OPERATOR = "an operator paused it"


class LocalQueue(RestorableQueue):
    """One queue, or the private backlog of one topic subscription.

    Args:
        destination: as clients write it.
        name: without prefix.
        policy: how it behaves.
        kind: what it is for.
        services: clock, memory and dead letters of the broker.
        group: store, disk and message-ids.

    Attributes:
        published: messages that came in.
        delivered: deliveries, redeliveries included.
        acked: deliveries that were accepted.
        watermark: makes its producers wait; None = nothing of its own does.
    """

    __slots__ = (
        "_accounts",
        "_attendance",
        "_batches",
        "_closed",
        "_consumers",
        "_counts",
        "_created_at",
        "_dealer",
        "_delays",
        "_discards",
        "_expiry",
        "_fifo",
        "_heap",
        "_limits",
        "_line",
        "_reader",
        "_ready",
        "_requeue",
        "_returns",
        "_services",
        "_settings",
        "_special",
        "_unacked",
        "_waiting",
        "_waits",
        "_watches_backlog",
        "acked",
        "delivered",
        "group",
        "published",
        "sequences",
        "unshared",
        "watermark",
    )

    group: QueueGroup
    sequences: Sequences
    unshared: bool
    watermark: Watermark | None
    delivered: int

    def __init__(
        self,
        destination: str,
        name: str,
        policy: Policy,
        kind: QueueKind,
        services: Services,
        group: QueueGroup,
    ) -> None:
        private, durable, _, volatile, _, _ = kind
        self._identity = identity = QueueIdentity(destination, name, policy, *kind)
        self.group = group
        self.sequences = group.sequences
        # Whose messages are its own: they may be stored, or end before those of others.
        self.unshared = not private or bool(policy.message_ttl)
        self.published = self.delivered = self.acked = 0
        self._services = services
        self._settings, self._created_at = NO_SETTINGS, services.wall()
        parts = QueueParts(identity, services, group, self._hand_out)
        self._ready, self._line, self._accounts = parts.ready, parts.line, parts.accounts
        self._fifo, self._heap = parts.ready.fifo, parts.ready.heap
        self._dealer: Dealer | None = None
        self._attendance, self._consumers = parts.attendance, parts.attendance.consumers
        self._batches, self._counts, self._reader = parts.batches, parts.counts, parts.reader
        self._unacked, self._closed, self._waiting = 0, False, parts.line.waiting
        self._waits: WaitHistogram | None = None
        # What `publish` looks at before anything else; most queues have none of it.
        self._special = identity.is_special
        self._watches_backlog = volatile or durable
        self.watermark = parts.own
        self._expiry, self._delays, self._discards = parts.expiry, parts.delays, parts.discards
        self._requeue, self._returns, self._limits = parts.requeue, parts.returns, parts.limits
        if policy.deals and not private:
            self._choose()

    @property
    def is_stored(self) -> bool:
        """Whether persistent messages in it survive."""
        return self._accounts.store is not None

    # -- messages -------------------------------------------------------------------------

    def publish(  # noqa: C901 -- the hot path: a call for a part of it costs more
        self, message: Message, done: Done | None = None, refused: Refused | None = None
    ) -> None:
        """Take a message: to a consumer that waits for one, or to the end of the queue.

        A message that goes straight to a consumer without acknowledgement is never stored.
        """
        if self._special and not self._take_in(message, done, refused):
            return
        self.published += 1
        waiting = self._waiting
        if waiting and self._reader.wanted is None:
            consumer = waiting[0]
            self.delivered += 1
            if not consumer.auto:
                self._unacked += 1
                accounts = self._accounts
                accounts.keep(message)
                if accounts.store is not None and message.head.traits.persistent:
                    accounts.mark_delivered(message, consumer.number)
            try:
                more = consumer.deliver(message)
            except NotNow:
                self._take_back(message, consumer)
                more = True
            except Exception as error:
                if consumer.auto:
                    self._accounts.keep(message)  # it is in the queue now
                else:
                    self._unacked -= 1
                self._discards.cannot_write(message, error)
                more = True
            if not more:
                waiting.popleft()
                consumer.waiting = False
            elif len(waiting) > 1:
                waiting.rotate(-1)
        else:
            self._accounts.keep(message)
            self._put(message)
        if done is not None:
            when_safe(self._accounts.store, message, done)

    def _take_back(self, message: Message, consumer: Consumer) -> None:
        """Keep a message that came, and that the consumer in turn does not take just now."""
        self.delivered -= 1
        if consumer.auto:
            self._accounts.keep(message)
        else:
            self._unacked -= 1
            self._accounts.mark_returned(message, 0)
        self._line.leave((consumer,))
        self._put(message)
        self._hand_out()

    def _take_in(self, message: Message, done: Done | None, refused: Refused | None) -> bool:
        """Apply time to live and length limits; false if the message does not come in."""
        limited = self._limits.bounded
        if limited and refused is not None:
            error = self._limits.refusal(1, 0, message)
            if error is not None:
                refused(error)
                return False
        # Closed while a message was on its way to many: its subscriber was cut off by another one.
        if self._closed or (limited and not self._limits.make_room(message)):
            if done is not None:
                when_safe(self.group.store, message, done)
            return False
        if self._dealer is not None:
            self.published += 1
            self._count(self._dealer.take(message, done))
            return False
        return True

    def admit(self, count: int, before: int, done: Done) -> None:
        """Whether so many more messages would be taken."""
        done(self._limits.refusal(count, before))

    def settle(
        self, message: Message, rejection: Rejection | None = None, done: Done | None = None
    ) -> None:
        """End a delivery: it was accepted, or rejected in some way."""
        self._unacked -= 1
        accounts = self._accounts
        if rejection is None:
            self.acked += 1
            if self._waits is not None and not self.acked & NOT_COUNTED:
                self._waits.add(message.received_at)
            accounts.let_go(message)
        else:
            self._counts.nacked += 1
            if self._requeue.reject(message, rejection):
                accounts.memory.check()
                self._hand_out()
            elif done is not None and self._discards.leaving.when_gone(message, done):
                return
        if done is not None:
            when_safe(accounts.store if rejection is None else self.group.store, message, done)

    def settle_many(
        self,
        messages: Iterable[Message],
        rejection: Rejection | None,
        done: Done | None,
        then: Callable[[], None],
    ) -> None:
        """End many deliveries and then call ``then``: in steps, unless they are few."""
        plain = rejection is None and done is None
        if plain and isinstance(messages, list) and len(messages) <= AT_ONCE:
            # What one read brought: added up, instead of one by one.
            self._unacked -= len(messages)
            if self._waits is not None:
                self._waits.add_some(messages, self.acked)
            self.acked += len(messages)
            self._accounts.let_go_all(messages)
            then()
            return

        def end() -> None:
            if rejection is not None:
                self._returns.let_go_on()
            then()

        if rejection is not None:
            self._returns.hold_back()
        self._batches.do(messages, lambda message: self.settle(message, rejection, done), end)

    # -- consumers ------------------------------------------------------------------------

    def attach(self, consumer: Consumer, done: Done | None = None) -> None:
        """Let a consumer take part."""
        if done is not None and (error := self._attendance.refusal(consumer)) is not None:
            done(error)
            return
        settings = self._attendance.come(consumer, self._settings)
        if settings is not self._settings:
            self.control(Configure(settings))
        if not self._line.come(consumer) and consumer.terms.chooses:
            self._choose()
        self._limits.consumer_came()
        if done is not None:
            done()

    def detach(
        self,
        consumer: Consumer,
        unsettled: Iterable[Message] = (),
        *,
        lost: bool = False,
        done: Done | None = None,
    ) -> None:
        """Let a consumer go; of a lost one the first message that it had counts as failed."""
        was_last = self._attendance.go(consumer, self._services.clock.now())
        self._line.go(consumer)
        self._give_back(unsettled, lost=lost)
        if was_last and self._attendance.ends(self._settings, lost=lost):
            self._services.queue_left(self.name, done or nobody_asks)
        elif done is not None:
            done()

    def take_back(self, consumer: Consumer, messages: Iterable[Message]) -> None:
        """Take back what a consumer does not want that stays."""
        self._give_back(messages, lost=False)

    def _give_back(self, messages: Iterable[Message], *, lost: bool) -> None:
        self._unacked -= len(back := list(messages))
        self._returns.give_back(back, lost=lost)

    def resume(self, consumer: Consumer) -> None:
        """Go on: a consumer has room again."""
        if not consumer.waiting:
            consumer.waiting = True
            self._line.end.append(consumer)
            if self._fifo or self._heap:
                self._hand_out()

    # -- handing out ----------------------------------------------------------------------

    def _put(self, message: Message) -> None:
        """To the end of the queue, or of its priority."""
        if message.head.traits.priority == DEFAULT_PRIORITY and not self._ready.prioritized:
            self._fifo.append(message)
        else:
            self._ready.place(message)
        if message.expires:
            self._expiry.append(message.expires)
        if self._watches_backlog:
            self._limits.watch_backlog()

    def _hand_out(self) -> None:  # noqa: C901 -- the hot path: a call for a part of it costs more
        """Hand out what is ready while somebody waits for it."""
        waiting, fifo, heap = self._waiting, self._fifo, self._heap
        reader, accounts = self._reader, self._accounts
        self._services.current_time.now = self._services.clock.now()
        while waiting and (fifo or heap) and reader.wanted is None:
            message = heapq.heappop(heap)[2] if heap else fifo.popleft()
            if message.body is None:
                self._ready.put_back(message)
                reader.begin(first_without_body(self._ready.next_messages()))
                break
            if (message.expires or message.redelivery) and self._discards.ends(message):
                continue
            consumer = waiting[0]
            self.delivered += 1
            try:
                more = consumer.deliver(message)
            except NotNow:
                self.delivered -= 1
                self._ready.put_back(message)
                self._line.leave((consumer,))
                continue
            except Exception as error:
                self._discards.cannot_write(message, error)
                continue
            if consumer.auto:
                if self._waits is not None and not self.delivered & NOT_COUNTED:
                    self._waits.add(message.received_at)
                accounts.let_go(message)
            else:
                self._unacked += 1
                if accounts.store is not None and message.head.traits.persistent:
                    accounts.mark_delivered(message, consumer.number)
            if not more:
                waiting.popleft()
                consumer.waiting = False
            elif len(waiting) > 1:
                waiting.rotate(-1)
        if self._ready.prioritized and not heap:
            self._deal()

    # -- consumers that choose --------------------------------------------------------------

    def _choose(self) -> None:
        """Have a dealer from now on: messages are not only for who is first in line."""
        parts = self._ready, self._line, self._accounts, self._reader, self._discards
        watch = self._expiry, self._limits if self._watches_backlog else None
        self._dealer = Dealer(
            self._identity, parts, watch, self._services, self._hand_out, self._choose_no_more
        )
        # With these `resume` and `_hand_out` come to `_deal`, and plain queues need no test for it.
        self._fifo, self._heap, self._special = ALWAYS_SOME, [], True
        self._dealer.attach_all(self._consumers)

    def _keep_groups(self) -> GroupTable:
        """Know of groups from now on."""
        if self._dealer is None:
            self._choose()
        assert self._dealer is not None
        return self._dealer.keep_groups()

    def _choose_no_more(self) -> None:
        self._dealer = None
        self._fifo, self._heap = self._ready.fifo, self._ready.heap
        self._special = self._closed or self._identity.is_special
        self._hand_out()

    def _deal(self) -> None:
        """Hand out where consumers choose; else, nothing of another priority is left."""
        if self._dealer is not None:
            self._count(self._dealer.deal(self._waits, self._unacked))
        else:
            self._ready.prioritized = False

    def _count(self, dealt: Dealt) -> None:
        self.delivered, self._unacked = self.delivered + dealt[0], self._unacked + dealt[1]

    # -- now and then ---------------------------------------------------------------------

    @property
    def _in_use(self) -> bool:
        """Whether anybody consumes from it; or, unless it is a subscriber's, anything is in it."""
        if self._consumers or self._identity.passing or self._settings.exclusive:
            return bool(self._consumers)
        inside = self._unacked or len(self._ready) or len(self._discards.leaving) or self._batches
        return bool(inside)

    def stats(
        self, done: Callable[[QueueFigures], None], known: QueueFigures | None = None
    ) -> None:
        """Give the counters, or what is known already."""
        # There may be thousands of queues to ask each second, so nothing is looked up twice here.
        self._waits = self._waits or self._services.wait_times.begin(self.name)
        own, dealer, consumers = self.watermark, self._dealer, len(self._consumers)
        dealt = (0, (), 0, 0) if dealer is None else dealer.figures()
        state = (
            self._settings,
            self._ready.ready,
            self._ready.late,
            self._unacked + self._returns.left,
            consumers,
            self._accounts.bytes,
            consumers > 0 or self._in_use,
            own is not None and own.full,
            self.published,
            self.delivered,
            self.acked,
            *self._counts.values(),
            self._services.duplicates.count(self.destination),
            *dealt,
            self._attendance.idle_since,
        )
        # The last figures are others only if some of these are.
        if known is None or known[:-5] != state:
            known = QueueFigures(*state, self._created_at, *self._ready.arrivals)
        done(known)

    def browse(self, wanted: Browse, done: Callable[[Browsed], None]) -> None:
        """Look at messages that wait, or at their groups."""
        groups = None if self._dealer is None else self._dealer.show_groups
        browse(self._ready, self._consumers, groups, wanted, self._services, self.group, done)

    def control(self, order: Order, done: Callable[[Outcome], None] | None = None) -> None:
        """Carry out an order."""
        answer = done or nobody_asks
        if isinstance(order, PublishOnce):
            self._counts.duplicates += take_simply(self, order, self._services, answer)
        elif isinstance(order, KeepGroups | AssignGroup) and not (self.private or self._closed):
            groups = self._keep_groups()
            answer(groups.order(order) if isinstance(order, AssignGroup) else 0)
        elif not isinstance(order, Configure | Close):
            self.published += isinstance(order, Expire)
            parts = self._ready, self._accounts, self._counts, self._discards, self._line
            carry_out(order, parts, self._services, self.group, answer)
        elif isinstance(order, Configure):
            self.group.store.keep_queue(self.name, order.settings.to_stored())
            self.configure(order.settings)
            answer(0)
        elif self._closed or self._attendance.stays(
            order, self._in_use, self._services.clock.now()
        ):
            answer(ProtocolError(ErrorCode.SUBSCRIPTION_IN_USE, f"{self.destination} is in use"))
        else:
            answer(self._close())

    def configure(self, settings: QueueSettings) -> None:
        """Have these settings from now on."""
        before, self._settings = self._settings, settings
        if settings.paused:
            self._line.pause(_BY_OPERATOR)
        elif before.paused and self._line.proceed(_BY_OPERATOR):
            self._hand_out()
        if settings.intake_paused != before.intake_paused:
            self.watermark = self._accounts.hold_intake(settings.intake_paused)

    def renew_policy(self, policy: Policy) -> None:
        """Behave by another policy; what came before keeps its end, and its place on disk."""
        self._identity.policy = policy
        self._special = self._closed or self._identity.is_special or self._dealer is not None
        self._expiry.renew(all_end=bool(policy.message_ttl))
        self._limits.renew_policy()
        if self._dealer is not None:
            self._dealer.renew(policy)
        elif policy.deals and not self.private:
            self._choose()
        self.watermark = self._accounts.renew_mark(policy.max_bytes)
        self._services.duplicates.simple.pop(self.name, None)

    def _close(self) -> int:
        """End, with what is in it; gives how much waited."""
        # From now on `_take_in` turns everything away.
        self._closed = self._special = self._requeue.closed = True
        self._services.wait_times.end(self.name)
        self._services.duplicates.simple.pop(self.name, None)
        self._services.loans.holders -= self.volatile
        if self._dealer is not None:
            self._dealer.close()
        self._delays.end()
        self._expiry.end()
        self._reader.close()
        waiting = [*self._ready, *self._discards.leaving.close()]
        self._batches.do(waiting, self._accounts.ending())
        self._ready.clear()
        return len(waiting)

    # -- what a store has kept ------------------------------------------------------------

    def restore(self, message: Message, due: int) -> None:
        """Take a message back that the store has kept."""
        if self._dealer is not None or (message.head.traits.group is not None and not self.private):
            message = self._keep_groups().admit(message)
        self._accounts.restore(message, self.group.store)
        self._requeue.restore(message, due)

    def set_idle_since(self, when: float) -> None:
        """Nobody has taken part since then, on the clock."""
        self._attendance.idle_since = when

    # -- queues that move from one broker to another ----------------------------------------

    def adopt(self, sequences: Set[int]) -> list[Message]:
        """Take messages out that wait, because a consumer has them already."""
        self._unacked += len(adopted := self._ready.adopt(sequences))
        return adopted

    def take_held(self, message: Message, holder: int) -> None:
        """Take a message that comes in, and that a consumer has already."""
        self.published, self._unacked = self.published + 1, self._unacked + 1
        self._ready.make_way(message.sequence)
        if isinstance(message, GroupedMessage) and not self.private:
            self._keep_groups().take_over(message)
        self._accounts.take_held(message, holder)

    def abandon(self, held: Iterable[Message]) -> int:
        """End without a word to the store: another broker has the messages from now on."""
        self._discards.mark_under_way()
        lost = self._accounts.abandon([*self._ready, *self._discards.leaving], held)
        self._close()
        return lost

    def __repr__(self) -> str:
        """Name and what is in it."""
        return f"<LocalQueue {self.destination} ready:{self._ready.ready} unacked:{self._unacked}>"
