"""When the groups of a queue may go on: whose turn it is, how fast each may be, and what holds it.

A group that may not go on now waits here, and comes back by `GroupPace.due` when its time is over,
or by `GroupPace.next_round` when its turn comes. Who asks is the table of the groups.
"""

from __future__ import annotations

import heapq

from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message
from stompy_broker.rate_limit import Rate, read_rate
from stompy_broker.routing.fair_rounds import FairRounds
from stompy_broker.routing.message_group import MessageGroup
from stompy_broker.routing.token_bucket import TokenBucket
from stompy_broker.timers import Clock


class GroupPace:
    """The turns, rates and holds of the groups of one queue.

    Args:
        clock: gives the time.

    Attributes:
        bound: whether groups have turns, or a rate.
        held: the groups that wait for a time.
    """

    __slots__ = ("_clock", "_due", "_last", "_rate", "_rounds", "_too_fast", "bound", "held")

    def __init__(self, clock: Clock) -> None:
        self.bound = False
        self.held: dict[MessageGroup, None] = {}
        self._clock = clock
        self._rounds: FairRounds | None = None  # None = whoever is first in line is next
        self._rate: Rate | None = None
        self._due: list[tuple[float, int, MessageGroup]] = []  # when those may go on
        self._last = 0
        # The groups that wait because they were too fast, and until when they are held anyhow.
        self._too_fast: dict[MessageGroup, float] = {}

    def renew(self, policy: Policy) -> bool:
        """Go by another policy from now on; say whether groups have to begin anew."""
        before = self._rate, None if self._rounds is None else self._rounds.by_bytes
        self._rate = read_rate(policy.group_rate) if policy.group_rate else None
        by_bytes = policy.fair_unit == "bytes" if policy.fair_by else None
        if by_bytes is None:
            self._rounds = None
        elif self._rounds is None or self._rounds.by_bytes != by_bytes:
            self._rounds = FairRounds(by_bytes=by_bytes)
        self.bound = self._rate is not None or self._rounds is not None
        if before == (self._rate, by_bytes):
            return False
        self._hurry()
        return True

    def may(self, group: MessageGroup) -> bool:
        """Whether it is a group's turn, and it is not too fast; else it waits for that here."""
        ready = self.ready_at(group)
        if ready:
            self.hold(group, ready)
            self._too_fast[group] = 0.0
            return False
        if self._rounds is not None and not self._rounds.may(group):
            self._rounds.wait(group)
            return False
        return True

    def ready_at(self, group: MessageGroup) -> float:
        """When a group may go on that is too fast; 0 = it is not."""
        if group.rate is None:
            return 0.0
        now = self._clock.now()
        ready = group.rate.ready_at(now)
        return ready if ready > now else 0.0

    def is_used(self, group: MessageGroup) -> bool:
        """Whether a group could go on faster than it may if it was forgotten."""
        return group.rate is not None and group.rate.used(self._clock.now()) > 0

    # -- turns ------------------------------------------------------------------------------

    def gave(self, group: MessageGroup, message: Message, others: int) -> list[MessageGroup]:
        """Count a message that a group has had; gives those whose turn comes by that.

        Args:
            group: it.
            message: it.
            others: how many messages wait that may be dealt.
        """
        if self._rate is not None:
            if group.rate is None:
                group.rate = TokenBucket(self._rate)
            group.rate.spend(1, self._clock.now())
        rounds = self._rounds
        if rounds is None:
            return []
        rounds.charge(group, message.size, others)
        return rounds.begin() if rounds.is_over else []

    def gave_other(self, others: int) -> list[MessageGroup]:
        """Count a message without group that was dealt; gives those whose turn comes by that.

        Args:
            others: how many messages wait that may be dealt.
        """
        rounds = self._rounds
        if rounds is None:
            return []
        rounds.charge_nobody(others)
        return rounds.begin() if rounds.is_over else []

    def next_round(self) -> list[MessageGroup]:
        """Begin the next round, because nobody else has anything; gives those whose turn comes."""
        return [] if self._rounds is None else self._rounds.begin()

    def reach(self, group: MessageGroup) -> list[MessageGroup]:
        """Let it be a group's turn, because nobody else has anything; gives those before it."""
        rounds = self._rounds
        return [] if rounds is None or rounds.may(group) else rounds.reach(group)

    # -- time -------------------------------------------------------------------------------

    def hold(self, group: MessageGroup, until: float) -> None:
        """Have a group wait until a time on the clock, if it does not wait longer already."""
        self.held[group] = None
        if group in self._too_fast:
            self._too_fast[group] = max(until, self._too_fast[group])
        if until > group.held_until:
            group.held_until = until
            self._last += 1
            heapq.heappush(self._due, (until, self._last, group))

    def let_go(self, group: MessageGroup) -> None:
        """Let a group go on that was held."""
        group.held_until = 0.0
        self.held.pop(group, None)
        self._too_fast.pop(group, None)

    def _hurry(self) -> None:
        """Hold no group any more because it was too fast: it may be so fast now."""
        waiting = dict(self._too_fast)
        for group, until in waiting.items():
            self.let_go(group)
            if until > self._clock.now():
                self.hold(group, until)

    @property
    def next_due(self) -> float:
        """When the next group may go on that is held; 0 = none is."""
        return self._due[0][0] if self._due else 0.0

    def due(self, now: float) -> list[MessageGroup]:
        """Let those go on whose time is over, and give them."""
        due, found = self._due, []
        while due and due[0][0] <= now:
            group = heapq.heappop(due)[2]
            if 0 < group.held_until <= now:
                self.let_go(group)
                found.append(group)
        return found
