"""A queue whose messages stay when they are read: each consumer reads all of them at its own pace.

They leave by what is theirs, or the queue's: their end, newer values of their keys, the length of
the queue, an operator. With last values it is a table of those that hold just now, for each new
reader, who then is told of each change.

Invariants:

* Every message waits in the parking, in the order in which it came: none has another priority.
* What readers have are copies, so that whatever becomes of a message, a delivery is settled.
* Readers are given what came within one turn of the event loop together, when it is over: of a
  COMMIT the last value of a key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import DEFAULT_PRIORITY, Message, MessageHead
from stompy_broker.routing.answers import Done, Refused, nobody_asks, when_safe
from stompy_broker.routing.batching import AT_ONCE
from stompy_broker.routing.browsing import browse
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.dead_letters import Fate
from stompy_broker.routing.duplicate_check import take_once
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.interface import (
    Browse,
    Browsed,
    Close,
    Configure,
    Expire,
    Foresee,
    Order,
    Outcome,
    PublishOnce,
    QueueFigures,
    QueueIdentity,
    QueueKind,
    RestorableQueue,
    Withdraw,
)
from stompy_broker.routing.last_values import LastValues
from stompy_broker.routing.message_state import MessageState
from stompy_broker.routing.moving import carry_out
from stompy_broker.routing.queue_parts import QueueParts
from stompy_broker.routing.reader_message import ReaderMessage
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.replacement import end_outdated
from stompy_broker.routing.sequences import Sequences
from stompy_broker.routing.services import Services
from stompy_broker.routing.settings import NO_SETTINGS, QueueSettings
from stompy_broker.routing.standing_readers import StandingReaders
from stompy_broker.routing.standing_source import StandingSource


class StandingQueue(RestorableQueue):
    """One queue that is not consumed.

    Args:
        destination: as clients write it.
        name: without prefix.
        policy: how it behaves.
        kind: what it is for.
        services: clock, memory and dead letters of the broker.
        group: store, disk and message-ids.

    Attributes:
        published: messages that came in.
    """

    __slots__ = (
        "_closed",
        "_created_at",
        "_head",
        "_parking",
        "_parts",
        "_plain_head",
        "_readers",
        "_services",
        "_settings",
        "_source",
        "_timer",
        "_values",
        "group",
        "published",
        "sequences",
        "watermark",
    )

    group: QueueGroup
    sequences: Sequences
    watermark: Watermark | None

    def __init__(
        self,
        destination: str,
        name: str,
        policy: Policy,
        kind: QueueKind,
        services: Services,
        group: QueueGroup,
    ) -> None:
        self._identity = identity = QueueIdentity(destination, name, policy, *kind)
        self.group = group
        self.sequences = group.sequences
        self.published = 0
        self._services = services
        self._settings, self._created_at = NO_SETTINGS, services.wall()
        self._closed = False
        self._head: MessageHead | None = None  # of a message that came, and what is made of it
        self._plain_head: MessageHead | None = None
        self._parts = parts = QueueParts(identity, services, group, self._hand_out)
        self.watermark = parts.own
        self._parking = parts.ready.park()
        self._keep_values(policy)
        self._source = source = StandingSource(
            self._parking, group.store, services.memory, services.wall, self._lost
        )
        self._readers = StandingReaders(identity, source, services, self._bury)
        self._timer = services.clock.timer(self._hand_out)

    def _keep_values(self, policy: Policy) -> None:
        self._values = values = LastValues(policy.value_header, in_place=False)
        self._parts.ready.replace_values(values)
        self._parts.accounts.tell_values(values)

    @property
    def unshared(self) -> bool:
        """Whether its messages must be its own: they may be stored."""
        return True

    @property
    def is_stored(self) -> bool:
        """Whether persistent messages in it survive."""
        return self._parts.accounts.store is not None

    @property
    def delivered(self) -> int:
        """Deliveries to all readers."""
        return self._readers.totals()[0]

    # -- messages that come -----------------------------------------------------------------

    def publish(
        self, message: Message, done: Done | None = None, refused: Refused | None = None
    ) -> None:
        """Take a message as the last one."""
        limits, store = self._parts.limits, self._parts.accounts.store
        if limits.bounded and refused is not None:
            error = limits.refusal(1, 0, message)
            if error is not None:
                refused(error)
                return
        if self._closed or (limits.bounded and not limits.make_room(message)):
            store = self.group.store  # for whatever became of it
        else:
            self.published += 1
            self._take(message)
        if done is not None:
            when_safe(store, message, done)

    def _take(self, message: Message) -> None:
        taken = self._standing(message)
        self._parts.accounts.keep(taken)
        self._values.note(taken)
        self._parking.add(taken, [])
        if taken.expires:
            self._parts.expiry.append(taken.expires)
        self._timer.set(self._services.clock.now())

    def _standing(self, message: Message) -> ReaderMessage:
        """The message as it stands here: in the order in which it came, whatever its priority."""
        head = message.head
        if head.traits.priority != DEFAULT_PRIORITY:
            if head is not self._head or self._plain_head is None:
                self._head = head
                self._plain_head = plain = MessageHead.from_headers(
                    head.headers(), message_id=head.message_id
                )
                plain.traits.priority = DEFAULT_PRIORITY
            head = self._plain_head
        sequence = message.sequence
        taken = ReaderMessage(sequence, sequence, head, message.body, message.stamp)
        taken.expires, taken.size = message.expires, message.size
        return taken

    def admit(self, count: int, before: int, done: Done) -> None:
        """Whether so many more messages would be taken."""
        done(self._parts.limits.refusal(count, before))

    # -- readers ----------------------------------------------------------------------------

    def attach(self, consumer: Consumer, done: Done | None = None) -> None:
        """Let a consumer read, from the first message on."""
        attendance = self._parts.attendance
        error = self._readers.refusal(consumer)
        error = error or (attendance.refusal(consumer) if done is not None else None)
        if error is not None:
            if done is not None:
                done(error)
            else:
                consumer.fail(error)
            return
        settings = attendance.come(consumer, self._settings)
        if settings is not self._settings:
            self.control(Configure(settings))
        self._readers.come(consumer)
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
        """Let a consumer go; its place goes with it."""
        attendance = self._parts.attendance
        was_last = attendance.go(consumer, self._services.clock.now())
        self._readers.go(consumer, list(unsettled), lost=lost)
        if was_last and attendance.ends(self._settings, lost=lost):
            self._services.queue_left(self.name, done or nobody_asks)
        elif done is not None:
            done()

    def resume(self, consumer: Consumer) -> None:
        """Go on: a consumer has room again."""
        self._readers.resume(consumer)

    def settle(
        self, message: Message, rejection: Rejection | None = None, done: Done | None = None
    ) -> None:
        """End a delivery: its reader goes on, or is given the message again."""
        self._readers.settle(message, rejection)
        if done is None:
            return
        if rejection is None:
            done()
        else:
            self.group.store.sync(done)  # a dead letter may have come of it

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
            if messages:
                self._readers.accept_all(messages)
            then()
            return
        settle = self.settle
        self._parts.batches.do(messages, lambda message: settle(message, rejection, done), then)

    def _bury(self, message: ReaderMessage, cause: str, reason: str) -> bool:
        """Have a copy become a dead letter that a reader refused; false: it cannot be now."""
        services, counts = self._services, self._parts.counts
        services.note_time()
        fate = services.dead_letters.dead_letter(
            self._identity, self.group, message, cause, reason, None
        )
        if fate is Fate.STAYS:
            return False
        if fate is Fate.DROPPED:
            counts.dropped += 1
        else:
            counts.dead_lettered += 1
        return True

    # -- what happens by itself -------------------------------------------------------------

    def _hand_out(self) -> None:
        """Give readers what came."""
        if not self._closed:
            end_outdated(self._parts.ready, self._parts.discards)
            self._source.have_more()

    def _lost(self, lost: set[int]) -> None:
        """Forget messages whose bodies nobody has any more."""
        self._parts.discards.lose_some(lost, self._parts.ready)

    # -- now and then -----------------------------------------------------------------------

    @property
    def _in_use(self) -> bool:
        """Whether anybody reads, or anything is in it."""
        parts = self._parts
        if parts.attendance.consumers or self._identity.passing or self._settings.exclusive:
            return bool(parts.attendance.consumers)
        return bool(len(parts.ready) or len(parts.discards.leaving) or parts.batches)

    def stats(
        self, done: Callable[[QueueFigures], None], known: QueueFigures | None = None
    ) -> None:
        """Give the counters, or what is known already."""
        parts, counts = self._parts, self._parts.counts
        delivered, redelivered, acked, nacked, unacked = self._readers.totals()
        oldest, newest = parts.ready.arrivals
        figures = QueueFigures(
            settings=self._settings,
            ready=parts.ready.ready,
            delayed=parts.ready.late,
            unacked=unacked,
            consumers=len(parts.attendance.consumers),
            bytes=parts.accounts.bytes,
            in_use=self._in_use,
            full=self.watermark is not None and self.watermark.full,
            published=self.published,
            delivered=delivered,
            acked=acked,
            nacked=nacked,
            redelivered=redelivered,
            expired=counts.expired,
            dead_lettered=counts.dead_lettered,
            dropped=counts.dropped,
            removed=counts.removed,
            replaced=counts.replaced,
            duplicates=counts.duplicates,
            duplicate_ids=self._services.duplicates.count(self.destination),
            unmatched=0,
            lines=(),
            groups=0,
            keys=len(self._values),
            idle_since=parts.attendance.idle_since,
            created_at=self._created_at,
            oldest_at=oldest,
            newest_at=newest,
            readers=len(self._readers.by_number),
        )
        done(known if figures == known and known is not None else figures)

    def browse(self, wanted: Browse, done: Callable[[Browsed], None]) -> None:
        """Look at messages. What consumers have is there as well, and is shown once."""
        consumers = self._parts.attendance.consumers
        shown = () if wanted.states and MessageState.READY in wanted.states else consumers
        browse(self._parts.ready, shown, None, wanted, self._services, self.group, done)

    def control(self, order: Order, done: Callable[[Outcome], None] | None = None) -> None:
        """Carry out an order."""
        answer = done or nobody_asks
        parts = self._parts
        if isinstance(order, PublishOnce):
            parts.counts.duplicates += take_once(self, order, self._services, answer)
        elif isinstance(order, Configure):
            self.group.store.keep_queue(self.name, order.settings.to_stored())
            self.configure(order.settings)
            answer(0)
        elif isinstance(order, Close):
            now = self._services.clock.now()
            if self._closed or parts.attendance.stays(order, self._in_use, now):
                answer(
                    ProtocolError(ErrorCode.SUBSCRIPTION_IN_USE, f"{self.destination} is in use")
                )
            else:
                answer(self._close())
        elif isinstance(order, Withdraw):
            self._readers.stand_back(order.consumers)
            answer(len(order.consumers))
        elif isinstance(order, Foresee):
            answer(next((one.number for one in parts.attendance.consumers), 0))
        else:
            self.published += isinstance(order, Expire)
            several = parts.ready, parts.accounts, parts.counts, parts.discards, parts.line
            carry_out(order, several, self._services, self.group, answer)

    def configure(self, settings: QueueSettings) -> None:
        """Have these settings from now on."""
        before, self._settings = self._settings, settings
        self._readers.paused = settings.paused
        if before.paused and not settings.paused:
            self._readers.hand_out()
        if settings.intake_paused != before.intake_paused:
            self.watermark = self._parts.accounts.hold_intake(settings.intake_paused)

    def renew_policy(self, policy: Policy) -> None:
        """Behave by another policy."""
        parts = self._parts
        self._identity.policy = policy
        if policy.value_header != self._values.header:
            self._keep_values(policy)
        parts.expiry.renew(all_end=bool(policy.message_ttl))
        parts.limits.renew_policy()
        self.watermark = parts.accounts.renew_mark(policy.max_bytes)

    def _close(self) -> int:
        """End, with everything in it; gives how much that was."""
        parts = self._parts
        self._closed = parts.requeue.closed = True
        self._services.wait_times.end(self.name)
        self._readers.close()
        self._source.close()
        self._timer.end()
        parts.delays.end()
        parts.expiry.end()
        parts.reader.close()
        waiting = [*parts.ready, *parts.discards.leaving.close()]
        parts.batches.do(waiting, parts.accounts.ending())
        parts.ready.clear()
        return len(waiting)

    # -- what a store has kept --------------------------------------------------------------

    def restore(self, message: Message, due: int) -> None:
        """Take a message back that the store has kept."""
        taken = self._standing(message)
        parts = self._parts
        parts.accounts.restore(taken, self.group.store)
        before = self._values.note(taken)
        if before is not None:
            self._values.outdated.append(before)
        self._parking.add(taken, [])
        parts.expiry.append(taken.expires)
        self._timer.set(self._services.clock.now())

    def set_idle_since(self, when: float) -> None:
        """Nobody has taken part since then, on the clock."""
        self._parts.attendance.idle_since = when

    # -- what moves between brokers: such queues do not --------------------------------------

    def adopt(self, sequences: Set[int]) -> list[Message]:
        """Take nothing out: consumers have copies."""
        return []

    def take_held(self, message: Message, holder: int) -> None:
        """Take a message: whoever has it, it stays."""
        self.publish(message)

    def abandon(self, held: Iterable[Message]) -> int:
        """End without a word to the store."""
        parts = self._parts
        parts.discards.mark_under_way()
        lost = parts.accounts.abandon([*parts.ready, *parts.discards.leaving], ())
        self._close()
        return lost

    def __repr__(self) -> str:
        """Name and what is in it."""
        return f"<StandingQueue {self.destination} ready:{self._parts.ready.ready}>"
