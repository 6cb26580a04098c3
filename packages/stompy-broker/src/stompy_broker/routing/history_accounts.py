"""What the messages of a queue with a history cost, and what is written (**hot path** there).

All that ends in such a queue is told here, so here it is written: to a log of the store, in the
same turn in which the message leaves, so that both are one change.

Invariant: what is in `HistoryLog.held` is with a consumer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from stompy.admin.settlements import SettlementKind
from stompy_broker.message import Message, MessageHead, MessageTraits, Redelivery
from stompy_broker.routing.accounts import Accounts
from stompy_broker.routing.charged_accounts import ChargedAccounts
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.history_log import HistoryLog
from stompy_broker.routing.paging import BodyReader
from stompy_broker.routing.settlement_record import (
    FORM,
    NO_TAKER,
    NO_WORDS,
    code_of,
    encode_fixed,
    encode_record,
    encode_words,
)
from stompy_broker.routing.user_storage import StorageBook
from stompy_broker.store.interface import MessageStore

_ACKED: Final = code_of(SettlementKind.ACKED)
_TAKEN: Final = code_of(SettlementKind.TAKEN)

_NEVER: Final = Redelivery(0, 0)

_NO_HEAD: Final = MessageHead(b"\n", MessageTraits(sized=True))
"""Of what stands for a message that has come back: all of it is told when it leaves."""


class HistoryAccounts(ChargedAccounts):
    """Accounts of a queue that also write down what leaves it, and every delivery that ends.

    Args:
        destination: of the queue.
        memory: where what is in it is added up.
        disk: where what is stored of it is.
        store: where persistent messages of it survive; None = they do not.
        own: makes senders of this queue wait; None = nothing of its own does.
        reader: reads its bodies from disk.
        shares: whether a message in it may share its memory with others.
        book: knows who sends just now; None = nobody wants to know.
        log: the past of the queue.
    """

    __slots__ = ("_held", "_holder", "_log", "_received", "_stamp", "_tail")

    def __init__(  # noqa: PLR0913 -- what `ChargedAccounts` has, and one more
        self,
        destination: str,
        memory: Watermark,
        disk: Watermark,
        store: MessageStore | None,
        own: Watermark | None,
        reader: BodyReader,
        *,
        shares: bool,
        book: StorageBook | None,
        log: HistoryLog,
    ) -> None:
        super().__init__(destination, memory, disk, store, own, reader, shares=shares, book=book)
        self._log = log
        self._stamp, self._received = b"", 0  # of the message that ended last
        self._holder, self._tail = 0, b""  # of the consumer that had one last, and in words
        self._held = log.held

    def keep(self, message: Message) -> None:
        """Account for a message."""
        if self._book is None:
            Accounts.keep(self, message)  # one call less, where no user has a quota
        else:
            super().keep(message)

    def _count_off(self, message: Message) -> None:
        """Count a message no more, of which all is written down."""
        if self._book is None:
            Accounts.let_go(self, message)
        else:
            super().let_go(message)

    # -- what is delivered ------------------------------------------------------------------

    def mark_delivered(self, message: Message, holder: int) -> None:
        """Take note of a delivery."""
        super().mark_delivered(message, holder)
        if holder:
            log = self._log
            if holder != self._holder:
                self._holder, self._tail = holder, log.taker_of(holder) + NO_WORDS
            self._held[message.sequence] = (holder, log.now())

    def mark_returned(self, message: Message, due: int) -> None:
        """Take note that nobody has a message: it was not delivered after all."""
        super().mark_returned(message, due)
        self._held.pop(message.sequence, None)

    # -- what ends --------------------------------------------------------------------------

    def let_go(self, message: Message) -> None:
        """Count a message no more: a consumer has accepted it."""
        held = self._held.pop(message.sequence, None)
        if held is None:
            self._end(message, _ACKED, 1, NO_WORDS)
        else:
            # What `_end` does, for the most usual end.
            log, (holder, delivered) = self._log, held
            if holder != self._holder:
                self._holder, self._tail = holder, log.taker_of(holder) + NO_WORDS
            if message.stamp is not self._stamp:
                self._stamp, self._received = message.stamp, message.received_at
            deliveries, failures = message.redelivery or _NEVER
            log.add(
                message,
                log.now(),
                encode_fixed(
                    FORM, _ACKED, self._received, delivered, holder, deliveries + 1, failures
                )
                + self._tail,
            )
        self._count_off(message)

    def hand_over(self, message: Message, holder: int, *, kept: bool) -> None:
        """Write down a message that went to a consumer without acknowledgement."""
        log = self._log
        now = log.now()
        record = encode_record(
            _TAKEN,
            self._came(message),
            now,
            holder,
            message.deliveries + 1,
            message.failures,
            log.taker_of(holder),
            NO_WORDS,
        )
        log.add(message, now, record)
        if kept:
            self._count_off(message)

    def give_up(
        self,
        message: Message,
        kind: SettlementKind,
        cause: str = "",
        reason: str = "",
        sent_to: str = "",
    ) -> None:
        """Count a message no more that no consumer has accepted."""
        self._end(message, code_of(kind), 0, encode_words(cause, reason, sent_to))
        self._count_off(message)

    def ending(self) -> Callable[[Message], None]:
        """Take note that the queue ends."""
        self._log.end()
        return super().ending()

    def come_back(self, message: Message, due: int, kind: SettlementKind, reason: str) -> None:
        """Write down a delivery that ended without the message leaving."""
        shown = message.head.traits.message_id
        head = _NO_HEAD
        if shown is not None:
            head = MessageHead(b"\n", MessageTraits(sized=True, message_id=shown))
        short = Message(message.sequence, head, b"", message.stamp, message.redelivery)
        self._end(short, code_of(kind), 0, encode_words("", reason))
        self.mark_returned(message, due)

    def _end(self, message: Message, code: int, further: int, words: bytes) -> None:
        log = self._log
        now = log.wall()
        holder = delivered = 0
        taker = NO_TAKER
        held = self._held.pop(message.sequence, None)
        if held is not None:
            holder, delivered = held
            taker = log.taker_of(holder)
        earlier = message.redelivery
        deliveries = failures = 0
        if earlier is not None:
            deliveries, failures = earlier
        record = encode_record(
            code,
            self._came(message),
            delivered,
            holder,
            deliveries + further,
            failures,
            taker,
            words,
        )
        log.add(message, now, record)

    def _came(self, message: Message) -> int:
        """When a message came; what was sent together has one stamp, which is read once."""
        if message.stamp is not self._stamp:
            self._stamp, self._received = message.stamp, message.received_at
        return self._received
