"""Brokers of a cluster without sockets and servers: routers, links and logs that a test moves."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from random import Random

from tests.support.house import WALL, Time
from tests.support.links import LinkEnd, linked
from tests.support.logged import MemoryLog

from stompy_broker.cluster.link.link import Link
from stompy_broker.cluster.log.store import LoggedStore, LogListener
from stompy_broker.cluster.log.takeover import take_over
from stompy_broker.cluster.remote.places import ClusterQueueFactory, PlacedGroup, Places
from stompy_broker.cluster.spans.coordinator import Spans
from stompy_broker.cluster.spans.span_messages import SPAN_KINDS
from stompy_broker.destinations.policy import Policies, Policy
from stompy_broker.routing.router import Router
from stompy_broker.store.memory import MemoryStore

GROUP = 0
HOME = 32
"""The group of those of a broker's queues that nobody else can have; one for each broker."""


class Member:
    """One broker: its router, and where its group is.

    Args:
        name: its id.
        process: tells its processes apart.
        cluster: what it is part of.
        policies: of destinations.
    """

    def __init__(
        self, name: str, process: str, cluster: Brokers, policies: tuple[Policy, ...]
    ) -> None:
        self.name = name
        self.cluster = cluster
        self.places = Places(name, process, self._soon)
        self.alive = True
        self.fenced = ""
        self.fenced_groups: set[int] = set()
        self.stores: dict[int, LoggedStore] = {}
        self.time = cluster.time if cluster.one_clock else Time()
        self.router = Router(
            self.time.clock,
            lambda: WALL + int(self.time.now * 1000),
            [MemoryStore() for _ in range(len(cluster.logs) + 1)],
            Policies(policies),
            memory_mark=1 << 30,
            idle_queue_seconds=300.0,
            factory=ClusterQueueFactory(
                self.places, cluster.group_of, len(cluster.logs), HOME + len(cluster.members)
            ),
        )
        self.places.bind(self.router)
        self.spans = Spans(self.places, cluster.logs.__getitem__)

    @property
    def group(self) -> PlacedGroup:
        """The group, as it sees it."""
        return self.places.groups[GROUP]

    def _soon(self, action: Callable[[], None]) -> None:
        self.cluster.soon(lambda: action() if self.alive else None)

    def own(self, *others: str, group: int = GROUP) -> LoggedStore:
        """Take a log over and serve."""
        tenure = asyncio.run(take_over(self.cluster.logs[group], self.name))
        self.stores[group] = store = LoggedStore(
            tenure,
            self.time.clock,
            self._soon,
            LogListener(self.router.on_disk, fenced=partial(self._fence, group)),
        )
        self.fenced_groups.discard(group)
        self.places.here(group, tenure.number, store, set(others))
        return store

    def _fence(self, group: int, reason: str) -> None:
        self.fenced = reason
        self.fenced_groups.add(group)

    def opened(self, link: Link) -> None:
        """Use a new link."""
        self.places.opened(link)
        self.spans.opened(link)

    def received(self, link: Link, message: bytes) -> None:
        """Pass on what came."""
        if message[0] in SPAN_KINDS:
            self.spans.received(link, message)
        else:
            self.places.received(link, message)

    def lost(self, link: Link, reason: str) -> None:
        """Go on without a link."""
        self.places.lost(link, reason)
        self.spans.lost(link, reason)

    def die(self) -> None:
        """Do nothing any more, from one moment to the next."""
        self.alive = False
        for store in self.stores.values():
            store.close()
        for end in self.cluster.links_of(self):
            end.cut("died")


class Brokers:
    """Several brokers, one log, and links that a test moves.

    Attributes:
        time: the clock of all.
        turns: what is due in the next turns.
        logs: of the groups.
        links: the ends of the fronts.
    """

    def __init__(
        self, *policies: Policy, seed: int = 1, one_clock: bool = True, groups: int = 1
    ) -> None:
        self.one_clock = one_clock
        self.time = Time()
        self.turns: deque[Callable[[], None]] = deque()
        self.logs = [MemoryLog(self.turns.append) for _ in range(groups)]
        self.links: list[LinkEnd] = []
        self.members: dict[str, Member] = {}
        self.random = Random(seed)
        self._policies = policies

    def group_of(self, name: str) -> int:
        """The group of a queue: the digit at the end of its name says which."""
        return int(name[-1]) if len(self.logs) > 1 else GROUP

    def soon(self, action: Callable[[], None]) -> None:
        """Do something in the next turn."""
        self.turns.append(action)

    def join(self, name: str, process: str = "1") -> Member:
        """Start a broker, with links to and from all others."""
        member = Member(name, process, self, self._policies)
        self.members[name] = member
        for other in self.members.values():
            if other is not member and other.alive:
                self.link(member, other)
                self.link(other, member)
        return member

    def link(self, front: Member, peer: Member) -> LinkEnd:
        """Open a link."""
        end = linked(front.name, front, peer.name, peer)
        self.links.append(end)
        return end

    def links_of(self, member: Member) -> list[LinkEnd]:
        """The links to and from a broker that are open."""
        mine = [end for end in self.links if member.name in (end.peer, end.other.peer)]
        return [end for end in mine if not end._over]

    def advance(self, seconds: float) -> None:
        """Let time pass for all who are alive."""
        for member in self.members.values():
            if member.alive:
                member.time.advance(seconds)

    def turn(self) -> bool:
        """Let one turn pass, or something arrive; false: nothing is due."""
        if self.turns and (self.random.random() < 0.7 or not self._arrive()):
            self.turns.popleft()()
            return True
        return bool(self.turns) or self._arrive()

    def _arrive(self) -> bool:
        self.links = [end for end in self.links if not end._over]
        ends = [half for end in self.links for half in (end, end.other) if half.sent]
        if not ends:
            return False
        end = self.random.choice(ends)
        message = end.sent.popleft()
        end.other._listener.received(end.other, message)
        return True

    def settle_down(self) -> None:
        """Let turns pass until nothing is due."""
        while self.turn():
            pass
