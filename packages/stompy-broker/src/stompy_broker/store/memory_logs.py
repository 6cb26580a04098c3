"""Logs in memory: packed blocks, and a few entries that are yet to be packed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping

from stompy_broker.message import OVERHEAD, Message
from stompy_broker.store.entry_log import (
    NO_ENTRIES,
    PAGE_BYTES,
    EntryLogs,
    LogEnds,
    LogEntry,
    LogPage,
    OffsetFound,
    PageRead,
    WantedValues,
)
from stompy_broker.store.log_block import (
    BLOCK_BYTES,
    BLOCK_ENTRIES,
    PackedBlock,
    content_of,
    pack_blocks,
)

_LOOKED_AT = 1000
"""So many blocks are passed over for one page."""


class _MemoryLog:
    """One log.

    Attributes:
        first: the offset of the first entry that can be read.
        next: the offset of the entry to come.
        content: the bytes of what is there.
        readers: the offsets of readers by name.
    """

    def __init__(self) -> None:
        self.first = self.next = self.content = 0
        self.readers: dict[str, int] = {}
        self._blocks: list[PackedBlock] = []
        self._starts: list[int] = []  # their first offsets
        self._open: list[LogEntry] = []
        self._open_bytes = 0

    def ends(self) -> LogEnds:
        """From where to where it goes."""
        oldest = 0
        if self._blocks:
            oldest = self._blocks[0].oldest
        elif self._open:
            oldest = self._open[0].received_at
        return LogEnds(self.first, self.next, self.content, oldest)

    def append(self, entry: LogEntry, size: int) -> None:
        """Take in the next entry."""
        self._open.append(entry)
        self._open_bytes += size
        self.content += size
        self.next += 1
        if len(self._open) >= BLOCK_ENTRIES or self._open_bytes >= BLOCK_BYTES:
            self._pack()

    def _pack(self) -> None:
        for block in pack_blocks(self._open):
            self._blocks.append(block)
            self._starts.append(block.first)
        self._open.clear()
        self._open_bytes = 0

    def cut(self, first: int) -> None:
        """Let go of what is before an offset."""
        self.first = min(max(self.first, first), self.next)
        keep = 0
        for block in self._blocks:
            if block.next > self.first:
                break
            self.content -= block.content
            keep += 1
        del self._blocks[:keep], self._starts[:keep]
        gone = sum(entry.offset < self.first for entry in self._open)
        size = sum(map(content_of, self._open[:gone]))
        self._open_bytes -= size
        self.content -= size
        del self._open[:gone]

    def read(self, offset: int, limit: int, wanted: WantedValues | None) -> LogPage:
        """Read one page, from memory."""
        entries: list[LogEntry] = []
        at, size = min(max(offset, self.first), self.next), 0
        place = max(0, bisect_right(self._starts, at) - 1)
        for block in self._blocks[place : place + _LOOKED_AT]:
            if size and size + block.content > limit:
                return LogPage(entries, at, 0)
            if wanted is None or block.is_wanted(wanted):
                entries += [one for one in block.entries(wanted) if one.offset >= at]
                size += block.content
            at = max(at, block.next)
        if self._open and at >= self._open[0].offset:
            entries += [
                one
                for one in self._open[at - self._open[0].offset :]
                if wanted is None or wanted.has(one.filter_value)
            ]
            at = self.next
        return LogPage(entries, at, 0)

    def find_time(self, time: int) -> int:
        """Find the first entry that came at a time, or later."""
        for block in self._blocks:
            if block.latest >= time:
                return max(self.first, block.offset_at(time))
        return next((one.offset for one in self._open if one.received_at >= time), self.next)

    def find_bytes(self, limit: int) -> int:
        """Find from where on there are at most so many bytes."""
        left = self.content
        for block in self._blocks:
            if left <= limit:
                return max(self.first, block.first)
            left -= block.content
        if self._open:
            return max(self.first, self._open[0].offset)
        return max(self.first, self._starts[-1]) if self._starts else self.first


class MemoryLogs(EntryLogs):
    """Logs that are as safe as they will ever be, at once.

    Args:
        body: gives the body of a message that is remembered, by its sequence.
    """

    def __init__(self, body: Callable[[int], bytes | None]) -> None:
        self._body = body
        self._logs: dict[str, _MemoryLog] = {}

    def _log(self, name: str) -> _MemoryLog:
        log = self._logs.get(name)
        if log is None:
            log = self._logs[name] = _MemoryLog()
        return log

    def ends(self) -> Mapping[str, LogEnds]:
        """Where each log begins and ends."""
        return {name: log.ends() for name, log in self._logs.items()}

    def ends_of(self, log: str) -> LogEnds:
        """Where one log begins and ends."""
        known = self._logs.get(log)
        return NO_ENTRIES if known is None else known.ends()

    def safe_next(self, log: str) -> int:
        """All of it is as safe as it will ever be."""
        known = self._logs.get(log)
        return 0 if known is None else known.next

    def readers(self, log: str) -> Mapping[str, int]:
        """The readers that a log has."""
        known = self._logs.get(log)
        return {} if known is None else dict(known.readers)

    def append(
        self,
        log: str,
        message: Message,
        filter_value: str | None = None,
        payload: bytes = b"",
        stamp: bytes | None = None,
    ) -> int:
        """Remember one more entry."""
        known = self._log(log)
        offset = known.next
        body = message.body
        if body is None:
            body = self._body(message.sequence)
        at = message.stamp if stamp is None else stamp
        entry = LogEntry(offset, message.sequence, at, message.head, body, filter_value, payload)
        known.append(entry, message.size - OVERHEAD + len(payload))
        return offset

    def read(
        self,
        log: str,
        offset: int,
        done: PageRead,
        *,
        limit: int = PAGE_BYTES,
        wanted: WantedValues | None = None,
    ) -> None:
        """Give one page, at once."""
        known = self._logs.get(log)
        done(LogPage([], offset, 0) if known is None else known.read(offset, limit, wanted))

    def find_time(self, log: str, time: int, found: OffsetFound) -> None:
        """Search, and tell at once."""
        known = self._logs.get(log)
        found(0 if known is None else known.find_time(time))

    def find_bytes(self, log: str, limit: int, found: OffsetFound) -> None:
        """Search, and tell at once."""
        known = self._logs.get(log)
        found(0 if known is None else known.find_bytes(limit))

    def cut(self, log: str, first: int) -> None:
        """Forget the blocks before an offset."""
        self._log(log).cut(first)

    def keep_reader(self, log: str, name: str, offset: int | None) -> None:
        """Remember or forget a reader."""
        if offset is None:
            self._log(log).readers.pop(name, None)
        else:
            self._log(log).readers[name] = offset

    def drop(self, log: str) -> None:
        """Forget a whole log."""
        self._logs.pop(log, None)
