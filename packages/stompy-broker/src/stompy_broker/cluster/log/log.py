"""A log that several brokers see and one of them writes: the interface, and the one on JetStream.

Whoever appends says which entry is the last one as far as it knows. If another broker has written
meanwhile, nothing is stored, and it is told so: that is the **fence**. It needs no clock and no
lock, and holds for a broker that slept through its own end.

An answer that got lost is no answer: the very same append is made again, with the same
expectation. Then it is stored once, whichever of the two arrived. If it was the first one, the
second is told that the last entry is another one; that entry is looked at, and is what was to be
appended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from stompy_broker.cluster.log.log_record import RecordError, read_part
from stompy_broker.cluster.nats.client import InDoubt, Outcome
from stompy_broker.cluster.nats.codec import NATSError, NATSMessage
from stompy_broker.cluster.nats.jetstream import (
    AT_WORK,
    WRONG_LAST_SEQUENCE,
    Appended,
    AppendOutcome,
    JetStream,
    Refused,
    StreamSettings,
    read_sequence,
    read_status,
)

log = logging.getLogger("stompy_broker.cluster")

PART_BYTES = 4 * 1024 * 1024
"""Bytes of a record that go into one message; servers may take less."""

_AT_WORK_SECONDS = 0.005
_BUSY_SECONDS = 0.25
"""How long to wait before an append is tried again."""

_READ_COUNT, _READ_BYTES = 512, 16 * 1024 * 1024
"""How much of the log is asked for in one go."""

_READ_SECONDS = 10.0
"""How long a server may say nothing while it is read."""

_ATTEMPTS = 3
"""So often an entry is asked of any server before the leader alone is believed."""

_GETS = 16
"""Entries that are asked for at the same time."""


class LogError(Exception):
    """The log cannot be used; the text says why."""


class Stored(NamedTuple):
    """It is safe.

    Attributes:
        last: the last entry of it.
    """

    last: int


class Fenced(NamedTuple):
    """Somebody else has written to the log. It was not stored, and never will be.

    Attributes:
        reason: who, as far as the log tells.
        place: of the last entry there, if that is known.
        octets: that entry.
    """

    reason: str
    place: int = 0
    octets: bytes = b""


class Busy(NamedTuple):
    """It is not known to be stored, and is to be appended again as it is.

    Attributes:
        reason: why.
        seconds: how long to wait before.
    """

    reason: str
    seconds: float


Answer = Stored | Fenced | Busy


class Entry(NamedTuple):
    """Something in the log.

    Attributes:
        place: entries later in the log have higher ones.
        octets: what was appended.
    """

    place: int
    octets: bytes


class Append(NamedTuple):
    """A record to be appended to one of several logs.

    Attributes:
        log: to which.
        parts: its entries.
        expected: the place of the last entry there as far as the caller knows; 0 = there is none.
    """

    log: Log
    parts: Sequence[bytes]
    expected: int


class Log(Protocol):
    """What a store asks of its log.

    Attributes:
        part_bytes: how long an entry may be.
    """

    @property
    def part_bytes(self) -> int:
        """How long an entry may be, just now."""
        ...

    def append(
        self, parts: Sequence[bytes], expected: int, answer: Callable[[Answer], None]
    ) -> None:
        """Append entries one behind the other, all or none, then call ``answer``.

        Args:
            parts: the entries.
            expected: the place of the last entry as far as the caller knows; 0 = there is none.
            answer: told what came of it, never within this call.
        """
        ...

    def append_together(
        self, appends: Sequence[Append], answer: Callable[[Sequence[Answer]], None]
    ) -> None:
        """Append to several logs of one cluster, all or none, then call ``answer``.

        Args:
            appends: what to which; one for each log.
            answer: told what came of each, in the same order, never within this call. All are
                stored, or all busy; or one at least is fenced, and none of the others will ever
                be stored.
        """
        ...

    def get(
        self,
        places: Sequence[int],
        answer: Callable[[Mapping[int, bytes]], None],
        failed: Callable[[str], None],
    ) -> None:
        """Read entries and give those that are there to ``answer``, or tell ``failed``."""
        ...

    def first(self, after: int, answer: Callable[[bytes | None], None]) -> None:
        """Read the first entry behind a place; None: there is none, or it cannot be read now."""
        ...

    def trim(self, below: int) -> None:
        """Delete the entries before a place, some time."""
        ...

    def read(self, after: int) -> AsyncIterator[Entry]:
        """Every entry behind a place that some server knows; perhaps not the very last ones.

        Raises:
            LogError: it cannot be read now.
        """
        ...


class StreamLog:
    """The log in one subject of a stream.

    Args:
        jetstream: where.
        stream: its name.
        subject: of this log.
    """

    def __init__(self, jetstream: JetStream, stream: str, subject: str) -> None:
        self.stream = stream
        self.subject = subject
        self._jetstream = jetstream
        self._tasks: set[asyncio.Task[None]] = set()
        self._trimming = False

    @property
    def part_bytes(self) -> int:
        """What the server takes that we are connected to."""
        return min(PART_BYTES, self._jetstream.largest)

    async def close(self) -> None:
        """End what is being read."""
        for task in list(self._tasks):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _begin(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- appending ----------------------------------------------------------------------------

    def append(
        self, parts: Sequence[bytes], expected: int, answer: Callable[[Answer], None]
    ) -> None:
        """Store the parts as one batch."""
        self.append_together([Append(self, parts, expected)], lambda answers: answer(answers[0]))

    def append_together(
        self, appends: Sequence[Append], answer: Callable[[Sequence[Answer]], None]
    ) -> None:
        """Store the parts of all as one batch, in subjects of this stream."""
        own: list[tuple[StreamLog, Append]] = []
        for append in appends:
            log = append.log
            assert isinstance(log, StreamLog)
            assert log.stream == self.stream
            own.append((log, append))
        try:
            self._jetstream.append(
                [(log.subject, append.parts, append.expected) for log, append in own],
                partial(self._appended, own, answer),
            )
        except ValueError as error:
            # The server that we are connected to now takes less than the one before.
            busy = [Busy(str(error), _BUSY_SECONDS)] * len(own)
            asyncio.get_running_loop().call_soon(answer, busy)

    def _appended(
        self,
        own: list[tuple[StreamLog, Append]],
        answer: Callable[[Sequence[Answer]], None],
        outcome: AppendOutcome,
    ) -> None:
        if isinstance(outcome, Appended):
            last, stored = outcome.sequence, [Stored(outcome.sequence)]
            for _, append in own[:0:-1]:
                last -= len(append.parts)
                stored.insert(0, Stored(last))
            answer(stored)
        elif isinstance(outcome, Refused) and outcome.code == WRONG_LAST_SEQUENCE:
            self._begin(self._look(own, answer))
        else:
            answer([_busy(outcome)] * len(own))

    async def _look(
        self, own: list[tuple[StreamLog, Append]], answer: Callable[[Sequence[Answer]], None]
    ) -> None:
        """Find out which is the last entry of each subject, after a batch that was refused."""
        found: Sequence[Answer] = await asyncio.gather(
            *[log._find_out(append.parts, append.expected) for log, append in own]
        )
        stored = [isinstance(one, Stored) for one in found]
        fenced = next((one for one in found if isinstance(one, Fenced)), None)
        if not any(stored) and fenced is not None:
            lost = Fenced(f"nobody, but another one of its groups was taken over: {fenced.reason}")
            found = [one if isinstance(one, Fenced) else lost for one in found]
        elif any(isinstance(one, Busy) for one in found):
            # It is in, or nobody knows; what all of them say will be told when they do.
            busy = next(one for one in found if isinstance(one, Busy))
            found = [busy] * len(found)
        answer(found)

    async def _find_out(self, parts: Sequence[bytes], expected: int) -> Answer:
        """Find out what the last entry is, if not the one that was expected."""
        try:
            last = await self._jetstream.last(self.stream, self.subject)
        except NATSError as error:
            return Busy(str(error), _BUSY_SECONDS)
        if last is not None and last.body == parts[-1]:
            return Stored(last.sequence)  # an earlier try had arrived
        if last is not None and last.sequence > expected:
            return Fenced(_owner_of(last.body), last.sequence, last.body)
        if last is None and expected:
            return Fenced("nobody: the log is gone")
        # Whoever has answered does not know yet what the other one has refused us for.
        return Busy("the servers do not agree yet", _BUSY_SECONDS)

    # -- reading ------------------------------------------------------------------------------

    def get(
        self,
        places: Sequence[int],
        answer: Callable[[Mapping[int, bytes]], None],
        failed: Callable[[str], None],
    ) -> None:
        """Ask any of the servers for entries."""
        self._begin(self._get(places, answer, failed))

    async def _get(
        self,
        places: Sequence[int],
        answer: Callable[[Mapping[int, bytes]], None],
        failed: Callable[[str], None],
    ) -> None:
        found: dict[int, bytes] = {}
        try:
            for at in range(0, len(places), _GETS):
                some = places[at : at + _GETS]
                entries = await asyncio.gather(*map(self._get_one, some))
                pairs = zip(some, entries, strict=True)
                found |= {place: entry for place, entry in pairs if entry is not None}
        except NATSError as error:
            failed(str(error))
        else:
            answer(found)

    async def _get_one(self, place: int) -> bytes | None:
        """An entry from a server on whose disk it is what was written, if there is one."""
        entry: bytes | None = None
        for attempt in range(_ATTEMPTS + 1):
            entry = await self._jetstream.get(self.stream, place, leader=attempt == _ATTEMPTS)
            if entry is not None:
                with contextlib.suppress(RecordError):
                    read_part(entry)
                    return entry
        return entry

    def first(self, after: int, answer: Callable[[bytes | None], None]) -> None:
        """Ask some server for it."""
        self._begin(self._first(after, answer))

    async def _first(self, after: int, answer: Callable[[bytes | None], None]) -> None:
        first = None
        with contextlib.suppress(LogError):
            async for entry in self.read(after):
                first = entry.octets
                break
        answer(first)

    async def last(self) -> Entry | None:
        """The last entry; None = the log is empty.

        Raises:
            LogError: it cannot be read now.
        """
        try:
            found = await self._jetstream.last(self.stream, self.subject)
        except NATSError as error:
            raise LogError(f"the last entry of the log cannot be read: {error}") from None
        return None if found is None else Entry(found.sequence, found.body)

    async def read(self, after: int) -> AsyncIterator[Entry]:
        """Read piece by piece, from one server each."""
        while True:
            entries, more = await self._read_some(after)
            for entry in entries:
                after = entry.place
                yield await self._checked(entry)
            if not more:
                return

    async def _checked(self, entry: Entry) -> Entry:
        """The same entry, from another server if it is not what was written on the first one."""
        try:
            read_part(entry.octets)
        except RecordError as error:
            log.error(
                "entry %d of the log is damaged on one of its servers: %s", entry.place, error
            )
            try:
                other = await self._get_one(entry.place)
            except NATSError as failure:
                raise LogError(f"the log cannot be read: {failure}") from None
            if other is not None:
                return Entry(entry.place, other)
        return entry

    async def _read_some(self, after: int) -> tuple[list[Entry], bool]:
        entries: list[Entry] = []
        heard = asyncio.Event()
        ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def take(message: NATSMessage) -> None:
            heard.set()
            try:
                more = read_status(message)
                if more is None:
                    entries.append(Entry(read_sequence(message), message.body))
                elif not ended.done():
                    ended.set_result(more)
            except NATSError as error:
                if not ended.done():
                    ended.set_exception(error)

        number = self._jetstream.read(
            self.stream, self.subject, after, take, count=_READ_COUNT, most_bytes=_READ_BYTES
        )
        try:
            while not ended.done():
                heard.clear()
                await _first(ended, heard)
        except NATSError as error:
            raise LogError(str(error)) from None
        except TimeoutError:
            raise LogError("the log cannot be read: nobody answers") from None
        finally:
            self._jetstream.client.unsubscribe(number)
        # One that does not even have the first of them says that there is no more: see `read`.
        return entries, ended.result() and bool(entries)

    # -- trimming -----------------------------------------------------------------------------

    def trim(self, below: int) -> None:
        """Purge the subject; what cannot be purged now is with the next time."""
        if not self._trimming:
            self._trimming = True
            self._jetstream.purge(self.stream, self.subject, below, self._trimmed)

    def _trimmed(self, outcome: Outcome) -> None:
        self._trimming = False


async def _first(ended: asyncio.Future[bool], heard: asyncio.Event) -> None:
    """Wait until there is a sign of life.

    Raises:
        TimeoutError: there is none.
    """
    waiting: asyncio.Future[bool] = asyncio.ensure_future(heard.wait())
    try:
        done, _ = await asyncio.wait(
            [ended, waiting], timeout=_READ_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        waiting.cancel()
    if not done:
        raise TimeoutError


def _busy(outcome: Refused | InDoubt) -> Busy:
    if isinstance(outcome, InDoubt):
        return Busy(outcome.reason, 0.0)
    seconds = _AT_WORK_SECONDS if outcome.code == AT_WORK else _BUSY_SECONDS
    return Busy(outcome.reason, seconds)


def _owner_of(octets: bytes) -> str:
    try:
        head, _ = read_part(octets)
    except RecordError as error:
        return f"somebody whose entry cannot be read: {error}"
    return f"tenure {head.tenure}"


async def open_logs(
    jetstream: JetStream, cluster: str, names: Sequence[str], *, replicas: int = 3
) -> list[StreamLog]:
    """Logs in the stream that a cluster has, by the last words of their subjects.

    Raises:
        LogError: they cannot be used.
    """
    stream = StreamSettings(f"STOMPY_{cluster}", [f"stompy.{cluster}.log.*"], replicas)
    try:
        await jetstream.provide(stream)
    except NATSError as error:
        raise LogError(f"the log of the cluster {cluster} cannot be used: {error}") from error
    return [StreamLog(jetstream, stream.name, f"stompy.{cluster}.log.{name}") for name in names]
