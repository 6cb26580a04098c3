"""From a destination to the queues that get the message (**hot path**: `Router.publish`).

The router owns every queue and topic subscription, makes queues on first use, and retires those
that nobody used for a while. It numbers messages, and knows where dead letters go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.clock import Clock
from stompy_broker.destination import Destination, Kind, parse_destination
from stompy_broker.message import Message, MessageHead, SharedMessage, stamp
from stompy_broker.policy import ARGUMENTS, DEAD_LETTER, Policies
from stompy_broker.routing.durable import DurableSubscription
from stompy_broker.routing.matcher import Matcher
from stompy_broker.routing.pressure import Pressure
from stompy_broker.routing.queue import Queue
from stompy_broker.store.base import Done, MessageStore

_QUEUE, _TOPIC = Kind.QUEUE, Kind.TOPIC

_NO_HEADERS: Mapping[str, str] = {}

_SEQUENCES_PER_MS = 2**20

DEAD_LETTER_PREFIX = "DLQ."

_NO_LONGER = frozenset(("expiration", "expires", "ttl"))
"""Headers that would end a dead letter as well."""


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

    Attributes:
        pressure: memory in use.
        disk: disk space in use.
        stalled: full while the store cannot write.
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
    ) -> None:
        self.clock = clock
        self.store = store
        self.wall = wall
        self.pressure = Pressure(memory_mark, self._review)
        self.disk = Pressure(disk_mark, self._review)
        self.stalled = Pressure(0, self._review)
        self._full: Pressure | None = None
        self.queues: dict[str, Queue] = {}
        self.replies: dict[str, Queue] = {}
        self.durable: dict[str, DurableSubscription] = {}
        self.unroutable = 0
        self.stamp = stamp(wall())
        self._evict_above = memory_mark // 2
        self._policies = policies
        self._topics: Matcher[Queue] = Matcher()
        # Beginning with the time keeps sequences growing over restarts, without a file.
        self._sequences = count(wall() * _SEQUENCES_PER_MS)
        self._idle_seconds = idle_queue_seconds
        self._retiring = clock.alarm(self._retire)
        self._retiring.set(clock.now() + idle_queue_seconds)

    def restore(self) -> int:
        """Take back what the store has kept; gives the number of messages."""
        for name, headers in self.store.queues().items():
            self.queue(name, headers)
        for stored in self.store.subscriptions():
            self._bind(DurableSubscription.from_stored(stored))
        restored, last = 0, 0
        for entry in self.store.restore():
            self.queue(parse_destination(entry.destination).name).restore(entry.message, entry.due)
            restored, last = restored + 1, entry.message.sequence
        self._sequences = count(max(self.wall() * _SEQUENCES_PER_MS, last + 1))
        return restored

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
        if self._full is not None and self._full.refuses and admit:
            self._refuse(head)
        if destination.kind is _QUEUE:
            message = Message(next(self._sequences), head, body, self.stamp)
            if head.ttl or head.expires:
                message.expires = self._end_of(head)
            queue = self.queues.get(destination.name) or self.queue(destination.name)
            queue.publish(message, done, admit=admit)
            if self._full is None and queue.pressure is not None and queue.pressure.full:
                return queue.pressure
        elif destination.kind is _TOPIC:
            self._publish_to_topic(destination.name, head, body, done)
        else:
            self._publish_reply(destination.name, head, body, done)
        return self._full

    def admit(self, destination: Destination, head: MessageHead) -> None:
        """Whether `publish` would take a message.

        Raises:
            ProtocolError: it would not.
        """
        if self._full is not None and self._full.refuses:
            self._refuse(head)
        queue = self.queues.get(destination.name) if destination.kind is _QUEUE else None
        if queue is not None:
            queue.admit()

    def publish_to(
        self, queue: Queue, head: MessageHead, body: bytes, done: Done | None = None
    ) -> None:
        """Put a message into a queue that is known already."""
        message = Message(next(self._sequences), head, body, self.stamp)
        if head.ttl or head.expires:
            message.expires = self._end_of(head)
        queue.publish(message, done)

    def _publish_to_topic(
        self, name: str, head: MessageHead, body: bytes, done: Done | None
    ) -> None:
        queues = self._topics.match(name)
        if not queues:
            self.unroutable += 1
        elif len(queues) == 1:
            self.publish_to(queues[0], head, body)
        else:
            shared = None
            for queue in queues:
                if queue.durable or not head.plain or head.ttl or head.expires:
                    # It may be stored, or end: then each has its own place.
                    self.publish_to(queue, head, body)
                    continue
                if shared is None:
                    shared = SharedMessage(next(self._sequences), head, body, self.stamp)
                queue.publish(shared)
        if done is not None:
            self.store.sync(done)

    def _publish_reply(self, name: str, head: MessageHead, body: bytes, done: Done | None) -> None:
        """A reply to somebody who is gone is dropped: its sender is not to blame."""
        queue = self.replies.get(name)
        if queue is None:
            self.unroutable += 1
            if done is not None:
                self.store.sync(done)
            return
        headers = head.headers() | {"destination": queue.destination}
        self.publish_to(queue, MessageHead.from_headers(headers), body, done)

    def _end_of(self, head: MessageHead) -> int:
        """When a message ends: the earlier of its two ways to say so."""
        ends = [head.expires] if head.expires else []
        if head.ttl:
            ends.append(self.wall() + head.ttl)
        return min(ends)

    def _refuse(self, head: MessageHead) -> None:
        full = self._full
        if full is not None and head.persistent:
            raise ProtocolError(ErrorCode.STORE_UNAVAILABLE, full.refuses)

    # -- pressure -------------------------------------------------------------------------

    def _review(self) -> None:
        """Something became full, or has room again."""
        everything = (self.stalled, self.disk, self.pressure)
        self._full = next((pressure for pressure in everything if pressure.full), None)

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
                total.used -= message.size - message.ram_on_disk
                message.body = None
        if total.used <= total.floor:
            total.relieved()

    # -- queues ---------------------------------------------------------------------------

    def queue(self, name: str, headers: Mapping[str, str] = _NO_HEADERS) -> Queue:
        """The queue of that name, made if need be.

        Args:
            name: without prefix.
            headers: of the SEND or SUBSCRIBE that wants it; a first one may set it up.

        Raises:
            ProtocolError: a header for setting it up that cannot be.
        """
        queue = self.queues.get(name)
        if queue is None:
            try:
                policy = self._policies.find(Kind.QUEUE, name).with_arguments(headers)
            except ValueError as error:
                raise ProtocolError(ErrorCode.BAD_HEADER, str(error)) from None
            kept = {key: value for key, value in headers.items() if key in ARGUMENTS}
            if kept:
                self.store.keep_queue(name, kept)
            final = name.startswith(DEAD_LETTER_PREFIX)
            queue = Queue(f"{Kind.QUEUE.value}{name}", name, policy, self, final=final)
            self.queues[name] = queue
        return queue

    def temporary_queue(self, destination: str, name: str) -> Queue:
        """A queue for one connection, found by others under ``/reply-queue/NAME``."""
        policy = self._policies.find(Kind.TEMPORARY, name)
        queue = Queue(destination, name, policy, self, volatile=True)
        self.replies[name] = queue
        return queue

    def close_temporary_queue(self, queue: Queue) -> None:
        """Forget a temporary queue and what is in it."""
        del self.replies[queue.name]
        queue.close()

    # -- topics ---------------------------------------------------------------------------

    def subscribe_topic(self, pattern: str) -> Queue:
        """The backlog of a new topic subscription."""
        policy = self._policies.find(Kind.TOPIC, pattern)
        destination = f"{Kind.TOPIC.value}{pattern}"
        queue = Queue(destination, pattern, policy, self, private=True, volatile=True)
        self._topics.add(pattern, queue)
        return queue

    def unsubscribe_topic(self, queue: Queue) -> None:
        """End a topic subscription's backlog."""
        self._topics.remove(queue.name, queue)
        queue.close()

    def subscribe_durably(self, wanted: DurableSubscription) -> Queue:
        """The backlog of a durable subscription, made if need be.

        Raises:
            ProtocolError: it has a subscriber already and is not shared.
        """
        known = self.durable.get(wanted.name)
        if known is not None and known.pattern != wanted.pattern:
            self.delete_durable(wanted.name)
            known = None
        if known is None:
            queue = self._bind(wanted)
            self.store.keep_subscription(wanted.to_stored())
            return queue
        queue = self.queues[known.queue]
        if queue.consumers and not known.shared:
            raise ProtocolError(
                ErrorCode.SUBSCRIPTION_IN_USE,
                f"the durable subscription {wanted.name!r} has a subscriber",
            )
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
        if queue.consumers:
            raise ProtocolError(
                ErrorCode.SUBSCRIPTION_IN_USE, f"the durable subscription {name!r} has a subscriber"
            )
        self._topics.remove(known.pattern, queue)
        del self.durable[name], self.queues[known.queue]
        queue.close()
        self.store.drop_subscription(name)

    def durable_of(self, queue: Queue) -> DurableSubscription | None:
        """The durable subscription whose backlog a queue is."""
        return next((sub for sub in self.durable.values() if sub.queue == queue.name), None)

    def _bind(self, subscription: DurableSubscription) -> Queue:
        policy = self._policies.find(Kind.TOPIC, subscription.pattern)
        name = subscription.queue
        queue = Queue(f"{Kind.QUEUE.value}{name}", name, policy, self, durable=True)
        self.queues[name] = queue
        self.durable[subscription.name] = subscription
        self._topics.add(subscription.pattern, queue)
        return queue

    def _retire(self) -> None:
        """Forget queues and durable subscriptions that nobody used for a while."""
        now = self.clock.now()
        shortest = self._idle_seconds
        for name, queue in list(self.queues.items()):
            patience = queue.policy.expires or self._idle_seconds
            shortest = min(shortest, patience)
            if queue.durable or queue.in_use:
                continue
            if queue.idle_since is None or queue.idle_since + patience <= now:
                del self.queues[name]
                self.store.keep_queue(name, None)
        for name, subscription in list(self.durable.items()):
            queue = self.queues[subscription.queue]
            patience = subscription.expires or queue.policy.expires
            if patience:
                shortest = min(shortest, patience)
            if patience and queue.idle_since is not None and queue.idle_since + patience <= now:
                self.delete_durable(name)
        self._retiring.set(now + shortest)

    # -- dead letters ---------------------------------------------------------------------

    def bury(self, queue: Queue, message: Message, cause: str, reason: str) -> None:
        """Move a message that a queue gives up to where its policy says, or drop it.

        A topic's messages are filed under the topic, not under the pattern that was subscribed.
        What a connection rejects of its own temporary queue is dropped.
        """
        if cause == "expired":
            queue.expired += 1
        headers = message.head.headers()
        origin = headers["destination"]
        name = parse_destination(origin).name if queue.private or queue.durable else queue.name
        target = self._grave(queue, cause).replace("{name}", name)
        if not target or (queue.volatile and not queue.private):
            queue.dropped += cause != "expired"
            return
        queue.dead_lettered += 1
        for header in _NO_LONGER & headers.keys():
            headers[f"original-{header}"] = headers.pop(header)
        headers.setdefault("x-first-death-queue", name)
        headers.setdefault("x-first-death-reason", cause)
        headers.setdefault("original-destination", origin)
        headers |= {
            "destination": target,
            "x-last-death-queue": name,
            "x-last-death-reason": cause,
            "x-death-count": str(message.deliveries),
            "x-death-time": str(self.wall()),
        }
        if reason:
            headers["x-death-info"] = reason
        head = MessageHead.from_headers(headers, message_id=message.message_id.encode())
        assert message.body is not None
        self.publish(parse_destination(target), head, message.body, admit=False)

    def _grave(self, queue: Queue, cause: str) -> str:
        policy = queue.policy
        if cause == "expired":
            return policy.dead_letter if policy.expired_to == DEAD_LETTER else policy.expired_to
        return policy.dead_letter

    def __iter__(self) -> Iterator[Queue]:
        """All named queues."""
        return iter(self.queues.values())
