"""The temporary queues of one connection: its own, and gone with it."""

from __future__ import annotations

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destination import Kind
from stompy_broker.routing.queue import Queue
from stompy_broker.session.lobby import Lobby


class TemporaryQueues:
    """Makes them when they are first named.

    Args:
        lobby: where the router is.
    """

    def __init__(self, lobby: Lobby) -> None:
        self._router = lobby.router
        self._most = lobby.settings.max_temporary_queues
        self._new_token = lobby.new_token
        self._queues: dict[str, Queue] = {}

    def own(self, name: str) -> Queue:
        """The queue of that name, made if need be.

        Raises:
            ProtocolError: the connection has as many as it may have, or the name is too long.
        """
        queue = self._queues.get(name)
        if queue is None:
            if len(self._queues) >= self._most:
                raise ProtocolError(
                    ErrorCode.LIMIT_EXCEEDED,
                    f"{len(self._queues)} temporary queues on one connection are the limit "
                    "(limits.temporary_queues)",
                )
            self._router.caps.check_name(name)
            destination = f"{Kind.TEMPORARY.value}{name}"
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

    def close(self) -> None:
        """The connection is gone."""
        for queue in self._queues.values():
            self._router.close_temporary_queue(queue)
        self._queues.clear()
