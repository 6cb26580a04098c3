"""SENDs with a duplicate id: taken once, and the RECEIPT tells if they were dropped (**hot path**).

Where a SEND goes to several destinations that it names itself, each has ids of its own, and gets
the message unless it knows it. Where it goes on from there, by a route or a virtual topic, nothing
is looked at again: what comes to the destination goes all its ways, and what does not goes none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sized
from functools import partial
from typing import Final

from stompy.errors import ErrorCode, ProtocolError
from stompy.protocol.header_cache import Head
from stompy_broker.dedup_headers import DEBOUNCE, DUPLICATE_MODE, QUEUED, DuplicateId
from stompy_broker.destinations.names import Destination, DestinationKind, is_address
from stompy_broker.message import MessageHead
from stompy_broker.routing.admission import Admission
from stompy_broker.routing.answers import Done, Refused
from stompy_broker.routing.distribution import CompositeDistribution, PlainDistribution
from stompy_broker.routing.duplicate_check import drop_duplicate
from stompy_broker.routing.duplicate_ids import DuplicateIds
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.interface import Outcome
from stompy_broker.routing.router import Router
from stompy_broker.routing.sequences import STEP
from stompy_broker.routing.unique_publication import publish_once
from stompy_broker.schedules.headers import NAME
from stompy_broker.session.context import ClientState
from stompy_broker.session.receipts import Receipts
from stompy_broker.session.requests import asks_for_answer, is_mandatory
from stompy_broker.session.scheduled_send import ScheduledSend
from stompy_broker.session.send_routes import Route
from stompy_broker.session.spread_send import SpreadSend
from stompy_broker.session.spread_sender import FlowControl
from stompy_broker.session.transaction_span import TransactionSpan
from stompy_broker.session.transactions import Publication, Transaction

DUPLICATE: Final = "duplicate"
"""Header of a RECEIPT: the message was dropped."""
DUPLICATE_OF: Final = "duplicate-of"
"""Header of a RECEIPT: what the message was called that came first."""

_NO_HEADERS: Final[Mapping[str, str]] = {}
_QUEUE: Final = DestinationKind.QUEUE
_LASTING: Final = (DestinationKind.QUEUE, DestinationKind.TOPIC)


def check_once(
    once: DuplicateId,
    route: Route,
    head: MessageHead,
    router: Router,
    later: ScheduledSend | None = None,
    headers: Mapping[str, str] = _NO_HEADERS,
) -> None:
    """See that what a SEND says of its id can be done where it goes.

    Args:
        once: what it says.
        route: where it goes.
        head: its headers.
        router: of the broker.
        later: what it says of a later time; None = nothing.
        headers: what it says beside that.

    Raises:
        ProtocolError: it cannot.
    """
    for part in route.parts or (route,):
        if part.commands or part.destination.kind not in _LASTING or is_address(part.destination):
            raise _not_done(
                f"nothing is known of what was sent to {part.text[:200]!r} before, because it ends "
                "with a connection, or is the broker itself"
            )
    if asks_for_answer(headers) or is_mandatory(headers):
        raise _not_done("a SEND that is answered (reply-timeout, mandatory) is not looked for")
    if once.mode == DEBOUNCE:
        if later is None or NAME[0] in headers or later.spec.recurs or not later.spec.delay:
            raise ProtocolError(
                ErrorCode.BAD_HEADER,
                f"{DUPLICATE_MODE}:{DEBOUNCE} needs x-delay, and nothing else that says when: the "
                "delay begins anew with each message of that id",
            )
        return
    plain = route.distribution is None and route.destination.kind is _QUEUE
    if router.registry.table.others is not None and not plain:
        raise _not_done(
            f"{route.text[:200]!r} is no queue, or messages go on from there, and in a cluster "
            "only queues know what was sent to them"
        )
    if once.mode == QUEUED:
        in_cluster = router.registry.table.others is not None
        queue = router.queues.get(route.destination.name)
        stays = plain and queue is not None and queue.policy.non_destructive
        if not plain or later is not None or head.traits.group is not None or in_cluster or stays:
            raise _not_done(
                f"{DUPLICATE_MODE}:{QUEUED} is for what goes straight into one queue of a single "
                "broker, which is consumed from, and has no group"
            )


def not_spread() -> ProtocolError:
    """Why a transaction with ids cannot have to do with queues of several owners."""
    return _not_done("its transaction has to do with queues of several brokers")


def _not_done(why: str) -> ProtocolError:
    return ProtocolError(ErrorCode.NOT_SUPPORTED, f"header 'dedup-id': {why}")


class UniqueSender:
    """Carries out SENDs with ids, for one client.

    Args:
        client: who sends.
        router: where to.
        flow_control: makes it wait for something that is full.
        subscriptions: of that client.
        receipts: of that client.
        awaited: queues that requests have named as where their replies go.
    """

    __slots__ = (
        "_awaited",
        "_flow_control",
        "_now",
        "_receipts",
        "_refused",
        "_router",
        "_simple",
        "_stamp",
        "_subscriptions",
    )

    def __init__(
        self,
        client: ClientState,
        router: Router,
        flow_control: FlowControl,
        subscriptions: Sized,
        receipts: Receipts,
        awaited: Collection[Destination],
    ) -> None:
        self._awaited = awaited
        self._router = router
        self._flow_control = flow_control
        self._subscriptions = subscriptions
        self._receipts = receipts
        self._refused: Refused = client.refused
        self._simple = router.duplicates.simple
        self._stamp, self._now = b"", 0

    def send(
        self,
        destination: Destination,
        head: MessageHead,
        body: bytes,
        once: DuplicateId,
        frame: Head,
        receipt: str | None,
    ) -> None:
        """Publish a message, unless its id is known.

        Args:
            destination: a queue or a topic.
            head: its headers.
            body: its body.
            once: its id.
            frame: the frame.
            receipt: what it wants for it; None = nothing.

        Raises:
            ProtocolError: it is refused at once.
        """
        if receipt is None:
            self._publish(destination, head, body, once, None, self._refused, _nobody_asks)
            return
        told: dict[str, str] = {}
        done = self._receipts.when_told(receipt, told, frame)
        self._publish(destination, head, body, once, done, done, partial(_tell, told))

    def send_simple(
        self, route: Route, head: MessageHead, body: bytes, frame: Head, value: bytes
    ) -> bool:
        """Publish a message that says no more than its id, to a queue that takes it at once.

        Args:
            route: where it goes; it was looked at before.
            head: its headers.
            body: its body.
            frame: the frame.
            value: its id.

        Returns:
            False: it is not so simple, and `send` has to do it.

        Raises:
            ProtocolError: it is refused at once.
        """
        router, destination = self._router, route.destination
        name = destination.name
        queue, ids = router.queues.get(name), self._simple.get(name)
        if destination.kind is not _QUEUE or queue is None or ids is None or not ids.known:
            return False
        number = queue.sequences.last + STEP  # which the router gives it
        if router.stamp is not self._stamp:  # once for all of one read
            self._stamp, self._now = router.stamp, router.wall()
        if not ids.take(value, number, self._now, persistent=head.traits.persistent):
            return False
        receipt = frame.receipt
        try:
            if receipt is None:
                full = router.publish(destination, head, body, None, self._refused)
            else:
                done = self._receipts.when_done(receipt, frame)
                full = router.publish(destination, head, body, done, done)
        except ProtocolError:
            ids.forget(value, number)
            ids.tell_store()
            raise
        if full is not None:
            self._flow_control.pause_for(full, consumes=bool(self._subscriptions))
        return True

    def publication(
        self,
        transaction: Transaction,
        destination: Destination,
        head: MessageHead,
        body: bytes,
        once: DuplicateId,
    ) -> Publication:
        """What publishes a message at COMMIT, unless its id is known then.

        Args:
            transaction: it is told how many are dropped.
            destination: a queue or a topic.
            head: its headers.
            body: its body.
            once: its id.
        """
        transaction.expect_duplicates()
        size = len(body) + len(head.block)

        def publish(done: Done) -> None:
            answer = partial(_count, transaction)
            self._publish(destination, head, body, once, done, None, answer)

        def admit(admission: Admission) -> None:
            ids = self._router.duplicates.find(str(destination))
            if ids is None or not ids.find(once.value, self._router.wall()):
                admission.add(destination, head, size)

        return Publication(publish, admit, str(destination), size)

    def _publish(
        self,
        destination: Destination,
        head: MessageHead,
        body: bytes,
        once: DuplicateId,
        done: Done | None,
        refused: Refused | None,
        answer: Callable[[Outcome], None],
    ) -> None:
        if self._awaited and destination.plain in self._awaited:
            requests = self._router.requests
            if requests.watching and not requests.take(str(destination), head.headers(), body):
                if done is not None:
                    done()  # the broker has answered the request before
                return
        full = publish_once(self._router, destination, head, body, once, done, refused, answer)
        if full is not None:
            self._flow_control.pause_for(full, consumes=bool(self._subscriptions))


def _nobody_asks(outcome: Outcome) -> None:
    pass


def _tell(told: dict[str, str], outcome: Outcome) -> None:
    if isinstance(outcome, int) and outcome:
        told[DUPLICATE] = "true"
        told[DUPLICATE_OF] = str(outcome)


def _count(transaction: Transaction, outcome: Outcome) -> None:
    if isinstance(outcome, int) and outcome:
        transaction.count_duplicates(1)


class UniqueSpread(SpreadSend):
    """A message with an id that goes to several destinations: to those that do not know it.

    Args:
        router: where to.
        route: where it goes.
        head: its headers.
        body: its body.
        once: its id.
    """

    __slots__ = ("_once", "_route", "_transaction")

    def __init__(
        self, router: Router, route: Route, head: MessageHead, body: bytes, once: DuplicateId
    ) -> None:
        assert route.distribution is not None
        super().__init__(router, route.distribution, head, body)
        self._route = route
        self._once = once
        self._transaction: Transaction | None = None
        self.told = {}

    def join(self, transaction: Transaction) -> None:
        """Be a part of a transaction from now on: its RECEIPT tells what is dropped."""
        self._transaction = transaction
        transaction.expect_duplicates()

    def prepare(self, admission: Admission | None, span: TransactionSpan | None) -> None:
        """Find out where it goes now, and ask those that do not know it."""
        self._choose()
        super().prepare(admission, span)

    def _ids(self, route: Route) -> DuplicateIds:
        router, destination = self._router, route.destination
        policy = router.policies.find(destination.kind, destination.name)
        kind = DestinationKind.TOPIC if destination.kind is not _QUEUE else _QUEUE
        text = f"{kind.value}{destination.name}"
        return router.duplicates.of(text, policy, router.groups.home.store)

    def _choose(self) -> tuple[list[DuplicateIds], list[tuple[DuplicateIds, int]]]:
        """Go where it is not known.

        Returns:
            The ids of those destinations, and of the others with what they know.
        """
        now, value = self._router.wall(), self._once.value
        routes = self._route.parts or (self._route,)
        new: list[DuplicateIds] = []
        known: list[tuple[DuplicateIds, int]] = []
        parts: list[Route] = []
        for route in routes:
            ids = self._ids(route)
            earlier = ids.find(value, now)
            if earlier:
                known.append((ids, earlier))
            else:
                new.append(ids)
                parts.append(route)
        assert self._route.distribution is not None
        self._distribution = self._route.distribution
        if known:
            self._distribution = CompositeDistribution(
                [
                    (part.text, part.distribution or PlainDistribution(part.destination))
                    for part in parts
                ]
            )
        return new, known

    def publish(self, done: Done) -> Watermark | None:
        """Publish it where it is not known, within this turn; see `SpreadSend.publish`."""
        router, once = self._router, self._once
        new, known = self._choose()
        self._parts = self._find()
        stored = any(router.stored_in(to, head) for to, head in self._parts)
        assert self._message is not None
        until = router.wall()
        for ids in new:
            sequence, end = router.groups.home.sequences.take(), until + (once.ttl or ids.ttl)
            ids.shown[sequence] = self._message.sequence
            if stored:
                ids.keep(once.value, sequence, end, self._message.sequence)
            else:
                ids.add(once.value, sequence, end, stored=False)
        router.duplicates.added()
        told: list[Outcome] = []
        for ids, earlier in known:
            drop_duplicate(ids, earlier, router, told.append)
        if self._transaction is not None:
            self._transaction.count_duplicates(len(known))
        elif known and self.told is not None:
            if new:
                self.told["duplicates"] = str(len(known))
            else:
                _tell(self.told, told[0])
        if known and not new:
            # Its RECEIPT waits until the first one is on disk.
            router.groups.sync(done)
            return None
        return super().publish(done)
