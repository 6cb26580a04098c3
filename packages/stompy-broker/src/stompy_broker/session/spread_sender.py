"""SENDs of one client that go to several destinations, and what it has to wait for after them."""

from __future__ import annotations

from collections.abc import Sized
from functools import partial
from typing import Protocol

from stompy.errors import ProtocolError
from stompy.protocol.header_cache import Head
from stompy_broker.routing.admission import Admission
from stompy_broker.routing.answers import Done
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.router import Router
from stompy_broker.session.context import ClientState
from stompy_broker.session.receipts import Receipts
from stompy_broker.session.spread_send import SpreadSend, without_transaction
from stompy_broker.session.transaction_span import span_maker


class FlowControl(Protocol):
    """What makes a client wait."""

    def pause_for(self, watermark: Watermark, *, consumes: bool) -> None:
        """Stop reading from the client until there is room, if it has to wait for that."""
        ...


class SpreadSender:
    """Carries out what goes to several destinations, for one client.

    Args:
        router: where to.
        client: who sends.
        receipts: of that client.
        flow_control: makes it wait for something that is full.
        subscriptions: of that client.
    """

    def __init__(
        self,
        router: Router,
        client: ClientState,
        receipts: Receipts,
        flow_control: FlowControl,
        subscriptions: Sized,
    ) -> None:
        self._router = router
        self._client = client
        self._receipts = receipts
        self._flow_control = flow_control
        self._subscriptions = subscriptions
        self._new_span = span_maker(router)

    def send(self, head: Head, receipt: str | None, send: SpreadSend) -> bool:
        """Ask all queues, and publish all parts as one change; say whether the next frame waits.

        Args:
            head: the frame.
            receipt: what it wants for it.
            send: what goes where.

        Raises:
            ProtocolError: it is refused at once.
        """
        span = None if self._new_span is None else self._new_span("SEND")
        admission = Admission(self._router)
        with without_transaction():
            send.prepare(admission, span)
        is_safe = False

        def ask(answer: Done) -> None:
            def admitted(error: ProtocolError | None = None, /) -> None:
                nonlocal is_safe
                error = error and send.refusal(error)
                if error is None and span is not None and send.goes and not self._client.ended:
                    try:
                        with without_transaction():
                            if not span.begin_commit():
                                is_safe = True  # when it is answered
                                span.spread(partial(self.publish, send), answer)
                                return
                    except ProtocolError as refusal:
                        error = refusal
                answer(error)

            admission.ask(admitted)

        def act() -> None:
            if is_safe:
                self._receipts.answer(receipt, send.told)
            else:
                self.publish(send, self._promise(head, receipt, send))

        return self._client.when_answered(head, ask, act)

    def _promise(self, head: Head, receipt: str | None, send: SpreadSend) -> Done:
        if receipt is None:
            return self._receipts.if_refused(head)
        if send.told is None:
            return self._receipts.when_done(receipt, head)
        return self._receipts.when_told(receipt, send.told, head)

    def publish(self, send: SpreadSend, done: Done) -> None:
        """Publish what was admitted, and have the client wait if that made something full."""
        topics = self._router.topics
        before, topics.sender = topics.sender, self._client.sender
        try:
            full = send.publish(done)
        finally:
            topics.sender = before
        if full is not None:
            self._flow_control.pause_for(full, consumes=bool(self._subscriptions))
