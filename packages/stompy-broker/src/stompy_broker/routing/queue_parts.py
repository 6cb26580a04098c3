"""What a local queue is made of, put together."""

from __future__ import annotations

from collections.abc import Callable

from stompy_broker.routing.attendance import Attendance
from stompy_broker.routing.batching import BatchedWork
from stompy_broker.routing.bookkeeping import keep_accounts
from stompy_broker.routing.consumer_line import ConsumerLine
from stompy_broker.routing.counts import Counts
from stompy_broker.routing.discards import Discards
from stompy_broker.routing.expiry import Expiry
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.interface import QueueIdentity
from stompy_broker.routing.length_limits import LengthLimits
from stompy_broker.routing.paging import BodyReader
from stompy_broker.routing.ready_list import ReadyList
from stompy_broker.routing.redelivery import Delays, Requeue
from stompy_broker.routing.returns import Returns
from stompy_broker.routing.services import Services


class QueueParts:
    """The parts of one queue, which takes them from here.

    Args:
        identity: of the queue.
        services: of the broker.
        group: of the queue.
        hand_out: called when messages may be delivered again.

    Attributes:
        ready: the messages that wait.
        attendance: who takes part.
        line: who waits for a message.
        batches: work on very many messages.
        counts: what it counts seldom.
        own: makes its producers wait; None = nothing of its own does.
        reader: reads bodies.
        accounts: what its messages cost.
        expiry: when to look for messages that end.
        delays: messages that wait for their time.
        discards: the way out.
        requeue: the way back.
        returns: the way back of very many.
        limits: of its length.
    """

    __slots__ = (
        "_hand_out",
        "accounts",
        "attendance",
        "batches",
        "counts",
        "delays",
        "discards",
        "expiry",
        "limits",
        "line",
        "own",
        "reader",
        "ready",
        "requeue",
        "returns",
    )

    def __init__(
        self,
        identity: QueueIdentity,
        services: Services,
        group: QueueGroup,
        hand_out: Callable[[], None],
    ) -> None:
        clock, wall = services.clock, services.wall
        policy, volatile = identity.policy, identity.volatile
        self.ready = ready = ReadyList()
        self.attendance = Attendance(identity, clock.now())
        self.line = line = ConsumerLine()
        self.batches = batches = BatchedWork(services.work_budget)
        self.counts = counts = Counts()
        # Where what waits is added up. Only one client can empty what is volatile.
        memory: Watermark = services.loans if volatile else services.memory
        services.loans.holders += volatile
        bounded = policy.max_bytes and not identity.private
        self.own = Watermark(policy.max_bytes) if bounded else None
        self._hand_out = hand_out
        self.reader = reader = BodyReader(memory, group.store, self._have_read)
        self.accounts = accounts = keep_accounts(
            identity, services, group, memory, self.own, reader, self.attendance.consumers
        )
        self.expiry = expiry = Expiry(clock, wall, self._expire, all_end=bool(policy.message_ttl))
        self.delays = delays = Delays(ready, clock, hand_out)
        self.discards = discards = Discards(
            identity, services, group, accounts, reader, counts, delays.delay
        )
        self.requeue = requeue = Requeue(identity, wall, ready, accounts, delays, expiry, discards)
        self.returns = Returns(batches, line, accounts, requeue, delays.go_on)
        self.limits = LengthLimits(
            identity, ready, accounts, discards, counts, self.attendance.consumers, services.loans
        )

    def _have_read(self, lost: set[int]) -> None:
        """Go on with bodies that were read from disk."""
        self.discards.lose_some(lost, self.ready)
        self._hand_out()

    def _expire(self) -> None:
        """Give up everything whose time is over, wherever it waits."""
        self.batches.do(self.expiry.take_out(self.ready), self.discards.expire)
