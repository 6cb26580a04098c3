"""The messages of one stream: the last ones in memory, all of them in a log of the store.

What comes is told to the log, and stands at the end of the *tail*, from which live readers have
it. Of the tail only so many bytes stay in memory; what is before is read from the store when a
reader comes to it, a page at a time, outside of the event loop's thread. Readers at one place share
a page.

Readers are given nothing that is not safe yet: after a crash another message could have its offset,
and who keeps offsets elsewhere would never see it.

Invariants:

* ``first <= end <= next``. Up to ``end`` all is safe.
* The runs of the tail follow each other without a gap and end at ``next``.
* Each run counts in memory once: while it is in the tail, is read ahead, or a reader is in it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from stompy.compiler import mypyc_attr
from stompy_broker.message import Message, MessageHead
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.message_source import MessageRun, MessageSource, RunReader
from stompy_broker.routing.reader_message import OffsetMessage, ReaderMessage
from stompy_broker.routing.reading import StartAt, StreamStart
from stompy_broker.routing.stream_choice import filter_value_of
from stompy_broker.store.entry_log import EntryLogs, LogEnds, LogPage, PageRead, WantedValues
from stompy_broker.store.interface import MessageStore

TAIL_BYTES: Final = 8 * 1024 * 1024
"""How much of a stream stays in memory for live readers."""

_RUN: Final = 1000
"""Messages in a run of the tail at most."""
_RUN_BYTES: Final = TAIL_BYTES // 8
"""Bytes of a run after which another one begins, so that large messages leave memory soon."""

Asked = tuple[int, frozenset[str], bool]
"""A page that is read: from where, with which filter values, and whether with those without."""


class TailRun(MessageRun):
    """Messages at the end of a stream, in memory since they came.

    Args:
        first: the offset of the first one.

    Attributes:
        first: as above.
        later: messages that stand behind the others, and are made ready when somebody comes.
    """

    __slots__ = ("first", "later")

    def __init__(self, first: int) -> None:
        super().__init__([], first, grows=True)
        self.first = first
        self.later: list[Message] = []

    def prepare(self) -> list[ReaderMessage]:
        """Have all of them ready for readers; gives them."""
        messages = self.messages
        if self.later:
            place = self.first + len(messages)
            for one in self.later:
                messages.append(OffsetMessage(place, one.sequence, one.head, one.body, one.stamp))
                place += 1
            self.later.clear()
        return messages


@mypyc_attr(allow_interpreted_subclasses=True)
class StreamSource(MessageSource):
    """Has the messages of one stream.

    Args:
        name: of the log.
        store: keeps it.
        memory: where what is in memory is added up.
        ends: from where to where the log goes.

    Attributes:
        next: the offset of the message that comes next.
    """

    __slots__ = (
        "_asking",
        "_closed",
        "_growing",
        "_head",
        "_loading",
        "_logs",
        "_memory",
        "_name",
        "_pages",
        "_ready",
        "_store",
        "_syncing",
        "_tail",
        "_tail_bytes",
        "_value",
        "_waiting",
        "next",
    )

    def __init__(self, name: str, store: MessageStore, memory: Watermark, ends: LogEnds) -> None:
        super().__init__(ends.first, ends.next, has_gaps=False)
        self.next = ends.next
        self._name = name
        self._store = store
        self._logs: EntryLogs = store.logs
        self._memory = memory
        self._tail: deque[TailRun] = deque()
        self._growing: TailRun | None = None
        self._head: MessageHead | None = None  # of the last message, and its filter value
        self._value: str | None = None
        self._tail_bytes = 0
        self._waiting: dict[RunReader, None] = {}
        self._pages: dict[MessageRun, None] = {}  # that readers are in, or that was read ahead
        self._loading: dict[Asked, dict[RunReader, None]] = {}
        self._ready: dict[Asked, MessageRun] = {}  # was read ahead, and nobody is in it
        self._asking = self._syncing = self._closed = False

    @property
    def tail_bytes(self) -> int:
        """How much of it is in memory for live readers."""
        return self._tail_bytes

    @property
    def oldest_at(self) -> int | None:
        """When the oldest message came that is in memory, if it is the first one."""
        tail = self._tail
        if not tail or tail[0].first > self.first:
            return None
        return tail[0].prepare()[self.first - tail[0].first].received_at

    # -- messages that come -----------------------------------------------------------------

    def append(self, message: Message) -> None:
        """Take a message as the last one."""
        head = message.head
        if head is not self._head:
            self._head, self._value = head, filter_value_of(message)
        place = self._logs.append(self._name, message, self._value)
        run = self._growing
        if run is None:
            run = self._growing = TailRun(place)
            self._tail.append(run)
        # For whoever may never be read no more than this is done.
        run.later.append(message)
        run.end = self.next = place + 1
        size = message.size
        run.bytes += size
        tail_bytes = self._tail_bytes = self._tail_bytes + size
        memory = self._memory
        memory.used += size
        if memory.used >= memory.high:
            memory.went_over()
        if run.readers:
            run.prepare()
        if place + 1 - run.first >= _RUN or run.bytes >= _RUN_BYTES:
            run.grows = False
            self._growing = None
        if tail_bytes > TAIL_BYTES:
            self._shorten()
        if self._waiting and not self._syncing:
            self._sync()

    def _shorten(self) -> None:
        """Have only so much in memory: the store has the rest."""
        tail = self._tail
        while self._tail_bytes > TAIL_BYTES and len(tail) > 1:
            self._leave_tail(tail.popleft())

    def _leave_tail(self, run: TailRun) -> None:
        self._tail_bytes -= run.bytes
        run.grows = False
        if run is self._growing:
            self._growing = None
        if run.readers:
            self._pages[run] = None
        else:
            self._uncount(run)

    def _uncount(self, run: MessageRun) -> None:
        memory = self._memory
        memory.used -= run.bytes
        run.bytes = 0
        if memory.used <= memory.floor:
            memory.went_under()

    def share(self, run: MessageRun, message: ReaderMessage) -> None:
        """Make the wire form of a message once, because several readers are in its run."""
        more = message.share()
        if more:
            run.bytes += more
            self._memory.used += more
            if run not in self._pages:
                self._tail_bytes += more

    # -- what is safe -----------------------------------------------------------------------

    def wait(self, reader: RunReader) -> bool:
        """Tell a reader when more may be read, once; true: it is now."""
        if self.end < self.next and not self._syncing:
            before = self.end
            self._sync()
            if self.end > before:
                return True
        self._waiting[reader] = None
        return False

    def _sync(self) -> None:
        self._syncing = True
        self._store.sync(self._safe)

    def _safe(self) -> None:
        """Let readers have what is safe now."""
        self._syncing = False
        if self._closed:
            return
        self.end = max(self.end, self._logs.safe_next(self._name))
        waiting, self._waiting = self._waiting, {}
        for reader in waiting:
            reader.hand_out()
        if self._waiting and self.end < self.next and not self._syncing:
            self._sync()

    # -- reading ----------------------------------------------------------------------------

    def run_at(
        self, place: int, reader: RunReader, values: frozenset[str], unfiltered: bool
    ) -> MessageRun | None:
        """The messages from a place on, as far as they are at hand; see `MessageSource`."""
        place = max(place, self.first)
        if place >= self.next:
            self._waiting[reader] = None
            return None
        run = self._in_memory(place, values)
        if run is None:
            run = self._page(place, reader, values, unfiltered)
        if run is not None:
            run.readers += 1
        return run

    def _in_memory(self, place: int, values: frozenset[str]) -> MessageRun | None:
        tail = self._tail
        if tail and place >= tail[0].first:
            for run in reversed(tail):
                if run.first <= place:
                    run.prepare()
                    return run
        if not values:
            for page in self._pages:
                messages = page.messages
                if messages and messages[0].place <= place < page.end and not page.chosen:
                    return page
        return None

    def _page(
        self, place: int, reader: RunReader, values: frozenset[str], unfiltered: bool
    ) -> MessageRun | None:
        """A page of the store; None: it is being read."""
        asked = (place, values, unfiltered)
        run = self._ready.pop(asked, None)
        if run is None:
            readers = self._loading.get(asked)
            if readers is not None:
                readers[reader] = None
                return None
            run = self._load(asked, reader)
        if run is not None and run.end < self._tail_first and not self._memory.full:
            self._read_ahead((run.end, values, unfiltered))
        return run

    @property
    def _tail_first(self) -> int:
        """From where on everything is in the tail."""
        return self._tail[0].first if self._tail else self.next

    def _load(self, asked: Asked, reader: RunReader) -> MessageRun | None:
        """Have a page read; it may be there at once."""
        self._asking = True
        try:
            self._begin(asked)
        finally:
            self._asking = False
        run = self._ready.pop(asked, None)
        if run is None:
            self._loading[asked][reader] = None
        return run

    def _read_ahead(self, asked: Asked) -> None:
        if asked not in self._loading and asked not in self._ready:
            self._asking = True
            try:
                self._begin(asked)
            finally:
                self._asking = False

    def _begin(self, asked: Asked) -> None:
        place, values, unfiltered = asked
        self._loading[asked] = {}
        wanted = WantedValues(values, unfiltered) if values else None
        self._logs.read(self._name, place, partial(self._loaded, asked), wanted=wanted)

    def _loaded(self, asked: Asked, page: LogPage) -> None:
        readers = self._loading.pop(asked)
        if self._closed:
            return
        messages: list[ReaderMessage] = [
            OffsetMessage(one.offset, one.sequence, one.head, one.body, one.stamp)
            for one in page.entries
            if one.body is not None
        ]
        run = MessageRun(messages, max(page.next, asked[0]), chosen=bool(asked[1]))
        run.bytes = sum([message.size for message in messages])
        self._pages[run] = None
        self._memory.add(run.bytes)
        self._ready[asked] = run
        if self._asking:
            return
        for reader in readers:
            reader.hand_out()
        if not self._is_ahead(asked[0]):
            self._drop_ready(asked)

    def _is_ahead(self, place: int) -> bool:
        """Whether a reader comes to a place when it is through with what it has."""
        return any(run.end == place and run.readers for run in self._pages)

    def _drop_ready(self, asked: Asked) -> None:
        """Forget a page that nobody came to."""
        run = self._ready.pop(asked, None)
        if run is not None:
            self._pages.pop(run, None)
            self._uncount(run)

    def leave(self, run: MessageRun) -> None:
        """Take note that a reader has no more use for a run."""
        run.readers -= 1
        if run.readers or run not in self._pages:
            return
        del self._pages[run]
        self._uncount(run)
        if self._ready and not self._is_ahead(run.end):
            for asked in [one for one in self._ready if one[0] == run.end]:
                self._drop_ready(asked)

    def find(self, start: StreamStart, now: int, found: Callable[[int], None]) -> None:
        """Find where reading begins; it may have to be read. It may be a place where nothing is.

        Args:
            start: where that is.
            now: the time, in milliseconds since the epoch.
            found: takes the offset.
        """
        at, number = start.at, start.number
        if at is StartAt.TIME:
            self.find_time(number, found)
        elif at is StartAt.AGE:
            self.find_time(now - number, found)
        elif at is StartAt.FIRST:
            found(self.first)
        elif at is StartAt.LAST:
            found(self.next - 1)
        elif at is StartAt.BACK:
            found(self.next - number)
        elif at is StartAt.OFFSET:
            found(number)
        else:
            found(self.next)

    def time_at(self, place: int) -> int | None:
        """When the message at a place came; None: it is not in memory for live readers."""
        tail = self._tail
        if not tail or place < tail[0].first:
            return None
        for run in reversed(tail):
            if run.first <= place:
                # What nobody has read is not made ready for this.
                index, ready = place - run.first, run.messages
                later = run.later
                if index < len(ready):
                    return ready[index].received_at
                index -= len(ready)
                return later[index].received_at if index < len(later) else None
        return None

    def read_block(self, place: int, done: PageRead) -> None:
        """Have the store read as little as it can from a place on."""
        self._logs.read(self._name, place, done, limit=1)

    def clamped(self, place: int) -> int:
        """The nearest place where something is or comes next."""
        return min(max(place, self.first), self.next)

    def find_time(self, time: int, found: Callable[[int], None]) -> None:
        """Find the first message that came at a time or later, in milliseconds since the epoch."""
        tail = self._tail
        if tail and tail[0].prepare()[0].received_at < time:
            found(self._place_in_tail(time))
        else:
            self._logs.find_time(self._name, time, found)

    def _place_in_tail(self, time: int) -> int:
        for run in self._tail:
            messages = run.prepare()
            if messages[-1].received_at < time:
                continue
            for message in messages:
                if message.received_at >= time:
                    return message.place
        return self.next

    # -- what goes --------------------------------------------------------------------------

    def cut(self, first: int) -> None:
        """Let go of all messages before a place."""
        self.first = first = min(max(first, self.first), self.next)
        self.end = max(self.end, first)
        tail = self._tail
        while tail and tail[0].end <= first:
            self._leave_tail(tail.popleft())
        self._logs.cut(self._name, first)

    def close(self) -> None:
        """Have nothing in memory any more, for good."""
        self._closed = True
        for run in (*self._tail, *self._pages):
            self._uncount(run)
        self._tail.clear()
        self._growing = None
        self._pages.clear()
        self._ready.clear()
        self._waiting.clear()
        self._tail_bytes = 0
        self.first = self.end = self.next
