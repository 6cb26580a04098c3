"""How many messages a queue may hold, and what happens to those beyond that.

Named queues go by their policy: they refuse, push out the oldest, or turn away. The backlog of a
topic subscription gives up the oldest, or its subscriber. What waits for one client only, and is
not taken, costs that client its connection once clients hold all the memory they may.
"""

from __future__ import annotations

import logging

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.message import Message
from stompy_broker.routing.accounts import Accounts
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.counts import Counts
from stompy_broker.routing.demand import is_wanted
from stompy_broker.routing.discards import Discards
from stompy_broker.routing.flow_control import Loans
from stompy_broker.routing.interface import QueueIdentity
from stompy_broker.routing.ready_list import ReadyList
from stompy_broker.routing.replacement import makes_room, replace

log = logging.getLogger("stompy_broker.queue")

_TOLD_MESSAGES = 10_000
"""So many messages for a durable subscriber who is away are worth a line in the log."""
_PUSHED_OUT = 100
"""A message pushes out so many at most while there are more than a new limit lets be."""


class LengthLimits:
    """Bounds one queue.

    Args:
        queue: it.
        ready: the messages of the queue.
        accounts: of the queue.
        discards: of the queue.
        counts: of the queue.
        consumers: of the queue.
        loans: of the broker.

    Attributes:
        bounded: whether there is anything to ask about a message that comes in.
    """

    __slots__ = (
        "_accounts",
        "_consumers",
        "_counts",
        "_discards",
        "_loans",
        "_policy",
        "_queue",
        "_ready",
        "_shrinks",
        "_told_of",
        "bounded",
    )

    def __init__(
        self,
        queue: QueueIdentity,
        ready: ReadyList,
        accounts: Accounts,
        discards: Discards,
        counts: Counts,
        consumers: dict[Consumer, None],
        loans: Loans,
    ) -> None:
        self._queue = queue
        self._policy = queue.policy
        self.bounded = queue.is_special
        self._ready = ready
        self._accounts = accounts
        self._discards = discards
        self._counts = counts
        self._consumers = consumers
        self._loans = loans
        self._told_of = _TOLD_MESSAGES
        self._shrinks = False  # to a new limit, below what was waiting already

    def renew_policy(self) -> None:
        """Go by the policy that the queue has now."""
        self._policy = self._queue.policy
        self.bounded = self._queue.is_special
        self._shrinks = self._exceeded(0)

    def refusal(
        self, count: int, before: int, message: Message | None = None
    ) -> ProtocolError | None:
        """Why so many more messages would be refused; None: they would not.

        Args:
            count: how many.
            before: how many bytes all but the last of them have.
            message: the one that comes, if it is known; it may have another one go.
        """
        if self._policy.refuses and not self._queue.private and self._exceeded(count, before):
            if message is not None and makes_room(message, self._ready):
                return None
            more = "no more" if count == 1 else f"not {count} more at once"
            return ProtocolError(
                ErrorCode.QUEUE_FULL,
                f"{self._queue.destination} holds {self._ready.ready} messages and takes {more}",
            )
        return None

    def make_room(self, message: Message) -> bool:
        """Apply the policy to a message that comes in; false if it was turned away."""
        policy, queue = self._policy, self._queue
        if queue.aware and not is_wanted(message, self._consumers):
            return False
        if policy.message_ttl:
            expires = message.received_at + policy.message_ttl
            message.expires = min(message.expires or expires, expires)
        if self._ready.values is not None:
            replace(message, self._ready, self._discards)
        if queue.private or not self._exceeded(1):
            return True
        if policy.overflow == "drop-head":
            if queue.durable and not self._counts.dropped:
                log.warning("%s: its backlog is full; the oldest messages go", queue.destination)
            most = _PUSHED_OUT if self._shrinks else self._ready.ready
            while most and self._ready.ready and self._exceeded(1):
                self._discards.give_up(self._ready.pop(), "maxlen")
                most -= 1
            self._shrinks = self._shrinks and self._exceeded(1)
            return True
        if policy.overflow == "reject-publish-dlx":
            self._discards.turn_away(message, "maxlen")
            return False
        return True

    def _exceeded(self, more: int, before: int = 0) -> bool:
        staying = self._accounts.bytes - self._discards.leaving.bytes
        return self._policy.exceeded(self._ready.ready + more, staying + before)

    # -- backlogs ---------------------------------------------------------------------------

    def consumer_came(self) -> None:
        """Tell again of a backlog that grows, once its subscriber has gone again."""
        self._told_of = _TOLD_MESSAGES

    def watch_backlog(self) -> None:
        """Say how many wait for a durable subscriber who is away; bound other backlogs."""
        queue = self._queue
        if queue.private:
            self._bound_backlog()
        elif queue.volatile:
            self._bound_replies()
        elif self._ready.ready >= self._told_of and not self._consumers:
            self._told_of = 2 * self._ready.ready
            log.warning(
                "%s: %d messages, %d MiB, wait for its subscriber, who is away",
                queue.destination,
                self._ready.ready,
                self._accounts.bytes // 2**20,
            )

    def _bound_backlog(self) -> None:
        """Keep a topic subscriber's backlog within its limits."""
        policy, loans, ready, accounts = self._policy, self._loans, self._ready, self._accounts
        most: float = policy.backlog_bytes
        if loans.full:
            most = min(most, loans.share)
        while ready.ready > policy.backlog_messages or accounts.bytes > most:
            if policy.backlog_overflow == "disconnect" and self._consumers:
                self._cut_off(
                    f"the subscription to {self._queue.destination} does not keep up: "
                    f"{ready.ready} messages wait for it",
                )
                return
            if not ready.ready:
                return
            self._discards.drop(ready.pop(), "maxlen")

    def _bound_replies(self) -> None:
        """Cut off who has replies sent to a temporary queue and does not take them."""
        loans, size = self._loans, self._accounts.bytes
        if loans.full and size > loans.share and self._consumers:
            self._cut_off(
                f"clients hold all the memory they may, and {size} bytes wait in "
                f"{self._queue.destination}",
            )

    def _cut_off(self, why: str) -> None:
        reason = ProtocolError(ErrorCode.SLOW_CONSUMER, why)
        for consumer in tuple(self._consumers):
            consumer.fail(reason)
