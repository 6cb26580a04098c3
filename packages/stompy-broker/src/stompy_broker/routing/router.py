"""From a destination to the queues that get the message. **Hot path** (`Router.publish`).

The router owns every queue and topic subscription, makes queues on first use, and retires those
that nobody used for a while. It numbers messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

from stompy_broker.clock import Clock
from stompy_broker.destination import Destination, Kind, parse_destination
from stompy_broker.message import Message, MessageHead, SharedMessage, stamp
from stompy_broker.policy import Policies
from stompy_broker.routing.matcher import Matcher
from stompy_broker.routing.pressure import Pressure
from stompy_broker.routing.queue import Done, Queue
from stompy_broker.store.base import MessageStore

_QUEUE, _TOPIC = Kind.QUEUE, Kind.TOPIC

_SEQUENCES_PER_MS = 2**20

DEAD_LETTER_PREFIX = "DLQ."


class Router:
    """All destinations of one broker.

    Args:
        clock: for delays and for retiring queues.
        wall: gives the time in milliseconds since the epoch.
        store: where persistent messages survive.
        policies: how destinations behave.
        memory_mark: bytes of waiting messages at which producers are made to wait.
        idle_queue_seconds: after which an unused empty queue is forgotten.
    """

    def __init__(
        self,
        clock: Clock,
        wall: Callable[[], int],
        store: MessageStore,
        policies: Policies,
        *,
        memory_mark: int,
        idle_queue_seconds: float,
    ) -> None:
        self.clock = clock
        self.store = store
        self.pressure = Pressure(memory_mark)
        self.queues: dict[str, Queue] = {}
        self.replies: dict[str, Queue] = {}
        self.unroutable = 0
        self.stamp = stamp(wall())
        self._wall = wall
        self._policies = policies
        self._topics: Matcher[Queue] = Matcher()
        # Beginning with the time keeps sequences growing over restarts, without a file.
        self._sequences = count(wall() * _SEQUENCES_PER_MS)
        self._idle_seconds = idle_queue_seconds
        self._retiring = clock.alarm(self._retire)
        self._retiring.set(clock.now() + idle_queue_seconds)

    def note_time(self) -> None:
        """Messages published from now on carry the present time."""
        self.stamp = stamp(self._wall())

    def publish(
        self,
        destination: Destination,
        head: MessageHead,
        body: bytes,
        done: Done | None = None,
    ) -> Pressure | None:
        """Route one message.

        Args:
            destination: a queue, a topic or somebody's reply queue; not a temporary queue.
            head: its headers.
            body: its body.
            done: called when it is safe.

        Returns:
            What the sender has to wait for before it sends more; None when there is room.
        """
        if destination.kind is _QUEUE:
            message = Message(next(self._sequences), head, body, self.stamp)
            queue = self.queues.get(destination.name) or self.queue(destination.name)
            queue.publish(message, done)
            if queue.pressure is not None and queue.pressure.full and not self.pressure.full:
                return queue.pressure
        elif destination.kind is _TOPIC:
            self._publish_to_topic(destination.name, head, body, done)
        else:
            self._publish_reply(destination.name, head, body, done)
        return self.pressure if self.pressure.full else None

    def publish_to(
        self, queue: Queue, head: MessageHead, body: bytes, done: Done | None = None
    ) -> None:
        """Put a message into a queue that is known already."""
        queue.publish(Message(next(self._sequences), head, body, self.stamp), done)

    def _publish_to_topic(
        self, name: str, head: MessageHead, body: bytes, done: Done | None
    ) -> None:
        queues = self._topics.match(name)
        if not queues:
            self.unroutable += 1
        else:
            shared = head.plain and len(queues) > 1
            kind = SharedMessage if shared else Message
            message = kind(next(self._sequences), head, body, self.stamp)
            for queue in queues:
                queue.publish(message)
        if done is not None:
            self.store.sync(done)

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

    # -- queues ---------------------------------------------------------------------------

    def queue(self, name: str) -> Queue:
        """The queue of that name, made if need be."""
        queue = self.queues.get(name)
        if queue is None:
            policy = self._policies.find(Kind.QUEUE, name)
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

    def subscribe_topic(self, pattern: str) -> Queue:
        """The backlog of a new topic subscription."""
        policy = self._policies.find(Kind.TOPIC, pattern)
        queue = Queue(
            f"{Kind.TOPIC.value}{pattern}", pattern, policy, self, private=True, volatile=True
        )
        self._topics.add(pattern, queue)
        return queue

    def unsubscribe_topic(self, queue: Queue) -> None:
        """End a topic subscription's backlog."""
        self._topics.remove(queue.name, queue)
        queue.close()

    def _retire(self) -> None:
        """Forget queues that nobody used for a while."""
        now = self.clock.now()
        for name, queue in list(self.queues.items()):
            if queue.in_use:
                continue
            if queue.idle_since is None or queue.idle_since + self._idle_seconds <= now:
                del self.queues[name]
        self._retiring.set(now + self._idle_seconds)

    # -- dead letters ---------------------------------------------------------------------

    def dead_letter(self, queue: Queue, message: Message, cause: str, reason: str) -> None:
        """Move a message that a queue gives up to where its policy says.

        A topic's messages are filed under the topic, not under the pattern that was subscribed.
        What a connection rejects of its own temporary queue is dropped.
        """
        headers = message.head.headers()
        origin = headers["destination"]
        name = parse_destination(origin).name if queue.private else queue.name
        target = queue.policy.dead_letter.replace("{name}", name)
        if not target or (queue.volatile and not queue.private):
            queue.dropped += 1
            return
        headers.setdefault("x-first-death-queue", name)
        headers.setdefault("x-first-death-reason", cause)
        headers.setdefault("original-destination", origin)
        headers |= {
            "destination": target,
            "x-last-death-queue": name,
            "x-last-death-reason": cause,
            "x-death-count": str(message.deliveries),
            "x-death-time": str(self._wall()),
        }
        if reason:
            headers["x-death-info"] = reason
        head = MessageHead.from_headers(headers, message_id=message.message_id.encode())
        self.publish(parse_destination(target), head, message.body)

    def __iter__(self) -> Iterator[Queue]:
        """All named queues."""
        return iter(self.queues.values())
