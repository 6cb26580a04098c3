"""ACK and NACK of one client, with whatever comes with them (**hot path**: `Settling.ack`)."""

from __future__ import annotations

from collections.abc import Mapping

from stompy.protocol.header_cache import ACK_RUN, Head, plain_acks
from stompy.protocol.headers import Version
from stompy_broker.compat import Compat
from stompy_broker.routing.chores import AT_ONCE
from stompy_broker.routing.rejection import Rejection
from stompy_broker.session.context import Client
from stompy_broker.session.deliveries import Deliveries
from stompy_broker.session.header_values import boolean, whole_number
from stompy_broker.session.receipts import Receipts, nothing_owed, when_all
from stompy_broker.session.subscription import AckSubscription
from stompy_broker.session.transactions import Settlement, Transactions


class Settling:
    """Settles deliveries, at once or at COMMIT.

    Args:
        client: whose deliveries they are.
        deliveries: them.
        transactions: of that client.
        receipts: of that client.
        compat: knows headers that are refused.

    Attributes:
        refilled: who got credit back in this read; see `go_on`.
    """

    def __init__(
        self,
        client: Client,
        deliveries: Deliveries,
        transactions: Transactions,
        receipts: Receipts,
        compat: Compat,
    ) -> None:
        self._compat = compat
        self._client = client
        self._deliveries = deliveries
        self._transactions = transactions
        self._receipts = receipts
        self.refilled: dict[AckSubscription, None] = {}

    def ack(self, head: Head, body: bytes) -> None:
        """An ACK, or a run of plain ones.

        Raises:
            ProtocolError: no such delivery was made, or the transaction does not take it.
        """
        self._client.others += 1
        if head is not ACK_RUN:
            self._settle(head.headers, None)
            return
        accept, refilled = self._deliveries.accept, self.refilled
        for tag, number in plain_acks(body):
            subscription = accept(tag, number)
            if subscription is None:
                self._settle({"id": f"{tag.decode()}-{number.decode()}"}, None)
            else:
                refilled[subscription] = None

    def nack(self, head: Head, body: bytes) -> None:
        """A NACK.

        Raises:
            ProtocolError: as for an ACK, or one of its headers does not fit.
        """
        self._client.others += 1
        headers = head.headers
        self._compat.check("NACK", headers)
        delay = headers.get("delay")
        self._settle(
            headers,
            Rejection(
                requeue=boolean("requeue", headers.get("requeue", "true")),
                delay=None if delay is None else whole_number("delay", delay) / 1000,
                reason=headers.get("reason", ""),
            ),
        )

    def go_on(self) -> None:
        """Let the queues go on, once for all that was settled in one read.

        A queue with one consumer and a full prefetch then moves half as many messages again.
        """
        refilled, self.refilled = self.refilled, {}
        for subscription in refilled:
            subscription.resume()

    def _settle(self, headers: Mapping[str, str], rejection: Rejection | None) -> None:
        """ACK or NACK with whatever comes with it: a receipt, a transaction."""
        receipt, transaction_id = headers.get("receipt"), headers.get("transaction")
        transaction = None
        if transaction_id is not None:
            transaction = self._transactions.room(transaction_id)
        if "id" in headers and self._client.version is Version.V1_2:
            found = self._deliveries.by_ack(headers["id"])
        else:
            found = self._deliveries.by_message(headers)
        numbers = [] if found is None else found[0].claim(found[1])
        if found is None or not numbers:
            self._receipts.answer(receipt)
        elif transaction is not None:
            transaction.operations.append(Settlement(found[0], numbers, rejection))
            transaction.touched_at = self._client.received_at
            self._receipts.answer(receipt)
        else:
            done = None
            if receipt is not None:
                done = when_all(len(numbers), self._receipts.when_done(receipt))
            elif len(numbers) > AT_ONCE:
                # Later receipts, also that of DISCONNECT, wait until it is done.
                done = when_all(len(numbers), self._receipts.after(nothing_owed))
            found[0].settle_in_steps(numbers, rejection, done)
