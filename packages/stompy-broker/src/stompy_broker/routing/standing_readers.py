"""The readers of a queue whose messages stay: each consumer is one, and begins with the first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.message import Message
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.interface import QueueIdentity
from stompy_broker.routing.reader_message import ReaderMessage
from stompy_broker.routing.reader_owner import ReaderOwner
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.services import Services
from stompy_broker.routing.standing_source import StandingSource
from stompy_broker.routing.stream_choice import StreamChoice
from stompy_broker.routing.stream_reader import StreamReader

Bury = Callable[[ReaderMessage, str, str], bool]
"""Has a copy of a message become a dead letter, by cause and reason; false: it cannot be now."""


class StandingReaders(ReaderOwner):
    """The readers of one queue.

    Args:
        identity: of the queue.
        source: its messages.
        services: of the broker.
        bury: gives up what a reader refused.

    Attributes:
        past: deliveries, redeliveries, accepted and rejected ones of readers that have gone.
    """

    __slots__ = ("_bury", "_last", "_of", "by_number", "past")

    def __init__(
        self, identity: QueueIdentity, source: StandingSource, services: Services, bury: Bury
    ) -> None:
        super().__init__(identity, source, services.memory, services.clock)
        self._bury = bury
        self._last = 0
        self.by_number: dict[int, StreamReader] = {}
        self._of: dict[Consumer, StreamReader] = {}
        self.past = (0, 0, 0, 0)

    # -- who takes part ---------------------------------------------------------------------

    def refusal(self, consumer: Consumer) -> ProtocolError | None:
        """Why a consumer may not read as it asks to; None = it may."""
        if consumer.terms.single_active:
            return ProtocolError(
                ErrorCode.NOT_SUPPORTED,
                f"each consumer of {self.identity.destination} reads all of it (non_destructive): "
                "there is no active one",
            )
        try:
            StreamChoice(consumer.terms.selector)
        except ProtocolError as error:
            return error
        return None

    def come(self, consumer: Consumer) -> None:
        """Let a consumer read from the first message on. It was not refused."""
        selector = consumer.terms.selector
        self._last += 1
        reader = StreamReader(self, self._last, StreamChoice(selector) if selector else None)
        self.by_number[reader.number] = self._of[consumer] = reader
        reader.put_at(0)
        reader.come(consumer)

    def go(self, consumer: Consumer, unsettled: Iterable[Message], *, lost: bool) -> None:
        """Let a consumer go; nobody else is given what it has not settled."""
        reader = self._of.pop(consumer, None)
        if reader is not None:
            reader.go(consumer)
        back: dict[StreamReader, list[ReaderMessage]] = {} if reader is None else {reader: []}
        for message in unsettled:
            assert isinstance(message, ReaderMessage)
            back.setdefault(self.by_number[message.reader], []).append(message)
        for one, messages in back.items():
            one.give_back(messages, lost=lost)
            self._end_if_over(one)

    def _end_if_over(self, reader: StreamReader) -> None:
        """Forget a reader whose consumer has gone, and that has nothing to settle any more."""
        if reader.is_over and reader.number in self.by_number:
            del self.by_number[reader.number]
            delivered, redelivered, acked, nacked = self.past
            self.past = (
                delivered + reader.delivered,
                redelivered + reader.redelivered,
                acked + reader.acked,
                nacked + reader.nacked,
            )
            reader.close()

    def resume(self, consumer: Consumer) -> None:
        """Go on: a consumer has room again."""
        if consumer in self._of:
            self._of[consumer].resume(consumer)

    def stand_back(self, consumers: Iterable[Consumer]) -> None:
        """Have consumers wait no more."""
        for consumer in consumers:
            if consumer in self._of:
                self._of[consumer].stand_back((consumer,))

    def hand_out(self) -> None:
        """Go on with all of them."""
        for reader in list(self.by_number.values()):
            reader.hand_out()

    # -- what is settled --------------------------------------------------------------------

    def settle(self, message: Message, rejection: Rejection | None) -> None:
        """End a delivery: its reader goes on, or is given the message again."""
        assert isinstance(message, ReaderMessage)
        reader = self.by_number[message.reader]
        if rejection is None:
            reader.accept_all((message,))
        else:
            reader.reject(message, rejection)
        self._look_for_end(reader)

    def accept_all(self, messages: Sequence[Message]) -> None:
        """End many deliveries to one consumer, all of them accepted."""
        first = messages[0]
        assert isinstance(first, ReaderMessage)
        reader = self.by_number[first.reader]
        reader.accept_all(messages)
        self._look_for_end(reader)

    def _look_for_end(self, reader: StreamReader) -> None:
        """A transaction had something of a consumer that has gone."""
        if not reader.consumers and not reader.unacked:
            reader.give_back((), lost=False)
            self._end_if_over(reader)

    def give_up(self, message: ReaderMessage, cause: str, reason: str) -> bool:
        """Have a copy of a message become a dead letter; false: it cannot be now."""
        return self._bury(message, cause, reason)

    def keep_place(self, name: str, place: int) -> None:
        """Keep nothing: a reader has no name, and ends with its consumer."""

    def close(self) -> None:
        """End: nobody is given anything any more."""
        for reader in self.by_number.values():
            reader.close()

    def totals(self) -> tuple[int, int, int, int, int]:
        """Deliveries, redeliveries, accepted, rejected, and what is with consumers."""
        delivered, redelivered, acked, nacked = self.past
        unacked = 0
        for reader in self.by_number.values():
            delivered += reader.delivered
            redelivered += reader.redelivered
            acked += reader.acked
            nacked += reader.nacked
            unacked += reader.unacked
        return delivered, redelivered, acked, nacked, unacked
