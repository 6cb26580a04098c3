"""Requests and their replies: one reply queue for each connection, replies told apart by id.

A reply that nobody waits for any more is counted and dropped. When the connection is lost, so is
the reply queue, and what was asked over it has an unknown outcome.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping

from stompy.errors import STOMPTimeout
from stompy.protocol.frame import AckMode, STOMPFrame
from stompy.session.commands import HeaderValue, as_text, request_headers
from stompy.session.confirmations import Outcome, unknown_outcome
from stompy.session.delivery import Settlement
from stompy.session.wanted import WantedSubscription
from stompy.sync.confirmation import Confirmation
from stompy.sync.lifeline import Epoch, Lifeline
from stompy.sync.message import Message
from stompy.sync.replying import Replier
from stompy.sync.sending import post_over


class Replies(Replier):
    """What came back to one client.

    Args:
        line: its connections.

    Attributes:
        late: how many replies nobody waited for any more.
    """

    _full = _overfull = False
    _waiting = 0

    def __init__(self, line: Lifeline) -> None:
        self._line = line
        self._lock = threading.Lock()
        self._queue: tuple[int, str] | None = None
        self._waited_for: dict[str, Message | None] = {}
        self.late = 0

    def request(
        self,
        destination: str,
        body: bytes | str,
        headers: Mapping[str, HeaderValue],
        timeout: float,
    ) -> Message:
        """Send a request and wait for its reply; see `STOMPClient.request`."""
        epoch = self._line.sending(timeout)
        correlation_id = secrets.token_hex(8)
        self._waited_for[correlation_id] = None
        try:
            reply_to = self._reply_queue(epoch)
            given = request_headers(destination, reply_to, correlation_id, headers, epoch.dialect)
            sent = post_over(self._line, epoch, "SEND", given, body)
            return self._wait(epoch, correlation_id, sent, destination, timeout)
        finally:
            del self._waited_for[correlation_id]

    def _wait(
        self,
        epoch: Epoch,
        correlation_id: str,
        sent: Confirmation,
        destination: str,
        timeout: float,
    ) -> Message:
        def settled() -> bool:
            over = sent.done and sent.outcome is not Outcome.ACCEPTED
            return over or self._waited_for[correlation_id] is not None or not epoch.link.is_open

        try:
            self._line.room.wait(settled, timeout, "no reply")
        except STOMPTimeout:
            raise STOMPTimeout(f"no reply from {destination} came within {timeout:g} s") from None
        reply = self._waited_for[correlation_id]
        if reply is not None:
            return reply
        sent.check()
        raise unknown_outcome(sent.receipt_id, epoch.link.close_reason)

    def _reply_queue(self, epoch: Epoch) -> str:
        """Where replies reach us over this connection; made for the first request."""
        with self._lock:
            if self._queue is not None and self._queue[0] == epoch.number:
                return self._queue[1]
            line, dialect = self._line, epoch.dialect
            reply_to = dialect.reply_destination(secrets.token_hex(16))
            if dialect.subscribes_reply_queue:
                wanted = WantedSubscription(line.new_id("s"), reply_to, AckMode.AUTO)
                line.room.open_box(wanted.id, self)
                headers = as_text(wanted.headers_for(dialect, line.client_id))
                epoch.link.send(epoch.link.protocol.send("SUBSCRIBE", headers))
            else:
                # The broker subscribes us, under this very name, when it sees it in a request.
                line.room.open_box(reply_to, self)
            self._queue = epoch.number, reply_to
            return reply_to

    def _put(self, frames: list[STOMPFrame], epoch: int) -> None:
        """Take replies, from the I/O thread."""
        for frame in frames:
            message = Message._delivered(frame, epoch, self)
            message.settlement = Settlement.ACKED
            correlation_id = message.correlation_id or ""
            if self._waited_for.get(correlation_id, message) is None:
                self._waited_for[correlation_id] = message
            else:
                self.late += 1

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
    ) -> None:
        """A reply is settled already."""
        message._claim(Settlement.NACKED)
