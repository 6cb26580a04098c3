"""Open transactions of one connection: what they gathered, and COMMIT as one change.

A frame is checked when it arrives and applied at COMMIT, in order. Everything applied within one
turn of the event loop becomes durable together, or not at all (`stompy_broker.store.base`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.routing.admission import Admission
from stompy_broker.routing.answers import Done, when_all
from stompy_broker.routing.flow_control import Loans
from stompy_broker.routing.joined_queues import by_queue
from stompy_broker.routing.rejection import Rejection
from stompy_broker.session.subscription import AckSubscription
from stompy_broker.session.transaction_span import TransactionSpan

DUPLICATES: Final = "duplicates"
"""Header of a RECEIPT: how many messages were dropped."""


@dataclass(frozen=True, slots=True)
class Publication:
    """A SEND that waits for COMMIT.

    Attributes:
        publish: sends it; takes what to call when that is safe.
        admit: tells what comes in, and raises `ProtocolError` if it would be refused by itself.
        destination: where to.
        size: how large it is.
    """

    publish: Callable[[Done], None]
    admit: Callable[[Admission], None]
    destination: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class Settlement:
    """An ACK or NACK that waits for COMMIT."""

    subscription: AckSubscription
    numbers: list[int]
    rejection: Rejection | None


class Transaction:
    """What one BEGIN gathered so far.

    Attributes:
        number: unique within the broker.
        begun_at: when, on the clock.
        touched_at: when its last frame came.
        size: of the SENDs in it.
        operations: what waits for COMMIT, in order.
        span: the groups that it has to do with; None = there is only one.
        told: what its RECEIPT tells beside its id; None = nothing.
    """

    def __init__(
        self, begun_at: float, number: int = 0, span: TransactionSpan | None = None
    ) -> None:
        self.number = number
        self.span = span
        self.begun_at = self.touched_at = begun_at
        self.size = 0
        self.operations: list[Publication | Settlement] = []
        self.told: dict[str, str] | None = None

    def expect_duplicates(self) -> None:
        """Have its RECEIPT tell how many of its messages are dropped as duplicates."""
        if self.told is None:
            self.told = {DUPLICATES: "0"}

    def count_duplicates(self, count: int) -> None:
        """So many of its messages are dropped."""
        assert self.told is not None
        self.told[DUPLICATES] = str(int(self.told[DUPLICATES]) + count)

    def admit(self, admission: Admission) -> None:
        """Tell what is to be asked for, all together.

        Raises:
            ProtocolError: a message would be refused by itself.
        """
        for operation in self.operations:
            if isinstance(operation, Publication):
                operation.admit(admission)
                continue
            admission.settle(len(operation.numbers))
            if operation.rejection is None:
                claimed = operation.subscription.claimed
                messages = [claimed[number] for number in operation.numbers]
                for queue, some in by_queue(operation.subscription.queue, messages).items():
                    admission.free(queue, sum([message.size for message in some]))

    def commit(self, done: Done) -> None:
        """Apply everything, which was admitted; call ``done`` when all of it is safe."""
        parts = 1
        for operation in self.operations:
            parts += 1 if isinstance(operation, Publication) else len(operation.numbers)
        part_done = when_all(parts, done)
        for operation in self.operations:
            if isinstance(operation, Publication):
                operation.publish(part_done)
            else:
                operation.subscription.settle(operation.numbers, operation.rejection, part_done)
        part_done()

    def abort(self) -> None:
        """Undo the claims, once for each subscription; forget the rest."""
        claims: dict[AckSubscription, list[int]] = {}
        for operation in self.operations:
            if isinstance(operation, Settlement):
                claims.setdefault(operation.subscription, []).extend(operation.numbers)
        for subscription, numbers in claims.items():
            subscription.unclaim(numbers)


class Transactions:
    """The open transactions of a connection, by id. What they gather is a loan.

    Args:
        loans: of the broker.
        max_open: how many may be open.
        max_frames: how many frames one may gather.
        max_bytes: how large the SENDs in one may be together.
        new_span: makes what watches over the groups that one has to do with; None = there is only
            one group.
    """

    def __init__(
        self,
        loans: Loans,
        *,
        max_open: int,
        max_frames: int,
        max_bytes: int,
        new_span: Callable[[str], TransactionSpan] | None = None,
    ) -> None:
        self._open: dict[str, Transaction] = {}
        self._loans = loans
        self._size = 0  # of all that are open
        self._max_open = max_open
        self._new_span = new_span
        self.max_frames = max_frames
        self.max_bytes = max_bytes

    def begin(self, transaction_id: str, now: float, number: int = 0) -> None:
        """Open a transaction, as BEGIN asks.

        Raises:
            ProtocolError: the id is in use, or too many are open.
        """
        if transaction_id in self._open:
            raise ProtocolError(
                ErrorCode.DUPLICATE_TRANSACTION, f"transaction {transaction_id!r} is open already"
            )
        if len(self._open) >= self._max_open:
            raise ProtocolError(
                ErrorCode.LIMIT_EXCEEDED,
                f"{self._max_open} transactions are open already (limits.transactions)",
            )
        span = None if self._new_span is None else self._new_span(transaction_id)
        self._open[transaction_id] = Transaction(now, number, span)
        self._loans.holders += 1

    def find(self, transaction_id: str) -> Transaction:
        """An open transaction.

        Raises:
            ProtocolError: there is none of that id.
        """
        transaction = self._open.get(transaction_id)
        if transaction is None:
            raise ProtocolError(
                ErrorCode.UNKNOWN_TRANSACTION, f"no transaction {transaction_id!r} is open"
            )
        return transaction

    def reserve(self, transaction_id: str, size: int = 0) -> Transaction:
        """Reserve room for one more frame in an open transaction, with a SEND of so many bytes.

        Raises:
            ProtocolError: there is none of that id, or it would grow too large.
        """
        transaction, loans = self.find(transaction_id), self._loans
        total = transaction.size + size
        if len(transaction.operations) >= self.max_frames or total > self.max_bytes:
            raise ProtocolError(
                ErrorCode.LIMIT_EXCEEDED,
                f"transaction {transaction_id!r} is over {self.max_frames} frames "
                f"or {self.max_bytes} bytes (limits.transaction_frames, limits.transaction_bytes)",
            )
        if size and loans.full and self._size + size > loans.share:
            # To wait would be for ever if all that fills the memory waited for COMMIT like this.
            raise ProtocolError(
                ErrorCode.LIMIT_EXCEEDED,
                f"clients hold all the memory they may (half of limits.memory), and "
                f"{self._size + size} bytes of it wait for COMMIT here",
            )
        transaction.size = total
        self._size += size
        loans.add(size)
        return transaction

    def close(self, transaction_id: str) -> Transaction:
        """Close a transaction, for COMMIT or ABORT; `release` has to follow.

        Raises:
            ProtocolError: there is none of that id.
        """
        transaction = self.find(transaction_id)
        del self._open[transaction_id]
        self._give_back(transaction)
        return transaction

    def items(self) -> list[tuple[str, Transaction]]:
        """All that are open, by id."""
        return list(self._open.items())

    def release(self) -> None:
        """Let others go on: what `close` closed was applied or forgotten, so there may be room."""
        self._loans.check()

    def abort_all(self) -> None:
        """Abort every open transaction: the connection ends."""
        for transaction in list(self._open.values()):
            transaction.abort()
            self._give_back(transaction)
        self._open.clear()
        self._loans.check()

    def _give_back(self, transaction: Transaction) -> None:
        self._loans.holders -= 1
        self._loans.used -= transaction.size
        self._size -= transaction.size

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[str]:
        return iter(self._open)
