"""Messages that topics keep for who subscribes later: kept when they are sent, shown to who comes.

What is sent with ``x-retain:true`` goes to the subscribers that there are, without that header, and
in the same turn into the queue that keeps it (`stompy_broker.routing.retained_queue`). Whoever
subscribes gets copies of what is kept in the very turn in which it gets what is published from then
on: so everybody sees each message once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, Protocol

from stompy_broker.destinations.names import Destination, DestinationKind, topic_text
from stompy_broker.destinations.policy import Policies
from stompy_broker.message import (
    OVERHEAD,
    Common,
    CopiedMessage,
    Message,
    MessageHead,
    MessageTraits,
)
from stompy_broker.retain_headers import PLAIN_RETAIN, RETAINED, without_retain
from stompy_broker.routing.answers import Done
from stompy_broker.routing.caps import Caps
from stompy_broker.routing.distribution import with_id
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.interface import KEEP_GROUPS, Queue
from stompy_broker.routing.retained_table import Entry, RetainedTable
from stompy_broker.selectors.selector import Selector

_REMEMBERED: Final = 16_384
"""Topics whose last heads are remembered; then it begins anew."""


class RetainedHeads(NamedTuple):
    """The heads of a message that a topic keeps.

    Attributes:
        live: as those get it who are there: without what asks that it is kept.
        kept: as those get it who come later.
    """

    live: MessageHead
    kept: MessageHead


class RetainedHolder(Protocol):
    """What messages that are kept need around them.

    Attributes:
        stamp: the present time, as messages have it.
        policies: how destinations behave.
    """

    stamp: bytes
    policies: Policies

    @property
    def caps(self) -> Caps:
        """How many there may be."""
        ...

    def wall(self) -> int:
        """Milliseconds since the epoch."""
        ...

    def retained_queue(self) -> Queue | None:
        """The queue that keeps them, made if need be; None = nothing is kept."""
        ...


class RetainedMessages:
    """What the topics of one broker keep.

    Args:
        holder: the broker around them.
        home: of their queue.

    Attributes:
        table: what there is.
    """

    def __init__(self, holder: RetainedHolder, home: QueueGroup) -> None:
        self.table = RetainedTable()
        self.home = home
        self._holder = holder
        # By topic: what it keeps changes, while its sender repeats the headers.
        self._heads: dict[str, tuple[bytes, bytes | None, RetainedHeads]] = {}

    # -- keeping ----------------------------------------------------------------------------

    def check(self, wanted: Iterable[tuple[str, int, int]]) -> None:
        """Check that there is room for messages that come together.

        Args:
            wanted: of each the topic, and how long header block and body are.

        Raises:
            ProtocolError: there is none.
        """
        sizes = [(topic, block + body + OVERHEAD if body else 0) for topic, block, body in wanted]
        kept = [(topic, size) for topic, size in sizes if size]
        if kept:
            self.table.check(kept, self._holder.caps)

    def heads_of(self, head: MessageHead, topic: str) -> RetainedHeads:
        """The heads of a message that a topic is to keep."""
        block, message_id = head.block, head.traits.message_id
        known = self._heads.get(topic)
        if known is not None and known[0] == block and known[1] == message_id:
            return known[2]
        if len(self._heads) >= _REMEMBERED:
            self._heads.clear()
        heads = self._make_heads(head, topic)
        self._heads[topic] = block, message_id, heads
        return heads

    def _make_heads(self, head: MessageHead, topic: str) -> RetainedHeads:
        headers, message_id = without_retain(head.headers()), head.traits.message_id
        live = MessageHead.from_headers(headers, message_id=message_id)
        said = {"destination": topic_text(topic), PLAIN_RETAIN: "true", RETAINED: "true"}
        kept = MessageHead.from_headers(headers | said, message_id=message_id)
        return RetainedHeads(live, kept)

    def keep(self, topic: str, head: MessageHead, body: bytes, done: Done | None) -> None:
        """Have a message be the last one of its topic; an empty one has it forget what it kept.

        Args:
            topic: its name.
            head: as `RetainedHeads.kept`.
            body: of the message.
            done: called when that is safe.
        """
        forgets = not body and topic not in self.table.messages
        queue = None if forgets else self._holder.retained_queue()
        if queue is None:
            if done is not None:
                done()
            return
        policy = self._holder.policies.find(DestinationKind.TOPIC, topic)
        if head.traits.persistent and not policy.persistent:
            head = MessageHead(head.block, _in_memory(head.traits))
        common = Common(len(body) + len(head.block))
        message = CopiedMessage(queue.sequences.take(), head, body, self._holder.stamp, common)
        if head.traits.can_expire:
            message.expires = head.ends_at(self._holder.wall())
        queue.publish(message, done)

    # -- showing ----------------------------------------------------------------------------

    def when_there(self, destinations: Iterable[Destination], then: Callable[[], None]) -> None:
        """Call ``then`` once all that may be shown to a subscriber is in memory: at once, mostly.

        Args:
            destinations: that it subscribes to.
            then: called while that is so.
        """
        entries: list[Entry] = []
        if self.table.messages:
            for destination in destinations:
                if destination.kind is DestinationKind.TOPIC:
                    entries += self.table.matching(destination.name, self._holder.wall())
        if any(message.body is None for _, message in entries):
            self.table.load(entries, then)
        else:
            then()

    def for_subscriber(self, pattern: str, selector: Selector | None = None) -> list[Message]:
        """What somebody is to be shown who subscribes now, oldest first.

        Args:
            pattern: of topics.
            selector: which messages it takes; None = all.
        """
        if not self.table.messages:
            return []
        found = [
            message
            for _, message in self.table.matching(pattern, self._holder.wall())
            if message.body is not None
        ]
        if selector is not None:
            found = [message for message in found if selector.matches(message)]
        return found

    def show(self, messages: Iterable[Message], queue: Queue) -> None:
        """Put copies of what is kept into the queue of a subscriber.

        Args:
            messages: as `for_subscriber` gave them.
            queue: its backlog, or the queue that it has bound.
        """
        own_numbers = not queue.private
        for message in messages:
            head, body, number = message.head, message.body, message.sequence
            assert body is not None
            if own_numbers:
                # In a store each has a number of its own; the message-id stays what it was.
                head = with_id(head, message.message_id.encode())
                number = queue.sequences.take()
            common = message.common if isinstance(message, CopiedMessage) else None
            common = common or Common(len(body) + len(head.block))
            copy = CopiedMessage(number, head, body, message.stamp, common)
            copy.expires = message.expires
            if head.traits.group is not None:
                queue.control(KEEP_GROUPS)
            queue.publish(copy)


def _in_memory(traits: MessageTraits) -> MessageTraits:
    """The same traits, of a message that is not stored."""
    return MessageTraits(
        sized=traits.sized,
        stamped=traits.stamped,
        persistent=False,
        priority=traits.priority,
        ttl=traits.ttl,
        expires=traits.expires,
        message_id=traits.message_id,
        grouping=traits.grouping,
    )
