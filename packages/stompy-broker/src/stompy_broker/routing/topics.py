"""Which subscriptions a topic's messages go to, and how many there were (**hot path**: `find`).

What a name matches is remembered with its counters, for the names that were published to lately.
The copies that subscribers got are the messages times the subscribers; they are added up when the
subscribers change.
"""

from __future__ import annotations

from collections.abc import Iterator

from stompy_broker.destinations.matcher import Matcher
from stompy_broker.routing.interface import Queue

REMEMBERED = 16 * 1024
"""Names that are remembered. Each takes some hundred bytes; one that is not remembered costs its
messages a look at the subscriptions."""


class Topic:
    """One name that was published to.

    Attributes:
        name: without prefix.
        queues: the backlogs of its subscriptions; and in a cluster, what stands for each broker
            that has subscriptions of its own.
        own: of these, the backlogs of subscriptions that end with a connection to this broker.
        published: messages that came in.
        relayed: messages that came in at another broker, which sent them here.
        came: `Message.stamp` of the last one; empty before the first.
        subscribers: how many subscriptions there are, as far as this broker knows them.
    """

    __slots__ = (
        "_copies",
        "_counted",
        "_counted_relayed",
        "came",
        "generation",
        "name",
        "own",
        "published",
        "queues",
        "relayed",
        "subscribers",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.queues: tuple[Queue, ...] = ()
        self.own: tuple[Queue, ...] = ()
        self.subscribers = 0
        self.published = self.relayed = 0
        self.came = b""
        self.generation = -1
        self._copies = 0
        self._counted = self._counted_relayed = 0

    @property
    def copies(self) -> int:
        """How many copies of its messages subscriptions were given."""
        relayed = (self.relayed - self._counted_relayed) * len(self.own)
        return self._copies + (self.published - self._counted) * self.subscribers + relayed

    def renew(self, queues: tuple[Queue, ...], generation: int) -> None:
        """Other subscriptions from now on."""
        self._copies = self.copies
        self._counted, self._counted_relayed = self.published, self.relayed
        self.queues = queues
        self.own = tuple([queue for queue in queues if queue.private])
        self.subscribers = len(self.own) + sum([queue.durable for queue in queues])
        self.generation = generation


class Topics:
    """The topic subscriptions of a broker, and the topics that were published to lately."""

    def __init__(self) -> None:
        self._matcher: Matcher[Queue] = Matcher(slashes=True)
        self._topics: dict[str, Topic] = {}
        self._unheard: dict[str, None] = {}  # those of them that have no subscribers
        self._generation = 0

    def find(self, name: str) -> Topic:
        """A topic, remembered from now on, with its present subscriptions."""
        topic = self._topics.get(name)
        if topic is not None and topic.generation == self._generation:
            return topic
        if topic is None:
            if len(self._topics) >= REMEMBERED:
                self._forget_some()
            topic = self._topics[name] = Topic(name)
        topic.renew(self._matcher.match(name), self._generation)
        if topic.queues:
            self._unheard.pop(name, None)
        else:
            self._unheard[name] = None
        return topic

    def match(self, name: str) -> tuple[Queue, ...]:
        """The backlogs of the subscriptions that a name matches."""
        return self._matcher.match(name)

    def durables(self, name: str) -> list[Queue]:
        """Of these, those of durable subscriptions, which may refuse a message."""
        return [queue for queue in self._matcher.match(name) if queue.durable]

    def add(self, pattern: str, queue: Queue) -> None:
        """Give a new subscription what is published from now on."""
        self._matcher.add(pattern, queue)
        self._generation += 1

    def remove(self, pattern: str, queue: Queue) -> None:
        """Give a subscription nothing more."""
        self._matcher.remove(pattern, queue)
        self._generation += 1

    def _forget_some(self) -> None:
        """Make room: names without subscribers first, else the one that came first.

        Nothing is looked through: with more names than are remembered, each message may come here.
        """
        unheard, self._unheard = self._unheard, {}
        for name in unheard or (next(iter(self._topics)),):
            del self._topics[name]

    def __len__(self) -> int:
        return len(self._topics)

    def __iter__(self) -> Iterator[Topic]:
        """The topics that were published to lately, as they are now."""
        return iter([self.find(name) for name in list(self._topics)])
