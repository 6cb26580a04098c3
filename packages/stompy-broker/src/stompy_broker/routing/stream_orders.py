"""What operators ask of a stream and its readers, and what a stream tells of them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from stompy_broker.routing.reading import StreamStart


@dataclass(frozen=True, slots=True)
class Truncate:
    """Forget the messages before an offset. The answer is how many went.

    Attributes:
        before: the first offset that stays.
    """

    before: int


@dataclass(frozen=True, slots=True)
class Seek:
    """Have a reader with a name read on from another place. The answer is the offset.

    What it holds it settles as before, which says nothing of the new place.

    Attributes:
        name: of the reader.
        start: where it reads on.
    """

    name: str
    start: StreamStart


@dataclass(frozen=True, slots=True)
class ForgetReader:
    """Keep the place of a reader no more. The answer is how many were kept.

    Attributes:
        name: of the reader, of whom nobody may be there.
    """

    name: str


OfStreams = Truncate | Seek | ForgetReader
"""What only a stream can do."""


class ReaderFigures(NamedTuple):
    """A reader of a stream at one moment: one subscription, or all of one name.

    Attributes:
        name: under which its place is kept; empty = it is not.
        number: of a consumer of it that is there; 0 = nobody is.
        consumers: how many are there.
        active: number of the one that reads for all; 0 = there is no such one.
        place: the offset that it reads next.
        settled: the offset after the last message up to which all are settled.
        kept: the offset from which the next reader of that name goes on; None = none is kept.
        lag: messages from what is settled to the end.
        behind_ms: how old the first message is that it has not settled; 0 = it has settled all,
            None = not known.
        unacked: messages that it was given and has not settled.
        waiting: messages that are to come to it again.
        delivered: deliveries, redeliveries included.
        redelivered: deliveries of what came back.
        acked: deliveries that were accepted.
        nacked: deliveries that were rejected.
        selector: which messages it takes; empty = all.
        filters: which filter values it takes; none = all.
        unfiltered: whether messages without one as well.
    """

    name: str
    number: int
    consumers: int
    active: int
    place: int
    settled: int
    kept: int | None
    lag: int
    behind_ms: int | None
    unacked: int
    waiting: int
    delivered: int
    redelivered: int
    acked: int
    nacked: int
    selector: str = ""
    filters: tuple[str, ...] = ()
    unfiltered: bool = False


class StreamFigures(NamedTuple):
    """A stream at one moment.

    Attributes:
        first: the offset of its oldest message.
        next: the offset that its next message gets.
        safe: the offset up to which all is on disk, so that readers may have it.
        bytes: size of all messages.
        tail_bytes: how much of that is in memory.
        readers: those that are there, and those whose place is kept.
    """

    first: int
    next: int
    safe: int
    bytes: int
    tail_bytes: int
    readers: tuple[ReaderFigures, ...]
