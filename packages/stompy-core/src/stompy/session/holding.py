"""Who holds a subscription, and what becomes of its SUBSCRIBE. Pure."""

from __future__ import annotations

import logging
from typing import Protocol

from stompy.errors import STOMPError, STOMPException
from stompy.session.confirmations import Confirmation, Outcome
from stompy.session.dialects import UNKNOWN, Dialect
from stompy.session.health import SubscriptionHealth
from stompy.session.reconnect import is_passing
from stompy.session.wanted import WantedSubscription

logger = logging.getLogger("stompy")

SOME_SECONDS = 5.0
"""How long a broker of which nothing is known is waited for before it counts as one without
receipts, such as the simple broker of Spring."""
FEW_SECONDS = 0.5
"""The same once it has given none."""


class ReceiptHabit:
    """Whether the broker of a client gives receipts, as far as that is known.

    Attributes:
        seen: whether one has come.
        missed: whether one did not come, and nothing else was wrong.
    """

    def __init__(self) -> None:
        self.seen = False
        self.missed = False

    def patience(self, timeout: float | None, dialect: Dialect) -> float | None:
        """How many seconds of a time-out to wait for the receipt of a SUBSCRIBE."""
        if self.seen or dialect is not UNKNOWN:
            return timeout
        some = FEW_SECONDS if self.missed else SOME_SECONDS
        return some if timeout is None else min(timeout, some)

    def misses(self, destination: str) -> None:
        """None came for a subscription, which goes on without."""
        if not self.missed:
            logger.warning(
                "the broker has not confirmed the subscription to %s, nor refused it: it seems to "
                "be one that gives no receipts, and what it makes of messages that are to be "
                "confirmed will not be known either (subscription(confirm=False) does not ask)",
                destination,
            )
        self.missed = True


class Holder(Protocol):
    """What a lifeline needs of a subscription's handle."""

    def _lost(self, reason: STOMPError | None) -> None:
        """The connection was lost, and another one will follow."""

    def _end(self, reason: STOMPException | None) -> bool:
        """The subscription has ended, for this reason or by our own wish; false if it had."""

    def _put_off(self, reason: STOMPException) -> None:
        """The broker does not give the subscription back yet."""

    def unsubscribe(self) -> None:
        """End the subscription."""

    def _excuse(self) -> None:
        """Whoever calls this, perhaps a handler, is not to be waited for."""

    def _drain(self, deadline: float) -> None:
        """Wait for handlers that are at work."""

    def _after_fork(self, reason: STOMPException) -> None:
        """In a child process: the subscription belongs to the parent."""

    def health(self) -> SubscriptionHealth:
        """How it is."""


class Keeper(Protocol):
    """Keeps what is wanted."""

    def refused(self, sub_id: str, error: STOMPException) -> None:
        """The broker refused a subscription, which is wanted no more."""

    def put_off(self, sub_id: str, error: STOMPException) -> None:
        """The broker does not give a subscription back yet."""


class SubscriptionReceipt(Confirmation):
    """The outcome of a SUBSCRIBE. When it is refused, nobody wants it any more.

    That must be so before the connection ends, because the next one gets all that is wanted. One
    that is to be restored and is refused for a time only is still wanted.
    """

    __slots__ = ("_keeper", "_restores", "_sub_id", "destination")

    def __init__(
        self, receipt_id: str, wanted: WantedSubscription, keeper: Keeper, *, restores: bool
    ) -> None:
        super().__init__(receipt_id)
        self.destination = wanted.destination
        self._sub_id = wanted.id
        self._keeper = keeper
        self._restores = restores

    def settle(self, outcome: Outcome, error: STOMPError | None = None) -> None:
        """The outcome is known."""
        super().settle(outcome, error)
        if outcome is Outcome.REJECTED and error is not None:
            if self._restores and is_passing(error):
                self._keeper.put_off(self._sub_id, error)
            else:
                self._keeper.refused(self._sub_id, error)
