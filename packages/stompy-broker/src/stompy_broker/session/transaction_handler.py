"""BEGIN, COMMIT and ABORT of one client."""

from __future__ import annotations

from functools import partial

from stompy.protocol.header_cache import Head
from stompy_broker.routing.admission import Admission
from stompy_broker.session.context import AdminClient, BrokerContext
from stompy_broker.session.receipts import Receipts
from stompy_broker.session.transactions import Transactions


class TransactionHandler:
    """Carries out the frames that begin and end transactions.

    Args:
        context: what sessions share.
        client: the client.
        transactions: those that it has open.
        receipts: of the client.
    """

    __slots__ = ("_client", "_context", "_receipts", "_transactions")

    def __init__(
        self,
        context: BrokerContext,
        client: AdminClient,
        transactions: Transactions,
        receipts: Receipts,
    ) -> None:
        self._context = context
        self._client = client
        self._transactions = transactions
        self._receipts = receipts

    def begin(self, head: Head, body: bytes) -> None:
        """Carry out a BEGIN.

        Raises:
            ProtocolError: the id is in use, or too many are open.
        """
        self._client.others += 1
        number, name = self._context.next_number(), head.headers["transaction"]
        self._transactions.begin(name, self._context.clock.now(), number)
        self._context.observer.transacted(self._client, "begun", name)
        self._receipts.answer(head.headers.get("receipt"))

    def commit(self, head: Head, body: bytes) -> bool:
        """Carry out a COMMIT; say whether the next frame has to wait.

        Raises:
            ProtocolError: there is none of that id, or something in it would be refused.
        """
        self._client.others += 1
        admission = Admission(self._context.router)
        self._transactions.find(head.headers["transaction"]).admit(admission)
        # Refused, it is still open, and what it claimed is given back with the connection.
        return self._client.when_answered(head, admission.ask, partial(self._apply, head))

    def _apply(self, head: Head) -> None:
        """Carry out a transaction, in one turn, which all queues have admitted.

        Raises:
            ProtocolError: it cannot be one change any more.
        """
        headers = head.headers
        span = self._transactions.find(headers["transaction"]).span
        if span is not None:
            span.begin_commit()
        transaction = self._transactions.close(headers["transaction"])
        self._context.observer.transacted(self._client, "committed", headers["transaction"])
        receipt = headers.get("receipt")
        if receipt is None:
            transaction.commit(self._receipts.if_refused(head))
        else:
            transaction.commit(self._receipts.when_done(receipt, head))
        self._transactions.release()

    def abort(self, head: Head, body: bytes) -> None:
        """Carry out an ABORT.

        Raises:
            ProtocolError: there is none of that id.
        """
        self._client.others += 1
        self._transactions.close(head.headers["transaction"]).abort()
        self._transactions.release()
        self._context.observer.transacted(self._client, "aborted", head.headers["transaction"])
        self._receipts.answer(head.headers.get("receipt"))
