"""Whose turn it is among the values of a queue that is dealt in turn: deficit round robin. Pure.

Each value may have so much in a round: one message, or so many bytes. A value has a *balance*;
while it is above nothing the value may go on, and what it gets is taken off. Each round gives each
value as much again, and no more than a round's share is ever saved up. So a value that had a
message too large for its share sits out the rounds that it has used up.

A value that is new takes part in the round that is going on, behind what came before it. So one
that comes after 100,000 messages of another one is next but one at most. That those who wait for
their next round are not put off for ever by what comes meanwhile, new values and messages without
any, a round ends when as many of these have been served as waited when the first one was; whoever
has not had his turn keeps it.

The table of the groups asks `may` before it lets a group show a message, and has it wait by `wait`
if not; `begin` gives back those whose turn comes.
"""

from __future__ import annotations

import heapq
from typing import Final

from stompy_broker.routing.message_group import MessageGroup

BYTES: Final = 16 * 1024
"""What a value may have in a round, where bytes count."""


class FairRounds:
    """The rounds of one queue.

    Args:
        by_bytes: whether messages count by their size, and not as one each.

    Attributes:
        number: of the round that is going on.
        share: what each value may have in a round.
        by_bytes: whether messages count by their size.
    """

    __slots__ = ("_last", "_late", "_most", "_waiting", "by_bytes", "number", "share")

    def __init__(self, *, by_bytes: bool) -> None:
        self.by_bytes = by_bytes
        self.share = BYTES if by_bytes else 1
        self.number = 1
        self._waiting: list[tuple[int, int, MessageGroup]] = []
        self._last = 0
        self._late = self._most = 0  # those who came late and were served, and how many may be

    def may(self, group: MessageGroup) -> bool:
        """Whether a value may have a message in this round."""
        if group.round == 0:
            group.late = bool(self._waiting)
            return True
        return group.balance + (self.number - group.round) * self.share > 0

    def charge(self, group: MessageGroup, size: int, others: int) -> None:
        """Take note that a value has had a message.

        Args:
            group: of the value.
            size: of the message, in bytes.
            others: how many messages wait whose turn it is.
        """
        number, share = self.number, self.share
        if group.round == 0:
            if group.late:
                self.charge_nobody(others)
            balance = share
        else:
            balance = min(share, group.balance + (number - group.round) * share)
        group.round = number
        group.balance = balance - (size if self.by_bytes else 1)

    def charge_nobody(self, others: int) -> None:
        """Take note of a message without value: it is one of its own.

        Args:
            others: how many messages wait whose turn it is.
        """
        if not self._late:
            self._most = len(self._waiting) + others
        self._late += 1

    def _due(self, group: MessageGroup) -> int:
        """The round in which a value may go on."""
        return group.round + (self.share - group.balance) // self.share

    def wait(self, group: MessageGroup) -> None:
        """Have a value wait for its next round."""
        if group.queued:
            return
        group.queued = True
        self._last += 1
        heapq.heappush(self._waiting, (self._due(group), self._last, group))

    @property
    def is_over(self) -> bool:
        """Whether so many that came late have been served that those who wait are next."""
        return self._late > 0 and self._late >= self._most and bool(self._waiting)

    def begin(self) -> list[MessageGroup]:
        """Begin the next round in which anybody's turn comes; gives those."""
        waiting = self._waiting
        self._late = 0
        if not waiting:
            return []  # nobody waits
        number = self.number = max(self.number, waiting[0][0])
        found: list[MessageGroup] = []
        while waiting and waiting[0][0] <= number:
            group = heapq.heappop(waiting)[2]
            group.queued = False
            found.append(group)
        return found

    def reach(self, group: MessageGroup) -> list[MessageGroup]:
        """Begin the round in which a value may go on; gives those whose turn comes as well."""
        self.number = max(self.number, self._due(group))
        waiting = self._waiting
        return self.begin() if waiting and waiting[0][0] <= self.number else []
