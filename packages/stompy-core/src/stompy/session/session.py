"""The life of a client, from `connect` to its end, over one connection or many. Pure.

`ClientSession` decides everything that both clients decide alike. Commands, frames, the ends of
connections and the time go in; the methods return at once. What is to be done comes out of `poll`
as effects, and `next_deadline` says when to poll again:

* `Write`: send a frame over a connection, before any of the application's.
* `Drop`: end a connection that cannot be used; `lost` is to be called for it.
* `StateChange`: tell the observer.

A round of attempts to connect is due when `round_is_due` says so. Who makes it calls `begin_round`,
and then `connected` or `round_failed`.

The invariants:

* Each connection has a number, its *epoch*. What belongs to an earlier one (an acknowledgement, a
  transaction, a receipt) is refused or settled as unknown, never carried over.
* Frames of the application go only to a connection that is *ready*: CONNECTED came, and every
  subscription is back that the broker gives for now. After `leave` no connection is made.
* A receipt is settled once. What an ERROR refuses is settled when the connection has ended, which
  is at once: who learns of it is not to send the next frame into a connection that is about to end.
* A MESSAGE goes to who holds its subscription. What was to be settled over a lost connection is
  dropped, for the broker has it back.
* The session ends once: by our own wish, with its only connection, or when making it again has no
  prospect.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic

from stompy.errors import STOMPConnectionError, STOMPError, STOMPException
from stompy.protocol.frame import STOMPFrame
from stompy.protocol.traffic import Traffic
from stompy.session.address import Address
from stompy.session.clock import Clock
from stompy.session.confirmations import AwaitedReceipt, Confirmations, Outcome
from stompy.session.dialects import UNKNOWN, dialect_of
from stompy.session.effects import C, Drop, Write
from stompy.session.handshake import broker_error
from stompy.session.health import ClientHealth
from stompy.session.known_brokers import PEERS, KnownBrokers
from stompy.session.receivers import Receiver, Receivers
from stompy.session.reconnect import Backoff, Reconnect, is_passing, sends_away, wait_asked_for
from stompy.session.resending import KeptFrame, Resending
from stompy.session.resubscription import (
    AT_ONCE,
    ReceiptHabit,
    Resubscription,
    SubscriptionReceipt,
)
from stompy.session.state import FORGOTTEN, ConnectionState, Lifecycle, StateChange
from stompy.session.subscriptions import Subscriptions
from stompy.session.timeouts import complaint, hindrance, nothing_came
from stompy.session.transactions import OpenTransactions
from stompy.session.wanted import WantedSubscription, WantedSubscriptions

logger = logging.getLogger("stompy")

MAX_RECEIPTS = 50_000
"""How many receipts that were asked for are remembered with their connection."""


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """How a session keeps itself."""

    addresses: tuple[Address, ...] = ()
    policy: Reconnect | None = None
    """How to connect again; None for not at all."""
    send_timeout: float = 60.0
    """Seconds that a sender waits for a connection, or for room."""
    client_id: str | None = None
    """The ``client-id`` that CONNECT says."""
    observed: bool = False
    """Whether changes of state are to be told."""
    clock: Clock | None = None
    """By which it goes; None = the system's."""


class ClientSession(Generic[C]):
    """Connections, one after the other, and what lives on them.

    Args:
        settings: how it keeps itself.
        numbers: what ids are made of; no two of one client may be the same.
        random: gives a number from 0 to below 1, each time a new one.
        now: the time.

    Attributes:
        lifecycle: the state with its history.
        last: the newest connection; perhaps it has ended, or is not ready yet.
        current: the same until it ends.
        ready: the same while senders may use it.
        round_at: when to try to connect; None while that is not planned, or under way.
        failure: why a connection could not be used; the next `poll` plans what follows.
        ended: whether nothing more will come.
        reason: why; None for our own wish.
        forgotten: whether nobody has the client any more. May be set without a lock.
        dialect: the ways of the last broker that answered.
        complaint: what it has said about why it may not answer, when it let us in.
        wanted: the subscriptions that every connection is to have.
        receivers: who gets the messages of a subscription in hand, by its id.
        confirmations: the receipts that are pending.
        habit: whether the broker gives receipts.
        transactions: those that are open.
        resending: what is sent again over the next connection.
        brokers: where to connect to.
    """

    def __init__(
        self,
        settings: SessionSettings,
        numbers: Iterator[int],
        random: Callable[[], float],
        now: float,
    ) -> None:
        self.settings = settings
        self.lifecycle = Lifecycle(now)
        self.last: C | None = None
        self.current: C | None = None
        self.ready: C | None = None
        self.failure: STOMPException | None = None
        self.ended = False
        self.reason: STOMPException | None = None
        self.forgotten = False
        self.dialect = UNKNOWN
        self.complaint = ""
        self.wanted = WantedSubscriptions()
        self._receivers: Receivers[Receiver] = Receivers()
        self.receivers = self._receivers.held
        self.confirmations = Confirmations()
        self.habit = ReceiptHabit()
        self.transactions = OpenTransactions()
        self.resending = Resending(settings.policy, self.confirmations, self.transactions)
        self._numbers = numbers
        policy = settings.policy or Reconnect()
        self._backoff = Backoff(policy, random)
        learns = policy.peers and self.reconnects
        self.brokers = KnownBrokers(settings.addresses, random, learns=learns)
        self.round_at: float | None = None
        self._resubscription: Resubscription | None = None
        self._refusal: STOMPError | None = None
        self._asked_on: dict[str, C] = {}
        self._effects: list[Write[C] | Drop[C] | StateChange] = []

    # -- what there is -----------------------------------------------------------------------

    @property
    def state(self) -> ConnectionState:
        """Where the client stands."""
        return self.lifecycle.state

    @property
    def reconnects(self) -> bool:
        """Whether a lost connection is made again."""
        return self.settings.policy is not None

    @property
    def is_over(self) -> bool:
        """Whether there is no connection and nobody makes one, or it is about to be so."""
        return self.state in (ConnectionState.CLOSED, ConnectionState.DISCONNECTED)

    @property
    def is_usable(self) -> bool:
        """Whether frames can be sent."""
        return self.ready is not None and self.ready.is_open

    def new_id(self, kind: str) -> str:
        """Make an id that was not used before."""
        return f"{kind}{next(self._numbers)}"

    # -- the passing of time -----------------------------------------------------------------

    @property
    def has_work(self) -> bool:
        """Whether `poll` has something to give at once."""
        return self.next_deadline() == AT_ONCE

    def next_deadline(self) -> float | None:
        """When `poll` has something to give, or a round is due; None for never."""
        if self._effects or self.failure is not None:
            return AT_ONCE
        asking = self._resubscription
        if asking is None:
            return self.round_at
        if asking.restored and self.ready is None and not self.resending.is_waiting:
            return AT_ONCE
        return asking.next_deadline()

    def poll(self, now: float) -> list[Write[C] | Drop[C] | StateChange]:
        """Advance to a time, and give what is to be done, in this order."""
        if self.failure is not None:
            failure, self.failure = self.failure, None
            self.round_failed(failure, now)
        asking, connection = self._resubscription, self.current
        if asking is not None and connection is not None and not asking.has_failed():
            frames = asking.advance(now)
            self._effects += [Write(connection, frame) for frame in frames]
            if asking.has_failed():
                self._effects.append(Drop(connection))
            elif asking.restored and not frames and self.ready is None:
                # Once all its SUBSCRIBEs are written: no frame of the application comes before.
                again = self.resending.due(connection, now)
                self._effects += [Write(connection, frame) for frame in again]
                if self.resending.is_done and not again:
                    self._publish(connection, now)
        effects, self._effects = self._effects, []
        return effects

    def round_is_due(self, now: float) -> bool:
        """Whether it is time to try to connect."""
        return self.round_at is not None and self.round_at <= now

    def retry_now(self, now: float) -> None:
        """Wait no longer for the next round, if one is waited for."""
        if self.round_at is not None:
            self.round_at = min(self.round_at, now)

    # -- connecting --------------------------------------------------------------------------

    def connect(self, now: float) -> None:
        """Have the first connection made."""
        self._move(ConnectionState.CONNECTING, now)
        self.round_at = now

    def begin_round(self) -> list[Address]:
        """Give the addresses to try, in this order."""
        self.round_at = None
        policy = self.settings.policy
        return self.brokers.round(shuffle=policy is not None and policy.shuffle)

    def round_failed(self, error: STOMPException, now: float) -> None:
        """Plan the next round, or give up: no address could be connected to."""
        if self.is_over:
            return
        first = self.state is ConnectionState.CONNECTING
        policy = self.settings.policy or Reconnect()
        self.lifecycle.round_failed(error)
        if self._learn_of_others(error):
            self.round_at = now
            return
        if self._is_final(error, first=first):
            reason = error
        elif self._backoff.failed(policy.startup_attempts if first else policy.attempts):
            self.round_at = now + self._backoff.pause(wait_asked_for(error))
            return
        else:
            reason = error if first else _exhausted(self._backoff.failures, error)
        if not first:
            logger.error("not connecting again: %s", reason)
        self.give_up(reason, now)

    def _learn_of_others(self, error: STOMPException) -> bool:
        """Whether brokers that take nobody have told of others that were not tried yet."""
        before = self.brokers.learned
        refusals = error._refusals if isinstance(error, STOMPConnectionError) else ()
        for address, refusal in refusals:
            if isinstance(address, Address) and refusal is not None:
                self.brokers.learn(refusal.headers.get(PEERS), address)
        return not set(self.brokers.learned) <= set(before)

    def judge(self, error: STOMPException) -> None:
        """Ask `Reconnect.keep_trying` about a failure; `round_failed` then need not.

        That is the application's code, which is not to run with a lock held.
        """
        if not self.is_over:
            self._backoff.is_final(error)

    def _is_final(self, error: STOMPException, *, first: bool) -> bool:
        try:
            return self._backoff.is_final(error)
        except Exception:
            if first:
                raise  # out of `connect`
            logger.exception("fault in keep_trying, so nobody tries any more")
            return True

    def give_up(self, reason: STOMPException | None, now: float) -> None:
        """End without a connection, unless that has happened."""
        if not self.is_over:
            self._end(ConnectionState.DISCONNECTED, reason, reason, now)

    def objection(self, answer: STOMPFrame) -> STOMPError | None:
        """Why a broker that has answered CONNECTED is none to connect to."""
        return self.resending.objection(dialect_of(answer.get("server")))

    def connected(self, connection: C, now: float) -> None:
        """Begin an epoch: a broker has answered CONNECTED."""
        epoch = self.lifecycle.opened(str(connection.address))
        version = connection.protocol.version
        if self.last is not None:
            subscriptions = self.last.subscriptions.on(version, epoch)
        else:
            # A connection that no other follows need not be told apart.
            subscriptions = Subscriptions(version, epoch if self.reconnects else None)
        connection.epoch = epoch
        connection.subscriptions = subscriptions
        connection.dialect = self.dialect = dialect_of(connection.connected.get("server"))
        self.complaint = complaint(connection.connected.get("producers-wait"))
        self.brokers.learn(connection.connected.get(PEERS), connection.address)
        self._refusal = None
        self.last = self.current = connection
        if self.is_over:
            self._effects.append(Drop(connection))
            return
        self._resubscription = Resubscription(
            connection,
            self.wanted,
            self.confirmations,
            self.habit,
            self.settings.client_id,
            self.new_id,
            self.refused,
        )
        self.resending.begin(connection, now)
        if self._resubscription.restored and self.resending.is_done:
            # At once, since what follows CONNECTED may already end the connection.
            self._publish(connection, now)

    def _publish(self, connection: C, now: float) -> None:
        """Let senders use a connection."""
        self.ready = connection
        self._move(ConnectionState.CONNECTED, now)

    # -- the end of a connection -------------------------------------------------------------

    def lost(self, connection: C, now: float) -> None:
        """Settle what a connection leaves behind, and plan the next one: it has ended."""
        if connection is not self.current:
            return
        asking, self._resubscription = self._resubscription, None
        was_ready = self.ready is connection
        self.current = self.ready = None
        reason: STOMPException | None = connection.close_reason
        self._settle(connection, now)
        if asking is not None and asking.failure is not None:
            reason = reason or asking.failure
        if self.is_over:
            self._finish(None)
        elif self.reconnects and not self.forgotten:
            self._learn_from(reason, connection)
            connection.subscriptions.lose()
            for receiver in tuple(self.receivers.values()):
                receiver._lost(reason)
            self._plan_after(reason, now, was_ready=was_ready)
        elif self.forgotten:
            forgotten = STOMPConnectionError(FORGOTTEN)
            self._end(ConnectionState.DISCONNECTED, forgotten, forgotten, now)
        else:
            shown = None if reason is None else connection.error()
            self._end(ConnectionState.DISCONNECTED, reason, shown, now)

    def _learn_from(self, reason: STOMPException | None, connection: C) -> None:
        """Look where to go to, if the broker has sent us away."""
        told = reason.headers if isinstance(reason, STOMPError) else {}
        others = self.brokers.learn(told.get(PEERS), connection.address)
        if others and sends_away(reason):
            self.brokers.leaving = connection.address

    def _plan_after(self, reason: STOMPException | None, now: float, *, was_ready: bool) -> None:
        if was_ready:
            change = self._move(ConnectionState.RECONNECTING, now, reason)
            self._backoff.lost(0.0 if change is None else change.lasted)
            at_once = self.brokers.leaving is not None and self._backoff.is_calm
            pause = 0.0 if at_once else self._backoff.pause(wait_asked_for(reason))
            self.round_at = now + pause
        elif reason is not None and (is_passing(reason) or not isinstance(reason, STOMPError)):
            self.failure = reason
        else:
            self.failure = STOMPConnectionError(
                "the connection was lost while what was before it was restored"
            )
            self.failure.__cause__ = reason

    def _settle(self, connection: C, now: float) -> None:
        """Settle the receipts that are pending: one is refused perhaps, the others are unknown."""
        refusal, self._refusal = self._refusal, None
        if refusal is not None and not self.resending.spares(refusal):
            refused = self.confirmations.refused(
                refusal, names_frames=connection.dialect.error_names_receipt
            )
            if isinstance(refused, SubscriptionReceipt):
                self._settle_refused(refused, refusal, now)
            self.resending.refused(refusal)
        self.resending.lost()
        self.confirmations.lost(connection.close_reason, self.resending)

    def _settle_refused(self, receipt: SubscriptionReceipt, error: STOMPError, now: float) -> None:
        """Want a subscription no more, or later: else it would end one connection after another."""
        wanted = receipt.wanted
        if not receipt.restores or not is_passing(error):
            self.refused(wanted, error)
            return
        logger.info("subscription %s is not back yet: %s", wanted.id, error)
        self.wanted.put_off(wanted.id, now)
        receiver = self.receivers.get(wanted.id)
        if receiver is not None:
            receiver._put_off(error)

    def refused(self, wanted: WantedSubscription, error: STOMPError) -> None:
        """End a subscription that the broker has refused."""
        logger.warning("subscription %s to %s ends: %s", wanted.id, wanted.destination, error)
        receiver = self.receivers.get(wanted.id)
        self.unwant(wanted.id)
        if receiver is not None:
            receiver._end(error)

    # -- our own wish ------------------------------------------------------------------------

    def leave(self, now: float) -> None:
        """Begin to disconnect: no connection is made any more, and nothing is handed out."""
        self.round_at = self._resubscription = self.failure = None
        if not self.is_over:
            self._move(ConnectionState.CLOSED, now)
        for receiver in tuple(self.receivers.values()):
            receiver._stop_giving()
        if self.current is None:
            self._finish(None)

    def _end(
        self,
        state: ConnectionState,
        reason: STOMPException | None,
        shown: STOMPException | None,
        now: float,
    ) -> None:
        self.round_at = self._resubscription = self.failure = None
        self.reason = reason
        self._move(state, now, reason)
        self._finish(shown)

    def _finish(self, reason: STOMPException | None) -> None:
        """Tell everybody that nothing more will come."""
        self.ended = True
        self.resending.give_up(reason if isinstance(reason, STOMPError) else None)
        for receiver in tuple(self.receivers.values()):
            receiver._end(reason)

    def _move(
        self, state: ConnectionState, now: float, error: STOMPException | None = None
    ) -> StateChange | None:
        change = self.lifecycle.move(state, now, error)
        if change is not None and self.settings.observed:
            self._effects.append(change)
        return change

    # -- subscriptions -----------------------------------------------------------------------

    def want(
        self, wanted: WantedSubscription, send_acks: bool | None, receiver: Receiver | None = None
    ) -> C | None:
        """Have a subscription on every connection from now on.

        Args:
            wanted: the subscription.
            send_acks: for messages that nobody holds in hand: whether we acknowledge them.
            receiver: who gets its messages instead.

        Returns:
            The connection to subscribe on; None when the next one brings it.
        """
        self.wanted.add(wanted)
        if send_acks is not None and self.last is not None:
            self.last.subscriptions.add(wanted.id, wanted.mode, send_acks)
        if receiver is not None:
            self.adopt(wanted.id, receiver)
        return self.ready

    def subscribe(
        self, connection: C, wanted: WantedSubscription
    ) -> tuple[SubscriptionReceipt, bytes]:
        """Write a SUBSCRIBE for the application; its receipt is expected.

        Raises:
            TypeError: a header that is neither text nor a number.
            UnsupportedByBroker: the broker has no such subscriptions.
            ValueError: a header that cannot be sent.
        """
        asking = self._resubscription
        if asking is None or connection is not self.current:
            raise connection.error()
        return asking.subscribe(wanted)

    def unwant(self, sub_id: str) -> C | None:
        """Want a subscription no more; give the connection to unsubscribe on, if there is one."""
        self.wanted.remove(sub_id)
        if sub_id in self.receivers:
            self._receivers.remove(sub_id)
        if self.last is not None:
            self.last.subscriptions.remove(sub_id)
        # If it was put off there is nothing to end.
        return None if self.wanted.is_put_off(sub_id) else self.ready

    def adopt(self, sub_id: str, receiver: Receiver) -> None:
        """Give the messages of a subscription to a receiver."""
        self._receivers.add(sub_id, receiver)

    def release(self, sub_id: str) -> None:
        """Drop what still comes for a subscription."""
        self._receivers.remove(sub_id)

    def connection_of(self, epoch: int) -> C | None:
        """The connection with this number, if it is the present one and open."""
        last = self.last
        return last if last is not None and last.epoch == epoch and last.is_open else None

    # -- frames ------------------------------------------------------------------------------

    @property
    def sorts(self) -> bool:
        """Whether there is anybody to sort frames for."""
        return bool(self._receivers or self.confirmations)

    def received(self, frames: Sequence[STOMPFrame]) -> list[STOMPFrame]:
        """Hand out what is for somebody in particular; give the rest, in its order."""
        return self.answered(self.hand_out(frames))

    def hand_out(self, frames: Sequence[STOMPFrame]) -> list[STOMPFrame]:
        """Give each message to who holds its subscription; give the rest."""
        batches, others = self._receivers.sort(frames)
        if batches and self.last is not None:
            epoch = self.last.epoch
            for receiver, batch in batches.items():
                receiver._deliver(batch, epoch)
        return others

    def answered(self, frames: list[STOMPFrame]) -> list[STOMPFrame]:
        """Settle what the broker has confirmed; give what is for nobody in here."""
        rest = []
        for frame in frames:
            if frame.Command == "RECEIPT":
                self.habit.seen = True
                receipt_id = frame.Headers.get("receipt-id", "")
                if receipt_id in self.confirmations:
                    if self._refusal is None:  # else the ERROR wins
                        self.confirmations.receipt(receipt_id, frame.Headers)
                        rest += self.resending.confirmed(frame)
                    continue
            elif frame.Command == "ERROR":
                self._refusal = broker_error(frame)
                if self.reconnects:
                    continue  # whom it concerns is told, and the others go on
            rest.append(frame)
        return rest

    def expect(self, confirmation: AwaitedReceipt) -> None:
        """Wait for a receipt: the frame is about to be sent."""
        self.confirmations.expect(confirmation)

    def forget(self, confirmation: AwaitedReceipt) -> None:
        """Wait for it no more: the frame was not sent, or nobody wants to know."""
        self.confirmations.forget(confirmation)

    def take_silence(self, receipt: SubscriptionReceipt) -> None:
        """Take the silence of a broker that seems to give no receipts for consent."""
        # An ERROR that names no frame is not to be taken for an answer to this one.
        self.confirmations.forget(receipt)
        self.habit.misses(receipt.wanted.destination)
        receipt.settle(Outcome.ACCEPTED)

    def keep(self, kept: KeptFrame, now: float) -> C | None:
        """Keep a frame until it is confirmed; give the connection to send it over.

        Returns:
            The connection; None when the next one brings it.

        Raises:
            TransactionLost: its transaction is not kept any more.
        """
        ready = self.ready if self.is_usable else None
        self.resending.keep(kept, ready, now)
        return ready

    def asked(self, receipt_id: str, connection: C) -> None:
        """Remember on which connection a receipt was asked for, where others may follow it."""
        if self.reconnects:
            self._asked_on[receipt_id] = connection
            while len(self._asked_on) > MAX_RECEIPTS:
                del self._asked_on[next(iter(self._asked_on))]

    def asked_on(self, receipt_id: str) -> C | None:
        """The connection on which a receipt was asked for; the last one if that is not known."""
        return self._asked_on.get(receipt_id, self.last)

    def receipt_is_told(self, receipt_id: str) -> None:
        """Forget a receipt of which is known what became of it."""
        self._asked_on.pop(receipt_id, None)

    # -- transactions ------------------------------------------------------------------------

    def check_transaction(self, txn_id: object) -> None:
        """See whether a frame of a transaction may be sent.

        Raises:
            TransactionLost: it belongs to a connection that has ended.
            TypeError: this is no id.
        """
        if self.resending.holds(txn_id):
            return
        ready, last = self.ready, self.last
        # Not ready: whatever was open is lost.
        epoch = ready.epoch if ready is not None and ready.is_open else 0
        self.transactions.check(txn_id, epoch, None if last is None else last.close_reason)

    def follow(self, command: str, txn_id: str, connection: C) -> None:
        """Note what a frame that is about to be sent makes of its transaction."""
        if command in ("ACK", "NACK", "ABORT"):
            self.resending.let_go(txn_id)
        if command == "BEGIN":
            self.transactions.begin(txn_id, connection.epoch)
        elif command in ("COMMIT", "ABORT"):
            self.transactions.end(txn_id, aborted=command == "ABORT")

    # -- what to say -------------------------------------------------------------------------

    def hindrance(self, unfetched: int) -> str:
        """Say what keeps an answer from being read.

        Args:
            unfetched: how many frames for nobody in particular hold up the reader.
        """
        crowds = [one._waiting for one in tuple(self.receivers.values()) if one._overfull]
        if unfetched:
            crowds.append(unfetched)
        return hindrance(sum(crowds)) if crowds else self.complaint

    def nothing_came(self, timeout: float | None) -> str:
        """Say that no frame came that is for nobody in particular."""
        ours = [one.destination for one in self.wanted if one.id not in self.receivers]
        return nothing_came(ours, timeout)

    def health(
        self, now: float, last_received: float | None, observer_errors: int, late_replies: int
    ) -> ClientHealth:
        """How the client is."""
        life, last = self.lifecycle, self.last
        told = [receiver.health() for receiver in tuple(self.receivers.values())]
        return ClientHealth(
            state=life.state,
            address=life.address,
            since=now - life.since,
            last_received=last_received,
            epoch=life.epoch,
            attempts=life.attempts,
            last_error=life.last_error,
            unconfirmed=len(self.confirmations),
            observer_errors=observer_errors,
            late_replies=late_replies,
            traffic=Traffic() if last is None else replace(last.protocol.traffic),
            subscriptions=tuple(one for one in told if one is not None),
            peers=tuple(str(address) for address in self.brokers.learned),
        )


def _exhausted(rounds: int, error: STOMPException) -> STOMPConnectionError:
    gave_up = STOMPConnectionError(f"gave up after {rounds} rounds: {error}")
    gave_up.__cause__ = error
    return gave_up
