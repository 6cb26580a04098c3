"""Logs of a store: entries that are only added to, and read again from any place (**hot path**).

A log has a name and entries with offsets 0, 1, 2 … without gaps. Its verbs are told in order with
those of messages, and with them in one change: entries, messages, settlements and the places of
readers of one turn of the event loop are safe together or not at all.

A stream is one log. The past of a queue is another.

Nothing is read on the event loop: answers come by callback, and only what is safe is read. They may
come at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Final, NamedTuple

from stompy.compiler import mypyc_attr
from stompy_broker.message import Message, MessageHead

PAGE_BYTES: Final = 256 * 1024
"""About so much is read at a time, unless somebody says otherwise."""


class LogEntry(NamedTuple):
    """One entry, as it was read. Those of a page share their heads and stamps.

    Attributes:
        offset: its place in the log.
        sequence: of the message, and so its ``message-id`` unless the head says otherwise.
        stamp: as `Message.stamp`: when the broker got it, or the entry was made.
        head: the headers.
        body: the body; None = it could not be taken over, because the disk had damaged it.
        filter_value: what a reader may ask for; None = it has none.
        payload: whatever its owner said of it.
    """

    offset: int
    sequence: int
    stamp: bytes
    head: MessageHead
    body: bytes | None
    filter_value: str | None
    payload: bytes

    @property
    def received_at(self) -> int:
        """When it came, in milliseconds since the epoch."""
        return int(self.stamp.partition(b":")[2])

    def message(self) -> Message:
        """The message, as a new object."""
        return Message(self.sequence, self.head, self.body, self.stamp)


make_entry: Final[Callable[[Iterable[object]], LogEntry]] = partial(tuple.__new__, LogEntry)
"""Makes an entry of its fields, in one call of C: an append in plain Python costs half as much."""


class LogPage(NamedTuple):
    """What was read.

    Attributes:
        entries: in order; those that nobody wanted are left out. May be empty before the end.
        next: where to read on.
        lost: how many entries before that are damaged, and given to nobody.
    """

    entries: list[LogEntry]
    next: int
    lost: int


class LogEnds(NamedTuple):
    """From where to where a log goes.

    Attributes:
        first: the offset of the first entry that can be read.
        next: the offset of the one that comes next; the same as `first` where there is none.
        bytes: headers, bodies and payloads of the blocks that are there. A block goes as a whole,
            some time after it was cut off.
        oldest: when the oldest entry of those blocks came, in milliseconds since the epoch; 0 =
            there is none.
    """

    first: int
    next: int
    bytes: int
    oldest: int


NO_ENTRIES: Final = LogEnds(0, 0, 0, 0)
"""The ends of a log that is not there."""


class WantedValues(NamedTuple):
    """Which entries a reader asks for; blocks without any are passed over unread.

    Attributes:
        values: the filter values.
        unfiltered: whether those without one are wanted, too.
    """

    values: frozenset[str]
    unfiltered: bool = False

    def has(self, filter_value: str | None) -> bool:
        """Whether an entry with a value is wanted; None = without one."""
        return self.unfiltered if filter_value is None else filter_value in self.values


PageRead = Callable[[LogPage], None]
OffsetFound = Callable[[int], None]


@mypyc_attr(allow_interpreted_subclasses=True)
class EntryLogs:
    """The logs of one store.

    A log begins with the first thing that is told of it.
    """

    def ends(self) -> Mapping[str, LogEnds]:
        """Every log by its name, and from where to where it goes, with all that was told."""
        raise NotImplementedError

    def ends_of(self, log: str) -> LogEnds:
        """The same of one log; all zeros if it is not there."""
        raise NotImplementedError

    def safe_next(self, log: str) -> int:
        """The offset behind the last entry that is safe, up to which `read` gives at once."""
        raise NotImplementedError

    def readers(self, log: str) -> Mapping[str, int]:
        """The offsets that were kept for the readers of a log, by their names."""
        raise NotImplementedError

    def append(
        self,
        log: str,
        message: Message,
        filter_value: str | None = None,
        payload: bytes = b"",
        stamp: bytes | None = None,
    ) -> int:
        """Add an entry; gives its offset.

        The message is read now and not needed any more. If its body is on disk only, it is taken
        over from there: to be told before `MessageStore.remove`.

        Args:
            log: which one.
            message: its sequence, stamp, headers and body are kept.
            filter_value: what readers may ask for.
            payload: whatever else is to be kept.
            stamp: the time of the entry, in place of the message's.
        """
        raise NotImplementedError

    def read(
        self,
        log: str,
        offset: int,
        done: PageRead,
        *,
        limit: int = PAGE_BYTES,
        wanted: WantedValues | None = None,
    ) -> None:
        """Read on from an offset, and give ``done`` what is there.

        What was told and is not safe yet is waited for. An offset before the first entry is read
        as that one's, and from the end on an empty page is given.

        Args:
            log: which one; one that is not there is empty.
            offset: of the first entry.
            done: takes the page.
            limit: about so many bytes at most, but one block at least.
            wanted: which entries; None = all.
        """
        raise NotImplementedError

    def find_time(self, log: str, time: int, found: OffsetFound) -> None:
        """Find the first entry that came at a time, or later; the next offset if there is none.

        Args:
            log: which one.
            time: milliseconds since the epoch.
            found: takes the offset.
        """
        raise NotImplementedError

    def find_bytes(self, log: str, limit: int, found: OffsetFound) -> None:
        """Find where to `cut` a log that is to have at most so many bytes.

        That is where a block begins, and never behind the last one; the first offset of a log that
        is no larger.
        """
        raise NotImplementedError

    def cut(self, log: str, first: int) -> None:
        """Let go of all entries before an offset. Their disk space comes back in steps."""
        raise NotImplementedError

    def keep_reader(self, log: str, name: str, offset: int | None) -> None:
        """Keep the offset of a reader; None: forget the reader. The last one told counts."""
        raise NotImplementedError

    def drop(self, log: str) -> None:
        """Let go of a log with all its entries and readers. It may begin again, at 0."""
        raise NotImplementedError
