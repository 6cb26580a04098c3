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

from binascii import crc32
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Final

from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.interface import AssignGroup, place_of
from stompy_broker.routing.match_line import MatchLine
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

MOST_GROUPS: Final = 65_536
"""So many are remembered of one queue."""

_BUCKETS: Final = 1024
"""So many groups all other values share."""

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
        in_flight: how many messages of a group may be unsettled at once; 0 = any number.
        rebalances: whether groups move to consumers who come later.
        by_key: the groups, by their values.
        buckets: those that several values share, by number.
    """

    __slots__ = (
        "_clock",
        "_full_since",
        "_held",
        "_parking",
        "_round",
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
        self.in_flight = 0
        self.rebalances = False
        self.by_key: dict[str, MessageGroup] = {}
        self.buckets: dict[int, MessageGroup] = {}
        self._parking = parking
        self._turns = turns
        self._clock = clock
        self._wall = wall
        self._wake = wake
        self._told = told
        self._round, self._full_since = 0, -1
        self._round_ends = 0.0
        self._unbalanced = False
        self._held: dict[MessageGroup, None] = {}
        self._timer = clock.timer(self._ring)
        self._rounds = clock.upkeep.timer(self._end_round)
        turns.renewed = self._free_all

    # -- which group ------------------------------------------------------------------------

    def of(self, key: str) -> MessageGroup:
        """The group of a value, made if need be."""
        found = self.by_key.get(key)
        if found is not None:
            return found
        if self.buckets or len(self.by_key) >= MOST_GROUPS:
            number = crc32(key.encode("utf-8", "surrogateescape")) % _BUCKETS
            bucket = self.buckets.get(number)
            if bucket is not None and not bucket.idle:
                return bucket
            if len(self.by_key) >= MOST_GROUPS and not self._make_room():
                if not self.buckets:
                    self._told(None)
                if bucket is None:
                    bucket = self.buckets[number] = MessageGroup(f"bucket {number}", self, number)
                return bucket
        if not self.by_key:
            self._set_timer()
        found = self.by_key[key] = MessageGroup(key, self)
        found.touched = self._round
        return found

    def of_or_none(self, message: Message) -> MessageGroup:
        """The group of a message that only might come; one of its own if there is none."""
        key = message.head.traits.group or ""
        return self.by_key.get(key) or MessageGroup(key, self)

    def renew(self, policy: Policy) -> None:
        """Behave as a policy says from now on."""
        self.in_flight = policy.group_in_flight
        self.rebalances = policy.group_rebalance
        for group in self:
            self.show(group)

    def admit(self, message: Message) -> GroupedMessage:
        """Make a message that comes in one of its group."""
        key = message.head.traits.group
        assert key is not None
        if isinstance(message, GroupedMessage):
            message.group = self.of(key)
            return message
        return GroupedMessage(message, self.of(key))

    def _make_room(self) -> bool:
        """Forget groups of which nothing is there, now and then; say whether there were any."""
        if self._full_since == self._round:
            return False
        self._full_since = self._round
        self._forget()
        return len(self.by_key) < MOST_GROUPS

    def _forget(self) -> None:
        """Forget groups of which nothing has been in the queue for a while."""
        before = self._round - 2
        for group in self:
            if group.idle and group.touched <= before:
                self.release(group)
                if self.by_key.get(group.key) is group:
                    del self.by_key[group.key]
                else:
                    del self.buckets[group.number]

    # -- messages ---------------------------------------------------------------------------

    def put(self, message: GroupedMessage) -> None:
        """Put a message to its place in its group: it came, or it came back."""
        group = message.group
        if group.keeper is not self:
            group = message.group = self.admit(message).group
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
        group.touched = self._round
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
            group = message.group = self.admit(message).group
        if message.state == OUT:
            group.unsettled -= 1
        message.state = DELAYED
        group.delayed += 1
        self._withdraw(group)
        if self._unbalanced:
            self._balance()

    def take_over(self, message: GroupedMessage) -> None:
        """Take note that a consumer has a message, nobody here knows which."""
        group = message.group
        if group.keeper is not self:
            group = message.group = self.admit(message).group
        state, message.state = message.state, OUT
        group.unsettled += 1
        group.worker = None
        self._withdraw(group)
        if state == DELAYED:
            group.end(DELAYED)

    def show(self, group: MessageGroup) -> bool:
        """Have the first message of a group stand where it may be dealt; false: it may not."""
        waiting = group.waiting
        if group.shown is not None or not waiting or group.delayed or group.held_until:
            return False
        message, owner = waiting[0], group.owner
        if owner is not None:
            unsettled = group.unsettled
            if unsettled and (group.worker is not owner or unsettled >= self.in_flight > 0):
                return False
            own = self._own_of(owner, message)
            if own is not None:
                group.shown, group.line = message, own
                own.add(message)
                if owner.waiting:
                    self._turns.awake_own[own] = None
                return True
            if unsettled:
                return False
        elif group.unsettled and (self.sticky or group.unsettled >= self.in_flight > 0):
            return False
        self._parking.aside.take(message)
        group.shown, group.line = message, None
        takers = self._parking.takers(message)
        self._parking.add(message, takers)
        self._turns.wake(takers)
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
        group.touched = self._round
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
        group.touched = self._round
        if group.waiting and group.shown is None and self.show(group):
            self._wake()
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

    def consumer_for(self, message: GroupedMessage) -> Consumer | None:
        """Who gets a message that just came; None if it has to wait."""
        group = message.group
        if group.waiting or group.delayed or group.held_until:
            return None
        owner, unsettled = group.owner, group.unsettled
        if owner is not None:
            if unsettled and (group.worker is not owner or unsettled >= self.in_flight > 0):
                return None
            if self._own_of(owner, message) is not None:
                return owner if owner.waiting else None
            if unsettled:
                return None
        elif unsettled and (self.sticky or unsettled >= self.in_flight > 0):
            return None
        return self.pick(message)

    def pick(self, message: GroupedMessage) -> Consumer | None:
        """Who has the fewest groups of those who wait and take a message; None = nobody does."""
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
        group.touched = self._round
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
        group.held_until = until
        self._withdraw(group)
        self._held[group] = None
        self._set_timer()

    def let_go(self, group: MessageGroup) -> None:
        """Let a group go on that was held."""
        group.held_until = 0.0
        self._held.pop(group, None)
        self.show(group)

    # -- consumers that come -----------------------------------------------------------------

    def consumer_came(self) -> None:
        """Begin to move groups to a consumer that came, if that is wanted."""
        if self.rebalances and self.sticky and self.by_key:
            self._unbalanced = True
            self._balance()

    def _balance(self) -> None:
        """Move groups of which nothing is unsettled, until all have about as many."""
        own_lines = self._turns.own_lines
        lines: dict[MatchLine, list[OwnLine]] = {}
        for consumer, line in self._turns.line_of.items():
            own = own_lines.get(consumer)
            if own is None:
                own = own_lines[consumer] = OwnLine(consumer)
            lines.setdefault(line, []).append(own)
        self._unbalanced = False
        for several in lines.values():
            self._balance_some(several)

    def _balance_some(self, several: list[OwnLine]) -> None:
        """Move groups between consumers that take the same messages."""
        while len(several) > 1:
            several.sort(key=lambda own: len(own.groups))
            least, most = several[0], several[-1]
            if len(most.groups) - len(least.groups) <= 1:
                return
            moving = next((group for group in most.groups if not group.unsettled), None)
            if moving is None:
                self._unbalanced = True
                several.pop()  # it has some when they are settled
                continue
            self.assign(moving, least.owner)

    # -- time -------------------------------------------------------------------------------

    def _set_timer(self) -> None:
        if not self._round_ends:
            self._round_ends = self._clock.now() + _ROUND
            self._rounds.set(self._round_ends)
        self._timer.set(min([group.held_until for group in self._held], default=None))

    def _ring(self) -> None:
        now = self._clock.now()
        for group in [group for group in self._held if group.held_until <= now]:
            self.let_go(group)
        if self._held:
            self._set_timer()
        self._wake()

    def _end_round(self) -> None:
        self._round_ends = 0.0
        self._round += 1
        self._forget()
        if self.by_key or self.buckets or self._held:
            self._set_timer()

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
        return iter([*self.by_key.values(), *self.buckets.values()])

    def __len__(self) -> int:
        return len(self.by_key) + len(self.buckets)
