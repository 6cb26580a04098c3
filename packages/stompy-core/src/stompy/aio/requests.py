"""Requests whose replies are awaited, told apart by their ``correlation-id``."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from stompy.aio.connection import Link
from stompy.aio.message import Message
from stompy.aio.replying import Replier, Writer
from stompy.errors import STOMPError, STOMPTimeout
from stompy.protocol.frame import AckMode, STOMPFrame
from stompy.session.commands import HeaderValue, request_headers, subscribe_headers
from stompy.session.delivery import Settlement
from stompy.session.timeouts import within

logger = logging.getLogger("stompy")


class Replying(Writer, Protocol):
    """What requests need of the session."""

    link: Link
    epoch: int

    def adopt(self, sub_id: str, receiver: Requests) -> None:
        """Have the messages of a subscription delivered."""

    def forget(self, sub_id: str) -> None:
        """Have them delivered no more."""

    def urgently(self) -> AbstractContextManager[None]:
        """Entered while somebody waits for an answer."""

    def now(self) -> float:
        """The time of the event loop."""


class Requests(Replier):
    """The requests of a session that wait for their replies.

    Each connection has a reply destination of its own, which is subscribed to with the first
    request over it, where the broker does not do so itself.

    Attributes:
        late: replies nobody waited for any more.
    """

    def __init__(self, session: Replying) -> None:
        self.late = 0
        self._session: Replying = session
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
        link = await session.writable()
        reply_to, correlation_id = self.begin()
        try:
            given = request_headers(destination, reply_to, correlation_id, headers, session.dialect)
            session.write(link, "SEND", given, body)
        except BaseException:
            self.forget(correlation_id)
            raise
        with session.urgently():
            return await self.reply(correlation_id, deadline, destination, timeout)

    def begin(self) -> tuple[str, str]:
        """A request is about to be sent over the link that there is now.

        Returns:
            Where the reply is to go, and its correlation id.

        Raises:
            STOMPConnectionError: there is no connection.
        """
        if self._epoch != self._session.epoch:
            self._listen()
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

    def _listen(self) -> None:
        session = self._session
        token = secrets.token_hex(8)
        dialect = session.dialect
        self._reply_to = dialect.reply_destination(token)
        if self._sub_id:
            session.forget(self._sub_id)
        if dialect.subscribes_reply_queue:
            self._sub_id = f"replies-{token}"
            routing = dialect.destination_headers(self._reply_to, for_subscribe=True)
            headers = subscribe_headers(self._reply_to, self._sub_id, AckMode.AUTO, routing)
            session.write(session.link, "SUBSCRIBE", headers)
        else:
            self._sub_id = self._reply_to
        session.adopt(self._sub_id, self)
        self._epoch = session.epoch

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
        """Replies came."""
        for frame in frames:
            waiting = self._pending.get(frame.Headers.get("correlation-id", ""))
            if waiting is None or waiting.done():
                self.late += 1
                logger.info("a reply came too late: %s", frame)
            else:
                reply = Message._delivered(frame, epoch, self)
                reply.settlement = Settlement.ACKED
                waiting.set_result(reply)

    def _connection_lost(self, reason: STOMPError | None) -> None:
        """The replies went to a destination that is gone."""
        error = self._session.link.error()
        for waiting in self._pending.values():
            if not waiting.done():
                waiting.set_result(error)

    def _put_off(self, reason: STOMPError) -> None:
        """The broker does not give the subscription back yet."""

    def _end(self, reason: STOMPError | None) -> None:
        """Nothing more will come."""
        self._connection_lost(reason)

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
