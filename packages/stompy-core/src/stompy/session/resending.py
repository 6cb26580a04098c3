"""What was sent and is not confirmed, and goes out again over the next connection. Pure.

A message with an id that its broker keeps (`stompy.session.dedup_ids`) may be sent twice: the
second one is dropped, and confirmed as the first would have been. So its sender need not know that
a connection was lost.

The invariants:

* What is kept goes out in the order in which it was sent, before anything else of the application
  does; so one producer's messages keep their order.
* It is kept until its outcome is known. Only then, or when nobody connects any more, or after so
  long that the broker may have forgotten its id, does its confirmation tell one.
* A transaction that only sends is kept as a whole, from BEGIN on, and has the place of its COMMIT.
  One that settles messages is not: they belong to the connection that was lost.
* When a broker ends a connection by an ERROR that does not say which frame it means, the next one
  gets what is kept one by one, until it is known who is to blame.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from stompy.errors import ErrorCode, OutcomeUnknown, STOMPError, UnsupportedByBroker
from stompy.protocol.client import ClientProtocol
from stompy.protocol.frame import STOMPFrame
from stompy.session.commands import HeaderValue
from stompy.session.confirmations import (
    AwaitedReceipt,
    Confirmations,
    Outcome,
    unknown_outcome,
)
from stompy.session.dedup_ids import DECLINED, DedupIds, id_in, takes_none
from stompy.session.dialects import Dialect
from stompy.session.effects import AnyConnection
from stompy.session.reconnect import Reconnect, sends_away
from stompy.session.transactions import OpenTransactions, lost_transaction

logger = logging.getLogger("stompy")

MAX_BYTES = 64 * 1024 * 1024
"""While so much is not confirmed, senders wait."""
_AT_ONCE = 200
"""So many frames are written before whoever writes them looks for something else to do."""
_REMEMBERED = 10_000
"""How many receipts that the application asked for are remembered with their message."""

_NAMED = 3

_OF_A_FRAME = frozenset(
    (
        ErrorCode.MALFORMED_FRAME.value,
        ErrorCode.BAD_ESCAPE.value,
        ErrorCode.BAD_ENCODING.value,
        ErrorCode.BAD_CONTENT_LENGTH.value,
        ErrorCode.FRAME_TOO_LARGE.value,
        ErrorCode.BAD_HEADER.value,
        ErrorCode.INTERNAL_ERROR.value,
        None,
    )
)
"""Errors that a frame may have caused, although they do not say which."""


@dataclass(slots=True, eq=False)
class KeptFrame:
    """A frame of which the broker has not said yet what became of it."""

    command: str
    headers: Mapping[str, str]
    body: bytes
    confirmation: AwaitedReceipt
    shown: str | None = None
    """The id of the receipt that the application waits for by itself."""
    transaction: str | None = None
    sent_at: float | None = None
    """When it was written for the first time."""
    whole: KeptTransaction | None = None
    """What a COMMIT makes take effect."""
    answered: bool = False
    """Whether the application was given its receipt."""

    @property
    def size(self) -> int:
        """How many bytes it takes, about."""
        return len(self.body) + (0 if self.whole is None else self.whole.size)

    @property
    def sends(self) -> list[KeptFrame]:
        """The SENDs that take effect by it."""
        return [self] if self.whole is None else self.whole.frames[1:]

    def prepare(self, protocol: ClientProtocol) -> bytes:
        """Have who looks at frames see it, and perhaps change it; give its bytes.

        Raises:
            Exception: what they raise.
            ValueError: a header that the version cannot carry.
        """
        self.headers, self.body = protocol.look(self.command, self.headers, self.body)
        return self.bytes_for(protocol)

    def bytes_for(self, protocol: ClientProtocol) -> bytes:
        """Its bytes, for another connection perhaps.

        Raises:
            ValueError: a header that the version cannot carry.
        """
        return protocol.encode(self.command, self.headers, self.body)


@dataclass(slots=True, eq=False)
class KeptTransaction:
    """One that only sends."""

    frames: list[KeptFrame] = field(default_factory=list)
    """BEGIN, and what was sent in it."""
    written: int = 0
    """How many of them the present connection has had."""
    size: int = 0


class Resending:
    """What one client keeps.

    Args:
        policy: how it connects again; None for not at all, and then nothing is kept.
        confirmations: where receipts are waited for.
        transactions: those that are open.

    Attributes:
        ids: makes the ids of messages.
        left: what was not confirmed when the client came to its end, in words; empty = nothing.
    """

    def __init__(
        self, policy: Reconnect | None, confirmations: Confirmations, transactions: OpenTransactions
    ) -> None:
        self._active = policy is not None
        self._policy = policy or Reconnect()
        self.ids = DedupIds(always=self._policy.resend)
        self.left = ""
        self._confirmations = confirmations
        self._open = transactions
        self._kept: dict[str, KeptFrame] = {}
        self._inner: dict[str, KeptFrame] = {}
        self._transactions: dict[str, KeptTransaction] = {}
        self._size = 0
        self._asked: dict[str, KeptFrame] = {}
        self._to_write: deque[KeptFrame | KeptTransaction] = deque()
        self._one_by_one = False
        self._single: KeptFrame | None = None

    # -- what there is -----------------------------------------------------------------------

    def __len__(self) -> int:
        """How many messages and transactions are kept."""
        return len(self._kept)

    def __contains__(self, receipt_id: object) -> bool:
        """Whether this is the receipt of something that is kept."""
        return receipt_id in self._kept or receipt_id in self._inner

    def keeps(
        self,
        command: str,
        given: dict[str, HeaderValue],
        transaction: str | None,
        dialect: Dialect,
    ) -> bool:
        """Whether a frame is one to keep until it is confirmed.

        What declines an id is not, and the mark that says so is taken off; nor what can have none.
        """
        if not self._active:
            return False
        found = id_in(given, dialect) if command == "SEND" else None
        if found == DECLINED or (found is None and command == "SEND" and takes_none(given)):
            if found is not None:
                del given[dialect.dedup_headers[0]]
            if transaction is not None:
                self.let_go(transaction)  # repeated, it would have this one twice
            return False
        if transaction is None:
            wanted = self.ids.always or found is not None
            return wanted and command == "SEND" and "transaction" not in given
        if command == "BEGIN":
            return self.ids.always and dialect.dedup_in_transactions
        return command in ("SEND", "COMMIT") and self.holds(transaction)

    def has_room(self) -> bool:
        """Whether one more may be kept."""
        return len(self._kept) < self._policy.resend_limit and self._size < MAX_BYTES

    def no_room(self) -> str:
        """Say that there is none, for a time-out."""
        return (
            f"the broker has not confirmed {len(self._kept)} messages, of {self._size} bytes, that "
            "were sent before, so this one was not sent"
        )

    def holds(self, transaction: object) -> bool:
        """Whether a transaction is kept as a whole, so that it outlives its connection."""
        return transaction in self._transactions

    def asked(self, receipt_id: str) -> KeptFrame | None:
        """The frame for which the application has asked this receipt, if it is one of these."""
        return self._asked.get(receipt_id)

    def told(self, receipt_id: str) -> None:
        """Forget the receipt: the application knows what became of the frame."""
        self._asked.pop(receipt_id, None)

    # -- sending -----------------------------------------------------------------------------

    def frame(
        self,
        command: str,
        headers: dict[str, str],
        body: bytes,
        transaction: str | None,
        confirmation: AwaitedReceipt,
        shown: str | None,
        dialect: Dialect,
    ) -> KeptFrame:
        """Make the frame of what is to be kept: with an id, and a receipt of its own."""
        headers = {**headers, "receipt": confirmation.receipt_id}
        if transaction is not None:
            headers["transaction"] = transaction
        if command == "SEND" and id_in(headers, dialect) is None:
            headers[dialect.dedup_headers[0]] = self.ids.new_id()
        return KeptFrame(command, headers, body, confirmation, shown, transaction)

    def keep(self, kept: KeptFrame, ready: AnyConnection | None, now: float) -> None:
        """Keep a frame that is about to be sent; without a connection the next one brings it.

        Raises:
            TransactionLost: its transaction is not kept any more.
        """
        txn_id = kept.transaction
        if txn_id is not None and kept.command != "BEGIN" and not self.holds(txn_id):
            raise lost_transaction(txn_id, None)
        if kept.shown is not None:
            self._asked[kept.shown] = kept
            while len(self._asked) > _REMEMBERED:
                del self._asked[next(iter(self._asked))]
        self._confirmations.expect(kept.confirmation)
        if ready is not None:
            kept.sent_at = now
        if txn_id is None or kept.command == "COMMIT":
            self._keep_whole(kept, ready)
        else:
            self._keep_inner(txn_id, kept, ready)

    def _keep_whole(self, kept: KeptFrame, ready: AnyConnection | None) -> None:
        if kept.transaction is not None:
            kept.whole = self._transactions.pop(kept.transaction)
            self._open.end(kept.transaction, aborted=False)
        self._kept[kept.confirmation.receipt_id] = kept
        self._size += kept.size
        if ready is None:
            self._to_write.append(kept)

    def _keep_inner(self, txn_id: str, kept: KeptFrame, ready: AnyConnection | None) -> None:
        if kept.command == "BEGIN":
            self._transactions[txn_id] = KeptTransaction()
            self._open.begin(txn_id, 0 if ready is None else ready.epoch)
        transaction = self._transactions[txn_id]
        self._inner[kept.confirmation.receipt_id] = kept
        transaction.frames.append(kept)
        transaction.size += kept.size
        if ready is not None:
            transaction.written += 1
        elif not self._to_write or self._to_write[-1] is not transaction:
            self._to_write.append(transaction)
        if transaction.size > MAX_BYTES or len(transaction.frames) > self._policy.resend_limit:
            self.let_go(txn_id)

    def take_back(self, kept: KeptFrame) -> None:
        """Keep a frame no more: it was not sent after all."""
        self._take(kept)
        self._confirmations.forget(kept.confirmation)
        if kept.shown is not None:
            self.told(kept.shown)
        if kept.transaction is not None:
            self.let_go(kept.transaction)

    def let_go(self, txn_id: str) -> None:
        """Have a transaction end with its connection: it settles messages, or is undone."""
        self._transactions.pop(txn_id, None)

    # -- a connection ------------------------------------------------------------------------

    def objection(self, dialect: Dialect) -> UnsupportedByBroker | None:
        """Why a broker cannot be sent everything twice; None if it can."""
        if dialect.dedup_headers or not self.ids.always:
            return None
        return UnsupportedByBroker(
            f"{dialect.name} does not know a message that it was sent before, as far as this "
            "library knows, so with resend=True it would have some of them twice; connect "
            "with reconnect=True, and decide yourself after OutcomeUnknown"
        )

    def begin(self, connection: AnyConnection, now: float) -> None:
        """Prepare to send everything again over a new connection."""
        self._to_write.clear()
        self._single = None
        for kept in tuple(self._kept.values()):
            hindrance = self._hindrance(kept, connection.dialect, now)
            if kept.whole is not None:
                kept.whole.written = 0
            if hindrance is None:
                self._to_write.append(kept)
            else:
                self._settle(kept, Outcome.UNKNOWN, hindrance)
        for txn_id, transaction in tuple(self._transactions.items()):
            transaction.written = 0
            if connection.dialect.dedup_in_transactions:
                self._to_write.append(transaction)
            else:
                self.let_go(txn_id)
        if self._to_write:
            logger.info("%d messages that were not confirmed are sent again", len(self._to_write))

    def _hindrance(self, kept: KeptFrame, dialect: Dialect, now: float) -> STOMPError | None:
        """Why a frame cannot be sent again."""
        receipt_id = kept.confirmation.receipt_id
        if kept.sent_at is not None and now - kept.sent_at > self._policy.resend_within:
            return OutcomeUnknown(
                f"what was sent {now - kept.sent_at:.0f} s ago is not sent again (receipt "
                f"{receipt_id!r}): the broker may have forgotten its id, and would take it twice; "
                "whether it took effect is not known (Reconnect(resend_within=…) sets the bound)"
            )
        unfit = kept.whole is not None and not dialect.dedup_in_transactions
        if unfit or any(id_in(one.headers, dialect) is None for one in kept.sends):
            return OutcomeUnknown(
                f"{dialect.name}, to which the client is connected now, would not know the message "
                f"again (receipt {receipt_id!r}), so it is not sent there; whether it took effect "
                "where it was sent before is not known"
            )
        return None

    @property
    def is_done(self) -> bool:
        """Whether all of it was written, so that the application may go on."""
        return not self._to_write and not self.is_waiting

    @property
    def is_waiting(self) -> bool:
        """Whether an answer has to come before the next one is written."""
        return self._one_by_one and self._single is not None and not self._single.confirmation.done

    def due(self, connection: AnyConnection, now: float) -> list[bytes]:
        """Give some of the frames to write, in order."""
        frames: list[bytes] = []
        while self._to_write and len(frames) < _AT_ONCE and not self.is_waiting:
            one = self._to_write.popleft()
            if isinstance(one, KeptTransaction):
                frames += self._go_on(one, connection, now)
            elif one.confirmation.receipt_id in self._kept:
                before = [] if one.whole is None else self._rest_of(one.whole)
                frames += self._bytes_of([*before, one], connection, now)
                self._single = one
        if self.is_done:
            self._one_by_one = False
        return frames

    def _go_on(
        self, transaction: KeptTransaction, connection: AnyConnection, now: float
    ) -> list[bytes]:
        """Bring an open transaction to where it is."""
        txn_id = transaction.frames[0].transaction or ""
        if self._transactions.get(txn_id) is not transaction:
            return []
        self._open.begin(txn_id, connection.epoch)
        return self._bytes_of(self._rest_of(transaction), connection, now)

    def _rest_of(self, transaction: KeptTransaction) -> list[KeptFrame]:
        """What the present connection has not had; each is answered once more."""
        rest = transaction.frames[transaction.written :]
        transaction.written = len(transaction.frames)
        for one in rest:
            self._inner[one.confirmation.receipt_id] = one
            self._confirmations.expect(one.confirmation)
        return rest

    def _bytes_of(
        self, frames: list[KeptFrame], connection: AnyConnection, now: float
    ) -> list[bytes]:
        """Write frames that belong together; none if this version cannot carry one of them."""
        written: list[bytes] = []
        for kept in frames:
            try:
                written.append(kept.bytes_for(connection.protocol))
            except ValueError as error:
                self._settle(frames[-1], Outcome.REJECTED, STOMPError(str(error)))
                return []
            if kept.sent_at is None:
                kept.sent_at = now
        return written

    # -- what the broker says ----------------------------------------------------------------

    def confirmed(self, receipt: STOMPFrame) -> list[STOMPFrame]:
        """Keep no more what a RECEIPT names; give the RECEIPT that the application waits for."""
        receipt_id = receipt.Headers["receipt-id"]
        kept = self._kept.get(receipt_id) or self._inner.get(receipt_id)
        if kept is None:
            return []
        self._take(kept)
        if kept.shown is None or kept.answered:
            return []
        kept.answered = True
        return [self.receipt_of(kept)]

    @staticmethod
    def receipt_of(kept: KeptFrame) -> STOMPFrame:
        """The RECEIPT of a frame, as the application has asked for it."""
        told = {**kept.confirmation.headers, "receipt-id": kept.shown or ""}
        return STOMPFrame("RECEIPT", b"", told)

    def spares(self, error: STOMPError) -> bool:
        """Whether an ERROR refuses nothing of this for good: the broker only leaves."""
        return sends_away(error) and error.headers.get("receipt-id") in self

    def refused(self, error: STOMPError) -> None:
        """Keep no more what an ERROR refuses; find out later what it means if it does not say."""
        named = error.headers.get("receipt-id")
        if named in self._inner:
            self._refuse_inner(self._inner[named], error)
        elif named in self._kept:
            logger.warning("the broker refuses %s: %s", self._kept[named].confirmation, error)
            self._take(self._kept[named])
        elif named is None and error.code in _OF_A_FRAME and len(self):
            self._single_out(error)

    def _single_out(self, error: STOMPError) -> None:
        single = self._single
        if self._one_by_one and single is not None and single.confirmation.receipt_id in self._kept:
            logger.warning("the broker refuses %s: %s", single.confirmation, error)
            self._settle(single, Outcome.REJECTED, error)
        self._one_by_one = True

    def _refuse_inner(self, kept: KeptFrame, error: STOMPError) -> None:
        """A transaction is undone with the frame that was refused."""
        self._take(kept)
        for whole in tuple(self._kept.values()):
            if whole.whole is not None and kept in whole.whole.frames:
                self._settle(whole, Outcome.REJECTED, error)
        self.let_go(kept.transaction or "")

    def lost(self) -> None:
        """Keep only what the next connection may bring: this one has ended."""
        self._to_write.clear()
        held = [one.whole for one in self._kept.values() if one.whole is not None]
        alive = {one for whole in (*held, *self._transactions.values()) for one in whole.frames}
        self._inner = {name: one for name, one in self._inner.items() if one in alive}

    def give_up(self, reason: STOMPError | None) -> None:
        """Settle everything as unknown: nobody connects any more."""
        kept = (*self._kept.values(), *self._inner.values())
        if self._kept:
            self.left = self._words()
            logger.warning("%s", self.left)
        for one in kept:
            error = unknown_outcome(one.confirmation.receipt_id, reason)
            self._settle(one, Outcome.UNKNOWN, error)
        self._transactions.clear()
        self._to_write.clear()

    def say_what_is_left(self) -> None:
        """See whether everything was confirmed before the client came to its end.

        Raises:
            OutcomeUnknown: not everything; once.
        """
        left, self.left = self.left, ""
        if left:
            raise OutcomeUnknown(left)

    def _words(self) -> str:
        """What is not confirmed, for people."""
        places = Counter(
            one.headers.get("destination", "a transaction") for one in self._kept.values()
        )
        named = ", ".join(f"{count} to {place}" for place, count in places.most_common(_NAMED))
        more = ", and others" if len(places) > _NAMED else ""
        return (
            f"{len(self._kept)} messages are not confirmed by the broker, so whether they arrived "
            f"is not known: {named}{more}"
        )

    def _settle(self, kept: KeptFrame, outcome: Outcome, error: STOMPError) -> None:
        self._take(kept)
        self._confirmations.forget(kept.confirmation)
        if not kept.confirmation.done:
            kept.confirmation.settle(outcome, error)

    def _take(self, kept: KeptFrame) -> None:
        receipt_id = kept.confirmation.receipt_id
        if self._kept.pop(receipt_id, None) is not None:
            self._size -= kept.size
            for one in [] if kept.whole is None else kept.whole.frames:
                self._inner.pop(one.confirmation.receipt_id, None)
        self._inner.pop(receipt_id, None)
