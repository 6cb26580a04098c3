"""The messages that wait in a queue, in order (**hot path**: its queue reaches into it).

Invariants:

* A message is in one of three places: ``fifo`` (by sequence), ``heap`` (by priority, then
  sequence) or ``delayed`` (a heap by time); in a queue whose consumers choose, in a fourth one:
  ``parking``. Then ``prioritized`` is set, so that what comes back, or is due, comes into ``heap``,
  from where it is sorted in, and nobody reads an order out of ``fifo`` and ``heap`` alone.
* Where newer values replace older ones (``values``), each message is parked at once or is in
  ``delayed``, so that it is taken out without a search. Of ``delayed`` it is not taken out at once:
  ``later`` has what is really there.
* While all messages have one priority, ``heap`` holds those that came back. They have smaller
  sequences than everything in ``fifo``, so taking from ``heap`` first restores the original order.
  The first message of another priority moves all others into ``heap``, and the list is
  ``prioritized`` until it is empty.
* The three containers are never replaced, so that a queue may keep them at hand.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Set
from itertools import chain, islice
from operator import itemgetter
from typing import Final

from stompy_broker.message import DEFAULT_PRIORITY, Message, earlier_deliveries
from stompy_broker.routing.interface import place_of
from stompy_broker.routing.last_values import LastValues
from stompy_broker.routing.message_group import GroupedMessage
from stompy_broker.routing.parking import Parking

_Place = tuple[float, int, Message]
"""What it is ordered by, its sequence, and the message."""

_SWEPT: Final = 64
"""So many may stand in ``delayed`` that were taken out, and then as many as were not."""

# No generator expression: compiled, it would be a list of them all.
_message_of: Callable[[_Place], Message] = itemgetter(2)


class ReadyList:
    """What waits, and in which order.

    Attributes:
        fifo: what came to the end, in that order.
        heap: what has a place of its own: priority, sequence, message.
        delayed: what may not be delivered yet: time, sequence, message.
        prioritized: whether everything that is ready is in ``heap``; or, as ``parking`` says.
        parking: what is parked, in a queue whose consumers choose; None = they do not.
        values: which messages newer ones replace, in a queue that parks; None = none.
        later: what is delayed and was not taken out; None = everything in ``delayed``.
    """

    __slots__ = ("delayed", "fifo", "heap", "later", "parking", "prioritized", "values")

    def __init__(self) -> None:
        self.fifo: deque[Message] = deque()
        self.heap: list[_Place] = []
        self.delayed: list[_Place] = []
        self.prioritized = False
        self.parking: Parking | None = None
        self.values: LastValues | None = None
        self.later: set[Message] | None = None

    def replace_values(self, values: LastValues | None) -> None:
        """Know from now on which messages newer ones replace, or no more."""
        self.values = values
        self._sweep()
        self.later = None if values is None else {entry[2] for entry in self.delayed}

    def waits(self, message: Message) -> bool:
        """Whether a message waits that is in the queue; only where newer ones replace others."""
        parking, later = self.parking, self.later
        if parking is None or later is None:
            return False
        return message in later or parking.has(message)

    def withdraw(self, message: Message) -> bool:
        """Take a message out; false: it does not wait. Only where newer ones replace others."""
        parking, later = self.parking, self.later
        if parking is None or later is None:
            return False
        if message not in later:
            return parking.take(message) >= 0
        later.remove(message)
        if len(self.delayed) > _SWEPT + 2 * len(later):
            self._sweep()
        return True

    def _sweep(self) -> None:
        """Take everything out of ``delayed`` that was only said to be."""
        later = self.later
        if later is not None and len(later) < len(self.delayed):
            self.delayed[:] = [entry for entry in self.delayed if entry[2] in later]
            heapq.heapify(self.delayed)

    def park(self) -> Parking:
        """Begin to park messages; those that wait are sorted in in steps."""
        self.prioritized = True
        self.parking = parking = Parking(self.fifo, self.heap)
        return parking

    def unpark(self, most: int) -> bool:
        """Park nothing any more, if that is quick; see `Parking.give_back`."""
        parking = self.parking
        if parking is None or not parking.give_back(most):
            return False
        self.parking = None
        self.prioritized = bool(self.heap)
        return True

    def append(self, message: Message) -> None:
        """Put a message to the end, or to the end of its priority."""
        if self.prioritized or message.head.traits.priority != DEFAULT_PRIORITY:
            self.place(message)
        else:
            self.fifo.append(message)

    def place(self, message: Message) -> None:
        """Put a message to its place by priority and sequence."""
        priority, parking = message.head.priority, self.parking
        if (
            parking is not None
            and parking.groups is not None
            and isinstance(message, GroupedMessage)
        ):
            parking.place(message)  # within a group it is next, whatever comes before it
            return
        if parking is not None and self.values is not None:
            parking.place(message)
            return
        if priority != DEFAULT_PRIORITY and not self.prioritized:
            self.prioritized = True
            self.heap += [(-m.head.priority, m.sequence, m) for m in self.fifo]
            self.fifo.clear()
            heapq.heapify(self.heap)
        elif self.fifo and self.fifo[0].sequence < message.sequence and parking is None:
            # While consumers chose, it was delivered before others that stood in front of it.
            self.make_way(message.sequence)
        heapq.heappush(self.heap, (-priority, message.sequence, message))

    def pop(self) -> Message:
        """Take the first out; there must be one."""
        if self.parking is not None:
            return self._pop_parked(self.parking)
        return heapq.heappop(self.heap)[2] if self.heap else self.fifo.popleft()

    def _pop_parked(self, parking: Parking) -> Message:
        first, barrier = parking.first, parking.barrier
        if first is not None and (barrier is None or place_of(first) < barrier):
            parking.take(first)
            return first
        return parking.pop_unsorted()

    def put_back(self, message: Message) -> None:
        """Put a message back to where it was just taken from."""
        if self.prioritized or self.heap or (message.redelivery and message.deliveries):
            heapq.heappush(self.heap, (-message.head.priority, message.sequence, message))
        else:
            self.fifo.appendleft(message)

    def delay(self, message: Message, due: float) -> None:
        """Put a message to where messages wait for their time."""
        groups = None if self.parking is None else self.parking.groups
        if groups is not None and isinstance(message, GroupedMessage):
            groups.put_off(message)
        if self.later is not None:
            self.later.add(message)
        heapq.heappush(self.delayed, (due, message.sequence, message))

    def hold_group(self, message: Message, seconds: float) -> bool:
        """Give nobody anything of a message's group for so long; false: it has none."""
        groups = None if self.parking is None else self.parking.groups
        if groups is None or not isinstance(message, GroupedMessage):
            return False
        return groups.hold_back(message, seconds)

    @property
    def arrivals(self) -> tuple[int | None, int | None]:
        """When the messages came that are first and last in line; None if that is not known."""
        first = self.first
        last = self.fifo[-1] if self.fifo else first
        if self.parking is not None:
            last = self.parking.newest or last
        return _came_at(first), _came_at(last)

    @property
    def next_due(self) -> float | None:
        """When the next delayed message may be delivered; None if there is none."""
        return self.delayed[0][0] if self.delayed else None

    def release(self, now: float) -> None:
        """Put everything whose time has come to its place."""
        later = self.later
        while self.delayed and self.delayed[0][0] <= now:
            message = heapq.heappop(self.delayed)[2]
            if later is not None:
                if message not in later:
                    continue
                later.remove(message)
            self.place(message)

    @property
    def ready(self) -> int:
        """How many may be delivered."""
        ready = len(self.fifo) + len(self.heap)
        return ready if self.parking is None else ready + len(self.parking)

    @property
    def late(self) -> int:
        """How many wait for their time."""
        return len(self.delayed) if self.later is None else len(self.later)

    def in_time(self) -> list[_Place]:
        """What waits for its time: when that is, in no order; not to be changed."""
        self._sweep()
        return self.delayed

    @property
    def first(self) -> Message | None:
        """The message that is next; None if none may be delivered."""
        if self.parking is not None:
            return next(iter(self.in_order(1)), None)
        if self.heap:
            return self.heap[0][2]
        return self.fifo[0] if self.fifo else None

    def next_messages(self) -> Iterator[Message]:
        """What may be delivered, about in order, but for what is parked."""
        return chain(map(_message_of, self.heap), self.fifo)

    def in_order(self, most: int | None = None) -> list[Message]:
        """What may be delivered, next one first.

        Args:
            most: so many messages at most; None = all.
        """
        heap, fifo, parking = self.heap, self.fifo, self.parking
        ordered = sorted(heap) if most is None else heapq.nsmallest(most, heap)
        back = list(map(_message_of, ordered))
        if parking is None:
            end = None if most is None else max(0, most - len(back))
            return back + list(islice(fifo, end))
        parked = list(parking) if most is None else parking.after(None, most)
        parts = [back, list(islice(fifo, most)), parked]
        full = [part for part in parts if part]
        merged = full[0] if len(full) == 1 else heapq.merge(*full, key=place_of)
        return list(islice(merged, most))

    def later_than(self, sequence: int) -> list[Message]:
        """What may be delivered and came later than that, next one first."""
        if self.heap or self.parking is not None:
            return [message for message in self.in_order() if message.sequence > sequence]
        new = []
        for message in reversed(self.fifo):
            if message.sequence <= sequence:
                break
            new.append(message)
        return new[::-1]

    def find(self, sequences: Set[int]) -> list[Message]:
        """Those of these sequences that wait; quick when they are first in line."""
        found: list[Message] = []
        for message in self:
            if message.sequence in sequences:
                found.append(message)
                if len(found) == len(sequences):
                    break
        return found

    def remove(self, sequences: Set[int]) -> list[Message]:
        """Take out messages by sequence; gives those that waited."""
        taken: list[Message] = []
        if self.parking is not None:
            return self.take_out(lambda message: message.sequence in sequences)
        # In order they are first in line, and need no search.
        while (first := self.first) and first.sequence in sequences:
            taken.append(self.pop())
        if len(taken) < len(sequences):
            taken += self.take_out(lambda message: message.sequence in sequences)
        self.prioritized = self.prioritized and bool(self.heap)
        return taken

    def adopt(self, sequences: Set[int]) -> list[Message]:
        """Take out messages that somebody has already, whose present delivery is not over."""
        adopted = self.remove(sequences)
        groups = None if self.parking is None else self.parking.groups
        for message in adopted:
            if groups is not None and isinstance(message, GroupedMessage):
                groups.take_over(message)
            past = message.redelivery
            if past is not None:  # it was counted when it began
                message.redelivery = earlier_deliveries(max(past[0] - 1, 0), past[1])
        if adopted:
            self.make_way(max([message.sequence for message in adopted]))
        return adopted

    def make_way(self, sequence: int) -> None:
        """A message may come back that came behind some that nobody had yet: keep the order."""
        fifo = self.fifo
        while fifo and fifo[0].sequence < sequence:
            self.put_in_heap(fifo.popleft())

    def put_in_heap(self, message: Message) -> None:
        """Put a message to its place among those that came back."""
        heapq.heappush(self.heap, (-message.head.priority, message.sequence, message))

    def take_out(self, wanted: Callable[[Message], bool]) -> list[Message]:
        """Take messages out of where they wait, in order; nobody has them then."""
        return self._without(list(filter(wanted, self)))

    def take_first_expired(self, now: int) -> list[Message]:
        """Take out those at the beginning of ``fifo`` whose time is over."""
        fifo = self.fifo
        over: list[Message] = []
        while fifo and 0 < fifo[0].expires <= now:
            over.append(fifo.popleft())
        return over

    def take_out_expired(self, now: int) -> list[Message]:
        """Take out those whose time is over, as `take_out` does."""
        over = [message for message in self.fifo if 0 < message.expires <= now]
        if self.parking is not None:
            over += [message for message in self.parking if 0 < message.expires <= now]
        self._sweep()
        for heap in (self.heap, self.delayed):
            over += [entry[2] for entry in heap if 0 < entry[2].expires <= now]
        return self._without(over)

    def _without(self, taken: list[Message]) -> list[Message]:
        taken.sort(key=lambda message: message.sequence)
        if taken:
            gone = {id(message) for message in taken}
            if self.parking is not None:
                self.parking.take_all(taken)
            staying = [message for message in self.fifo if id(message) not in gone]
            self.fifo.clear()
            self.fifo.extend(staying)
            for heap in (self.heap, self.delayed):
                _keep_only(heap, gone)
            if self.later is not None:
                self.later.difference_update(taken)
        return taken

    def clear(self) -> None:
        """Forget all messages that wait."""
        self.fifo.clear()
        self.heap.clear()
        self.delayed.clear()
        if self.later is not None:
            self.later.clear()
        if self.parking is not None:
            self.parking.clear()

    def __len__(self) -> int:
        waiting = len(self.fifo) + len(self.heap) + self.late
        return waiting if self.parking is None else waiting + len(self.parking)

    def __iter__(self) -> Iterator[Message]:
        """Everything, also what is delayed; in no order."""
        self._sweep()
        yield from map(_message_of, self.heap)
        yield from self.fifo
        yield from map(_message_of, self.delayed)
        if self.parking is not None:
            yield from self.parking


def _keep_only(heap: list[_Place], gone: set[int]) -> None:
    heap[:] = [entry for entry in heap if id(entry[2]) not in gone]
    heapq.heapify(heap)


def _came_at(message: Message | None) -> int | None:
    """When a message came; None if there is none, or nobody wrote that down."""
    return message.received_at if message is not None and message.stamp else None
