"""Which groups of queues a transaction has to do with, in a broker that has several.

What is told to the queues of one group within one turn is one change, so COMMIT is one as long as
everything in it is of one group. Beyond that it takes stores that can write together
(`QueueGroups.together`). Where they cannot, the frame that names a second group is refused, and not
the COMMIT, so that an application sees which frame it was.

* A queue with a name is of its group, also for messages that are not persistent: all of them, or
  none, are refused by a queue that is full.
* A topic is of the groups of its durable subscriptions. They are looked at again at COMMIT.
* What ends with a connection is of no group: temporary queues and those of replies, and what other
  subscribers of topics get. It never outlives anything that it could be torn from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.names import Destination, DestinationKind
from stompy_broker.routing.answers import Done, when_all
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.interface import Queue
from stompy_broker.routing.router import Router


def span_maker(router: Router) -> Callable[[str], TransactionSpan] | None:
    """What makes the span of a transaction with an id; None where all queues are of one group."""
    if len(router.groups.every) == 1:
        return None
    return lambda transaction_id: TransactionSpan(transaction_id, router)


class TransactionSpan:
    """What one transaction has to do with so far.

    Args:
        transaction_id: the client's name for it.
        router: knows the groups.
    """

    def __init__(self, transaction_id: str, router: Router) -> None:
        self._id = transaction_id
        self._router = router
        self._groups: dict[QueueGroup, str] = {}  # with the first destination of each
        self._topics: dict[str, str] = {}
        self._queues: dict[Queue, None] = {}  # that deliveries came from
        self._names: dict[str, None] = {}  # of queues that are sent to

    def add_send(self, destination: Destination) -> None:
        """Add where a SEND goes.

        Raises:
            ProtocolError: it may not be in this transaction.
        """
        if destination.kind is DestinationKind.QUEUE:
            self._add([self._router.groups.of(destination.name)], str(destination))
            self._names[destination.name] = None
        elif destination.kind is DestinationKind.TOPIC:
            self._topics[destination.name] = str(destination)
            self._add_topic(destination.name, str(destination))

    def add_settlement(self, queue: Queue) -> None:
        """Add the queue of a delivery that is settled.

        Raises:
            ProtocolError: it may not be in this transaction.
        """
        if not queue.volatile:
            self._add([queue.group], queue.destination)
            self._queues[queue] = None

    def begin_commit(self) -> bool:
        """Have all that is told from now on, within this turn, be one change.

        Returns:
            False: its groups have several owners, so that it takes `spread`.

        Raises:
            ProtocolError: it cannot be any more: somebody has subscribed durably meanwhile, or
                queues have gone elsewhere.
        """
        for name, destination in self._topics.items():
            self._add_topic(name, destination)
        groups, together = list(self._groups), self._router.groups.together
        if len(groups) > 1 and together is not None:
            self._check(groups, self._groups[groups[-1]])
            if together.hindrance(groups):
                return False
            together.begin(groups)
        return True

    def spread(self, tell: Callable[[Done], None], done: Done) -> None:
        """Have all that ``tell`` tells queues be one change of groups of several owners.

        Args:
            tell: tells it, within this call; takes what to call when it is safe.
            done: called when all of it is safe, or if nothing of it was carried out.

        Raises:
            ProtocolError: something in it is refused at once.
        """
        router = self._router
        assert router.spread is not None, "checked before"
        queues = [*self._queues, *(router.queue(name, capped=False) for name in self._names)]
        for name in self._topics:
            queues += router.topics.durables(name)
        # What is no part of the change is done by itself, but not before the change is.
        part_done = when_all(2, done)
        router.spread.commit(queues, lambda: tell(part_done), part_done)

    def _add_topic(self, name: str, destination: str) -> None:
        durables = self._router.topics.durables(name)
        self._add((queue.group for queue in durables), destination)

    def _add(self, more: Iterable[QueueGroup], destination: str) -> None:
        for group in more:
            if group in self._groups:
                continue
            if self._groups:
                self._check([*self._groups, group], destination)
            self._groups[group] = destination

    def _check(self, groups: list[QueueGroup], destination: str) -> None:
        """Refuse the last of these groups if not all of them can be in one change."""
        together = self._router.groups.together
        reason = (
            "this broker makes no change of several groups at once"
            if together is None
            else together.hindrance(groups)
        )
        if reason and self._router.spread is not None:
            reason = self._router.spread.hindrance(groups)
        if reason:
            first, last = groups[0], groups[-1]
            raise ProtocolError(
                ErrorCode.TRANSACTION_SPANS_GROUPS,
                f"transaction {self._id[:60]!r} has to do with {self._groups[first]} in group "
                f"{first.number}, and {destination} is in group {last.number}: {reason}. "
                "[[cluster.group]] in the configuration puts both into one group",
            )
