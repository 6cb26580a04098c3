"""Several brokers without sockets and disks: routers, and what they tell each other of topics.

A queue of a group lives at the group's owner; elsewhere a `PlacedStandIn` stands for it, which
carries out there what it is told some turns later. Links are those of `tests.support.links`.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from random import Random
from zlib import crc32

from tests.support.delaying import DelayingQueue, Line
from tests.support.house import WALL, Time
from tests.support.links import LinkEnd, linked

from stompy_broker.cluster.topics.exchange import TopicExchange
from stompy_broker.destinations.policy import Policies, Policy
from stompy_broker.message import Message
from stompy_broker.routing.answers import Done, Refused
from stompy_broker.routing.factory import QueueFactory
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.interface import QueueKind, RestorableQueue
from stompy_broker.routing.queue import LocalQueue
from stompy_broker.routing.router import Router
from stompy_broker.routing.sequences import Sequences
from stompy_broker.routing.services import Services
from stompy_broker.store.base import StoredSubscription
from stompy_broker.store.interface import MessageStore
from stompy_broker.store.memory import MemoryStore

GROUPS = 2
SILENCE = 3.0


class SlowStore(MemoryStore):
    """A store that is safe some turns later; what brokers have in common."""

    def __init__(self, soon: Callable[[Callable[[], None]], object]) -> None:
        super().__init__()
        self._soon = soon

    def sync(self, done: Callable[[], None]) -> None:
        """Call ``done`` at the next turn."""
        self._soon(done)


class AwayStandIn(MemoryStore):
    """The store of a group that is elsewhere: its owner keeps what there is to keep."""

    def keep_subscription(self, subscription: StoredSubscription) -> None:
        """Leave that to the owner."""

    def drop_subscription(self, name: str) -> None:
        """Leave that to the owner."""


class PlacedStandIn(DelayingQueue):
    """A queue that lives at the owner of its group, wherever that is just now."""

    def __init__(self, member: Member, local: LocalQueue, line: Line) -> None:
        self._member = member
        self.local = local
        super().__init__(local, line)

    @property
    def _inner(self) -> RestorableQueue:
        owner = self._member.brokers.owners.get(self.local.group.number)
        if owner is None or owner is self._member or not hasattr(self, "_line"):
            return self.local
        queue = owner.router.queues.get(self.local.name)
        return queue.local if isinstance(queue, PlacedStandIn) else self.local

    @_inner.setter
    def _inner(self, queue: RestorableQueue) -> None:
        """It is found anew each time."""

    @property
    def destination(self) -> str:
        return self.local.destination

    @property
    def name(self) -> str:
        return self.local.name

    @property
    def policy(self) -> Policy:
        return self.local.policy

    @property
    def group(self) -> QueueGroup:
        return self.local.group

    @property
    def sequences(self) -> Sequences:
        return self.local.sequences

    @property
    def private(self) -> bool:
        return self.local.private

    @property
    def durable(self) -> bool:
        return self.local.durable

    @property
    def volatile(self) -> bool:
        return self.local.volatile

    @property
    def unused_here(self) -> bool:
        return self._attached == 0

    def publish(
        self, message: Message, done: Done | None = None, refused: Refused | None = None
    ) -> None:
        self._member.brokers.reached[self.name].append(bytes(message.body or b""))
        super().publish(message, done, refused)


class PlacedFactory(QueueFactory):
    """Makes local queues for single connections, and stand-ins for the rest."""

    home = GROUPS

    def __init__(self, member: Member) -> None:
        self._member = member
        self._made: dict[str, PlacedStandIn] = {}

    def group(
        self, number: int, store: MessageStore, now_ms: int, disk: Watermark, stalled: Watermark
    ) -> QueueGroup:
        """The home group has a number of its own in each broker."""
        if number == GROUPS:
            number = 48 + self._member.number
        return QueueGroup(number, store, now_ms, disk, stalled)

    def group_of(self, name: str) -> int:
        """By the name, without what makes a backlog or a dead-letter queue of it."""
        return crc32(name.removeprefix("durable.").encode()) % GROUPS

    def queue(
        self,
        destination: str,
        name: str,
        policy: Policy,
        kind: QueueKind,
        services: Services,
        group: QueueGroup,
    ) -> RestorableQueue:
        """Make a queue, or give the one that stands there."""
        local = LocalQueue(destination, name, policy, kind, services, group)
        if kind.volatile:
            return local
        queue = self._made.get(name)
        if queue is None or queue.local.policy != policy:
            line = Line(self._member.brokers.soon, self._member.brokers.random)
            queue = self._made[name] = PlacedStandIn(self._member, local, line)
        return queue


class Member:
    """One broker.

    Attributes:
        router: its router.
        exchange: what it tells others, and hears of them.
    """

    def __init__(self, brokers: Brokers, name: str, number: int, *policies: Policy) -> None:
        self.brokers, self.name, self.number = brokers, name, number
        time = brokers.time
        self.router = Router(
            time.clock,
            lambda: WALL + int(time.now * 1000),
            [AwayStandIn() for _ in range(GROUPS + 1)],
            Policies(policies),
            memory_mark=1 << 30,
            idle_queue_seconds=300.0,
            factory=PlacedFactory(self),
        )
        self.exchange = TopicExchange(self.router, brokers.soon, SILENCE)

    def __repr__(self) -> str:
        return self.name


class Brokers:
    """Some brokers, and the links between them.

    Attributes:
        members: by name.
        owners: of the groups; by number.
        links: by front and peer.
        reached: bodies that were given to each queue of a group, by whichever broker.
    """

    def __init__(self, *names: str, seed: int = 0, policies: tuple[Policy, ...] = ()) -> None:
        self.time = Time()
        self.random = Random(seed)
        self.turn: deque[Callable[[], None]] = deque()
        self.soon = self.turn.append
        self.owners: dict[int, Member] = {}
        self.links: dict[tuple[str, str], LinkEnd] = {}
        self.reached: dict[str, list[bytes]] = defaultdict(list)
        self.logs = [SlowStore(self.soon) for _ in range(GROUPS)]
        self.tenure = 0
        self.members = {
            name: Member(self, name, number, *policies) for number, name in enumerate(names)
        }
        for member in self.members.values():
            member.exchange.members_changed([name for name in names if name != member.name])

    def __getitem__(self, name: str) -> Member:
        return self.members[name]

    def link(self, front: str, peer: str) -> LinkEnd:
        """Open a link."""
        link = linked(front, self[front].exchange, peer, self[peer].exchange)
        self.links[front, peer] = link
        return link

    def link_all(self) -> None:
        """Open all links that there are not."""
        for front in self.members:
            for peer in self.members:
                if front != peer and (front, peer) not in self.links:
                    self.link(front, peer)

    def cut(self, front: str, peer: str) -> None:
        """Lose a link."""
        self.links.pop((front, peer)).cut()

    def own(self, group: int, name: str, *, heard: bool = True) -> None:
        """Have a broker own a group, as its log says what is in it.

        Args:
            group: which.
            name: of the broker.
            heard: whether others hear of it.
        """
        member = self[name]
        its = member.router.groups.every[group]
        self.tenure += 1
        self.owners[group] = member
        its.adopt(self.logs[group], WALL + int(self.time.now * 1000), self.tenure)
        member.router.registry.restore_group(its)
        member.exchange.owned(group, self.tenure)
        if heard:
            self.tell_owner(group)

    def tell_owner(self, group: int) -> None:
        """Have all others hear who owns a group."""
        owner = self.owners[group]
        for member in self.members.values():
            if member is not owner:
                member.exchange.owner_changed(group, owner.name)

    def depose(self, group: int) -> None:
        """Have its owner know that it owns a group no more."""
        member = self.owners.pop(group)
        member.router.groups.every[group].adopt(AwayStandIn(), WALL, self.tenure)
        member.exchange.deposed(group)

    def run(self) -> None:
        """Let everything arrive, and all turns of all loops pass."""
        moved = True
        while moved:
            moved = bool(self.turn)
            for _ in range(len(self.turn)):
                self.turn.popleft()()
            for link in list(self.links.values()):
                moved |= bool(link.deliver() + link.other.deliver())

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.time.advance(seconds)
        self.run()


def ready(*names: str, seed: int = 0, policies: tuple[Policy, ...] = ()) -> Brokers:
    """Brokers that are linked, of which the first ones own a group each."""
    brokers = Brokers(*names, seed=seed, policies=policies)
    brokers.link_all()
    for group in range(GROUPS):
        brokers.own(group, names[group % len(names)])
    brokers.run()
    return brokers
