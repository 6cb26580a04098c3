"""What readers read: messages in one order, each at a place that never changes (**hot path**).

Reading takes nothing away. Whoever has such messages gives them in runs, as they are at hand: from
memory at once, from elsewhere a little later. Readers know nothing of where they come from.
"""

from __future__ import annotations

from abc import abstractmethod

from stompy.compiler import mypyc_attr
from stompy_broker.routing.reader_message import ReaderMessage


class MessageRun:
    """Messages one behind the other, in memory.

    Attributes:
        messages: they. More may come at the end while it grows.
        end: the place behind them: there a reader goes on.
        grows: whether more may come. Who has come to its end then keeps it, and is told.
        bytes: what it counts for in memory.
        readers: how many readers are in it.
        chosen: whether messages may have been left out of it.
    """

    __slots__ = ("bytes", "chosen", "end", "grows", "messages", "readers")

    def __init__(
        self,
        messages: list[ReaderMessage],
        end: int,
        *,
        grows: bool = False,
        chosen: bool = False,
    ) -> None:
        self.messages = messages
        self.chosen = chosen
        self.end = end
        self.grows = grows
        self.bytes = 0
        self.readers = 0

    def index_of(self, place: int) -> int:
        """The index of the first message at or behind a place."""
        messages = self.messages
        count = len(messages)
        if not count:
            return 0
        # Mostly there is one message at each place.
        guess = min(max(place - messages[0].place, 0), count)
        if guess == count and messages[-1].place < place:
            return count
        if guess < count and messages[guess].place == place:
            return guess
        low, high = 0, count
        while low < high:
            middle = (low + high) // 2
            if messages[middle].place < place:
                low = middle + 1
            else:
                high = middle
        return low


@mypyc_attr(allow_interpreted_subclasses=True)
class RunReader:
    """Who reads runs, and is told when there is more."""

    __slots__ = ()

    @abstractmethod
    def hand_out(self) -> None:
        """Go on: there may be more to read."""


@mypyc_attr(allow_interpreted_subclasses=True)
class MessageSource:
    """Has messages in one order, for any number of readers.

    Attributes:
        first: the place of the first one that is there.
        end: the place behind the last one that may be read.
        has_gaps: whether messages may go that others stand before, so that `is_there` is asked of
            each.
    """

    __slots__ = ("end", "first", "has_gaps")

    def __init__(self, first: int, end: int, *, has_gaps: bool = True) -> None:
        self.first = first
        self.end = end
        self.has_gaps = has_gaps

    @abstractmethod
    def run_at(
        self, place: int, reader: RunReader, values: frozenset[str], unfiltered: bool
    ) -> MessageRun | None:
        """The messages from a place on, as far as they are at hand.

        Args:
            place: where to begin. What is not there any more is passed over.
            reader: told by `RunReader.hand_out` when there is more, if there is none now.
            values: messages without one of these filter values may be left out; empty = none may.
            unfiltered: whether those without any are wanted as well.

        Returns:
            None: nothing is at hand, and the reader is told. `leave` has to follow otherwise.
        """

    @abstractmethod
    def wait(self, reader: RunReader) -> bool:
        """Tell a reader by `RunReader.hand_out` when more may be read, once; true: it is now."""

    @abstractmethod
    def leave(self, run: MessageRun) -> None:
        """Take note that a reader has no more use for a run."""

    def share(self, run: MessageRun, message: ReaderMessage) -> None:
        """Make the wire form of a message once, because several readers are in its run."""
        message.share()

    def is_there(self, message: ReaderMessage) -> bool:
        """Whether a message of a run is there yet, so that it may be given to somebody."""
        return message.place >= self.first
