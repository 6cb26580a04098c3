"""A subscription to several queues and topics at once, by name or by pattern."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.lasting import NAME_HEADERS
from stompy_broker.destinations.names import Destination, DestinationKind
from stompy_broker.destinations.policy import ARGUMENTS
from stompy_broker.routing.interface import Queue
from stompy_broker.routing.joined_queues import JoinedQueues
from stompy_broker.routing.queue_patterns import (
    MOST_JOINED,
    QueuePattern,
    QueuePatterns,
    too_many,
)
from stompy_broker.session.context import BrokerContext, ClientState
from stompy_broker.session.header_values import boolean
from stompy_broker.session.subscribe_request import SubscribeRequest

_OF_ONE = (*NAME_HEADERS, "x-queue-name", "share")
"""Headers that name the queue of one topic, ..."""
_KEEPING = ("durable", "persistent")
"""... and those that keep it."""

Find = Callable[[SubscribeRequest, Callable[[Queue | ProtocolError], None]], None]


class JoinedSources:
    """Finds, for one client, the queues of a subscription that has several.

    Args:
        context: what sessions share.
        client: who subscribes.
    """

    def __init__(self, context: BrokerContext, client: ClientState) -> None:
        self._router = context.router
        self._registry = context.router.registry
        self._next_number = context.next_number
        self._leaving = context.leaving  # who comes to thousands of queues takes as long as them
        self._client = client

    def find(self, request: SubscribeRequest, find_one: Find) -> JoinedQueues:
        """Find all queues that a subscription takes from, as one.

        Args:
            request: what is asked for.
            find_one: finds the queue of one destination.

        Raises:
            ProtocolError: one of them may not be had, or a header does not fit.
        """
        parts = request.parts or (request.destination,)
        patterns = [part for part in parts if part.is_pattern_of_queues]
        _check_headers(request, patterns)
        # All that may be refused comes before anything is made for this client alone.
        by_pattern = [queue for part in patterns for queue in self._matching(part)]
        if len(by_pattern) > MOST_JOINED:
            raise too_many(patterns[0].name)
        found: list[Queue] = []

        def take(queue: Queue | ProtocolError) -> None:
            if isinstance(queue, ProtocolError):
                raise queue
            found.append(queue)

        try:
            for part in parts:
                if not part.is_pattern_of_queues:
                    find_one(replace(request, destination=part, parts=()), take)
        except ProtocolError:
            for queue in found:
                if queue.private:
                    self._registry.unsubscribe_topic(queue)
            raise
        joined = JoinedQueues(
            request.headers["destination"],
            found,
            by_pattern,
            self._router.work_budget,
            self._next_number,
            self._leaving.add,
        )
        for part in patterns:
            self._watch(part, joined)
        return joined

    def _matching(self, part: Destination) -> list[Queue]:
        registry, pattern = self._registry, QueuePattern(part.name)
        names = dict.fromkeys(registry.queues)
        others = registry.table.others
        if others is not None:
            names |= dict.fromkeys(others.queue_names())
        # A stream is read from somewhere, and by name.
        fitting = [name for name in pattern.matching(names) if not self._is_stream(name)]
        if len(fitting) > MOST_JOINED:
            raise too_many(part.name)
        if not self._client.permissions.is_open:
            for name in fitting:
                # What is given up elsewhere, and comes here, may be for others.
                self._client.permissions.check_receive(_queue(name), {})
        queues = registry.queues
        return [queues.get(name) or registry.queue(name, capped=False) for name in fitting]

    def _is_stream(self, name: str) -> bool:
        queue = self._registry.queues.get(name)
        return queue is not None and queue.policy.is_stream

    def _watch(self, part: Destination, joined: JoinedQueues) -> None:
        table = self._registry.table
        if table.patterns is None:
            table.patterns = QueuePatterns()
        table.patterns.add(QueuePattern(part.name), joined, self._admits)

    def _admits(self, queue: Queue) -> bool:
        if queue.policy.is_stream:
            return False
        try:
            self._client.permissions.check_receive(_queue(queue.name), {})
        except ProtocolError:
            return False
        return True

    def leave(self, joined: JoinedQueues) -> None:
        """Have no more queues joined: the subscription has ended."""
        joined.release()
        table = self._registry.table
        if table.patterns is not None:
            table.patterns.remove(joined)
            if not table.patterns:
                table.patterns = None


def _queue(name: str) -> Destination:
    return Destination(DestinationKind.QUEUE, name, is_pattern=False)


def _check_headers(request: SubscribeRequest, patterns: list[Destination]) -> None:
    """Refuse headers that are about one queue.

    Raises:
        ProtocolError: there is one.
    """
    headers = request.headers
    named = next((name for name in _OF_ONE if headers.get(name)), None)
    if any(part.kind is DestinationKind.TOPIC for part in request.parts):
        asked = (name for name in _KEEPING if boolean(name, headers.get(name) or "false"))
        named = named or next(asked, None)
    if boolean("exclusive", headers.get("exclusive") or "false"):
        named = "exclusive"
    if named is not None:
        raise ProtocolError(
            ErrorCode.NOT_SUPPORTED,
            f"header {named!r} is about one queue or topic, and this SUBSCRIBE is to several",
        )
    argument = next((name for name in headers if name in ARGUMENTS), None)
    if patterns and argument is not None:
        raise ProtocolError(
            ErrorCode.BAD_HEADER,
            f"{str(patterns[0])[:200]!r} is no queue that {argument!r} sets up",
        )
