"""The subscriptions of one client: SUBSCRIBE, UNSUBSCRIBE, and where messages come from.

A client names its subscriptions by ids of its own. An id stands for a subscription to a queue or
topic, or for a topic of the broker itself, which the `SysClient` holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from stompy.errors import ErrorCode, ProtocolError
from stompy.protocol.frame import AckMode
from stompy.protocol.header_cache import Head
from stompy_broker.destinations.names import (
    BACKLOG,
    Destination,
    DestinationKind,
    check_subscribable,
    parse_destination,
    parts_of,
)
from stompy_broker.routing.answers import Done, nobody_asks
from stompy_broker.routing.interface import Queue, Withdraw
from stompy_broker.routing.joined_queues import queues_of
from stompy_broker.routing.router import Router
from stompy_broker.routing.settlement_record import Taker
from stompy_broker.routing.terms import PLAIN, Terms
from stompy_broker.security.auth import Principal
from stompy_broker.session.acks import Deliveries
from stompy_broker.session.bounded_dict import REMEMBERED
from stompy_broker.session.browse_request import wants_to_browse
from stompy_broker.session.browsers import Browsers
from stompy_broker.session.context import BrokerContext, ClientState
from stompy_broker.session.exclusive_queues import ExclusiveQueues, asks_for_itself
from stompy_broker.session.header_bindings import bound_selector
from stompy_broker.session.leaving import AT_ONCE
from stompy_broker.session.limited_subscription import ORDINARY, LimitedSubscription, Settling
from stompy_broker.session.paced_subscription import (
    Pace,
    PacedAckSubscription,
    PacedSubscription,
)
from stompy_broker.session.receipts import Receipts
from stompy_broker.session.retained_requests import wants_retained
from stompy_broker.session.sources import Sources, durable_to_delete
from stompy_broker.session.subscribe_request import SubscribeRequest, read_subscribe
from stompy_broker.session.subscription import AckSubscription, Subscription, TopicSubscription
from stompy_broker.session.sys_client import SysClient
from stompy_broker.session.temporary_queues import TemporaryQueues
from stompy_broker.session.temporary_topics import TemporaryTopics

_TEMPORARY = DestinationKind.TEMPORARY.value


class Subscriptions:
    """What one client takes messages from.

    Args:
        context: what sessions share.
        client: whose they are.
        receipts: of that client.
        fail: ends the client, when a queue gives up on one of them.

    Attributes:
        by_key: the subscriptions to queues and topics, by the client's ids.
        deliveries: what the client has to settle.
        sys_client: what it has of the broker itself.
        browsers: what it looks at.
        temporary: its temporary queues.
        temporary_topics: its temporary topics.
        delivered: messages written for subscriptions that have ended.
        pace: how fast those get messages that are made from now on; None = without limit.
    """

    def __init__(
        self,
        context: BrokerContext,
        client: ClientState,
        receipts: Receipts,
        fail: Callable[[ProtocolError], None],
    ) -> None:
        self._context = context
        self._router = context.router
        self._registry = context.router.registry
        self._client = client
        self._output = client.peer.output
        self._receipts = receipts
        self._fail = fail
        self.by_key: dict[str, Subscription] = {}
        self.deliveries = Deliveries(self.by_key)
        self.sys_client = SysClient(context, client, self._output)
        self.browsers = Browsers(context, client, receipts)
        self.temporary = TemporaryQueues(context)
        most = context.settings.max_temporary_queues
        self.temporary_topics = TemporaryTopics(context.new_token, most)
        self._sources = Sources(context, client, self.temporary)
        self.delivered = 0
        self._cancelled: dict[str, None] = {}  # ended by an operator
        self._bound_by: dict[str, str] = {}  # the topics of those whose queue has a name
        self._exclusive: ExclusiveQueues | None = None  # None = it has asked for none
        self.pace: Pace | None = None

    # -- frames -----------------------------------------------------------------------------

    def subscribe(self, head: Head, body: bytes) -> bool | None:
        """Carry out a SUBSCRIBE; say whether the next frame has to wait.

        Raises:
            ProtocolError: it is not allowed, or one of its headers does not fit.
        """
        self._client.others += 1
        headers = head.headers
        parts = self._read(headers["destination"])
        destination = parts[0]
        subscription_id = headers.get("id")
        # A 1.0 client may leave the id out; UNSUBSCRIBE then names the destination.
        key = subscription_id if subscription_id is not None else headers["destination"]
        if key in self.by_key or key in self.sys_client or key in self.browsers:
            self._give_way(key)
        if destination.of_broker and len(parts) == 1:
            self._check_sys(destination, headers)
            self.sys_client.subscribe(key, destination, headers, self._client.version)
            self._receipts.answer(headers.get("receipt"))
            return None
        if wants_to_browse(headers):
            self._check_number()
            self._check_one(parts)
            self.browsers.subscribe(key, destination, head)
            self.deliveries.needs_none(key)
            return None
        request = self._request(head, key, parts)
        found: list[Queue] = []
        return self._client.when_answered(
            head,
            partial(self._find_source, request, found),
            lambda: self._start(request, found[0]),
        )

    def _request(self, head: Head, key: str, parts: tuple[Destination, ...]) -> SubscribeRequest:
        """Read and check what is asked for.

        Raises:
            ProtocolError: it is not allowed, or one of its headers does not fit.
        """
        headers = head.headers
        streams = [self._check_part(part, headers) for part in parts]
        self._check_number()
        # What it asks of a queue is read for one, if there is one among them.
        queues = (part for part in parts if part.kind is not DestinationKind.TOPIC)
        selector = bound_selector(parts, headers, self._router.directions.exchanges)
        request = read_subscribe(
            head,
            next(queues, parts[0]),
            key,
            self._context.settings,
            selector,
            is_stream=any(streams),
        )
        if len(parts) > 1:
            request = replace(request, parts=parts)
        if not wants_retained(headers, parts, self._router):
            request = replace(request, retained=False)
        if self._exclusive is None and asks_for_itself(headers):
            self._exclusive = ExclusiveQueues(self._context)
        if self._exclusive is not None:
            request = self._exclusive.on_terms(request)
        for part in parts:
            self._client.permissions.check_receive(part, headers)
        for part in parts:
            if part.kind is DestinationKind.TEMPORARY:
                self._end_automatic(part)
        return request

    def _check_number(self) -> None:
        """Check that the client may have one more.

        Raises:
            ProtocolError: it has as many as it may have.
        """
        if len(self) >= self._context.settings.max_subscriptions:
            raise ProtocolError(
                ErrorCode.LIMIT_EXCEEDED,
                f"{len(self)} subscriptions on one connection are the limit (limits.subscriptions)",
            )

    def _check_one(self, parts: tuple[Destination, ...]) -> None:
        """Check that a destination is not composite, where it may not be.

        Raises:
            ProtocolError: it is.
        """
        if len(parts) > 1:
            raise ProtocolError(
                ErrorCode.NOT_SUPPORTED,
                f"browser:true shows one queue or one pattern of queues, not {len(parts)} parts",
            )

    def _read(self, text: str) -> tuple[Destination, ...]:
        """Read a destination, of which there may be several."""
        resolve, own = self._router.directions.resolve, self.temporary_topics.own
        return tuple([own(resolve(parse_destination(part))) for part in parts_of(text)])

    def _check_sys(self, destination: Destination, headers: Mapping[str, str]) -> None:
        self._context.foreign_headers.check("SUBSCRIBE", headers, destination)
        if wants_to_browse(headers):
            raise ProtocolError(
                ErrorCode.BAD_DESTINATION,
                f"destination {str(destination)[:200]!r} is a topic of the broker itself, in "
                "which nothing waits that could be browsed; subscribe to it without 'browser'",
            )

    def _check_part(self, destination: Destination, headers: Mapping[str, str]) -> bool:
        """Check one destination; say whether it is a stream."""
        if destination.of_broker:
            raise ProtocolError(
                ErrorCode.BAD_DESTINATION,
                f"destination {str(destination)[:200]!r} cannot be one of several",
            )
        check_subscribable(destination)
        self._router.caps.check_name(destination.name)
        is_stream = self._registry.means_stream(destination, headers)
        self._context.foreign_headers.check("SUBSCRIBE", headers, destination, is_stream=is_stream)
        return is_stream

    def _find_source(self, request: SubscribeRequest, found: list[Queue], done: Done) -> None:
        def take(source: Queue | ProtocolError) -> None:
            if isinstance(source, ProtocolError):
                done(source)
            else:
                found.append(source)
                done()

        self._sources.find(request, take)

    def _start(self, request: SubscribeRequest, queue: Queue) -> None:
        """Make a subscription, and have its queue let it take part."""
        key, head = request.key, request.head
        terms = request.terms if queue.private else request.terms.under(queue.policy)
        subscription = self._new(
            request.id, queue, request.mode, request.prefetch, terms, request.settling
        )
        if terms.single_active:
            subscription.on_active = partial(self._context.observer.activated, self._client)
        self.by_key[key] = subscription
        if isinstance(subscription, AckSubscription):
            self.deliveries.add(key, subscription)
        receipt = head.headers.get("receipt")
        if receipt is None:
            begin: Callable[[], None] = subscription.begin
        else:
            begin = self._receipts.after(
                partial(self._write_and_begin, receipt, subscription), head
            )
        queue.attach(subscription, partial(self._attached, key, head, subscription, begin))

    def _write_and_begin(self, receipt: str, subscription: Subscription) -> None:
        """Begin to deliver. The receipt comes before the first message."""
        if subscription.terms.single_active or subscription.stands_by:
            active = "false" if subscription.stands_by else "true"
            self._receipts.tell(receipt, {"active": active})
        else:
            self._receipts.write(receipt)
        subscription.begin()

    def _attached(
        self,
        key: str,
        head: Head,
        subscription: Subscription,
        begin: Callable[[], None],
        error: ProtocolError | None = None,
        /,
    ) -> None:
        """Go on with a subscription that its queue has let in, or not."""
        if error is not None:
            if self.by_key.get(key) is subscription:
                del self.by_key[key]
                subscription.end()
                self.deliveries.remove(key, subscription, ())
                self._sources.leave(subscription.queue)
            self._receipts.fail(error, head)
            return
        queue = subscription.queue
        durable = self._registry.durable.of(queue)
        if not subscription.ended:
            self._note_attached(subscription)
            if subscription.terms.holder and self._exclusive is not None:
                self._exclusive.note(queue)
            if durable is not None and self._is_by_topics(head):
                self._registry.durable.take_possession(durable, self._principal.owner)
                if durable.queue_name:
                    self._bound_by[key] = head.headers["destination"]
                elif not durable.shared:
                    self._context.active_subscribers.activate(durable.queue, self._client)
        if "receipt" in head.headers:
            self._sources.when_subscribed(queue, begin)
        else:
            begin()

    @staticmethod
    def _is_by_topics(head: Head) -> bool:
        """Whether a SUBSCRIBE names topics, and not the queue that they are bound to."""
        return parse_destination(head.headers["destination"]).kind is DestinationKind.TOPIC

    def _note_attached(self, subscription: Subscription) -> None:
        subscription.attached = True
        self._context.observer.subscribed(self._client, subscription)

    def unsubscribe(self, head: Head, body: bytes) -> None:
        """Carry out an UNSUBSCRIBE, which may end a durable subscription for good.

        Raises:
            ProtocolError: there is no such subscription, or it is not the client's to end.
        """
        self._client.others += 1
        headers = head.headers
        key = headers.get("id") or headers["destination"]
        bound_by = self._bound_by.get(key, "")
        durable = durable_to_delete(
            self._registry, self.by_key.get(key), headers, self._client.client_id, bound_by
        )
        receipt = headers.get("receipt")
        done = self._receipts.if_refused(head)
        if receipt is not None:
            done = self._receipts.when_done(receipt, head)
        gone = nobody_asks if durable is not None else done
        if key in self.by_key:
            self.end(key, done=gone)
        elif key in self.sys_client:
            self.sys_client.end(key)
            gone()
        elif key in self.browsers:
            self.browsers.end(key)
            gone()
        elif key in self._cancelled:
            del self._cancelled[key]
            gone()
        elif durable is None:
            raise ProtocolError(
                ErrorCode.UNKNOWN_SUBSCRIPTION, f"there is no subscription {key[:60]!r}"
            )
        if durable is not None:
            self._sources.check_durable(durable.name)
            if durable.pattern:
                self._registry.durable.unbind(durable.name, durable.pattern, done)
            else:
                self._registry.durable.delete(durable.name, done)

    # -- what a SEND may need ---------------------------------------------------------------

    def reply_queue(self, name: str) -> Queue:
        """Give the queue of a ``reply-to``, and subscribe the client unless it has done so.

        RabbitMQ's clients expect that: auto acknowledgement, the destination as id. ActiveMQ's
        subscribe first, and then have their own subscription.

        Raises:
            ProtocolError: the client has as many temporary queues as it may have.
        """
        destination = f"{_TEMPORARY}{name}"
        queue = self.temporary.own(name)
        self.temporary.give_address(name)
        if not any(queue in queues_of(sub.queue) for sub in self.by_key.values()):
            subscription = self._new(destination, queue, AckMode.AUTO, 0)
            self.by_key[destination] = subscription
            queue.attach(subscription, partial(self._attached_itself, subscription))
        return queue

    def _attached_itself(
        self, subscription: Subscription, error: ProtocolError | None = None, /
    ) -> None:
        if error is None and not subscription.ended:
            self._note_attached(subscription)
            subscription.begin()

    # -- the connection ---------------------------------------------------------------------

    def resume(self) -> None:
        """Let all subscriptions go on: the output buffer has room again."""
        for subscription in list(self.by_key.values()):
            subscription.resume()
        self.sys_client.resume()
        self.browsers.resume()

    def stop(self) -> None:
        """Leave in its queue what was not delivered yet."""
        by_queue: dict[Queue, list[Subscription]] = {}
        for subscription in self.by_key.values():
            subscription.stop()
            by_queue.setdefault(subscription.queue, []).append(subscription)
        for queue, subscriptions in by_queue.items():
            queue.control(Withdraw(subscriptions))

    def end(self, key: str, *, lost: bool = False, done: Done | None = None) -> None:
        """End one: what is not settled of it returns to its place.

        Args:
            key: which.
            lost: whether the connection was lost.
            done: called when its queue has let it go.
        """
        subscription = self.by_key.pop(key)
        self._bound_by.pop(key, None)
        if subscription.attached:
            self._context.observer.unsubscribed(self._client, subscription)
        self.delivered += subscription.delivered
        held = [message.message_id for message in list(subscription.unsettled())[-REMEMBERED:]]
        subscription.end(lost=lost, done=done)
        self.deliveries.remove(key, subscription, held)
        self._sources.leave(subscription.queue)
        self._context.active_subscribers.deactivate(subscription.queue.name, self._client)

    def cancel(self, subscription: Subscription) -> bool:
        """End one, as an operator wants; say whether it was there.

        The client is not told: STOMP has no frame for that. So its UNSUBSCRIBE is no error.
        """
        for key, candidate in list(self.by_key.items()):
            if candidate is subscription:
                self.end(key)
                self._cancelled[key] = None
                return True
        return False

    def close(self, *, lost: bool) -> None:
        """End all of them, and the temporary queues: the client has gone.

        Args:
            lost: whether its connection was lost, so that it may have died on what it had.
        """
        self.browsers.close()
        # None of them is to be given what another one leaves behind.
        self.stop()
        # Who comes again at once wants its durable subscriptions.
        keys = sorted(self.by_key, key=lambda key: not self.by_key[key].queue.durable)
        durables = sum(subscription.queue.durable for subscription in self.by_key.values())
        at_once = max(durables, AT_ONCE)
        for key in keys[:at_once]:
            self.end(key, lost=lost)
        if len(keys) > at_once:
            # The client is counted now, and never again.
            self.delivered += sum(one.delivered for one in self.by_key.values())
            self._context.leaving.add(self._end_rest(keys[at_once:], lost=lost))
        else:
            self._end_queues()

    def _end_rest(self, keys: Iterable[str], *, lost: bool) -> Iterator[None]:
        for key in keys:
            if key in self.by_key:
                self.end(key, lost=lost)
            yield
        self._end_queues()

    def _end_queues(self) -> None:
        self.temporary.close()
        if self._exclusive is not None:
            self._exclusive.close()

    # -- making one -------------------------------------------------------------------------

    def _give_way(self, key: str) -> None:
        """Refuse an id that is in use; end the subscription to a reply queue that was automatic."""
        if key not in self.by_key or not key.startswith(_TEMPORARY):
            raise ProtocolError(
                ErrorCode.DUPLICATE_SUBSCRIPTION, f"subscription {key!r} exists already"
            )
        self.end(key)

    def _end_automatic(self, destination: Destination) -> None:
        """The client's own subscription takes the place of the automatic one."""
        automatic = self.by_key.get(str(destination))
        if automatic is not None and automatic.id == str(destination):
            self.end(str(destination))

    @property
    def _principal(self) -> Principal:
        principal = self._client.principal
        assert principal is not None
        return principal

    def _new(
        self,
        subscription_id: str | None,
        queue: Queue,
        mode: AckMode,
        prefetch: int,
        terms: Terms = PLAIN,
        settling: Settling = ORDINARY,
    ) -> Subscription:
        subscription: Subscription
        timeout = settling.timeout
        if timeout is None:
            # Of several queues the one that waits least.
            timeouts = [one.policy.consumer_timeout for one in queues_of(queue)]
            timeout = min(filter(None, timeouts), default=0.0)
        output, version, pace = self._output, self._client.version, self.pace
        if mode is AckMode.AUTO:
            kind: type[Subscription] | partial[PacedSubscription] = Subscription
            if queue.private:
                kind = TopicSubscription
            if pace is not None:
                kind = partial(PacedSubscription, pace=pace)
            subscription = kind(subscription_id, queue, output, version, self._fail, terms)
        else:
            make: type[AckSubscription] | partial[LimitedSubscription] = AckSubscription
            if timeout or pace is not None or settling is not ORDINARY:
                limited: Callable[..., LimitedSubscription] = LimitedSubscription
                if pace is not None:
                    limited = partial(PacedAckSubscription, pace=pace)
                make = partial(
                    limited,
                    settling=settling._replace(timeout=timeout),
                    tell=partial(self._context.observer.timed_out, self._client),
                )
            subscription = make(
                subscription_id,
                queue,
                output,
                version,
                self._fail,
                router=self._router,
                tag=self._context.next_tag(),
                mode=mode,
                prefetch=prefetch,
                terms=terms,
            )
            output.use_small_writes()
        subscription.number = self._context.next_number()
        subscription.created_at = self._context.clock.now()
        subscription.client = self._name_client
        return subscription

    def _name_client(self) -> Taker:
        """Whose they are, as the history of a queue tells it."""
        client = self._client
        user = "" if client.principal is None else client.principal.name
        return Taker(client.client_id or "", user, client.key)

    def __len__(self) -> int:
        return len(self.by_key) + len(self.browsers)


def origins_of(router: Router, queue: Destination) -> list[Destination]:
    """What messages in a queue may have been sent to, if it was not that queue."""
    durable, name = router.registry.durable.by_name, queue.name.removeprefix(BACKLOG)
    known = durable.get(name)
    bound = known.topics if known is not None and known.queue == queue.name else []
    if queue.name.startswith(BACKLOG):
        return bound
    return [*bound, *router.directions.origins(queue), *router.policies.origins(queue)]
