"""Requests whose replies are awaited, told apart by their ``correlation-id``."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping

from stompy.aio.connection import Connection
from stompy.aio.message import Message
from stompy.aio.replying import Replier
from stompy.aio.session import Session
from stompy.errors import STOMPError, STOMPException, STOMPTimeout
from stompy.protocol.frame import AckMode, STOMPFrame
from stompy.session.commands import HeaderValue, request_headers, subscribe_headers
from stompy.session.delivery import Settlement
from stompy.session.timeouts import within

logger = logging.getLogger("stompy")


class Requests(Replier):
    """The requests of a session that wait for their replies.

    Each connection has a reply destination of its own, which is subscribed to with the first
    request over it, where the broker does not do so itself.

    """

    def __init__(self, session: Session) -> None:
        self._session: Session = session
        self._pending: dict[str, asyncio.Future[Message | STOMPError]] = {}
        self._epoch = 0
        self._sub_id = ""
        self._reply_to = ""

    def __len__(self) -> int:
        """How many wait."""
        return len(self._pending)

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
        reply_to, correlation_id = self.begin(connection)
        try:
            given = request_headers(destination, reply_to, correlation_id, headers, session.dialect)
            session.write(connection, "SEND", given, body)
        except BaseException:
            self.forget(correlation_id)
            raise
        with session.urgently():
            return await self.reply(correlation_id, deadline, destination, timeout)

    def begin(self, connection: Connection) -> tuple[str, str]:
        """Prepare for the reply to a request that is about to be sent over a connection.

        Returns:
            Where the reply is to go, and its correlation id.

        Raises:
            STOMPConnectionError: there is no connection.
        """
        if self._epoch != connection.epoch:
            self._listen(connection)
        correlation_id = secrets.token_hex(8)
        self._pending[correlation_id] = asyncio.get_running_loop().create_future()
        return self._reply_to, correlation_id

    async def reply(
        self, correlation_id: str, deadline: float, destination: str, timeout: float
    ) -> Message:
        """Wait for a reply; the last two are for the exception.

        Raises:
            STOMPTimeout: it did not come in time.
            STOMPError: the connection ended first, or the broker refused the request.
        """
        try:
            async with asyncio.timeout_at(deadline):
                answer = await self._pending[correlation_id]
        except TimeoutError:
            raise STOMPTimeout(f"no reply from {destination} came{within(timeout)}") from None
        finally:
            self.forget(correlation_id)
        if isinstance(answer, STOMPError):
            raise answer
        return answer

    def forget(self, correlation_id: str) -> None:
        """Nobody waits for this one any more."""
        self._pending.pop(correlation_id, None)

    def _listen(self, connection: Connection) -> None:
        session = self._session
        token = secrets.token_hex(8)
        dialect = connection.dialect
        self._reply_to = dialect.reply_destination(token)
        if self._sub_id:
            session.core.release(self._sub_id)
        if dialect.subscribes_reply_queue:
            self._sub_id = f"replies-{token}"
            routing = dialect.destination_headers(self._reply_to, for_subscribe=True)
            headers = subscribe_headers(self._reply_to, self._sub_id, AckMode.AUTO, routing)
            session.write(connection, "SUBSCRIBE", headers)
        else:
            self._sub_id = self._reply_to
        session.core.adopt(self._sub_id, self)
        self._epoch = connection.epoch

    # -- what the session tells --------------------------------------------------------------

    @property
    def _full(self) -> bool:
        """Whether it wants no more: it keeps nothing."""
        return False

    @property
    def _overfull(self) -> bool:
        """The same, if somebody waits for an answer."""
        return False

    @property
    def _waiting(self) -> int:
        """How many it has that nobody has fetched."""
        return 0

    def _deliver(self, frames: list[STOMPFrame], epoch: int) -> None:
        """Give each reply to who waits for it."""
        for frame in frames:
            waiting = self._pending.get(frame.Headers.get("correlation-id", ""))
            if waiting is None or waiting.done():
                self._session.late_replies += 1
                logger.info("a reply came too late: %s", frame)
            else:
                reply = Message._delivered(frame, epoch, self)
                reply.settlement = Settlement.ACKED
                waiting.set_result(reply)

    def _lost(self, reason: STOMPException | None) -> None:
        """Give up what is waited for: the replies went to a destination that is gone."""
        error = self._session.connection.error()
        for waiting in self._pending.values():
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

    # -- what replies ask: they are settled already --------------------------------------------

    async def ack(self, message: Message, transaction: str | None) -> None:
        """Nothing is to be done."""

    async def nack(
        self,
        message: Message,
        requeue: bool,
        delay: float | None,
        reason: str | None,
        transaction: str | None,
    ) -> None:
        """Nothing is to be done."""
