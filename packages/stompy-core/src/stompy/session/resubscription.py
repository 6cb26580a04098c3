"""The subscriptions that a session asks for by itself, over one connection. Pure.

* A new connection is asked for all that is wanted before anybody else may use it: all at once,
  or one by one where the broker would not say which one it refuses.
* What a broker refuses for a time is asked for again later, one by one: a refusal costs the
  connection.
* What was taken back while it was asked for is ended as soon as the broker has given it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from stompy.errors import STOMPError, STOMPTimeout
from stompy.protocol.client import ClientProtocol
from stompy.session.commands import as_text, unsubscribe_headers
from stompy.session.confirmations import AwaitedReceipt, Confirmations, Outcome
from stompy.session.dialects import UNKNOWN, Dialect
from stompy.session.timeouts import within
from stompy.session.wanted import RESTORE_SECONDS, WantedSubscription, WantedSubscriptions

logger = logging.getLogger("stompy")

SOME_SECONDS = 5.0
"""How long a broker of which nothing is known is waited for before it counts as one without
receipts, such as the simple broker of Spring."""
FEW_SECONDS = 0.5
"""The same once it has given none."""

AT_ONCE = float("-inf")
"""A deadline that has passed, whatever the time is."""


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
        """Note that none came for a subscription, which goes on without."""
        if not self.missed:
            logger.warning(
                "the broker has not confirmed the subscription to %s, nor refused it: it seems to "
                "be one that gives no receipts, and what it makes of messages that are to be "
                "confirmed will not be known either (subscription(confirm=False) does not ask)",
                destination,
            )
        self.missed = True


class SubscriptionReceipt(AwaitedReceipt):
    """The outcome of a SUBSCRIBE.

    Attributes:
        wanted: what was asked for.
        restores: whether an earlier connection had it, so that a refusal that will pass does not
            end it.
    """

    __slots__ = ("restores", "wanted")

    def __init__(
        self, receipt_id: str, wanted: WantedSubscription, *, restores: bool = False
    ) -> None:
        super().__init__(receipt_id, "SUBSCRIBE", wanted.destination)
        self.wanted = wanted
        self.restores = restores
        if not wanted.confirm:
            self.settle(Outcome.ACCEPTED)


class Spoken(Protocol):
    """What is asked of a connection here."""

    dialect: Dialect

    @property
    def protocol(self) -> ClientProtocol:
        """The protocol of the connection, with its version."""
        ...


class Resubscription:
    """Asks one connection for what is wanted.

    Args:
        connection: whom to ask.
        wanted: the subscriptions of the client.
        confirmations: where receipts are waited for.
        habit: whether the broker gives receipts.
        client_id: the ``client-id`` header of CONNECT.
        new_id: makes receipt ids.
        refused: ends a subscription that this broker does not have.

    Attributes:
        restored: whether the connection has all that is wanted, but for what was put off.
        failure: why the connection cannot be used.
    """

    def __init__(
        self,
        connection: Spoken,
        wanted: WantedSubscriptions,
        confirmations: Confirmations,
        habit: ReceiptHabit,
        client_id: str | None,
        new_id: Callable[[str], str],
        refused: Callable[[WantedSubscription, STOMPError], None],
    ) -> None:
        self.restored = not wanted.at_once()
        self.failure: STOMPTimeout | None = None
        self._connection = connection
        self._wanted = wanted
        self._confirmations = confirmations
        self._habit = habit
        self._client_id = client_id
        self._new_id = new_id
        self._refused = refused
        self._given: dict[str, WantedSubscription] = {}
        self._asked: list[SubscriptionReceipt] = []
        self._patience: float = RESTORE_SECONDS
        self._answer_by = 0.0

    def has_failed(self) -> bool:
        """Whether the connection cannot be used."""
        return self.failure is not None

    def next_deadline(self) -> float | None:
        """When `advance` has something to do; None for never."""
        if self.has_failed():
            return None
        if self._asked:
            return AT_ONCE if all(one.done for one in self._asked) else self._answer_by
        return self._wanted.next_due() if self.restored else AT_ONCE

    def advance(self, now: float) -> list[bytes]:
        """Go on as far as the broker's answers allow; give the frames to send."""
        frames: list[bytes] = []
        while self._is_answered(now):
            frames += self._take_back()
            missing = self._missing(now)
            if not missing:
                self.restored = True
                break
            frames += self._ask(missing, now)
        return frames

    def _is_answered(self, now: float) -> bool:
        """Whether nothing is waited for any more."""
        pending = [one for one in self._asked if not one.done]
        if pending and now < self._answer_by:
            return False
        if pending and self._patience >= RESTORE_SECONDS:
            self.failure = STOMPTimeout(
                f"the subscriptions were not confirmed{within(RESTORE_SECONDS)}"
            )
            if self.restored:
                logger.warning(
                    "subscription %s is not back: %s", pending[0].wanted.id, self.failure
                )
            return False
        for one in pending:
            # An ERROR that names no frame is not to be taken for an answer to this one.
            self._confirmations.forget(one)
            self._habit.misses(one.wanted.destination)
        return True

    def _take_back(self) -> list[bytes]:
        """End what the broker has given and nobody wants any more."""
        answered, self._asked = [one.wanted for one in self._asked], []
        if self.restored:  # what had been put off
            vain = [one.id for one in answered if not self._wanted.is_back(one.id)]
            for one in answered:
                if one.id not in vain:
                    logger.info("subscription %s to %s is back", one.id, one.destination)
        else:
            vain = [i for i, one in self._given.items() if self._wanted.get(i) is not one]
            for sub_id in vain:
                del self._given[sub_id]
        return [self._frame("UNSUBSCRIBE", as_text(unsubscribe_headers(i, {}))) for i in vain]

    def _missing(self, now: float) -> list[WantedSubscription]:
        """What is to be asked for now."""
        if self.restored:
            return self._wanted.due(now)[:1]
        missing = [one for one in self._wanted.at_once() if one.id not in self._given]
        return missing if self._connection.dialect.error_names_receipt else missing[:1]

    def _ask(self, missing: list[WantedSubscription], now: float) -> list[bytes]:
        """Write SUBSCRIBEs. What this broker has not is ended, and the others go on."""
        frames = []
        for one in missing:
            try:
                receipt, frame = self.subscribe(one, restores=True)
            except (STOMPError, TypeError, ValueError) as error:
                self._refused(one, error if isinstance(error, STOMPError) else _named(error))
                continue
            if not self.restored:
                self._given[one.id] = one
            self._asked.append(receipt)
            frames.append(frame)
        patience = self._habit.patience(RESTORE_SECONDS, self._connection.dialect)
        self._patience = RESTORE_SECONDS if patience is None else patience
        self._answer_by = now + self._patience
        return frames

    def subscribe(
        self, wanted: WantedSubscription, *, restores: bool = False
    ) -> tuple[SubscriptionReceipt, bytes]:
        """Write one SUBSCRIBE, and expect its receipt where it is to be confirmed.

        Raises:
            TypeError: a header that is neither text nor a number.
            UnsupportedByBroker: the broker has no such subscriptions.
            ValueError: a header that cannot be sent.
        """
        headers = as_text(wanted.headers_for(self._connection.dialect, self._client_id))
        receipt = SubscriptionReceipt(self._new_id("r"), wanted, restores=restores)
        if wanted.confirm:
            headers["receipt"] = receipt.receipt_id
        frame = self._frame("SUBSCRIBE", headers)
        if wanted.confirm:
            self._confirmations.expect(receipt)
        return receipt, frame

    def _frame(self, command: str, headers: dict[str, str]) -> bytes:
        return self._connection.protocol.send(command, headers)


def _named(error: Exception) -> STOMPError:
    return STOMPError(str(error))
