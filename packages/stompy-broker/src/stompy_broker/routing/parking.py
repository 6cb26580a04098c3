"""The messages of a queue whose consumers choose, in order and by selector (**hot path** there).

A plain queue hands out its first message, and needs no more than a ready list. Where consumers
choose, the message that is next for one of them may stand behind a million that nobody wants. So
the ready list *parks* its messages: `Parking.messages` has all of them in order, and each selector
that a present consumer has said has a `MatchLine` with those that match. Each message carries a
number, in how many lines it is (its claims), so that what nobody takes is counted, not searched.

What is in ``fifo`` and ``heap`` of the ready list was not looked at yet: everything, when the first
consumer with a selector comes; later what came back. It is *sorted in*, some at a time, and until
then nothing that stands behind its first message is handed out: a match in there might be before
it. In the same way a new line is *filled*: messages in it are handed out as far as the queue was
looked through. So order holds at each moment, and nobody waits for more than a step.

Invariants:

* A message that is parked is in ``messages``, and in each line that takes it and has reached its
  place; its claims are the number of those lines, and of those that are being dissolved and still
  have it.
* A line is dissolved in steps as well. Who comes with its selector before that began finds it.

**Groups** (`stompy_broker.routing.group_table`). Of messages that come in order by a value, only
the first may be dealt. It stands in ``messages`` and the lines, or in the line of the consumer that
has the group for itself; the others stand ``aside``, in the same order, so that limits, expiry,
browsing and removal see them. None of it costs a plain queue anything: it begins with
`ReadyList.park`.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from operator import attrgetter
from typing import Final

from stompy_broker.message import DEFAULT_PRIORITY, Message, MessageHead
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.interface import Place, place_of
from stompy_broker.routing.match_line import BEGINNING, MatchLine
from stompy_broker.routing.message_group import GroupedMessage, GroupKeeper
from stompy_broker.routing.ordered_messages import BLOCK, OrderedMessages
from stompy_broker.selectors.names import text_of
from stompy_broker.selectors.selector import Selector

AT_ONCE: Final = 128
"""So many messages are looked at before the time is."""

_FEW: Final = 8
"""So many lines are asked one by one; more are found by what their selectors begin with."""

_MANY: Final = 64
"""So many messages that go together are not looked for one by one."""

_sequence_of: Callable[[Message], int] = attrgetter("sequence")


class Parking:
    """What waits in a queue that chooses.

    Args:
        fifo: of its ready list: what was not sorted in yet, by sequence.
        heap: of its ready list: the same, by priority and sequence.

    Attributes:
        messages: all that is sorted in, but for what stands aside.
        aside: what its groups hold back, or have for one consumer.
        groups: keeps the groups; None = no message has one.
        lines: those for selectors, by their texts.
        everything: the line of those who take all messages.
        claimed: how many messages are in at least one of ``lines``.
        looked: how many messages were looked at for all lines together.
    """

    __slots__ = (
        "_dissolving",
        "_fifo",
        "_filling",
        "_heap",
        "_idle",
        "_memory",
        "_memory_head",
        "_named",
        "_others",
        "_varying",
        "aside",
        "claimed",
        "everything",
        "groups",
        "lines",
        "looked",
        "messages",
    )

    def __init__(self, fifo: deque[Message], heap: list[tuple[float, int, Message]]) -> None:
        self.messages = OrderedMessages()
        self.aside = OrderedMessages()
        self.groups: GroupKeeper | None = None
        self.everything = MatchLine(None, self.messages)
        self.lines: dict[str, MatchLine] = {}
        self.claimed = self.looked = 0
        self._fifo = fifo
        self._heap = heap
        self._filling: dict[MatchLine, None] = {}
        self._idle: dict[MatchLine, None] = {}
        # The lines that took the last message: the next one may have the same headers.
        self._memory: list[MatchLine] = []
        self._memory_head: MessageHead | None = None
        self._varying = 0  # lines whose selectors look at more
        self._dissolving: list[MatchLine] = []
        # Those that begin with a name and a text, by both; and those that do not.
        self._named: dict[str, dict[str, dict[MatchLine, None]]] = {}
        self._others: dict[MatchLine, None] = {}

    # -- lines --------------------------------------------------------------------------------

    def line(self, selector: Selector) -> MatchLine:
        """Find the line of a selector, or begin one."""
        found = self.lines.get(selector.text)
        if found is not None:
            return found
        line = self.lines[selector.text] = MatchLine(selector, OrderedMessages())
        line.looked = self.looked
        self._memory_head = None
        self._varying += selector.varies
        if self.messages.count:
            line.reached = BEGINNING
            self._filling[line] = None
        if selector.equals is None:
            self._others[line] = None
        else:
            name, value = selector.equals
            self._named.setdefault(name, {}).setdefault(value, {})[line] = None
        return line

    def _dissolve(self, line: MatchLine) -> None:
        """Begin to end a line that nobody has any more."""
        selector = line.selector
        assert selector is not None
        del self.lines[selector.text]
        self._memory_head = None
        self._varying -= selector.varies
        self._filling.pop(line, None)
        self._dissolving.append(line)
        if selector.equals is None:
            del self._others[line]
            return
        name, value = selector.equals
        values = self._named[name]
        del values[value][line]
        if not values[value]:
            del values[value]
        if not values:
            del self._named[name]

    def join(self, line: MatchLine, consumer: Consumer) -> None:
        """Let a consumer take part in a line."""
        line.consumers[consumer] = None
        self._idle.pop(line, None)

    def leave(self, line: MatchLine, consumer: Consumer) -> None:
        """Let a consumer go that waits no more; a line that nobody has ends in the next step."""
        line.consumers.pop(consumer, None)
        if not line.consumers and line is not self.everything:
            self._idle[line] = None

    def takers(self, message: Message) -> list[MatchLine]:
        """The lines for selectors that a message belongs into, as far as they have got."""
        self.looked += 1
        if message.head is self._memory_head:
            for line in self._memory:
                line.matched += 1
            return self._memory
        if len(self.lines) <= _FEW:
            found = [line for line in self.lines.values() if line.takes(message)]
        else:
            found = [line for line in self._others if line.takes(message)]
            for name, values in self._named.items():
                value = text_of(name, message)
                if value is not None and value in values:
                    found += [line for line in values[value] if line.takes(message)]
        if self._filling:
            found = self._without_later(found, place_of(message))
        elif not self._varying:
            self._memory, self._memory_head = found, message.head
        for line in found:
            line.matched += 1
        return found

    def _without_later(self, found: list[MatchLine], place: Place) -> list[MatchLine]:
        """Leave those out that will come to this place."""
        later = set()
        for line in self._filling:
            if line.reached is not None and place > line.reached:
                later.add(line)
                line.looked += 1
        return [line for line in found if line not in later]

    def skipped(self, line: MatchLine) -> int:
        """How many messages were looked at for a line that did not match."""
        return self.looked - line.looked - line.matched

    # -- messages -----------------------------------------------------------------------------

    def place(self, message: Message) -> None:
        """Put a message to its place, and into the lines that take it."""
        if self.groups is not None and isinstance(message, GroupedMessage):
            self.groups.put(message)
        else:
            self.add(message, self.takers(message))

    def add(self, message: Message, takers: list[MatchLine]) -> None:
        """Put a message to its place, and into these lines."""
        for line in takers:
            line.messages.add(message)
        self.messages.add(message, len(takers))
        if takers:
            self.claimed += 1

    def take(self, message: Message, likely: MatchLine | None = None) -> int:
        """Take a message out of everything; gives in how many lines it was, -1 if it was not there.

        Args:
            message: it.
            likely: a line that has it.
        """
        if self.groups is not None and isinstance(message, GroupedMessage):
            return self.groups.take(message)
        return self.take_shown(message, likely)

    def has(self, message: Message) -> bool:
        """Whether a message is sorted in."""
        return self.messages.claim(message, 0) >= 0 or self.aside.claim(message, 0) >= 0

    def take_shown(self, message: Message, likely: MatchLine | None = None) -> int:
        """The same, of a message that does not stand aside, whatever group it has."""
        found = claims = self.messages.take(message)
        if claims > 0:
            self.claimed -= 1
            if likely is not None and likely is not self.everything:
                claims -= likely.messages.take(message) >= 0
            if claims:
                for line in [*self.lines.values(), *self._dissolving]:
                    if line.messages.count and line.messages.take(message) >= 0:
                        claims -= 1
                        if not claims:
                            break
        return found

    def take_all(self, messages: list[Message]) -> None:
        """Take messages out of everything, as far as they are there."""
        if len(messages) <= _MANY:
            for message in messages:
                self.take(message)
            return
        gone = {id(message) for message in messages}
        self.claimed -= self.messages.take_all(gone)
        for line in [*self.lines.values(), *self._dissolving]:
            line.messages.take_all(gone)
        if self.groups is not None:
            self.aside.take_all(gone)
            self.groups.take_all(gone)

    def clear(self) -> None:
        """Forget all messages of it."""
        self.messages.clear()
        for line in [*self.lines.values(), *self._dissolving]:
            line.messages.clear()
        self._dissolving.clear()
        self.aside.clear()
        if self.groups is not None:
            self.groups.clear()
        self.claimed = 0

    @property
    def first(self) -> Message | None:
        """The first of those that are sorted in; None if there is none."""
        first, other = self.messages.first, self.aside.first
        if first is None or (other is not None and is_before(other, first)):
            return other
        return first

    @property
    def newest(self) -> Message | None:
        """The one that came last of those that are sorted in; None if there is none."""
        newest, other = self.messages.newest, self.aside.newest
        if newest is None or (other is not None and other.sequence > newest.sequence):
            return other
        return newest

    def after(self, place: Place | None, most: int) -> list[Message]:
        """The first of those that are sorted in behind a place; None = from the beginning."""
        found = self.messages.after(place, most)
        if not self.aside.count:
            return found
        return list(islice(heapq.merge(found, self.aside.after(place, most), key=place_of), most))

    def __iter__(self) -> Iterator[Message]:
        """Everything that is sorted in, in order."""
        if not self.aside.count:
            return iter(self.messages)
        return heapq.merge(self.messages, self.aside, key=place_of)

    def __len__(self) -> int:
        return self.messages.count + self.aside.count

    # -- what may be handed out -----------------------------------------------------------------

    @property
    def barrier(self) -> Place | None:
        """The place of the first message that is not sorted in; None if all are."""
        heap, fifo = self._heap, self._fifo
        if not fifo:
            return place_of(heap[0][2]) if heap else None
        place = place_of(fifo[0])
        return min(place, place_of(heap[0][2])) if heap else place

    def next_of(self, line: MatchLine, barrier: Place | None) -> Message | None:
        """The next message of a line, if it may be handed out.

        Args:
            line: which.
            barrier: as `barrier` says.
        """
        message = line.messages.first
        if message is None or (barrier is None and line.reached is None):
            return message
        place = place_of(message)
        if barrier is not None and place > barrier:
            return None
        if line.reached is not None and place > line.reached:
            return None
        return message

    def takes(self, line: MatchLine, message: Message) -> bool:
        """Whether a line takes a message, and has got to its place."""
        if line.reached is not None and place_of(message) > line.reached:
            return False
        return line.takes(message)

    @property
    def unmatched(self) -> int:
        """How many messages no consumer takes, as far as all were looked at."""
        if self.everything.consumers or not self.lines or self.busy:
            return 0
        return self.messages.count - self.claimed

    # -- steps --------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether there is anything to do in steps."""
        return bool(self._fifo or self._heap or self.has_jobs)

    @property
    def has_jobs(self) -> bool:
        """Whether lines are to be filled, or to be dissolved."""
        return bool(self._filling or self._idle or self._dissolving)

    def step(self, most: int, in_time: Callable[[], bool]) -> int:
        """Sort in, fill and dissolve; gives how many messages were looked at.

        Args:
            most: how many messages to look at, about.
            in_time: whether there is time for more.
        """
        for line in self._idle:
            self._dissolve(line)
        self._idle.clear()
        looked = 0
        while looked < most:
            if self._fifo or self._heap:
                looked += self.sort_in(AT_ONCE)
            elif self._filling:
                looked += self._fill(next(iter(self._filling)))
            elif self._dissolving:
                looked += self._take_apart()
            else:
                break
            if not in_time():
                break
        return looked

    def pop_unsorted(self) -> Message:
        """Take out the first message that was not looked at; there must be one."""
        heap, fifo = self._heap, self._fifo
        if heap and (not fifo or place_of(heap[0][2]) < place_of(fifo[0])):
            return heapq.heappop(heap)[2]
        return fifo.popleft()

    def sort_in(self, most: int) -> int:
        """Put messages to their places that were not looked at; gives how many."""
        fifo, heap = self._fifo, self._heap
        left = most
        while left > 0 and (fifo or heap):
            if heap and (not fifo or place_of(heap[0][2]) < place_of(fifo[0])):
                self.place(heapq.heappop(heap)[2])
                left -= 1
                continue
            run = [fifo.popleft() for _ in range(min(left, len(fifo), BLOCK))]
            run.sort(key=_sequence_of)
            if heap and place_of(run[-1]) > place_of(heap[0][2]):
                end = bisect_left(run, heap[0][1], key=_sequence_of)
                fifo.extendleft(reversed(run[end:]))
                del run[end:]
            self._sort_in(run)
            left -= len(run)
        return most - left

    def _sort_in(self, run: list[Message]) -> None:
        """Sort in messages that stand in a row."""
        claims = []
        for message in run:
            takers = self.takers(message)
            for line in takers:
                line.messages.add(message)
            claims.append(len(takers))
        self.claimed += sum(map(bool, claims))
        self.messages.add_run(run, claims)

    def _fill(self, line: MatchLine) -> int:
        """Look through some more of the queue for a line."""
        some = self.messages.after(line.reached, AT_ONCE)
        for message in some:
            if line.takes(message):
                line.matched += 1
                line.messages.add(message)
                if self.messages.claim(message, 1) == 1:
                    self.claimed += 1
        line.looked -= len(some)
        if len(some) < AT_ONCE:
            line.reached = None
            del self._filling[line]
        else:
            line.reached = place_of(some[-1])
        return len(some)

    def _take_apart(self) -> int:
        """Take some messages out of a line that ends."""
        line = self._dissolving[0]
        some = line.messages.take_block()
        for message in some:
            if self.messages.claim(message, -1) == 0:
                self.claimed -= 1
        if not some:
            del self._dissolving[0]
        return len(some)

    # -- the end --------------------------------------------------------------------------------

    def give_back(self, most: int) -> bool:
        """Put everything back to where a plain queue has it, if that is quick; say whether it was.

        Args:
            most: so many messages of several priorities may wait.
        """
        messages, fifo, heap = self.messages, self._fifo, self._heap
        if self.lines or self.busy:
            return False
        if messages.priorities in ([], [DEFAULT_PRIORITY]):
            for block in messages.blocks():
                fifo.extend(block)
        elif messages.count > most:
            return False
        else:
            heap += [(-m.head.traits.priority, m.sequence, m) for m in messages]
        messages.clear()
        return True


def is_before(one: Message, other: Message) -> bool:
    """Whether a message is next, of two."""
    mine, others = one.head.traits.priority, other.head.traits.priority
    return one.sequence < other.sequence if mine == others else mine > others
