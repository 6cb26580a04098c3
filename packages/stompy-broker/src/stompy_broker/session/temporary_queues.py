"""The temporary queues of one connection: its own, and gone with it, or before.

An empty one to which nobody subscribes any more goes at once, unless its address was given to
others for replies: those may still come. When there are as many as there may be, such ones go as
well if nothing came for a while.
"""

from __future__ import annotations

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.names import Kind
from stompy_broker.routing.queue import LocalQueue as Queue
from stompy_broker.session.context import BrokerContext

_PREFIX = Kind.TEMPORARY.value

_PATIENCE = 60.0
"""Seconds that an address is kept without subscriber, at least."""


class TemporaryQueues:
    """Makes the temporary queues of a connection when they are first named, and ends them.

    Args:
        context: where the router is.
    """

    def __init__(self, context: BrokerContext) -> None:
        self._router = context.router
        self._most = context.settings.max_temporary_queues
        self._new_token = context.new_token
        self._queues: dict[str, Queue] = {}
        self._addresses: set[str] = set()  # those that others may send to

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
            queue = self._router.temporary_queue(destination, self._new_token())
            self._queues[name] = queue
        return queue

    def check_room(self, name: str) -> None:
        """Refuse to fill the broker with what only the sender could take out again.

        Held until there is room, it could never do that.

        Raises:
            ProtocolError: the broker is full, and this temporary queue is part of the reason.
        """
        own = self.own(name)
        loans = self._router.loans
        if loans.full and own.bytes > loans.share:
            raise ProtocolError(
                ErrorCode.LIMIT_EXCEEDED,
                "clients hold all the memory they may (half of limits.memory), and "
                f"{own.bytes} bytes of it wait in {own.destination!r}",
            )

    def give_address(self, name: str) -> None:
        """Note that others may send to the queue of that name from now on."""
        self._addresses.add(name)

    def leave(self, queue: Queue) -> None:
        """End a queue to which nobody subscribes any more, if it is one of these."""
        name = queue.destination.removeprefix(_PREFIX)
        if self._queues.get(name) is queue and name not in self._addresses and not queue.in_use:
            self._end(name)

    def _make_room(self) -> None:
        before = self._router.clock.now() - _PATIENCE
        for name, queue in list(self._queues.items()):
            if not queue.in_use and queue.idle_since is not None and queue.idle_since <= before:
                self._end(name)

    def _end(self, name: str) -> None:
        self._addresses.discard(name)
        self._router.close_temporary_queue(self._queues.pop(name))

    def close(self) -> None:
        """End all of them: the connection is gone."""
        for queue in self._queues.values():
            self._router.close_temporary_queue(queue)
        self._queues.clear()
