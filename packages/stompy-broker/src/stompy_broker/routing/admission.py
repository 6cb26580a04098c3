"""Messages that are put into queues together: each queue is asked for all of its own at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.names import Destination, DestinationKind
from stompy_broker.message import OVERHEAD, MessageHead
from stompy_broker.routing.answers import Done, when_all
from stompy_broker.routing.interface import Queue
from stompy_broker.routing.router import Router

MOST_AT_ONCE = 1_000_000
"""Messages that one COMMIT may put into queues and take out. It is one change, in which nobody
else is served; so many take about a second."""


@dataclass(slots=True)
class _Share:
    """What one queue is to take: bytes without and with the last message."""

    count: int = 0
    before: int = 0
    bytes: int = 0


class Admission:
    """Asks for all that a COMMIT puts into queues.

    Args:
        router: knows the queues.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        self._shares: dict[Queue, _Share] = {}
        self._new: dict[str, _Share] = {}  # for queues that there are not yet, by name
        self._moves = 0  # messages that it puts into queues and takes out
        self._retained: list[tuple[str, int, int]] = []  # what topics are to keep
        self._topic: tuple[Destination, MessageHead] | None = None  # one of those that persist
        self._questions: list[Callable[[Done], None]] = []

    def add(self, destination: Destination, head: MessageHead, size: int) -> None:
        """Add one more message, of so many bytes of headers and body.

        Raises:
            ProtocolError: it would be refused by itself.
        """
        router = self._router
        is_topic = destination.kind is DestinationKind.TOPIC
        self._moves += len(router.topics.match(destination.name)) if is_topic else 1
        if is_topic and head.persistent:
            self._topic = (destination, head)
        if is_topic and head.traits.retains:
            block = len(head.block)
            self._retained.append((destination.name, block, size - block))
        shares = [
            self._shares.setdefault(queue, _Share())
            for queue in router.admitting(destination, head, size - len(head.block))
        ]
        if destination.kind is DestinationKind.QUEUE and not shares:
            shares.append(self._new.setdefault(destination.name, _Share()))
        for share in shares:
            share.count += 1
            share.before = share.bytes
            share.bytes += size + OVERHEAD

    def settle(self, count: int) -> None:
        """Count deliveries that are settled in the same change."""
        self._moves += count

    def free(self, queue: Queue, size: int) -> None:
        """Count bytes that leave a queue in the same change."""
        share = self._shares.setdefault(queue, _Share())
        share.before -= size
        share.bytes -= size

    def ask_first(self, question: Callable[[Done], None]) -> None:
        """Add a question of somebody else, whose answer is waited for as well."""
        self._questions.append(question)

    def ask(self, done: Done) -> None:
        """Whether each queue would take all that is for it.

        Args:
            done: takes the answer of all of them as one.

        Raises:
            ProtocolError: it is too much for one change, or for queues that there are not yet.
        """
        if self._moves > MOST_AT_ONCE:
            raise ProtocolError(
                ErrorCode.LIMIT_EXCEEDED,
                f"the transaction would deliver or settle {self._moves} messages at once, with "
                f"each subscription to a topic counted; {MOST_AT_ONCE} are the limit",
            )
        asked = [(queue, share) for queue, share in self._shares.items() if share.count]
        part_done = when_all(len(asked) + len(self._questions) + 2, done)
        for question in self._questions:
            question(part_done)
        for queue, share in asked:
            queue.admit(share.count, share.before, part_done)
        self._check_new()
        if len(self._retained) > 1:
            self._router.retained_messages.check(self._retained)
        if self._topic is None:
            part_done()
        else:
            self._router.when_directed(*self._topic, part_done)
        part_done()

    def _check_new(self) -> None:
        for more, (name, share) in enumerate(self._new.items()):
            self._router.registry.table.check_room(more)
            policy = self._router.policies.find(DestinationKind.QUEUE, name)
            if policy.refuses and policy.exceeded(share.count, share.before):
                raise ProtocolError(
                    ErrorCode.QUEUE_FULL, f"/queue/{name} takes not {share.count} messages at once"
                )
