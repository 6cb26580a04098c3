"""Where the messages of a subscription come from: the queue behind a SUBSCRIBE."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.lasting import NAME_HEADERS, QUEUE_NAME, is_lasting
from stompy_broker.destinations.names import (
    MOST_PARTS,
    Destination,
    DestinationKind,
    is_address,
    parse_destination,
    topic_text,
)
from stompy_broker.routing.answers import when_all
from stompy_broker.routing.durable import (
    DurableSubscription,
    durable_name,
    durable_subscription,
    own_queue_name,
    share_name,
)
from stompy_broker.routing.interface import Queue
from stompy_broker.routing.joined_queues import JoinedQueues, queues_of
from stompy_broker.routing.registry import Registry
from stompy_broker.security.auth import Principal
from stompy_broker.session.context import BrokerContext, ClientState
from stompy_broker.session.exclusive_queues import asks_for_itself
from stompy_broker.session.header_values import whole_number
from stompy_broker.session.joined_sources import JoinedSources
from stompy_broker.session.subscribe_request import SubscribeRequest
from stompy_broker.session.subscription import Subscription
from stompy_broker.session.temporary_queues import TemporaryQueues


class Sources:
    """Finds, for one client, what it subscribes to.

    Args:
        context: what sessions share.
        client: who subscribes.
        temporary: its temporary queues.
    """

    def __init__(
        self, context: BrokerContext, client: ClientState, temporary: TemporaryQueues
    ) -> None:
        self._context = context
        self._registry = context.router.registry
        self._retained = context.router.retained_messages
        self._client = client
        self._temporary = temporary
        self._joined = JoinedSources(context, client)

    def find(
        self, request: SubscribeRequest, done: Callable[[Queue | ProtocolError], None]
    ) -> None:
        """Find the queue that a subscription takes its messages from, made if need be.

        Args:
            request: what is asked for.
            done: takes the queue, or why there is none.

        Raises:
            ProtocolError: it may not be had, or a header does not fit.
        """
        if request.retained and self._retained.table.messages:
            destinations = request.parts or (request.destination,)
            self._retained.when_there(destinations, partial(self._find_or_refuse, request, done))
        else:
            self._find(request, done)

    def _find_or_refuse(
        self, request: SubscribeRequest, done: Callable[[Queue | ProtocolError], None]
    ) -> None:
        """Find the queue, now that what it is to be shown first is there."""
        if self._client.ended:
            return  # meanwhile; there is nobody to make anything for
        try:
            self._find(request, done)
        except ProtocolError as error:
            done(error)

    def _find(
        self, request: SubscribeRequest, done: Callable[[Queue | ProtocolError], None]
    ) -> None:
        destination, headers = request.destination, request.headers
        if request.parts or destination.is_pattern_of_queues:
            done(self._joined.find(request, self._find))
            return
        is_queue = destination.kind is DestinationKind.QUEUE
        durable = None
        if not is_queue or request.terms.reading is None:  # a stream's readers have names as well
            durable = durable_of(destination, headers, self._principal)
        if durable is not None:
            _check_lasts(destination)
            durable = self._choosing(durable, request)
            known = self._registry.durable.by_name.get(durable.name)
            clash = None if known is None else known.clash(durable)
            if clash is not None:
                raise clash
            self.check_durable(durable.name)
            if durable.queue_name:
                self._make_own_queue(durable, headers)
            self._registry.durable.subscribe(durable, done, retained=request.retained)
        elif destination.existing:
            self._registry.check_there(destination.name)
            done(self._registry.queue(destination.name))
        elif is_queue:
            done(self._registry.queue(destination.name, destination.setting_up(headers)))
        elif destination.kind is DestinationKind.TOPIC:
            done(self._topic(request))
        else:
            done(self._temporary.own(destination.name))

    def leave(self, source: Queue) -> None:
        """End what a subscription had to itself, or had others keep for it: it has ended."""
        for queue in queues_of(source):
            if queue.private:
                self._registry.unsubscribe_topic(queue)
            elif queue.volatile:
                self._temporary.leave(queue)
        if isinstance(source, JoinedQueues):
            self._joined.leave(source)

    def when_subscribed(self, source: Queue, done: Callable[[], None]) -> None:
        """Call ``done`` once a subscription that was begun is what it will be."""
        queues = queues_of(source)
        if len(queues) > MOST_PARTS:
            # Of a pattern, for the most part: what there is already is known everywhere.
            queues = [queue for queue in queues if queue.private]

        def told(error: ProtocolError | None = None, /) -> None:
            done()

        part_done = when_all(len(queues) + 1, told)
        for queue in queues:
            self._registry.when_subscribed(queue, part_done)
        part_done()

    def _choosing(
        self, durable: DurableSubscription, request: SubscribeRequest
    ) -> DurableSubscription:
        """The same with what it takes.

        Raises:
            ProtocolError: what it cannot be asked for.
        """
        if request.pending >= 0:
            raise ProtocolError(
                ErrorCode.NOT_SUPPORTED,
                "pending-limit is for subscriptions that end with their connection; what waits "
                "for a durable one is bounded by max_length of its [[policy]]",
            )
        if durable.shared and not durable.queue_name and asks_for_itself(request.headers):
            raise ProtocolError(
                ErrorCode.NOT_SUPPORTED,
                "exclusive is for queues, and for the one that x-queue-name names; others may "
                "share this subscription",
            )
        client_id = self._client.client_id
        if request.no_local:
            if durable.share:
                raise ProtocolError(
                    ErrorCode.NOT_SUPPORTED,
                    "no-local is not for a group that shares its messages: somebody else in it "
                    "may take what one of them sends",
                )
            if client_id is None:
                raise ProtocolError(
                    ErrorCode.MISSING_HEADER,
                    "no-local on a durable subscription needs a 'client-id' header in CONNECT: "
                    "it outlives this connection",
                )
        if durable.share:
            return durable  # its members choose for themselves
        selector = "" if request.selector is None else request.selector.text
        not_from = client_id if request.no_local else None
        return replace(durable, selector=selector, not_from=not_from or "")

    def _topic(self, request: SubscribeRequest) -> Queue:
        """Make the backlog of a subscription that ends with its connection."""
        not_from = ""
        if request.no_local:
            self._client.name_sender()
            not_from = self._client.key
        name, selector = request.destination.name, request.selector
        kept = self._retained.for_subscriber(name, selector) if request.retained else []
        queue = self._registry.subscribe_topic(
            name, selector, not_from=not_from, pending=request.pending, first=kept
        )
        self._retained.show(kept, queue)
        return queue

    def check_durable(self, name: str) -> None:
        """Check that a durable subscription of that name, if there is one, is the client's.

        Raises:
            ProtocolError: it belongs to somebody else, or the client may not receive its topics.
        """
        known = self._registry.durable.by_name.get(name)
        if known is None:
            return
        if not known.is_for(self._principal.owner):
            raise ProtocolError(
                ErrorCode.ACCESS_REFUSED,
                f"the durable subscription {name[:200]!r} belongs to another user; "
                "choose another name, id or client-id",
            )
        for topics in known.topics:
            self._client.permissions.check_receive(topics, {})
        self._context.active_subscribers.take_over(known.queue, self._client)

    def _make_own_queue(self, wanted: DurableSubscription, headers: Mapping[str, str]) -> None:
        """Make the queue that a SUBSCRIBE to topics names, unless it is there.

        With its messages it is somebody's already, so that the client has to be allowed to have
        them.

        Raises:
            ProtocolError: the client may not, or an argument cannot be.
        """
        queue = Destination(DestinationKind.QUEUE, wanted.queue_name, is_pattern=False)
        permissions, registry = self._client.permissions, self._registry
        permissions.check_set_up(queue, headers)
        if wanted.name not in registry.durable.by_name:
            registry.table.caps.check_durables(len(registry.durable.by_name))
            if registry.has_queue(queue.name):
                permissions.check_receive(queue, {})
        ends = {"auto-delete": "true"} if wanted.auto_delete else {"auto-delete": "false"}
        stored = {"durable": headers.get("durable") or "false"} if wanted.auto_delete else {}
        registry.table.caps.check_name(queue.name, "x-queue-name")
        registry.queue(queue.name, {**headers, "durable": "true", **stored, **ends})

    @property
    def _principal(self) -> Principal:
        principal = self._client.principal
        assert principal is not None
        return principal


def durable_of(
    destination: Destination, headers: Mapping[str, str], principal: Principal
) -> DurableSubscription | None:
    """The durable subscription that a SUBSCRIBE asks for; None if nothing durable.

    Raises:
        ProtocolError: a header does not fit.
    """
    if destination.kind is not DestinationKind.TOPIC:
        if any(headers.get(name) for name in NAME_HEADERS):
            kept = destination.kind is DestinationKind.QUEUE
            raise ProtocolError(
                ErrorCode.BAD_HEADER,
                "a durable subscription is for topics; "
                + ("queues are durable" if kept else "what is temporary ends with its connection"),
            )
        if headers.get(QUEUE_NAME, "") not in ("", destination.name):
            raise ProtocolError(
                ErrorCode.BAD_HEADER,
                f"{QUEUE_NAME} {headers[QUEUE_NAME][:60]!r} is another name for {destination}",
            )
        return None
    expires = whole_number("x-expires", headers.get("x-expires", "0")) / 1000
    durable = durable_subscription(headers, destination, principal.client_id, expires)
    if durable is None or durable.share:
        return durable  # what a group shares is nobody's
    return replace(durable, owner=principal.owner)


class Deletion(NamedTuple):
    """What an UNSUBSCRIBE ends for good.

    Attributes:
        name: the durable subscription.
        pattern: the topics that its queue is not bound to any more; empty = all of it ends.
    """

    name: str
    pattern: str = ""


def _check_lasts(destination: Destination) -> None:
    """Check that something durable is about what outlives a connection.

    Raises:
        ProtocolError: it is not.
    """
    if is_address(destination):
        raise ProtocolError(
            ErrorCode.NOT_SUPPORTED, "a subscription to a temporary topic cannot be durable"
        )


def durable_to_delete(
    registry: Registry,
    subscription: Subscription | None,
    headers: Mapping[str, str],
    client_id: str | None,
    bound_by: str = "",
) -> Deletion | None:
    """The durable subscription that an UNSUBSCRIBE ends for good; None if it only leaves.

    In RabbitMQ's dialect the frame repeats ``durable`` and ``auto-delete`` but perhaps not the
    destination, which is then that of the subscription.

    Args:
        registry: knows what there is.
        subscription: the one that leaves; None = there is none of that id.
        headers: of the frame.
        client_id: of the client.
        bound_by: the topics by which the subscription has a queue that it named.

    Raises:
        ProtocolError: a header does not fit.
    """
    bound = None if subscription is None else registry.durable.of(subscription.queue)
    if bound is not None and bound.auto_delete:
        return None
    if bound is None and subscription is not None and subscription.queue.policy.is_stream:
        return None  # what it says of names was about the place of a reader
    if headers.get("share") or (bound is not None and bound.share):
        return _share_to_delete(bound, headers)
    if headers.get(QUEUE_NAME) or bound_by:
        return _binding_to_end(bound, headers, bound_by)
    if bound is not None and "destination" not in headers:
        headers = {**headers, "destination": topic_text(bound.pattern)}
    if "destination" not in headers:
        headers = {**headers, "destination": ""}
    named = durable_name(headers, client_id)
    if named is None:
        return None
    name, shared = named
    if shared and subscription is not None and not subscription.queue.durable:
        return None  # as on a SUBSCRIBE to a queue, where the header says nothing
    return Deletion(name)


def _share_to_delete(
    bound: DurableSubscription | None, headers: Mapping[str, str]
) -> Deletion | None:
    if not is_lasting(headers) and not any(headers.get(name) for name in NAME_HEADERS):
        return None
    if bound is not None:
        return Deletion(bound.name)
    pattern = parse_destination(headers.get("destination", "")).name
    return Deletion(share_name(headers["share"], pattern))


def _binding_to_end(
    bound: DurableSubscription | None, headers: Mapping[str, str], bound_by: str
) -> Deletion | None:
    if not is_lasting(headers):
        return None
    destination = headers.get("destination") or bound_by
    if not destination:
        raise ProtocolError(
            ErrorCode.MISSING_HEADER, f"with {QUEUE_NAME} the 'destination' has to be there"
        )
    topics = parse_destination(destination)
    if topics.kind is not DestinationKind.TOPIC:
        return None  # it consumes from the queue by its own name
    name = own_queue_name(headers) or (bound.name if bound is not None else "")
    return Deletion(name, topics.name)
