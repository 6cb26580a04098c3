"""Who gets the next message of a queue whose consumers choose (**hot path** of such a queue).

A queue has one while at least one of its consumers has a selector or a priority, or asks to be the
only one; while messages of it have groups; and while its policy deals in turn or at a rate. It then
passes everything by it. It does there what the queue itself does else, in the same order: a message
goes to the consumer whose turn it is, of those that take it; what is handed out is the first
message that any of those who wait takes, and that its group lets go.

Invariants:

* Between two calls, nobody who waits has a message in his line that he may be given, unless the
  queue is paused or is fetching bodies from disk. So what comes in goes straight to who waits.
* What comes in while nobody waits at all is looked at when somebody does, or a moment later.
* ``ConsumerLine.waiting`` is empty. Who lines up is in ``ConsumerLine.end``, until it is looked at,
  and then in the turns of his line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from stompy_broker.destinations.policy import Policy
from stompy_broker.message import DEFAULT_PRIORITY, Message, MessageHead, MessageTraits
from stompy_broker.routing.accounts import Accounts
from stompy_broker.routing.answers import Done, when_safe
from stompy_broker.routing.consumer import Consumer, NotNow
from stompy_broker.routing.consumer_line import ConsumerLine, TurnKeeper
from stompy_broker.routing.delivery_rate import DeliveryRate
from stompy_broker.routing.discards import Discards
from stompy_broker.routing.expiry import Expiry
from stompy_broker.routing.group_delivery import HELD, NOTHING, TAKEN, Dealt, GroupDelivery
from stompy_broker.routing.group_report import group_figures, tell_group, tell_held
from stompy_broker.routing.group_table import GroupTable
from stompy_broker.routing.interface import GroupFigures, LineFigures, QueueIdentity
from stompy_broker.routing.last_values import LastValues
from stompy_broker.routing.length_limits import LengthLimits
from stompy_broker.routing.match_line import MatchLine
from stompy_broker.routing.message_group import GroupedMessage, MessageGroup
from stompy_broker.routing.paging import READ_MESSAGES, BodyReader, first_without_body
from stompy_broker.routing.parking import is_before
from stompy_broker.routing.ready_list import ReadyList
from stompy_broker.routing.replacement import end_outdated, keep_values
from stompy_broker.routing.services import Services
from stompy_broker.routing.turn_order import TurnOrder
from stompy_broker.routing.unmatched_watch import UnmatchedWatch
from stompy_broker.routing.wait_times import NOT_COUNTED, WaitHistogram

ALWAYS_SOME: Final[deque[Message]] = deque(
    (Message(0, MessageHead(b"\n", MessageTraits(sized=True)), b"", b""),)
)
"""What a queue has in place of its ``fifo``, so that it always looks whether there is anything."""

STEP: Final = 1000
"""Messages that are looked at in one step, ..."""
STEP_SECONDS: Final = 0.002
"""... or as many as so long a time lets be."""
_COST: Final = 2
"""What one of them counts for, in the budget of all queues."""

_FEW: Final = 256
"""So many messages that nobody takes are looked at without a step."""

_LOOK_SECONDS: Final = 0.5
"""What comes in while nobody waits is looked at after so long."""

_MANY: Final = 20_000
"""So many messages of several priorities at most make a plain queue in one step."""


class Dealer(TurnKeeper):
    """Deals the messages of one queue to consumers that choose.

    Args:
        queue: it.
        parts: its messages, its consumers that wait, its accounts, the reader of its bodies, and
            what gives up messages.
        watch: told of messages that come to wait: when they end, and how long a backlog is (None =
            it is none).
        services: of the broker.
        hand_out: has the queue hand out, when messages may be delivered that could not before.
        ended: called when nobody chooses any more, and the queue is a plain one again.

    Attributes:
        parking: the messages by line.
        groups: those that messages have in common; None = none has any.
    """

    __slots__ = (
        "_accounts",
        "_closed",
        "_consumer_line",
        "_dealt",
        "_delivery",
        "_discards",
        "_ended",
        "_everything",
        "_expiry",
        "_fifo",
        "_hand_out",
        "_heap",
        "_limits",
        "_look_timer",
        "_looks_soon",
        "_queue",
        "_rate",
        "_reader",
        "_ready",
        "_services",
        "_stale",
        "_stepping",
        "_turns",
        "_unacked",
        "_unmatched",
        "_wake_timer",
        "groups",
        "parking",
    )

    def __init__(
        self,
        queue: QueueIdentity,
        parts: tuple[ReadyList, ConsumerLine, Accounts, BodyReader, Discards],
        watch: tuple[Expiry, LengthLimits | None],
        services: Services,
        hand_out: Callable[[], None],
        ended: Callable[[], None],
    ) -> None:
        self._queue = queue
        self._ready, self._consumer_line, self._accounts, self._reader, self._discards = parts
        self._expiry, self._limits = watch
        self.parking = self._ready.park()
        self._everything = self.parking.everything
        self._fifo, self._heap = self._ready.fifo, self._ready.heap
        self._services = services
        self._hand_out = hand_out
        self._ended = ended
        self._turns = TurnOrder(self.parking, self._consumer_line, queue, services.clock, hand_out)
        self._unmatched = UnmatchedWatch(queue, self.parking, services)
        self.groups: GroupTable | None = None
        self._delivery: GroupDelivery | None = None  # there is one where there are groups
        self._rate = DeliveryRate(services.clock, self._consumer_line, hand_out)
        self._wake_timer = services.clock.timer(hand_out)
        self._stale = True  # whether every line may
        self._dealt = self._unacked = 0
        self._look_timer = services.clock.upkeep.timer(self._look)
        self._stepping = self._closed = self._looks_soon = False
        self._consumer_line.begin_choosing(self)
        if queue.policy.deals:
            self.renew(queue.policy)

    # -- consumers --------------------------------------------------------------------------

    def attach_all(self, consumers: Iterable[Consumer]) -> None:
        """Let consumers take part who were there before."""
        for consumer in consumers:
            self.attach(consumer)

    def attach(self, consumer: Consumer) -> None:
        """Let a consumer take part, in the line of its selector."""
        if self._turns.attach(consumer):
            if self.groups is not None:
                self.groups.consumer_came()
            self._unmatched.look()
            self._want_step()

    def detach(self, consumer: Consumer) -> None:
        """Let a consumer go."""
        if self._turns.detach(consumer):
            if self.groups is not None:
                self.groups.owner_left(consumer)
            self._want_step()

    def leave(self, consumers: Iterable[Consumer]) -> None:
        """Let consumers wait no more: they have gone, or want nothing for now."""
        self._turns.leave(consumers)

    def next_for(self, message: Message) -> Consumer | None:
        """Who would get a message if it came now; None = nobody."""
        self._turns.line_up()
        held = self._fifo or self._heap or self._reader.wanted is not None
        if held or self._consumer_line.paused:
            return None
        if self.groups is not None and self.groups.key_of(message) is not None:
            return self.groups.foresee(message)
        return self._turns.next_for(message)

    # -- messages ---------------------------------------------------------------------------

    def take(self, message: Message, done: Done | None) -> Dealt:
        """Take a message that comes in: to who waits for it, or to its place.

        Args:
            message: it.
            done: called when it is safe; None = nobody asks.
        """
        if self.groups is not None:
            message = self.groups.admit(message)
        if self._ready.values is not None:
            dealt = self._take_value(message, self._ready.values)
        elif isinstance(message, GroupedMessage):
            dealt = self._take_grouped(message)
        elif self._turns.waiting:
            dealt = self._take(message)
        else:
            dealt = NOTHING
            self._accounts.keep(message)
            self._put_off(message)
        if done is not None:
            when_safe(self._accounts.store, message, done)
        return dealt

    def _take_value(self, message: Message, values: LastValues) -> Dealt:
        """Keep a message that comes in; who waits gets it in a moment, if no newer one has come."""
        self._accounts.keep(message)
        values.note(message)
        self.parking.place(message)
        self._note(message)
        self._stale = True
        self._wake()
        return NOTHING

    def _take(self, message: Message) -> Dealt:  # noqa: C901 -- the hot path
        accounts, turns = self._accounts, self._turns
        takers = self.parking.takers(message)
        kept = False
        held = self._fifo or self._heap or self._reader.wanted is not None
        if not held and not self._consumer_line.paused:
            line = turns.first_of(takers)
        else:
            line, self._stale = None, True
        while line is not None:
            consumer = line.turns[0][1]
            if not consumer.auto:
                if not kept:
                    accounts.keep(message)
                    kept = True
                accounts.mark_delivered(message, consumer.number)
            try:
                more = consumer.deliver(message)
            except NotNow:
                turns.had_turn(line, more=False)
                line = turns.first_of(takers)
                continue
            except Exception as error:
                if not kept:
                    accounts.keep(message)  # it is in the queue now
                self._discards.cannot_write(message, error)
                turns.had_turn(line, more=True)
                return 1, 0
            if turns.waiting > 1 or not more:
                turns.had_turn(line, more=more)
            self._went_out()
            if not consumer.auto:
                return HELD
            accounts.hand_over(message, consumer.number, kept=kept)
            return TAKEN
        if kept:
            accounts.mark_returned(message, 0)
        else:
            accounts.keep(message)
        self._keep_waiting(message, takers)
        return NOTHING

    def _take_grouped(self, message: GroupedMessage) -> Dealt:
        """Take a message that comes in after others of its group."""
        groups, delivery = self.groups, self._delivery
        assert groups is not None
        assert delivery is not None
        consumer: Consumer | None = None
        if self._turns.waiting and not self._consumer_line.paused:
            if not (self._fifo or self._heap or self._reader.wanted is not None):
                consumer = groups.consumer_for(message)
            else:
                self._stale = True
        if consumer is None:
            self._accounts.keep(message)
            groups.put(message)
            self._note(message)
            return NOTHING
        if not consumer.auto:
            self._accounts.keep(message)
        return delivery.give(message, consumer, None, kept=not consumer.auto)

    def _keep_waiting(self, message: Message, takers: list[MatchLine]) -> None:
        self.parking.add(message, takers)
        if not takers:
            self._unmatched.look()
        self._note(message)

    def _put_off(self, message: Message) -> None:
        """Keep a message that nobody waits for, without looking who takes it."""
        if message.head.traits.priority == DEFAULT_PRIORITY:
            self._fifo.append(message)
        else:
            self._ready.place(message)
        if not self._looks_soon:
            self._looks_soon = True
            self._look_timer.set(self._services.clock.now() + _LOOK_SECONDS)
        self._note(message)

    def _look(self) -> None:
        """Look at what was put off."""
        self._looks_soon = False
        if self._fifo or self._heap:
            self._want_step()

    def _note(self, message: Message) -> None:
        """Note that a message waits: when it ends, and how many there are."""
        if message.expires:
            self._expiry.append(message.expires)
        if self._limits is not None:
            self._limits.watch_backlog()

    @property
    def _may_end(self) -> bool:
        """Whether the queue may be a plain one again, as far as is known.

        What consumers have may stand behind much that waits, and would be put in front of it.
        """
        if self.parking.lines or self._turns.ranked or self._queue.policy.deals:
            return False
        if self.groups is not None and self.groups:
            return False
        return not self._unacked or self._ready.ready <= _MANY

    def deal(  # noqa: C901, PLR0912, PLR0915 -- the hot path: a call for a part of it costs more
        self, waits: WaitHistogram | None, unacked: int
    ) -> Dealt:
        """Hand out what is ready while somebody waits for it.

        Args:
            waits: counts how long messages waited; None = nobody wants to know.
            unacked: how many messages are with consumers.
        """
        self._unacked = unacked
        parking, reader, turns = self.parking, self._reader, self._turns
        self._look_again()
        if self._consumer_line.paused or reader.wanted is not None:
            self._stale = True
            return NOTHING
        delivered = held = 0
        looks = _FEW
        while turns.waiting and not self._consumer_line.paused:
            if turns.awake_own and self.groups is not None and self._delivery is not None:
                own = self.groups.next_own()
                if own is not None:
                    if own.body is None:
                        self._read_ahead(own)
                        break
                    dealt = self._delivery.deal(own, waits)
                    delivered += dealt[0]
                    held += dealt[1]
                    continue
            line = self._next_line() if turns.awake else None
            if line is not None:
                message = line.messages.first
                assert message is not None
                if message.body is None:
                    reader.begin(first_without_body(iter(line.messages)))
                    self._stale = True
                    break
                if self._delivery is not None and isinstance(message, GroupedMessage):
                    dealt = self._delivery.deal(message, waits)
                    delivered += dealt[0]
                    held += dealt[1]
                    continue
                line = self._take_out(message, line)
            elif not (self._fifo or self._heap):
                if self.groups is not None and self.groups.next_round():
                    continue
                break
            elif not looks:
                self._stale = True
                self._want_step()
                break
            else:
                message = parking.pop_unsorted() if self._heap else self._fifo.popleft()
                line = self._sort_in(message)
                if line is None:
                    looks -= 1
                    continue
            if (message.expires or message.redelivery) and self._discards.ends(message):
                continue
            dealt = self._deliver(line, message, waits)
            delivered += dealt[0]
            held += dealt[1]
        self._unmatched.look()
        return delivered, held

    def _read_ahead(self, message: GroupedMessage) -> None:
        """Read the bodies of what the owner of a group gets next."""
        line = message.group.line
        assert line is not None
        self._reader.begin([one for one in line.some(READ_MESSAGES) if one.body is None])
        self._stale = True

    def _take_out(self, message: Message, line: MatchLine) -> MatchLine:
        """Take out a message that a line has; gives the line of the consumer whose turn it is."""
        claims = self.parking.take(message, line)
        others = claims if line is self._everything else claims - 1
        if others or (self._everything.turns and line is not self._everything):
            return self._turns.first_for(line, message)
        return line

    def _sort_in(self, message: Message) -> MatchLine | None:
        """Find the line whose turn it is for a message that was not looked at, or sort it in."""
        takers = self.parking.takers(message)
        line = self._turns.first_of(takers)
        if line is not None and message.body is not None:
            return line
        self.parking.add(message, takers)
        if line is not None:  # its body has to be read
            self._turns.awake[line] = None
        return None

    def _look_again(self) -> None:
        """See who lined up and what came back, and which lines may have a message for whom."""
        parking = self.parking
        if self._ready.values is not None:
            end_outdated(self._ready, self._discards)
            self._stale = True  # what came back was sorted in at once
        self._turns.line_up()
        if parking.has_jobs or self._may_end:
            self._want_step()
        if self._stale:
            self._stale = False
            self._turns.wake_all()

    def _next_line(self) -> MatchLine | None:
        """The line that has the first message, of those where somebody waits."""
        barrier = self.parking.barrier
        found: MatchLine | None = None
        first: Message | None = None
        awake = self._turns.awake
        if len(awake) == 1 and barrier is None:
            line = next(iter(awake))
            if line.turns and line.reached is None and line.messages.count:
                return line
        for line in list(awake):
            message = self.parking.next_of(line, barrier) if line.turns else None
            if message is None:
                # Behind what was not looked at it may have one that is its turn later.
                if barrier is None or not line.turns or not line.messages.count:
                    del self._turns.awake[line]
            elif first is None or is_before(message, first):
                found, first = line, message
        return found

    def _deliver(self, line: MatchLine, message: Message, waits: WaitHistogram | None) -> Dealt:
        """Give a message to whose turn it is."""
        accounts, consumer = self._accounts, line.turns[0][1]
        self._dealt += 1
        try:
            more = consumer.deliver(message)
        except NotNow:
            self._turns.had_turn(line, more=False)
            self.parking.place(message)
            return NOTHING
        except Exception as error:
            self._discards.cannot_write(message, error)
            return TAKEN
        if self._turns.waiting > 1 or not more:
            self._turns.had_turn(line, more=more)
        self._went_out()
        if consumer.auto:
            if waits is not None and not self._dealt & NOT_COUNTED:
                waits.add(message.received_at)
            accounts.hand_over(message, consumer.number, kept=True)
            return TAKEN
        accounts.mark_delivered(message, consumer.number)
        return HELD

    def _went_out(self) -> None:
        """Take note that a message without group was dealt."""
        if self._rate.limited:
            self._rate.spend()
        if self.groups is not None:
            self.groups.had_other()

    # -- steps ------------------------------------------------------------------------------

    def _want_step(self) -> None:
        if not self._stepping and not self._closed:
            self._stepping = True
            self._services.work_budget.wait(self)

    def go_on(self) -> None:
        """Look at some more messages. For `WorkBudget` only."""
        self._stepping = False
        if self._closed:
            return
        clock, budget, parking = self._services.clock, self._services.work_budget, self.parking
        until = clock.now() + STEP_SECONDS
        left = budget.left
        looked = parking.step(min(STEP, max(1, left // _COST)), lambda: clock.now() < until)
        late = clock.now() >= until
        budget.spend(max(left, 0) if late else min(_COST * looked, max(left, 0)))
        self._stale = True
        if self._may_end and not parking.busy and self._ready.unpark(_MANY):
            self._end()
            return
        if parking.busy:
            self._want_step()
        self._hand_out()

    def _end(self) -> None:
        """Have the queue be a plain one again."""
        self._turns.line_up()
        turns = [consumer for _, consumer in self.parking.everything.turns]
        self.close()
        self._consumer_line.end_choosing(turns)
        self._ended()

    def close(self) -> None:
        """Do nothing any more."""
        self._closed = True
        self._turns.close()
        self._unmatched.end()
        self._wake_timer.end()
        if self.groups is not None:
            self.groups.close()
        self._rate.end()
        self._look_timer.end()

    def renew(self, policy: Policy) -> None:
        """Behave as a policy says from now on."""
        self._rate.renew(policy.deliver_rate)
        keep_values(self._queue, self._ready, self._accounts)
        if policy.fair_by:
            self.keep_groups()
        if self.groups is not None:
            self.groups.renew(policy)
        self._want_step()

    # -- groups -----------------------------------------------------------------------------

    def keep_groups(self) -> GroupTable:
        """Know of groups from now on."""
        if self.groups is None:
            services = self._services
            table = GroupTable(
                self.parking, self._turns, services.clock, services.wall, self._wake, self._told
            )
            self.groups = self.parking.groups = table
            table.on_hold = self._held
            self._delivery = GroupDelivery(
                table, self._turns, self._accounts, self._discards, self._rate
            )
            table.renew(self._queue.policy)
            self._accounts.share()  # a message that goes tells its group
            self._turns.line_up()
        return self.groups

    def _wake(self) -> None:
        """Deal in a moment: something may be dealt that could not before."""
        self._wake_timer.set(self._services.clock.now())

    def _told(self, group: MessageGroup | None) -> None:
        tell_group(group, self._queue.destination, self._services.events)

    def _held(self, group: MessageGroup, seconds: float) -> None:
        tell_held(group, seconds, self._queue.destination, self._services.events)

    def show_groups(self) -> tuple[GroupFigures, ...]:
        """What is to be told of the groups, if there are any."""
        return (
            () if self.groups is None else group_figures(self.groups, self._ready, self._services)
        )

    # -- figures ------------------------------------------------------------------------------

    def figures(self) -> tuple[int, tuple[LineFigures, ...], int, int]:
        """How many messages nobody takes, figures of the lines, how many groups and keys."""
        if self._fifo or self._heap:
            self._want_step()  # whoever looks again sees what came of it
        unmatched, lines = self._unmatched.figures()
        groups = 0 if self.groups is None else len(self.groups)
        values = self._ready.values
        return unmatched, lines, groups, 0 if values is None else len(values)
