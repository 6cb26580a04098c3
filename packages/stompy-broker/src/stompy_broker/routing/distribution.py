"""What one SEND becomes, where it goes to more than the destination that it names.

A `Distribution` is found once for each destination. It makes the parts of each message: where to,
and with which headers. They are published as one change (`stompy_broker.session.spread_send`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from stompy_broker.destinations.names import Destination, DestinationKind, parse_destination
from stompy_broker.message import Message, MessageHead, MessageTraits
from stompy_broker.retain_headers import without_retain
from stompy_broker.selectors.selector import Selector

_REMEMBERED: Final = 64
"""Heads that are remembered as they were rewritten; then it begins anew."""

ORIGIN: Final = "original-destination"


class SpreadPart(NamedTuple):
    """One of the messages that a SEND becomes.

    Attributes:
        destination: where it goes: a queue, a topic or somebody's reply queue.
        head: its headers.
    """

    destination: Destination
    head: MessageHead


class Distribution(Protocol):
    """Where messages go that are sent to one destination.

    Attributes:
        one_id: whether all parts of a message have its ``message-id``.
    """

    one_id: bool

    def parts(self, message: Message) -> list[SpreadPart]:
        """The parts of a message. Its number is the ``message-id`` if they have that."""
        ...


class RewrittenHeads:
    """Heads as copies of messages have them; remembered for headers that come again.

    Args:
        destination: of the copies, as a client would write it.
        added: headers that they have beside, or instead.
        tells_origin: whether they say where the message was sent to, unless it says that already.
    """

    def __init__(
        self,
        destination: str,
        added: Mapping[str, str] | None = None,
        *,
        tells_origin: bool = True,
    ) -> None:
        self._destination = destination
        self._is_topic = parse_destination(destination).kind is DestinationKind.TOPIC
        self._added = added or {}
        self._tells_origin = tells_origin
        self._known: dict[bytes, MessageHead] = {}

    def of(self, head: MessageHead) -> MessageHead:
        """The head of a copy."""
        known = self._known.get(head.block)
        if known is None:
            headers = head.headers()
            if self._tells_origin:
                headers.setdefault(ORIGIN, headers.get("destination", ""))
            if head.traits.retains and not self._is_topic:
                headers = without_retain(headers)  # a queue keeps everything
            headers |= {**self._added, "destination": self._destination}
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[head.block] = MessageHead.from_headers(headers)
        return known


def with_id(head: MessageHead, message_id: bytes) -> MessageHead:
    """The same head, of a message whose ``message-id`` is told by somebody else."""
    traits = head.traits
    told = MessageTraits(
        sized=traits.sized,
        stamped=traits.stamped,
        persistent=traits.persistent,
        priority=traits.priority,
        ttl=traits.ttl,
        expires=traits.expires,
        message_id=message_id,
        grouping=traits.grouping,
        retains=traits.retains,
    )
    return MessageHead(head.block, told)


def _again(message: Message, head: MessageHead) -> Message:
    """The same message with other headers."""
    return Message(message.sequence, head, message.body, message.stamp)


class PlainDistribution:
    """A destination and nothing else.

    Args:
        destination: it.
    """

    one_id = False

    def __init__(self, destination: Destination) -> None:
        self._destination = destination

    def parts(self, message: Message) -> list[SpreadPart]:
        """Give the message itself and nothing else."""
        return [SpreadPart(self._destination, message.head)]


class CompositeDistribution:
    """Several destinations that a SEND names with commas between.

    Args:
        parts: each as it was written, and where messages go that are sent there.
    """

    one_id = True

    def __init__(self, parts: Sequence[tuple[str, Distribution]]) -> None:
        self._parts = [
            (RewrittenHeads(text, tells_origin=False), distribution) for text, distribution in parts
        ]

    def parts(self, message: Message) -> list[SpreadPart]:
        """What each of them gets; each copy has its own destination."""
        return [
            part
            for heads, distribution in self._parts
            for part in distribution.parts(_again(message, heads.of(message.head)))
        ]


class VirtualTopicDistribution:
    """A virtual topic, and the queues that get its messages.

    Args:
        topic: it.
        queues: gives the names of the queues that there are.
    """

    one_id = False

    def __init__(self, topic: Destination, queues: Callable[[str], list[str]]) -> None:
        self._topic = topic
        self._queues = queues
        self._heads: dict[str, tuple[Destination, RewrittenHeads]] = {}

    def parts(self, message: Message) -> list[SpreadPart]:
        """The message for the topic, and a copy for each queue."""
        head = message.head
        parts = [SpreadPart(self._topic, head)]
        for name in self._queues(self._topic.name):
            if name not in self._heads:
                queue = Destination(DestinationKind.QUEUE, name, is_pattern=False)
                self._heads[name] = queue, RewrittenHeads(str(queue))
            queue, heads = self._heads[name]
            parts.append(SpreadPart(queue, heads.of(head)))
        return parts


class RouteTarget(NamedTuple):
    """One place that a route leads to.

    Attributes:
        heads: makes the headers of what goes there.
        distribution: where that goes.
    """

    heads: RewrittenHeads
    distribution: Distribution


class RouteWay(NamedTuple):
    """One route that begins at a destination.

    Attributes:
        selector: which messages it is for; None = all.
        moves: whether they do not go where they were sent to.
        targets: where they go.
    """

    selector: Selector | None
    moves: bool
    targets: Sequence[RouteTarget]


class RoutedDistribution:
    """A destination from which routes lead elsewhere.

    Args:
        own: where messages go without the routes.
        ways: the routes.
    """

    one_id = True

    def __init__(self, own: Distribution, ways: Sequence[RouteWay]) -> None:
        self._own = own
        self._ways = ways

    def parts(self, message: Message) -> list[SpreadPart]:
        """The message, unless a route takes it elsewhere, and its copies."""
        taken = [way for way in self._ways if way.selector is None or way.selector.matches(message)]
        parts = [] if any(way.moves for way in taken) else self._own.parts(message)
        for way in taken:
            for target in way.targets:
                copy = _again(message, target.heads.of(message.head))
                parts += target.distribution.parts(copy)
        return parts
