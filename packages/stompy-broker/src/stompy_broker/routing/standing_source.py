"""The messages of a queue that stay when they are read, as its readers come to them.

A reader is given a run: copies of the next messages behind its place, with their bodies, which are
read from disk if need be. Readers who come to one place while others are there share its run. What
has left the queue meanwhile is in the run yet, and is passed over.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from stompy_broker.message import DEFAULT_PRIORITY
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.message_source import MessageRun, MessageSource, RunReader
from stompy_broker.routing.paging import READ_BYTES, READ_MESSAGES
from stompy_broker.routing.parking import Parking
from stompy_broker.routing.reader_message import ReaderMessage
from stompy_broker.store.interface import MessageStore

_NO_END: Final = 1 << 62
"""Behind every place: what is in the queue may be read at once."""


class StandingSource(MessageSource):
    """Has the messages of one queue; the place of each is its sequence.

    Args:
        parking: the messages. All of them have the usual priority, so that they are in order.
        store: has the bodies that are not in memory.
        memory: where those are added up that are read for a run.
        wall: gives the time in milliseconds since the epoch.
        lost: told the sequences of messages whose bodies nobody has any more.
    """

    __slots__ = (
        "_asking",
        "_closed",
        "_loading",
        "_lost",
        "_memory",
        "_parking",
        "_read",
        "_runs",
        "_store",
        "_waiting",
        "_wall",
    )

    def __init__(
        self,
        parking: Parking,
        store: MessageStore,
        memory: Watermark,
        wall: Callable[[], int],
        lost: Callable[[set[int]], None],
    ) -> None:
        super().__init__(0, _NO_END)
        self._parking = parking
        self._store = store
        self._memory = memory
        self._wall = wall
        self._lost = lost
        self._waiting: dict[RunReader, None] = {}
        self._runs: dict[int, MessageRun] = {}  # that readers are in, by their first places
        self._read: dict[int, MessageRun] = {}  # that were read, and nobody is in yet
        self._loading: dict[int, dict[RunReader, None]] = {}
        self._asking = self._closed = False

    def run_at(
        self, place: int, reader: RunReader, values: frozenset[str], unfiltered: bool
    ) -> MessageRun | None:
        """The messages from a place on; see `MessageSource`."""
        run = self._runs.get(place) or self._read.pop(place, None) or self._new_run(place, reader)
        if run is not None:
            self._runs[place] = run
            run.readers += 1
        return run

    def _new_run(self, place: int, reader: RunReader) -> MessageRun | None:
        readers = self._loading.get(place)
        if readers is not None:
            readers[reader] = None
            return None
        found = self._parking.messages.after((-DEFAULT_PRIORITY, place - 1), READ_MESSAGES)
        copies: list[ReaderMessage] = []
        missing: list[ReaderMessage] = []
        size = 0
        for message in found:
            assert isinstance(message, ReaderMessage)
            copy = message.given_to(0)
            copy.expires, copy.size = message.expires, message.size
            copies.append(copy)
            if copy.body is None:
                missing.append(copy)
                size += copy.size
                if size > READ_BYTES:
                    break
        if not copies:
            self._waiting[reader] = None
            return None
        run = MessageRun(copies, copies[-1].place + 1)
        if not missing:
            return run
        self._loading[place] = {}
        self._asking = True
        try:
            self._store.load(missing, partial(self._loaded, place, run, missing))
        finally:
            self._asking = False
        if place in self._loading:
            self._loading[place][reader] = None
            return None
        return self._read.pop(place, None)

    def _loaded(self, place: int, run: MessageRun, missing: list[ReaderMessage]) -> None:
        """Have a run read that is complete now, but for what is gone."""
        readers = self._loading.pop(place)
        if self._closed:
            return
        lost = {message.sequence for message in missing if message.body is None}
        run.messages = [message for message in run.messages if message.body is not None]
        run.bytes = sum([message.size for message in missing if message.body is not None])
        self._memory.add(run.bytes)
        self._read[place] = run
        if lost:
            self._lost(lost)
        if self._asking:
            return
        for reader in readers:
            reader.hand_out()
        left = self._read.pop(place, None)
        if left is not None:
            self._uncount(left)

    def wait(self, reader: RunReader) -> bool:
        """Tell a reader when more may be read, once."""
        self._waiting[reader] = None
        return False

    def leave(self, run: MessageRun) -> None:
        """Take note that a reader has no more use for a run."""
        run.readers -= 1
        if run.readers:
            return
        place = next((one for one, known in self._runs.items() if known is run), None)
        if place is not None:
            del self._runs[place]
        self._uncount(run)

    def _uncount(self, run: MessageRun) -> None:
        self._memory.used -= run.bytes
        run.bytes = 0
        self._memory.check()

    def is_there(self, message: ReaderMessage) -> bool:
        """Whether a message is in the queue yet, and its time is not over."""
        return self._parking.has(message) and not 0 < message.expires <= self._wall()

    def have_more(self) -> None:
        """Tell who waits that there is more."""
        waiting, self._waiting = self._waiting, {}
        for reader in waiting:
            reader.hand_out()

    def close(self) -> None:
        """Give nobody anything any more."""
        self._closed = True
        self._waiting.clear()
        for run in self._read.values():
            self._uncount(run)
        self._read.clear()
