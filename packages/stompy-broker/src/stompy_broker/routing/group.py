"""Queues that belong together: one store, one disk to fill, one order of message-ids.

What is told to the queues of one group within one turn of the event loop is one change in their
store. A broker may have several groups. A full disk makes those wait who send to that group, and
nobody else.

A message-id is one number for all its time: milliseconds since the epoch, a count, and, in its last
bits, the tenure and the number of the group (`Sequences`). So it grows, and is no other broker's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Protocol

from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.sequences import STEP, Sequences
from stompy_broker.store.base import StoreStats
from stompy_broker.store.interface import MessageStore

_GROUP_BITS, _TENURE_BITS, _COUNT_BITS = 6, 4, 10
assert 1 << (_GROUP_BITS + _TENURE_BITS) == STEP

MOST_GROUPS = 1 << _GROUP_BITS
"""QueueGroups whose message-ids cannot be mistaken for each other's."""


def sequences(now_ms: int, last: int = 0, *, group: int = 0, tenure: int = 0) -> Iterator[int]:
    """Numbers for messages: growing, and in no other group and tenure.

    Beginning with the time keeps them growing over restarts, without a file; a million a second
    may be used up before they run ahead of it. Where the clock has been set back, they go on
    behind the last one that is known.

    Args:
        now_ms: milliseconds since the epoch.
        last: no number up to this one is given. Former versions had none but the time and a count.
        group: number of the group.
        tenure: how often the group has changed hands; those of its last owners differ.
    """
    first = max(now_ms << _COUNT_BITS, last // STEP + 1) * STEP
    own = (tenure % (1 << _TENURE_BITS) << _GROUP_BITS) + group % MOST_GROUPS
    return count(first + own, STEP)


class QueueGroup:
    """What several queues have in common.

    Args:
        number: tells its message-ids from those of other groups.
        store: where persistent messages survive.
        now_ms: milliseconds since the epoch.
        disk: disk space in use.
        stalled: full while the store cannot write.
        tenure: how often the group has changed hands.

    Attributes:
        sequences: numbers its messages.
        serving: whether its queues are what everybody uses: not while it comes here.
    """

    __slots__ = ("disk", "number", "sequences", "serving", "stalled", "store", "tenure")

    def __init__(
        self,
        number: int,
        store: MessageStore,
        now_ms: int,
        disk: Watermark,
        stalled: Watermark,
        tenure: int = 0,
    ) -> None:
        self.number = number
        self.serving = True
        self.tenure = tenure
        self.store = store
        self.disk = disk
        self.stalled = stalled
        numbers = sequences(now_ms, store.last_sequence, group=number, tenure=tenure)
        self.sequences = Sequences(next(numbers))

    def sync(self, done: Callable[[], None]) -> None:
        """Call ``done`` once everything told to its queues so far is safe."""
        self.store.sync(done)

    def adopt(self, store: MessageStore, now_ms: int, tenure: int) -> None:
        """Have another store from now on: the group has come here, or has gone elsewhere.

        Queues that were made before keep the store that they had, so they have to be made anew.

        Args:
            store: where persistent messages survive.
            now_ms: milliseconds since the epoch.
            tenure: how often the group has changed hands.
        """
        self.store, self.tenure = store, tenure
        numbers = sequences(now_ms, store.last_sequence, group=self.number, tenure=tenure)
        self.sequences = Sequences(next(numbers))

    @property
    def blocking(self) -> Watermark | None:
        """What makes producers of persistent messages wait; None while there is room."""
        if self.disk.full:
            return self.disk
        return self.stalled if self.stalled.full else None


class Progress(Protocol):
    """How far a store is with what it was told, as `MessageStore` says."""

    @property
    def gathered(self) -> int: ...  # noqa: D102

    def end_of_read(self, before: int) -> bool: ...  # noqa: D102

    def wait(self, go_on: Callable[[], None]) -> None: ...  # noqa: D102

    def forget(self, go_on: Callable[[], None]) -> None: ...  # noqa: D102


class OneChange(Protocol):
    """Makes what several groups are told one change, where their stores can do that."""

    def hindrance(self, groups: list[QueueGroup]) -> str:
        """Why these groups cannot have a change together just now; empty = they can."""
        ...

    def begin(self, groups: list[QueueGroup]) -> None:
        """Have all that these groups are told in this turn become safe together, or never."""
        ...


class QueueGroups:
    """All groups that live in one broker, in the order of their numbers.

    Args:
        every: them; at least one.
        place_of: gives the place in ``every`` of the group of a named queue.
        home: the place of the one whose the queues of single connections are.

    Attributes:
        every: them.
        home: whose the queues of single connections are, which nobody else can have.
        together: makes changes of several groups; None = none of that kind can be made.
    """

    def __init__(
        self, every: list[QueueGroup], place_of: Callable[[str], int], home: int = 0
    ) -> None:
        self.every = every
        self.home = every[home]
        self.together: OneChange | None = None
        self._place_of = place_of

    def of(self, name: str) -> QueueGroup:
        """The group of a named queue."""
        return self.every[self._place_of(name)]

    # -- as one store, for who need not know which ------------------------------------------

    @property
    def durable(self) -> bool:
        """Whether anything that is told outlives the process."""
        return any(group.store.durable for group in self.every)

    @property
    def trouble(self) -> str:
        """Why something cannot be written just now; empty when all is well."""
        return next((group.store.trouble for group in self.every if group.store.trouble), "")

    def move_disk_mark(self, mark: int) -> None:
        """Have another mark for the disks, in bytes; 0 = none."""
        for disk in {group.disk: None for group in self.every}:
            disk.move(mark)

    @property
    def disk_used(self) -> int:
        """Disk space in use, of all."""
        return sum(group.disk.used for group in self.every)

    @property
    def disk_mark(self) -> float:
        """Where producers begin to wait for the disks, of all."""
        return sum(group.disk.high for group in self.every)

    def sync(self, done: Callable[[], None], groups: list[QueueGroup] | None = None) -> None:
        """Call ``done`` once everything told so far is safe.

        Args:
            done: what to call.
            groups: which of them were told; None = all.
        """
        told = self.every if groups is None else groups
        if len(told) == 1:  # as ever, in a broker of one group
            told[0].sync(done)
            return
        left = len(told)

        def part_done() -> None:
            nonlocal left
            left -= 1
            if not left:
                done()

        for group in told:
            group.sync(part_done)

    def stats(self) -> StoreStats:
        """How the stores are doing, together."""
        every = [group.store.stats() for group in self.every]
        if len(every) == 1:
            return every[0]
        return StoreStats(
            trouble=self.trouble,
            bytes=sum(stats.bytes for stats in every),
            free=min(stats.free for stats in every),
            unwritten=sum(stats.unwritten for stats in every),
            commits=sum(stats.commits for stats in every),
            commit_seconds=max(stats.commit_seconds for stats in every),
            damaged=sum(stats.damaged for stats in every),
        )

    @property
    def progress(self) -> Progress:
        """What a session watches while it reads: the only store, or all, which may change."""
        return self.home.store if len(self.every) == 1 else _AllStores(self.every)


class _AllStores:
    """Several stores as one, for a session that may have told any of them something."""

    def __init__(self, groups: list[QueueGroup]) -> None:
        self._groups = groups
        self._before: list[tuple[MessageStore, int]] = []
        self._behind: list[MessageStore] = []

    @property
    def gathered(self) -> int:
        self._before = [(group.store, group.store.gathered) for group in self._groups]
        return sum(count for _, count in self._before)

    def end_of_read(self, before: int) -> bool:
        self._behind = [store for store, count in self._before if store.end_of_read(count)]
        return bool(self._behind)

    def wait(self, go_on: Callable[[], None]) -> None:
        # Whichever takes more first: what is read then is looked at again.
        for store in self._behind:
            store.wait(go_on)

    def forget(self, go_on: Callable[[], None]) -> None:
        for store in self._behind:
            store.forget(go_on)
