"""What a batch changes in logs, and what is known of them on the event loop (**hot path**)."""

from __future__ import annotations

from stompy_broker.store.entry_log import LogEntry


class LogState:
    """One log, as it will be once all that was told is safe.

    Attributes:
        number: of its blocks; 0 = it was never written.
        first: the offset of the first entry that can be read.
        next: the offset of the entry to come.
        safe: the offset behind the last entry that is safe.
        total: bytes of all entries that it ever had.
        gone: those of the blocks that are not there any more.
        oldest: the earliest time of the entries that are there; 0 = there is none.
        readers: the offsets of readers by name.
    """

    __slots__ = ("first", "gone", "next", "number", "oldest", "readers", "safe", "total")

    def __init__(self) -> None:
        self.number = 0
        self.first = 0
        self.next = 0
        self.safe = 0
        self.total = 0
        self.gone = 0
        self.oldest = 0
        self.readers: dict[str, int] = {}


class LogChanges:
    """Changes of logs that become safe together with the rest of their batch.

    Attributes:
        dropped: logs that went, before all else here.
        states: the logs that are changed, by name.
        entries: new entries, by log and in order.
        cuts: the offsets at which logs begin from now on.
        readers: the offsets of readers, by log and name; None = the reader is forgotten.
        length: how many entries there are.
        bytes: their headers, bodies and payloads.
    """

    __slots__ = ("bytes", "cuts", "dropped", "entries", "length", "readers", "states")

    def __init__(self) -> None:
        self.dropped: set[str] = set()
        self.states: dict[str, LogState] = {}
        self.entries: dict[str, list[LogEntry]] = {}
        self.cuts: dict[str, int] = {}
        self.readers: dict[tuple[str, str], int | None] = {}
        self.length = 0
        self.bytes = 0

    def append(self, log: str, state: LogState, entry: LogEntry, size: int) -> None:
        """Take in an entry of so many bytes."""
        entries = self.entries.get(log)
        if entries is None:
            entries = self.entries[log] = []
            self.states[log] = state
        entries.append(entry)
        self.length += 1
        self.bytes += size

    def drop(self, log: str) -> None:
        """Let a log go, with what was told of it."""
        self.dropped.add(log)
        self.states.pop(log, None)
        self.cuts.pop(log, None)
        self.length -= len(self.entries.pop(log, ()))
        for key in [key for key in self.readers if key[0] == log]:
            del self.readers[key]

    @property
    def size(self) -> int:
        """How many changes there are."""
        return self.length + len(self.cuts) + len(self.readers) + len(self.dropped)

    def absorb(self, later: LogChanges) -> None:
        """Take in what came after this, which could not be written."""
        for log in later.dropped:
            self.drop(log)
        for log, entries in later.entries.items():
            if log in self.entries:
                self.entries[log] += entries
            else:
                self.entries[log] = entries
        self.states |= later.states
        self.cuts |= later.cuts
        self.readers |= later.readers
        self.length += later.length
        self.bytes += later.bytes
