"""Makes connections, the first one and those after a loss, and tells observers of the state.

The one place that tries again. The first connection is made in the thread of who calls `connect`,
the later ones in a thread of the supervisor's own, which ends with the client. The order of things
after a loss: a random pause; a round over the addresses; all subscriptions, confirmed by the
broker; and only then is the connection given to the application. What the broker refuses for a time
is asked for again from time to time, while the application has the connection.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from queue import Empty
from time import monotonic

from stompy.errors import (
    STOMPConnectionError,
    STOMPError,
    STOMPException,
    STOMPTimeout,
)
from stompy.session.address import Address
from stompy.session.commands import as_text, unsubscribe_headers
from stompy.session.holding import SubscriptionReceipt
from stompy.session.reconnect import Backoff, Reconnect, is_passing
from stompy.session.state import ConnectionState, StateChange
from stompy.session.wanted import RESTORE_SECONDS, WantedSubscription
from stompy.sync.connector import Conversation
from stompy.sync.lifeline import Epoch, Lifeline

logger = logging.getLogger("stompy")


@dataclass(frozen=True, slots=True)
class Route:
    """How a client comes to a connection."""

    addresses: tuple[Address, ...]
    dial: Callable[[Iterable[Address]], Conversation]
    """One round over addresses; raises what `stompy.sync.connector.dial` raises."""
    policy: Reconnect | None
    """How it is made again; None for never."""
    observer: Callable[[StateChange], object] | None
    """Who is told of the state."""


class Supervisor:
    """Looks after one lifeline.

    Args:
        lifeline: whose connections are made.
        route: how.
    """

    def __init__(self, lifeline: Lifeline, route: Route) -> None:
        self._lifeline = lifeline
        self._route = route
        # Pauses need to differ, not to be secret.
        self._backoff = Backoff(route.policy or Reconnect(), random.random)
        self._over = False

    # -- the thread of who connects ----------------------------------------------------------

    def open(self) -> Epoch:
        """Make the first connection, and start to look after it.

        Raises:
            STOMPConnectionError: no broker answered.
            STOMPError: a broker refused.
            ValueError: a header that CONNECT cannot carry.
        """
        lifeline = self._lifeline
        self._start()
        lifeline.connecting()
        try:
            conversation = self._first_conversation()
            if self._stopped:
                conversation.connection.close()
                raise _closed_early()
            epoch = lifeline.adopt(conversation)
        except BaseException as error:
            known = error if isinstance(error, STOMPException) else STOMPError(repr(error))
            lifeline.gave_up(known)
            lifeline.stop()
            raise
        lifeline.publish(epoch)
        epoch.link.start()
        if lifeline.is_over:
            epoch.link.stop()
        return epoch

    def _first_conversation(self) -> Conversation:
        policy = self._route.policy
        while True:
            try:
                return self._round()
            except STOMPConnectionError as error:
                if policy is None or self._backoff.is_final(error):
                    raise
                self._lifeline.life.round_failed(error)
                if not self._backoff.failed(policy.startup_attempts):
                    raise
                self._lifeline.rest(self._backoff.pause())
                if self._lifeline.is_over:
                    raise _closed_early() from error

    def _start(self) -> None:
        if self._route.policy is None and self._route.observer is None:
            return
        thread = threading.Thread(target=self._run, name="stompy supervisor", daemon=True)
        self._lifeline.supervisor = thread
        thread.start()

    # -- the supervisor's thread -------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._over:
                try:
                    change = self._lifeline.signals.get(timeout=self._until_retry())
                except Empty:
                    self._ask_again()
                else:
                    self._attend(change)
        except Exception as fault:
            logger.exception("fault in the supervisor")
            self._lifeline.gave_up(STOMPError(f"internal fault: {fault!r}"))

    def _attend(self, change: StateChange | None) -> None:
        if change is None:
            self._over = True
            self._tell_rest()
            return
        self._tell(change)
        if change.state is ConnectionState.RECONNECTING:
            self._reconnect(change)
        elif change.state in (ConnectionState.DISCONNECTED, ConnectionState.CLOSED):
            self._over = True

    def _tell_rest(self) -> None:
        """What changed before the end is told, too."""
        while True:
            try:
                change = self._lifeline.signals.get_nowait()
            except Empty:
                return
            if change is not None:
                self._tell(change)

    def _tell(self, change: StateChange) -> None:
        if self._route.observer is None:
            return
        try:
            self._route.observer(change)
        except Exception:
            self._lifeline.observer_errors += 1
            logger.exception("the state callback failed at %s", change.state)

    def _reconnect(self, change: StateChange) -> None:
        """Try until there is a connection, or an end to trying."""
        policy = self._route.policy
        assert policy is not None
        lifeline = self._lifeline
        self._backoff.lost(change.lasted)
        while self._pause(self._backoff.pause()):
            try:
                conversation = self._round()
                if self._restore(conversation):
                    return
                error: STOMPException = self._why_not_restored()
            except STOMPException as failure:
                error = failure
            if self._stopped:
                return
            lifeline.life.round_failed(error)
            if self._backoff.is_final(error):
                logger.error("not connecting again: %s", error)
                lifeline.gave_up(error)
                return
            if not self._backoff.failed(policy.attempts):
                lifeline.gave_up(self._exhausted(error))
                return

    def _exhausted(self, error: STOMPException) -> STOMPConnectionError:
        gave_up = STOMPConnectionError(f"gave up after {self._backoff.failures} rounds: {error}")
        gave_up.__cause__ = error
        return gave_up

    @property
    def _stopped(self) -> bool:
        return self._over or self._lifeline.stopping or self._lifeline.is_over

    def _round(self) -> Conversation:
        addresses = list(self._route.addresses)
        if self._route.policy is not None and self._route.policy.shuffle:
            random.shuffle(addresses)
        return self._route.dial(self._while_wanted(addresses))

    def _while_wanted(self, addresses: Sequence[Address]) -> Iterator[Address]:
        """Addresses to try; an attempt that is under way when it is over is the last."""
        for address in addresses:
            if self._stopped:
                raise _closed_early()
            yield address

    def _pause(self, seconds: float) -> bool:
        """Wait, and listen meanwhile; false when it is over."""
        deadline = monotonic() + seconds
        while not self._stopped:
            remaining = deadline - monotonic()
            if remaining <= 0:
                return True
            try:
                change = self._lifeline.signals.get(timeout=remaining)
            except Empty:
                return True
            if change is None:
                self._over = True
                self._tell_rest()
            else:
                self._tell(change)
        return False

    # -- a new connection --------------------------------------------------------------------

    def _restore(self, conversation: Conversation) -> bool:
        """Bring the subscriptions back, then give the connection to the application."""
        lifeline = self._lifeline
        if self._stopped:
            conversation.connection.close()
            return True
        epoch = lifeline.adopt(conversation)
        epoch.link.start()
        if lifeline.stopping or lifeline.is_over:
            # Whoever ended it may have looked just before this link was there.
            epoch.link.stop()
        restored: set[str] = set()
        try:
            while not lifeline.publish(epoch, restored):
                wanted = {one.id: one for one in lifeline.wanted.at_once()}
                for sub_id in restored - wanted.keys():
                    _unsubscribe(epoch, sub_id)
                missing = [one for sub_id, one in wanted.items() if sub_id not in restored]
                if not self._subscribe(epoch, missing):
                    _end(epoch)
                    return False
                restored = set(wanted)
        except STOMPException:
            _end(epoch)
            raise
        if lifeline.stopping or lifeline.is_over:
            epoch.link.stop()
        return True

    def _until_retry(self) -> float | None:
        """Seconds until a subscription that was put off is to be asked for, if there is one."""
        lifeline = self._lifeline
        due = lifeline.wanted.next_due()
        return None if due is None or not lifeline.is_ready else max(0.0, due - monotonic())

    def _ask_again(self) -> None:
        """Ask for subscriptions that were put off, one by one: a refusal costs the connection."""
        lifeline = self._lifeline
        epoch = lifeline.ready
        if epoch is None or self._stopped:
            return
        for wanted in lifeline.wanted.due(monotonic()):
            try:
                if not self._subscribe(epoch, [wanted]):
                    return
                if not lifeline.is_back(wanted.id):
                    _unsubscribe(epoch, wanted.id)
            except STOMPException as error:
                logger.warning("subscription %s is not back: %s", wanted.id, error)
                _end(epoch)
                return
            logger.info("subscription %s to %s is back", wanted.id, wanted.destination)

    def _subscribe(self, epoch: Epoch, wanted: Sequence[WantedSubscription]) -> bool:
        """Ask for subscriptions and wait for the broker's word on them.

        They are asked for all at once, unless the broker would not say which one it refuses.
        """
        lifeline = self._lifeline
        receipts = []
        for one in wanted:
            try:
                receipts.append(lifeline.ask(epoch, one, restores=True))
            except (STOMPConnectionError, STOMPTimeout):
                return False
            except (STOMPError, ValueError, TypeError) as error:
                # This broker has no such subscriptions; the others are not to suffer from that.
                lifeline.refused(one.id, STOMPError(str(error)))
            if not epoch.dialect.error_names_receipt:
                self._confirmed(epoch, receipts)
        self._confirmed(epoch, receipts)
        return epoch.link.is_open

    def _confirmed(self, epoch: Epoch, receipts: Sequence[SubscriptionReceipt]) -> None:
        what = "the subscriptions were not confirmed"
        self._lifeline.confirmed(epoch, receipts, RESTORE_SECONDS, what)

    def _why_not_restored(self) -> STOMPException:
        last = self._lifeline.last
        assert last is not None
        reason = last.link.close_reason
        if reason is not None and is_passing(reason):
            return reason
        error = STOMPConnectionError("the connection was lost while subscriptions were restored")
        error.__cause__ = reason
        return error


def _closed_early() -> STOMPConnectionError:
    return STOMPConnectionError("closed before a connection was made")


def _unsubscribe(epoch: Epoch, sub_id: str) -> None:
    """End what was restored and is not wanted any more."""
    headers = as_text(unsubscribe_headers(sub_id, {}))
    epoch.link.send(epoch.link.protocol.send("UNSUBSCRIBE", headers))


def _end(epoch: Epoch) -> None:
    """End a connection that cannot be used, and have its end told before the next one begins."""
    epoch.link.stop()
    epoch.link.join(RESTORE_SECONDS)
