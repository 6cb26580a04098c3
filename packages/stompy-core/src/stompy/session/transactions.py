"""The transactions of a client that are open, and the connections they belong to. Pure.

A transaction lives and dies with its connection: the broker undoes it when that ends. Ids that the
application made up and began itself, with ``send("BEGIN", …)``, are not known here and not checked.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from stompy.errors import STOMPError, TransactionLost
from stompy.session.delivery import Delivery


@dataclass(slots=True)
class OpenTransaction:
    """A transaction that has begun and not ended."""

    epoch: int
    settled: list[Delivery] = field(default_factory=list)
    """Messages that were settled in it, and are not when it is aborted."""


class OpenTransactions:
    """All of one client."""

    def __init__(self) -> None:
        self._open: dict[str, OpenTransaction] = {}

    def begin(self, txn_id: str, epoch: int) -> None:
        """Note a transaction that begins on a connection."""
        self._open[txn_id] = OpenTransaction(epoch)

    def check(self, txn_id: object, epoch: int, reason: STOMPError | None = None) -> None:
        """Whether a frame of this transaction may be sent on a connection.

        Args:
            txn_id: its id.
            epoch: the connection's number.
            reason: why the one before was lost, if that is known.

        Raises:
            TransactionLost: it belongs to a connection that has ended.
            TypeError: this is no id.
        """
        if not isinstance(txn_id, str):
            raise TypeError(
                f"transaction= takes the id of a transaction, which is text, not "
                f"{type(txn_id).__name__}; with client.transaction() as txn it is txn.id"
            )
        known = self._open.get(txn_id)
        if known is not None and known.epoch != epoch:
            raise lost_transaction(txn_id, reason)

    def settled(self, txn_id: str, message: Delivery) -> None:
        """Note a message that was settled in a transaction."""
        known = self._open.get(txn_id)
        if known is not None:
            known.settled.append(message)

    def end(self, txn_id: str, *, aborted: bool) -> None:
        """Forget a transaction; after an abort its messages can be settled again."""
        known = self._open.pop(txn_id, None)
        if known is not None and aborted:
            for message in known.settled:
                message.settlement = None


def lost_transaction(txn_id: str, reason: STOMPError | None) -> TransactionLost:
    """Make the exception for a transaction whose connection has ended."""
    why = "" if reason is None else f": {reason}"
    error = TransactionLost(
        f"transaction {txn_id!r} was lost with its connection{why}; "
        "the broker has undone it, so begin again",
        None if reason is None else reason.Frame,
    )
    error.__cause__ = reason
    return error
