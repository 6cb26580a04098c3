"""From a destination to the queues that get the message (**hot path**: `Router.publish`).

The router owns every queue and topic subscription, makes queues on first use, and retires those
that nobody used for a while. It numbers messages, and knows where dead letters go.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import count

from stompy.admin.rows import Event
from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.names import BACKLOG, Destination, Kind
from stompy_broker.destinations.policy import Policies, Policy
from stompy_broker.events import Events
from stompy_broker.message import (
    Common,
    CopiedMessage,
    Message,
    MessageHead,
    SharedMessage,
    earlier_deliveries,
    stamp,
)
from stompy_broker.routing import interface
from stompy_broker.routing.caps import Caps
from stompy_broker.routing.chores import Shift
from stompy_broker.routing.dead_letters import DEAD_LETTER_PREFIX, Graves, grave_of
from stompy_broker.routing.durable import DurableSubscription
from stompy_broker.routing.flow_control import Pressure
from stompy_broker.routing.interface import Configure
from stompy_broker.routing.queue import LocalQueue as Queue
from stompy_broker.routing.recovery import restore_messages, restore_subscriptions
from stompy_broker.routing.retirement import Retirement
from stompy_broker.routing.services import GivesUp
from stompy_broker.routing.settings import Setup
from stompy_broker.routing.stats import Totals
from stompy_broker.routing.topics import Topics
from stompy_broker.routing.turn import Turn
from stompy_broker.routing.watermarks import Marks
from stompy_broker.store.base import Done, MessageStore, when_safe
from stompy_broker.timers import Clock

log = logging.getLogger("stompy_broker.router")

_QUEUE, _TOPIC = Kind.QUEUE, Kind.TOPIC

_NO_HEADERS: Mapping[str, str] = {}

_SEQUENCES_PER_MS = 2**20


class Router:
    """All destinations of one broker.

    Args:
        clock: for delays and for retiring queues.
        wall: gives the time in milliseconds since the epoch.
        store: where persistent messages survive.
        policies: how destinations behave.
        memory_mark: bytes of waiting messages in memory at which producers are made to wait.
        disk_mark: bytes of messages on disk at which they are.
        idle_queue_seconds: after which an unused empty queue is forgotten.
        events: told what happens to queues and messages.

    Attributes:
        caps: how many queues there may be, and so on.
        pressure: memory in use, but for loans.
        loans: memory in use that only single clients can give back.
        disk: disk space in use.
        stalled: full while the store cannot write.
        topics: topic subscriptions, and the topics that were published to lately.
        gone: counters of queues and backlogs that have ended.
        alarms: ``memory``, ``disk`` or ``store`` that is full or in trouble, and since when.
    """

    def __init__(
        self,
        clock: Clock,
        wall: Callable[[], int],
        store: MessageStore,
        policies: Policies,
        *,
        memory_mark: int,
        disk_mark: int = 0,
        idle_queue_seconds: float,
        events: Events | None = None,
    ) -> None:
        self.caps, self.shift = Caps(), Shift(clock)
        self.clock, self.store, self.wall, self.policies = clock, store, wall, policies
        self.events = events or Events(wall)
        self._marks = marks = Marks(clock, wall, self.events, memory_mark, disk_mark)
        self.pressure, self.loans, self.disk = marks.memory, marks.loans, marks.disk
        self.stalled, self.alarms = marks.stalled, marks.alarms
        self.queues: dict[str, Queue] = {}
        self.replies: dict[str, Queue] = {}
        self.durable: dict[str, DurableSubscription] = {}
        self.unroutable = self._refusing = 0  # the latter: how many of them may refuse a message
        self.stamp, self.turn = stamp(wall()), Turn(clock.now())
        self._evict_above = memory_mark // 2 or float("inf")
        self.topics, self.gone = Topics(), Totals()
        # Beginning with the time keeps sequences growing over restarts, without a file.
        self._sequences = count(wall() * _SEQUENCES_PER_MS)
        self._idle_seconds = idle_queue_seconds
        self._graves = Graves(self._publish_dead, wall, self.events)
        self._retirement = Retirement(clock, self.queues, idle_queue_seconds, self._retire)

    def restore(self) -> int:
        """Take back what the store has kept; gives the number of messages.

        Raises:
            StoreError: the store is damaged.
        """
        for name, headers in self.store.queues().items():
            policy, setup = self.policies.find(Kind.QUEUE, name), Setup.from_stored(headers)
            try:
                policy = policy.with_arguments(setup.arguments)
            except ValueError as error:
                log.warning("%s: is not set up as it was: %s", name, error)
            self._add_queue(name, policy).configure(setup)
        subscriptions, all_known = restore_subscriptions(self.store)
        for subscription in subscriptions:
            backlog = self._bind(subscription)
            if subscription.left:
                away = max(0, self.wall() - subscription.left)
                backlog.idle_since = self.clock.now() - away / 1000
        restored, last = restore_messages(self.store, self._queue_of, drop_orphans=all_known)
        self._sequences = count(max(self.wall() * _SEQUENCES_PER_MS, last + 1))
        return restored

    def _queue_of(self, destination: str) -> Queue | None:
        """Where restored messages belong; None: to a durable subscription that was deleted."""
        name = destination.removeprefix(Kind.QUEUE.value)
        if name not in self.queues and name.startswith(BACKLOG):
            return None
        return self.queue(name, capped=False)

    def note_time(self) -> None:
        """Messages published from now on carry the present time."""
        self.stamp = stamp(self.wall())

    # -- publishing -----------------------------------------------------------------------

    def publish(
        self,
        destination: Destination,
        head: MessageHead,
        body: bytes,
        done: Done | None = None,
        *,
        admit: bool = True,
    ) -> Pressure | None:
        """Route one message.

        Args:
            destination: a queue, a topic or somebody's reply queue; not a temporary queue.
            head: its headers.
            body: its body.
            done: called when it is safe.
            admit: whether it may be refused; otherwise `admit` was asked before.

        Returns:
            What the sender has to wait for before it sends more; None when there is room.

        Raises:
            ProtocolError: it is refused, because a queue or the disk is full.
        """
        if self._marks.full is not None and admit:
            self._refuse(destination, head)
        own: Pressure | None = None
        if destination.kind is _QUEUE:
            message = Message(next(self._sequences), head, body, self.stamp)
            name = destination.name
            queue = self.queues.get(name) or self.queue(name, capped=admit)
            if head.can_expire:
                self._publish_mortal(queue, message, done, admit=admit)
            else:
                queue.publish(message, done, admit=admit)
            own = queue.pressure
        elif destination.kind is _TOPIC:
            own = self._publish_to_topic(destination.name, head, body, done, admit=admit)
        else:
            self._publish_reply(destination.name, head, body, done)
        if self._marks.full is not None and self._concerns(destination, head):
            return self._marks.full
        return own if own is not None and own.full else None

    def admit(self, destination: Destination, head: MessageHead) -> None:
        """Whether `publish` would take a message.

        Raises:
            ProtocolError: it would not.
        """
        for queue in self.admitting(destination, head):
            queue.admit()

    def admitting(self, destination: Destination, head: MessageHead) -> list[Queue]:
        """The queues that may refuse a message. All durable subscriptions get it, or none.

        Raises:
            ProtocolError: all of them would, because the store is in trouble.
        """
        if self._marks.full is not None:
            self._refuse(destination, head)
        if destination.kind is _TOPIC:
            return self.topics.durables(destination.name) if self._refusing else []
        if destination.kind is not _QUEUE:
            return []
        if destination.name in self.queues:
            return [self.queues[destination.name]]
        self.caps.check_queues(len(self.queues))
        return []

    def republish(
        self, destination: Destination, head: MessageHead, body: bytes, deliveries: int
    ) -> None:
        """Publish what was delivered so often before, elsewhere; `admit` was asked before.

        It is still marked as redelivered, but no delivery counts as failed any more.
        """
        if destination.kind is not _QUEUE:
            self.publish(destination, head, body, admit=False)
            return
        message = Message(
            next(self._sequences), head, body, self.stamp, earlier_deliveries(deliveries, 0)
        )
        queue = self.queue(destination.name)
        if head.can_expire:
            self._publish_mortal(queue, message, None, admit=False)
        else:
            queue.publish(message, admit=False)

    def publish_to(
        self,
        queue: Queue,
        head: MessageHead,
        body: bytes,
        done: Done | None = None,
        *,
        admit: bool = True,
        common: Common | None = None,
    ) -> None:
        """Put a message into a queue that is known already.

        With ``common``, it is one of several copies that have that in common.
        """
        sequence = next(self._sequences)
        if common is None:
            message = Message(sequence, head, body, self.stamp)
        else:
            message = CopiedMessage(sequence, head, body, self.stamp, common)
        if head.can_expire:
            self._publish_mortal(queue, message, done, admit=admit)
        else:
            queue.publish(message, done, admit=admit)

    def _publish_to_topic(
        self, name: str, head: MessageHead, body: bytes, done: Done | None, *, admit: bool
    ) -> Pressure | None:
        """Give a message to all subscribers; gives what its sender has to wait for."""
        for queue in self.topics.durables(name) if admit and self._refusing else ():
            queue.admit()
        own: Pressure | None = None
        topic = self.topics.find(name)
        topic.published += 1
        topic.came = self.stamp
        queues = topic.queues
        if not queues:
            self.unroutable += 1
        elif len(queues) == 1:
            self.publish_to(queues[0], head, body, admit=False)
            own = queues[0].pressure
        else:
            # What may be stored, or end, has a place of its own in each queue.
            shared = common = None
            if head.version_neutral and not head.can_expire:
                shared = SharedMessage(next(self._sequences), head, body, self.stamp)
            for queue in queues:
                if shared is not None and not queue.unshared:
                    queue.publish(shared)
                    continue
                common = common or Common(len(body) + len(head.block))
                self.publish_to(queue, head, body, admit=False, common=common)
                if queue.pressure is not None and queue.pressure.full:
                    own = queue.pressure
        if done is not None:
            if head.persistent and any(queue.is_stored for queue in queues):
                self.store.sync(done)
            else:
                done()
        return own

    def _publish_reply(self, name: str, head: MessageHead, body: bytes, done: Done | None) -> None:
        """A reply to somebody who is gone is dropped: its sender is not to blame."""
        queue = self.replies.get(name)
        if queue is None:
            self.unroutable += 1
            if done is not None:
                done()
            return
        headers = head.headers() | {"destination": queue.destination}
        self.publish_to(queue, MessageHead.from_headers(headers), body, done)

    def _publish_mortal(
        self, queue: Queue, message: Message, done: Done | None, *, admit: bool
    ) -> None:
        """Publish a message that ends some time: at the earlier of its two ways to say so."""
        head, now = message.head, self.wall()
        message.expires = head.ends_at(now)
        if message.expires > now:
            queue.publish(message, done, admit=admit)
            return
        queue.published += 1
        queue.turn_away(message, "expired")
        if done is not None:
            when_safe(self.store, message, done)

    # -- pressure -------------------------------------------------------------------------

    def _concerns(self, destination: Destination, head: MessageHead) -> bool:
        """Whether what is full has to do with a message: the disk with what is stored only."""
        return self._marks.full is self.pressure or self._stores(destination, head)

    def _stores(self, destination: Destination, head: MessageHead) -> bool:
        """Whether a message goes to the disk."""
        if not head.persistent or not self.store.durable:
            return False
        if destination.kind is _QUEUE:
            queue = self.queues.get(destination.name)
            return queue is None or queue.is_stored
        if destination.kind is _TOPIC:
            return any(queue.is_stored for queue in self.topics.match(destination.name))
        return False

    def _refuse(self, destination: Destination, head: MessageHead) -> None:
        stalled = self.stalled
        if stalled.full and stalled.refuses and self._stores(destination, head):
            raise ProtocolError(ErrorCode.STORE_UNAVAILABLE, stalled.refuses)

    def refuse_when_stalled(self) -> None:
        """While the store cannot write, refuse persistent messages rather than let senders wait."""
        self.stalled.refuses = "the broker cannot write to its disk just now"

    def store_troubled(self, trouble: bool) -> None:
        """The store cannot write, or can again."""
        if trouble:
            self.stalled.reached()
        else:
            self.stalled.relieved()

    def on_disk(self, messages: Iterable[Message]) -> None:
        """Messages have reached the disk: beyond half the memory mark their bodies stay there."""
        total = self.pressure
        if total.used <= self._evict_above:
            return
        for message in messages:
            if message.body is not None:
                message.leave_body(total)
        if total.used <= total.floor:
            total.relieved()

    # -- queues ---------------------------------------------------------------------------

    def queue(
        self, name: str, headers: Mapping[str, str] = _NO_HEADERS, *, capped: bool = True
    ) -> Queue:
        """The queue of that name, made if need be.

        Args:
            name: without prefix.
            headers: of the SEND or SUBSCRIBE that wants it; a first one may set it up.
            capped: whether it is refused when there are too many.

        Raises:
            ProtocolError: a header for setting it up that cannot be, or too many queues.
        """
        queue = self.queues.get(name)
        if queue is None:
            if capped:
                self.caps.check_queues(len(self.queues))
            try:
                policy = self.policies.find(Kind.QUEUE, name).with_arguments(headers)
            except ValueError as error:
                raise ProtocolError(ErrorCode.BAD_HEADER, str(error)) from None
            queue = self._add_queue(name, policy)
            setup = Setup.from_headers(headers)
            if setup.arguments:
                queue.control(Configure(setup))
            self.events.tell(Event(type="queue.created", destination=queue.destination))
        return queue

    def delete_queue(self, queue: Queue, reason: str, user: str = "") -> None:
        """Forget a queue that nobody uses, and what waits in it."""
        del self.queues[queue.name]
        if queue.line:
            queue.close()
        self.gone.add(queue)
        self.store.keep_queue(queue.name, None)
        self.events.tell(
            Event(type="queue.deleted", destination=queue.destination, user=user, reason=reason)
        )

    def _add_queue(self, name: str, policy: Policy) -> Queue:
        destination = f"{Kind.QUEUE.value}{name}"
        own_grave = policy.dead_letter.replace("{name}", name) == destination
        final = own_grave or name.startswith(DEAD_LETTER_PREFIX)
        queue = Queue(destination, name, policy, self, final=final)
        self.queues[name] = queue
        self._retirement.within(policy.expires)
        return queue

    def temporary_queue(self, destination: str, name: str) -> Queue:
        """A queue for one connection, found by others under ``/reply-queue/NAME``."""
        policy = self.policies.find(Kind.TEMPORARY, name)
        queue = Queue(destination, name, policy, self, volatile=True)
        self.replies[name] = queue
        return queue

    def close_temporary_queue(self, queue: Queue) -> None:
        """Forget a temporary queue and what is in it."""
        del self.replies[queue.name]
        queue.close()
        self.gone.add(queue)

    # -- topics ---------------------------------------------------------------------------

    def subscribe_topic(self, pattern: str) -> Queue:
        """The backlog of a new topic subscription."""
        policy = self.policies.find(Kind.TOPIC, pattern)
        destination = f"{Kind.TOPIC.value}{pattern}"
        queue = Queue(destination, pattern, policy, self, private=True, volatile=True)
        self.topics.add(pattern, queue)
        return queue

    def unsubscribe_topic(self, queue: Queue) -> None:
        """End a topic subscription's backlog."""
        self.topics.remove(queue.name, queue)
        queue.close()
        self.gone.add(queue)

    def subscribe_durably(self, wanted: DurableSubscription) -> Queue:
        """The backlog of a durable subscription, made if need be.

        Raises:
            ProtocolError: it has a subscriber already and is not shared, or there are too many.
        """
        known = self.durable.get(wanted.name)
        if known is not None and known.pattern != wanted.pattern:
            self.delete_durable(wanted.name)
            known = None
        if known is None:
            self.caps.check_name(wanted.name, "name of a durable subscription")
            self.caps.check_durables(len(self.durable))
            self.caps.check_queues(len(self.queues))
            queue = self._bind(wanted)
            self.store.keep_subscription(wanted.to_stored())
            self._tell_durable("durable.created", wanted)
            return queue
        queue = self.queues[known.queue]
        if queue.subscribed and not known.shared:
            raise ProtocolError(
                ErrorCode.SUBSCRIPTION_IN_USE,
                f"the durable subscription {wanted.name!r} has a subscriber",
            )
        if wanted.owner and not known.owner:
            self._keep_durable(replace(known, owner=wanted.owner))
        return queue

    def delete_durable(self, name: str) -> None:
        """End a durable subscription and its backlog.

        Raises:
            ProtocolError: there is none of that name, or it has a subscriber.
        """
        known = self.durable.get(name)
        if known is None:
            raise ProtocolError(
                ErrorCode.UNKNOWN_SUBSCRIPTION, f"there is no durable subscription {name!r}"
            )
        queue = self.queues[known.queue]
        if queue.subscribed:
            raise ProtocolError(
                ErrorCode.SUBSCRIPTION_IN_USE, f"the durable subscription {name!r} has a subscriber"
            )
        self.topics.remove(known.pattern, queue)
        del self.durable[name], self.queues[known.queue]
        self._refusing -= queue.policy.overflow == "reject-publish"
        queue.close()
        self.gone.add(queue)
        self.store.drop_subscription(name)
        self._tell_durable("durable.deleted", known)

    def _tell_durable(self, kind: str, subscription: DurableSubscription) -> None:
        self.events.tell(
            Event(
                type=kind,
                destination=f"{Kind.TOPIC.value}{subscription.pattern}",
                subscription=subscription.name,
                user=subscription.owner,
            )
        )

    def durable_of(self, queue: interface.Queue) -> DurableSubscription | None:
        """The durable subscription whose backlog a queue is."""
        return self.durable.get(queue.name.removeprefix(BACKLOG)) if queue.durable else None

    def _bind(self, subscription: DurableSubscription) -> Queue:
        policy = self.policies.find(Kind.TOPIC, subscription.pattern)
        name = subscription.queue
        queue = Queue(f"{Kind.QUEUE.value}{name}", name, policy, self, durable=True)
        self.queues[name] = queue
        self.durable[subscription.name] = subscription
        self._refusing += policy.overflow == "reject-publish"
        self.topics.add(subscription.pattern, queue)
        self._retirement.within(subscription.expires or policy.expires)
        return queue

    # -- what nobody uses -----------------------------------------------------------------

    def _retire(self, queue: Queue) -> float | None:
        """Forget a queue or durable subscription that nobody used for a while.

        Returns:
            In how many seconds that may be; None = never, as it stands.
        """
        patience = self._patience(queue)
        if not patience or (queue.setup.created and not queue.policy.expires):
            return None
        now = self.clock.now()
        in_use = queue.subscribed if queue.durable else queue.in_use
        since = now if in_use or queue.idle_since is None else queue.idle_since
        if queue.durable:
            self._keep_absence(queue, 0 if in_use else int((now - since) * 1000))
        if since + patience > now:
            return since + patience - now
        self._forget(queue)
        return None

    def _keep_absence(self, queue: Queue, away: int) -> None:
        """Have the store know since when a subscriber is away, so that restarts do not count.

        Args:
            queue: the backlog.
            away: milliseconds; 0 = it is there.
        """
        known = self.durable_of(queue)
        if known is not None and bool(known.left) != bool(away):
            left = self.wall() - away if away else 0
            self._keep_durable(replace(known, left=left))

    def _keep_durable(self, changed: DurableSubscription) -> None:
        self.durable[changed.name] = changed
        self.store.keep_subscription(changed.to_stored())

    def _patience(self, queue: Queue) -> float:
        """How many seconds a queue may be idle; 0 = for ever."""
        subscription = self.durable_of(queue)
        if subscription is None:
            return queue.policy.expires or self._idle_seconds
        return subscription.expires or queue.policy.expires

    def _forget(self, queue: Queue) -> None:
        subscription = self.durable_of(queue)
        if subscription is not None:
            log.info("%s: nobody came back to it; deleted", subscription)
            self._tell_durable("durable.expired", subscription)
            self.delete_durable(subscription.name)
        else:
            self.delete_queue(queue, "nobody used it")

    # -- dead letters ---------------------------------------------------------------------

    def grave(self, queue: GivesUp, cause: str) -> str:
        """Where messages go that a queue gives up; see `grave_of`."""
        return grave_of(queue, cause)

    def bury(self, queue: GivesUp, message: Message, cause: str, reason: str) -> bool:
        """Take a message that a queue gives up; see `Graves.bury`."""
        # A timer may be behind this, long after anything was received; and a dead letter is not
        # older than its death.
        self.note_time()
        return self._graves.bury(queue, message, cause, reason)

    def _publish_dead(self, destination: Destination, head: MessageHead, body: bytes) -> None:
        self.publish(destination, head, body, admit=False)

    def __iter__(self) -> Iterator[Queue]:
        """All named queues."""
        return iter(self.queues.values())
