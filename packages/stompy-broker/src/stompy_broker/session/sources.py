"""Where messages of a subscription or a queue come from; which durable one an UNSUBSCRIBE means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.names import BACKLOG, Destination, Kind
from stompy_broker.routing.durable import NAME_HEADERS, durable_name, durable_subscription
from stompy_broker.routing.queue import Queue
from stompy_broker.routing.router import Router
from stompy_broker.security.auth import Principal
from stompy_broker.session.header_values import whole_number
from stompy_broker.session.subscription import Subscription


def source_of(
    router: Router,
    destination: Destination,
    headers: Mapping[str, str],
    principal: Principal,
    check_durable: Callable[[str], None],
) -> Queue:
    """The queue that a SUBSCRIBE to a queue or topic takes messages from, made if need be.

    Args:
        router: knows the queues.
        destination: the queue or topic.
        headers: of the SUBSCRIBE.
        principal: whose connection it is.
        check_durable: raises if the durable subscription of that name is not for this client.

    Raises:
        ProtocolError: a header does not fit, or a durable subscription is in use or refused.
    """
    if destination.kind is Kind.QUEUE:
        if any(name in headers for name in NAME_HEADERS):
            raise ProtocolError(
                ErrorCode.BAD_HEADER, "a durable subscription is for topics; queues are durable"
            )
        return router.queue(destination.name, headers)
    expires = whole_number("x-expires", headers.get("x-expires", "0")) / 1000
    durable = durable_subscription(headers, destination, principal.client_id, expires)
    if durable is not None:
        check_durable(durable.name)
        return router.subscribe_durably(replace(durable, owner=principal.owner))
    return router.subscribe_topic(destination.name)


def origins_of(router: Router, queue: Destination) -> list[Destination]:
    """What messages in a queue may have been sent to, if it was not that queue."""
    if queue.name.startswith(BACKLOG):
        known = router.durable.get(queue.name.removeprefix(BACKLOG))
        return [] if known is None else [known.topics]
    return router.policies.origins(queue)


def durable_to_delete(
    router: Router,
    subscription: Subscription | None,
    headers: Mapping[str, str],
    client_id: str | None,
) -> str | None:
    """The durable subscription that an UNSUBSCRIBE ends for good; None if it only leaves.

    In RabbitMQ's dialect the frame repeats ``durable`` and ``auto-delete`` but perhaps not the
    destination, which is then that of the subscription.
    """
    if subscription is not None and "destination" not in headers:
        bound = router.durable_of(subscription.queue)
        if bound is not None:
            headers = {**headers, "destination": f"{Kind.TOPIC.value}{bound.pattern}"}
    if "destination" not in headers:
        headers = {**headers, "destination": ""}
    named = durable_name(headers, client_id)
    if named is None:
        return None
    name, shared = named
    if shared and subscription is not None and not subscription.queue.durable:
        return None  # as on a SUBSCRIBE to a queue, where the header says nothing
    return name
