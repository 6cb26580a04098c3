"""Changes of several groups that become safe together, or never: one batch with a record for each.

Groups of one owner. What each of their stores was told goes into the record that it is gathering;
those records are then closed in the same moment and appended as one batch, in which each expects
the place of the one before it in its own subject. The servers store all of it or nothing, so a
crash leaves nothing in doubt: who takes over finds the records of all groups, or of none.

* **Nobody begins alone.** A record that is part of it waits until none of the stores has another
  one on its way. A store that waits begins nothing else meanwhile, so that moment comes.
* **What touches becomes one.** Where a record that is gathered has part of two such changes, the
  stores of both are closed together.
* **Together or not at all, also at the end.** If somebody has taken over one of the groups, the
  batch can never be in the log any more, and the queues of the other groups have done a half. Their
  stores end as well, as if they had been taken over: whoever owns their groups next reads what is
  true. That costs a takeover of a group that nobody wanted, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from stompy_broker.cluster.log.log import Answer, Append
from stompy_broker.routing.group import QueueGroup


class JointStore(Protocol):
    """What a change asks of each of its stores.

    Attributes:
        joint: the change that the record is part of that it gathers; None = it is alone.
        fenced: who owns the log now, if not this broker.
    """

    joint: JointCommit | None
    fenced: str

    @property
    def is_sharing(self) -> bool:
        """Whether a record is, or is to be, part of a change of several owners."""
        ...

    @property
    def is_writing(self) -> bool:
        """Whether a record is on its way."""
        ...

    def close_record(self, joint: JointCommit) -> Append:
        """Close the record that is gathered, and give it: it is on its way, with the others."""
        ...

    def answered(self, answer: Answer) -> None:
        """Take what came of it."""
        ...

    def give_up(self, reason: str) -> None:
        """End as if somebody had taken over the log."""
        ...


class JointCommit:
    """One such change.

    Args:
        soon: calls a function at the end of the present turn of the event loop.

    Attributes:
        stores: what takes part; their order is that of the records in the batch.
        wanted: whether somebody waits for it.
        is_broken: whether one of the stores has ended before it was appended.
    """

    def __init__(self, soon: Callable[[Callable[[], None]], object]) -> None:
        self._soon = soon
        self.stores: list[JointStore] = []
        self.wanted = self.is_broken = False
        self._records: list[Append] = []
        self._asked = False

    def add(self, store: JointStore) -> None:
        """Have a store take part, with all that take part with it already."""
        other = store.joint
        if other is self:
            return
        for one in (store,) if other is None else other.stores:
            one.joint = self
            self.stores.append(one)
        if other is not None:
            self.wanted |= other.wanted
            if other.is_broken:
                self.break_up()

    def flush(self) -> None:
        """Close the records and append them, or do that when no other one is on its way."""
        self.wanted = True
        if self.is_broken:
            return
        if not any(store.is_writing for store in self.stores):
            self._records = [store.close_record(self) for store in self.stores]
            self.append()

    def append(self) -> None:
        """Append the batch, or append it again as it is, also if one of the stores has ended."""
        if not self._asked:
            self._asked = True
            self._records[0].log.append_together(self._records, self._answered)

    def _answered(self, answers: Sequence[Answer]) -> None:
        self._asked = False
        for store, answer in zip(self.stores, answers, strict=True):
            store.answered(answer)

    def break_up(self) -> None:
        """End the stores that have not: one of them takes no part, so nothing of it can be."""
        self.is_broken = True
        # Not within the end of the first one: they may all be about to end.
        self._soon(self._give_up)

    def _give_up(self) -> None:
        for store in self.stores:
            store.give_up("nobody, but a change that it had part in can never be whole")


class JointCommits:
    """Makes such changes of groups.

    Args:
        store_of: gives the store of a group; None = another broker owns it.
        soon: calls a function at the end of the present turn of the event loop.
    """

    def __init__(
        self,
        store_of: Callable[[QueueGroup], JointStore | None],
        soon: Callable[[Callable[[], None]], object],
    ) -> None:
        self._store_of = store_of
        self._soon = soon

    def hindrance(self, groups: list[QueueGroup]) -> str:
        """Why these groups cannot have a change together just now; empty = they can."""
        for group in groups:
            store = self._store_of(group)
            if store is None or store.fenced:
                return f"this broker does not own group {group.number}"
            if store.is_sharing:
                # It waits for other groups of that change, and they would wait for this one.
                return f"group {group.number} takes part in a change of several brokers"
        return ""

    def begin(self, groups: list[QueueGroup]) -> None:
        """Have all that these groups are told in this turn become safe together, or never."""
        joint = JointCommit(self._soon)
        for group in groups:
            store = self._store_of(group)
            assert store is not None, "asked before"
            joint.add(store)
