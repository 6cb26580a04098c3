"""What a client has from `connect` to `disconnect`, over one connection or many.

The invariants:

* There is one link at a time. `Session.link` is the newest; it is `ready` for senders once all
  subscriptions that are wanted are back on it.
* There is no task, but for one while the connection is being made again, or while a subscription
  that was put off is asked for.
* What was begun on one connection ends with it: pending confirmations become unknown, open
  transactions are lost, messages that would have to be settled are dropped.
* The session ends once: by our own wish, with its only connection, or when making it again has
  no prospect. `reason` says why.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import weakref
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from stompy.aio.connection import Link, Owner
from stompy.aio.requests import Requests
from stompy.aio.restoring import Restorer
from stompy.aio.waiting import Signal, deadline_after
from stompy.errors import (
    STOMPConnectionError,
    STOMPError,
    STOMPException,
    STOMPTimeout,
)
from stompy.protocol.frame import STOMPFrame
from stompy.protocol.traffic import Traffic
from stompy.session.address import Address
from stompy.session.dialects import dialect_of
from stompy.session.frame_buffer import MAX_RECEIPTS
from stompy.session.handshake import other_loop
from stompy.session.health import ClientHealth, SubscriptionHealth
from stompy.session.reconnect import Backoff, Reconnect
from stompy.session.state import FORGOTTEN, ConnectionState, Lifecycle, StateChange
from stompy.session.subscriptions import AckDuty, Subscriptions
from stompy.session.timeouts import complaint, nothing_came, within
from stompy.session.transactions import OpenTransactions
from stompy.transport.forks import tell_children

logger = logging.getLogger("stompy")


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """How a session keeps itself."""

    policy: Reconnect | None = None
    """How to connect again; None for not at all."""
    send_timeout: float = 60.0
    """Seconds that a sender waits for a connection."""
    client_id: str | None = None
    """The ``client-id`` that CONNECT says."""


class Session(Restorer, Owner):
    """Connections, one after the other, and what lives on them.

    Args:
        addresses: where the brokers are.
        dial: one round over addresses; the link works for the owner given.
        settings: how the session keeps itself.
        numbers: what ids are made of; no two of one client may be the same.
        observer: is told the changes of state.

    Attributes:
        ended: whether nothing more will come.
        reason: why it ended; None for our own wish.
        observer_errors: exceptions that came out of the observer.
        error_is_reported: whether a caller was told of the broker's ERROR.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        dial: Callable[[Owner, Sequence[Address]], Awaitable[Link]],
        settings: SessionSettings,
        numbers: Iterator[int],
        observer: Callable[[StateChange], object] | None = None,
    ) -> None:
        # Where another connection follows, whom an ERROR concerns is told, and the others go on.
        super().__init__(keeps_errors=settings.policy is None, client_id=settings.client_id)
        self.settings = settings
        self._loop = asyncio.get_running_loop()
        self.lifecycle = Lifecycle(self.now())
        self.ended = False
        self.reason: STOMPError | None = None
        self.transactions = OpenTransactions()
        self.requests = Requests(self)
        self.observer_errors = 0
        self.error_is_reported = False
        self._numbers = numbers
        self._asked: dict[str, Link] = {}
        self._addresses = addresses
        self._dial = dial
        self._observer = observer
        self._published: Link | None = None
        self._leaving = False
        self._changed = Signal()
        # Pauses need to differ, not to be secret.
        self._backoff = Backoff(settings.policy or Reconnect(), random.random)
        self._task: asyncio.Task[None] | None = None
        self._opening: asyncio.Task[object] | None = None
        _sessions.add(self)

    @property
    def is_usable(self) -> bool:
        """Whether frames can be sent."""
        return self.ready and self.link.is_open

    @property
    def is_foreign(self) -> bool:
        """Whether another process made the connection, and this one is its fork."""
        return self.has_link and self.link.owner != os.getpid()

    @property
    def is_between(self) -> bool:
        """Whether the connection was lost and is being made again."""
        return self.lifecycle.state is ConnectionState.RECONNECTING

    # -- connecting --------------------------------------------------------------------------

    async def open(self) -> None:
        """Make the first connection.

        Raises:
            STOMPConnectionError: no broker answered.
            STOMPError: the broker refused.
        """
        policy = self.settings.policy
        self._move(ConnectionState.CONNECTING)
        self._opening = opening = asyncio.current_task()
        assert opening is not None
        try:
            await self._connect(1 if policy is None else policy.startup_attempts)
        except BaseException as error:
            self._end(error if isinstance(error, STOMPError) else None, by_us=self._leaving)
            cancelled = isinstance(error, asyncio.CancelledError)
            if cancelled and self._leaving and not opening.uncancel():
                raise STOMPConnectionError("closed before a connection was made") from None
            raise
        finally:
            self._opening = None

    def give_up(self) -> None:
        """Make no first connection, if that is what goes on."""
        self._leaving = True
        if self._opening is not None:
            self._opening.cancel()

    async def _connect(self, attempts: int | None) -> None:
        """Rounds of attempts, until there is a link with all that is wanted."""
        while True:
            try:
                link = await self._round()
                if self._published is not link:
                    await self._resume(link)
                    self._publish(link)
            except STOMPException as error:
                self.lifecycle.round_failed(error)
                if self._backoff.is_final(error) or not self._backoff.failed(attempts):
                    raise
                await asyncio.sleep(self._backoff.pause())
            else:
                return

    def _publish(self, link: Link) -> None:
        """All that is wanted is there, and senders may use the link."""
        self._published = link
        self.ready = True
        link.crowded = False
        self._move(ConnectionState.CONNECTED)
        self._plan()
        self._changed.wake()

    async def _round(self) -> Link:
        addresses = list(self._addresses)
        policy = self.settings.policy
        if policy is not None and policy.shuffle:
            random.shuffle(addresses)
        return await self._dial(self, addresses)

    async def _connect_again(self) -> None:
        """The one task of a session."""
        policy = self.settings.policy
        assert policy is not None
        try:
            await asyncio.sleep(self._backoff.pause())
            await self._connect(policy.attempts)
        except STOMPException as error:
            reason: STOMPError = STOMPConnectionError(
                f"gave up after {self.lifecycle.attempts} rounds: {error}"
            )
            if self._backoff.is_final(error) and isinstance(error, STOMPError):
                reason = error
            logger.error("not connecting again: %s", reason)
            self._end(reason, by_us=False)
        except Exception as error:
            logger.exception("fault while connecting again")
            self._end(STOMPError(f"internal fault: {error!r}"), by_us=False)

    # -- what the link tells -----------------------------------------------------------------

    def opened(self, link: Link) -> None:
        """A broker has answered CONNECTED."""
        self.link = link
        self.has_link = True
        self.epoch = self.lifecycle.opened(str(link.address))
        self.dialect = dialect_of(link.connected.get("server"))
        self.complaint = complaint(link.connected.get("producers-wait"))
        version = link.protocol.version
        if self.settings.policy is None:
            self.subscriptions = Subscriptions(version)
        else:
            self.subscriptions = self.subscriptions.on(version, self.epoch)
        self.regulate()
        if not self.wanted.at_once():
            # At once, since what follows CONNECTED may already end the link.
            self._publish(link)

    def lost(self, link: Link) -> None:
        """The link has ended."""
        if not self.has_link or self.link is not link:
            return
        reason = link.close_reason
        was_ready, self.ready = self.ready, False
        self.confirmations.lost(reason)
        self._settled.wake()
        for receiver in list(self.receivers.values()):
            receiver._connection_lost(reason)
        self.inbox.look_again()
        if self._leaving:
            self._end(None, by_us=True)
        elif self.settings.policy is None:
            self._end(reason, by_us=False)
        else:
            self.subscriptions.lose()
            self.inbox.drop(self._is_in_vain)
        if was_ready and not self.ended:
            change = self._move(ConnectionState.RECONNECTING, reason)
            self._backoff.lost(change.lasted if change is not None else 0.0)
            self._task = asyncio.get_running_loop().create_task(
                self._connect_again(), name=f"stompy reconnect {link.address}"
            )
        self._changed.wake()

    def _is_in_vain(self, frame: STOMPFrame) -> bool:
        return frame.Command == "MESSAGE" and self.subscriptions.receive(frame) is AckDuty.STALE

    # -- leaving -----------------------------------------------------------------------------

    async def leave(self) -> None:
        """From now on the end of the connection is our own wish, and no other is made."""
        self._leaving = True
        self._ask_no_more()
        task, self._task = self._task, None
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait((task,))
        if not self.link.is_open:
            self._end(None, by_us=True)
        self._changed.wake()

    def forgotten(self) -> None:
        """Nobody has the client any more."""
        if self.ended or self._leaving:
            return
        self._leaving = True
        if self._task is not None:
            self._task.cancel()
        self.link.say_goodbye("goodbye")
        self.link.close()
        self._end(STOMPConnectionError(FORGOTTEN), by_us=False)

    def after_fork(self) -> None:
        """In a child process: everything belongs to the parent, the event loop too."""
        if not self.has_link:
            return
        self.link.after_fork()
        if self.ended:
            return
        reason = self.link.error()
        self.ready = False
        self.ended = True
        self.lifecycle.move(ConnectionState.DISCONNECTED, self.lifecycle.since, reason)
        self.confirmations.lost(reason)
        self.inbox.discard()
        self.inbox.end()
        for receiver in self.receivers.values():
            receiver._connection_lost(reason)
            receiver._end(reason)

    def _end(self, reason: STOMPError | None, *, by_us: bool) -> None:
        if self.ended:
            return
        self.ended = True
        self.reason = reason
        self._ask_no_more()
        self._move(ConnectionState.CLOSED if by_us else ConnectionState.DISCONNECTED, reason)
        self.inbox.end()
        receivers = list(self.receivers.values())
        self.receivers.clear()
        for receiver in receivers:
            receiver._end(reason)
        self._changed.wake()

    def error(self) -> STOMPConnectionError:
        """What to raise to who uses a session that has ended."""
        reason = self.reason
        if reason is None or reason is self.link.close_reason:
            return self.link.error()
        error = STOMPConnectionError(f"not connected any more: {reason}", reason.Frame)
        error.__cause__ = reason
        return error

    # -- sending -----------------------------------------------------------------------------

    async def writable(self, transaction: str | None = None) -> Link:
        """The link, once a frame may be written to it.

        Raises:
            RuntimeError: on another event loop.
            STOMPConnectionError: there is no connection, and none came in time; nothing was sent.
            TransactionLost: the transaction belongs to an earlier connection.
            STOMPTimeout: the broker takes nothing for too long; nothing was sent.
        """
        if transaction is None or not self.ready or self.link.crowded:
            self.check_loop()  # else left to `Link.write` and `follow`, since it takes long
        deadline: float | None = None
        while True:
            link = self.link
            if transaction is not None:
                epoch = self.epoch if link.is_open else 0
                self.transactions.check(transaction, epoch, link.close_reason)
            if self.ready and link.is_open:
                if not link.crowded:
                    return link
                await link.room()
            elif self.ended or self._leaving:
                raise self.error()
            else:
                deadline = deadline or deadline_after(self.settings.send_timeout)
                if not await self._changed.wait(deadline):
                    raise STOMPConnectionError(
                        f"no connection within {self.settings.send_timeout:g} s, and nothing was "
                        f"sent: {self.lifecycle.last_error or 'connecting'}"
                    )

    def follow(self, command: str, txn_id: str) -> None:
        """A frame of a transaction is about to be written."""
        if command == "BEGIN":
            self.check_loop()
            self.transactions.begin(txn_id, self.epoch)
        elif command in ("COMMIT", "ABORT"):
            self.check_loop()
            self.transactions.end(txn_id, aborted=command == "ABORT")

    def new_id(self, kind: str) -> str:
        """An id that was not used before."""
        return f"{kind}{next(self._numbers)}"

    def asked(self, receipt_id: str) -> None:
        """A receipt is about to be asked for, which nobody may ever wait for."""
        if self.settings.policy is not None:
            self._asked[receipt_id] = self.link
            if len(self._asked) > MAX_RECEIPTS:
                del self._asked[next(iter(self._asked))]

    def asked_on(self, receipt_id: str) -> Link:
        """The link over which a receipt was asked for, which is waited for now."""
        return self._asked.pop(receipt_id, self.link)

    # -- waiting -----------------------------------------------------------------------------

    async def wait_ready(self, timeout: float | None) -> None:
        """Wait until senders may use the link.

        Raises:
            STOMPTimeout: there was none in time.
            STOMPConnectionError: nobody connects any more.
        """
        deadline = deadline_after(timeout)
        while not self.ready:
            if self.ended or self._leaving:
                raise self.error()
            if not await self._changed.wait(deadline):
                raise STOMPTimeout(
                    f"no connection{within(timeout)}: {self.lifecycle.last_error or 'connecting'}"
                )

    def nothing_came(self, timeout: float | None) -> str:
        """What to say when no frame came that is for nobody in particular."""
        ours = [one.destination for one in self.wanted if one.id not in self.receivers]
        return nothing_came(ours, timeout)

    def health(self, subscriptions: tuple[SubscriptionHealth, ...]) -> ClientHealth:
        """How the client is; its handles tell how they are."""
        life = self.lifecycle
        now = self.now()
        return ClientHealth(
            state=life.state,
            address=life.address,
            since=now - life.since,
            last_received=now - self.link.last_received if self.is_usable else None,
            epoch=life.epoch,
            attempts=life.attempts,
            last_error=life.last_error,
            unconfirmed=len(self.confirmations),
            observer_errors=self.observer_errors,
            late_replies=self.requests.late,
            traffic=replace(self.link.protocol.traffic) if self.has_link else Traffic(),
            subscriptions=subscriptions,
        )

    def check_loop(self) -> None:
        """See that it is used where it was made. In a fork other exceptions say more.

        Raises:
            RuntimeError: on another event loop, perhaps in another thread.
        """
        if asyncio.get_running_loop() is not self._loop and not self.is_foreign:
            raise other_loop(self.lifecycle.address)

    def _move(self, state: ConnectionState, error: STOMPError | None = None) -> StateChange | None:
        change = self.lifecycle.move(state, self.now(), error)
        if change is not None and self._observer is not None:
            asyncio.get_running_loop().call_soon(self._tell, self._observer, change)
        return change

    def _tell(self, observer: Callable[[StateChange], object], change: StateChange) -> None:
        try:
            observer(change)
        except Exception:
            self.observer_errors += 1
            logger.exception("fault in the callback for changes of state")


_sessions: weakref.WeakSet[Session] = weakref.WeakSet()

tell_children(_sessions)
