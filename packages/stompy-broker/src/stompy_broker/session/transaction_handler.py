"""BEGIN, COMMIT and ABORT of one client."""

from __future__ import annotations

from functools import partial

from stompy.errors import ProtocolError
from stompy.protocol.header_cache import Head
from stompy_broker.routing.admission import Admission
from stompy_broker.routing.answers import Done
from stompy_broker.routing.choices import NOBODY
from stompy_broker.session.context import AdminClient, BrokerContext
from stompy_broker.session.receipts import Receipts
from stompy_broker.session.transaction_span import TransactionSpan
from stompy_broker.session.transactions import Transaction, Transactions
from stompy_broker.session.unique_send import not_spread


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
        transaction = self._transactions.find(head.headers["transaction"])
        transaction.admit(admission)
        # Refused, it is still open, and what it claimed is given back with the connection.
        if transaction.span is None:
            return self._client.when_answered(head, admission.ask, partial(self._apply, head))
        return self._commit_groups(head, transaction, transaction.span, admission)

    def _commit_groups(
        self, head: Head, transaction: Transaction, span: TransactionSpan, admission: Admission
    ) -> bool:
        """Carry out a transaction over groups of queues: at once, or at several owners.

        The latter takes its time, and nothing that the client sends overtakes it.
        """
        owed: list[str | None] = []

        def ask(answer: Done) -> None:
            def admitted(error: ProtocolError | None = None, /) -> None:
                if error is None and not self._client.ended:
                    try:
                        if not span.begin_commit():
                            if transaction.told is not None:
                                raise not_spread()
                            owed.append(head.headers.get("receipt"))
                            span.spread(partial(self._carry_out, head), answer)
                            self._transactions.release()
                            return
                        self._apply(head)
                    except ProtocolError as refusal:
                        error = refusal
                answer(error)

            admission.ask(admitted)

        def act() -> None:
            for receipt in owed:
                self._receipts.answer(receipt)

        return self._client.when_answered(head, ask, act)

    def _apply(self, head: Head) -> None:
        """Carry out a transaction, in one turn, which all queues have admitted."""
        receipt = head.headers.get("receipt")
        told = self._transactions.find(head.headers["transaction"]).told
        if receipt is None:
            self._carry_out(head, self._receipts.if_refused(head))
        elif told is not None:
            self._carry_out(head, self._receipts.when_told(receipt, told, head))
        else:
            self._carry_out(head, self._receipts.when_done(receipt, head))
        self._transactions.release()

    def _carry_out(self, head: Head, done: Done) -> None:
        name = head.headers["transaction"]
        transaction = self._transactions.close(name)
        self._context.observer.transacted(self._client, "committed", name)
        topics = self._context.router.topics
        topics.sender = self._client.sender
        try:
            transaction.commit(done)
        finally:
            topics.sender = NOBODY

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
