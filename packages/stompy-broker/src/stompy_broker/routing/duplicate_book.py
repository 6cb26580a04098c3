"""The duplicate ids of all destinations of a broker, and how many there may be in all.

They belong to a destination and not to its queue: a queue that nobody used for a while is forgotten
and made again, and what was sent to it is still known.

Beyond the limit the oldest ids go first, whosever they are. While there are any, those whose time
is over are looked for once a minute; while there are none, nothing is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from stompy_broker.destinations.policy import Policy
from stompy_broker.routing.duplicate_ids import DuplicateIds, DuplicateTally
from stompy_broker.store.interface import MessageStore
from stompy_broker.timers import Clock

_LOOK_SECONDS: Final = 60.0
"""How often is looked for ids whose time is over."""

_AT_ONCE: Final = 2000
"""So many of them are forgotten in one go."""

_SOON: Final = 0.01


class DuplicateBook:
    """The ids of all destinations.

    Args:
        clock: for looking now and then.
        wall: gives the time in milliseconds since the epoch.

    Attributes:
        dropped: messages that were dropped because theirs was known, of all destinations.
        simple: those of queues that need not be asked whether they take a message, by name.
    """

    def __init__(self, clock: Clock, wall: Callable[[], int]) -> None:
        self.dropped = 0
        self.simple: dict[str, DuplicateIds] = {}
        self._clock, self._wall = clock, wall
        self._tally = DuplicateTally()
        self._every: dict[str, DuplicateIds] = {}
        self._timer = clock.timer(self._look)

    @property
    def kept(self) -> int:
        """How many ids there are."""
        return self._tally.kept

    @property
    def most(self) -> int:
        """How many there may be."""
        return self._tally.most

    @most.setter
    def most(self, most: int) -> None:
        self._tally.most = most
        self._tally.bound()

    def find(self, destination: str) -> DuplicateIds | None:
        """The ids of a destination, if there are any."""
        return self._every.get(destination)

    def count(self, destination: str) -> int:
        """How many ids of a destination are known."""
        ids = self._every.get(destination)
        return 0 if ids is None else len(ids) + len(ids.queued)

    def of(self, destination: str, policy: Policy, store: MessageStore) -> DuplicateIds:
        """The ids of a destination, from now on.

        Args:
            destination: as clients write it.
            policy: says how many, and for how long.
            store: where those of messages that survive are kept.
        """
        ids = self._every.get(destination)
        if ids is None:
            if not self._every:
                self._timer.set(self._clock.now() + _LOOK_SECONDS)
            ids = self._every[destination] = DuplicateIds(
                destination,
                policy.dedup_window,
                int(policy.dedup_ttl * 1000),
                store,
                self._tally,
            )
        return ids

    def added(self) -> None:
        """An id was added: the oldest goes if there are too many."""
        if self._tally.kept > self._tally.most:
            self._tally.bound()

    def __iter__(self) -> Iterator[DuplicateIds]:
        return iter(list(self._every.values()))

    def restore(self, store: MessageStore, policy_of: Callable[[str], Policy]) -> int:
        """Take back what a store has kept, before anybody asks; gives how many ids that are.

        Args:
            store: it.
            policy_of: gives the policy of a destination.
        """
        now, count = self._wall(), 0
        over: list[int] = []
        for destination, sequence, value, until, shown in store.ids():
            if until <= now:
                over.append(sequence)
                continue
            ids = self._every.get(destination)
            if ids is None:
                ids = self.of(destination, policy_of(destination), store)
            ids.add(value, sequence, until, stored=True)
            if shown:
                ids.shown[sequence] = shown
            self.added()
            count += 1
        if over:
            store.drop_ids(over)
        return count

    def forget_store(self, store: MessageStore) -> None:
        """Know nothing any more of what is kept in a store: another broker has it from now on."""
        for destination, ids in list(self._every.items()):
            if ids.store is store:
                ids.leave()
                ids.known = False
                del self._every[destination]

    def renew(self, policy_of: Callable[[str], Policy]) -> None:
        """Go by the policies as they are now."""
        for destination, ids in self._every.items():
            policy = policy_of(destination)
            ids.renew(policy.dedup_window, int(policy.dedup_ttl * 1000))

    def _look(self) -> None:
        """Forget what is over, a part at a time."""
        now, left, again = self._wall(), _AT_ONCE, False
        for destination, ids in list(self._every.items()):
            before = len(ids)
            again = ids.drop_old(now, left) or again
            left = max(0, left - (before - len(ids)))
            ids.tell_store()
            if not len(ids) and not ids.queued:
                ids.known = False
                del self._every[destination]
        if self._every:
            self._timer.set(self._clock.now() + (_SOON if again else _LOOK_SECONDS))
