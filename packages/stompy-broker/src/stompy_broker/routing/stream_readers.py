"""The readers of one stream: who they are, where each begins, and what is kept under a name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.message import Message
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.counts import Counts
from stompy_broker.routing.dead_letters import Fate
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.interface import QueueIdentity
from stompy_broker.routing.reader_message import ReaderMessage
from stompy_broker.routing.reader_owner import ReaderOwner
from stompy_broker.routing.reading import Reading, StreamStart
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.services import Services
from stompy_broker.routing.stream_choice import StreamChoice
from stompy_broker.routing.stream_orders import ReaderFigures
from stompy_broker.routing.stream_reader import StreamReader
from stompy_broker.routing.stream_source import StreamSource
from stompy_broker.routing.stream_times import StreamTimes
from stompy_broker.store.entry_log import EntryLogs

MOST_NAMES: Final = 65_536
"""Names of which a stream keeps a place."""

_PLAIN: Final = Reading()


class StreamReaders(ReaderOwner):
    """Who reads one stream.

    Args:
        identity: of the stream.
        source: its messages.
        services: of the broker.
        group: of the stream.
        counts: of the stream.
        log: the name of its log.

    Attributes:
        by_name: readers whose place is kept, also those that nobody takes part in just now.
        past: what those readers counted that are not there any more: deliveries, redeliveries,
            accepted, rejected.
    """

    __slots__ = (
        "_by_number",
        "_counts",
        "_group",
        "_kept",
        "_last",
        "_log",
        "_logs",
        "_of",
        "_restored",
        "_services",
        "_stream",
        "_times",
        "by_name",
        "past",
    )

    def __init__(
        self,
        identity: QueueIdentity,
        source: StreamSource,
        services: Services,
        group: QueueGroup,
        counts: Counts,
        log: str,
    ) -> None:
        super().__init__(identity, source, services.memory, services.clock)
        self._stream = source
        self._services = services
        self._group = group
        self._counts = counts
        self._log = log
        self._logs: EntryLogs = group.store.logs
        self._kept = dict(self._logs.readers(log))
        self._restored = source.next  # what stands before may have been delivered by others
        self._last = 0
        self._by_number: dict[int, StreamReader] = {}
        self._of: dict[Consumer, StreamReader] = {}
        self._times = StreamTimes(source)
        self.by_name: dict[str, StreamReader] = {}
        self.past = [0, 0, 0, 0]

    # -- who takes part ---------------------------------------------------------------------

    def refusal(self, consumer: Consumer) -> ProtocolError | None:
        """Why a consumer may not read as it asks to; None = it may."""
        terms = consumer.terms
        reading = terms.reading or _PLAIN
        destination = self.identity.destination
        if not reading.name:
            if terms.single_active or terms.priority:
                return ProtocolError(
                    ErrorCode.NOT_SUPPORTED,
                    f"{destination} is a stream: each consumer reads all of it, unless several "
                    "read under one name (x-stream-consumer)",
                )
            return _fault(terms.selector)
        known = self.by_name.get(reading.name)
        if known is None or not known.consumers:
            if len(self._kept) >= MOST_NAMES and reading.name not in self._kept:
                return ProtocolError(
                    ErrorCode.LIMIT_EXCEEDED,
                    f"{destination} keeps the places of {MOST_NAMES} readers, which is the most",
                )
            return _fault(terms.selector)
        other = next(iter(known.consumers)).terms
        there = other.reading or _PLAIN
        same = (terms.selector, reading.filters, reading.unfiltered, reading.shared)
        if same != (other.selector, there.filters, there.unfiltered, there.shared):
            return ProtocolError(
                ErrorCode.BAD_HEADER,
                f"{reading.name[:60]!r} reads {destination} already; all who read under one name "
                "have the same selector and x-stream-filter, and all of them share or none does",
            )
        return None

    def come(self, consumer: Consumer) -> None:
        """Let a consumer read. It was not refused.

        Raises:
            ProtocolError: its selector is none.
        """
        terms = consumer.terms
        reading = terms.reading or _PLAIN
        reader = self.by_name.get(reading.name) if reading.name else None
        joins = reader is not None and bool(reader.consumers)
        if reader is None:
            self._last += 1
            reader = StreamReader(self, self._last, None, reading.name)
            self._by_number[reader.number] = reader
            if reading.name:
                self.by_name[reading.name] = reader
        self._of[consumer] = reader
        if not joins:
            choice = None
            if terms.selector or reading.filters:
                choice = StreamChoice(terms.selector, reading.filters, reading.unfiltered)
            reader.choice = choice
            self._place(reader, reading)
        reader.come(consumer)

    def _place(self, reader: StreamReader, reading: Reading) -> None:
        """Have a reader stand where it begins, unless it goes on where it stands."""
        name = reading.name
        kept = self._kept.get(name) if name else None
        if reading.resumes and reader.placed:
            return  # it was here before, and knows more than what is kept
        if reading.resumes and kept is not None:
            reader.kept = kept
            reader.put_at(self._stream.clamped(kept), self._restored)
        else:
            self._begin_at(reader, reading.start)

    def _begin_at(self, reader: StreamReader, start: StreamStart) -> None:
        number = reader.number
        if reader.placed or reader.kept >= 0:
            number = self._renumber(reader)
        reader.placed = False
        self._stream.find(start, self._services.wall(), partial(self._found, reader, number))

    def _found(self, reader: StreamReader, number: int, place: int) -> None:
        if self._by_number.get(number) is reader:
            reader.seek(self._stream.clamped(place), number)

    def _renumber(self, reader: StreamReader) -> int:
        self._last += 1
        self._by_number[self._last] = reader
        return self._last

    def go(self, consumer: Consumer, unsettled: Sequence[Message], *, lost: bool) -> None:
        """Let a consumer go; what it has not settled is given again, if anybody is to have it."""
        by_reader: dict[StreamReader, list[ReaderMessage]] = {}
        reader = self._of.pop(consumer, None)
        if reader is not None:
            reader.go(consumer)
            by_reader[reader] = []
        for message in unsettled:
            assert isinstance(message, ReaderMessage)
            by_reader.setdefault(self._by_number[message.reader], []).append(message)
        for one, messages in by_reader.items():
            one.give_back(messages, lost=lost)
            self._forget_if_over(one)

    def _forget_if_over(self, reader: StreamReader) -> None:
        if reader.consumers or reader.unacked:
            return
        numbers = [number for number, one in self._by_number.items() if one is reader]
        for number in numbers:
            if number != reader.number or reader.is_over:
                del self._by_number[number]
        if reader.is_over:
            self._count(reader)
            reader.close()

    def _count(self, reader: StreamReader) -> None:
        counted = reader.delivered, reader.redelivered, reader.acked, reader.nacked
        self.past = [past + more for past, more in zip(self.past, counted, strict=True)]

    def resume(self, consumer: Consumer) -> None:
        """Go on: a consumer has room again."""
        reader = self._of.get(consumer)
        if reader is not None:
            reader.resume(consumer)

    def stand_back(self, consumers: Iterable[Consumer]) -> None:
        """Have consumers wait no more."""
        for consumer in consumers:
            reader = self._of.get(consumer)
            if reader is not None:
                reader.stand_back((consumer,))

    def hand_out(self) -> None:
        """Go on with all of them."""
        for reader in self.every():
            reader.hand_out()

    def every(self) -> list[StreamReader]:
        """All readers, each once."""
        return list(dict.fromkeys(self._by_number.values()))

    # -- what is settled --------------------------------------------------------------------

    def settle(self, message: Message, rejection: Rejection | None) -> bool:
        """End a delivery; say whether anything about it is kept."""
        assert isinstance(message, ReaderMessage)
        reader = self._by_number[message.reader]
        if rejection is None:
            reader.accept_all((message,))
        else:
            reader.reject(message, rejection)
        named = bool(reader.name)
        if not reader.consumers:
            self._settled_late(reader)
        return named or rejection is not None

    def _settled_late(self, reader: StreamReader) -> None:
        """Go on with a reader that nobody takes part in any more: a transaction had something."""
        if not reader.unacked:
            reader.give_back((), lost=False)
            self._forget_if_over(reader)

    def accept_all(self, messages: list[Message]) -> None:
        """End many deliveries, all of them accepted."""
        first = messages[0]
        assert isinstance(first, ReaderMessage)
        reader = self._by_number[first.reader]
        if len(messages) == 1 or _of_one(messages, first.reader):
            reader.accept_all(messages)
            if not reader.consumers:
                self._settled_late(reader)
            return
        for message in messages:
            self.settle(message, None)

    def give_up(self, message: ReaderMessage, cause: str, reason: str) -> bool:
        """Have a copy of a message become a dead letter; false: it cannot be now."""
        services, counts = self._services, self._counts
        services.note_time()
        fate = services.dead_letters.dead_letter(
            self.identity, self._group, message, cause, reason, None
        )
        if fate is Fate.STAYS:
            return False
        if fate is Fate.DROPPED:
            counts.dropped += 1
        else:
            counts.dead_lettered += 1
        return True

    # -- what is kept -----------------------------------------------------------------------

    def keep_place(self, name: str, place: int) -> None:
        """Keep the place before which everything is settled that was read under a name."""
        self._kept[name] = place
        self._logs.keep_reader(self._log, name, place)

    @property
    def keeps_any(self) -> bool:
        """Whether any place is kept."""
        return bool(self._kept)

    def seek(self, name: str, start: StreamStart, done: Callable[[int], None]) -> bool:
        """Have those who read under a name go on elsewhere; false: nobody has that name.

        Args:
            name: under which a place is kept.
            start: where they go on.
            done: takes the offset.
        """
        reader = self.by_name.get(name)
        if reader is None and name not in self._kept:
            return False
        number = 0
        if reader is not None:
            number = self._renumber(reader)
            reader.placed = False
        self._stream.find(
            start, self._services.wall(), partial(self._sought, name, reader, number, done)
        )
        return True

    def _sought(
        self,
        name: str,
        reader: StreamReader | None,
        number: int,
        done: Callable[[int], None],
        place: int,
    ) -> None:
        place = self._stream.clamped(place)
        if reader is not None:
            self._found(reader, number, place)
        elif name not in self.by_name:
            self.keep_place(name, place)
        done(place)

    def forget(self, name: str) -> bool | None:
        """Forget the place of a name; None: somebody reads under it."""
        reader = self.by_name.get(name)
        if reader is not None:
            if reader.consumers or reader.unacked:
                return None
            del self.by_name[name]
            # It may be there under the numbers of several consumers that have left.
            for number in [number for number, one in self._by_number.items() if one is reader]:
                del self._by_number[number]
            self._count(reader)
            reader.close()
        if name not in self._kept:
            return reader is not None
        del self._kept[name]
        self._logs.keep_reader(self._log, name, None)
        return True

    def close(self) -> None:
        """End: nobody is given anything any more."""
        for reader in self.every():
            reader.close()
        self.by_name.clear()
        self._kept.clear()

    @property
    def count(self) -> int:
        """How many readers there are, with the names that nobody reads under just now."""
        nameless = sum(not one.name for one in self.every())
        return nameless + len({*self._kept, *self.by_name})

    # -- figures ----------------------------------------------------------------------------

    def totals(self) -> tuple[int, int, int, int, int]:
        """Deliveries, redeliveries, accepted, rejected, and what is with consumers."""
        delivered, redelivered, acked, nacked = self.past
        unacked = 0
        for reader in self.every():
            delivered += reader.delivered
            redelivered += reader.redelivered
            acked += reader.acked
            nacked += reader.nacked
            unacked += reader.unacked
        return delivered, redelivered, acked, nacked, unacked

    def learn_ages(self, done: Callable[[], None] | None = None) -> None:
        """Learn when the messages came at which readers are, and call ``done`` then."""
        stream = self._stream
        places = {
            place
            for reader in self.every()
            if reader.time_at(place := max(reader.first_unsettled, stream.first)) is None
        }
        places |= {
            stream.clamped(place) for name, place in self._kept.items() if name not in self.by_name
        }
        places.discard(stream.next)
        self._times.want(places, done)

    def _behind(self, place: int, reader: StreamReader | None = None) -> int | None:
        """How old the message at a place is; 0 = none is there, None = it is not known."""
        if place >= self._stream.next:
            return 0
        came = None if reader is None else reader.time_at(place)
        if came is None:
            came = self._times.at(place)
        return None if came is None else max(self._services.wall() - came, 0)

    def figures(self) -> Iterator[ReaderFigures]:
        """Each reader at this moment, and the names that nobody reads under."""
        self.learn_ages()
        end = self._stream.next
        for reader in self.every():
            choice = reader.choice
            settled = max(reader.first_unsettled, self._stream.first)
            lag = max(end - settled, 0)
            yield ReaderFigures(
                name=reader.name,
                number=next((one.number for one in reader.consumers), 0),
                consumers=len(reader.consumers),
                active=reader.active,
                place=max(reader.place, self._stream.first),
                settled=settled,
                kept=None if reader.kept < 0 else reader.kept,
                lag=lag,
                behind_ms=self._behind(settled, reader),
                unacked=reader.unacked,
                waiting=reader.waiting_back,
                delivered=reader.delivered,
                redelivered=reader.redelivered,
                acked=reader.acked,
                nacked=reader.nacked,
                selector="" if choice is None else choice.selector,
                filters=() if choice is None else tuple(sorted(choice.values)),
                unfiltered=choice is not None and choice.unfiltered,
            )
        for name, place in self._kept.items():
            if name not in self.by_name:
                here = self._stream.clamped(place)
                nothing = 0, 0, 0, 0, 0, 0
                behind = self._behind(here)
                yield ReaderFigures(name, 0, 0, 0, here, here, place, end - here, behind, *nothing)


def _of_one(messages: list[Message], number: int) -> bool:
    for message in messages:
        assert isinstance(message, ReaderMessage)
        if message.reader != number:
            return False
    return True


def _fault(selector: str) -> ProtocolError | None:
    """What is wrong with a selector; None = nothing."""
    try:
        StreamChoice(selector)
    except ProtocolError as error:
        return error
    return None
