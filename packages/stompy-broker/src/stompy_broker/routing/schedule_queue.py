"""What is to come later to one destination: SENDs that wait for their time, each as it came.

It is a queue like others for whoever sends to it, commits, restores or moves it: so a schedule is
as safe as a message, and costs no more. It has no consumers. When a message is due it fires: it is
published as if it were sent then, and in the same turn, which is one change of the store, it leaves
the queue, or waits for its next time.

Invariants:

* What waits is in ``_ready.delayed``, by the time on the wall at which it is due, then as it came.
* The row of a message in the store has that time in its ``due``, and in its deliveries how often it
  has fired.
* Nothing fires before its time. While nothing is due, nothing is done: one timer rings for all.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import replace
from functools import partial
from typing import Final

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.names import scheduled_for
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message, MessageHead, earlier_deliveries
from stompy_broker.routing.absence import Absence
from stompy_broker.routing.answers import Done, Refused, nobody_asks, when_safe
from stompy_broker.routing.batching import BatchedWork
from stompy_broker.routing.bookkeeping import accounts_for
from stompy_broker.routing.companion_queue import CompanionQueue
from stompy_broker.routing.consumer_line import ConsumerLine
from stompy_broker.routing.counts import Counts
from stompy_broker.routing.discards import Discards
from stompy_broker.routing.duplicate_check import take_once
from stompy_broker.routing.fired_heads import FiredHeads, fires_once, without_schedule
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.interface import (
    Browse,
    Browsed,
    Close,
    Configure,
    Expire,
    Order,
    Outcome,
    PublishOnce,
    QueueFigures,
    QueueIdentity,
    QueueKind,
    Reschedule,
    Unschedule,
)
from stompy_broker.routing.moving import carry_out
from stompy_broker.routing.named_schedules import NamedSchedules, may_have_name
from stompy_broker.routing.paging import READ_MESSAGES, BodyReader, first_without_body
from stompy_broker.routing.ready_list import ReadyList
from stompy_broker.routing.schedule_departures import ScheduleDepartures
from stompy_broker.routing.schedule_reports import ScheduleReports
from stompy_broker.routing.schedule_walk import browse_schedules
from stompy_broker.routing.sequences import Sequences
from stompy_broker.routing.services import Services
from stompy_broker.routing.settings import NO_SETTINGS, QueueSettings
from stompy_broker.routing.waiting_bodies import WaitingBodies
from stompy_broker.schedules.headers import read_schedule
from stompy_broker.schedules.schedule_spec import ScheduleSpec

log = logging.getLogger("stompy_broker.queue")

_SOON: Final = 0.05
"""Seconds after which is tried again what could not begin yet."""

_AT_ONCE: Final = ScheduleSpec()


class ScheduleQueue(CompanionQueue):
    """The messages that are to come later to one destination.

    Args:
        destination: its own, by which the store knows it.
        name: its own.
        policy: of the destination that it is for.
        kind: of that one.
        services: clock, memory and dead letters of the broker.
        group: store, disk and message-ids.

    Attributes:
        origin: the destination that it is for, or several.
        published: messages that came in.
        fired: how often one has fired.
    """

    def __init__(
        self,
        destination: str,
        name: str,
        policy: Policy,
        kind: QueueKind,
        services: Services,
        group: QueueGroup,
    ) -> None:
        self._identity = QueueIdentity(destination, name, policy, *kind)
        self.origin = scheduled_for(name)
        self._group = group
        self._services = services
        self.published = self.fired = self._ended = 0
        self._created_at = services.wall()
        self._idle_since = services.clock.now()
        self._closed = False
        self._due = 0  # of what fires just now
        self._heads = FiredHeads()
        self._head: MessageHead | None = None  # that was read last, and what it says
        self._spec = _AT_ONCE
        self._once: MessageHead | None = None  # that fired last, and says no more than a time
        self._ready = ReadyList()
        self._named = NamedSchedules(self._ready.delayed)
        self._reports = ScheduleReports(services.events, self.origin)
        self._absence = Absence(self._reports)
        self._tried: dict[int, int] = {}  # when that was due what could not go then
        self._extra: dict[int, int] = {}  # when else what an operator had fire will come
        self._line = ConsumerLine()
        self._counts = counts = Counts()
        self._batches = BatchedWork(services.work_budget)
        self._firing = BatchedWork(services.work_budget)
        self._timer = services.clock.timer(self._ring)
        kept = group.store if group.store.durable and policy.persistent else None
        self._reader = reader = BodyReader(services.memory, group.store, self._have_read)
        self._accounts = accounts = accounts_for(
            self._identity, services, services.memory, group.disk, kept, None, reader, shares=True
        )
        self._bodies = WaitingBodies(services, accounts, self._ready.delayed)
        # Dead letters go by the destination that was meant; by the first, if it is several.
        first = self.origin.partition(",/")[0]
        bare = first.removeprefix("/").partition("/")[2]
        self._meant = meant = QueueIdentity(first, bare, policy, *QueueKind())
        self._discards = Discards(meant, services, group, accounts, reader, counts, self._delay)
        self._departures = ScheduleDepartures(
            self.origin, services, group, accounts, self._discards, self._delay
        )

    # -- what stands beside the verbs -------------------------------------------------------

    @property
    def group(self) -> QueueGroup:
        """What it has in common with other queues."""
        return self._group

    @property
    def sequences(self) -> Sequences:
        """What numbers its messages."""
        return self._group.sequences

    @property
    def unshared(self) -> bool:
        """Whether its messages must be its own: they may be stored."""
        return True

    @property
    def is_stored(self) -> bool:
        """Whether persistent messages in it survive."""
        return self._accounts.store is not None

    @property
    def watermark(self) -> Watermark | None:
        """Nothing of its own makes producers wait."""
        return None

    @property
    def delivered(self) -> int:
        """How often a message has fired."""
        return self.fired

    # -- messages that come -----------------------------------------------------------------

    def publish(
        self, message: Message, done: Done | None = None, refused: Refused | None = None
    ) -> None:
        """Take a message, and have it wait for its time."""
        spec = self._spec_of(message.head)
        if self._closed:
            pass
        elif spec.cancel:
            self._end_named(spec.name)
        else:
            self.published += 1
            self._take(message, spec)
        if done is not None and spec.name and self._accounts.store is not None:
            self._accounts.store.sync(done)  # what it replaces may be stored, if it is not
        elif done is not None:
            when_safe(self._accounts.store, message, done)

    def _take(self, message: Message, spec: ScheduleSpec) -> None:
        if spec.name:
            # In one turn with what comes in its place, so it is one change.
            replaced = self._named.take(spec.name)
            if replaced is not None:
                self._bodies.forget(replaced)
                self._accounts.let_go(replaced)
        due = spec.first_due(self._services.wall())
        expires = message.head.traits.expires
        if 0 < expires <= due and not spec.recurs:
            self._turn_away(message)  # it would be dead before its time
            return
        self._heads.share(message, spec)
        message.expires = 0  # until it fires
        accounts = self._accounts
        accounts.keep(message)
        accounts.mark_returned(message, due)
        self._wait(message, due)
        if spec.name:
            self._named.note(spec.name, message, due)
        self._bodies.note(message, due)

    def _end_named(self, name: str) -> bool:
        """End the schedule of a name, if there is one; its sender wants that."""
        message = self._named.take(name)
        if message is None:
            return False
        self._bodies.forget(message)
        self._accounts.let_go(message)
        self._reports.cancelled(name, message.message_id)
        return True

    def _spec_of(self, head: MessageHead) -> ScheduleSpec:
        """What the headers of a message say of its time; those of many may be one object."""
        if head is not self._head:
            try:
                firing = self._services.firing
                zone = "UTC" if firing is None else firing.zone
                spec = read_schedule(head.headers(), zone)
            except ProtocolError as error:  # nobody sends that; a store may have it
                log.error("%s: a schedule says nothing (%s): it comes now", self.origin, error)
                spec = None
            self._head, self._spec = head, spec or _AT_ONCE
        return self._spec

    def _wait(self, message: Message, due: int) -> None:
        """Have a message fire at a time."""
        delayed = self._ready.delayed
        heapq.heappush(delayed, (float(due), message.sequence, message))
        if delayed[0][2] is message:
            self._set_timer()

    def _delay(self, message: Message, seconds: float, due: int = 0) -> None:
        """Try something again later that was due, and keeps step with that time."""
        if due:
            self._tried[message.sequence] = due
        self._wait(message, self._services.wall() + int(seconds * 1000))

    def _turn_away(self, message: Message) -> None:
        """Give up a message that came in, and whose time is over."""
        message.head = without_schedule(message.head)
        self._discards.turn_away(message, "expired")

    # -- messages that are due --------------------------------------------------------------

    def _set_timer(self) -> None:
        delayed = self._ready.delayed
        if delayed and not self._closed:
            left = max(delayed[0][0] - self._services.wall(), 0.0)
            self._timer.set(self._services.clock.now() + left / 1000)

    def _ring(self) -> None:
        if self._firing or self._reader.wanted is not None or self._closed:
            return  # it goes on by itself
        if self._services.firing is None or not self._group.serving:
            self._absence.begin()
            self._timer.set(self._services.clock.now() + _SOON)
            return
        self._services.note_time()
        self._absence.end(self._services.wall())
        self._firing.do(self._next_due(), self._fire, self._set_timer)

    def _next_due(self) -> Iterator[Message]:
        """Take out what is due and has its body, in order."""
        delayed, wall = self._ready.delayed, self._services.wall
        while delayed and delayed[0][0] <= wall():
            if delayed[0][2].body is None:
                self._load()
                return
            due, _, message = heapq.heappop(delayed)
            self._due = int(due)
            yield message

    def _load(self) -> None:
        """Have the bodies read of what is due next."""
        delayed, now = self._ready.delayed, self._services.wall()
        some: list[tuple[float, int, Message]] = []
        while delayed and delayed[0][0] <= now and len(some) < READ_MESSAGES:
            some.append(heapq.heappop(delayed))
        for entry in some:
            heapq.heappush(delayed, entry)
        self._reader.begin(first_without_body(iter([entry[2] for entry in some])))

    def _have_read(self, lost: set[int]) -> None:
        self._discards.lose_some(lost, self._ready)
        self._ring()

    def _fire(self, message: Message) -> None:
        """Publish a message whose time has come."""
        due, head = self._due, message.head
        if due <= self._absence.until or self._tried or self._extra:
            self._fire_in_series(message, due)
        elif head is self._once or fires_once(head):
            self._once = head
            if self._departures.send(message, self._heads.once(message, due), due, self._over):
                self._reports.fired("", due, 0, message)
        else:
            self._fire_in_series(message, due)

    def _over(self, message: Message) -> None:
        """End a schedule that fires once, and has."""
        self.fired += 1
        self._ended += 1
        self._bodies.forget(message)
        self._accounts.let_go(message)

    def _fire_in_series(self, message: Message, due: int) -> None:
        """Publish a message that may come again, or late."""
        firing = self._services.firing
        assert firing is not None
        spec = self._spec_of(message.head)
        due = meant = self._tried.pop(message.sequence, due)
        planned = self._extra.pop(message.sequence, 0)
        number, missed = -1, 0
        gone = partial(self._back, spec, planned)
        if not planned:
            now = self._services.wall()
            resumed, missed = self._absence.resume(message, spec, due, now, firing.catch_up)
            if resumed.due is None or resumed.due > now:
                self._go_on(message, spec, resumed.due, resumed.fired)
                return
            due, fired = resumed.due, resumed.fired + 1
            number = fired if spec.recurs else 0
            gone = partial(self._fired, spec, due, fired)
        job = spec.name or message.message_id
        head = self._heads.of(message, job, due, number, missed)
        if self._departures.send(message, head, meant, gone):
            self._reports.fired(job, due, number, message)

    def _fired(self, spec: ScheduleSpec, due: int, fired: int, message: Message) -> None:
        """End a schedule that has fired, or have it wait for its next time."""
        self.fired += 1
        self._go_on(message, spec, spec.next_due(due, fired), fired)

    def _back(self, spec: ScheduleSpec, due: int, message: Message) -> None:
        """Have a schedule wait for its time that an operator had fire before."""
        self.fired += 1
        self._go_on(message, spec, due, message.deliveries)

    def _go_on(
        self, message: Message, spec: ScheduleSpec, following: int | None, fired: int
    ) -> None:
        """Have a schedule wait for its next time, or end it; None = there is none."""
        if following is None or (spec.name and not self._named.holds(spec.name, message)):
            self._ended += 1
            self._bodies.forget(message)
            self._accounts.let_go(message)
            return
        message.redelivery = earlier_deliveries(fired, 0)
        self._accounts.mark_returned(message, following)
        self._wait(message, following)
        if spec.name:
            self._named.note(spec.name, message, following)
        self._bodies.note(message, following)

    # -- the other verbs --------------------------------------------------------------------

    def admit(self, count: int, before: int, done: Done) -> None:
        """Take more: it is not bounded."""
        done()

    def stats(
        self, done: Callable[[QueueFigures], None], known: QueueFigures | None = None
    ) -> None:
        """Give the counters, or what is known already."""
        waiting = len(self._ready.delayed) + len(self._discards.leaving)
        figures = QueueFigures(
            NO_SETTINGS,
            0,
            waiting,
            0,
            0,
            self._accounts.bytes,
            waiting > 0,
            False,
            self.published,
            self.fired,
            self._ended,
            *self._counts.values(),
            0,
            0,
            (),
            0,
            0,
            self._idle_since,
            self._created_at,
            None,
            None,
        )
        done(known if known == figures and known is not None else figures)

    def browse(self, wanted: Browse, done: Callable[[Browsed], None]) -> None:
        """Look at messages that wait; of those that have names, the names are ids as well."""
        selection, named = wanted.selection, self._named
        if selection.ids:
            known = [named.find(name) for name in selection.ids]
            ids = {message.message_id for message in known if message is not None}
            wanted = replace(wanted, selection=replace(selection, ids=selection.ids | ids))
        browse_schedules(self._ready, wanted, self._services, self._group, done)

    def control(self, order: Order, done: Callable[[Outcome], None] | None = None) -> None:
        """Carry out an order."""
        answer = done or nobody_asks
        if isinstance(order, PublishOnce):
            take_once(self, order, self._services, answer, self.origin)
        elif isinstance(order, Expire):
            self.published += 1
            self._turn_away(order.message)
            answer(1)
        elif isinstance(order, Configure):
            answer(0)
        elif isinstance(order, Unschedule):
            answer(int(self._end_named(order.name)))
        elif isinstance(order, Reschedule):
            answer(self._reschedule(order))
        elif isinstance(order, Close):
            if self._closed or self._stays(order):
                words = f"{self.destination} is in use"
                answer(ProtocolError(ErrorCode.SUBSCRIPTION_IN_USE, words))
            else:
                answer(self._close())
        else:
            parts = self._ready, self._accounts, self._counts, self._discards, self._line

            def carried_out(outcome: Outcome) -> None:
                self._bodies.look_again()
                self._set_timer()
                answer(outcome)

            carry_out(order, parts, self._services, self._group, carried_out)

    def _reschedule(self, order: Reschedule) -> int:
        """Have messages come at another time."""
        was = {id(entry[2]): entry[0] for entry in self._ready.delayed}
        some = self._ready.remove(order.sequences)
        now = self._services.wall()
        due = max(order.due, now)
        for message in some:
            sequence = message.sequence
            planned = self._tried.pop(sequence, int(was[id(message)]))
            if not order.due and self._spec_of(message.head).recurs:
                self._extra.setdefault(sequence, planned)  # told twice, its plan is the first one
            else:
                self._extra.pop(sequence, None)
                self._accounts.mark_returned(message, due)
            self._wait(message, due)
        return len(some)

    def _stays(self, order: Close) -> bool:
        """Whether it is in use, or was of late, and so does not end as an order wants."""
        if order.unused is None:
            return False
        used = len(self._ready) or len(self._discards.leaving)
        return bool(used) or self._services.clock.now() < self._idle_since + order.unused

    def _close(self) -> int:
        """End, with what is in it; gives how much waited."""
        self._closed = True
        self._timer.end()
        self._bodies.close()
        self._reader.close()
        waiting = [*self._ready, *self._discards.leaving.close()]
        self._batches.do(waiting, self._accounts.let_go)
        self._ready.clear()
        return len(waiting)

    # -- what a store has kept --------------------------------------------------------------

    def configure(self, settings: QueueSettings) -> None:
        """Do nothing: it has no settings."""

    def renew_policy(self, policy: Policy) -> None:
        """Behave by another policy from now on."""
        self._identity.policy = policy
        self._meant.policy = policy

    def restore(self, message: Message, due: int) -> None:
        """Take a message back that the store has kept."""
        self._heads.share(message)
        self._accounts.restore(message, self._group.store)
        now = self._services.wall()
        self._absence.note(now)
        self._wait(message, due or now)
        if may_have_name(message.head):
            name = self._spec_of(message.head).name
            if name:
                self._named.note(name, message, due)

    def set_idle_since(self, when: float) -> None:
        """Nobody has taken part since then, on the clock."""
        self._idle_since = when

    def adopt(self, sequences: Set[int]) -> list[Message]:
        """Take nothing out: no consumer has anything."""
        return []

    def take_held(self, message: Message, holder: int) -> None:
        """Take a message that comes in, and that nobody can have."""
        self.publish(message)

    def abandon(self, held: Iterable[Message]) -> int:
        """End without a word to the store: another broker has the messages from now on."""
        lost = self._accounts.abandon([*self._ready, *self._discards.leaving], held)
        self._close()
        return lost

    def __repr__(self) -> str:
        """Name and what is in it."""
        return f"<ScheduleQueue {self.origin} waiting:{len(self._ready.delayed)}>"
