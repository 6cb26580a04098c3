"""When those messages of a stream came at which readers are, also where they are on disk only."""

from __future__ import annotations

from collections.abc import Callable, Set
from functools import partial
from typing import Final

from stompy_broker.routing.stream_source import StreamSource
from stompy_broker.store.entry_log import LogPage

_BLOCKS: Final = 20
"""Blocks that are read one after the other; readers in further ones are told of another time."""


class StreamTimes:
    """Knows the times of the messages at some places.

    What is on disk is read once, a block at a time, and is known for as long as it is wanted.

    Args:
        source: has the messages.
    """

    __slots__ = ("_known", "_left", "_reading", "_source", "_waiting", "_wanted")

    def __init__(self, source: StreamSource) -> None:
        self._source = source
        self._known: dict[int, int | None] = {}  # None: it could not be read
        self._wanted: set[int] = set()
        self._reading = False
        self._left = 0
        self._waiting: list[Callable[[], None]] = []

    def want(self, places: Set[int], done: Callable[[], None] | None = None) -> None:
        """Know the times at these places, and forget all others.

        Args:
            places: where a message is.
            done: called when they are known, or as many as are read at a time.
        """
        known = {place: time for place, time in self._known.items() if place in places}
        wanted = set()
        for place in places - known.keys():
            time = self._source.time_at(place)
            if time is None:
                wanted.add(place)
            else:
                known[place] = time
        self._known, self._wanted = known, wanted
        if done is not None:
            self._waiting.append(done)
        if not self._reading:
            self._left = _BLOCKS
            self._read()

    def at(self, place: int) -> int | None:
        """When the message at a place came, in milliseconds since the epoch; None = not known."""
        return self._known.get(place)

    def _read(self) -> None:
        self._reading = bool(self._wanted) and self._left > 0
        if self._reading:
            self._left -= 1
            place = min(self._wanted)
            self._source.read_block(place, partial(self._was_read, place))
            return
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            done()

    def _was_read(self, place: int, page: LogPage) -> None:
        times = {one.offset: one.received_at for one in page.entries}
        beyond = max(page.next, place + 1)
        for one in [one for one in self._wanted if place <= one < beyond]:
            self._wanted.discard(one)
            self._known[one] = times.get(one)
        self._read()
