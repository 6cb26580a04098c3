"""The groups of messages of one queue: what of each may be dealt, and to whom (**hot path** there).

Only what may go next stands in the parking: of each group its first message, if the group may go on
at all. While nobody owns the group it stands in the lines of all who take it; else in the line of
its owner. Everything else of the group waits *aside*, where the queue's order is kept as well, for
those who look. So however much of one group waits in front, others pass it.

Within a group the order is total, and no two consumers are at work on it: what comes back is its
first message again, what comes back later holds it, and a message for somebody who does not own it
waits until nothing of it is unsettled.

There may be more values than are worth remembering. Those that come when so many are known share
`_BUCKETS` groups between them.

Invariants:

* A message that waits is in ``MessageGroup.waiting``, and either in ``Parking.aside`` or, if it is
  shown where everybody takes, in ``Parking.messages`` and the lines there.
* ``MessageGroup.shown`` is the first of ``MessageGroup.waiting``, or None.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Final

from stompy_broker.destinations.policy import Policy
from stompy_broker.group_headers import GROUP
from stompy_broker.message import Message
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.group_balance import balance
from stompy_broker.routing.group_pace import GroupPace
from stompy_broker.routing.group_register import GroupRegister
from stompy_broker.routing.interface import AssignGroup, place_of
from stompy_broker.routing.message_group import (
    DELAYED,
    NOWHERE,
    OUT,
    WAITING,
    GroupedMessage,
    GroupKeeper,
    MessageGroup,
    OwnLine,
)
from stompy_broker.routing.parking import Parking, is_before
from stompy_broker.routing.turn_order import TurnOrder
from stompy_broker.timers import Clock

FORGET_SECONDS: Final = 60.0
"""After so long a group is forgotten of which nothing is in the queue."""

_ROUND: Final = FORGET_SECONDS / 2

_RANK: Final = 40
"""Above so many bits a turn says who goes before others whatever came first."""

_sequence_of: Callable[[Message], int] = attrgetter("sequence")


class GroupTable(GroupKeeper):
    """Keeps the groups of one queue.

    Args:
        parking: the messages of the queue.
        turns: its consumers.
        clock: rings.
        wall: gives the time in milliseconds since the epoch.
        wake: called when something may be dealt that could not before.
        told: called with a group that has got an owner, or with None when values begin to share.

    Attributes:
        sticky: whether a group belongs to the consumer that got its first message.
        pace: when they may go on: turns, rates, holds.
        in_flight: how many messages of a group may be unsettled at once; 0 = any number.
        rebalances: whether groups move to consumers who come later.
        on_hold: told of a group that a consumer has held back, and for how many seconds.
        by_key: the groups, by their values.
        buckets: those that several values share, by number.
    """

    __slots__ = (
        "_clock",
        "_parking",
        "_register",
        "_round_ends",
        "_rounds",
        "_timer",
        "_told",
        "_turns",
        "_unbalanced",
        "_wake",
        "_wall",
        "buckets",
        "by_key",
        "in_flight",
        "on_hold",
        "pace",
        "rebalances",
        "sticky",
    )

    def __init__(
        self,
        parking: Parking,
        turns: TurnOrder,
        clock: Clock,
        wall: Callable[[], int],
        wake: Callable[[], None],
        told: Callable[[MessageGroup | None], None],
    ) -> None:
        self.sticky = True
        self.on_hold: Callable[[MessageGroup, float], None] = _tell_nobody
        self.in_flight = 0
        self.rebalances = False
        self._parking = parking
        self._turns = turns
        self._clock = clock
        self._wall = wall
        self._wake = wake
        self._told = told
        self._round_ends = 0.0
        self._unbalanced = False
        self.pace = GroupPace(clock)
        self._register = register = GroupRegister(self, self.pace, self.release, lambda: told(None))
        self.by_key, self.buckets = register.by_key, register.buckets
        self._timer = clock.timer(self._ring)
        self._rounds = clock.upkeep.timer(self._end_round)
        turns.renewed = self._free_all

    # -- which group ------------------------------------------------------------------------

    def of(self, key: str) -> MessageGroup:
        """The group of a value, made if need be."""
        if not self.by_key:
            self._set_timer()
        return self._register.of(key)

    def key_of(self, message: Message) -> str | None:
        """The value by which a message belongs to a group; None = it belongs to none."""
        return self._register.key_of(message)

    def renew(self, policy: Policy) -> None:
        """Behave as a policy says from now on."""
        limits = [one for one in (policy.group_in_flight, policy.group_concurrency) if one]
        self.in_flight = min(limits, default=0)
        self.rebalances = policy.group_rebalance
        self.sticky = policy.keeps_owners
        self._register.header = "" if policy.fair_by in GROUP else policy.fair_by
        anew = self.pace.renew(policy)
        self._set_timer()
        for group in self:
            if anew:
                group.begin_anew()
            if not self.sticky and group.owner is not None:
                self._withdraw(group)
                self.release(group)
            self.show(group)

    def admit(self, message: Message) -> Message:
        """Make a message that comes in one of its group, if it has one."""
        key = self._register.key_of(message)
        if key is None:
            return message
        if isinstance(message, GroupedMessage):
            message.group = self.of(key)
            return message
        return GroupedMessage(message, self.of(key))

    # -- messages ---------------------------------------------------------------------------

    def put(self, message: GroupedMessage) -> None:
        """Put a message to its place in its group: it came, or it came back."""
        group = message.group
        if group.keeper is not self:
            group = self._register.again(message)
        state = message.state
        message.state = WAITING
        waiting = group.waiting
        if waiting and message.sequence < waiting[-1].sequence:
            if message.sequence < waiting[0].sequence:
                self._withdraw(group)
                waiting.appendleft(message)
            else:
                waiting.insert(bisect_left(waiting, message.sequence, key=_sequence_of), message)
        else:
            waiting.append(message)
        group.touched = self._register.round
        self._parking.aside.add(message)
        if state == OUT:
            group.unsettled -= 1
        elif state == DELAYED:
            group.delayed -= 1
        if group.shown is None:
            self.show(group)
        if self._unbalanced and not group.unsettled:
            self._balance()

    def put_off(self, message: GroupedMessage) -> None:
        """Hold a group back while one of its messages waits for a time."""
        group = message.group
        if group.keeper is not self:
            group = self._register.again(message)
        if message.state == OUT:
            group.unsettled -= 1
        message.state = DELAYED
        group.delayed += 1
        if self.sticky:
            self._withdraw(group)
        elif group.shown is None:
            self.show(group)  # it is one of several that are out
        if self._unbalanced:
            self._balance()

    def take_over(self, message: GroupedMessage) -> None:
        """Take note that a consumer has a message, nobody here knows which."""
        group = message.group
        if group.keeper is not self:
            group = self._register.again(message)
        state, message.state = message.state, OUT
        group.unsettled += 1
        group.worker = None
        self._withdraw(group)
        if state == DELAYED:
            group.end(DELAYED)

    def show(self, group: MessageGroup) -> bool:
        """Have the first message of a group stand where it may be dealt; false: it may not."""
        waiting = group.waiting
        if not waiting or group.shown is not None or self._is_back(group):
            return False
        if self._has_enough(group) or not self._may_go_on(group):
            return False
        message, owner = waiting[0], group.owner
        if owner is not None:
            own = self._own_of(owner, message)
            if own is not None:
                group.shown, group.line = message, own
                own.add(message)
                if owner.waiting:
                    self._turns.awake_own[own] = None
                return True
            if group.unsettled:
                return False
        self._parking.aside.take(message)
        group.shown, group.line = message, None
        takers = self._parking.takers(message)
        self._parking.add(message, takers)
        self._turns.wake(takers)
        return True

    def _is_back(self, group: MessageGroup) -> bool:
        """Whether a group is held back, by somebody or because one of its messages waits."""
        return group.held_until > 0 or (group.delayed > 0 and self.sticky)

    def _has_enough(self, group: MessageGroup) -> bool:
        """Whether consumers have so much of a group that it waits until they settle some."""
        unsettled, owner = group.unsettled, group.owner
        if not unsettled:
            return False
        if unsettled >= self.in_flight > 0:
            return True
        return self.sticky if owner is None else group.worker is not owner

    def _may_go_on(self, group: MessageGroup) -> bool:
        """Whether it is a group's turn, and it is not too fast; else it waits for that."""
        if not self.pace.bound or self.pace.may(group):
            return True
        if group.held_until:
            self._set_timer()
        return False

    def _show_some(self, groups: list[MessageGroup]) -> bool:
        for group in groups:
            self.show(group)
        return bool(groups)

    def next_round(self) -> bool:
        """Begin the next round of turns; false: nobody waits for one."""
        return self._show_some(self.pace.next_round())

    def had_other(self) -> None:
        """Count a message without group that was dealt."""
        if self.pace.bound:
            self._show_some(self.pace.gave_other(self._parking.messages.count))

    def hold_back(self, message: GroupedMessage, seconds: float) -> bool:
        """Give nobody anything of a message's group for so long; false: it has none."""
        group = message.group
        if group.keeper is not self:
            return False
        self.hold(group, self._clock.now() + seconds)
        self.on_hold(group, seconds)
        return True

    def _own_of(self, owner: Consumer, message: Message) -> OwnLine | None:
        """The line of an owner; None if it does not take a message."""
        line = self._turns.line_of.get(owner)
        if line is None or (line.selector is not None and not line.takes(message)):
            return None
        return self._turns.own_lines.get(owner)

    def _withdraw(self, group: MessageGroup) -> None:
        """Have a group's first message stand aside, where nobody is given it."""
        message = group.shown
        if message is None:
            return
        group.shown = None
        if group.line is None:
            self._parking.take_shown(message)
            self._parking.aside.add(message)
        group.line = None

    def take(self, message: GroupedMessage) -> int:
        """Take a message out that waits; gives how many lines had it, -1 if it does not wait."""
        group = message.group
        claims = self.take_out(message)
        if claims >= 0 and group.shown is None and self.show(group):
            self._wake()
        return claims

    def take_out(self, message: GroupedMessage) -> int:
        """The same, but the next one of the group does not come forward yet."""
        group = message.group
        if message.state != WAITING or group.keeper is not self:
            return -1
        claims = 0
        if group.shown is message:
            group.shown = None
            if group.line is None:
                claims = self._parking.take_shown(message)
            else:
                group.line = None
                self._parking.aside.take(message)
            group.waiting.popleft()
        else:
            self._parking.aside.take(message)
            group.waiting.remove(message)
        message.state = NOWHERE
        group.touched = self._register.round
        return claims

    def take_all(self, gone: set[int]) -> None:
        """Take many messages out of their groups, by what `id` gives.

        The parking takes them out of what it has itself.
        """
        for group in self:
            waiting = group.waiting
            staying = [message for message in waiting if id(message) not in gone]
            if len(staying) == len(waiting):
                continue
            for message in waiting:
                if id(message) in gone:
                    message.state = NOWHERE
            group.waiting = deque(staying)
            if group.shown is not None and id(group.shown) in gone:
                group.shown = group.line = None
            if self.show(group):
                self._wake()

    def ended(self, group: MessageGroup) -> None:
        """One message less of a group is with consumers, or waits for a time."""
        group.touched = self._register.round
        if group.waiting and group.shown is None and (self.show(group) or group.queued):
            self._wake()  # perhaps its next round begins, because nobody else has anything
        if self._unbalanced and not group.unsettled:
            self._balance()

    def clear(self) -> None:
        """Forget everything that waits."""
        for group in self:
            for message in group.waiting:
                message.state = NOWHERE
            group.waiting.clear()
            group.shown = group.line = None

    # -- who gets what ----------------------------------------------------------------------

    def foresee(self, message: Message) -> Consumer | None:
        """Who would get a message of a group if it came now; None = nobody. Nothing changes."""
        group = self._register.of_or_none(message)
        if not self._is_free(group):
            return None
        return self._consumer_for(GroupedMessage(message, group))

    def _is_free(self, group: MessageGroup) -> bool:
        """Whether a message that comes might go out at once, before any of its group that waits."""
        if group.waiting or self._is_back(group) or self._has_enough(group):
            return False
        return not (self.pace.bound and self.pace.ready_at(group))

    def consumer_for(self, message: GroupedMessage) -> Consumer | None:
        """Who gets a message that just came; None if it has to wait."""
        group = message.group
        if not self._is_free(group):
            return None
        consumer = self._consumer_for(message)
        if consumer is not None and self.pace.bound:
            # Whoever waits may be given nothing else, so the rounds before its own are over.
            self._show_some(self.pace.reach(group))
        return consumer

    def _consumer_for(self, message: GroupedMessage) -> Consumer | None:
        group = message.group
        owner = group.owner
        if owner is not None:
            if self._own_of(owner, message) is not None:
                return owner if owner.waiting else None
            if group.unsettled:
                return None
        return self.pick(message)

    def pick(self, message: GroupedMessage) -> Consumer | None:
        """Who has the fewest groups of those who wait and take a message; None = nobody does."""
        if not self.sticky:
            return self._turns.next_for(message)
        found: Consumer | None = None
        best_rank = best_count = best_turn = 0
        own_lines, parking = self._turns.own_lines, self._parking
        for line in [parking.everything, *parking.lines.values()]:
            if not line.turns or (line is not parking.everything and not line.takes(message)):
                continue
            for turn, consumer in line.turns:
                rank = turn >> _RANK
                own = own_lines.get(consumer)
                count = len(own.groups) if own is not None and self.sticky else 0
                if found is None or (rank, count, turn) < (best_rank, best_count, best_turn):
                    found = consumer
                    best_rank, best_count, best_turn = rank, count, turn
        return found

    def give(self, message: GroupedMessage, consumer: Consumer) -> None:
        """Take note that a message goes to a consumer; it was taken out, or just came."""
        group = message.group
        if group.owner is None and self.sticky:
            self._assign(group, consumer)
        message.first = group.fresh and group.owner is consumer
        if message.first:
            group.fresh = False
        group.worker = consumer
        group.unsettled += 1
        group.touched = self._register.round
        message.state = OUT

    def give_not(self, message: GroupedMessage) -> None:
        """Undo `give`: the consumer takes nothing just now."""
        group = message.group
        if message.first:
            message.first = False
            self.release(group)

    def go_on(self, message: GroupedMessage) -> None:
        """Have the next message of a group come forward, after one was given."""
        group = message.group
        if self.pace.bound:
            self._show_some(self.pace.gave(group, message, self._parking.messages.count))
        if message.head.traits.closes_group and group.owner is not None:
            self._withdraw(group)
            self.release(group)
        if group.waiting and group.shown is None:
            self.show(group)

    def next_own(self) -> GroupedMessage | None:
        """The next message that its owner gets, if nothing comes before that anybody may take."""
        turns, parking = self._turns, self._parking
        awake, barrier = turns.awake_own, parking.barrier
        for own in list(awake):
            message = own.first
            if message is None or not own.owner.waiting:
                del awake[own]
                continue
            if barrier is not None and place_of(message) > barrier:
                continue
            line = turns.line_of[own.owner]
            other = parking.next_of(line, barrier)
            if other is None or not is_before(other, message):
                return message
            turns.awake[line] = None
        return None

    # -- owners -----------------------------------------------------------------------------

    def _assign(self, group: MessageGroup, consumer: Consumer) -> None:
        own_lines = self._turns.own_lines
        own = own_lines.get(consumer)
        if own is None:
            own = own_lines[consumer] = OwnLine(consumer)
        own.groups[group] = None
        group.owner = consumer
        group.fresh = True
        group.since = self._wall()
        self._told(group)

    def release(self, group: MessageGroup) -> None:
        """Have a group belong to nobody; what it shows is to be withdrawn before."""
        owner = group.owner
        if owner is not None:
            group.owner = None
            group.fresh = False
            own = self._turns.own_lines.get(owner)
            if own is not None:
                own.groups.pop(group, None)

    def owner_left(self, consumer: Consumer) -> None:
        """Free the groups of a consumer that goes; what it has of them comes back after that."""
        own = self._turns.own_lines.pop(consumer, None)
        if own is None:
            return
        self._turns.awake_own.pop(own, None)
        for group in own.groups:
            group.owner = None
            group.fresh = False
            if group.line is own:
                group.shown = group.line = None
            if group.waiting:
                self.show(group)

    def _free_all(self) -> None:
        """Have no group belong to anybody: one consumer gets everything, and may be another one."""
        for consumer in list(self._turns.own_lines):
            self.owner_left(consumer)

    def assign(self, group: MessageGroup, consumer: Consumer | None) -> bool:
        """Give a group to a consumer, or to whoever takes the next message.

        Returns:
            False: not now, because something of it is unsettled.
        """
        if group.unsettled and consumer is not group.worker:
            return False
        self._withdraw(group)
        self.release(group)
        if consumer is not None:
            self._assign(group, consumer)
        self.show(group)
        return True

    def hold(self, group: MessageGroup, until: float) -> None:
        """Give nobody anything of a group until a time on the clock."""
        self.pace.hold(group, until)
        self._withdraw(group)
        self._set_timer()

    def let_go(self, group: MessageGroup) -> None:
        """Let a group go on that was held."""
        self.pace.let_go(group)
        self.show(group)

    # -- consumers that come -----------------------------------------------------------------

    def consumer_came(self) -> None:
        """Begin to move groups to a consumer that came, if that is wanted."""
        if self.rebalances and self.sticky and self.by_key:
            self._unbalanced = True
            self._balance()

    def _balance(self) -> None:
        """Move groups of which nothing is unsettled, until all have about as many."""
        self._unbalanced = not balance(self._turns, self.assign)

    # -- time -------------------------------------------------------------------------------

    def _set_timer(self) -> None:
        if not self._round_ends:
            self._round_ends = self._clock.now() + _ROUND
            self._rounds.set(self._round_ends)
        self._timer.set(self.pace.next_due or None)

    def _ring(self) -> None:
        self._show_some(self.pace.due(self._clock.now()))
        self._set_timer()
        self._wake()

    def _end_round(self) -> None:
        self._round_ends = 0.0
        self._register.round += 1
        self._register.forget()
        go_on = self._set_timer if self.by_key or self.buckets else self._wake
        go_on()  # perhaps it is a plain queue again

    def close(self) -> None:
        """Do nothing any more."""
        self._timer.end()
        self._rounds.end()

    # -- figures ------------------------------------------------------------------------------

    def order(self, order: AssignGroup) -> int:
        """Give a group to a consumer; see `AssignGroup`."""
        group = self.by_key.get(order.key)
        if group is None:
            return 0
        found = [one for one in self._turns.line_of if one.number == order.consumer]
        if order.consumer and not found:
            return 0
        assigned = self.assign(group, found[0] if found else None)
        if assigned:
            self._wake()
        return int(assigned)

    def __iter__(self) -> Iterator[MessageGroup]:
        """All groups, those of several values as well."""
        return iter(self._register)

    def __len__(self) -> int:
        return len(self._register)


def _tell_nobody(group: MessageGroup, seconds: float) -> None:
    """Tell nobody that a group is held."""
