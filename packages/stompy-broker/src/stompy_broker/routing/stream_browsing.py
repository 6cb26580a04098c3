"""Looking at the messages of a stream, and copying some: page by page, whoever reads it.

A look names messages by their sequences, as in every queue; a stream finds them by offset. So the
offsets of those that were shown are remembered, and whoever goes on behind one of them, or wants
just these, costs no search.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from stompy.errors import ProtocolError
from stompy_broker.message import Message, earlier_deliveries
from stompy_broker.routing.answers import when_all
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.interface import Browse, Browsed, Move, Outcome, Transfer
from stompy_broker.routing.message_state import MessageState
from stompy_broker.routing.moving import ask_destination
from stompy_broker.routing.services import Services
from stompy_broker.routing.stream_source import StreamSource
from stompy_broker.store.entry_log import EntryLogs, LogEntry, LogPage

_REMEMBERED: Final = 65_536
"""Offsets of messages that were shown."""

_MOST: Final = 100_000
"""Messages that one look gives at most: there may be very many, and all are in memory then."""


class StreamBrowser:
    """Looks into one stream.

    Args:
        log: the name of its log.
        logs: where it is.
        source: its messages.
        services: of the broker.
    """

    __slots__ = ("_log", "_logs", "_places", "_services", "_source")

    def __init__(self, log: str, logs: EntryLogs, source: StreamSource, services: Services) -> None:
        self._log = log
        self._logs = logs
        self._source = source
        self._services = services
        self._places: dict[int, int] = {}  # by sequence, of what was shown last

    def browse(self, wanted: Browse, group: QueueGroup, done: Callable[[Browsed], None]) -> None:
        """Look at messages; see `stompy_broker.routing.interface.Queue.browse`."""
        states = wanted.states
        if wanted.most == 0 or (states is not None and MessageState.READY not in states):
            done(Browsed([], 0, more=False, last=group.sequences.last))
            return
        look = StreamLook(wanted, self._source.next, group.sequences.last, self._answered(done))
        after = max(wanted.selection.after, 0 if wanted.beyond is None else wanted.beyond[1])
        place = self._places.get(after, -1) + 1 if after else 0
        ids = wanted.selection.ids
        if ids is not None and len(ids) == 1:
            place = max(place, self._places.get(_sequence_in(ids), 0))
        since = wanted.selection.since
        if wanted.start is not None and not after:
            self._source.find(
                wanted.start, self._services.wall(), lambda found: self._go_on(look, found)
            )
        elif since and not place:
            self._source.find_time(since, lambda found: self._go_on(look, found))
        else:
            self._go_on(look, place)

    def _answered(self, done: Callable[[Browsed], None]) -> Callable[[StreamLook], None]:
        def answer(look: StreamLook) -> None:
            for message, place in zip(look.found, look.places, strict=True):
                self._remember(message.sequence, place)
            done(look.answer())

        return answer

    def _remember(self, sequence: int, place: int) -> None:
        places = self._places
        places.pop(sequence, None)
        places[sequence] = place
        if len(places) > _REMEMBERED:
            del places[next(iter(places))]

    def _go_on(self, look: StreamLook, place: int) -> None:
        place = max(place, self._source.first)
        if place >= look.end:
            look.finish()
        else:
            self._logs.read(self._log, place, lambda page: self._look(look, place, page))

    def _look(self, look: StreamLook, place: int, page: LogPage) -> None:
        if not look.take(page) or page.next <= place:
            look.finish()
        else:
            self._go_on(look, page.next)

    def copy(self, order: Move, done: Callable[[Outcome], None]) -> None:
        """Send copies of messages elsewhere; all of them, or none if one is refused."""
        wanted = {one.sequence: one for one in order.transfers}
        places = {self._places[one]: one for one in wanted if one in self._places}
        found: list[tuple[Transfer, bytes]] = []

        def take(page: LogPage) -> None:
            for entry in page.entries:
                sequence = places.pop(entry.offset, None)
                if sequence is not None and entry.body is not None:
                    one = wanted[sequence]
                    found.append((one, entry.body if one.body is None else one.body))
            for place in [one for one in places if one < page.next]:
                del places[place]  # it is not there any more
            go_on()

        def go_on() -> None:
            if places:
                self._logs.read(self._log, min(places), take)
            else:
                self._send(order, found, done)

        go_on()

    def _send(
        self, order: Move, found: Sequence[tuple[Transfer, bytes]], done: Callable[[Outcome], None]
    ) -> None:
        services = self._services

        def admitted(error: ProtocolError | None = None, /) -> None:
            if error is not None:
                done(error)
                return
            services.note_time()
            for one, body in found:
                earlier = earlier_deliveries(one.deliveries, one.failures)
                services.republish(one.destination, one.head, body, earlier)
            done(len(found))

        part_done = when_all(1 if order.within else len(found) + 1, admitted)
        for one, _ in () if order.within else found:
            ask_destination(services, one, part_done)
        part_done()


class StreamLook:
    """One look, which takes what it wants of page after page.

    Args:
        wanted: says what that is.
        end: the offset where it ends.
        last: the highest sequence that a message could have.
        done: takes it when it is through.

    Attributes:
        end: as above.
        found: messages that are meant.
        places: their offsets.
    """

    def __init__(
        self, wanted: Browse, end: int, last: int, done: Callable[[StreamLook], None]
    ) -> None:
        self.end = end
        self.found: list[Message] = []
        self.places: list[int] = []
        self._wanted = wanted
        self._last = last
        self._done = done
        self._is_meant = wanted.selection.test()
        self._most = _MOST if wanted.most is None else min(wanted.most, _MOST)
        self._skipped = self._bytes = 0
        self._more = False

    def take(self, page: LogPage) -> bool:
        """Take what is meant; false: that was enough."""
        return all(self._take(entry) for entry in page.entries)

    def _take(self, entry: LogEntry) -> bool:
        wanted, body = self._wanted, entry.body
        selection, beyond = wanted.selection, wanted.beyond
        if entry.offset >= self.end or (
            selection.up_to is not None and entry.sequence > selection.up_to
        ):
            return False
        if body is None or (beyond is not None and entry.sequence <= beyond[1]):
            return True
        message = Message(entry.sequence, entry.head, body, entry.stamp)
        if not self._is_meant(message):
            return True
        if self._skipped < wanted.skip:
            self._skipped += 1
            return True
        size = self._bytes + message.size
        if len(self.found) >= self._most or (wanted.bodies and self.found and size > wanted.bodies):
            self._more = True
            return False
        if not wanted.bodies:
            message.body = None
        self.found.append(message)
        self.places.append(entry.offset)
        self._bytes = size
        return True

    def finish(self) -> None:
        """Give what was found."""
        self._done(self)

    def answer(self) -> Browsed:
        """What was found, as `Browsed`."""
        if self._wanted.states is None:
            return Browsed(self.found, 0, self._more, offsets=tuple(self.places))
        count = len(self.found)
        states = (MessageState.READY,) * count
        due = (0,) * count
        return Browsed(
            self.found,
            0,
            self._more,
            states,
            self._skipped,
            self._last,
            due,
            offsets=tuple(self.places),
        )


def _sequence_in(ids: frozenset[str]) -> int:
    """The sequence that one message-id most likely is; -1 = it is no number."""
    (text,) = ids
    return int(text) if text.isascii() and text.isdigit() else -1
