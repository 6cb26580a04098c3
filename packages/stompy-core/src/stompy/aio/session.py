"""The life of a client, on an event loop: `ClientSession` with its timer and the connection.

The invariants:

* What is decided, is decided by `core`. After everything that it is told, `_attend` does at once
  what it gives, and sets the one timer.
* There is no task, but for one while a round of attempts to connect again is under way.
* All frames for nobody in particular stand in one inbox. A connection that is lost takes those with
  it that would have to be settled.
"""

from __future__ import annotations

import asyncio
import logging
import random
import weakref
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

from stompy.aio.confirmation import Confirmation
from stompy.aio.connection import Connection, Owner
from stompy.aio.inbox import Inbox
from stompy.aio.waiting import Signal, deadline_after
from stompy.errors import STOMPConnectionError, STOMPError, STOMPException, STOMPTimeout
from stompy.protocol.frame import STOMPFrame, as_body
from stompy.session.address import Address
from stompy.session.clock import seconds_of
from stompy.session.commands import HeaderValue, as_text, unsubscribe_headers
from stompy.session.confirmations import Outcome
from stompy.session.effects import Drop
from stompy.session.handshake import other_loop
from stompy.session.health import ClientHealth
from stompy.session.receivers import Receiver
from stompy.session.resubscription import AT_ONCE, SubscriptionReceipt
from stompy.session.session import ClientSession, SessionSettings
from stompy.session.state import FORGOTTEN, ConnectionState, StateChange
from stompy.session.subscriptions import AckDuty, Subscriptions
from stompy.session.timeouts import within
from stompy.session.wanted import WantedSubscription
from stompy.transport.forks import tell_children

logger = logging.getLogger("stompy")


class Handling(Protocol):
    """A subscription whose handlers may be at work."""

    def _exempt_caller(self) -> None:
        """Do not wait for whoever calls this, perhaps a handler."""

    async def _drain(self, deadline: float) -> None:
        """Wait for handlers that are at work."""


class Session(Owner):
    """One `connect`, and what follows from it. For tasks of its event loop.

    Args:
        settings: how it keeps itself.
        dial: one round over addresses; the connection works for the owner given.
        observer: is told the changes of state.
        numbers: what ids are made of; no two of one client may be the same.

    Attributes:
        core: what decides.
        connection: the newest one, if `has_connection`; perhaps it has ended, or is not ready yet.
        subscriptions: what is owed for its messages.
        dialect: the ways of the last broker that answered.
        inbox: frames for nobody in particular.
        error_is_reported: whether `recv` or another call has raised the broker's ERROR.
        working: handles whose handlers may be at work.
        late_replies: how many replies came that nobody waited for any more.
    """

    connection: Connection

    def __init__(
        self,
        settings: SessionSettings,
        dial: Callable[[Owner, Sequence[Address]], Awaitable[Connection]],
        observer: Callable[[StateChange], object] | None,
        numbers: Iterator[int],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock, self._now = settings.clock, seconds_of(settings.clock, self._loop.time)
        self.core: ClientSession[Connection] = ClientSession(
            settings,
            numbers,
            random.random,  # pauses need to differ, not to be secret
            self.now(),
        )
        self.reconnects = self.core.reconnects
        self.wanted = self.core.wanted
        self.transactions = self.core.transactions
        self.new_id = self.core.new_id
        self.ids = self.core.resending.ids
        self.dialect = self.core.dialect
        self.has_connection = False
        self.subscriptions = Subscriptions(None)
        self.inbox = Inbox(self.made_room)
        self.error_is_reported = False
        self.working: set[Handling] = set()
        self.late_replies = 0
        self._dial = dial
        self._observer = observer
        self._observer_errors = 0
        self._published = False
        self._urgent = 0
        self._changed, self._settled = Signal(), Signal()
        self._timer: asyncio.TimerHandle | None = None
        self._opening: asyncio.Task[object] | None = None
        self._round: asyncio.Task[None] | None = None
        _sessions.add(self)

    # -- what there is -----------------------------------------------------------------------

    @property
    def state(self) -> ConnectionState:
        """Where the client stands."""
        return self.core.state

    @property
    def is_usable(self) -> bool:
        """Whether frames can be sent."""
        return self.core.is_usable

    @property
    def is_foreign(self) -> bool:
        """Whether another process made the connection, and this one is its fork."""
        return self.has_connection and self.connection.is_foreign

    def error(self) -> STOMPConnectionError:
        """What to raise to who uses a session that has ended."""
        reason = self.core.reason
        if reason is None or reason is self.connection.close_reason:
            return self.connection.error()
        frame = reason.Frame if isinstance(reason, STOMPError) else None
        error = STOMPConnectionError(f"not connected any more: {reason}", frame)
        error.__cause__ = reason
        return error

    def health(self) -> ClientHealth:
        """How the client and each of its subscriptions are."""
        now = self.now()
        silence = now - self.connection.last_received if self.is_usable else None
        return self.core.health(now, silence, self._observer_errors, self.late_replies)

    def now(self) -> float:
        """The time that it goes by."""
        return self._now()

    def check_loop(self) -> None:
        """See that it is used where it was made. In a fork other exceptions say more.

        Raises:
            RuntimeError: on another event loop, perhaps in another thread.
        """
        if asyncio.get_running_loop() is not self._loop and not self.is_foreign:
            raise other_loop(self.core.lifecycle.address)

    # -- connecting --------------------------------------------------------------------------

    async def open(self) -> Connection:
        """Make the first connection.

        Raises:
            STOMPConnectionError: no broker answered.
            STOMPError: the broker refused.
        """
        core = self.core
        self._opening = opening = asyncio.current_task()
        assert opening is not None
        core.connect(self.now())
        self._attend()
        try:
            await self._first_connection()
        except BaseException as error:
            closed = core.state is ConnectionState.CLOSED
            core.give_up(error if isinstance(error, STOMPException) else None, self.now())
            self._attend()
            if closed and isinstance(error, asyncio.CancelledError) and not opening.uncancel():
                raise STOMPConnectionError("closed before a connection was made") from None
            raise
        finally:
            self._opening = None
        return self.connection

    async def _first_connection(self) -> None:
        core = self.core
        while True:
            while not core.round_is_due(self.now()):
                await self._changed.wait(core.round_at)
            try:
                await self._dial(self, core.begin_round())
            except STOMPException as error:
                core.round_failed(error, self.now())
                if core.is_over:
                    raise
            else:
                return

    def give_up(self) -> None:
        """Make no first connection, if that is what goes on."""
        self.core.leave(self.now())
        if self._opening is not None:
            self._opening.cancel()

    def retry_now(self) -> None:
        """Wait no longer for the next round, if one is waited for."""
        self.core.retry_now(self.now())
        self._attend()
        self._changed.wake()

    async def wait_ready(self, timeout: float | None) -> None:
        """Wait until frames can be sent.

        Raises:
            STOMPTimeout: that did not come in time.
            STOMPConnectionError: nobody connects any more.
        """
        deadline = deadline_after(timeout)
        while self.core.ready is None:
            if self.core.is_over:
                raise self.error()
            if not await self._changed.wait(deadline):
                reason = self.core.lifecycle.last_error or "connecting"
                raise STOMPTimeout(f"no connection{within(timeout)}: {reason}")

    # -- what is due -------------------------------------------------------------------------

    def _attend(self) -> None:
        """Do what is due, and see that what is not yet will be done."""
        core = self.core
        while (due := core.next_deadline()) is not None and due <= (now := self.now()):
            if due != AT_ONCE and core.round_is_due(now):
                break
            for effect in core.poll(now):
                if isinstance(effect, StateChange):
                    self._loop.call_soon(self._observe, effect)
                elif isinstance(effect, Drop):
                    effect.connection.abort()
                else:
                    with suppress(STOMPConnectionError):
                        effect.connection.write(effect.frame)
        if core.ready is not None and not self._published:
            self._published = True
            self.connection.congested = False
            self._changed.wake()
        if core.ended:
            self._finish()
        self._set_timer()

    def _set_timer(self) -> None:
        core = self.core
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._opening is not None or self._round is not None:
            return
        now = self.now()
        if core.round_is_due(now):
            self._round = self._loop.create_task(
                self._connect_again(), name=f"stompy reconnect {core.lifecycle.address}"
            )
        elif self._clock is not None:
            self._clock.wait_until(self, core.next_deadline())
        elif (due := core.next_deadline()) is not None:
            self._timer = self._loop.call_at(due, self._attend)

    async def _connect_again(self) -> None:
        """Try each address once."""
        core = self.core
        try:
            await self._dial(self, core.begin_round())
        except STOMPException as error:
            core.round_failed(error, self.now())
        except Exception as error:
            logger.exception("fault while connecting again")
            core.give_up(STOMPError(f"internal fault: {error!r}"), self.now())
        finally:
            self._round = None
            self._attend()

    def _observe(self, change: StateChange) -> None:
        assert self._observer is not None
        try:
            self._observer(change)
        except Exception:
            self._observer_errors += 1
            logger.exception("fault in the callback for changes of state")

    def wake(self) -> None:
        """Look what is due, soon and on the loop's thread: its clock calls this."""
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._attend)

    def _finish(self) -> None:
        """Have everybody who waits learn that nothing more will come."""
        self.core.receivers.clear()
        self.inbox.end()
        self._changed.wake()
        self._settled.wake()

    # -- what the connection tells -----------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """Begin an epoch: a broker has answered CONNECTED."""
        objection = self.core.objection(connection.connected)
        if objection is not None:
            return connection.refuse(objection)
        self._published = False
        self.core.connected(connection, self.now())
        self.connection = connection
        self.has_connection = True
        self.subscriptions = connection.subscriptions
        self.dialect = connection.dialect
        self.made_room()
        self._attend()

    def received(
        self,
        connection: Connection,
        frames: list[STOMPFrame],
        size: int,
        error: STOMPFrame | None,
    ) -> None:
        """Hand out what came over a connection: the **hot path** of receiving."""
        core = self.core
        if core.sorts or error is not None:
            rest = core.received(frames)
            if len(rest) != len(frames):
                size = sum(len(frame.Body) for frame in rest)
            self._settled.wake()
            frames = rest
            if core.has_work:
                self._attend()
        if frames:
            self.inbox.put(frames, size)
        if self.inbox.full or core.receivers:
            self.made_room()

    def lost(self, connection: Connection) -> None:
        """Settle what a connection has left behind: it has ended."""
        if not self.has_connection or connection is not self.connection:
            return
        core = self.core
        core.lost(connection, self.now())
        self._settled.wake()
        self.inbox.look_again()
        if self.reconnects and not core.ended:
            self.inbox.drop(self._is_in_vain)
        self._changed.wake()
        self._attend()

    def _is_in_vain(self, frame: STOMPFrame) -> bool:
        return frame.Command == "MESSAGE" and self.subscriptions.receive(frame) is AckDuty.STALE

    def made_room(self) -> None:
        """Read, unless something that nobody fetches has reached its bound."""
        if not self.has_connection:
            return
        inbox, receivers = self.inbox, self.core.receivers.values()
        if self._urgent:
            # What is waited for may stand behind what nobody fetches.
            full = inbox.overfull or any(one._overfull for one in receivers)
        else:
            full = inbox.full or any(one._full for one in receivers)
        self.connection.read(not full)

    # -- sending -----------------------------------------------------------------------------

    async def writable(self, transaction: str | None = None) -> Connection:
        """The connection, once a frame may be written to it.

        Args:
            transaction: id of the transaction that the frame belongs to.

        Raises:
            RuntimeError: on another event loop.
            STOMPConnectionError: there is no connection, and none came in time; nothing was sent.
            TransactionLost: the transaction belongs to an earlier connection.
            STOMPTimeout: the broker takes nothing for too long; nothing was sent.
        """
        core = self.core
        if transaction is None or core.ready is None or self.connection.congested:
            self.check_loop()  # else left to `Connection.write` and `follow`, since it takes long
        deadline: float | None = None
        while True:
            if transaction is not None:
                core.check_transaction(transaction)
            connection = core.ready
            if connection is not None and connection.is_open:
                if not connection.congested:
                    return connection
                await connection.room()
            elif core.is_over:
                raise self.error()
            else:
                patience = core.settings.send_timeout
                deadline = deadline or deadline_after(patience)
                if not await self._changed.wait(deadline):
                    reason = core.lifecycle.last_error or "connecting"
                    raise STOMPConnectionError(
                        f"no connection within {patience:g} s, and nothing was sent: {reason}"
                    )

    def follow(self, command: str, txn_id: str, connection: Connection) -> None:
        """Note what a frame that is about to be written makes of its transaction."""
        if command in ("BEGIN", "COMMIT", "ABORT"):
            self.check_loop()
            self.core.follow(command, txn_id, connection)

    def write(
        self,
        connection: Connection,
        command: str,
        headers: Mapping[str, HeaderValue],
        body: bytes | str = b"",
    ) -> None:
        """Queue a frame, at this moment and whole.

        Raises:
            STOMPConnectionError: the connection has ended.
            ValueError: a header that the version in use cannot carry.
        """
        if body.__class__ is not bytes:
            body = as_body(body)
        connection.write(connection.protocol.send(command, as_text(dict(headers)), body))

    def ask(
        self,
        connection: Connection,
        command: str,
        headers: Mapping[str, HeaderValue],
        receipt_id: str,
        body: bytes | str = b"",
    ) -> Confirmation:
        """Queue a frame whose outcome matters; arguments and exceptions are those of `write`."""
        confirmation = self.expect(receipt_id, command, headers.get("destination"))
        try:
            self.write(connection, command, {**headers, "receipt": receipt_id}, body)
        except BaseException:
            self.core.forget(confirmation)
            raise
        return confirmation

    def expect(
        self, receipt_id: str, command: str | None = None, destination: object = None
    ) -> Confirmation:
        """Wait for a receipt: the frame is about to be sent."""
        confirmation = Confirmation(receipt_id, self, command, destination)
        self.core.confirmations.expect(confirmation)
        return confirmation

    # -- waiting for answers -----------------------------------------------------------------

    @contextmanager
    def priority_read(self) -> Iterator[None]:
        """Read on for an answer, which may stand behind messages that nobody fetches."""
        self.check_loop()
        self._urgent += 1
        self.made_room()
        try:
            yield
        finally:
            self._urgent -= 1

    async def wait(self, condition: Callable[[], bool], timeout: float | None, what: str) -> None:
        """Wait until something that a frame brings has come.

        Raises:
            STOMPTimeout: it did not come in time.
        """
        deadline = deadline_after(timeout)
        with self.priority_read():
            while not condition():
                if not await self._settled.wait(deadline):
                    raise STOMPTimeout(f"{what}{within(timeout)}{self.hindrance()}")

    async def wait_settled(self, timeout: float | None) -> None:
        """Wait until no confirmation is pending.

        Raises:
            STOMPTimeout: some still are.
        """
        pending = self.core.confirmations
        await self.wait(lambda: not pending, timeout, "not everything was confirmed")

    def hindrance(self) -> str:
        """What keeps an answer from being read."""
        return self.core.hindrance(len(self.inbox) if self.inbox.overfull else 0)

    # -- subscriptions -----------------------------------------------------------------------

    def want(
        self, wanted: WantedSubscription, send_acks: bool | None, receiver: Receiver | None = None
    ) -> Connection | None:
        """Have a subscription on every connection from now on.

        Args:
            wanted: the subscription.
            send_acks: for messages that `recv` hands out: whether we acknowledge them.
            receiver: who gets its messages instead.

        Returns:
            The connection to subscribe on; None when the next one brings it.

        Raises:
            STOMPConnectionError: there is no connection, and nobody makes one.
        """
        if self.is_foreign or self.core.is_over:
            raise self.error()
        return self.core.want(wanted, send_acks, receiver)

    def unwant(self, sub_id: str) -> Connection | None:
        """Want a subscription no more; give the connection to unsubscribe on."""
        connection = self.core.unwant(sub_id)
        self.made_room()
        return connection

    def unsubscribe(self, sub_id: str, more: Mapping[str, HeaderValue] = {}) -> None:
        """End a subscription at this moment, without a wait for room."""
        connection = self.unwant(sub_id)
        if connection is not None:
            with suppress(STOMPConnectionError):
                self.write(connection, "UNSUBSCRIBE", unsubscribe_headers(sub_id, more))

    async def subscribe(
        self, wanted: WantedSubscription, receiver: Receiver, timeout: float | None
    ) -> None:
        """Ask the broker, and wait for its word; without a connection the next one brings it.

        Raises:
            STOMPConnectionError: there is no connection, and nobody makes one.
            STOMPError: the broker refused.
            STOMPTimeout: it did not answer in time.
            UnsupportedByBroker: it has no such subscriptions.
            ValueError: a header that cannot be sent.
        """
        connection = self.want(wanted, None, receiver)
        receipt = None
        try:
            if connection is not None:
                receipt = await self._ask(connection, wanted)
        except BaseException:
            # The broker was never told of it.
            self.unwant(wanted.id)
            receiver._end(None)
            raise
        if receipt is not None and connection is not None:
            await self._grant(connection, receipt, timeout)

    async def _ask(
        self, connection: Connection, wanted: WantedSubscription
    ) -> SubscriptionReceipt | None:
        """Queue SUBSCRIBE; None when the next connection brings it."""
        receipt = None
        try:
            if connection.congested:
                await connection.room()
            receipt, frame = self.core.subscribe(connection, wanted)
            connection.write(frame)
        except STOMPException as error:
            if receipt is not None:
                self.core.forget(receipt)
            if self.reconnects and isinstance(error, STOMPConnectionError):
                return None
            raise
        return receipt

    async def _grant(
        self, connection: Connection, receipt: SubscriptionReceipt, timeout: float | None
    ) -> None:
        """Wait for the outcome of a SUBSCRIBE, or until it is plain that none will be told."""
        patience = self.core.habit.patience(timeout, connection.dialect)
        what = f"the broker did not confirm the subscription to {receipt.wanted.destination}"
        try:
            await self.wait(lambda: receipt.done, patience, what)
        except STOMPTimeout:
            if patience == timeout or not connection.is_open:
                raise
            self.core.take_silence(receipt)
        except BaseException:
            self.core.forget(receipt)
            raise
        if receipt.outcome is Outcome.REJECTED:
            self.error_is_reported = True
        if receipt.outcome is Outcome.REJECTED or not self.reconnects:
            receipt.check()

    # -- our own end -------------------------------------------------------------------------

    async def leave(self) -> None:
        """Begin to disconnect: no connection is made any more, and nothing is handed out."""
        if not self.core.ended:
            self.check_loop()
        self.core.leave(self.now())
        if self._round is not None:
            self._round.cancel()
            await asyncio.wait((self._round,))
        self._attend()
        self._changed.wake()

    async def drain(self, deadline: float) -> None:
        """Wait for handlers that are at work, but for those that wait here themselves."""
        working = tuple(self.working)
        for handle in working:
            handle._exempt_caller()
        for handle in working:
            await handle._drain(deadline)

    def forgotten(self) -> None:
        """End, because nobody has the client any more."""
        core = self.core
        if core.is_over:
            return
        core.forgotten = True
        if self._round is not None:
            self._round.cancel()
        self.connection.send_disconnect("goodbye")
        self.connection.close()
        if core.current is not None:
            core.lost(core.current, self.now())
        core.give_up(STOMPConnectionError(FORGOTTEN), self.now())
        self._settled.wake()
        self._attend()

    def after_fork(self) -> None:
        """Let go of everything in a child process: the event loop is the parent's, too."""
        if not self.has_connection:
            return
        self.connection.after_fork()
        if self.core.ended:
            return
        reason = self.connection.error()
        self._timer = None
        self.core.confirmations.lost(reason)
        for receiver in tuple(self.core.receivers.values()):
            receiver._after_fork(reason)
        self.core.receivers.clear()
        self.core.current = self.core.ready = None
        self.core.give_up(reason, self.core.lifecycle.since)
        self.inbox.discard()
        self.inbox.end()


_sessions: weakref.WeakSet[Session] = weakref.WeakSet()

tell_children(_sessions)
