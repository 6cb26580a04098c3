"""Requests and their replies: one reply queue for each connection, replies told apart by id.

A reply that nobody waits for any more is counted and dropped. When the connection is lost, so is
the reply queue, and what was asked over it has an unknown outcome.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping

from stompy.errors import STOMPException, STOMPTimeout
from stompy.protocol.frame import AckMode, STOMPFrame
from stompy.session.commands import HeaderValue, as_text, request_headers
from stompy.session.confirmations import Outcome, unknown_outcome
from stompy.session.delivery import Settlement
from stompy.session.dialects import NackScopeWord
from stompy.session.request_answers import failure_in, status_of
from stompy.session.wanted import WantedSubscription
from stompy.sync.confirmation import Confirmation
from stompy.sync.connection import Connection
from stompy.sync.message import Message
from stompy.sync.replying import Replier
from stompy.sync.sending import post_over
from stompy.sync.session import Session


class Requests(Replier):
    """The requests of a session that wait for their replies."""

    _full = _overfull = False
    _waiting = 0

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._queue: tuple[int, str] | None = None
        self._waited_for: dict[str, Message | None] = {}

    def request(
        self,
        destination: str,
        body: bytes | str,
        headers: Mapping[str, HeaderValue],
        timeout: float,
    ) -> Message:
        """Send a request and wait for its reply; see `STOMPClient.request`."""
        connection = self._session.writable(timeout=timeout)
        correlation_id = secrets.token_hex(8)
        self._waited_for[correlation_id] = None
        try:
            reply_to = self._reply_queue(connection)
            dialect = connection.dialect
            given = request_headers(
                destination, reply_to, correlation_id, headers, dialect, timeout
            )
            sent = post_over(self._session, connection, "SEND", given, body)
            reply = self._wait(connection, correlation_id, sent, destination, timeout)
        finally:
            del self._waited_for[correlation_id]
        failure = failure_in(reply, destination, timeout) if dialect.answers_requests else None
        if failure is not None:
            raise failure
        return reply

    def _wait(
        self,
        connection: Connection,
        correlation_id: str,
        sent: Confirmation,
        destination: str,
        timeout: float,
    ) -> Message:
        def settled() -> bool:
            over = sent.done and sent.outcome is not Outcome.ACCEPTED
            return over or self._waited_for[correlation_id] is not None or not connection.is_open

        try:
            self._session.wait(settled, timeout, "no reply")
        except STOMPTimeout:
            raise STOMPTimeout(f"no reply from {destination} came within {timeout:g} s") from None
        reply = self._waited_for[correlation_id]
        if reply is not None:
            return reply
        sent.check()
        raise unknown_outcome(sent.receipt_id, connection.close_reason)

    def _reply_queue(self, connection: Connection) -> str:
        """Where replies reach us over this connection; made for the first request."""
        with self._lock:
            if self._queue is not None and self._queue[0] == connection.epoch:
                return self._queue[1]
            session, dialect = self._session, connection.dialect
            reply_to = dialect.reply_destination(secrets.token_hex(16))
            if dialect.subscribes_reply_queue:
                wanted = WantedSubscription(session.new_id("s"), reply_to, AckMode.AUTO)
                session.core.adopt(wanted.id, self)
                headers = as_text(wanted.headers_for(dialect, session.core.settings.client_id))
                connection.send(connection.protocol.send("SUBSCRIBE", headers))
            else:
                # The broker subscribes us, under this very name, when it sees it in a request.
                session.core.adopt(reply_to, self)
            self._queue = connection.epoch, reply_to
            return reply_to

    def _deliver(self, frames: list[STOMPFrame], epoch: int) -> None:
        """Give each reply to who waits for it."""
        for frame in frames:
            message = Message._delivered(frame, epoch, self)
            message.settlement = Settlement.ACKED
            correlation_id = message.correlation_id or ""
            if self._waited_for.get(correlation_id, message) is None:
                self._waited_for[correlation_id] = message
            elif status_of(frame) is None:
                self._session.late_replies += 1

    def _lost(self, reason: STOMPException | None) -> None:
        """Leave it: who waits for a reply sees that its connection has ended."""

    def _put_off(self, reason: STOMPException) -> None:
        """Leave it: no reply destination is restored."""

    def _stop_giving(self) -> None:
        """Leave it: a reply may still come until the connection ends."""

    def _end(self, reason: STOMPException | None) -> None:
        """Leave it: who waits for a reply sees that its connection has ended."""

    def _after_fork(self, reason: STOMPException) -> None:
        """Renew the lock, which the parent may have held."""
        self._lock = threading.Lock()

    def health(self) -> None:
        """Tell nothing: this is no subscription of the application's."""

    def ack(self, message: Message, transaction: str | None) -> None:
        """A reply is settled already."""
        message._claim(Settlement.ACKED)

    def nack(
        self,
        message: Message,
        requeue: bool,
        delay: float | None,
        reason: str | None,
        transaction: str | None,
        failed: bool,
        scope: NackScopeWord,
    ) -> None:
        """A reply is settled already."""
        message._claim(Settlement.NACKED)
