"""The queues that one connection has for itself: they end with it."""

from __future__ import annotations

from collections.abc import Mapping

from stompy_broker.destinations.names import DestinationKind
from stompy_broker.routing.interface import Queue
from stompy_broker.session.context import BrokerContext
from stompy_broker.session.header_values import boolean
from stompy_broker.session.subscribe_request import SubscribeRequest


def asks_for_itself(headers: Mapping[str, str]) -> bool:
    """Whether a SUBSCRIBE wants a queue for its connection alone.

    Raises:
        ProtocolError: it says neither yes nor no.
    """
    text = headers.get("exclusive", "")
    return bool(text) and boolean("exclusive", text)


class ExclusiveQueues:
    """What a connection has for itself; there is one when it has asked for the first time.

    Args:
        context: what sessions share.
    """

    def __init__(self, context: BrokerContext) -> None:
        self._registry = context.router.registry
        self._token = context.new_token()
        self._queues: dict[str, Queue] = {}

    def on_terms(self, request: SubscribeRequest) -> SubscribeRequest:
        """Have a SUBSCRIBE tell its queue who subscribes, if that matters to the queue."""
        name = request.headers.get("x-queue-name", "")
        if request.destination.kind is DestinationKind.QUEUE:
            name = request.destination.name
        if not name or not (name in self._queues or asks_for_itself(request.headers)):
            return request
        return request.with_terms(request.terms._replace(holder=self._token))

    def note(self, queue: Queue) -> None:
        """Remember a queue that has let this connection in as its only one."""
        if self._registry.queues.get(queue.name) is queue:
            self._queues[queue.name] = queue

    def close(self) -> None:
        """End all of them: the connection is gone."""
        queues, self._queues = self._queues, {}
        for queue in queues.values():
            self._registry.end_exclusive(queue)
