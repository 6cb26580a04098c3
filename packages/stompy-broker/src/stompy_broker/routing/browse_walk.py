"""All messages of a queue in one order, wherever they are, from a place in it on.

The order is that in which they would be delivered if all of them were ready: by priority, then as
they came. A message keeps its place in it as long as it is in the queue. So a walk can be left off
after any message and be taken up behind it later, whatever became of the queue meanwhile: no
message is met twice, and none that stayed is passed by.

There may be millions, so a walk is made in steps. What is plain costs a look at the queue's
``fifo`` for each `WINDOW`, and at what is parked; the others, which have no order where they are,
are looked through once for each.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from itertools import islice
from operator import attrgetter, itemgetter

from stompy_broker.message import DEFAULT_PRIORITY, Message
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.interface import Browse, Place, place_of
from stompy_broker.routing.message_state import MessageState
from stompy_broker.routing.ready_list import ReadyList

WINDOW = 4096
"""Messages that are taken in hand at once."""

_AT_ONCE = 20_000
"""So many that are not in ``fifo`` are looked through without a pause."""

Found = tuple[Place, MessageState, Message]
_place_of: Callable[[Found], Place] = itemgetter(0)
_sequence_of: Callable[[Message], int] = attrgetter("sequence")

_FIRST: Place = (-(1 << 60), 0)
_PLAIN = -DEFAULT_PRIORITY


class BrowseWalk:
    """One part of a walk: it goes on until there is enough, or nothing more.

    Args:
        ready: what waits.
        consumers: who may have some.
        wanted: says which messages, from where on, and how many.
        now: the time, in milliseconds since the epoch; what is over then is not met.

    Attributes:
        found: what was met and is meant.
        skipped: how many were meant, and left out before those.
        more: whether it ended before the last one.
    """

    def __init__(
        self, ready: ReadyList, consumers: Iterable[Consumer], wanted: Browse, now: int
    ) -> None:
        self.found: list[Found] = []
        self.skipped = 0
        self.more = False
        self._ready = ready
        self._consumers = consumers
        self._wanted = wanted
        self._states: Collection[MessageState] = wanted.states or ()
        self._now = now
        self._is_meant = wanted.selection.test()
        self._bytes = 0

    def steps(self) -> Iterator[Message]:
        """Walk; gives what is looked at, for who counts the steps."""
        place = self._wanted.beyond or _FIRST
        while True:
            unordered, end = yield from self._gather(place)
            found = self._merged(unordered, place, end)
            for one in found:
                yield one[2]
                if not self._take(one):
                    self.more = True
                    return
            if end is None:
                return
            place = end

    def _take(self, one: Found) -> bool:
        """Take a message if it is meant; false: there was enough before it."""
        message = one[2]
        if 0 < message.expires <= self._now or not self._is_meant(message):
            return True
        wanted = self._wanted
        if self.skipped < wanted.skip:
            self.skipped += 1
            return True
        size = self._bytes + message.size
        enough = wanted.most is not None and len(self.found) >= wanted.most
        if enough or (wanted.bodies and self.found and size > wanted.bodies):
            return False
        self.found.append(one)
        self._bytes = size
        return True

    # -- what is in no order ----------------------------------------------------------------

    def _gather(self, place: Place) -> Generator[Message, None, tuple[list[Found], Place | None]]:
        """The next ones of what is not in ``fifo``, and how far they go; None = to the end."""
        every = self._unordered()
        size = sum(len(some) for _, some in every)
        kept: list[Found] = []
        end: Place | None = None
        for state, some in every:
            for message in some:
                if size > _AT_ONCE:
                    yield message
                here = place_of(message)
                if here <= place or (end is not None and here > end):
                    continue
                kept.append((here, state, message))
                if len(kept) >= 2 * WINDOW:
                    kept = heapq.nsmallest(WINDOW, kept, key=_place_of)
                    end = kept[-1][0]
        kept.sort(key=_place_of)
        if len(kept) > WINDOW:
            del kept[WINDOW:]
            end = kept[-1][0]
        return kept, end

    def _unordered(self) -> list[tuple[MessageState, list[Message]]]:
        states, ready = self._states, self._ready
        every: list[tuple[MessageState, list[Message]]] = []
        if MessageState.READY in states:
            every.append((MessageState.READY, [entry[2] for entry in ready.heap]))
        if MessageState.UNACKED in states:
            held = [message for one in list(self._consumers) for message in one.shows()]
            every.append((MessageState.UNACKED, held))
        if MessageState.DELAYED in states:
            every.append((MessageState.DELAYED, [entry[2] for entry in ready.in_time()]))
        return every

    # -- what is ----------------------------------------------------------------------------

    def _merged(self, unordered: list[Found], place: Place, end: Place | None) -> Iterator[Found]:
        """These, and those in ``fifo`` between a place and an end."""
        plain = self._plain(place, end) if MessageState.READY in self._states else iter(())
        last = place
        for one in heapq.merge(unordered, plain, key=_place_of):
            if one[0] > last:  # else it was delivered, or came back, while this went on
                last = one[0]
                yield one

    def _plain(self, place: Place, end: Place | None) -> Iterator[Found]:
        ready, selection = self._ready, self._wanted.selection
        place = max(place, (_PLAIN, selection.after)) if ready.parking is None else place
        # What is in hand may go meanwhile, so it is no more than may be wanted.
        most = WINDOW
        if self._wanted.most is not None and not self._wanted.skip:
            most = min(WINDOW, self._wanted.most + 1)
        while some := self._next(place, most):
            for message in some:
                here = place_of(message)
                if end is not None and here > end:
                    return
                if selection.up_to is None or message.sequence <= selection.up_to:
                    yield here, MessageState.READY, message
                elif ready.parking is None:
                    return
            place = place_of(some[-1])

    def _next(self, place: Place, most: int) -> list[Message]:
        """The next ones behind a place, of what is in ``fifo`` and of what is parked."""
        parking, some = self._ready.parking, []
        if place[0] <= _PLAIN:
            sequence = place[1] if place[0] == _PLAIN else 0
            some = later(self._ready.fifo, sequence, most)
        if parking is None:
            return some
        parked = parking.after(place, most)
        return list(islice(heapq.merge(some, parked, key=place_of), most))


def later(fifo: deque[Message], sequence: int, most: int) -> list[Message]:
    """The next ones behind a sequence, among messages that are ordered by it."""
    if not fifo or fifo[-1].sequence <= sequence:
        return []
    start = 0
    if fifo[0].sequence <= sequence:
        start = bisect_right(fifo, sequence, key=_sequence_of)
    ahead = len(fifo) - start
    if start <= ahead:
        return list(islice(fifo, start, start + most))
    # From the other end, which is nearer.
    some = list(islice(reversed(fifo), max(ahead - most, 0), ahead))
    some.reverse()
    return some
