"""Messages in order, of which any one is put in, found and taken out quickly (**hot path**).

They are ordered by priority, highest first, and then by sequence. Each priority has its messages
in blocks of about a hundred, so that whatever happens to one message moves no more than one block.
Where messages come and go at the ends, as in most queues, nothing is searched.

Each message has a number of *claims*, for whoever keeps several such orders: in how many others it
stands as well (`stompy_broker.routing.parking.Parking`).

Invariants:

* No block is empty, and a priority that has no message has no blocks.
* `_Level.lasts` has, for each block, a sequence that is not less than any in it, and less than any
  in the next one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Final

from stompy_broker.message import Message
from stompy_broker.routing.interface import Place

BLOCK: Final = 128
"""How many messages a new block has at most; one that grows in the middle has twice as many.

The garbage collector follows each of them when the block is new, and the broker waits meanwhile.
"""

_sequence_of: Callable[[Message], int] = attrgetter("sequence")


class _Level:
    """The messages of one priority."""

    __slots__ = ("blocks", "claims", "lasts", "priority")

    def __init__(self, priority: int) -> None:
        self.priority = priority
        self.blocks: list[list[Message]] = []
        self.claims: list[list[int]] = []
        self.lasts: list[int] = []

    def add(self, message: Message, claims: int) -> None:
        sequence, blocks, lasts = message.sequence, self.blocks, self.lasts
        if not lasts or sequence > lasts[-1]:
            if not lasts or len(blocks[-1]) >= BLOCK:
                blocks.append([message])
                self.claims.append([claims])
                lasts.append(sequence)
            else:
                blocks[-1].append(message)
                self.claims[-1].append(claims)
                lasts[-1] = sequence
            return
        number = bisect_left(lasts, sequence)
        block = blocks[number]
        at = bisect_left(block, sequence, key=_sequence_of)
        block.insert(at, message)
        self.claims[number].insert(at, claims)
        if len(block) > 2 * BLOCK:
            self._split(number)

    def add_run(self, messages: list[Message], claims: list[int]) -> bool:
        """Add messages in order that have no others between them; false: they have."""
        first, last = messages[0].sequence, messages[-1].sequence
        number = bisect_left(self.lasts, first)
        if number < len(self.lasts) and self.blocks[number][0].sequence < last:
            return False
        self.blocks.insert(number, messages)
        self.claims.insert(number, claims)
        self.lasts.insert(number, last)
        return True

    def _split(self, number: int) -> None:
        block, claims = self.blocks[number], self.claims[number]
        half = len(block) // 2
        self.blocks[number : number + 1] = [block[:half], block[half:]]
        self.claims[number : number + 1] = [claims[:half], claims[half:]]
        self.lasts.insert(number, block[half - 1].sequence)

    def find(self, sequence: int) -> tuple[int, int]:
        """In which block a message is, and at which place there; (-1, 0): in none."""
        lasts = self.lasts
        if not lasts:
            return -1, 0
        number = 0 if sequence <= lasts[0] else bisect_left(lasts, sequence)
        if number == len(lasts):
            return -1, 0
        block = self.blocks[number]
        at = 0
        if block[0].sequence != sequence:
            at = bisect_left(block, sequence, key=_sequence_of)
            if at == len(block) or block[at].sequence != sequence:
                return -1, 0
        return number, at

    def take(self, number: int, at: int) -> int:
        """Take a message out that was found; gives its claims."""
        block, claims = self.blocks[number], self.claims[number]
        claimed = claims[at]
        if len(block) == 1:
            del self.blocks[number], self.claims[number], self.lasts[number]
        else:
            del block[at], claims[at]
        return claimed

    def after(self, sequence: int, most: int) -> list[Message]:
        """The first ones behind a sequence."""
        found: list[Message] = []
        for number in range(bisect_left(self.lasts, sequence + 1), len(self.blocks)):
            block = self.blocks[number]
            at = 0
            if block[0].sequence <= sequence:
                at = bisect_left(block, sequence + 1, key=_sequence_of)
            found += block[at : at + most - len(found)]
            if len(found) >= most:
                break
        return found


class OrderedMessages:
    """Messages by priority and sequence.

    Attributes:
        count: how many they are.
    """

    __slots__ = ("_last", "_levels", "count")

    def __init__(self) -> None:
        self.count = 0
        self._last: _Level | None = None  # that was needed last
        self._levels: list[_Level] = []  # highest priority first

    def _level(self, priority: int) -> _Level | None:
        for level in self._levels:
            if level.priority == priority:
                self._last = level
                return level
        return None

    def _level_for(self, priority: int) -> _Level:
        found = self._level(priority)
        if found is None:
            found = _Level(priority)
            self._levels.append(found)
            self._levels.sort(key=_rank)
            self._last = found
        return found

    def add(self, message: Message, claims: int = 0) -> None:
        """Put a message to its place; it must not be there yet."""
        level = self._last
        if level is None or level.priority != message.head.traits.priority:
            level = self._level_for(message.head.traits.priority)
        self.count += 1
        lasts = level.lasts
        if lasts and message.sequence > lasts[-1] and len(level.blocks[-1]) < BLOCK:
            level.blocks[-1].append(message)
            level.claims[-1].append(claims)
            lasts[-1] = message.sequence
        else:
            level.add(message, claims)

    def add_run(self, messages: list[Message], claims: list[int]) -> None:
        """Put messages to their places that are of one priority, in order; keeps the lists."""
        level = self._level_for(messages[0].head.traits.priority)
        if not level.add_run(messages, claims):
            for message, claimed in zip(messages, claims, strict=True):
                level.add(message, claimed)
        self.count += len(messages)

    @property
    def first(self) -> Message | None:
        """The first message; None if there is none."""
        for level in self._levels:
            if level.blocks:
                return level.blocks[0][0]
        return None

    @property
    def newest(self) -> Message | None:
        """The one with the highest sequence; None if there is none."""
        last = [level.blocks[-1][-1] for level in self._levels if level.blocks]
        return max(last, key=_sequence_of, default=None)

    def claim(self, message: Message, more: int) -> int:
        """Count so many more claims on a message; gives how many there are, -1 if it is not there.

        Args:
            message: which.
            more: how many; may be negative.
        """
        level = self._level(message.head.traits.priority)
        if level is None:
            return -1
        number, at = level.find(message.sequence)
        if number < 0:
            return -1
        claims = level.claims[number]
        claimed = claims[at] = claims[at] + more
        return claimed

    def take_block(self) -> list[Message]:
        """Take about a hundred messages out, the first ones; none if there are none."""
        for level in self._levels:
            if level.blocks:
                block = level.blocks.pop(0)
                del level.claims[0], level.lasts[0]
                self.count -= len(block)
                return block
        return []

    def take_all(self, gone: set[int]) -> int:
        """Take many messages out, by what `id` gives; says how many of them had claims."""
        claimed = 0
        for level in self._levels:
            for number in range(len(level.blocks) - 1, -1, -1):
                block, claims = level.blocks[number], level.claims[number]
                staying = [at for at, message in enumerate(block) if id(message) not in gone]
                if len(staying) == len(block):
                    continue
                self.count -= len(block) - len(staying)
                left = [claims[at] for at in staying]
                claimed += sum(map(bool, claims)) - sum(map(bool, left))
                if staying:
                    level.blocks[number] = [block[at] for at in staying]
                    level.claims[number] = left
                else:
                    del level.blocks[number], level.claims[number], level.lasts[number]
        return claimed

    def take(self, message: Message) -> int:
        """Take a message out; gives its claims, -1 if it is not there."""
        level = self._last
        if level is None or level.priority != message.head.traits.priority:
            level = self._level(message.head.traits.priority)
            if level is None:
                return -1
        if level.blocks and (block := level.blocks[0])[0] is message and len(block) > 1:
            self.count -= 1
            del block[0]
            return level.claims[0].pop(0)
        number, at = level.find(message.sequence)
        if number < 0:
            return -1
        self.count -= 1
        return level.take(number, at)

    def after(self, place: Place | None, most: int) -> list[Message]:
        """The first messages behind a place, in order; None = from the beginning."""
        found: list[Message] = []
        for level in self._levels:
            rank = -level.priority
            if place is None or rank > place[0]:
                found += level.after(-1, most - len(found))
            elif rank == place[0]:
                found += level.after(place[1], most - len(found))
            if len(found) >= most:
                break
        return found

    @property
    def priorities(self) -> list[int]:
        """The priorities of which there are messages, highest first."""
        return [level.priority for level in self._levels if level.blocks]

    def blocks(self) -> list[list[Message]]:
        """All messages in order, in pieces that are not to be changed."""
        return [block for level in self._levels for block in level.blocks]

    def clear(self) -> None:
        """Forget all of them."""
        self._levels.clear()
        self._last = None
        self.count = 0

    def __iter__(self) -> Iterator[Message]:
        for block in self.blocks():
            yield from block

    def __len__(self) -> int:
        return self.count


def _rank(level: _Level) -> int:
    return -level.priority
