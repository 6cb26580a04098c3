"""Where the groups of queues are, as one broker sees it, and what happens when they move.

The rest of the broker says who owns which group, and passes links on to `Places`. Each group is in
one of three places: here, at another broker, or nowhere, as long as nobody owns it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from weakref import WeakValueDictionary

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.cluster.link.link import Link
from stompy_broker.cluster.log.joint_commit import JointCommits
from stompy_broker.cluster.log.store import LoggedStore
from stompy_broker.cluster.remote.away_store import AwayStore
from stompy_broker.cluster.remote.events import write_not_owner, write_owned
from stompy_broker.cluster.remote.front import Front
from stompy_broker.cluster.remote.guests import Guests, OwnedQueues
from stompy_broker.cluster.remote.placed_queue import PlacedQueue
from stompy_broker.cluster.remote.tables import (
    BATCH,
    EVENTS,
    NOT_OWNER,
    OWNED,
    VISIT,
    WELCOME,
    VerbError,
    opening,
)
from stompy_broker.cluster.remote.verbs import ControlVerb
from stompy_broker.destinations.names import BACKLOG
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message
from stompy_broker.routing.factory import QueueFactory
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.interface import (
    Close,
    Configure,
    Outcome,
    QueueIdentity,
    QueueKind,
    RestorableQueue,
)
from stompy_broker.routing.recovery import take_back
from stompy_broker.routing.router import Router
from stompy_broker.routing.sequences import STEP
from stompy_broker.routing.services import Services
from stompy_broker.store.interface import MessageStore
from stompy_broker.timers import Timer

log = logging.getLogger("stompy_broker.cluster")

PATIENCE_SECONDS = 2.0
"""A group that nobody owns for longer makes its senders wait, or refuses them."""

Soon = Callable[[Callable[[], None]], object]


class PlacedGroup(QueueGroup):
    """A group of queues that some broker owns.

    Attributes:
        front: tells the owner, while that is another broker.
        queues: its queues, by name.
        guests: other brokers that tell us; None = it is not here.
        logged: its store while it is here.
        owner: who has it, as far as it is known; empty = nobody.
    """

    __slots__ = ("front", "guests", "logged", "owner", "queues")

    front: Front
    queues: WeakValueDictionary[str, PlacedQueue]
    guests: Guests | None
    logged: LoggedStore | None
    owner: str


class _Loopback:
    """A link to ourselves: what was told while the group was elsewhere is told to our own guests.

    Args:
        broker: our id.
        group: which came here.
        soon: calls a function at the end of the present turn of the event loop.
    """

    outgoing = True
    address = "here"
    instance = ""
    facts: Mapping[str, str] = {}
    unsent = 0

    def __init__(self, broker: str, group: PlacedGroup, soon: Soon) -> None:
        self.peer = broker
        self._group = group
        self._soon = soon
        self._told: list[bytes] = []
        self._delivered = False

    def send(self, message: bytes | Sequence[bytes]) -> None:
        """Keep what goes to the owner for `deliver`, and pass on what comes from it, soon."""
        whole = message if isinstance(message, bytes) else b"".join(message)
        if whole[0] in (VISIT, BATCH):
            self._told.append(whole)
            if self._delivered:
                self._soon(self.deliver)
        else:
            self._soon(partial(_pass_to_front, self._group.front, self, whole))

    def deliver(self) -> None:
        """Have the guests take everything, at once."""
        self._delivered = True
        told, self._told = self._told, []
        guests = self._group.guests
        for message in told:
            kind, _, visit = opening(message)
            if guests is not None:
                guests.received(self, kind, visit, message)

    def close(self, reason: str) -> None:
        """Nothing to end."""


class _AwaitedHere:
    """A message that a consumer here has, and whose batch is perhaps told again."""

    def __init__(self, queue: PlacedQueue, sequence: int) -> None:
        self.sequence = sequence
        self._queue = queue

    def take(self, queue: RestorableQueue, message: Message) -> None:
        """The message came again."""
        self._queue.take_again(self.sequence, message)


class Places:
    """Where the groups of queues are. It listens to links, for messages of the kinds 1 to 63.

    Args:
        broker: the id of this broker.
        process: tells its processes apart.
        soon: calls a function at the end of the present turn of the event loop.
    """

    def __init__(self, broker: str, process: str, soon: Soon) -> None:
        self.broker = broker
        self.front_name = f"{broker}/{process}"
        self.soon = soon
        self.groups: list[PlacedGroup] = []
        self._router: Router | None = None
        self._links: dict[str, Link] = {}  # to owners, by their ids
        self._incoming: dict[Link, None] = {}
        self._patience: Timer | None = None
        # Groups that nobody serves, and until when that is fine.
        self._missing: dict[int, float] = {}

    def bind(self, router: Router) -> None:
        """Work for a router, which was made with a `ClusterQueueFactory`."""
        self._router = router
        for group in self.groups:
            group.front = Front(group.number, self.front_name, router, self.soon)
            group.store = AwayStore(group.front)
        router.groups.together = JointCommits(_joint_store, self.soon)
        self._patience = router.clock.timer(self._lose_patience)

    @property
    def router(self) -> Router:
        """The router of the broker."""
        assert self._router is not None, "bind comes first"
        return self._router

    # -- who owns what ----------------------------------------------------------------------

    def here(self, number: int, tenure: int, store: LoggedStore, fronts: set[str]) -> int:
        """This broker owns a group from now on.

        Args:
            number: of the group.
            tenure: which tenure has begun.
            store: its log.
            fronts: the other brokers that are alive, which may have something to tell.

        Returns:
            How many messages were restored.

        Raises:
            StoreError: the store is damaged.
        """
        group, router = self.groups[number], self.router
        self._end_visit(group)
        group.owner, group.logged = self.broker, store
        group.adopt(store, router.wall(), tenure)
        held: dict[int, list[Message]] = {}
        restored = router.registry.restore_group(group, held)
        queues = OwnedQueues(
            partial(self._find, group),
            partial(self._control, group),
            partial(_settle_here, group),
        )
        serve = partial(self._serve, group, held)
        for placed in list(group.queues.values()):
            if placed.local is None:
                placed.come(self._make_local(placed))
        group.guests = Guests(
            group, tenure, store, router, self.soon, queues, serve, fronts - {self.broker}
        )
        for link in self._incoming:
            link.send(write_owned(number))
        return restored

    def at(self, number: int, owner: str) -> None:
        """Another broker owns a group from now on."""
        group = self.groups[number]
        if group.guests is not None:
            self._go_away(group)
        elif owner and owner == group.owner and group.front.visiting is not None:
            return
        self._end_visit(group)
        group.owner = owner
        link = self._links.get(owner)
        if link is not None:
            self._visit(group, link)

    def nowhere(self, number: int) -> None:
        """Nobody owns a group."""
        self.at(number, "")

    def owner_changed(self, number: int, owner: str) -> None:
        """Somebody else owns a group from now on, or nobody (empty)."""
        if owner != self.broker:
            self.at(number, owner)

    def deposed(self, number: int) -> None:
        """This broker does not own a group any more, and what was not safe never will be."""
        group = self.groups[number]
        guests, store = group.guests, group.logged
        self.nowhere(number)
        if store is not None:
            store.close()
        if guests is not None:
            self._dismiss(group, guests)

    def leave(self, number: int, done: Callable[[], None]) -> None:
        """Give a group up in good order: take nothing more, make all safe, then call ``done``."""
        group = self.groups[number]
        guests, store = group.guests, group.logged
        self.nowhere(number)
        if store is None:
            done()
            return

        def left() -> None:
            store.close()
            if guests is not None:
                # What became safe by the last record is told first.
                guests.tell()
                self._dismiss(group, guests)
            done()

        store.leave(left)

    def forget(self, broker: str) -> None:
        """A broker says nothing any more: wait for it no more."""
        for group in self.groups:
            if group.guests is not None:
                group.guests.forget(broker)

    def _dismiss(self, group: PlacedGroup, guests: Guests) -> None:
        for guest in guests.every:
            if guest.link is not None:
                guest.link.send(write_not_owner(group.number, guest.visit))

    # -- links ------------------------------------------------------------------------------

    def link_to(self, owner: str) -> Link | None:
        """The link to a broker, if there is one."""
        return self._links.get(owner)

    def opened(self, link: Link) -> None:
        """Tell the owner at the other end what waits for it."""
        if not link.outgoing:
            self._incoming[link] = None
            return
        self._links[link.peer] = link
        for group in self.groups:
            if group.owner == link.peer:
                self._visit(group, link)

    def received(self, link: Link, message: bytes) -> None:
        """Take a message of a front or of an owner."""
        try:
            self._received(link, message)
        except VerbError as error:
            log.exception("%s: what came makes no sense", link.peer)
            link.close(str(error))

    def _received(self, link: Link, message: bytes) -> None:
        kind, number, visit = opening(message)
        if number >= len(self.groups):
            raise VerbError(f"there is no group {number}")
        group = self.groups[number]
        if kind in (VISIT, BATCH):
            if group.guests is None:
                if kind == VISIT:
                    link.send(write_not_owner(number, visit))
            else:
                group.guests.received(link, kind, visit, message)
        elif kind == OWNED:
            if group.owner == link.peer and group.guests is None:
                self._visit(group, link)
        elif group.front.visiting is link:
            _pass_to_front(group.front, link, message)

    def lost(self, link: Link, reason: str) -> None:
        """Keep what is told to an owner; wait a little for a front."""
        if not link.outgoing:
            self._incoming.pop(link, None)
            for group in self.groups:
                if group.guests is not None:
                    group.guests.lost(link)
            return
        if self._links.get(link.peer) is link:
            del self._links[link.peer]
        for group in self.groups:
            if group.front.visiting is link:
                self._end_visit(group)

    def _visit(self, group: PlacedGroup, link: Link) -> None:
        group.front.visit(link)
        self._found(group)

    def _end_visit(self, group: PlacedGroup) -> None:
        group.front.nowhere()
        self._missing.setdefault(group.number, self.router.clock.now() + PATIENCE_SECONDS)
        self._set_patience()

    def _found(self, group: PlacedGroup) -> None:
        self._missing.pop(group.number, None)
        if group.stalled.full:
            group.stalled.went_under()

    def _lose_patience(self) -> None:
        now = self.router.clock.now()
        for number, until in list(self._missing.items()):
            if until <= now:
                del self._missing[number]
                log.warning("group %d: nobody serves it", number)
                self.groups[number].stalled.went_over()
        self._set_patience()

    def _set_patience(self) -> None:
        if self._patience is not None:
            self._patience.set(min(self._missing.values(), default=None))

    # -- a group that comes -----------------------------------------------------------------

    def _make_local(self, placed: PlacedQueue) -> RestorableQueue:
        return QueueFactory().queue(
            placed.destination, placed.name, placed.policy, placed.kind, self.router, placed.group
        )

    def _find(self, group: PlacedGroup, name: str) -> RestorableQueue | None:
        registry = self.router.registry
        found = registry.queues.get(name)
        if found is None:
            if name.startswith(BACKLOG):
                return None
            found = registry.queue(name, capped=False)
        if isinstance(found, PlacedQueue) and found.group is group:
            return found.local
        return None

    def _control(
        self, group: PlacedGroup, verb: ControlVerb, done: Callable[[Outcome], None]
    ) -> None:
        registry, order, name = self.router.registry, verb.order, verb.queue
        found = registry.queues.get(name)
        if found is None:
            if not isinstance(order, Configure) or name.startswith(BACKLOG):
                done(0)
                return
            found = registry.queue(name, order.settings.arguments, capped=False)
        elif isinstance(order, Configure) and order.first:
            with suppress(ProtocolError):  # who asks is not there to be told
                registry.arguments.check(found, order.settings.arguments)
            done(0)
            return
        if isinstance(order, Close) and found.durable:
            words = f"{found.destination} belongs to a durable subscription"
            done(ProtocolError(ErrorCode.SUBSCRIPTION_IN_USE, words))
        elif isinstance(order, Close):
            reason = "at another broker"
            registry.arguments.remember(found)
            registry.delete_queue(found, reason, "", done, unused=order.unused)
        else:
            found.control(order, done)

    def _serve(self, group: PlacedGroup, held: dict[int, list[Message]]) -> None:
        """All fronts have told what they have: have our own tell it, and let everybody use it."""
        guests, front, store = group.guests, group.front, group.logged
        assert guests is not None
        assert store is not None
        adopted = {sequence for guest in guests.every for sequence in guest.holdings.held}
        leaving = front.let_go()
        waiting = [one.consumer for one in leaving if one.consumer.waiting]
        for one in leaving:
            placed = group.queues.get(one.queue.name)
            if placed is None:
                continue
            unknown = placed.take_in(one)
            adopted.update(message.sequence for message in one.consumer.holds())
            self._await(guests, front, placed, unknown)
        loop = _Loopback(self.broker, group, self.soon)
        front.visit(loop)
        adopted.update(*front.loose().values())
        for messages in held.values():
            left = [message for message in messages if message.sequence not in adopted]
            if left:
                take_back(store, left)
        loop.deliver()
        group.serving = True
        self._found(group)
        for placed in list(group.queues.values()):
            placed.serve()
        for one in leaving:
            placed = group.queues.get(one.queue.name)
            if placed is not None and one.consumer in waiting:
                placed.resume(one.consumer)

    def _await(
        self, guests: Guests, front: Front, placed: PlacedQueue, unknown: list[Message]
    ) -> None:
        sequences = sorted(message.sequence for message in unknown)
        for origin in front.origins_of(sequences):
            for sequence in sequences:
                if origin.first <= sequence < origin.first + origin.length * STEP:
                    index = origin.start + (sequence - origin.first) // STEP
                    guests.awaited[origin.front, origin.batch, index] = _AwaitedHere(
                        placed, sequence
                    )

    # -- a group that goes ------------------------------------------------------------------

    def _go_away(self, group: PlacedGroup) -> None:
        guests, group.guests, group.serving = group.guests, None, False
        assert guests is not None
        guests.close()
        group.logged = None
        # What consumers here have may come again at the next owner, from where it came.
        group.front.learn(guests.unsafe)
        with_guests = guests.let_go()
        lost = 0
        for placed in list(group.queues.values()):
            if placed.local is not None:
                lost += placed.leave(with_guests.get(placed.local, ()))
        self.router.duplicates.forget_store(group.store)
        group.adopt(AwayStore(group.front), self.router.wall(), group.tenure)
        if lost:
            log.warning(
                "group %d moves: %d messages that no store has are lost", group.number, lost
            )


def _joint_store(group: QueueGroup) -> LoggedStore | None:
    """The store of a group whose queues take every verb here and now, as a joint commit needs."""
    return group.logged if isinstance(group, PlacedGroup) and group.serving else None


def _settle_here(group: PlacedGroup, name: str, sequences: set[int]) -> None:
    placed = group.queues.get(name)
    if placed is not None:
        placed.settle_for(sequences)


def _pass_to_front(front: Front, link: Link, message: bytes) -> None:
    kind, _, visit = opening(message)
    if front.visiting is not link:
        return
    if kind == EVENTS:
        front.received(visit, message)
    elif kind == WELCOME:
        front.welcome(visit, message)
    elif kind == NOT_OWNER:
        front.refused(visit)


class ClusterQueueFactory(QueueFactory):
    """Makes queues for a broker in a cluster.

    Args:
        places: where they are.
        group_of: gives the number of the group of a named queue.
        count: how many groups there are; one more is that of the queues of single connections.
        home: the number of that one in message-ids, which no other broker has.
    """

    def __init__(
        self, places: Places, group_of: Callable[[str], int], count: int, home: int
    ) -> None:
        self.home = count
        self._home_number = home
        self._places = places
        self._group_of = group_of
        self._disk: Watermark | None = None

    def group(
        self, number: int, store: MessageStore, now_ms: int, disk: Watermark, stalled: Watermark
    ) -> QueueGroup:
        """Make a group; all of them share one disk."""
        self._disk = self._disk or disk
        if number == self.home:
            return QueueGroup(self._home_number, store, now_ms, self._disk, stalled)
        group = PlacedGroup(number, store, now_ms, self._disk, stalled)
        group.queues = WeakValueDictionary()
        group.guests = group.logged = None
        group.owner, group.serving = "", False
        self._places.groups.append(group)
        return group

    def group_of(self, name: str) -> int:
        """The number of the group that a named queue belongs to."""
        return self._group_of(name)

    def queue(
        self,
        destination: str,
        name: str,
        policy: Policy,
        kind: QueueKind,
        services: Services,
        group: QueueGroup,
    ) -> RestorableQueue:
        """Make a queue, or give the one of that name that is used here already."""
        if not isinstance(group, PlacedGroup):
            return super().queue(destination, name, policy, kind, services, group)
        placed = group.queues.get(name)
        if placed is None or placed.ended or placed.kind != kind:
            identity = QueueIdentity(destination, name, policy, *kind)
            placed = PlacedQueue(identity, kind, group, group.front, services.memory)
            group.queues[name] = placed
        elif placed.policy != policy:
            placed.renew_policy(policy)
        if group.logged is not None and placed.local is None:
            placed.come(super().queue(destination, name, policy, kind, services, group))
            if group.serving:
                placed.serve()
        return placed
