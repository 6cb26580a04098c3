"""Requests and their replies: one reply queue for each connection, replies told apart by id.

A reply that nobody waits for any more is counted and dropped. When the connection is lost, so is
the reply queue, and what was asked over it has an unknown outcome.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping

from stompy.aio.connection import Connection
from stompy.aio.message import Message
from stompy.aio.replying import Replier
from stompy.aio.session import Session
from stompy.errors import OutcomeUnknown, STOMPError, STOMPException, STOMPTimeout
from stompy.protocol.frame import AckMode, STOMPFrame
from stompy.session.commands import HeaderValue, request_headers, subscribe_headers
from stompy.session.delivery import Settlement
from stompy.session.dialects import NackScopeWord
from stompy.session.request_answers import failure_in, status_of
from stompy.session.timeouts import within

logger = logging.getLogger("stompy")


class Requests(Replier):
    """The requests of a session that wait for their replies."""

    _full = _overfull = False
    _waiting = 0

    def __init__(self, session: Session) -> None:
        self._session = session
        self._queue: tuple[int, str, str] | None = None
        self._waited_for: dict[str, asyncio.Future[Message | STOMPError]] = {}

    async def request(
        self,
        destination: str,
        body: bytes | str,
        headers: Mapping[str, HeaderValue],
        timeout: float,
    ) -> Message:
        """Send a request and wait for its reply; see `STOMPClient.request`."""
        session = self._session
        deadline = session.now() + timeout
        connection = await session.writable()
        correlation_id = secrets.token_hex(8)
        reply_to = self._reply_queue(connection)
        self._waited_for[correlation_id] = asyncio.get_running_loop().create_future()
        try:
            dialect = connection.dialect
            given = request_headers(
                destination, reply_to, correlation_id, headers, dialect, timeout
            )
            session.write(connection, "SEND", given, body)
            reply = await self._wait(correlation_id, deadline, destination, timeout)
        finally:
            del self._waited_for[correlation_id]
        failure = failure_in(reply, destination, timeout) if dialect.answers_requests else None
        if failure is not None:
            raise failure
        return reply

    async def _wait(
        self, correlation_id: str, deadline: float, destination: str, timeout: float
    ) -> Message:
        try:
            with self._session.priority_read():
                async with asyncio.timeout_at(deadline):
                    answer = await self._waited_for[correlation_id]
        except TimeoutError:
            raise STOMPTimeout(f"no reply from {destination} came{within(timeout)}") from None
        if isinstance(answer, STOMPError):
            raise answer
        return answer

    def _reply_queue(self, connection: Connection) -> str:
        """Where replies reach us over this connection; made for the first request."""
        if self._queue is not None:
            epoch, reply_to, sub_id = self._queue
            if epoch == connection.epoch:
                return reply_to
            self._session.core.release(sub_id)
        session, dialect = self._session, connection.dialect
        token = secrets.token_hex(8)
        reply_to = sub_id = dialect.reply_destination(token)
        if dialect.subscribes_reply_queue:
            sub_id = f"replies-{token}"
            routing = dialect.destination_headers(reply_to, for_subscribe=True)
            headers = subscribe_headers(reply_to, sub_id, AckMode.AUTO, routing)
            session.write(connection, "SUBSCRIBE", headers)
        # Else the broker subscribes us, under this very name, when it sees it in a request.
        session.core.adopt(sub_id, self)
        self._queue = connection.epoch, reply_to, sub_id
        return reply_to

    def _deliver(self, frames: list[STOMPFrame], epoch: int) -> None:
        """Give each reply to who waits for it."""
        for frame in frames:
            waiting = self._waited_for.get(frame.Headers.get("correlation-id", ""))
            if waiting is None or waiting.done():
                if status_of(frame) is not None:
                    continue  # the broker's word, which we knew already
                self._session.late_replies += 1
                logger.info("a reply came too late: %s", frame)
            else:
                reply = Message._delivered(frame, epoch, self)
                reply.settlement = Settlement.ACKED
                waiting.set_result(reply)

    def _lost(self, reason: STOMPException | None) -> None:
        """Give up what is waited for: the replies went to a destination that is gone."""
        error = self._session.connection.error()
        if error.Frame is None:  # else it may be the broker's word about the request
            error = OutcomeUnknown(error.Message)
            error.__cause__ = reason
        for waiting in self._waited_for.values():
            if not waiting.done():
                waiting.set_result(error)

    def _put_off(self, reason: STOMPException) -> None:
        """Leave it: no reply destination is restored."""

    def _stop_giving(self) -> None:
        """Leave it: a reply may still come until the connection ends."""

    def _end(self, reason: STOMPException | None) -> None:
        """Give up what is waited for."""
        self._lost(reason)

    def _after_fork(self, reason: STOMPException) -> None:
        """Give up what is waited for; the parent has it."""
        self._lost(reason)

    def health(self) -> None:
        """Tell nothing: this is no subscription of the application's."""

    async def ack(self, message: Message, transaction: str | None) -> None:
        """A reply is settled already."""

    async def nack(
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
