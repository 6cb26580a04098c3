"""What is in the groups that this broker owns, and which others know that.

Every broker that has opened a link to this one is told: everything when the link is new or the
tenure is, then what has changed. A durable subscription is told when it is safe.

**A new durable subscription has its receipt when nobody publishes who does not know it.** Who has
a link to this broker says that it knows. Who has none, because the link broke or was not made yet,
may still publish by what it knew: until it finds that it has no link to the owner, and lets what
is persistent wait (`stompy_broker.cluster.topics.group_directory`). That takes a silence at the
most, since the link broke at this end. So for that long the receipt waits for it, and no longer:
it may be dead. The same holds for who has no link when a group comes here: it may go by what the
owner before has told, until it hears that there is another one, or that it cannot hear anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from stompy_broker.cluster.link.link import Link
from stompy_broker.cluster.topics.acknowledgements import Acknowledgements
from stompy_broker.cluster.topics.topic_codec import (
    Contents,
    ContentsKnown,
    ContentsKnownByAll,
    Disowned,
    write,
)
from stompy_broker.routing.answers import nobody_asks
from stompy_broker.routing.durable import DurableSubscription
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.registry import Registry
from stompy_broker.timers import Clock, Timer

_OF_QUEUE = "\n"
"""What no name begins with."""

_AT_ONCE = 500
"""Names in one message, of each kind."""


def key_of_queue(name: str) -> str:
    """What a queue of a virtual topic is called among the names of durable subscriptions."""
    return _OF_QUEUE + name


def is_key_of_queue(key: str) -> bool:
    """Whether it is what a queue of a virtual topic is called there."""
    return key.startswith(_OF_QUEUE)


@dataclass(slots=True)
class Waiter:
    """Somebody who waits until a durable subscription is known everywhere.

    Attributes:
        name: of the subscription; or what `key_of_queue` gives.
        done: what to call.
        over: whether it was called, or somebody else will.
    """

    name: str
    done: Callable[[], None]
    over: bool = False

    def go_on(self) -> None:
        """Call it, but only once."""
        if not self.over:
            self.over = True
            self.done()


@dataclass(slots=True)
class _OwnedGroup:
    group: QueueGroup
    tenure: int
    durables: dict[str, DurableSubscription]  # as they were told
    queues: dict[str, None]
    number: int = 0
    durables_number: int = 0  # of the last change that has to do with durable subscriptions
    known_by_all: int = -1  # up to where everybody knows everything
    unsafe: dict[str, int] = field(default_factory=dict)  # how often each is changing
    changed: dict[str, None] = field(default_factory=dict)  # durable subscriptions to tell of
    changed_queues: dict[str, None] = field(default_factory=dict)
    # Who waits until one of them was told: what to call then, or if the group goes before.
    untold: list[tuple[str, Callable[[], None], Callable[[], None]]] = field(default_factory=list)
    waiters: list[Waiter] = field(default_factory=list)
    known: Acknowledgements[str] = field(default_factory=Acknowledgements)


class OwnedDirectory:
    """The groups of this broker, as others are told of them.

    Args:
        registry: knows what is in them.
        soon: calls a function at the end of this turn of the event loop.
        clock: rings when a broker was silent for so long that it does not count.
        silence: seconds after which it does not.
    """

    def __init__(
        self,
        registry: Registry,
        soon: Callable[[Callable[[], None]], object],
        clock: Clock,
        silence: float,
    ) -> None:
        self._registry = registry
        self._soon = soon
        self._clock = clock
        self._silence = silence
        self._groups: dict[int, _OwnedGroup] = {}
        # Who counts: those that have a link to this broker, and those that may do without.
        self._links: dict[str, Link] = {}
        self._unlinked: dict[str, Timer] = {}
        self._members: set[str] = set()

    def __contains__(self, group: int) -> bool:
        """Whether it is here."""
        return group in self._groups

    # -- whose groups are whose ------------------------------------------------------------------

    def owned(self, group: QueueGroup, tenure: int) -> None:
        """Tell everybody what is in a group that has come here.

        Args:
            group: it.
            tenure: the number of this one.
        """
        every, queues = self._registry.durable.by_name, self._registry.queues
        durables = {name: one for name, one in every.items() if queues[one.queue].group is group}
        names = [name for name, one in queues.items() if one.group is group and not one.durable]
        owned = _OwnedGroup(group, tenure, durables, dict.fromkeys(names))
        self._groups[group.number] = owned
        # Who has no link may go by what the owner before has told, until it hears of this one.
        for peer in self._members | self._unlinked.keys():
            if peer not in self._links:
                self._count_for_a_while(peer)
        for peer in (*self._links, *self._unlinked):
            owned.known.add(peer)
        for link in self._links.values():
            self._tell_all(link, owned)
        self._note_known_by_all(owned)

    def disowned(self, group: int) -> tuple[dict[str, DurableSubscription], list[Waiter]]:
        """Tell everybody that a group is not here any more.

        Returns:
            Its durable subscriptions, as far as they are safe, and who waits for some to be known.
        """
        self._tell_changes(self._groups[group])  # what is safe is in the log
        owned = self._groups.pop(group)
        for link in self._links.values():
            link.send(write(Disowned(group, owned.tenure)))
        untold, owned.untold = owned.untold, []
        for _, _, gone in untold:
            gone()
        return owned.durables, [one for one in owned.waiters if not one.over]

    # -- what changes ---------------------------------------------------------------------------

    def durable_changed(self, name: str, group: int) -> None:
        """Tell of a durable subscription that was kept or deleted, once that is safe."""
        owned = self._groups.get(group)
        if owned is None:
            return
        owned.unsafe[name] = owned.unsafe.get(name, 0) + 1
        owned.group.sync(partial(self._safe, owned, name))

    def _safe(self, owned: _OwnedGroup, name: str) -> None:
        self._will_tell(owned)
        owned.changed[name] = None
        owned.unsafe[name] -= 1
        if not owned.unsafe[name]:
            del owned.unsafe[name]

    def queue_changed(self, name: str, group: int) -> None:
        """Tell of a queue that was made or has ended."""
        owned = self._groups.get(group)
        if owned is not None:
            self._will_tell(owned)
            owned.changed_queues[name] = None

    def _will_tell(self, owned: _OwnedGroup) -> None:
        if not (owned.changed or owned.changed_queues):
            self._soon(partial(self._tell_changes, owned))

    def _tell_changes(self, owned: _OwnedGroup) -> None:
        if self._groups.get(owned.group.number) is not owned:
            return
        changed, owned.changed = owned.changed, {}
        changed_queues, owned.changed_queues = owned.changed_queues, {}
        now, queues = self._registry.durable.by_name, self._registry.queues
        kept = {
            name: now[name]
            for name in changed
            if name in now and owned.durables.get(name) != now[name]
        }
        dropped = [name for name in changed if name not in now and name in owned.durables]
        made = [name for name in changed_queues if name in queues and name not in owned.queues]
        ended = [name for name in changed_queues if name not in queues and name in owned.queues]
        owned.durables.update(kept)
        owned.queues.update(dict.fromkeys(made))
        for name in dropped:
            del owned.durables[name]
        for name in ended:
            del owned.queues[name]
        if kept or dropped or made or ended:
            owned.number += 1
            if kept or dropped or any(self._registry.virtual_queues.covers(one) for one in made):
                owned.durables_number = owned.number
            for link in self._links.values():
                self._send(link, owned, list(kept.values()), dropped, made, ended)
        untold, owned.untold = owned.untold, []
        for name, done, gone in untold:
            self.when_told(name, owned.group.number, done, gone)
        self._note_known_by_all(owned)

    def _tell_all(self, link: Link, owned: _OwnedGroup) -> None:
        durables, queues = list(owned.durables.values()), list(owned.queues)
        self._send(link, owned, durables, [], queues, [], whole=True)

    def _send(
        self,
        link: Link,
        owned: _OwnedGroup,
        kept: list[DurableSubscription],
        dropped: list[str],
        made: list[str],
        ended: list[str],
        *,
        whole: bool = False,
    ) -> None:
        longest = max(len(kept), len(dropped), len(made), len(ended))
        steps = max(1, -(-longest // _AT_ONCE))
        for step in range(steps):
            piece = slice(step * _AT_ONCE, (step + 1) * _AT_ONCE)
            told = Contents(
                owned.group.number,
                owned.tenure,
                owned.number,
                whole and step == 0,
                step == steps - 1,
                tuple(kept[piece]),
                tuple(dropped[piece]),
                tuple(made[piece]),
                tuple(ended[piece]),
            )
            link.send(write(told))

    # -- who knows it -----------------------------------------------------------------------------

    def when_told(
        self, name: str, group: int, done: Callable[[], None], gone: Callable[[], None]
    ) -> None:
        """Call ``done`` once what became of a durable subscription is safe, and on all links.

        Args:
            name: of the subscription.
            group: its group.
            done: what to call.
            gone: what to call instead if the group goes elsewhere before.
        """
        owned = self._groups.get(group)
        if owned is None:
            gone()
        elif name in owned.unsafe or name in owned.changed or name[1:] in owned.changed_queues:
            owned.untold.append((name, done, gone))
        else:
            done()

    def when_known(self, name: str, group: int, done: Callable[[], None]) -> None:
        """Call ``done`` once nobody publishes who does not know a durable subscription."""
        owned = self._groups[group]
        waiter = Waiter(name, done)
        owned.waiters = [one for one in owned.waiters if not one.over]
        owned.waiters.append(waiter)

        def told() -> None:
            owned.known.when(owned.durables_number, waiter.go_on)

        self.when_told(name, group, told, nobody_asks)

    def acknowledged(self, link: Link, known: ContentsKnown) -> None:
        """Note that the other end of a link publishes by what was told of a group."""
        owned = self._groups.get(known.group)
        if owned is None or owned.tenure != known.tenure or self._links.get(link.peer) is not link:
            return
        owned.known.note(link.peer, known.number)
        self._note_known_by_all(owned)

    def _note_known_by_all(self, owned: _OwnedGroup) -> None:
        """Tell others up to where everybody knows everything, for whoever waits there."""
        if owned.known_by_all < owned.durables_number <= owned.known.lowest:
            owned.known_by_all = owned.durables_number
            for link in self._links.values():
                self._tell_known_by_all(link, owned)

    def _tell_known_by_all(self, link: Link, owned: _OwnedGroup) -> None:
        known_by_all = ContentsKnownByAll(owned.group.number, owned.tenure, owned.known_by_all)
        link.send(write(known_by_all))

    # -- links and members ----------------------------------------------------------------------

    def opened(self, link: Link) -> None:
        """Tell everything to who has opened a link to this broker."""
        self._forget_timer(link.peer)
        self._links[link.peer] = link
        for owned in self._groups.values():
            owned.known.add(link.peer)
            self._tell_all(link, owned)
            if owned.known_by_all >= 0:
                self._tell_known_by_all(link, owned)

    def lost(self, link: Link) -> None:
        """Let a broker count for a while longer; it may not have seen that the link is gone."""
        if self._links.get(link.peer) is link:
            del self._links[link.peer]
            self._count_for_a_while(link.peer)

    def members_changed(self, members: Iterable[str]) -> None:
        """Let new members count that have no link yet."""
        before, self._members = self._members, set(members)
        for peer in self._members - before:
            if peer not in self._links and peer not in self._unlinked:
                for owned in self._groups.values():
                    owned.known.add(peer)
                self._count_for_a_while(peer)

    def _count_for_a_while(self, peer: str) -> None:
        self._forget_timer(peer)
        timer = self._unlinked[peer] = self._clock.timer(partial(self._give_up, peer))
        timer.set(self._clock.now() + self._silence)

    def _give_up(self, peer: str) -> None:
        self._forget_timer(peer)
        for owned in list(self._groups.values()):
            owned.known.remove(peer)
            self._note_known_by_all(owned)

    def _forget_timer(self, peer: str) -> None:
        timer = self._unlinked.pop(peer, None)
        if timer is not None:
            timer.end()
