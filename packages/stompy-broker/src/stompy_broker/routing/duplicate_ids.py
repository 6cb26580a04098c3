"""The duplicate ids of one destination: the last ones, and for how long each is known.

**Hot path** of messages that have one, and of no others.

An id takes about a hundred bytes, however long it is: what is kept are 120 bits that are made of
it with a secret of this process, the sequence of its message, and until when it is known. Two ids
are mistaken for one another once in 10**27 messages, with a window of a million.

Ids stand in *generations*, a dictionary each, the newest first. The oldest one shrinks from its
front; the others are full, and so as small as a dictionary can be. What leaves at the front is gone
for good, so the window is exactly as long as its policy says.
"""

from __future__ import annotations

import heapq
from itertools import islice
from typing import Final

from stompy_broker.store.interface import MessageStore

_BITS: Final = 60
_MASK: Final = (1 << _BITS) - 1
_SALT: Final = b"\1"

_UNTIL: Final = 64
_TIME_MASK: Final = (1 << 44) - 1
_SEQUENCE_MASK: Final = (1 << _UNTIL) - 1
_STORED: Final = 1 << 108
_CHECK: Final = 110

_GENERATION: Final = 5461
"""As many as fit into a dictionary of 8,192 places."""

_GENERATIONS: Final = 3
"""In about so many parts a window of very many is divided."""

_AHEAD: Final = 256
"""So many of the oldest are looked up at a time."""

_BULK: Final = 256
"""So many that are known no longer are taken out of a store together."""

MOST: Final = 1_000_000
"""Ids of all destinations, unless the configuration says otherwise."""

_SPARE: Final = 1024
"""So many entries of the order are worth being looked through."""


def _capacity(window: int) -> int:
    """How many ids a generation has in a window of so many: what fills a dictionary."""
    capacity = _GENERATION
    while capacity * _GENERATIONS < window:
        capacity *= 2
    return capacity


class DuplicateTally:
    """How many ids there are of all destinations, and whose are the oldest.

    Attributes:
        kept: how many there are.
        most: how many there may be.
        order: a heap of destinations' ids, by the oldest one of each, or one that is older still.
    """

    __slots__ = ("kept", "most", "order")

    def __init__(self) -> None:
        self.kept, self.most = 0, MOST
        self.order: list[tuple[int, str, DuplicateIds]] = []

    def bound(self) -> None:
        """Have the oldest ids go that are more than there may be."""
        order = self.order
        while self.kept > self.most and order:
            first, destination, ids = order[0]
            oldest = ids.oldest
            if not oldest:
                heapq.heappop(order)
                continue
            if oldest == first:
                ids.drop_oldest()
                oldest = ids.oldest
            heapq.heapreplace(order, (oldest, destination, ids))

    def begun(self, ids: DuplicateIds, sequence: int) -> None:
        """Take note of a destination that has ids again; its oldest one is that of a message."""
        order = self.order
        if len(order) > _SPARE:  # those that had none may stand here several times
            latest = {id(one): (first, name, one) for first, name, one in sorted(order, key=_first)}
            if len(latest) * 2 < len(order):
                order[:] = [entry for entry in latest.values() if len(entry[2])]
                heapq.heapify(order)
        heapq.heappush(order, (sequence, ids.destination, ids))


def _first(entry: tuple[int, str, DuplicateIds]) -> int:
    return -entry[0]


class DuplicateIds:
    """The ids of one destination.

    Args:
        destination: as clients write it.
        window: how many are known.
        ttl: for how many milliseconds, if a message does not say.
        store: where those of messages that survive are kept.
        tally: counts all of the broker.

    Attributes:
        destination: as above.
        window: as above.
        ttl: as above.
        store: as above.
        duplicates: how many messages were dropped because theirs was known.
        shown: what messages are called by clients whose sequence they do not see, by sequence.
        queued: messages with ids that are known as long as those are in the queue, by id.
        known: whether they are those of their destination: not after all of them were forgotten.
        stores: whether the queue stores its messages, if who takes them at once asked that.
    """

    __slots__ = (
        "_ahead",
        "_capacity",
        "_check",
        "_count",
        "_generations",
        "_gone",
        "_key",
        "_tally",
        "_time",
        "_times",
        "_value",
        "destination",
        "duplicates",
        "known",
        "queued",
        "shown",
        "store",
        "stores",
        "ttl",
        "window",
    )

    def __init__(
        self, destination: str, window: int, ttl: int, store: MessageStore, tally: DuplicateTally
    ) -> None:
        self.destination = destination
        self.window, self.ttl = window, ttl
        self.store = store
        self.duplicates = 0
        self.known, self.stores = True, False
        self._time, self._times = 0, 0  # what was the time last, and the bits that it makes
        self.shown: dict[int, int] = {}
        self.queued: dict[bytes, int] = {}
        self._tally = tally
        self._capacity = _capacity(window)
        self._generations: list[dict[int, int]] = [{}]
        self._count = 0
        self._ahead: list[tuple[int, int]] = []  # the oldest ones, the very oldest last
        self._gone: list[int] = []  # what the store is to be told that it can drop
        self._value = b""  # the one that was looked at last
        self._key = self._check = 0

    def __len__(self) -> int:
        return self._count

    def _look_at(self, value: bytes) -> None:
        self._value = value
        self._key = hash(value) & _MASK
        self._check = hash(value + _SALT) & _MASK

    def find(self, value: bytes, now: int) -> int:
        """The sequence of the message that has an id; 0 = none is known.

        Args:
            value: the id.
            now: milliseconds since the epoch.
        """
        if value is not self._value:
            self._look_at(value)
        key = self._key
        for ids in self._generations:
            known = ids.get(key)
            if known is None:
                continue
            if known >> _CHECK != self._check:
                return 0
            if (known >> _UNTIL) & _TIME_MASK > now:
                return known & _SEQUENCE_MASK
            self._forget(ids, key, known)
            return 0
        return 0

    def add(self, value: bytes, sequence: int, until: int, *, stored: bool) -> None:
        """Know an id from now on, which is not known; the oldest goes if there are too many.

        Args:
            value: the id.
            sequence: of its message.
            until: when it is known no longer, in milliseconds since the epoch.
            stored: whether the store has it, too.
        """
        if value is not self._value:
            self._look_at(value)
        key, ids = self._key, self._generations[0]
        if key in ids:  # another id, once in ages
            self._forget(ids, key, ids[key])
        elif len(ids) >= self._capacity:
            ids = {}
            self._generations.insert(0, ids)
        entry = self._check << _CHECK | until << _UNTIL | sequence
        ids[key] = entry | _STORED if stored else entry
        self._count += 1
        self._tally.kept += 1
        if self._count == 1:
            self._tally.begun(self, sequence)
        elif self._count > self.window:
            self.drop_oldest()

    def take(self, value: bytes, sequence: int, now: int, *, persistent: bool) -> bool:
        """Know an id from now on, for as long as the policy says; false: it is known already.

        Args:
            value: the id.
            sequence: of its message.
            now: milliseconds since the epoch.
            persistent: whether the message is to survive, if the queue stores it.
        """
        self._value = value
        self._key = key = hash(value) & _MASK
        self._check = check = hash(value + _SALT) & _MASK
        for ids in self._generations:
            if key in ids:
                if self.find(value, now):
                    return False
                break
        if now != self._time:
            self._time, self._times = now, (now + self.ttl) << _UNTIL
        entry = check << _CHECK | self._times | sequence
        ids = self._generations[0]
        if len(ids) >= self._capacity:
            ids = {}
            self._generations.insert(0, ids)
        tally = self._tally
        if self.stores and persistent:
            ids[key] = entry | _STORED
            self.store.keep_id(self.destination, sequence, value, now + self.ttl, 0)
        else:
            ids[key] = entry
        self._count = count = self._count + 1
        tally.kept += 1
        if count > self.window:
            self.drop_oldest()
        elif count == 1:
            tally.begun(self, sequence)
        if tally.kept > tally.most:
            tally.bound()
        return True

    def keep(self, value: bytes, sequence: int, until: int, shown: int) -> None:
        """The same, and have the store keep it.

        Args:
            value: the id.
            sequence: of its message.
            until: when it is known no longer, in milliseconds since the epoch.
            shown: what clients call the message; 0 = its sequence.
        """
        self.add(value, sequence, until, stored=True)
        self.store.keep_id(self.destination, sequence, value, until, shown)

    def _forget(self, ids: dict[int, int], key: int, known: int) -> None:
        del ids[key]
        self._count -= 1
        self._tally.kept -= 1
        sequence = known & _SEQUENCE_MASK
        if self.shown:
            self.shown.pop(sequence, None)
        if known & _STORED:
            self._gone.append(sequence)
            if len(self._gone) >= _BULK:
                self.tell_store()

    def tell_store(self) -> None:
        """Have the store drop what is known no longer."""
        if self._gone:
            gone, self._gone = self._gone, []
            self.store.drop_ids(gone)

    def forget(self, value: bytes, sequence: int = 0) -> bool:
        """Forget an id, if it is still that of a message; say whether it was.

        Args:
            value: the id.
            sequence: of the message; 0 = of whichever.
        """
        if value is not self._value:
            self._look_at(value)
        for ids in self._generations:
            known = ids.get(self._key)
            if known is not None and known >> _CHECK == self._check:
                if sequence not in (0, known & _SEQUENCE_MASK):
                    return False
                self._forget(ids, self._key, known)
                return True
        return False

    # -- the oldest -------------------------------------------------------------------------

    def _oldest(self) -> int:
        """The entry of the oldest id; 0 = there is none. It stands last in `_ahead` then."""
        generations, ahead = self._generations, self._ahead
        while True:
            oldest = generations[-1]
            while ahead:
                key, known = ahead[-1]
                if oldest.get(key) == known:
                    return known
                ahead.pop()
            if oldest:
                ahead.extend(islice(oldest.items(), _AHEAD))
                ahead.reverse()
            elif len(generations) > 1:
                generations.pop()
            else:
                return 0

    @property
    def oldest(self) -> int:
        """The sequence of the oldest id; 0 = there is none."""
        return self._oldest() & _SEQUENCE_MASK

    def drop_oldest(self) -> None:
        """Forget the oldest id, if there is one."""
        ahead, oldest = self._ahead, self._generations[-1]
        if ahead:
            key, known = ahead.pop()
            if oldest.get(key) == known:
                self._forget(oldest, key, known)
                return
        known = self._oldest()
        if known:
            key, _ = self._ahead.pop()
            self._forget(self._generations[-1], key, known)

    def drop_old(self, now: int, most: int) -> bool:
        """Forget the oldest ids whose time is over; say whether there may be more.

        Args:
            now: milliseconds since the epoch.
            most: so many at most.
        """
        for _ in range(most):
            known = self._oldest()
            if not known or (known >> _UNTIL) & _TIME_MASK > now:
                return False
            key, _ = self._ahead.pop()
            self._forget(self._generations[-1], key, known)
        return True

    def clear(self) -> int:
        """Forget all of them; gives how many there were."""
        count = self._count
        while self._count:
            self.drop_oldest()
        self.tell_store()
        return count

    def leave(self) -> None:
        """Know nothing any more, and tell the store nothing: another broker has them."""
        self._tally.kept -= self._count
        self._count = 0
        self._generations = [{}]
        self._ahead.clear()
        self._gone.clear()
        self.queued.clear()

    def renew(self, window: int, ttl: int) -> None:
        """Go by another window from now on; ids that are known keep their time."""
        self.window, self.ttl = window, ttl
        self._capacity = _capacity(window)
        while self._count > window:
            self.drop_oldest()
