"""Puts together what brokers tell each other of topics, replies and durable subscriptions.

It hears of links, members and owners, and stands before the router and the registry for all other
brokers (`stompy_broker.routing.others.OtherBrokers`).

What one broker tells of itself, and what it answers, it sends on the links that others have opened
to it; publications, replies and requests go out on the link that the broker itself has opened.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TypeVar

from stompy.errors import ProtocolError
from stompy_broker.cluster.link.link import Link
from stompy_broker.cluster.topics.durable_requests import DurableRequests
from stompy_broker.cluster.topics.group_directory import GroupDirectory
from stompy_broker.cluster.topics.interest import OwnInterest
from stompy_broker.cluster.topics.owned_directory import OwnedDirectory, key_of_queue
from stompy_broker.cluster.topics.peer_topics import OutgoingMessages, PeerTopics
from stompy_broker.cluster.topics.remote_replies import RemoteReplies
from stompy_broker.cluster.topics.topic_codec import (
    AnyMessage,
    CodecError,
    Contents,
    ContentsKnown,
    ContentsKnownByAll,
    Disowned,
    Interest,
    InterestKnown,
    MessagesTaken,
    Reply,
    ReplyTaken,
    Request,
    RequestAction,
    RequestAnswer,
    TopicMessages,
    read,
    write,
)
from stompy_broker.destinations.names import Destination, DestinationKind, parse_destination
from stompy_broker.message import MessageHead
from stompy_broker.routing.answers import Done, Refused
from stompy_broker.routing.durable import DurableSubscription
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.router import Router

log = logging.getLogger("stompy_broker.cluster")

KINDS = range(64, 96)
"""The first bytes of the messages on a link that are for this."""


M = TypeVar("M", bound=AnyMessage)


class _Subscriber:
    """Another broker among the subscribers of topics, and the patterns that it wants."""

    def __init__(self, topics: PeerTopics) -> None:
        self.topics = topics
        self.patterns: dict[str, None] = {}
        self.is_complete = False  # whether it has told all that it wants


class TopicExchange:
    """The other brokers, for the router and the registry of this one.

    Args:
        router: of this broker; its registry gets this as its ``others``.
        soon: calls a function at the end of this turn of the event loop.
        silence: seconds after which a broker that says nothing counts as gone, at both ends.

    Attributes:
        stale: full while there may be durable subscriptions that are not known here.
        directory: what there is in groups elsewhere.
    """

    def __init__(
        self, router: Router, soon: Callable[[Callable[[], None]], object], silence: float
    ) -> None:
        self._router = router
        self._registry = registry = router.registry
        self._groups, self._home = router.groups, router.groups.home
        self._soon = soon
        self.stale: Watermark = router.directory_watermark()
        self._cut_off = False
        self._silence = silence
        self._members: set[str] = set()
        self._patience = router.clock.timer(self._lose_patience)
        self._is_patient = True
        self._waiting_for_fresh: list[Callable[[], None]] = []
        self._waiting_for_all: list[Callable[[], None]] = []
        self._interest = OwnInterest(soon)
        self._messages = OutgoingMessages()
        self._subscribers: dict[Link, _Subscriber] = {}
        self._replies = RemoteReplies(router)
        self._owned = OwnedDirectory(registry, soon, router.clock, silence)
        self.directory = GroupDirectory(
            registry,
            [group for group in router.groups.every if group is not self._home],
            self._review,
        )
        self._requests = DurableRequests(
            registry,
            self.directory.owner_link,
            self._owned.__contains__,
            self._owned.when_told,
        )
        self._handlers: dict[type, Callable[[Link, AnyMessage], None]] = {}
        self._take(Interest, self._wanted)
        self._take(InterestKnown, self._interest_known)
        self._take(TopicMessages, self._relay)
        self._take(MessagesTaken, self._taken)
        self._take(Reply, self._replies.received)
        self._take(ReplyTaken, self._replies.answered)
        self._take(Contents, self.directory.received)
        self._take(ContentsKnown, self._owned.acknowledged)
        self._take(ContentsKnownByAll, self.directory.told_known_by_all)
        self._take(Disowned, self.directory.told_disowned)
        self._take(Request, self._requests.received)
        self._take(RequestAnswer, self._requests.answered)
        registry.table.others = self

    def _take(self, kind: type[M], take: Callable[[Link, M], None]) -> None:
        self._handlers[kind] = take  # type: ignore[assignment]  # it gets nothing else

    # -- links ------------------------------------------------------------------------------------

    def opened(self, link: Link) -> None:
        """Tell a broker what there is here, or let it be told, as the link's direction says."""
        if link.outgoing:
            topics = PeerTopics(
                link,
                self._home,
                self._messages,
                self._soon,
                self._router.clock.now,
                self._router.events,
            )
            self._subscribers[link] = _Subscriber(topics)
            self._replies.opened(link)
        else:
            self._interest.opened(link)
            self._owned.opened(link)

    def received(self, link: Link, message: bytes) -> None:
        """Take a message of another broker, if it is of one of `KINDS`."""
        if message[0] not in KINDS:
            return
        try:
            told = read(message)
        except CodecError as error:
            log.error("%s: %s", link.peer, error)
            link.close(str(error))
            return
        self._handlers[type(told)](link, told)

    def lost(self, link: Link, reason: str) -> None:
        """Forget a link, and what was on it."""
        if link.outgoing:
            subscriber = self._subscribers.pop(link)
            for pattern in subscriber.patterns:
                self._registry.topics.remove(pattern, subscriber.topics)
            self._replies.lost(link)
            self._requests.lost(link)
            self.directory.lost(link)
        else:
            self._interest.lost(link)
            self._owned.lost(link)

    # -- members and owners ---------------------------------------------------------------------

    def members_changed(self, members: Iterable[str]) -> None:
        """Note which other brokers live."""
        self._members = set(members)
        self._owned.members_changed(self._members)
        self._review_all()

    def owned(self, group: int, tenure: int) -> None:
        """Note that a group is here, with all that is in it.

        Its log decides: what was told by an owner before may have been deleted since.
        """
        its, registry = self._group(group), self._registry
        stored = {one.name for one in its.store.subscriptions()}
        for name, known in list(registry.durable.by_name.items()):
            if name not in stored and registry.queues[known.queue].group is its:
                registry.durable.forget(name)
        self._owned.owned(its, tenure)
        for waiter in self.directory.owned(group, tenure):
            self._owned.when_known(waiter.name, group, waiter.go_on)

    def deposed(self, group: int) -> None:
        """Note that a group is not here any more; harmless if it was not."""
        if group in self._owned:
            self.directory.disowned(group, *self._owned.disowned(group))

    def owner_changed(self, group: int, owner: str) -> None:
        """Note who owns a group, as members say; empty = nobody does."""
        self.directory.owner_changed(group, owner)

    def cut_off(self, cut_off: bool) -> None:
        """Note whether this broker cannot hear of a change of owners, or can again."""
        self._cut_off = cut_off
        self._review_all()

    def _group(self, number: int) -> QueueGroup:
        return next(group for group in self._groups.every if group.number == number)

    # -- whether everything is known --------------------------------------------------------------

    def _review(self, group: int) -> None:
        self._requests.retry(group)
        self._review_all()

    def _review_all(self) -> None:
        complete = self.directory.is_complete
        fresh = self.directory.is_fresh and not self._cut_off
        if fresh and self.stale.full:
            self._registry.durable.refusing -= 1
            # For those who came first; who was made to wait after them is called at the end.
            self.stale.held = self.stale.full = False
            waiting, self._waiting_for_fresh = self._waiting_for_fresh, []
            for done in waiting:
                done()
            self.stale.went_under()
        elif not fresh and complete and not self.stale.full:
            self._registry.durable.refusing += 1
            self.stale.hold()  # who consumes as well waits too: that does not help
        if self._waiting_for_all and complete and (self._is_linked or not self._is_patient):
            waiting, self._waiting_for_all = self._waiting_for_all, []
            for done in waiting:
                done()

    def when_complete(self, done: Callable[[], None]) -> None:
        """Call ``done`` once clients can be served.

        That is when something is known of each group, and this broker and all others know what
        topics each wants. One that cannot be reached, and may be dead, is waited for for a silence.
        """
        if not self._waiting_for_all:
            self._is_patient = True
            self._patience.set(self._router.clock.now() + self._silence)
        self._waiting_for_all.append(done)
        self._review_all()

    def _lose_patience(self) -> None:
        self._is_patient = False
        self._review_all()

    @property
    def _is_linked(self) -> bool:
        """Whether this broker and all others know what topics each wants."""
        told = {link.peer for link, one in self._subscribers.items() if one.is_complete}
        return self._members <= told & self._interest.informed

    async def complete(self) -> None:
        """Wait until clients can be served, as `when_complete` does."""
        known = asyncio.Event()
        self.when_complete(known.set)
        await known.wait()

    def when_fresh(self, done: Callable[[], None]) -> None:
        """Call ``done`` once every durable subscription is known here that is known anywhere."""
        if self.stale.full:
            self._waiting_for_fresh.append(done)
        else:
            done()

    # -- what the registry asks -----------------------------------------------------------------

    def is_here(self, group: QueueGroup) -> bool:
        """Whether this broker decides what becomes of the queues of a group."""
        return group.number in self._owned or group is self._home

    def has_queue(self, name: str) -> bool:
        """Whether the owner of the group has told of a queue of that name."""
        return self.directory.has_queue(name, self._groups.of(name).number)

    def queue_names(self) -> Iterable[str]:
        """The names of queues that live elsewhere, as far as this broker was told."""
        return self.directory.queue_names()

    def queue_changed(self, name: str, group: QueueGroup) -> None:
        """Tell others that a queue was made or has ended."""
        self._owned.queue_changed(name, group.number)

    def durable_changed(self, name: str, group: QueueGroup) -> None:
        """Tell others that a durable subscription was kept or deleted, once that is safe."""
        self._owned.durable_changed(name, group.number)

    def topic_subscribed(self, pattern: str) -> None:
        """Have others send what is published to these topics, for one more subscription."""
        self._interest.add(pattern)

    def topic_unsubscribed(self, pattern: str) -> None:
        """Have others know of one subscription less to these topics."""
        self._interest.remove(pattern)

    def when_subscribed(self, pattern: str, done: Callable[[], None]) -> None:
        """Call ``done`` once others send what is published to these topics."""
        self._interest.when_known(done)

    def when_durable_known(self, name: str, group: QueueGroup, done: Callable[[], None]) -> None:
        """Call ``done`` once nobody publishes who does not know a durable subscription."""
        if group.number in self._owned:
            self._owned.when_known(name, group.number, done)
        else:
            self.directory.when_known(name, group.number, done)

    def when_queue_known(self, name: str, group: QueueGroup, done: Callable[[], None]) -> None:
        """Call ``done`` once nobody publishes who does not know a queue of a virtual topic."""
        self.when_durable_known(key_of_queue(name), group, done)

    def subscribe_durably(self, wanted: DurableSubscription, done: Done) -> None:
        """Have the owner of its group make a durable subscription, which then is known here."""
        group = self._groups.of(wanted.queue)
        self._requests.ask(group, RequestAction.SUBSCRIBE, wanted, done)

    def delete_durable(self, known: DurableSubscription, done: Done) -> None:
        """Have the owner of its group delete a durable subscription."""
        group = self._groups.of(known.queue)
        self._requests.ask(group, RequestAction.DELETE, known, done)

    def unbind(self, known: DurableSubscription, done: Done) -> None:
        """Have the owner of its group bind the queue of a subscription no longer to a topic."""
        group = self._groups.of(known.queue)
        self._requests.ask(group, RequestAction.UNBIND, known, done)

    def take_possession(self, known: DurableSubscription, owner: str) -> None:
        """Have the owner of its group give a durable subscription of nobody to a login."""
        self._requests.take_possession(self._groups.of(known.queue), known, owner)

    def reply(
        self, name: str, head: MessageHead, body: bytes, done: Done | None, refused: Refused | None
    ) -> Watermark | None:
        """Send a reply to the broker that the name of a temporary queue belongs to."""
        return self._replies.send(name, head, body, done, refused)

    # -- topics -----------------------------------------------------------------------------------

    def _wanted(self, link: Link, told: Interest) -> None:
        subscriber = self._subscribers[link]
        topics, patterns = self._registry.topics, subscriber.patterns
        removed = tuple(patterns) if told.whole else told.removed
        for pattern in removed:
            if patterns.pop(pattern, "") is None:
                topics.remove(pattern, subscriber.topics)
        for pattern in told.added:
            if pattern not in patterns:
                patterns[pattern] = None
                topics.add(pattern, subscriber.topics)
        if told.last:
            subscriber.is_complete = True
            link.send(write(InterestKnown(told.number)))
            self._review_all()

    def _interest_known(self, link: Link, told: InterestKnown) -> None:
        self._interest.acknowledged(link, told.number)
        self._review_all()

    def _relay(self, link: Link, told: TopicMessages) -> None:
        relay = self._router.relay
        for message in told.messages:
            topic = _topic_of(message.head)
            if topic is not None and topic.of_exchange:
                topic = self._resolved(topic)
            if topic is not None:
                relay(topic.name, message)
        link.send(write(MessagesTaken(told.size)))

    def _resolved(self, topic: Destination) -> Destination | None:
        """A topic of an exchange; None = this broker does not know the exchange."""
        try:
            return self._router.directions.exchanges.resolve(topic)
        except ProtocolError:
            return None

    def _taken(self, link: Link, told: MessagesTaken) -> None:
        self._subscribers[link].topics.taken(told.size)


@lru_cache(maxsize=1024)
def _topic_of(head: MessageHead) -> Destination | None:
    """The topic that a message was published to; None: it cannot be read."""
    try:
        destination = parse_destination(head.headers()["destination"])
    except (ProtocolError, KeyError):
        return None
    return destination if destination.kind is DestinationKind.TOPIC else None
