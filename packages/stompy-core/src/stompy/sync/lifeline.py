"""The connection of a client as the application sees it: one link after another.

The invariants:

* Each connection is an `Epoch` with a number. What belongs to an earlier one (an acknowledgement,
  a transaction, a receipt) is refused or settled as unknown, never carried over.
* Frames of the application go only to an epoch that is *ready*: CONNECTED came, and every
  subscription that is wanted is back.
* What is wanted and whether an epoch is ready change under one lock, so that a subscription made
  or ended while a connection is being made again is neither missed nor made twice.
* What a connection brought and nobody fetched, and what is settled by that, as in mode ``auto``,
  stands in the inbox of the one that is read from: the last that was ready.
* The state changes in one place (`_move`), once for each loss. Observers are told by the
  supervisor's thread; no code of the application runs on the I/O thread or under a lock.
* The I/O thread and the supervisor know the lifeline but not the client, so that a client that
  was forgotten can end.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from queue import SimpleQueue
from time import monotonic

from stompy.errors import STOMPConnectionError, STOMPException, STOMPTimeout
from stompy.protocol.frame import STOMPFrame
from stompy.protocol.traffic import Traffic
from stompy.session.commands import as_text
from stompy.session.confirmations import Outcome
from stompy.session.dialects import UNKNOWN, Dialect, dialect_of
from stompy.session.health import ClientHealth
from stompy.session.holding import Holder, SubscriptionReceipt
from stompy.session.state import FORGOTTEN, ConnectionState, Lifecycle, StateChange
from stompy.session.subscriptions import AckDuty, Subscriptions
from stompy.session.timeouts import complaint, nothing_came, until, within
from stompy.session.transactions import OpenTransactions
from stompy.session.wanted import WantedSubscription, WantedSubscriptions
from stompy.sync.connection import Link
from stompy.sync.connector import Conversation
from stompy.sync.inbox import Inbox
from stompy.sync.mail import Mail, Mailroom
from stompy.transport.forks import tell_children

logger = logging.getLogger("stompy")

MAX_RECEIPTS = 50_000
"""How many receipts that were asked for are remembered with their connection."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """One connection."""

    number: int
    link: Link
    subscriptions: Subscriptions
    dialect: Dialect

    def take_unread(self) -> list[STOMPFrame]:
        """What it brought and nobody fetched, but for what the broker has back."""
        return [
            frame
            for frame in self.link.inbox.take_all()
            if frame.Command != "MESSAGE" or self.subscriptions.receive(frame) is not AckDuty.STALE
        ]


class Lifeline:
    """Keeps what outlives a connection.

    Args:
        supervised: whether a lost connection is made again.
        send_timeout: seconds that sending may wait for a connection or for room.
        client_id: the ``client-id`` header of CONNECT, which durable subscriptions need.
        numbers: what ids are made of; no two of one client may be the same.

    Attributes:
        dialect: of the last broker that answered.
        room: where what arrives is sorted.
        last: the last connection; perhaps it has ended, or is not ready yet.
        direct: the same where none will follow it, so that sending need not ask for it.
        reading: the connection that `recv` reads from; another one may be there already.
        error_is_reported: whether a caller was told of the broker's ERROR.
        working: handles whose handlers may be at work, also of subscriptions that have ended.
        signals: what the supervisor waits for: a change of state to tell, or None to end.
    """

    def __init__(
        self,
        *,
        supervised: bool,
        send_timeout: float,
        client_id: str | None,
        numbers: Iterator[int],
    ) -> None:
        self.supervised = supervised
        self._numbers = numbers
        self.client_id = client_id
        self.room = Mailroom()
        self.signals: SimpleQueue[StateChange | None] = SimpleQueue()
        self.wanted = WantedSubscriptions()
        self.working: set[Holder] = set()
        self.transactions = OpenTransactions()
        self.supervisor: threading.Thread | None = None
        self.dialect = UNKNOWN
        self.observer_errors = 0
        self.stopping = False
        self._send_timeout = send_timeout
        self._life = Lifecycle(monotonic())
        self.last: Epoch | None = None
        self.direct: Epoch | None = None
        self.reading: Epoch | None = None
        self.error_is_reported = False
        self._ready: Epoch | None = None
        self._read: Epoch | None = None  # the last one that was ready
        self._ended = 0  # the number of the last connection whose end was told
        self._handles: dict[str, Holder] = {}
        self._receipts: dict[str, Epoch] = {}
        self._renew_lock()
        _lifelines.add(self)

    def _renew_lock(self) -> None:
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)

    # -- what there is -----------------------------------------------------------------------

    @property
    def state(self) -> ConnectionState:
        """Where the client stands."""
        return self._life.state

    @property
    def life(self) -> Lifecycle:
        """The state with its history."""
        return self._life

    @property
    def is_ready(self) -> bool:
        """Whether frames can be sent."""
        ready = self._ready
        return ready is not None and ready.link.is_open

    @property
    def is_foreign(self) -> bool:
        """Whether another process made the connection, and this one is its fork."""
        return self.last is not None and self.last.link.is_foreign

    @property
    def is_over(self) -> bool:
        """Whether there is no connection and nobody makes one."""
        return self.state in (ConnectionState.CLOSED, ConnectionState.DISCONNECTED)

    @property
    def ready(self) -> Epoch | None:
        """The connection to send over, if there is one."""
        return self._ready

    def handles(self) -> dict[str, Holder]:
        """A snapshot of the handles by their ids."""
        with self._lock:
            return dict(self._handles)

    def error(self) -> STOMPException:
        """What to raise to who needs a connection when there is none."""
        last, life = self.last, self._life
        if last is not None and last.link.is_foreign:
            return last.link.error()
        if self.supervised and life.state is ConnectionState.DISCONNECTED and life.last_error:
            return life.last_error
        if last is not None:
            return last.link.error()
        return STOMPConnectionError("not connected: call connect() first")

    # -- the connections, one after another --------------------------------------------------

    def connecting(self) -> None:
        """The first connection is being made."""
        self._move(ConnectionState.CONNECTING)

    def gave_up(self, error: STOMPException) -> None:
        """No connection is there, and none will be made."""
        with self._lock:
            if self.state is ConnectionState.CLOSED:
                return
            self._move(ConnectionState.DISCONNECTED, error)
        for handle in self.handles().values():
            handle._end(error)

    def rest(self, seconds: float) -> None:
        """Wait before the next round of the first connection, unless it is over."""
        with self._lock:
            self._changed.wait_for(lambda: self.is_over, seconds)

    def adopt(self, conversation: Conversation) -> Epoch:
        """A broker has answered: the next epoch. Its link is not started."""
        with self._lock:
            number = self._life.opened(str(conversation.address))
            dialect = dialect_of(conversation.connected.get("server"))
            self.room.complaint = complaint(conversation.connected.get("producers-wait"))
            version = conversation.protocol.version
            if self.last is not None:
                subscriptions = self.last.subscriptions.on(version, number)
            else:
                subscriptions = Subscriptions(version, number if self.supervised else None)

            def make_inbox(wake: Callable[[], None]) -> Inbox:
                return Mail(
                    wake,
                    room=self.room,
                    epoch=number,
                    dialect=dialect,
                    ended=lambda: self._link_ended(epoch),
                    keeps_errors=not self.supervised,
                )

            link = Link(conversation, self._send_timeout, make_inbox)
            epoch = Epoch(number, link, subscriptions, dialect)
            self.last = epoch
            self.dialect = dialect
        return epoch

    def publish(self, epoch: Epoch, restored: set[str] | None = None) -> bool:
        """Let the application use an epoch.

        Args:
            epoch: the connection.
            restored: the subscriptions that are back, where that matters.

        Returns:
            False if that differs from what is wanted by now.

        Raises:
            STOMPConnectionError: the connection has ended meanwhile.
        """
        with self._lock:
            if self._ended == epoch.number:
                raise epoch.link.error()
            if restored is not None and restored != {one.id for one in self.wanted.at_once()}:
                return False
            if self.state is ConnectionState.CLOSED:
                return True
            if self._read is not None:
                epoch.link.inbox.put_first(self._read.take_unread())
            self._ready = self._read = epoch
            self.direct = None if self.supervised else epoch
            self._move(ConnectionState.CONNECTED)
        return True

    def _link_ended(self, epoch: Epoch) -> None:
        """The I/O thread says that nothing more will come over a connection."""
        reason = epoch.link.close_reason
        self.room.lost(reason)
        error = reason and epoch.link.error()
        with self._lock:
            self._ended = epoch.number
            goes_on = self.supervised and not self.is_over and not self.stopping
            if self.stopping and self.state is ConnectionState.CONNECTED:
                error = reason = STOMPConnectionError(FORGOTTEN)
            if self.supervised:
                epoch.subscriptions.lose()
                if epoch is self._ready:
                    self._ready = None
                elif self._read is not None:
                    self._read.link.inbox.put_last(epoch.take_unread())
            handles = list(self._handles.values())
        for handle in handles:
            if goes_on:
                handle._lost(reason)
            else:
                handle._end(error)
        # Only now may the supervisor begin: what follows is not to be mixed up with this.
        with self._lock:
            if self.state is ConnectionState.CONNECTED:
                lost = ConnectionState.RECONNECTING if goes_on else ConnectionState.DISCONNECTED
                self._move(lost, reason)
            self._changed.notify_all()

    def _move(self, state: ConnectionState, error: STOMPException | None = None) -> None:
        with self._lock:
            change = self._life.move(state, monotonic(), error)
            self._changed.notify_all()
            if change is not None:
                self.signals.put(change)

    # -- for any thread ----------------------------------------------------------------------

    def sending(self, timeout: float | None = None) -> Epoch:
        """The connection to send over; waits for it while it is being made again.

        Args:
            timeout: seconds for that, if less than usual.

        Raises:
            STOMPConnectionError: there is none.
        """
        ready = self.direct or self._ready
        if ready is not None and (ready.link.is_open or not self.supervised):
            return ready
        patience = self._send_timeout
        return self.wait_ready(patience if timeout is None else min(timeout, patience))

    def sending_in(self, transaction: str) -> Epoch:
        """The connection to send a frame of a transaction over.

        Raises:
            STOMPConnectionError: there is none.
            TransactionLost: it was another one, which has ended.
        """
        ready, last = self._ready, self.last
        reason = None if last is None else last.link.close_reason
        # Not ready: whatever was open is lost.
        self.transactions.check(transaction, 0 if ready is None else ready.number, reason)
        return self.sending()

    def follow(self, command: str, txn_id: str, epoch: Epoch) -> None:
        """A frame with a ``transaction`` header is about to be sent."""
        if command == "BEGIN":
            self.transactions.begin(txn_id, epoch.number)
        elif command in ("COMMIT", "ABORT"):
            self.transactions.end(txn_id, aborted=command == "ABORT")

    def wait_ready(self, timeout: float | None, *, patient: bool = False) -> Epoch:
        """Wait until frames can be sent.

        Args:
            timeout: seconds.
            patient: whether running out of time is a time-out, and not the lack of a connection.

        Raises:
            STOMPConnectionError: that did not come in time, or will not come.
            STOMPError: the broker refused the connection for good.
            STOMPTimeout: with ``patient``: it did not come in time.
        """
        if self.last is not None and self.last.link.is_foreign:
            raise self.error()
        deadline = until(monotonic(), timeout)
        with self._lock:
            while (ready := self._ready) is None or not ready.link.is_open:
                if self.is_over:
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
        error = STOMPConnectionError(
            f"no connection within {timeout:g} s; the last attempt: {self._life.last_error}"
        )
        error.__cause__ = self._life.last_error
        return error

    def next_epoch(self, old: Epoch, timeout: float | None) -> Epoch | None:
        """The connection after one that has ended; None when none will come.

        Raises:
            STOMPTimeout: none came in time.
            STOMPError: it could not be made again, and nobody tries any more.
        """
        if not self.supervised:
            return None
        deadline = until(monotonic(), timeout)
        with self._lock:
            while (ready := self._ready) is None or ready.number <= old.number:
                if self.state is ConnectionState.CLOSED:
                    return None
                if self.is_over:
                    raise self.error()
                remaining = None if deadline is None else deadline - monotonic()
                if remaining is not None and remaining <= 0:
                    raise STOMPTimeout(
                        f"nothing came{within(timeout)}: there is no connection; the last "
                        f"attempt: {self._life.last_error}"
                    )
                self._changed.wait(remaining)
            return ready

    def current(self, number: int) -> Epoch | None:
        """The connection with this number if it is the present one and open."""
        last = self.last
        return last if last is not None and last.number == number and last.link.is_open else None

    def want(
        self, wanted: WantedSubscription, duty: bool | None, handle: Holder | None = None
    ) -> Epoch | None:
        """A subscription is wanted from now on.

        Args:
            wanted: the subscription.
            duty: for messages that `recv` hands out: whether we acknowledge them.
            handle: who gets its messages instead.

        Returns:
            The connection to subscribe on; None when the supervisor will do it.

        Raises:
            STOMPConnectionError: there is no connection, and nobody makes one.
        """
        with self._lock:
            last = self.last
            if (
                last is None
                or self.is_foreign
                or (self.is_over and (self.supervised or handle is not None))
            ):
                raise self.error()
            self.wanted.add(wanted)
            if duty is not None:
                last.subscriptions.add(wanted.id, wanted.mode, duty)
            if handle is not None:
                self._handles[wanted.id] = handle
            return self._ready

    def ask(
        self, epoch: Epoch, wanted: WantedSubscription, *, restores: bool = False
    ) -> SubscriptionReceipt:
        """Send SUBSCRIBE and ask for a receipt, where it is to be confirmed.

        Args:
            epoch: the connection to subscribe on.
            wanted: to what.
            restores: whether an earlier connection had it.

        Raises:
            STOMPConnectionError: the connection has ended.
            STOMPTimeout: the broker takes nothing.
            TypeError: a header that is neither text nor a number.
            UnsupportedByBroker: the broker has no such subscriptions.
            ValueError: a header that cannot be sent.
        """
        headers = as_text(wanted.headers_for(epoch.dialect, self.client_id))
        receipt = SubscriptionReceipt(self.new_id("r"), wanted, self, restores=restores)
        if wanted.confirm:
            headers["receipt"] = receipt.receipt_id
        data = epoch.link.protocol.send("SUBSCRIBE", headers)
        if wanted.confirm:
            self.room.expect(receipt)
        else:
            receipt.settle(Outcome.ACCEPTED)
        try:
            epoch.link.send(data)
        except STOMPException:
            self.room.forget(receipt)
            raise
        return receipt

    def confirmed(
        self,
        epoch: Epoch,
        receipts: Sequence[SubscriptionReceipt],
        timeout: float | None,
        what: str,
    ) -> None:
        """Wait for the outcome of SUBSCRIBEs, or until it is plain that none will be told.

        Raises:
            STOMPTimeout: the broker did not answer in time.
        """
        room = self.room
        patience = room.habit.patience(timeout, epoch.dialect)
        try:
            room.wait(lambda: all(receipt.done for receipt in receipts), patience, what)
        except STOMPTimeout:
            if patience == timeout or not epoch.link.is_open:
                raise
            for receipt in receipts:
                if not receipt.done:
                    # An ERROR that names no frame is not to be taken for an answer to this one.
                    room.forget(receipt)
                    room.habit.misses(receipt.destination)

    def new_id(self, kind: str) -> str:
        """An id that was not used before."""
        return f"{kind}{next(self._numbers)}"

    def unwant(self, sub_id: str) -> Epoch | None:
        """A subscription is not wanted any more; gives the connection to unsubscribe on."""
        with self._lock:
            self.wanted.remove(sub_id)
            self._handles.pop(sub_id, None)
            if self.last is not None:
                self.last.subscriptions.remove(sub_id)
            # If it was put off there is nothing to end.
            return None if self.wanted.is_put_off(sub_id) else self._ready

    def is_back(self, sub_id: str) -> bool:
        """The broker has given a subscription that was put off; whether it is still wanted."""
        with self._lock:
            return self.wanted.is_back(sub_id)

    def put_off(self, sub_id: str, error: STOMPException) -> None:
        """The broker does not give a subscription back yet; it is asked again later."""
        self.wanted.put_off(sub_id, monotonic())
        handle = self.handles().get(sub_id)
        logger.info("subscription %s is not back yet: %s", sub_id, error)
        if handle is not None:
            handle._put_off(error)

    def refused(self, sub_id: str, error: STOMPException) -> None:
        """The broker refused a subscription, which is wanted no more."""
        with self._lock:
            wanted = self.wanted.remove(sub_id)
            handle = self._handles.pop(sub_id, None)
        self.room.close_box(sub_id)
        destination = "" if wanted is None else wanted.destination
        logger.warning("subscription %s to %s ends: %s", sub_id, destination, error)
        if handle is not None:
            handle._end(error)

    def nothing_came(self, timeout: float | None) -> str:
        """What to say when no frame came that is for nobody in particular."""
        handles = self.handles()
        ours = [wanted.destination for wanted in self.wanted if wanted.id not in handles]
        return nothing_came(ours, timeout)

    def asked(self, receipt_id: str, epoch: Epoch) -> None:
        """A receipt was asked for; where connections follow each other it matters on which."""
        with self._lock:
            self._receipts[receipt_id] = epoch
            while len(self._receipts) > MAX_RECEIPTS:
                del self._receipts[next(iter(self._receipts))]

    def asked_on(self, receipt_id: str) -> Epoch | None:
        """The connection on which a receipt was asked for; the last one if that is not known."""
        return self._receipts.get(receipt_id, self.last)

    def answered(self, receipt_id: str) -> None:
        """What became of a receipt is known."""
        self._receipts.pop(receipt_id, None)

    def health(self, late_replies: int) -> ClientHealth:
        """How the client is."""
        life, last = self._life, self.last
        return ClientHealth(
            state=life.state,
            address=life.address,
            since=monotonic() - life.since,
            last_received=None if last is None else last.link.silence(),
            epoch=life.epoch,
            attempts=life.attempts,
            last_error=life.last_error,
            unconfirmed=len(self.room.confirmations),
            observer_errors=self.observer_errors,
            late_replies=late_replies,
            traffic=Traffic() if last is None else replace(last.link.protocol.traffic),
            subscriptions=tuple(handle.health() for handle in self.handles().values()),
        )

    # -- the end -----------------------------------------------------------------------------

    def close(self) -> None:
        """The application ends it: no connection is made any more, and handles get no more."""
        with self._lock:
            if not self.is_over:
                self._move(ConnectionState.CLOSED)
            handles = list(self._handles.values())
        self.signals.put(None)
        for handle in handles:
            handle._end(None)

    def drain(self, deadline: float) -> None:
        """Wait for handlers that are at work, but for those that wait here themselves."""
        working = tuple(self.working)
        for handle in working:
            handle._excuse()
        for handle in working:
            handle._drain(deadline)

    def stop(self) -> None:
        """End everything. Takes no lock, so a finaliser may call it."""
        self.stopping = True
        self.signals.put(None)
        last = self.last
        if last is not None:
            last.link.stop()

    def discard(self) -> None:
        """Throw away what was not fetched."""
        for epoch in (self.last, self._read):
            if epoch is not None:
                epoch.link.inbox.discard()

    def join(self, timeout: float) -> None:
        """Wait for the end of the threads, but for one that is calling."""
        if self.last is not None:
            self.last.link.join(timeout)
        supervisor = self.supervisor
        if supervisor is not None and supervisor is not threading.current_thread():
            supervisor.join(timeout)

    def after_fork(self) -> None:
        """In a child process: the parent may have held the lock, and has the supervisor."""
        self._renew_lock()
        self.supervisor = None
        for handle in self._handles.values():
            handle._after_fork(self.error())


_lifelines: weakref.WeakSet[Lifeline] = weakref.WeakSet()

tell_children(_lifelines)
