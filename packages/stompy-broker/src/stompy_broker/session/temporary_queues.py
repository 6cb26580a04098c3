"""The temporary queues of one connection: its own, and gone with it, or before.

An empty one to which nobody subscribes any more goes at once, unless its address was given to
others for replies: those may still come. When there are as many as there may be, such ones go as
well if nothing came for a while.
"""

from __future__ import annotations

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.names import DestinationKind
from stompy_broker.routing.answers import Done
from stompy_broker.routing.interface import Outcome, Queue, QueueFigures
from stompy_broker.session.context import BrokerContext

_PREFIX = DestinationKind.TEMPORARY.value

_KEPT_SECONDS = 60.0
"""Seconds that an address is kept without subscriber, at least."""


class TemporaryQueues:
    """Makes the temporary queues of a connection when they are first named, and ends them.

    Args:
        context: where the router is.
    """

    def __init__(self, context: BrokerContext) -> None:
        self._router = context.router
        self._registry = context.router.registry
        self._most = context.settings.max_temporary_queues
        self._new_token = context.new_token
        self._queues: dict[str, Queue] = {}
        self._addresses: dict[str, None] = {}  # those that others may send to

    def own(self, name: str) -> Queue:
        """Give the queue of that name, made if need be.

        Raises:
            ProtocolError: the connection has as many as it may have, or the name is too long.
        """
        queue = self._queues.get(name)
        if queue is None:
            if len(self._queues) >= self._most:
                self._make_room()
            if len(self._queues) >= self._most:
                raise ProtocolError(
                    ErrorCode.LIMIT_EXCEEDED,
                    f"{len(self._queues)} temporary queues on one connection are the limit "
                    "(limits.temporary_queues)",
                )
            self._router.caps.check_name(name)
            destination = f"{_PREFIX}{name}"
            queue = self._registry.temporary_queue(destination, self._new_token())
            self._queues[name] = queue
        return queue

    def check_room(self, name: str, done: Done) -> None:
        """Refuse to fill the broker with what only the sender could take out again.

        Held until there is room, it could never do that.

        Args:
            name: of the queue.
            done: takes the answer: the broker may be full, and this queue part of the reason.

        Raises:
            ProtocolError: as for `own`.
        """
        own, loans = self.own(name), self._router.loans
        if not loans.full:
            done()
            return

        def judge(figures: QueueFigures) -> None:
            if not loans.full or figures.bytes <= loans.share:
                done()
                return
            done(
                ProtocolError(
                    ErrorCode.LIMIT_EXCEEDED,
                    "clients hold all the memory they may (half of limits.memory), and "
                    f"{figures.bytes} bytes of it wait in {own.destination!r}",
                )
            )

        own.stats(judge)

    def give_address(self, name: str) -> None:
        """Keep the queue of that name: others may send to it from now on."""
        self._addresses[name] = None

    def leave(self, queue: Queue) -> None:
        """End one of these queues, if nobody needs it: a subscription to it has ended."""
        name = queue.destination.removeprefix(_PREFIX)
        if self._queues.get(name) is queue and name not in self._addresses:
            self._end(name, queue, 0.0)

    def _make_room(self) -> None:
        for name, queue in list(self._queues.items()):
            self._end(name, queue, _KEPT_SECONDS)

    def _end(self, name: str, queue: Queue, unused: float) -> None:
        def ended(outcome: Outcome) -> None:
            if not isinstance(outcome, ProtocolError) and self._queues.get(name) is queue:
                self._addresses.pop(name, None)
                del self._queues[name]
                self._forget_requests(queue)

        self._registry.close_temporary_queue(queue, ended, unused=unused)

    def close(self) -> None:
        """End all of them: the connection is gone."""
        queues, self._queues = self._queues, {}
        for name, queue in queues.items():
            if name in self._addresses:
                self._forget_requests(queue)
            self._registry.close_temporary_queue(queue)

    def _forget_requests(self, queue: Queue) -> None:
        self._router.requests.forget(f"{DestinationKind.REPLY.value}{queue.name}")
