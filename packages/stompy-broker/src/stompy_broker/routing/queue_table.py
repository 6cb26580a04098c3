"""The named queues of a broker, and who decides about each: this broker, or another one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from stompy.errors import ProtocolError
from stompy_broker.routing.answers import nobody_asks
from stompy_broker.routing.caps import Caps
from stompy_broker.routing.group import QueueGroup, QueueGroups
from stompy_broker.routing.interface import Close, Outcome, Queue
from stompy_broker.routing.others import OtherBrokers
from stompy_broker.routing.queue_patterns import QueuePatterns
from stompy_broker.routing.stats import Totals
from stompy_broker.routing.user_storage import StorageBook

_END = Close()

_TRUE = frozenset(("true", "1", "yes"))


class QueueTable:
    """The queues of one broker by name.

    Args:
        groups: which queues belong together.

    Attributes:
        queues: named queues, with the backlogs of durable subscriptions.
        gone: counters of queues and backlogs that have ended.
        groups: which queues belong together.
        caps: how many queues there may be, and so on.
        storage: what users have in queues, and which they made; None = nobody wants to know.
        others: the other brokers of the cluster; None = there are none.
        patterns: subscriptions by a pattern of queues; None while there are none.
    """

    def __init__(self, groups: QueueGroups) -> None:
        self.queues: dict[str, Queue] = {}
        self.gone = Totals()
        self.groups = groups
        self.caps = Caps()
        self.storage: StorageBook | None = None
        self.others: OtherBrokers | None = None
        self.patterns: QueuePatterns | None = None

    def check_room(self, more: int = 0) -> None:
        """Check that there may be one queue more, beside so many that are to be made as well.

        Raises:
            ProtocolError: there are too many, or the user who is served has too many.
        """
        self.caps.check_queues(len(self.queues) + more)
        if self.storage is not None:
            self.storage.check_queues(more + 1)

    def add(self, queue: Queue, headers: Mapping[str, str] | None = None) -> None:
        """Have a queue that was made, and have it joined by those who want it by a pattern.

        Args:
            queue: it.
            headers: of the frame that wants it. One that wants it for its client alone has it so.
        """
        self.queues[queue.name] = queue
        if self.patterns is not None:
            alone = headers is not None and headers.get("exclusive", "").lower() in _TRUE
            if not alone:
                self.patterns.made(queue)

    def left(self, queue: Queue) -> None:
        """Have a queue left that has ended."""
        if self.patterns is not None:
            self.patterns.ended(queue)
        if self.storage is not None:
            self.storage.ended(queue.name)

    def elsewhere(self, group: QueueGroup) -> OtherBrokers | None:
        """Those who decide what queues a group has, and tell this broker; None = it decides."""
        others = self.others
        return None if others is None or others.is_here(group) else others

    def close(
        self,
        queue: Queue,
        done: Callable[[Outcome], None] = nobody_asks,
        order: Close = _END,
        forget: Callable[[int], None] = nobody_asks,
    ) -> None:
        """Have a queue end, and count what it has counted; forget it if it does end.

        Args:
            queue: it.
            done: takes how many messages waited in it, or why it does not end.
            order: when it is to.
            forget: called before, with that number, if it ends.
        """

        def ended(outcome: Outcome) -> None:
            if not isinstance(outcome, ProtocolError):
                if self.elsewhere(queue.group) is None:  # else its owner counts
                    queue.stats(self.gone.add)
                forget(outcome)
            done(outcome)

        queue.control(order, ended)
