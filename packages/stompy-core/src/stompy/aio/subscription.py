"""The handle of one subscription: its messages, and what becomes of them.

The invariants:

* A message belongs to the connection it came over. When that has ended, or the subscription has,
  it cannot be settled any more; what was not fetched of it is dropped.
* A message leaves the handle at the moment at which its receiver gets it; cancelling a receiver
  never loses one.
* There are no tasks, but for the workers of `Subscription.handle` while that runs.
* It ends in two steps: it gives no more messages; and, when handlers that are at work have settled
  theirs, it says so to the broker. Else their messages would be done twice.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from types import TracebackType
from typing import Self, cast

from stompy.aio.connection import Connection
from stompy.aio.inbox import Inbox
from stompy.aio.message import Message
from stompy.aio.replying import Replier
from stompy.aio.session import Session
from stompy.aio.waiting import deadline_after
from stompy.errors import (
    STOMPConnectionError,
    STOMPError,
    STOMPException,
    STOMPTimeout,
)
from stompy.protocol.frame import AckMode, STOMPFrame
from stompy.session.arguments import check_message, check_refusal, word_of
from stompy.session.callbacks import check_callable, check_done
from stompy.session.delivery import DRAIN_SECONDS, OnError, OnErrorWord, Settlement, strip
from stompy.session.dialects import NackScopeWord
from stompy.session.health import SubscriptionHealth
from stompy.session.subscription_stats import SubscriptionStats
from stompy.session.subscriptions import settlement_frame
from stompy.session.timeouts import STARVING_SECONDS
from stompy.session.wanted import WantedSubscription

logger = logging.getLogger("stompy")

_worker: ContextVar[asyncio.Task[None] | None] = ContextVar("worker", default=None)
"""Whose handler is running here, also in the tasks and threads that it begins."""


class Subscription(Replier):
    """One subscription, as `STOMPClient.subscription` gives it.

    ``async with`` ends it with the block; ``async for`` goes through its messages. It ends by
    itself when the broker refuses it, or when the client has no connection any more.

    Attributes:
        id: its id, the same on every connection.
        destination: what it subscribes to.
    """

    def __init__(self, session: Session, wanted: WantedSubscription) -> None:
        self.id = wanted.id
        self.destination = wanted.destination
        self._wanted = wanted
        self._session: Session = session
        self._inbox = Inbox(session.made_room)
        self._starves_after: float | None = STARVING_SECONDS
        self._auto = wanted.mode is AckMode.AUTO
        self._ended = False
        self._draining = False
        self._workers: set[asyncio.Task[None]] = set()
        self._last_frames: tuple[dict[str, str], ...] | None = None  # to be said after the handlers
        self._stopped_by: Exception | None = None  # what a handler raised, with ``stop``
        self._reason: Exception | None = None
        self._stats = SubscriptionStats(wanted)
        self._settled = self._stats.settled  # its own name: each message is counted

    # -- receiving ---------------------------------------------------------------------------

    async def get(self, timeout: float | None = None) -> Message:
        """The next message.

        Args:
            timeout: seconds; None waits for as long as the subscription lasts.

        Raises:
            STOMPConnectionError: the connection was lost, and nobody makes it again.
            STOMPError: the subscription has ended.
            STOMPTimeout: nothing came in time.
        """
        deadline = deadline_after(timeout)
        while True:
            message = self._inbox.take()
            if message is not None:
                return cast(Message, message)
            if self._ended or self._draining:
                raise self._why_ended()
            self._session.check_loop()
            if deadline is None:
                await self._wait_without_end()
            else:
                await self._inbox.wait(deadline, partial(self._nothing_came, timeout))

    async def _wait_without_end(self) -> None:
        try:
            await self._inbox.wait(deadline_after(self._starves_after))
        except STOMPTimeout:
            self._report_starving()

    def _report_starving(self) -> None:
        """Tell who waits without end behind its own prefetch of it, once."""
        if self._stats.prefetch_is_used_up(self._session.dialect, len(self._inbox)):
            logger.warning("%s", self._nothing_came(self._starves_after))
            self._starves_after = None

    def _nothing_came(self, timeout: float | None) -> str:
        return self._stats.nothing_came(self._session.dialect, len(self._inbox), timeout)

    async def get_batch(self, n: int, timeout: float | None = None) -> list[Message]:
        """Wait for a message, and take what else is there.

        Args:
            n: how many at most.
            timeout: seconds to wait for the first one.

        Returns:
            From one to ``n`` messages.

        Raises:
            STOMPConnectionError: the connection was lost, and nobody makes it again.
            STOMPError: the subscription has ended.
            STOMPTimeout: nothing came in time.
            ValueError: a batch of nothing.
        """
        if n < 1:
            raise ValueError(f"a batch has 1 message or more, not {n}")
        batch = [await self.get(timeout)]
        while len(batch) < n and (message := self._inbox.take()) is not None:
            batch.append(cast(Message, message))
        return batch

    def __aiter__(self) -> Subscription:
        """Messages as they come, until `unsubscribe` or the client's end.

        Raises:
            STOMPError: the subscription has ended for another reason.
        """
        return self

    async def __anext__(self) -> Message:
        """The next message.

        Raises:
            STOMPError: the subscription has ended for another reason.
        """
        while (message := self._inbox.take()) is None:
            if self._ended or self._draining:
                if self._reason is None:
                    raise StopAsyncIteration
                raise self._reason
            self._session.check_loop()
            await self._wait_without_end()
        return cast(Message, message)

    async def handle(
        self,
        function: Callable[[Message], Awaitable[None] | None],
        concurrency: int = 1,
        on_error: OnErrorWord = OnError.NACK,
    ) -> None:
        """Give each message to a function, until the subscription ends.

        A message that the function has not settled is acknowledged when it returns, whatever it
        returns. It may call anything, also `unsubscribe`, which then takes effect when all handlers
        have returned.

        It runs in tasks of its own. Cancelling this ends them, and not the subscription: it can be
        handled again.

        >>> async def work(message: aio.Message) -> None:  # doctest: +SKIP
        ...     print(message.text)
        >>> await subscription.handle(work, concurrency=4)  # doctest: +SKIP

        Args:
            function: the handler; what it gives is awaited if that is possible.
            concurrency: how many run at once.
            on_error: what happens when it raises: ``nack`` refuses the message, with the name of
                the exception as reason; ``dead-letter`` refuses it for good; ``stop`` refuses
                it and ends the subscription.

        Raises:
            STOMPError: the subscription has ended before, or for a reason of its own.
            TypeError: the function cannot be called, or would do nothing: one with ``yield``.
            ValueError: no such ``on_error``, or a concurrency below 1.
            Exception: with ``stop``: what the handler raised.
        """
        check_callable(function, "a handler")
        if concurrency < 1:
            raise ValueError(f"a concurrency is 1 or more, not {concurrency}")
        policy = word_of(OnError, on_error, "on_error")
        if self._ended or self._draining:
            raise self._why_ended()
        workers = [
            asyncio.create_task(self._work(function, policy), name=f"stompy {self.id} {number}")
            for number in range(concurrency)
        ]
        self._workers.update(workers)
        self._session.working.add(self)
        try:
            done, _ = await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            self._workers.difference_update(workers)
            if not self._workers:
                self._session.working.discard(self)
            if self._last_frames is not None and not self._workers:
                self._leave(self._last_frames)
        for worker in done:
            worker.result()
        if self._stopped_by is not None:
            raise self._stopped_by

    async def _work(self, function: Callable[[Message], object], policy: OnError) -> None:
        _worker.set(asyncio.current_task())
        async for message in self:
            error = await self._handled(function, message)
            try:
                if error is not None:
                    await self._refuse(message, error, requeue=policy is not OnError.DEAD_LETTER)
                elif message.settlement is None:
                    await message.ack()
            except (STOMPException, ValueError) as failure:  # the latter: it names no delivery
                logger.warning("message %s was not settled: %s", message.id, failure)
            if error is not None and policy is OnError.STOP:
                self._stopped_by = self._stopped_by or error
                await self.unsubscribe()

    async def _handled(
        self, function: Callable[[Message], object], message: Message
    ) -> Exception | None:
        """What the function raised for a message."""
        try:
            answer = function(message)
            if inspect.isawaitable(answer):
                answer = await answer
            if answer is not None:
                check_done(answer, function)
        except Exception as error:
            self._stats.handler_failed(error)
            logger.error(
                "a handler of %s failed with message %s",
                self.destination,
                message.id,
                exc_info=error,
            )
            return error
        except BaseException as error:
            with suppress(STOMPException):
                await self._refuse(message, error, requeue=True)
            raise
        return None

    async def _refuse(self, message: Message, error: BaseException, *, requeue: bool) -> None:
        if message.settlement is None:
            await message.nack(requeue=requeue, reason=type(error).__name__)

    # -- the end -----------------------------------------------------------------------------

    async def unsubscribe(self, *, for_good: bool = False, timeout: float = DRAIN_SECONDS) -> None:
        """End the subscription; harmless when repeated.

        Handlers that are at work are waited for, so that what they do is acknowledged; called
        by one of them, it takes effect when all have returned. What was not settled then goes back
        to the broker, and what was not fetched is dropped here.

        Args:
            for_good: whether a durable subscription ends at the broker, too, instead of gathering
                messages until somebody comes back to it.
            timeout: seconds to wait for handlers. Those that take longer are named in the log.

        Raises:
            UnsupportedByBroker: it has no durable subscriptions.
        """
        session = self._session
        if self._ended or self._draining:
            return
        session.check_loop()
        frames = self._wanted.unsubscribe_frames(
            session.dialect, session.core.settings.client_id, for_good=for_good
        )
        if self._auto:
            # What still comes would be lost.
            self._leave(frames)
        elif _worker.get() in self._workers:
            self._last_frames = frames
            self._stop_giving()
            return
        try:
            self._exempt_caller()
            await self._drain(session.now() + timeout)
        finally:
            self._leave(frames)

    def _leave(self, frames: tuple[dict[str, str], ...]) -> None:
        """Say to the broker that it has ended."""
        self._last_frames = None
        if self._ended:
            return
        self._end(None)
        for headers in frames:
            self._session.unsubscribe(self.id, headers)

    async def __aenter__(self) -> Self:
        """Give the handle itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Unsubscribe, waiting for handlers that are at work."""
        await self.unsubscribe()

    def _why_ended(self) -> Exception:
        return (
            self._reason
            or self._stopped_by
            or STOMPError(f"the subscription to {self.destination} has ended")
        )

    def health(self) -> SubscriptionHealth:
        """How the subscription is."""
        session = self._session
        is_put_off = session.wanted.is_put_off(self.id)
        active = session.is_usable and not (self._ended or self._draining or is_put_off)
        return self._stats.health(active=active, waiting=len(self._inbox))

    def __repr__(self) -> str:
        """Id, destination and state."""
        state = "ended" if self._ended else f"{len(self._inbox)} waiting"
        return f"<Subscription {self.id} to {self.destination} {state}>"

    # -- settling ----------------------------------------------------------------------------

    async def ack(self, message: Message, transaction: str | None = None) -> None:
        """Acknowledge a message; see `stompy.aio.Message.ack`."""
        if message.__class__ is not Message:
            check_message(message)
        await self._settle(message, Settlement.ACKED, "ACK", {}, transaction)

    async def nack(
        self,
        message: Message,
        requeue: bool = True,
        delay: float | None = None,
        reason: str | None = None,
        transaction: str | None = None,
        failed: bool = True,
        scope: NackScopeWord = "message",
    ) -> None:
        """Refuse a message; see `stompy.aio.Message.nack`."""
        check_message(message)
        check_refusal(requeue, delay, scope)
        headers: dict[str, str] = {}
        if not self._auto and message.settlement is None:
            headers = self._session.dialect.nack_headers(requeue, delay, reason, failed, scope)
        await self._settle(message, Settlement.NACKED, "NACK", headers, transaction)

    def _connection_of(self, message: Message) -> Connection:
        connection = self._session.connection
        if self._ended or message.epoch != connection.epoch or not connection.is_open:
            self._settled[Settlement.STALE] += 1
            why = "its subscription has ended" if self._ended else "its connection is gone"
            raise message._stale(why)
        return connection

    async def _settle(
        self,
        message: Message,
        settlement: Settlement,
        command: str,
        more: Mapping[str, str],
        transaction: str | None,
    ) -> None:
        if self._auto and settlement is Settlement.ACKED:
            return
        if message.settlement is not None:  # in mode ``auto`` it always is
            self._claim(message, settlement)
            return
        session = self._session
        session.dialect.check_settlement(transaction)
        connection = self._connection_of(message)
        if transaction is not None:
            session.core.resending.let_go(transaction)
        if connection.congested or transaction is not None:
            # A message that became stale while we waited is told apart below.
            with suppress(STOMPConnectionError):
                await session.writable(transaction)
            connection = self._connection_of(message)
        data = settlement_frame(connection.protocol, command, message, more, transaction)
        if self._claim(message, settlement):
            connection.write(data)
            if transaction is not None:
                session.transactions.settled(transaction, message)

    def _claim(self, message: Message, settlement: Settlement) -> bool:
        if not message._claim(settlement):
            return False
        self._settled[settlement] += 1
        return True

    # -- what the session tells --------------------------------------------------------------

    @property
    def _full(self) -> bool:
        """Whether it wants no more for the time being."""
        return self._inbox.full

    @property
    def _overfull(self) -> bool:
        """Whether it wants no more even if somebody waits for an answer."""
        return self._inbox.overfull

    @property
    def _waiting(self) -> int:
        """How many messages came and were not fetched yet."""
        return len(self._inbox)

    def _deliver(self, frames: list[STOMPFrame], epoch: int) -> None:
        """Take messages that came over a connection."""
        if self._draining or self._ended:
            return
        self._stats.received += len(frames)
        messages = [Message._delivered(frame, epoch, self) for frame in frames]
        if self._session.dialect.passed_on:
            strip(messages, self._session.dialect.passed_on)
        if self._auto:
            for message in messages:
                message.settlement = Settlement.ACKED
        self._inbox.put(messages, sum(len(frame.Body) for frame in frames))

    def _lost(self, reason: STOMPException | None) -> None:
        """Drop what would be settled in vain."""
        if not self._auto:
            self._inbox.discard()
            self._stats.connection_lost()

    def _put_off(self, reason: STOMPException) -> None:
        """Note that the broker does not give the subscription back yet."""
        self._stats.last_error = reason

    def _stop_giving(self) -> None:
        """Give no more messages: the client is about to disconnect."""
        self._draining = True
        self._inbox.discard()
        self._inbox.look_again()

    def _end(self, reason: STOMPException | None) -> None:
        """End, for this reason or by our own wish; harmless when repeated."""
        if not self._ended:
            self._ended = True
            if reason is not None:
                self._reason = self._stats.last_error = reason
            if not self._auto or reason is None:
                self._inbox.discard()
            self._inbox.end()

    def _after_fork(self, reason: STOMPException) -> None:
        """End in a child process: the messages belong to the parent."""
        self._lost(reason)
        self._end(reason)

    def _exempt_caller(self) -> None:
        """Whoever calls this, perhaps a handler, is not to be waited for."""
        here = _worker.get()
        self._workers = {worker for worker in self._workers if worker is not here}

    async def _drain(self, deadline: float) -> None:
        """Give no more messages, and wait for handlers that are at work."""
        self._stop_giving()
        if not self._workers:
            return
        left = max(0.0, deadline - self._session.now())
        _, late = await asyncio.wait(self._workers, timeout=left)
        if late:
            logger.warning(
                "%d of the handlers of %s did not come to an end in time; what they are doing "
                "will not be acknowledged, and is done again",
                len(late),
                self.destination,
            )
