"""SEND of one client. **Hot path** (`SendHandler.send`).

What a SEND asks for is worked out once for each header block, and kept with the parsed head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from stompy.errors import ErrorCode, ProtocolError
from stompy.protocol.header_cache import Head
from stompy.protocol.headers import Version
from stompy_broker.dedup_headers import (
    DEBOUNCE,
    FOUND_AT,
    LONGEST,
    DuplicateId,
    found_id,
    read_duplicate_id,
)
from stompy_broker.destinations.names import Destination, DestinationKind, plain_spelling
from stompy_broker.destinations.policy import arguments_in
from stompy_broker.foreign_headers import OF_SEND
from stompy_broker.message import MessageHead
from stompy_broker.routing.admission import Admission
from stompy_broker.routing.answers import Done, Refused
from stompy_broker.routing.distribution import PlainDistribution
from stompy_broker.routing.interface import Queue
from stompy_broker.routing.requests import Wanted
from stompy_broker.session.context import BrokerContext, ClientState
from stompy_broker.session.group_order import check_group
from stompy_broker.session.producer_flow_control import ProducerFlowControl
from stompy_broker.session.receipts import Receipts
from stompy_broker.session.requests import (
    AnsweredSend,
    asks_for_answer,
    is_answered,
    is_mandatory,
    wanted_in,
    with_end,
)
from stompy_broker.session.scheduled_send import (
    ScheduledSend,
    cancel_schedule,
    read_scheduled,
)
from stompy_broker.session.send_heads import SPECIAL, UNUSUAL
from stompy_broker.session.send_routes import Route, SendRoutes
from stompy_broker.session.spread_send import SpreadSend
from stompy_broker.session.spread_sender import SpreadSender
from stompy_broker.session.subscribe import Subscriptions
from stompy_broker.session.transactions import Publication, Transaction, Transactions
from stompy_broker.session.unique_send import UniqueSender, UniqueSpread, check_once
from stompy_broker.session.unusual_sends import check_unusual

Publish = Callable[..., None]
"""Publishes a message; see `SendHandler`."""

_TEMPORARY = DestinationKind.TEMPORARY.value

_LARGE: Final = 4096
"""Bytes of a header block from which on it is measured as it will be delivered."""


class SendPlan:
    """What a header block of SEND means; worked out once and kept with the parsed head.

    Attributes:
        simple: whether there is nothing to do but to route it.
        streams: the same, but for a look whether the queue is the stream that it is to be.
        destination: where to.
        head: the headers that are passed on.
        sets_up: whether it sets up a queue, if that is its first frame.
        commands: whether it is a command to the broker itself.
        foreign: whether it has headers of other brokers that may have to be refused.
        route: what its destination means.
        scheduled: what it says of a later time; None = nothing.
        duplicate_id: what its sender calls the message, so that it is taken once; None = nothing.
    """

    __slots__ = (
        "commands",
        "destination",
        "duplicate_id",
        "foreign",
        "head",
        "route",
        "scheduled",
        "sets_up",
        "simple",
        "streams",
    )

    def __init__(
        self, route: Route, head: MessageHead, simple: bool, sets_up: bool, foreign: bool
    ) -> None:
        self.simple = simple
        self.streams = route.streams
        self.destination = route.destination
        self.route = route
        self.head = head
        self.sets_up = sets_up
        self.commands = route.commands
        self.foreign = foreign
        self.scheduled: ScheduledSend | None = None
        self.duplicate_id: DuplicateId | None = None


def plan_for(head: Head, version: Version, routes: SendRoutes) -> SendPlan:
    """Work out what a header block means.

    Args:
        head: it, as it was read.
        version: of the client that sent it.
        routes: of the broker.

    Raises:
        ProtocolError: it means nothing.
    """
    found = head.found
    if found is not None:  # by `head_caches`, which asks for all that matters here
        assert found[0] is not None
        route, once = routes.find(found[0]), found_id(found)
        simple = route.simple and once is None
        plan = SendPlan(route, MessageHead.from_simple(head), simple, _makes_stream(route), False)
        plan.duplicate_id, plan.streams = once, plan.streams and once is None
        return plan
    headers = head.headers
    route = routes.read(headers["destination"])
    ordinary = UNUSUAL.isdisjoint(headers)
    sets_up = (
        not ordinary
        and route.destination.kind is DestinationKind.QUEUE
        and not route.destination.existing
        and bool(arguments_in(headers))
    )
    plain = ordinary or (SPECIAL.isdisjoint(headers) and not sets_up)
    foreign = not ordinary and not OF_SEND.isdisjoint(headers)
    simple = plain and route.simple
    plan = SendPlan(route, MessageHead.from_send(head, version), simple, sets_up, foreign)
    plan.streams = plain and route.streams
    plan.sets_up = sets_up or _makes_stream(route)
    if not ordinary:
        plan.scheduled = read_scheduled(headers, route)
        plan.duplicate_id = read_duplicate_id(headers)
    return plan


def _makes_stream(route: Route) -> bool:
    """Whether a SEND makes the one stream that it names: of several each is made on its own."""
    return route.destination.stream and not route.parts


class SendHandler:
    """Routes what a client sends, at once or at COMMIT.

    Args:
        client: who sends.
        context: what sessions share.
        flow_control: makes the client wait where there is no room.
        subscriptions: of that client.
        transactions: of that client.
        receipts: of that client.
    """

    def __init__(
        self,
        client: ClientState,
        context: BrokerContext,
        flow_control: ProducerFlowControl,
        subscriptions: Subscriptions,
        transactions: Transactions,
        receipts: Receipts,
    ) -> None:
        self._context = context
        self._routes = context.send_routes
        self._known_routes = context.send_routes.known
        self._foreign_headers = context.foreign_headers
        self._client = client
        self._router = context.router
        self._caps = context.router.caps
        self._flow_control = flow_control
        self._subscriptions = subscriptions
        self._transactions = transactions
        self._receipts = receipts
        self._refused: Refused = client.refused
        self._spread: SpreadSender | None = None
        self._once: UniqueSender | None = None

    def send_if_allowed(self, head: Head, body: bytes) -> bool | None:
        """Carry out a SEND where not everybody may do everything.

        Raises:
            ProtocolError: it is not allowed, or as `send`.
        """
        permissions, found = self._client.permissions, head.found
        if found is None or found[0] is None:
            destination = head.headers["destination"]
        else:
            destination = self._routes.find(found[0]).text
        if destination not in permissions.may_send_to:
            permissions.check_send(destination)
        return self.send(head, body)

    def send(self, head: Head, body: bytes) -> bool | None:
        """Carry out a SEND; say whether the next frame has to wait.

        Raises:
            ProtocolError: a header does not fit, or there is no room for it.
        """
        plan: SendPlan | None = head.plan  # type: ignore[assignment]  # nobody else writes plans
        if plan is None:
            found = head.found
            if found is not None and not (head.repeats or head.pattern):
                octets = found[0]
                assert octets is not None
                route = self._known_routes.get(octets) or self._routes.find(octets)
                if route.simple:
                    self._send_simple(route, head, body)
                    return None
            plan = self._plan_for(head)
        if plan.simple or (plan.streams and self._router.registry.stream(plan.destination)):
            if head.receipt is None:
                full = self._router.publish(plan.destination, plan.head, body, None, self._refused)
            else:
                done = self._receipts.when_done(head.receipt, head)
                full = self._router.publish(plan.destination, plan.head, body, done, done)
            if full is not None:
                self._flow_control.pause_for(full, consumes=bool(self._subscriptions))
            return None
        return self._send_special(plan, head, body)

    def _plan_for(self, head: Head) -> SendPlan:
        """Work out what a SEND means, and keep that.

        Raises:
            ProtocolError: it means nothing, or cannot be taken.
        """
        # The pattern of a head with a receipt is the same without it.
        pattern = head.pattern or head
        plan = plan_for(pattern, self._client.version, self._routes)
        caps = self._caps
        routes = plan.route.parts or (plan.route,)
        for route in routes:
            if len(route.destination.name) > caps.short:
                caps.check_name(route.destination.name)
            if plan.foreign:
                self._check_foreign(head.headers, route.destination)
        traits = plan.head.traits
        if traits.unusual:
            there = [route.destination for route in routes]
            check_unusual(traits, head.headers, there, self._router)
        once = plan.duplicate_id
        if once is not None:
            check_once(once, plan.route, plan.head, self._router, plan.scheduled, head.headers)
            if once.mode == DEBOUNCE:
                plan.duplicate_id = None  # where it waits goes by its headers
        if len(plan.head.block) > _LARGE:
            caps.check_headers(plan.head.block)
        if pattern.repeats:
            plan.head.answers = {}
        head.plan = pattern.plan = plan
        return plan

    def _check_foreign(self, headers: Mapping[str, str], destination: Destination) -> None:
        is_stream = self._router.registry.means_stream(destination, headers)
        self._foreign_headers.check("SEND", headers, destination, is_stream=is_stream)

    def _send_simple(self, route: Route, head: Head, body: bytes) -> None:
        """Route a SEND whose header block may never come again."""
        destination = route.destination
        if len(destination.name) > self._caps.short:
            self._caps.check_name(destination.name)
        message_head, receipt = MessageHead.from_simple(head), head.receipt
        if message_head.traits.unusual:
            if message_head.traits.group is not None and not route.grouped:
                check_group(destination, self._router)
                route.grouped = True
            if route.unique and message_head.taken_once():
                found = head.found
                assert found is not None
                value = found[FOUND_AT] if found[FOUND_AT + 1] is None else None
                if (
                    value is not None
                    and len(value) <= LONGEST
                    and self._unique().send_simple(route, message_head, body, head, value)
                ):
                    return
            once = found_id(head.found)
            if once is not None:
                check_once(once, route, message_head, self._router)
                route.unique = True
                self._unique().send(destination, message_head, body, once, head, receipt)
                return
        if receipt is None:
            full = self._router.publish(destination, message_head, body, None, self._refused)
        else:
            done = self._receipts.when_done(receipt, head)
            full = self._router.publish(destination, message_head, body, done, done)
        if full is not None:
            self._flow_control.pause_for(full, consumes=bool(self._subscriptions))

    def _send_special(self, plan: SendPlan, head: Head, body: bytes) -> bool | None:
        """Carry out a SEND that has more to do than to be routed: see `SPECIAL`."""
        headers, message_head, destination = head.headers, plan.head, plan.destination
        receipt = headers.get("receipt") or head.receipt
        if destination.existing:
            self._router.registry.check_there(destination.name)
        replies = self._reply_queue(headers)
        if plan.commands:
            self._client.others += 1
            self._receipts.answer(receipt)
            self._subscriptions.sys_client.command(headers, body, replies)
            return None
        told = self._addresses(headers, replies)
        if told:
            message_head = MessageHead.from_client(headers | told)
        destination = self._subscriptions.temporary_topics.own(destination)
        if plan.sets_up:
            self._set_up(plan, headers)
        if is_answered(headers, destination):
            return self._send_answered(plan, head, destination, headers | told, body, replies)
        later = plan.scheduled
        if later is not None and later.spec.cancel and "transaction" not in headers:
            cancel_schedule(self._router, later, self._receipts, receipt, head)
            return None
        if later is not None:
            destination, message_head = later.turn(self._router, destination, message_head)
        waits = later is not None and destination is later.waits_in
        if plan.route.distribution is not None and not waits:
            spread = self._spread_of(plan, message_head, body)
            return self._send_spread(plan.route.text, head, spread)
        act = partial(self._keep_or_publish, head, message_head, destination, body, plan)
        if destination.kind is DestinationKind.TEMPORARY:
            # Checked now, because COMMIT must not fail.
            ask = partial(self._subscriptions.temporary.check_room, destination.name)
            return self._client.when_answered(head, ask, act)
        act()
        return None

    def _spread_of(self, plan: SendPlan, head: MessageHead, body: bytes) -> SpreadSend:
        """A message, and the several destinations that it goes to."""
        assert plan.route.distribution is not None
        if plan.duplicate_id is not None:
            return UniqueSpread(self._router, plan.route, head, body, plan.duplicate_id)
        return SpreadSend(self._router, plan.route.distribution, head, body)

    def _addresses(self, headers: Mapping[str, str], replies: Queue | None) -> dict[str, str]:
        """Give what the message says in place of the names that its sender has for its own."""
        told = self._subscriptions.temporary_topics.addresses(headers)
        if replies is not None:
            told["reply-to"] = f"{DestinationKind.REPLY.value}{replies.name}"
        return told

    def _set_up(self, plan: SendPlan, headers: Mapping[str, str]) -> None:
        if plan.route.parts:
            raise ProtocolError(
                ErrorCode.NOT_SUPPORTED, "a queue is set up by a SEND to it, and not to several"
            )
        if arguments_in(headers):
            self._client.permissions.check_set_up(plan.destination, headers)
        self._router.queue(plan.destination.name, plan.destination.setting_up(headers))

    def _send_answered(
        self,
        plan: SendPlan,
        head: Head,
        destination: Destination,
        headers: dict[str, str],
        body: bytes,
        replies: Queue | None,
    ) -> bool:
        """Carry out a SEND whose sender wants to know what became of it."""
        wanted: Wanted | None = None
        if asks_for_answer(headers):
            wanted = wanted_in(headers, replies, self._router, self._context.await_replies)
            headers = with_end(headers, wanted.milliseconds)
        elif plan.scheduled is not None:
            raise ProtocolError(
                ErrorCode.NOT_SUPPORTED,
                "mandatory:true with a schedule is not done: nobody knows who will be there",
            )
        distribution = plan.route.distribution or PlainDistribution(destination)
        send = AnsweredSend(
            self._router,
            distribution,
            MessageHead.from_client(headers),
            body,
            sender=self._client.sender,
            wanted=wanted,
        )
        if is_mandatory(headers):
            send.mandate(has_receipt="receipt" in headers or head.receipt is not None)
            if "transaction" in headers:
                raise ProtocolError(
                    ErrorCode.NOT_SUPPORTED,
                    "mandatory:true in a transaction is not done: the RECEIPT comes before COMMIT",
                )
        return self._send_spread(plan.route.text, head, send)

    def _unique(self) -> UniqueSender:
        if self._once is None:  # most clients never send so
            client, router, receipts = self._client, self._router, self._receipts
            flow, awaited = self._flow_control, self._routes.awaited
            self._once = UniqueSender(client, router, flow, self._subscriptions, receipts, awaited)
        return self._once

    def _send_once(
        self,
        once: DuplicateId,
        head: Head,
        destination: Destination,
        message_head: MessageHead,
        body: bytes,
    ) -> None:
        """Publish it, now or at COMMIT, unless its id is known then."""
        receipt = head.headers.get("receipt") or head.receipt
        name = head.headers.get("transaction")
        if name is None:
            self._unique().send(destination, message_head, body, once, head, receipt)
            return
        transaction = self._reserve(name, destination, message_head, body)
        transaction.operations.append(
            self._unique().publication(transaction, destination, message_head, body, once)
        )
        self._receipts.answer(receipt)

    def _keep_or_publish(
        self,
        head: Head,
        message_head: MessageHead,
        destination: Destination,
        body: bytes,
        plan: SendPlan,
    ) -> None:
        """Publish it now, or at COMMIT."""
        if plan.duplicate_id is not None:
            self._send_once(plan.duplicate_id, head, destination, message_head, body)
            return
        publish: Publish = self._publish_reply if plan.route.awaited else self._publish
        receipt = head.headers.get("receipt") or head.receipt
        if "transaction" in head.headers:
            self._keep(head.headers["transaction"], destination, message_head, body, publish)
            self._receipts.answer(receipt)
        elif receipt is None:
            publish(destination, message_head, body, None, self._refused)
        else:
            done = self._receipts.when_done(receipt, head)
            publish(destination, message_head, body, done, done)

    def _reply_queue(self, headers: Mapping[str, str]) -> Queue | None:
        """The client's own temporary queue that ``reply-to`` names, if it does.

        Raises:
            ProtocolError: it names what the client may not use, or has too many of those.
        """
        reply_to = plain_spelling(headers.get("reply-to", ""))
        if not reply_to.startswith(_TEMPORARY):
            if reply_to:
                self._client.permissions.check_reply_to(reply_to)
            return None
        return self._subscriptions.reply_queue(reply_to.removeprefix(_TEMPORARY))

    def _keep(
        self,
        transaction_id: str,
        destination: Destination,
        head: MessageHead,
        body: bytes,
        publish: Publish,
    ) -> None:
        """Publish it at COMMIT."""
        size = len(body) + len(head.block)
        transaction = self._reserve(transaction_id, destination, head, body)
        transaction.operations.append(
            Publication(
                partial(publish, destination, head, body),
                partial(_add, destination, head, size),
                str(destination),
                size,
            )
        )

    def _reserve(
        self, transaction_id: str, destination: Destination, head: MessageHead, body: bytes
    ) -> Transaction:
        """Reserve room for one more message in a transaction."""
        transaction = self._transactions.reserve(transaction_id, len(body) + len(head.block))
        if transaction.span is not None:
            transaction.span.add_send(destination)
        transaction.touched_at = self._client.received_at
        return transaction

    def _send_spread(self, text: str, head: Head, spread: SpreadSend) -> bool:
        """Carry out a SEND that goes to several destinations, now or at COMMIT."""
        headers = head.headers
        receipt = headers.get("receipt") or head.receipt
        if self._spread is None:  # most clients never send so
            self._spread = SpreadSender(
                self._router, self._client, self._receipts, self._flow_control, self._subscriptions
            )
        if "transaction" not in headers:
            return self._spread.send(head, receipt, spread)
        transaction = self._transactions.reserve(headers["transaction"], spread.size)
        spread.join(transaction)
        spread.prepare(None, transaction.span)
        transaction.operations.append(
            Publication(
                partial(self._spread.publish, spread),
                partial(spread.prepare, span=transaction.span),
                text,
                spread.size,
            )
        )
        transaction.touched_at = self._client.received_at
        self._receipts.answer(receipt)
        return False

    def _publish(
        self,
        destination: Destination,
        head: MessageHead,
        body: bytes,
        done: Done | None,
        refused: Refused | None = None,
    ) -> None:
        if destination.kind is DestinationKind.TEMPORARY:
            if self._client.ended:
                # In the middle of its COMMIT, which cut off a slow subscriber: itself.
                if done is not None:
                    done()
                return
            own = self._subscriptions.temporary.own(destination.name)
            self._router.publish_to(own, head, body, done, refused)
            return
        full = self._router.publish(destination, head, body, done, refused)
        if full is not None:
            self._flow_control.pause_for(full, consumes=bool(self._subscriptions))

    def _publish_reply(
        self,
        destination: Destination,
        head: MessageHead,
        body: bytes,
        done: Done | None,
        refused: Refused | None = None,
    ) -> None:
        """Publish what may be a reply, unless the broker has answered the request before."""
        requests = self._router.requests
        if not requests.watching or requests.take(str(destination), head.headers(), body):
            self._publish(destination, head, body, done, refused)
        elif done is not None:
            done()


def _add(destination: Destination, head: MessageHead, size: int, admission: Admission) -> None:
    admission.add(destination, head, size)
