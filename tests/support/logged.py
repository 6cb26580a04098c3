"""Stores on a log without an event loop: on a log in memory, and on one that NATS servers keep."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Protocol, TypeVar

from tests.support.nats import house_server, open_log, settings_for
from tests.support.storage import Shelf, Turns

from stompy_broker.cluster.log.log import (
    PART_BYTES,
    Answer,
    Append,
    Busy,
    Entry,
    Fenced,
    Log,
    Stored,
    StreamLog,
)
from stompy_broker.cluster.log.store import LoggedStore, LogListener
from stompy_broker.cluster.log.takeover import Tenure, take_over
from stompy_broker.cluster.nats.client import NATSClient
from stompy_broker.cluster.nats.jetstream import JetStream
from stompy_broker.message import Message

T = TypeVar("T")

PATIENCE = 30.0


class MemoryLog:
    """What a log promises, and nothing that outlives the process.

    Args:
        soon: calls a function at the end of the turn, where no event loop runs.
        part_bytes: how long an entry may be.

    Attributes:
        entries: by place.
        trimmed: what was asked to be deleted.
        outages: what the next appends are answered instead, and whether they are stored even so.
    """

    def __init__(
        self, soon: Callable[[Callable[[], None]], object], part_bytes: int = PART_BYTES
    ) -> None:
        self.part_bytes = part_bytes
        self.entries: dict[int, bytes] = {}
        self.trimmed: list[int] = []
        self.outages: list[tuple[Busy, bool]] = []
        self.soon = soon
        self._places = itertools.count(1)

    @property
    def last(self) -> int:
        """The place of the last entry."""
        return max(self.entries, default=0)

    def _later(self, action: Callable[[], None]) -> None:
        try:
            soon: Callable[[Callable[[], None]], object] = asyncio.get_running_loop().call_soon
        except RuntimeError:
            soon = self.soon
        soon(action)

    def append(
        self, parts: Sequence[bytes], expected: int, answer: Callable[[Answer], None]
    ) -> None:
        """Append, or what an outage says."""
        outage, stored = self.outages.pop(0) if self.outages else (None, True)
        told = self._append(parts, expected) if stored else None
        assert outage or told
        self._later(lambda: answer(outage or told or Busy("", 0.0)))

    def _append(self, parts: Sequence[bytes], expected: int) -> Answer:
        if self.last != expected:
            if self.entries[self.last] == parts[-1]:
                return Stored(self.last)
            return Fenced("somebody", self.last, self.entries[self.last])
        for part in parts:
            assert len(part) <= self.part_bytes
            self.entries[next(self._places)] = part
        return Stored(self.last)

    def append_together(
        self, appends: Sequence[Append], answer: Callable[[Sequence[Answer]], None]
    ) -> None:
        """Append to several logs in memory, or what an outage of the first one says."""
        outage, stored = self.outages.pop(0) if self.outages else (None, True)
        told = self._append_together(appends) if stored else []
        assert outage or told
        self._later(lambda: answer([outage] * len(appends) if outage else told))

    @staticmethod
    def _append_together(appends: Sequence[Append]) -> list[Answer]:
        logs = [append.log for append in appends if isinstance(append.log, MemoryLog)]
        own = list(zip(logs, appends, strict=True))
        if all(log.last == append.expected for log, append in own):
            return [log._append(append.parts, append.expected) for log, append in own]
        return [
            Fenced("together with another one")
            if log.last == append.expected
            else log._append(append.parts, append.expected)
            for log, append in own
        ]

    def get(
        self,
        places: Sequence[int],
        answer: Callable[[Mapping[int, bytes]], None],
        failed: Callable[[str], None],
    ) -> None:
        """Give what is there."""
        found = {place: self.entries[place] for place in places if place in self.entries}
        self._later(lambda: answer(found))

    def first(self, after: int, answer: Callable[[bytes | None], None]) -> None:
        """Give it."""
        behind = [place for place in self.entries if place > after]
        found = self.entries[min(behind)] if behind else None
        self._later(lambda: answer(found))

    def trim(self, below: int) -> None:
        """Delete at once."""
        self.trimmed.append(below)
        for place in [place for place in self.entries if place < below]:
            del self.entries[place]

    async def read(self, after: int) -> AsyncIterator[Entry]:
        """Everything behind a place."""
        for place, octets in list(self.entries.items()):
            if place > after:
                yield Entry(place, octets)


class Loop:
    """An event loop in a thread of its own, and a client of the house's NATS server in it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        thread = threading.Thread(target=self.loop.run_forever, name="test-nats", daemon=True)
        thread.start()
        self.client = NATSClient(settings_for(house_server().url))
        self.run(self.client.start())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for work that is done in the loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)


@cache
def house_loop() -> Loop:
    """The one of this process of tests. Its thread ends with the process."""
    return Loop()


class DistantLog:
    """A log of the house's loop, for a store whose turns are ended by hand.

    Args:
        log: the log.
        loop: where it lives.
        post: calls a function at the end of the store's turn.
    """

    def __init__(self, log: StreamLog, loop: Loop, post: Callable[[Callable[[], None]], None]):
        self._log = log
        self._loop = loop.loop
        self._post = post

    @property
    def part_bytes(self) -> int:
        """As the log says."""
        return self._log.part_bytes

    def append(
        self, parts: Sequence[bytes], expected: int, answer: Callable[[Answer], None]
    ) -> None:
        """Append in the loop."""

        def back(told: Answer) -> None:
            self._post(lambda: answer(told))

        self._loop.call_soon_threadsafe(self._log.append, parts, expected, back)

    def append_together(
        self, appends: Sequence[Append], answer: Callable[[Sequence[Answer]], None]
    ) -> None:
        """Nobody appends together from here."""
        raise NotImplementedError

    def get(
        self,
        places: Sequence[int],
        answer: Callable[[Mapping[int, bytes]], None],
        failed: Callable[[str], None],
    ) -> None:
        """Get in the loop."""

        def back(told: Mapping[int, bytes]) -> None:
            self._post(lambda: answer(told))

        def fail(reason: str) -> None:
            self._post(lambda: failed(reason))

        self._loop.call_soon_threadsafe(self._log.get, places, back, fail)

    def first(self, after: int, answer: Callable[[bytes | None], None]) -> None:
        """Nobody reads from here."""
        raise NotImplementedError

    def trim(self, below: int) -> None:
        """Trim in the loop."""
        self._loop.call_soon_threadsafe(self._log.trim, below)

    def read(self, after: int) -> AsyncIterator[Entry]:
        """Nobody reads from here."""
        raise NotImplementedError


class Shop(Protocol):
    """Where a log is kept."""

    def take_over(self, turns: Turns) -> Tenure:
        """Take it over for a store with these turns."""
        ...

    def close(self) -> None:
        """Delete it."""
        ...


class MemoryShop:
    """A log in memory.

    Args:
        part_bytes: how long an entry may be.
    """

    def __init__(self, part_bytes: int = PART_BYTES) -> None:
        self.log = MemoryLog(lambda action: None, part_bytes)

    def take_over(self, turns: Turns) -> Tenure:
        """Take it over in an event loop of its own."""
        self.log.soon = turns.soon
        return asyncio.run(take_over(self.log, "broker"))

    def close(self) -> None:
        """Nothing is left."""


class NATSShop:
    """A log that the house's NATS server keeps, of its own."""

    _numbers = itertools.count(1)

    def __init__(self) -> None:
        self.loop = house_loop()
        self.cluster = f"test{next(self._numbers)}"
        self.jetstream = JetStream(self.loop.client)
        self.log = self.loop.run(open_log(self.jetstream, self.cluster, replicas=1))

    def take_over(self, turns: Turns) -> Tenure:
        """Take it over in the house's loop."""
        tenure = self.loop.run(take_over(self.log, "broker"))
        distant: Log = DistantLog(self.log, self.loop, turns.post)
        return replace(tenure, log=distant)

    def close(self) -> None:
        """Delete the stream."""
        self.loop.run(self.log.close())
        self.loop.run(self.jetstream.delete(self.log.stream))


class LoggedShelf(Shelf):
    """A log, and the store that is open on it just now.

    Args:
        shop: where the log is kept.

    Attributes:
        fenced: what was told about another owner.
    """

    def __init__(self, shop: Shop) -> None:
        super().__init__(None)
        self.shop = shop
        self.fenced: list[str] = []
        self.store = self._take_over()

    @property
    def logged(self) -> LoggedStore:
        """The open store, which is on a log."""
        assert isinstance(self.store, LoggedStore)
        return self.store

    def _take_over(self) -> LoggedStore:
        return LoggedStore(
            self.shop.take_over(self.turns),
            self.turns.time.clock,
            self.turns.soon,
            LogListener(
                self._note_written,
                self._note_trouble,
                damaged=self.damaged.append,
                fenced=self.fenced.append,
            ),
        )

    def _note_written(self, messages: Iterable[Message]) -> None:
        self._on_disk(messages)

    def _note_trouble(self, trouble: bool) -> None:
        self._troubled(trouble)

    def leave(self) -> None:
        """End the tenure in good order."""
        left: list[bool] = []
        self.logged.leave(lambda: left.append(True))
        self.turns.until(lambda: left)
        self.store.close()

    def crash(self) -> None:
        """Take over without having left."""
        self.store.close()
        self.router = None
        self.turns = Turns()
        self.store = self._take_over()

    def close(self) -> None:
        """Let go of everything."""
        self.store.close()
        self.shop.close()
