"""Messages that come back to their queue: now, after a delay, or once too often."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from stompy.admin.settlements import SettlementKind
from stompy_broker.message import Message
from stompy_broker.routing.accounts import Accounts
from stompy_broker.routing.discards import Discards
from stompy_broker.routing.expiry import Expiry
from stompy_broker.routing.interface import QueueIdentity
from stompy_broker.routing.ready_list import ReadyList
from stompy_broker.routing.rejection import Rejection, Retries
from stompy_broker.routing.replacement import end_if_outdated
from stompy_broker.timers import Clock

_NACKED: Final = SettlementKind.NACKED
_LOST: Final = SettlementKind.LOST
_RETURNED: Final = SettlementKind.RETURNED


class Delays:
    """Messages of one queue that may not be delivered yet.

    Args:
        ready: the messages of the queue.
        clock: rings.
        hand_out: called when some of them may be delivered.
    """

    __slots__ = ("_clock", "_hand_out", "_ready", "_timer")

    def __init__(self, ready: ReadyList, clock: Clock, hand_out: Callable[[], None]) -> None:
        self._ready = ready
        self._clock = clock
        self._hand_out = hand_out
        self._timer = clock.timer(self._release)

    def delay(self, message: Message, seconds: float) -> None:
        """Keep a message for so long."""
        self._ready.delay(message, self._clock.now() + seconds)
        self._set_timer()

    def look_soon(self) -> None:
        """Have what is ready handed out in a moment."""
        self._timer.set(self._clock.now())

    def go_on(self) -> None:
        """Have what is ready handed out, unless the queue has ended."""
        self._hand_out()

    def end(self) -> None:
        """Release nothing any more, and hold the queue no longer, so that it is free at once."""
        self._timer.end()
        self._hand_out = _nobody_waits

    def _set_timer(self) -> None:
        due = self._ready.next_due
        if due is not None:
            self._timer.set(due)

    def _release(self) -> None:
        self._ready.release(self._clock.now())
        self._set_timer()
        self._hand_out()


class Requeue:
    """Takes back what consumers of one queue did not accept.

    Args:
        queue: it.
        wall: gives the time in milliseconds since the epoch.
        ready: the messages of the queue.
        accounts: of the queue.
        delays: of the queue.
        expiry: of the queue.
        discards: of the queue.

    Attributes:
        closed: whether the queue has ended, so that what comes back ends as well.
    """

    __slots__ = (
        "_accounts",
        "_delays",
        "_discards",
        "_expiry",
        "_queue",
        "_ready",
        "_wall",
        "closed",
    )

    def __init__(
        self,
        queue: QueueIdentity,
        wall: Callable[[], int],
        ready: ReadyList,
        accounts: Accounts,
        delays: Delays,
        expiry: Expiry,
        discards: Discards,
    ) -> None:
        self._queue = queue
        self._wall = wall
        self._ready = ready
        self._accounts = accounts
        self._delays = delays
        self._expiry = expiry
        self._discards = discards
        self.closed = False

    def reject(self, message: Message, rejection: Rejection) -> bool:
        """Take back what was rejected; say whether it may be delivered again."""
        message = message.returned(failed=rejection.failed)
        if rejection.whole_group and not rejection.requeue and rejection.delay:
            self._ready.hold_group(message, rejection.delay)
        if not rejection.requeue and not self._queue.final:
            self._discards.give_up(message, "rejected", rejection.reason)
            return False
        retries = rejection.retries
        delay = rejection.wait(message.failures, message.sequence, self._queue.policy)
        whole_group = rejection.whole_group and delay > 0
        if whole_group and self._ready.hold_group(message, delay):
            self._put_back(message, _NACKED, rejection.reason, delay, retries, held=True)
        else:
            self._put_back(message, _NACKED, rejection.reason, delay, retries)
        return True

    def give_back(self, message: Message, *, failed: bool = False) -> None:
        """Take back what was delivered to somebody who has gone."""
        self._put_back(message.returned(failed=failed), _LOST if failed else _RETURNED, "", 0.0)

    def restore(self, message: Message, due: int) -> None:
        """Put a message that the store has kept to its place, or to where it waits for its time.

        Args:
            message: it.
            due: when it may be delivered, in milliseconds since the epoch; 0 = at once.
        """
        wait = (due - self._wall()) / 1000 if due else 0
        if wait > 0:
            self._delays.delay(message, wait)
        else:
            self._ready.append(message)
        self._expiry.append(message.expires)
        values = self._ready.values
        if values is not None and (before := values.note(message)) is not None:
            values.outdated.append(before)
            self._delays.look_soon()

    def _put_back(
        self,
        message: Message,
        kind: SettlementKind,
        reason: str,
        delay: float,
        retries: Retries | None = None,
        *,
        held: bool = False,
    ) -> None:
        """To the original place, now or later; or out, when it came back too often."""
        if self.closed:
            self._accounts.close(message)
            return
        policy, failures = self._queue.policy, message.failures
        exhausted = (
            policy.exhausted(failures) if retries is None else retries.exhausted(failures, policy)
        )
        if exhausted and not self._queue.final:
            self._discards.give_up(message, "nack" if kind is _NACKED else "delivery_limit", reason)
            return
        if end_if_outdated(message, self._ready, self._discards):
            return
        self._accounts.leave_body(message)
        due = self._wall() + int(delay * 1000) if delay > 0 else 0
        self._accounts.come_back(message, due, kind, reason)
        if delay > 0 and not held:
            self._delays.delay(message, delay)
        else:
            self._ready.place(message)  # perhaps to its group, which is held for that time
        if message.expires:
            self._expiry.watch(message.expires)


def _nobody_waits() -> None:
    """Do nothing: the queue has ended."""
