"""What one subscription has counted, over all connections that it had. Pure."""

from __future__ import annotations

from stompy.protocol.frame import AckMode
from stompy.session.delivery import Settlement
from stompy.session.dialects import Dialect
from stompy.session.health import SubscriptionHealth
from stompy.session.timeouts import nothing_came
from stompy.session.wanted import WantedSubscription


class SubscriptionStats:
    """Counts what comes and what becomes of it.

    Args:
        wanted: the subscription.

    Attributes:
        received: messages that arrived.
        settled: how many were settled in each way.
        handler_errors: exceptions that came out of handlers.
        last_error: the last of those, or why the subscription has ended or is put off.
    """

    __slots__ = ("_of_before", "_wanted", "handler_errors", "last_error", "received", "settled")

    def __init__(self, wanted: WantedSubscription) -> None:
        self._wanted = wanted
        self.received = 0
        self.settled = dict.fromkeys(Settlement, 0)
        self.handler_errors = 0
        self.last_error: BaseException | None = None
        self._of_before = 0  # received over earlier connections and never settled

    def handler_failed(self, error: BaseException) -> None:
        """Count what came out of a handler."""
        self.handler_errors += 1
        self.last_error = error

    def connection_lost(self) -> None:
        """Write off what is not settled: the broker has it back."""
        self._of_before = self.received - self._settled_once

    @property
    def _settled_once(self) -> int:
        return self.settled[Settlement.ACKED] + self.settled[Settlement.NACKED]

    def unsettled(self, waiting: int) -> int:
        """How many messages were fetched and not settled, where each is settled by itself.

        Args:
            waiting: how many were not fetched.
        """
        if self._wanted.mode is not AckMode.CLIENT_INDIVIDUAL:
            return 0
        return self.received - waiting - self._settled_once - self._of_before

    def prefetch_is_used_up(self, dialect: Dialect, waiting: int) -> bool:
        """Whether the broker sends no more until some messages are settled."""
        prefetch = self._wanted.prefetch_on(dialect)
        return prefetch is not None and 0 < prefetch <= self.unsettled(waiting)

    def nothing_came(self, dialect: Dialect, waiting: int, timeout: float | None) -> str:
        """What to say when no message came in time."""
        prefetch = self._wanted.prefetch_on(dialect)
        return nothing_came([self._wanted.destination], timeout, self.unsettled(waiting), prefetch)

    def health(self, *, active: bool, waiting: int) -> SubscriptionHealth:
        """How the subscription is.

        Args:
            active: whether its messages come.
            waiting: how many came and were not fetched yet.
        """
        return SubscriptionHealth(
            id=self._wanted.id,
            destination=self._wanted.destination,
            active=active,
            received=self.received,
            waiting=waiting,
            acked=self.settled[Settlement.ACKED],
            nacked=self.settled[Settlement.NACKED],
            stale=self.settled[Settlement.STALE],
            handler_errors=self.handler_errors,
            last_error=self.last_error,
        )
