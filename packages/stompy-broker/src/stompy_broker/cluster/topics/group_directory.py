"""What there is in groups that other brokers own, as their owners have told.

So every broker knows all durable subscriptions, and whoever publishes to a topic publishes to all
their backlogs, wherever those are. What is known of a group stays while nobody owns it.

A group is *fresh* here while there is a link to its owner, over which the owner has told what
there is, and would tell what changes. While one is not, there may be a durable subscription that
is not known here, and what is persistent and for a topic waits (`OtherBrokers.when_fresh`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from stompy_broker.cluster.link.link import Link
from stompy_broker.cluster.topics.owned_directory import Waiter, is_key_of_queue, key_of_queue
from stompy_broker.cluster.topics.topic_codec import (
    Contents,
    ContentsKnown,
    ContentsKnownByAll,
    Disowned,
    write,
)
from stompy_broker.routing.durable import DurableSubscription
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.registry import Registry


@dataclass(slots=True)
class _KnownGroup:
    """What is known of one group.

    Attributes:
        group: it.
        durables: its durable subscriptions.
        queues: names of its queues.
        told_at: with which number each durable subscription was told.
        tenure: the one that was heard of last; -1 = of none.
        link: to the owner that has told all of it; None = there is none.
        owner: who owns it, as members say; None = that is not known.
        here: whether this broker owns it.
        superseded: whether somebody has told of a later tenure, and this broker does not know yet
            that its own is over.
        known_by_all: up to which number of this tenure everybody knows everything.
        waiters: who waits for a durable subscription to be known everywhere.
        coming: contents of which a part has come.
    """

    group: QueueGroup
    durables: dict[str, DurableSubscription] = field(default_factory=dict)
    queues: dict[str, None] = field(default_factory=dict)
    told_at: dict[str, int] = field(default_factory=dict)
    tenure: int = -1
    link: Link | None = None
    owner: str | None = None
    here: bool = False
    superseded: bool = False
    known_by_all: int = -1
    waiters: list[Waiter] = field(default_factory=list)
    coming: tuple[Link, list[Contents]] | None = None

    @property
    def is_fresh(self) -> bool:
        """Whether everything is known that there is in it."""
        if self.here:
            return not self.superseded
        return self.link is not None and self.owner in (None, self.link.peer)


class GroupDirectory:
    """What there is in the groups of queues, wherever they are.

    Args:
        registry: is told what there is elsewhere.
        groups: those that several brokers may own, in turn.
        changed: called when a group may have become fresh, or is fresh no longer.
    """

    def __init__(
        self, registry: Registry, groups: Iterable[QueueGroup], changed: Callable[[int], None]
    ) -> None:
        self._registry = registry
        self._changed = changed
        self._groups = {group.number: _KnownGroup(group) for group in groups}

    @property
    def is_complete(self) -> bool:
        """Whether something is known of each group, however old."""
        return all(known.here or known.tenure >= 0 for known in self._groups.values())

    @property
    def is_fresh(self) -> bool:
        """Whether everything is known that there is."""
        return all(known.is_fresh for known in self._groups.values())

    def stale(self, group: int) -> bool:
        """Whether there may be something in a group that is not known here."""
        return not self._groups[group].is_fresh

    def owner_link(self, group: int) -> Link | None:
        """The link to the owner of a group that has told what there is; None if there is none."""
        known = self._groups[group]
        return known.link if known.is_fresh else None

    def has_queue(self, name: str, group: int) -> bool:
        """Whether a group has a queue of that name."""
        return name in self._groups[group].queues

    def queue_names(self) -> Iterator[str]:
        """The names of queues that other brokers have."""
        for known in self._groups.values():
            if not known.here:
                yield from known.queues

    # -- what owners tell -----------------------------------------------------------------------

    def received(self, link: Link, told: Contents) -> None:
        """Take what there is in a group, or what has changed, and say that it is known."""
        known = self._groups.get(told.group)
        if known is None:
            return
        if told.whole:
            known.coming = (link, [])
        if known.coming is not None and known.coming[0] is link:
            parts = known.coming[1]
            parts.append(told)
            if not told.last:
                return
            known.coming = None
            self._take_all(known, link, parts)
        elif known.link is link and known.tenure == told.tenure:
            self._take_changes(known, told)
        if told.last:
            link.send(write(ContentsKnown(told.group, told.tenure, told.number)))

    def _take_all(self, known: _KnownGroup, link: Link, parts: list[Contents]) -> None:
        first = parts[0]
        if first.tenure < known.tenure:
            return  # of an owner that does not know yet that it is none any more
        if first.tenure > known.tenure:
            known.known_by_all = -1
            known.superseded = known.here
        known.tenure, known.link = first.tenure, link
        known.durables = {one.name: one for told in parts for one in told.kept}
        known.told_at = dict.fromkeys(known.durables, first.number)
        self._note_made(known, [name for told in parts for name in told.made], first.number)
        queues = {name: None for told in parts for name in told.made}
        ended = [name for name in known.queues if name not in queues]
        known.queues = queues
        self._apply(known, ended)
        self._changed(known.group.number)

    def _take_changes(self, known: _KnownGroup, told: Contents) -> None:
        for one in told.kept:
            known.durables[one.name] = one
            known.told_at[one.name] = told.number
        for name in told.dropped:
            known.durables.pop(name, None)
            known.told_at.pop(name, None)
        self._note_made(known, told.made, told.number)
        known.queues.update(dict.fromkeys(told.made))
        for name in told.ended:
            known.queues.pop(name, None)
            known.told_at.pop(key_of_queue(name), None)
        if known.here:
            return
        for name in told.dropped:
            self._registry.durable.forget(name)
        for one in told.kept:
            self._registry.durable.know(one)
        self._forget_queues(told.ended)
        self._know_queues(told.made)
        self._go_on(known)

    def _note_made(self, known: _KnownGroup, names: Iterable[str], number: int) -> None:
        """Note queues of virtual topics, which everybody has to know as durable subscriptions."""
        for name in names:
            if self._registry.virtual_queues.appeared(name):
                known.told_at[key_of_queue(name)] = number

    def _apply(self, known: _KnownGroup, ended: Iterable[str] = ()) -> None:
        """Have the registry know the durable subscriptions of a group, and no others of it."""
        if known.here:
            return
        registry = self._registry
        for name, one in list(registry.durable.by_name.items()):
            if name not in known.durables and registry.queues[one.queue].group is known.group:
                registry.durable.forget(name)
        for one in known.durables.values():
            registry.durable.know(one)
        self._forget_queues(ended)
        self._know_queues(known.queues)
        self._go_on(known)

    def _forget_queues(self, names: Iterable[str]) -> None:
        for name in names:
            queue = self._registry.queues.get(name)
            if queue is not None and queue.unused_here:
                self._registry.forget_queue(name)

    def _know_queues(self, names: Iterable[str]) -> None:
        if self._registry.table.patterns is not None:
            for name in names:
                self._registry.know_queue(name)

    def told_known_by_all(self, link: Link, told: ContentsKnownByAll) -> None:
        """Note up to where everybody knows everything of a group."""
        known = self._groups.get(told.group)
        if known is not None and known.link is link and known.tenure == told.tenure:
            known.known_by_all = max(known.known_by_all, told.number)
            self._go_on(known)

    def when_known(self, name: str, group: int, done: Callable[[], None]) -> None:
        """Call ``done`` once nobody publishes who does not know a durable subscription.

        Also for one that has been deleted: nobody gets anything by it.
        """
        known = self._groups[group]
        known.waiters.append(Waiter(name, done))
        self._go_on(known)

    def _go_on(self, known: _KnownGroup) -> None:
        """Call those whose durable subscription everybody knows, or that has been deleted."""
        ready = [one for one in known.waiters if _is_known(known, one.name)]
        if ready:
            known.waiters = [one for one in known.waiters if one not in ready]
            for waiter in ready:
                waiter.go_on()

    # -- owners and links -----------------------------------------------------------------------

    def owned(self, group: int, tenure: int) -> list[Waiter]:
        """Note that this broker owns a group.

        Returns:
            Who waits for a durable subscription in it to be known everywhere.
        """
        known = self._groups[group]
        known.here, known.tenure, known.link, known.coming = True, tenure, None, None
        known.superseded = False
        waiters, known.waiters = known.waiters, []
        self._changed(group)
        return waiters

    def disowned(
        self, group: int, durables: dict[str, DurableSubscription], waiters: list[Waiter]
    ) -> None:
        """Note that this broker does not own a group any more.

        Args:
            group: which.
            durables: what was in it, as far as it is safe. Only that will be there.
            waiters: who waits for some of that to be known everywhere.
        """
        known = self._groups[group]
        known.here, known.superseded, known.known_by_all = False, False, -1
        if known.link is None:  # or the next owner has told already
            known.durables, known.told_at = durables, dict.fromkeys(durables, 0)
        known.waiters += waiters
        self._apply(known)
        self._changed(group)

    def owner_changed(self, group: int, owner: str) -> None:
        """Note who owns a group, as members say; empty = nobody does."""
        known = self._groups[group]
        known.owner = owner
        self._go_on(known)
        self._changed(group)

    def told_disowned(self, link: Link, told: Disowned) -> None:
        """Note that an owner has given a group up."""
        known = self._groups.get(told.group)
        if known is not None and known.link is link and known.tenure == told.tenure:
            known.link = None
            self._changed(told.group)

    def lost(self, link: Link) -> None:
        """Note that nothing is told over a link any more. What is known stays."""
        for number, known in self._groups.items():
            if known.coming is not None and known.coming[0] is link:
                known.coming = None
            if known.link is link:
                known.link = None
                self._changed(number)


def _is_known(known: _KnownGroup, name: str) -> bool:
    """Whether everybody knows something of a group, or it has been deleted.

    A queue that was not told yet will be.
    """
    told_at = known.told_at.get(name)
    if told_at is None:
        return known.is_fresh and not is_key_of_queue(name)
    return told_at <= known.known_by_all
