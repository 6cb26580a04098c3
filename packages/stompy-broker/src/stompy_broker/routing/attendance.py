"""Who consumes from a queue, who else may, and what it means that the last one leaves."""

from __future__ import annotations

from dataclasses import replace

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.names import BACKLOG
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.interface import Close, QueueIdentity
from stompy_broker.routing.settings import QueueSettings


class Attendance:
    """The consumers of one queue.

    Args:
        queue: it.
        now: the time.

    Attributes:
        consumers: they, in the order in which they came.
        idle_since: since when nobody takes part, on the clock; None while somebody does.
    """

    __slots__ = ("_holder", "_queue", "consumers", "idle_since")

    def __init__(self, queue: QueueIdentity, now: float) -> None:
        self._queue = queue
        self._holder = ""  # the connection that has the queue for itself
        self.consumers: dict[Consumer, None] = {}
        self.idle_since: float | None = now

    def refusal(self, consumer: Consumer) -> ProtocolError | None:
        """Why a consumer may not take part; None = it may."""
        identity, holder = self._queue, consumer.terms.holder
        if identity.exclusive and self.consumers:
            name = identity.name.removeprefix(BACKLOG)
            return ProtocolError(
                ErrorCode.SUBSCRIPTION_IN_USE,
                f"the durable subscription {name!r} has a subscriber",
            )
        if holder == self._holder or not (self._holder or self.consumers):
            return None
        words = f"{identity.destination} is for another connection alone"
        if not self._holder:
            words = f"{identity.destination} cannot be for one connection alone: it has consumers"
        return ProtocolError(ErrorCode.ACCESS_REFUSED, words)

    def come(self, consumer: Consumer, settings: QueueSettings) -> QueueSettings:
        """Let a consumer take part; gives the settings of the queue from then on."""
        self.consumers[consumer] = None
        self.idle_since = None
        self._holder = consumer.terms.holder or self._holder
        if not self._holder or settings.exclusive or self._queue.volatile:
            return settings
        return replace(settings, exclusive=True)

    def go(self, consumer: Consumer, now: float) -> bool:
        """Let a consumer go; say whether it was the last one."""
        was_here = consumer in self.consumers
        self.consumers.pop(consumer, None)
        if self.consumers:
            return False
        self.idle_since = now
        return was_here

    def ends(self, settings: QueueSettings, *, lost: bool) -> bool:
        """Whether the queue ends when its last consumer leaves.

        Args:
            settings: of the queue.
            lost: whether the connection of that consumer was lost.
        """
        if self._queue.volatile:
            return False  # its connection ends it
        passes = self._queue.policy.auto_delete and not settings.created
        return passes or (lost and settings.exclusive)

    def stays(self, order: Close, in_use: bool, now: float) -> bool:
        """Whether the queue does not end as it is ordered, because it is or was in use."""
        if order.unused is None:
            return False
        since = self.idle_since
        return (order.messages and in_use) or since is None or since + order.unused > now
