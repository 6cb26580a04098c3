"""The life of a client, in threads: `ClientSession` with its clock, its locks and its one thread.

The invariants:

* What is decided, is decided by `core`, under one lock. Nobody waits for the network with it.
* Everybody who waits for a connection or an answer waits for one condition.
* One thread, the *supervisor*, connects again, writes what the core gives, and tells observers;
  there is none where there is neither reconnection nor an observer. The first connection is made
  in the thread of who calls `connect`. No code of the application runs on an I/O thread, or with a
  lock held.
* What a connection brought and nobody fetched, and what is settled by that, as in mode ``auto``,
  stands in the inbox of the one that is read from: the last that was ready.
* The threads know the session but not the client, so that a client that was forgotten can end.
"""

from __future__ import annotations

import logging
import random
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Protocol

from stompy.errors import STOMPConnectionError, STOMPError, STOMPException, STOMPTimeout
from stompy.protocol.frame import STOMPFrame
from stompy.session.address import Address
from stompy.session.clock import pause_until, seconds_of
from stompy.session.confirmations import AwaitedReceipt, Outcome
from stompy.session.effects import Write
from stompy.session.health import ClientHealth
from stompy.session.receivers import Receiver
from stompy.session.resubscription import SubscriptionReceipt
from stompy.session.session import ClientSession, SessionSettings
from stompy.session.state import ConnectionState, StateChange
from stompy.session.timeouts import until, within
from stompy.session.wanted import WantedSubscription
from stompy.sync.connection import Connection
from stompy.sync.connector import OpenConnection
from stompy.sync.inbox import Inbox
from stompy.transport.forks import tell_children

logger = logging.getLogger("stompy")


class Handling(Protocol):
    """A subscription whose handlers may be at work."""

    def _exempt_caller(self) -> None:
        """Do not wait for whoever calls this, perhaps a handler."""

    def _drain(self, deadline: float) -> None:
        """Wait for handlers that are at work."""


class Session:
    """One `connect`, and what follows from it. For any thread.

    Args:
        settings: how it keeps itself.
        dial: one round over addresses; raises what `stompy.sync.connector.dial` raises.
        observer: is told the changes of state.
        numbers: what ids are made of; no two of one client may be the same.

    Attributes:
        core: what decides.
        connection: the newest one, if `has_connection`; perhaps it has ended, or is not ready yet.
        direct: the same where none will follow it, so that sending need not ask for it.
        reading: the connection that is read from; another one may be there already.
        dialect: the ways of the last broker that answered.
        error_is_reported: whether `recv` or another call has raised the broker's ERROR.
        working: handles whose handlers may be at work, also of subscriptions that have ended.
        supervisor: the thread, if there is one.
        late_replies: how many replies came that nobody waited for any more.
    """

    connection: Connection

    def __init__(
        self,
        settings: SessionSettings,
        dial: Callable[[Iterable[Address]], OpenConnection],
        observer: Callable[[StateChange], object] | None,
        numbers: Iterator[int],
    ) -> None:
        self._clock, self.now = settings.clock, seconds_of(settings.clock, monotonic)
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
        self.follow = self.core.follow
        self.connection_of = self.core.connection_of
        self.dialect = self.core.dialect
        self.has_connection = self.error_is_reported = False
        self.direct: Connection | None = None
        self.reading: Connection | None = None
        self.working: set[Handling] = set()
        self.supervisor: threading.Thread | None = None
        self.late_replies = self._observer_errors = self._waiting = 0
        self._dial = dial
        self._observer = observer
        self._read: Connection | None = None  # the last one that was ready
        self._signals: SimpleQueue[None] = SimpleQueue()
        self._renew_lock()
        _sessions.add(self)

    def _renew_lock(self) -> None:
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)

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

    def error(self) -> STOMPException:
        """What to raise to who needs a connection when there is none."""
        life = self.core.lifecycle
        if not self.has_connection:
            return life.last_error or STOMPConnectionError("not connected: call connect() first")
        given_up = self.reconnects and self.state is ConnectionState.DISCONNECTED
        if given_up and life.last_error is not None and not self.connection.is_foreign:
            return life.last_error
        return self.connection.error()

    def health(self) -> ClientHealth:
        """How the client and each of its subscriptions are."""
        silence = self.connection.silence() if self.has_connection else None
        with self._lock:
            return self.core.health(self.now(), silence, self._observer_errors, self.late_replies)

    # -- connecting --------------------------------------------------------------------------

    def open(self) -> Connection:
        """Make the first connection.

        Raises:
            STOMPConnectionError: no broker answered.
            STOMPError: a broker refused.
            ValueError: a header that CONNECT cannot carry.
        """
        with self._lock:
            self.core.connect(self.now())
            self._tell()
        if self.reconnects or self._observer is not None:
            self.supervisor = threading.Thread(
                target=self._supervise, name="stompy supervisor", daemon=True
            )
            self.supervisor.start()
        try:
            self.reading = self._first_connection()
        except BaseException as error:
            known = error if isinstance(error, STOMPException) else STOMPError(repr(error))
            with self._lock:
                self.core.give_up(known, self.now())
                self._tell()
            self.stop()
            raise
        return self.reading

    def _first_connection(self) -> Connection:
        core = self.core
        while True:
            with self._lock:
                while not core.is_over and not core.round_is_due(now := self.now()):
                    self._changed.wait((core.round_at or now) - now)
                addresses = core.begin_round()
            try:
                return self._adopt(self._dial(self._while_wanted(addresses)))
            except STOMPException as error:
                core.judge(error)
                with self._lock:
                    core.round_failed(error, self.now())
                if core.state is ConnectionState.CLOSED:
                    raise _closed_early() from error
                if core.is_over:
                    raise

    def _while_wanted(self, addresses: Sequence[Address]) -> Iterator[Address]:
        """Addresses to try; an attempt that is under way when it is over is the last."""
        for address in addresses:
            if self._is_stopped():
                raise _closed_early()
            yield address

    def _is_stopped(self) -> bool:
        return self.core.is_over or self.core.forgotten

    def _adopt(self, opened: OpenConnection) -> Connection:
        """Have a broker's answer begin an epoch."""
        core = self.core
        try:
            if self._is_stopped():
                raise _closed_early()
            if (objection := core.objection(opened.connected)) is not None:
                raise objection
        except STOMPException:
            opened.stream.close()
            raise
        connection = Connection(opened, core.settings.send_timeout, self, self._clock)
        with self._lock:
            core.connected(connection, self.now())
            self.connection = connection
            self.has_connection = True
            self.dialect = connection.dialect
            self._publish()
            self._tell()
        connection.start()
        if self._is_stopped():
            # Whoever ended it may have looked just before this connection was there.
            connection.stop()
        return connection

    def retry_now(self) -> None:
        """Wait no longer for the next round, if one is waited for."""
        with self._lock:
            self.core.retry_now(self.now())
            self._tell()

    def wait_ready(self, timeout: float | None, *, patient: bool = False) -> Connection:
        """Wait until frames can be sent.

        Args:
            timeout: seconds.
            patient: whether running out of time is a time-out, and not the lack of a connection.

        Raises:
            STOMPConnectionError: that did not come in time, or will not come.
            STOMPError: the broker refused the connection for good.
            STOMPTimeout: with ``patient``: it did not come in time.
        """
        core = self.core
        if self.is_foreign:
            raise self.error()
        deadline = until(monotonic(), timeout)
        with self._lock:
            while (ready := core.ready) is None or not ready.is_open:
                if core.is_over:
                    raise self.error()
                if threading.current_thread() is self.supervisor:
                    raise STOMPConnectionError(
                        "the connection is lost, and a state callback cannot wait for the next one"
                    )
                remaining = None if deadline is None else deadline - monotonic()
                if remaining is not None and remaining <= 0:
                    error = self._no_connection(timeout)
                    raise STOMPTimeout(error.Message) if patient else error
                self._changed.wait(remaining)
            return ready

    def _no_connection(self, timeout: float | None) -> STOMPConnectionError:
        last_error = self.core.lifecycle.last_error
        error = STOMPConnectionError(
            f"no connection within {timeout:g} s; the last attempt: {last_error}"
        )
        error.__cause__ = last_error
        return error

    def next_connection(self, old: Connection, timeout: float | None) -> Connection | None:
        """Wait for the connection after one that has ended; None when none will come.

        Raises:
            STOMPTimeout: none came in time.
            STOMPError: it could not be made again, and nobody tries any more.
        """
        if not self.reconnects:
            return None
        core = self.core
        deadline = until(monotonic(), timeout)
        with self._lock:
            while (ready := core.ready) is None or ready.epoch <= old.epoch:
                if core.state is ConnectionState.CLOSED:
                    return None
                if core.is_over:
                    raise self.error()
                remaining = None if deadline is None else deadline - monotonic()
                if remaining is not None and remaining <= 0:
                    raise STOMPTimeout(
                        f"nothing came{within(timeout)}: there is no connection; the last "
                        f"attempt: {core.lifecycle.last_error}"
                    )
                self._changed.wait(remaining)
            return ready

    # -- the supervisor ----------------------------------------------------------------------

    def _supervise(self) -> None:
        try:
            while self._step():
                pass
            pause_until(self._clock, self, None, self.now)
        except Exception as fault:
            logger.exception("fault in the supervisor")
            with self._lock:
                self.core.give_up(STOMPError(f"internal fault: {fault!r}"), self.now())
                self._tell()

    def _step(self) -> bool:
        """Do what is due, or wait for it; false when there is nothing more to come."""
        core = self.core
        if core.failure is not None:
            core.judge(core.failure)
        with self._lock:
            effects = core.poll(self.now())
            self._publish()
        for effect in effects:
            if isinstance(effect, StateChange):
                self._observe(effect)
            elif isinstance(effect, Write):
                try:
                    effect.connection.send(effect.frame)
                except STOMPException:
                    effect.connection.stop()
            else:
                effect.connection.stop()
        if effects:
            return True
        if core.is_over or (core.forgotten and core.current is None):
            return False
        connecting = core.state is ConnectionState.CONNECTING  # which another thread does
        if not connecting and core.round_is_due(self.now()):
            self._round()
            return True
        due = None if connecting else core.next_deadline()
        with suppress(Empty):
            self._signals.get(timeout=pause_until(self._clock, self, due, self.now))
        return True

    def _round(self) -> None:
        """Try to connect again."""
        with self._lock:
            addresses = self.core.begin_round()
        try:
            self._adopt(self._dial(self._while_wanted(addresses)))
        except STOMPException as error:
            self.core.judge(error)
            with self._lock:
                self.core.round_failed(error, self.now())
                self._tell()

    def _observe(self, change: StateChange) -> None:
        assert self._observer is not None
        try:
            self._observer(change)
        except Exception:
            self._observer_errors += 1
            logger.exception("the state callback failed at %s", change.state)

    def _publish(self) -> None:
        """Have a connection that has become ready read from. With the lock."""
        ready = self.core.ready
        if ready is None or ready is self._read:
            return
        if self._read is not None:
            ready.inbox.put_first(self._read.take_unread())
        self._read = ready
        self.direct = None if self.reconnects else ready
        self._changed.notify_all()

    def _tell(self) -> None:
        """Wake whoever waits for something that may have changed. With the lock."""
        self._changed.notify_all()
        self._signals.put(None)

    def wake(self) -> None:
        """Have the supervisor look what is due."""
        self._signals.put(None)

    # -- what the I/O thread tells -----------------------------------------------------------

    def received(
        self,
        connection: Connection,
        frames: Sequence[STOMPFrame],
        size: int,
        error: STOMPFrame | None,
    ) -> None:
        """Hand out what came over a connection: the **hot path** of receiving."""
        core = self.core
        if core.sorts or error is not None:
            rest = core.hand_out(frames)
            if any(frame.Command != "MESSAGE" for frame in rest):
                with self._lock:
                    rest = core.answered(rest)
                    if self._waiting or not core.confirmations:
                        self._changed.notify_all()
                if core.has_work:
                    self._signals.put(None)
            elif self._waiting and len(rest) < len(frames):
                with self._lock:  # a reply may be among them
                    self._changed.notify_all()
            if len(rest) != len(frames):
                size = sum(len(frame.Body) for frame in rest)
            frames = rest
        if frames:
            connection.inbox.put(frames, size)

    def lost(self, connection: Connection) -> None:
        """Settle what a connection has left behind: nothing more will come over it."""
        with self._lock:
            self.core.lost(connection, self.now())
            if self.reconnects and connection is not self._read and self._read is not None:
                self._read.inbox.put_last(connection.take_unread())
            self._tell()

    def is_full(self, inbox: Inbox) -> bool:
        """Whether nothing more should be read for now."""
        receivers = tuple(self.core.receivers.values())
        if self._waiting or inbox.receipt_is_awaited:
            # What is waited for may stand behind what nobody fetches.
            return inbox.overfull or any(one._overfull for one in receivers)
        return inbox.full or any(one._full for one in receivers)

    def made_room(self) -> None:
        """Have the I/O thread look round: something that was full is not full any more."""
        if self.has_connection:
            self.connection.wake()

    def hurry(self) -> None:
        """Have what was gathered written: the caller is about to wait, perhaps for an answer."""
        if self.has_connection:
            self.connection.hurry()

    # -- sending -----------------------------------------------------------------------------

    def writable(self, transaction: str | None = None, timeout: float | None = None) -> Connection:
        """The connection to send over; waits for it while it is being made again.

        Args:
            transaction: id of the transaction that the frame belongs to.
            timeout: seconds, if less than usual.

        Raises:
            STOMPConnectionError: there is none.
            TransactionLost: it was another one, which has ended.
        """
        if transaction is not None:
            self.core.check_transaction(transaction)
        ready = self.direct or self.core.ready
        if ready is not None and (ready.is_open or not self.reconnects):
            return ready
        patience = self.core.settings.send_timeout
        return self.wait_ready(patience if timeout is None else min(timeout, patience))

    def expect(self, confirmation: AwaitedReceipt) -> None:
        """Wait for a receipt: the frame is about to be sent."""
        with self._lock:
            self.core.confirmations.expect(confirmation)

    def forget(self, confirmation: AwaitedReceipt) -> None:
        """Wait for it no more: the frame was not sent after all."""
        with self._lock:
            self.core.confirmations.forget(confirmation)
            self._changed.notify_all()

    def asked(self, receipt_id: str, connection: Connection) -> None:
        """Remember on which connection a receipt was asked for, where others may follow it."""
        if self.reconnects:
            with self._lock:
                self.core.asked(receipt_id, connection)

    # -- waiting for what the I/O thread brings ----------------------------------------------

    def wait(self, condition: Callable[[], bool], timeout: float | None, what: str) -> None:
        """Wait until something that a frame brings has come.

        Raises:
            STOMPTimeout: it did not come in time.
        """
        self.hurry()
        deadline = until(monotonic(), timeout)
        with self._lock:
            if condition():
                return
            self._waiting += 1
            self.made_room()
            try:
                while not condition():
                    remaining = None if deadline is None else deadline - monotonic()
                    if remaining is not None and remaining <= 0:
                        raise STOMPTimeout(f"{what}{within(timeout)}{self._hindrance()}")
                    self._changed.wait(remaining)
            finally:
                self._waiting -= 1

    def wait_settled(self, timeout: float | None) -> None:
        """Wait until no confirmation is pending.

        Raises:
            STOMPTimeout: some still are.
        """
        pending = self.core.confirmations
        self.wait(lambda: not pending, timeout, "not everything was confirmed")

    def _hindrance(self) -> str:
        inbox = self.connection.inbox if self.has_connection else None
        return self.core.hindrance(0 if inbox is None or not inbox.overfull else len(inbox))

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
        with self._lock:
            if not self.has_connection or self.is_foreign or self.core.is_over:
                raise self.error()
            return self.core.want(wanted, send_acks, receiver)

    def unwant(self, sub_id: str) -> Connection | None:
        """Want a subscription no more; give the connection to unsubscribe on."""
        with self._lock:
            connection = self.core.unwant(sub_id)
        self.made_room()
        return connection

    def subscribe(
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
                receipt = self._ask(connection, wanted)
        except BaseException:
            # The broker was never told of it.
            self.unwant(wanted.id)
            receiver._end(None)
            raise
        if receipt is not None and connection is not None:
            self._grant(connection, receipt, timeout)

    def _ask(
        self, connection: Connection, wanted: WantedSubscription
    ) -> SubscriptionReceipt | None:
        """Send SUBSCRIBE; None when the next connection brings it."""
        receipt = None
        try:
            with self._lock:
                receipt, frame = self.core.subscribe(connection, wanted)
            connection.send(frame)
        except STOMPException as error:
            if receipt is not None:
                self.forget(receipt)
            if self.reconnects and isinstance(error, STOMPConnectionError):
                return None
            raise
        return receipt

    def _grant(
        self, connection: Connection, receipt: SubscriptionReceipt, timeout: float | None
    ) -> None:
        """Wait for the outcome of a SUBSCRIBE, or until it is plain that none will be told."""
        patience = self.core.habit.patience(timeout, connection.dialect)
        what = f"the broker did not confirm the subscription to {receipt.wanted.destination}"
        try:
            self.wait(lambda: receipt.done, patience, what)
        except STOMPTimeout:
            if patience == timeout or not connection.is_open:
                raise
            with self._lock:
                self.core.take_silence(receipt)
        if receipt.outcome is Outcome.REJECTED or not self.reconnects:
            receipt.check()

    # -- our own end -------------------------------------------------------------------------

    def leave(self) -> None:
        """Begin to disconnect: no connection is made any more, and nothing is handed out."""
        with self._lock:
            self.core.leave(self.now())
            self._tell()

    def drain(self, deadline: float) -> None:
        """Wait for handlers that are at work, but for those that wait here themselves."""
        working = tuple(self.working)
        for handle in working:
            handle._exempt_caller()
        for handle in working:
            handle._drain(deadline)

    def discard(self) -> None:
        """Throw away what was not fetched."""
        for connection in (self._read, self.connection if self.has_connection else None):
            if connection is not None:
                connection.inbox.discard()

    def join(self, timeout: float) -> None:
        """Wait for the end of the threads, but for one that is calling."""
        if self.has_connection:
            self.connection.join(timeout)
        supervisor = self.supervisor
        if supervisor is not None and supervisor is not threading.current_thread():
            supervisor.join(timeout)

    def stop(self) -> None:
        """End everything. Takes no lock, so a finaliser may call it."""
        self.core.forgotten = True
        self._signals.put(None)
        if self.has_connection:
            self.connection.stop()

    def after_fork(self) -> None:
        """Let go of everything in a child process: the parent may have held the lock."""
        self._renew_lock()
        self.supervisor = None
        self.core.confirmations.lost(None)
        if self.has_connection:
            for receiver in tuple(self.core.receivers.values()):
                receiver._after_fork(self.connection.error())


def _closed_early() -> STOMPConnectionError:
    return STOMPConnectionError("closed before a connection was made")


_sessions: weakref.WeakSet[Session] = weakref.WeakSet()

tell_children(_sessions)
