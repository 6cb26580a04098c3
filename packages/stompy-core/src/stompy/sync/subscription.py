"""A subscription in hand: its messages one by one, in batches, or given to handlers.

The invariants:

* A handle lasts as long as it is wanted, over any number of connections, with one id.
* Its messages wait in an inbox of its own. When a connection is lost, those that would have to be
  settled leave it, because the broker has them back; those of mode ``auto`` stay.
* A message is settled on the connection that brought it, or not at all.
* Handlers run on worker threads of the handle. What one raises concerns its message only, unless
  ``on_error`` says otherwise.
* It ends in two steps: it gives no more messages; and, when handlers that are at work have settled
  theirs, it says so to the broker. Else their messages would be done twice.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from time import monotonic
from types import TracebackType
from typing import Self, cast

from stompy.errors import (
    StaleMessageError,
    STOMPConnectionError,
    STOMPError,
    STOMPException,
    STOMPTimeout,
)
from stompy.protocol.frame import AckMode, STOMPFrame
from stompy.session.arguments import check_message, check_refusal, word_of
from stompy.session.callbacks import check_done, check_plain
from stompy.session.delivery import DRAIN_SECONDS, OnError, OnErrorWord, Settlement, strip
from stompy.session.dialects import NackScopeWord
from stompy.session.health import SubscriptionHealth
from stompy.session.subscription_stats import SubscriptionStats
from stompy.session.subscriptions import settlement_frame
from stompy.session.timeouts import STARVING_SECONDS
from stompy.session.wanted import WantedSubscription
from stompy.sync.connection import Connection
from stompy.sync.inbox import Inbox
from stompy.sync.message import Message
from stompy.sync.replying import Replier
from stompy.sync.session import Session
from stompy.transport.threads import WaitableThread

logger = logging.getLogger("stompy")


class Subscription(Replier):
    """One subscription, as `STOMPClient.subscription` gives it.

    ``with`` ends it with the block; ``for`` goes through its messages. It ends by itself when the
    broker refuses it, or when the client has no connection any more.

    Attributes:
        id: its id, the same on every connection.
        destination: what it subscribes to.
    """

    def __init__(self, session: Session, wanted: WantedSubscription) -> None:
        self.id = wanted.id
        self.destination = wanted.destination
        self._wanted = wanted
        self._auto = wanted.mode is AckMode.AUTO
        self._session = session
        self._inbox = Inbox(session.made_room, session.hurry)
        self._starves_after: float | None = STARVING_SECONDS
        self._lock = threading.Lock()
        self._ended = False
        self._reason: BaseException | None = None
        self._workers: set[WaitableThread] = set()
        self._at_work = 0
        self._leaves_for_good: bool | None = None  # what the last handler is to say to the broker
        self._stats = SubscriptionStats(wanted)
        self._settled = self._stats.settled  # its own name: each message is counted

    # -- receiving ---------------------------------------------------------------------------

    def get(self, timeout: float | None = None) -> Message:
        """The next message.

        Args:
            timeout: seconds; None waits for as long as the subscription lasts.

        Raises:
            STOMPConnectionError: the connection was lost, and nobody makes it again.
            STOMPError: the subscription has ended.
            STOMPTimeout: nothing came in time.
        """
        while True:
            try:
                frame = self._inbox.get(self._starves_after if timeout is None else timeout)
                break
            except STOMPTimeout:
                if timeout is not None:
                    raise STOMPTimeout(self._nothing_came(timeout)) from None
                self._report_starving()
        if frame is None:
            raise self._why_ended()
        return cast("Message", frame)

    def _report_starving(self) -> None:
        """Tell who waits without end behind its own prefetch of it, once."""
        if self._stats.prefetch_is_used_up(self._session.dialect, len(self._inbox)):
            logger.warning("%s", self._nothing_came(self._starves_after))
            self._starves_after = None

    def _nothing_came(self, timeout: float | None) -> str:
        return self._stats.nothing_came(self._session.dialect, len(self._inbox), timeout)

    def get_batch(self, n: int, timeout: float | None = None) -> list[Message]:
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
            raise ValueError(f"a batch has one message or more, not {n}")
        batch = [self.get(timeout)]
        while len(batch) < n:
            try:
                frame = self._inbox.get(0)
            except STOMPTimeout:
                break
            if frame is None:
                break
            batch.append(cast("Message", frame))
        return batch

    def __iter__(self) -> Iterator[Message]:
        """Messages as they come, until `unsubscribe` or the client's end.

        Raises:
            STOMPError: the subscription has ended for another reason.
        """
        while True:
            try:
                while (frame := self._inbox.get(self._starves_after)) is not None:
                    yield cast("Message", frame)
                break
            except STOMPTimeout:
                self._report_starving()
        self._check_reason()

    def handle(
        self,
        function: Callable[[Message], None],
        concurrency: int = 1,
        on_error: OnErrorWord = OnError.NACK,
    ) -> None:
        """Give each message to a function, until the subscription ends.

        A message that the function has not settled is acknowledged when it returns, whatever it
        returns. It may call anything, also `unsubscribe`, which then takes effect when all handlers
        have returned.

        It runs on threads of its own. Ctrl-C here ends the handlers, having waited for those at
        work, and not the subscription: it can be handled again.

        >>> def work(message: stompy.Message) -> None:  # doctest: +SKIP
        ...     print(message.text)
        >>> subscription.handle(work, concurrency=4)  # doctest: +SKIP

        Args:
            function: the handler.
            concurrency: how many run at once.
            on_error: what happens when it raises: ``nack`` refuses the message, with the name of
                the exception as reason; ``dead-letter`` refuses it for good; ``stop`` refuses
                it and ends the subscription.

        Raises:
            STOMPError: the subscription has ended before, or for a reason of its own.
            TypeError: the function cannot be called, or would do nothing: one with ``async`` or
                ``yield``.
            ValueError: no such ``on_error``, or a concurrency below 1.
            BaseException: with ``stop``: what the handler raised.
        """
        check_plain(
            function, "a handler of the blocking client", "stompy.aio has a client that does"
        )
        if concurrency < 1:
            raise ValueError(f"a concurrency is 1 or more, not {concurrency}")
        policy = word_of(OnError, on_error, "on_error")
        if self._ended:
            raise self._why_ended()
        interrupted = threading.Event()
        workers = [
            WaitableThread(
                lambda: self._work(function, policy, interrupted),
                f"stompy handler {number} of {self.id}",
            )
            for number in range(concurrency)
        ]
        self._session.working.add(self)
        # Before they start: nobody must miss a handler that is quick.
        self._workers.update(workers)
        with self._lock:
            self._at_work += concurrency
        try:
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.wait()
            self._session.working.discard(self)
        except BaseException:
            # Ctrl-C here is not to leave handlers at work behind.
            interrupted.set()
            self._inbox.look_again()
            deadline = monotonic() + DRAIN_SECONDS
            for worker in workers:
                worker.wait(max(0.0, deadline - monotonic()))
            raise
        self._check_reason()

    def _work(
        self,
        function: Callable[[Message], object],
        policy: OnError,
        interrupted: threading.Event,
    ) -> None:
        while (frame := self._inbox.get_unless(interrupted.is_set)) is not None:
            message = cast("Message", frame)
            try:
                answer = function(message)
                if answer is not None:
                    check_done(answer, function)
            except BaseException as error:
                self._failed(message, error, policy)
            else:
                self._finish(message)
        with self._lock:
            self._at_work -= 1
            for_good = None
            if not self._at_work:
                for_good, self._leaves_for_good = self._leaves_for_good, None
        if for_good is not None:
            try:
                self._leave(for_good)
            except STOMPException as failure:
                logger.warning("the broker was not told of the end of %s: %s", self, failure)

    def _finish(self, message: Message) -> None:
        if message.settlement is None:
            try:
                message.ack()
            except (STOMPException, ValueError) as error:  # the latter: it names no delivery
                logger.warning("message %s was not acknowledged: %s", message.id, error)

    def _failed(self, message: Message, error: BaseException, policy: OnError) -> None:
        with self._lock:
            self._stats.handler_failed(error)
        logger.error(
            "a handler of %s failed with message %s", self.destination, message.id, exc_info=error
        )
        if message.settlement is None:
            try:
                message.nack(requeue=policy is not OnError.DEAD_LETTER, reason=type(error).__name__)
            except (STOMPException, ValueError) as failure:
                logger.warning("message %s was not refused: %s", message.id, failure)
        if policy is OnError.STOP:
            self._reason = error
            self.unsubscribe()

    # -- the end -----------------------------------------------------------------------------

    def unsubscribe(self, *, for_good: bool = False, timeout: float = DRAIN_SECONDS) -> None:
        """End the subscription; harmless when repeated.

        Handlers that are at work are waited for, so that what they do is acknowledged; called
        by one of them, it takes effect when all have returned. What was not settled then goes back
        to the broker, and what was not fetched is dropped here.

        Args:
            for_good: whether a durable subscription ends at the broker, too, instead of gathering
                messages until somebody comes back to it.
            timeout: seconds to wait for handlers. Those that take longer are named in the log.

        Raises:
            STOMPTimeout: the broker takes nothing.
            UnsupportedByBroker: it has no durable subscriptions.
        """
        if not self._end(None):
            return
        if self._auto:
            # Nothing will be settled, and what still comes would be lost.
            self._leave(for_good)
        elif threading.current_thread() in self._workers:
            with self._lock:
                self._leaves_for_good = for_good
            return
        try:
            self._exempt_caller()
            self._drain(monotonic() + timeout)
        finally:
            if not self._auto:
                self._leave(for_good)

    def _leave(self, for_good: bool) -> None:
        """Say to the broker that it has ended."""
        connection = self._session.unwant(self.id)
        if connection is None or not connection.is_open:
            return
        frames = self._wanted.unsubscribe_frames(
            connection.dialect, self._session.core.settings.client_id, for_good=for_good
        )
        try:
            for headers in frames:
                connection.send(connection.protocol.send("UNSUBSCRIBE", headers))
        except STOMPConnectionError:
            logger.debug("subscription %s ended with its connection", self.id)

    def __enter__(self) -> Self:
        """Give the handle itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Unsubscribe, waiting for handlers that are at work."""
        try:
            self.unsubscribe()
        except STOMPException:
            if error is None:
                raise

    def _why_ended(self) -> BaseException:
        if self._reason is not None:
            return self._reason
        return STOMPError(f"the subscription to {self.destination} has ended")

    def _check_reason(self) -> None:
        if self._reason is not None:
            raise self._reason

    def health(self) -> SubscriptionHealth:
        """How the subscription is."""
        session = self._session
        is_put_off = session.wanted.is_put_off(self.id)
        active = session.is_usable and not self._ended and not is_put_off
        return self._stats.health(active=active, waiting=len(self._inbox))

    def __repr__(self) -> str:
        """Id, destination and state."""
        state = "ended" if self._ended else f"{len(self._inbox)} waiting"
        return f"<Subscription {self.id} to {self.destination} {state}>"

    # -- settling ----------------------------------------------------------------------------

    def ack(self, message: Message, transaction: str | None = None) -> None:
        """Acknowledge a message; see `Message.ack`."""
        if self._auto:
            return
        if message.__class__ is not Message:
            check_message(message)
        if message.settlement is not None:
            message._claim(Settlement.ACKED)
            return
        connection = self._connection_of(message)
        connection.dialect.check_settlement(transaction)
        self._settle(connection, message, "ACK", Settlement.ACKED, {}, transaction)

    def nack(
        self,
        message: Message,
        requeue: bool = True,
        delay: float | None = None,
        reason: str | None = None,
        transaction: str | None = None,
        failed: bool = True,
        scope: NackScopeWord = "message",
    ) -> None:
        """Refuse a message; see `Message.nack`."""
        check_message(message)
        check_refusal(requeue, delay, scope)
        if message.settlement is not None:  # in mode ``auto`` it always is
            message._claim(Settlement.NACKED)
            return
        connection = self._connection_of(message)
        connection.dialect.check_settlement(transaction)
        more = connection.dialect.nack_headers(requeue, delay, reason, failed, scope)
        self._settle(connection, message, "NACK", Settlement.NACKED, more, transaction)

    def _connection_of(self, message: Message) -> Connection:
        connection = self._session.connection_of(message.epoch)
        if connection is None:
            raise self._stale(message, "its connection is gone")
        if self.id not in self._session.wanted:
            raise self._stale(message, "its subscription has ended")
        return connection

    def _stale(self, message: Message, why: str) -> StaleMessageError:
        with self._lock:
            self._settled[Settlement.STALE] += 1
        return message._stale(why)

    def _settle(
        self,
        connection: Connection,
        message: Message,
        command: str,
        settlement: Settlement,
        more: dict[str, str],
        transaction: str | None,
    ) -> None:
        frame = settlement_frame(connection.protocol, command, message, more, transaction)
        if transaction is not None:
            self._session.core.resending.let_go(transaction)
            self._session.writable(transaction)
        message.settlement = settlement
        try:
            connection.send(frame)
        except STOMPConnectionError as error:
            raise self._stale(message, "its connection is gone") from error
        except BaseException:
            message.settlement = None
            raise
        with self._lock:
            self._settled[settlement] += 1
        if transaction is not None:
            self._session.transactions.settled(transaction, message)

    # -- what the session tells --------------------------------------------------------------

    @property
    def _full(self) -> bool:
        """Whether so much waits that the reader should."""
        return self._inbox.full

    @property
    def _overfull(self) -> bool:
        """Whether the reader should even if somebody waits for an answer."""
        return self._inbox.overfull

    @property
    def _waiting(self) -> int:
        """How many messages came and were not fetched yet."""
        return len(self._inbox)

    def _deliver(self, frames: list[STOMPFrame], epoch: int) -> None:
        """Take messages that came over a connection."""
        if self._ended:
            return
        messages = [Message._delivered(frame, epoch, self) for frame in frames]
        if self._session.dialect.passed_on:
            strip(messages, self._session.dialect.passed_on)
        if self._auto:
            for message in messages:
                message.settlement = Settlement.ACKED
        self._stats.received += len(messages)
        self._inbox.put(messages, sum([len(message.Body) for message in messages]))

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
        self._end(None)

    def _end(self, reason: STOMPException | None) -> bool:
        """End, for this reason or by our own wish; false if that is so already."""
        with self._lock:
            if self._ended:
                return False
            self._ended = True
            if reason is not None and self._reason is None:
                self._reason = self._stats.last_error = reason
        if reason is None or not self._auto:
            self._inbox.discard()
        self._inbox.end()
        return True

    def _after_fork(self, reason: STOMPException) -> None:
        """End in a child process: the messages belong to the parent."""
        self._lock = threading.Lock()
        self._ended = True
        self._reason = reason
        self._inbox.after_fork()

    def _exempt_caller(self) -> None:
        """Whoever calls this, perhaps a handler, is not to be waited for."""
        here = threading.current_thread()
        if isinstance(here, WaitableThread):
            self._workers.discard(here)

    def _drain(self, deadline: float) -> None:
        """Wait for handlers that are at work, and say if there is no end to it."""
        workers = tuple(self._workers)
        for worker in workers:
            worker.wait(max(0.0, deadline - monotonic()))
        late = sum(not worker.is_over for worker in workers)
        if late:
            logger.warning(
                "%d of the handlers of %s did not come to an end in time; what they are doing "
                "will not be acknowledged, and is done again",
                late,
                self.destination,
            )
