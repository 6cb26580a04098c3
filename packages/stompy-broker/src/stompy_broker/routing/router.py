"""From a destination to the queues that get the message (**hot path**: `Router.publish`)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.names import RETAINED, Destination, DestinationKind, is_companion
from stompy_broker.destinations.policy import Policies
from stompy_broker.events import Events
from stompy_broker.message import (
    Common,
    CopiedMessage,
    Message,
    MessageHead,
    Redelivery,
    SharedMessage,
    earlier_deliveries,
    stamp,
)
from stompy_broker.routing.answers import Done, Refused, when_all
from stompy_broker.routing.batching import WorkBudget
from stompy_broker.routing.caps import Caps
from stompy_broker.routing.choices import NOBODY
from stompy_broker.routing.dead_letters import DeadLetter, DeadLetters
from stompy_broker.routing.delivery_times import CurrentTime
from stompy_broker.routing.directions import Directions
from stompy_broker.routing.duplicate_book import DuplicateBook
from stompy_broker.routing.factory import QueueFactory
from stompy_broker.routing.firing import Firing
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.group import QueueGroup, QueueGroups
from stompy_broker.routing.histories import Histories
from stompy_broker.routing.interface import KEEP_GROUPS, Expire, Queue
from stompy_broker.routing.others import SpreadChange
from stompy_broker.routing.registry import Registry
from stompy_broker.routing.replies import Replies
from stompy_broker.routing.requests import Requests
from stompy_broker.routing.retained_messages import RetainedMessages
from stompy_broker.routing.sequences import STEP
from stompy_broker.routing.topics import Topic
from stompy_broker.routing.unusual_topics import Give, UnusualTopicMessages
from stompy_broker.routing.user_storage import StorageBook
from stompy_broker.routing.wait_times import WaitTimes
from stompy_broker.routing.watermarks import Watermarks
from stompy_broker.store.interface import MessageStore
from stompy_broker.timers import Clock

log = logging.getLogger("stompy_broker.router")

_QUEUE: Final = DestinationKind.QUEUE
_TOPIC: Final = DestinationKind.TOPIC


class Router:
    """Routes the messages of one broker.

    Args:
        clock: for delays and for retiring queues.
        wall: gives the time in milliseconds since the epoch.
        stores: where persistent messages survive: one for each group of queues.
        policies: how destinations behave.
        memory_mark: bytes of waiting messages in memory at which producers are made to wait.
        disk_mark: bytes of messages on one disk at which they are.
        idle_queue_seconds: after which an unused empty queue is forgotten.
        factory: makes queues, and says which group they belong to; None = in this process.

    Attributes:
        registry: all queues, topics and durable subscriptions.
        groups: the groups of queues, with their stores.
        memory: memory in use, but for loans.
        loans: memory in use that only single clients can give back.
        events: what happens to queues and messages.
        alarms: ``memory``, ``disk`` or ``store`` that is full or in trouble, or what other parts
            raised, and since when.
        alarm_reasons: of those that other parts raised.
        unroutable: messages that went to no queue at all.
        requests: those that the broker answers if nobody else does.
        replies: what is sent to temporary queues of others.
        wait_times: how long messages were in their queues, once somebody asked.
        directions: where else messages go, as the configuration has it.
        storage: what users have in queues; None = nobody wants to know.
        histories: the past of queues.
        duplicates: the duplicate ids of all destinations.
        spread: makes changes of groups of several owners; None = none of that kind can be made.
        firing: publishes what was sent to come later; None = nobody does yet.
        retained_messages: what topics keep for who subscribes later.
        retained: the table of those.
    """

    def __init__(
        self,
        clock: Clock,
        wall: Callable[[], int],
        stores: Iterable[MessageStore],
        policies: Policies,
        *,
        memory_mark: int,
        disk_mark: int = 0,
        idle_queue_seconds: float,
        factory: QueueFactory | None = None,
    ) -> None:
        self.clock, self.wall, self.policies = clock, wall, policies
        self.work_budget = WorkBudget(clock.pacing)
        self.events = Events(wall)
        factory = factory or QueueFactory()
        self._watermarks = marks = Watermarks(clock, wall, self.events, memory_mark)
        self.memory, self.loans, self.alarms = marks.memory, marks.loans, marks.alarms
        self.alarm_reasons = marks.reasons
        self.groups = QueueGroups(
            [
                factory.group(number, store, wall(), marks.for_disk(disk_mark), marks.for_store())
                for number, store in enumerate(stores)
            ],
            factory.group_of,
            factory.home,
        )
        self.storage: StorageBook | None = None
        self.spread: SpreadChange | None = None
        self.firing: Firing | None = None
        self.wait_times, self.histories = WaitTimes(wall), Histories(self)
        self.duplicates = DuplicateBook(clock, wall)
        self.retained_messages = RetainedMessages(self, self.groups.home)
        self.retained = self.retained_messages.table
        self._unusual_topics = UnusualTopicMessages(self, self.retained_messages)
        self.stamp, self.current_time = stamp(wall()), CurrentTime(clock.now())
        self.unroutable, self._evict_above = 0, memory_mark // 2 or float("inf")
        self.requests = Requests(self)
        self.dead_letters = DeadLetters(self._publish_dead, wall, self.events, self.requests)
        self.registry = registry = Registry(
            self, self.groups, policies, factory, self.events, idle_queue_seconds
        )
        self.queues, self.topics = registry.queues, registry.topics
        self.replies = Replies(registry, self.requests, self)
        self.directions = Directions(registry.virtual_queues)
        # Numbers what belongs to no queue alone.
        self._sequences = self.groups.home.sequences

    @property
    def caps(self) -> Caps:
        """How many queues there may be, and so on."""
        return self.registry.table.caps

    def queue(
        self, name: str, headers: Mapping[str, str] | None = None, *, capped: bool = True
    ) -> Queue:
        """The queue of that name, made if need be; see `Registry.queue`."""
        return self.registry.queue(name, headers, capped=capped)

    def retained_queue(self) -> Queue | None:
        """The queue of what topics keep, made if need be; None = in a cluster there is none."""
        if self.registry.table.others is not None:
            return None
        return self.queues.get(RETAINED) or self.registry.add_companion(RETAINED)

    def queue_left(self, name: str, done: Done) -> None:
        """End a queue that its last consumer has left; see `Registry.queue_left`."""
        self.registry.queue_left(name, done)

    def set_alarm(self, name: str, reason: str) -> None:
        """Raise an alarm that is none of a watermark; with an empty reason it is over."""
        self._watermarks.set_alarm(name, reason)

    def note_time(self) -> None:
        """Have messages that are published from now on carry the present time."""
        self.stamp = stamp(self.wall())

    # -- publishing -----------------------------------------------------------------------

    def publish(
        self,
        destination: Destination,
        head: MessageHead,
        body: bytes,
        done: Done | None = None,
        refused: Refused | None = None,
    ) -> Watermark | None:
        """Route one message.

        Args:
            destination: a queue, a topic or somebody's reply queue; not a temporary queue.
            head: its headers.
            body: its body.
            done: called when it is safe, unless it is refused.
            refused: told when a queue refuses it; None = it may not be refused, because `admit`
                was asked before.

        Returns:
            What the sender has to wait for before it sends more; None when there is room.

        Raises:
            ProtocolError: it is refused, because the disk is full or there are too many queues.
        """
        full = self._watermarks.full
        if full is not None and refused is not None:
            self.check_stalled(destination, head)
        own: Watermark | None = None
        if destination.kind is _QUEUE:
            queue = self.queues.get(destination.name) or self.queue(
                destination.name, destination.arguments, capped=refused is not None
            )
            numbers = queue.sequences
            numbers.last = number = numbers.last + STEP
            message = Message(number, head, body, self.stamp)
            if head.traits.unusual:
                self._publish_unusual(queue, message, done, refused)
            else:
                queue.publish(message, done, refused)
            own = queue.watermark
        elif destination.kind is _TOPIC:
            own = self._publish_to_topic(destination, head, body, done, refused)
        else:
            own = self.replies.publish(destination.name, head, body, done, refused)
        if self._watermarks.full is not None:
            blocking = self._blocking(destination, head)
            if blocking is not None:
                return blocking
        return own if own is not None and own.full else None

    def admit(
        self, destination: Destination, head: MessageHead, done: Done, length: int = 0
    ) -> None:
        """Whether `publish` would take a message.

        Args:
            destination: where to.
            head: its headers.
            length: of its body.
            done: takes the answer of all queues that may refuse it.

        Raises:
            ProtocolError: it would not, because the disk is full or there are too many queues.
        """
        queues = self.admitting(destination, head, length)
        part_done = when_all(len(queues) + 2, done)
        for queue in queues:
            queue.admit(1, 0, part_done)
        self.when_directed(destination, head, part_done)
        part_done()

    def when_directed(self, destination: Destination, head: MessageHead, done: Done) -> None:
        """Call ``done`` once it is known where a message goes: at once, but in a cluster.

        There a broker may not know for a moment which durable subscriptions there are, and one
        must not miss what is published after its receipt. What is not persistent does not wait.
        """
        others = self.registry.table.others
        if (
            others is None
            or not others.stale.full
            or destination.kind is not _TOPIC
            or not head.traits.persistent
        ):
            done()
        else:
            others.when_fresh(done)

    def admitting(self, destination: Destination, head: MessageHead, length: int) -> list[Queue]:
        """The queues that may refuse a message. All durable subscriptions get it, or none.

        Args:
            destination: where to.
            head: its headers.
            length: of its body, at which a selector may look.

        Raises:
            ProtocolError: all of them would, because the store is in trouble.
        """
        if self._watermarks.full is not None:
            self.check_stalled(destination, head)
        if destination.kind is _TOPIC:
            if head.traits.retains:
                self.retained_messages.check(((destination.name, len(head.block), length),))
            if not self.registry.durable.refusing:
                return []
            message = Message(0, head, None, self.stamp, length=length)
            return self.topics.durables_for(destination.name, message)
        if destination.kind is not _QUEUE:
            return []
        if destination.name in self.queues:
            return [self.queues[destination.name]]
        others = self.registry.table.others
        if others is not None and not others.is_here(self.groups.of(destination.name)):
            return [self.queue(destination.name)]  # new here, and perhaps full at its owner
        self.registry.table.check_room()
        return []

    def leave_together(self, group: QueueGroup, destination: Destination) -> bool:
        """Have what leaves a group in this turn, and comes to a destination, be one change.

        Returns:
            False: that cannot be, because another broker has part in it.
        """
        together = self.groups.together
        if together is None:
            return True
        groups = {group: None}
        if destination.kind is _QUEUE:
            groups[self.groups.of(destination.name)] = None
        elif destination.kind is _TOPIC:
            groups |= {queue.group: None for queue in self.topics.durables(destination.name)}
        several = list(groups)
        if len(several) == 1:
            return True
        if together.hindrance(several):
            return False
        together.begin(several)
        return True

    def republish(
        self,
        destination: Destination,
        head: MessageHead,
        body: bytes,
        earlier: Redelivery | None,
        done: Done | None = None,
    ) -> None:
        """Publish what was delivered before, elsewhere; `admit` was asked before.

        It is still marked as redelivered.
        """
        if destination.kind is _QUEUE:
            queues: Sequence[Queue] = (self.queue(destination.name, capped=False),)
        elif destination.kind is _TOPIC and earlier is not None:
            topic = self.topics.find(destination.name)
            topic.published, topic.came = topic.published + 1, self.stamp
            queues = topic.choose(Message(0, head, body, self.stamp, earlier), NOBODY)
        else:
            self.publish(destination, head, body, done)
            return
        for queue in queues:
            message = Message(queue.sequences.take(), head, body, self.stamp, earlier)
            if head.traits.unusual:
                self._publish_unusual(queue, message, None, None)
            else:
                queue.publish(message)
        if done is not None:
            self._when_stored(queues, head, done)

    def publish_to(
        self,
        queue: Queue,
        head: MessageHead,
        body: bytes,
        done: Done | None = None,
        refused: Refused | None = None,
        *,
        common: Common | None = None,
    ) -> None:
        """Put a message into a queue that is known already.

        With ``common``, it is one of several copies that have that in common.
        """
        sequence = queue.sequences.take()
        if common is None:
            message = Message(sequence, head, body, self.stamp)
        else:
            message = CopiedMessage(sequence, head, body, self.stamp, common)
        if head.traits.unusual:
            self._publish_unusual(queue, message, done, refused)
        else:
            queue.publish(message, done, refused)

    def _publish_to_topic(
        self,
        destination: Destination,
        head: MessageHead,
        body: bytes,
        done: Done | None,
        refused: Refused | None,
    ) -> Watermark | None:
        """Give a message to all subscribers; gives what its sender has to wait for."""
        if head.traits.unusual:
            return self._unusual_topics.publish(destination, head, body, done, refused)
        if refused is None or not self.registry.durable.refusing:
            return self.fan_out(destination.name, head, body, done)
        give = partial(self.fan_out, destination.name, head, body, done)
        return self.fan_out_if_admitted(destination, head, body, refused, give)

    def fan_out_if_admitted(
        self,
        destination: Destination,
        head: MessageHead,
        body: bytes,
        refused: Refused | None,
        give: Give,
    ) -> Watermark | None:
        """Give a message to all subscribers, unless one of them refuses it; see `fan_out`."""
        registry = self.registry
        if refused is None or not registry.durable.refusing:
            return give()
        own: list[Watermark | None] = []
        sender = self.topics.sender

        def admitted(error: ProtocolError | None = None, /) -> None:
            registry.durable.refusing -= 1
            if error is not None:
                refused(error)
                return
            topics = self.topics
            before, topics.sender = topics.sender, sender
            try:
                own.append(give())
            finally:
                topics.sender = before

        registry.durable.refusing += 1  # so that nobody overtakes it while an answer is waited for
        try:
            self.admit(destination, head, admitted, len(body))
        except ProtocolError:
            registry.durable.refusing -= 1
            raise
        return own[0] if own else None

    def fan_out(
        self,
        name: str,
        head: MessageHead,
        body: bytes,
        done: Done | None,
        *,
        plain: bool = True,
    ) -> Watermark | None:
        """Give a message to the subscribers of a topic; gives what its sender has to wait for.

        Args:
            name: of the topic, without prefix.
            head: the headers of the message.
            body: its body.
            done: called when it is safe.
            plain: whether it is not unusual (`MessageTraits.unusual`), for certain.
        """
        own: Watermark | None = None
        topic = self.topics.find(name)
        topic.published += 1
        topic.came = self.stamp
        queues = topic.queues
        if not queues:
            queues = self._choose(topic, head, body)
        count = len(queues)
        if count == 1:
            queue = queues[0]
            if plain:
                queue.publish(Message(queue.sequences.take(), head, body, self.stamp))
            else:
                self.publish_to(queue, head, body)
            own = queue.watermark
        elif count:
            # What may be stored, or end, has a place of its own in each queue.
            shared = common = None
            if head.version_neutral and (plain or not head.traits.can_expire):
                shared = SharedMessage(self._sequences.take(), head, body, self.stamp)
            for queue in queues:
                if shared is not None and not queue.unshared:
                    queue.publish(shared)
                    continue
                common = common or Common(len(body) + len(head.block))
                self.publish_to(queue, head, body, common=common)
                if queue.watermark is not None and queue.watermark.full:
                    own = queue.watermark
        if done is not None:
            self._when_stored(queues, head, done)
        return own

    def _choose(self, topic: Topic, head: MessageHead, body: bytes) -> tuple[Queue, ...]:
        """The backlogs of a topic that take a message, where not all of them take all."""
        queues = topic.queues
        if topic.choice is not None:
            message = Message(0, head, body, self.stamp)
            queues = topic.choose(message, self.topics.sender)
        if not queues:
            self.unroutable += 1
        return queues

    def _when_stored(self, queues: Iterable[Queue], head: MessageHead, done: Done) -> None:
        """Call ``done`` when what went to several queues is safe in each of their groups."""
        groups: list[QueueGroup] = []
        if head.traits.persistent:
            groups = list({queue.group: None for queue in queues if queue.is_stored})
        if groups:
            self.groups.sync(done, groups)
        else:
            done()

    def relay(self, name: str, message: Message) -> None:
        """Give a topic's message that came in at another broker to subscribers of this one.

        Not to those with a name, whose backlogs the other broker has given it to, nor to others.

        Args:
            name: of the topic, without prefix.
            message: it, with a body; its number is not looked at.
        """
        topic = self.topics.find(name)
        topic.relayed += 1
        topic.came = message.stamp
        queues, head, body = topic.choose_own(message), message.head, message.body
        assert body is not None
        ended = message.expires and message.expires <= self.wall()
        shared = common = None
        if head.version_neutral and not message.expires and len(queues) > 1:
            shared = SharedMessage(self._sequences.take(), head, body, message.stamp)
        for queue in queues:
            if shared is not None and not queue.unshared:
                queue.publish(shared)
                continue
            common = common or Common(len(body) + len(head.block))
            copy = CopiedMessage(queue.sequences.take(), head, body, message.stamp, common)
            copy.expires = message.expires
            if ended:
                queue.control(Expire(copy))
            else:
                queue.publish(copy)

    def _publish_unusual(
        self, queue: Queue, message: Message, done: Done | None, refused: Refused | None
    ) -> None:
        """Publish a message that has a group, or ends some time: at the earlier of two ways."""
        head = message.head
        if head.traits.group is not None:
            queue.control(KEEP_GROUPS)
        if not head.traits.can_expire:
            queue.publish(message, done, refused)
            return
        message.expires = head.ends_at(now := self.wall())
        if message.expires > now:
            queue.publish(message, done, refused)
            return
        queue.control(Expire(message))
        if done is not None:
            if head.traits.persistent:
                queue.group.sync(done)
            else:
                done()

    def _publish_dead(self, letter: DeadLetter) -> bool:
        """Publish a dead letter; false: it is kept until it is safe at another broker."""
        group, message, destination, head, depart = letter
        assert message.body is not None
        if self.leave_together(group, destination) or depart is None:
            # Whoever is served just now has not sent it.
            sender, self.topics.sender = self.topics.sender, NOBODY
            self.publish(destination, head, message.body)
            self.topics.sender = sender
            return True
        # Whoever owned the group before may have sent it already, and died before it knew.
        again = message.redelivery is not None and not message.redelivery.deliveries
        again = again or message.sequence <= group.store.last_sequence
        earlier = earlier_deliveries(0, 0, perhaps_more=again)
        self.republish(destination, head, message.body, earlier, depart())
        return False

    # -- what is full -----------------------------------------------------------------------

    def blocking(self, destination: Destination, head: MessageHead) -> Watermark | None:
        """What is full and has to do with a message, and its sender has to wait for."""
        return None if self._watermarks.full is None else self._blocking(destination, head)

    def _blocking(self, destination: Destination, head: MessageHead) -> Watermark | None:
        """What is full and has to do with a message: memory, or the disks that it goes to."""
        if self.memory.full:
            return self.memory
        others = self.registry.table.others if destination.kind is _TOPIC else None
        if others is not None and others.stale.full and head.traits.persistent:
            return others.stale
        groups = self.stored_in(destination, head)
        return next((group.blocking for group in groups if group.blocking is not None), None)

    def stored_in(self, destination: Destination, head: MessageHead) -> list[QueueGroup]:
        """The groups on whose disks a message goes."""
        if not head.traits.persistent:
            return []
        queues: Iterable[Queue] = ()
        if destination.kind is _QUEUE:
            queue = self.queues.get(destination.name)
            if queue is None:
                group = self.groups.of(destination.name)
                return [group] if group.store.durable else []
            queues = (queue,)
        elif destination.kind is _TOPIC:
            queues = self.topics.match(destination.name)
            if head.traits.retains and (kept := self.retained_queue()) is not None:
                queues = (*queues, kept)
        found = {queue.group: None for queue in queues if queue.is_stored}
        return [group for group in found if group.store.durable]

    def check_stalled(self, destination: Destination, head: MessageHead) -> None:
        """Refuse what goes to a store that cannot write, where that is wanted.

        Raises:
            ProtocolError: it does.
        """
        for group in self.stored_in(destination, head):
            if group.stalled.full and group.stalled.refuses:
                raise ProtocolError(ErrorCode.STORE_UNAVAILABLE, group.stalled.refuses)

    def directory_watermark(self) -> Watermark:
        """One that is full while this broker does not know all durable subscriptions there are."""
        return self._watermarks.for_directory()

    def refuse_when_stalled(self) -> None:
        """While a store cannot write, refuse persistent messages rather than let senders wait."""
        for group in self.groups.every:
            group.stalled.refuses = "the broker cannot write to its disk just now"

    def store_troubled(self, trouble: bool, group: int = 0) -> None:
        """Make producers of a group wait while its store cannot write."""
        stalled = self.groups.every[group].stalled
        if trouble:
            stalled.went_over()
        else:
            stalled.went_under()

    def on_disk(self, messages: Iterable[Message]) -> None:
        """Leave bodies on disk that have reached it, once half the memory mark is used."""
        total = self.memory
        if total.used <= self._evict_above:
            return
        for message in messages:
            if message.body is not None:
                message.leave_body(total)
        total.check()

    def __iter__(self) -> Iterator[Queue]:
        """All named queues, but for those that the broker has beside them."""
        return iter([queue for queue in self.queues.values() if not is_companion(queue.name)])
