"""One SEND that goes to several destinations: all of it is one change, or nothing.

What is told to the queues of one group within one turn of the event loop is one change of its
store. Beyond that it is a transaction: over groups of this broker, or of several owners
(`stompy_broker.session.transaction_span`). Each queue is asked before whether it takes its part.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.names import DestinationKind
from stompy_broker.message import Common, Message, MessageHead
from stompy_broker.routing.admission import Admission
from stompy_broker.routing.answers import Done, when_all
from stompy_broker.routing.distribution import Distribution, SpreadPart, with_id
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.interface import ShareMemory
from stompy_broker.routing.router import Router
from stompy_broker.session.transaction_span import TransactionSpan, span_maker
from stompy_broker.session.transactions import Transaction

_SHARE = ShareMemory()


class SpreadSend:
    """A message, and where it goes.

    Args:
        router: where to.
        distribution: makes its parts.
        head: its headers.
        body: its body.

    Attributes:
        told: what its RECEIPT tells beside its id; None = nothing.
    """

    __slots__ = (
        "_body",
        "_distribution",
        "_head",
        "_may_be_more",
        "_message",
        "_parts",
        "_router",
        "told",
    )

    def __init__(
        self, router: Router, distribution: Distribution, head: MessageHead, body: bytes
    ) -> None:
        self.told: dict[str, str] | None = None
        self._router = router
        self._distribution = distribution
        self._head = head
        self._body = body
        self._parts: list[SpreadPart] = []
        self._message: Message | None = None
        self._may_be_more = False

    @property
    def size(self) -> int:
        """Bytes of the message, once."""
        return len(self._body) + len(self._head.block)

    @property
    def goes(self) -> bool:
        """Whether anything of it is published, as far as is known."""
        return True

    def join(self, transaction: Transaction) -> None:
        """Be a part of a transaction from now on: what it tells is told at COMMIT."""

    def refusal(self, error: ProtocolError) -> ProtocolError | None:
        """What its sender is told when it is refused; None = that is told elsewhere."""
        return error

    def prepare(self, admission: Admission | None, span: TransactionSpan | None) -> None:
        """Find out where it goes now, and tell what is to be asked for.

        Args:
            admission: asks the queues, together with others; None = they are asked later.
            span: watches over the groups of queues; None = there is only one.

        Raises:
            ProtocolError: a part is refused by itself, or cannot be in one change with others.
        """
        router = self._router
        number = router.groups.home.sequences.take()
        self._message = Message(number, self._head, self._body, router.stamp)
        others = router.registry.table.others
        # Then it waits in a cluster, until all queues of virtual topics are known.
        self._may_be_more = others is not None and others.stale.full
        self._parts = self._find()
        for destination, head in self._parts:
            if destination.existing:
                router.registry.check_there(destination.name)
            if destination.stream:
                router.registry.stream(destination)
            if admission is not None:
                admission.add(destination, head, len(self._body) + len(head.block))
            if span is not None:
                span.add_send(destination)

    def _find(self) -> list[SpreadPart]:
        message, distribution = self._message, self._distribution
        assert message is not None
        parts = distribution.parts(message)
        if distribution.one_id:
            message_id = b"%d" % message.sequence
            parts = [SpreadPart(to, with_id(head, message_id)) for to, head in parts]
        return parts

    def publish(self, done: Done) -> Watermark | None:
        """Publish all parts, which were admitted, within this turn.

        Args:
            done: called when all of them are safe.

        Returns:
            What the sender has to wait for before it sends more; None when there is room.
        """
        router, body = self._router, self._body
        if self._may_be_more:
            self._parts = self._find()
        part_done = when_all(len(self._parts) + 1, done)
        full: Watermark | None = None
        common: Common | None = None
        for destination, head in self._parts:
            if destination.kind is DestinationKind.QUEUE and len(self._parts) > 1:
                common = common or Common(len(body) + len(head.block))
                queue = router.queue(destination.name, destination.arguments, capped=False)
                queue.control(_SHARE)
                router.publish_to(queue, head, body, part_done, common=common)
                own = queue.watermark
                full = (own if own is not None and own.full else None) or full
                full = router.blocking(destination, head) or full
            else:
                full = router.publish(destination, head, body, part_done) or full
        part_done()
        return full


def publish_spread(router: Router, send: SpreadSend, done: Done) -> None:
    """Publish what goes to several destinations as one change, for the broker itself.

    Args:
        router: where to.
        send: what goes where.
        done: called when it is safe, or why it is refused.

    Raises:
        ProtocolError: it is refused at once.
    """
    new_span = span_maker(router)
    span = None if new_span is None else new_span("SEND")
    admission = Admission(router)

    def publish(safe: Done) -> None:
        send.publish(safe)

    def admitted(error: ProtocolError | None = None, /) -> None:
        if error is not None:
            done(error)
            return
        try:
            with without_transaction():
                if span is not None and not span.begin_commit():
                    span.spread(publish, done)
                    return
        except ProtocolError as refusal:
            done(refusal)
        else:
            publish(done)

    with without_transaction():
        send.prepare(admission, span)
    admission.ask(admitted)


@contextmanager
def without_transaction() -> Iterator[None]:
    """Say what cannot be one change in the words of a SEND that is in no transaction."""
    try:
        yield
    except ProtocolError as error:
        if error.error_code is not ErrorCode.TRANSACTION_SPANS_GROUPS:
            raise
        words = f"this SEND goes to several queues, and cannot: {error.Message}"
        raise ProtocolError(ErrorCode.NOT_SUPPORTED, words) from None
