"""Which subscriptions a topic's messages go to, and how many there were (**hot path**: `find`).

What a name matches is remembered with its counters, for the names that were published to lately.
The copies that subscribers got are the messages times the subscribers; they are added up when the
subscribers change. Subscriptions that do not take everything stand apart (`choices`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from stompy_broker.destinations.matcher import Matcher
from stompy_broker.message import Message
from stompy_broker.routing.choices import NOBODY, Choice, Chooser
from stompy_broker.routing.interface import Queue
from stompy_broker.selectors.selector import Selector

REMEMBERED = 16 * 1024
"""Names that are remembered. Each takes some hundred bytes; one that is not remembered costs its
messages a look at the subscriptions."""


class Topic:
    """One name that was published to.

    Attributes:
        name: without prefix.
        queues: the backlogs of its subscriptions; and in a cluster, what stands for each broker
            that has subscriptions of its own. None if some of them do not take everything.
        own: of these, the backlogs of subscriptions that end with a connection to this broker.
        choice: the subscriptions, if some of them do not take everything.
        published: messages that came in.
        relayed: messages that came in at another broker, which sent them here.
        came: `Message.stamp` of the last one; empty before the first.
        subscribers: how many subscriptions there are, as far as this broker knows them.
        durables: how many of them are durable.
    """

    __slots__ = (
        "_copies",
        "_counted",
        "_counted_relayed",
        "came",
        "choice",
        "durables",
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
        self.choice: Choice | None = None
        self.subscribers = self.durables = 0
        self.published = self.relayed = 0
        self.came = b""
        self.generation = -1
        self._copies = 0
        self._counted = self._counted_relayed = 0

    @property
    def copies(self) -> int:
        """How many copies of its messages subscriptions were given."""
        if self.choice is not None:
            return self._copies
        relayed = (self.relayed - self._counted_relayed) * len(self.own)
        return self._copies + (self.published - self._counted) * self.subscribers + relayed

    def renew(
        self, queues: tuple[Queue, ...], generation: int, choosers: tuple[Chooser, ...] = ()
    ) -> None:
        """Other subscriptions from now on."""
        self._copies = self.copies
        self._counted, self._counted_relayed = self.published, self.relayed
        if self.choice is not None:
            self.choice.count()
        self.choice = Choice(queues, choosers) if choosers else None
        self.queues = () if choosers else queues
        own = tuple([queue for queue in queues if queue.private])
        lasting = [chooser.queue for chooser in choosers if not chooser.private]
        self.own = () if choosers else own
        self.durables = sum([_is_kept(queue) for queue in (*queues, *lasting)])
        self.subscribers = len(own) + len(choosers) - len(lasting) + self.durables
        self.generation = generation

    def choose(self, message: Message, sender: tuple[str, ...]) -> tuple[Queue, ...]:
        """The backlogs that a message goes to which is published now.

        Args:
            message: it.
            sender: who sent it; see `Topics.sender`.
        """
        if self.choice is None:
            return self.queues
        found = self.choice.find(message, sender)
        self._copies += sum([queue.private or _is_kept(queue) for queue in found])
        return found

    def choose_own(self, message: Message) -> tuple[Queue, ...]:
        """Of the backlogs that a message of another broker goes to, those that are in `own`."""
        if self.choice is None:
            return self.own
        found = tuple([queue for queue in self.choice.find(message, NOBODY) if queue.private])
        self._copies += len(found)
        return found


class Topics:
    """The topic subscriptions of a broker, and the topics that were published to lately.

    Attributes:
        sender: what the client is called that publishes just now: the key of its session, and
            perhaps `by_client_id`. Empty unless somebody declines what it sends.
        declined: told of a sender whose messages somebody does not take from now on.
    """

    def __init__(self) -> None:
        self.sender: tuple[str, ...] = NOBODY
        self.declined: Callable[[str], None] = _nobody_asks
        self._matcher: Matcher[Queue] = Matcher(slashes=True)
        self._choosing: Matcher[Chooser] = Matcher(slashes=True)
        self._choosers: dict[Queue, Chooser] = {}
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
        choosers = self._choosing.match(name) if self._choosers else ()
        topic.renew(self._matcher.match(name), self._generation, choosers)
        if topic.queues or choosers:
            self._unheard.pop(name, None)
        else:
            self._unheard[name] = None
        return topic

    def match(self, name: str) -> tuple[Queue, ...]:
        """The backlogs of the subscriptions that a name matches, whatever they take."""
        found = self._matcher.match(name)
        if self._choosers:
            found += tuple([one.queue for one in self._choosing.match(name)])
        return found

    def durables(self, name: str) -> list[Queue]:
        """Of these, those of durable subscriptions, which may refuse a message."""
        return [queue for queue in self.match(name) if _is_kept(queue)]

    def durables_for(self, name: str, message: Message) -> list[Queue]:
        """The backlogs of durable subscriptions that a message would go to."""
        choice = self.find(name).choice
        if choice is None:
            return self.durables(name)
        return [queue for queue in choice.would_take(message, self.sender) if _is_kept(queue)]

    def add(
        self,
        pattern: str,
        queue: Queue,
        selector: Selector | None = None,
        not_from: str = "",
    ) -> None:
        """Give a subscription what is published from now on.

        Args:
            pattern: to which topics. A subscription may have several.
            queue: its backlog.
            selector: what it takes of that; None = everything. The same for all its patterns.
            not_from: a sender whose messages it does not take; likewise. See `sender`.
        """
        if selector is None and not not_from:
            self._matcher.add(pattern, queue)
        else:
            chooser = self._choosers.get(queue)
            if chooser is None:
                chooser = self._choosers[queue] = Chooser(queue, selector, not_from)
                if not_from:
                    self.declined(not_from)
            chooser.patterns += 1
            self._choosing.add(pattern, chooser)
        self._generation += 1

    def remove(self, pattern: str, queue: Queue) -> None:
        """Give a subscription nothing more that is published to these topics."""
        chooser = self._choosers.get(queue)
        if chooser is None:
            self._matcher.remove(pattern, queue)
        else:
            self._choosing.remove(pattern, chooser)
            chooser.patterns -= 1
            if not chooser.patterns:
                del self._choosers[queue]
        self._generation += 1

    def declines(self, sender: str) -> bool:
        """Whether anybody does not take what a sender sends."""
        return any(chooser.not_from == sender for chooser in self._choosers.values())

    def chooser(self, queue: Queue) -> Chooser | None:
        """What a subscription takes; None = everything. Its figures are as `count` left them."""
        return self._choosers.get(queue)

    def count(self) -> None:
        """Tell those who choose how much they were offered. Not for the hot path."""
        if self._choosers:
            for topic in self._topics.values():
                if topic.choice is not None:
                    topic.choice.count()

    def _forget_some(self) -> None:
        """Make room: names without subscribers first, else the one that came first.

        Nothing is looked through: with more names than are remembered, each message may come here.
        """
        unheard, self._unheard = self._unheard, {}
        for name in unheard or (next(iter(self._topics)),):
            topic = self._topics.pop(name)
            if topic.choice is not None:
                topic.choice.count()

    def __len__(self) -> int:
        return len(self._topics)

    def __iter__(self) -> Iterator[Topic]:
        """The topics that were published to lately, as they are now."""
        return iter([self.find(name) for name in list(self._topics)])


def _nobody_asks(sender: str) -> None:
    """Tell nobody."""


def _is_kept(queue: Queue) -> bool:
    """Whether what is published there waits also while nobody is there, and may be refused.

    So it is with backlogs of durable subscriptions and with named queues, but not with what stands
    for another broker.
    """
    return queue.unshared and not queue.private
