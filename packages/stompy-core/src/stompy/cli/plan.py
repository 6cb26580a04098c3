"""A load on a broker as plain values: what is planned, and what came of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from stompy.cli.histogram import Histogram
from stompy.protocol.frame import AckMode

_ACK_EVERY = 20
"""In mode ``client`` so many messages are acknowledged at once."""


class LoadKind(StrEnum):
    """What a load is like."""

    QUEUE = "queue"
    """Each message goes to one consumer."""
    TOPIC = "topic"
    """Each message goes to all consumers of its topic."""
    DURABLE = "durable"
    """Messages are sent while the subscribers are away, who then come and take them."""
    REQUEST = "request"
    """Each message is a request that a consumer answers; the producer waits for the answer."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A load to be run.

    Attributes:
        kind: what it is like.
        messages: how many are sent in all, at most.
        seconds: for how long, at most.
        producers: how many send.
        consumers: how many receive.
        destinations: how many queues or topics; producers and consumers are shared out among them.
        sizes: lengths of bodies, one after the other.
        ack: how consumers settle.
        prefetch: how much may be unsettled at one consumer; None for the broker's default.
        persistent: whether messages are to be kept on disk; None for the broker's default.
        window: how many receipts a producer waits for at once; 0 asks for none.
        rate: messages a second of each producer; 0 for as many as possible.
    """

    kind: LoadKind
    messages: int = 10_000
    seconds: float = 30.0
    producers: int = 1
    consumers: int = 1
    destinations: int = 1
    sizes: tuple[int, ...] = (1024,)
    ack: AckMode = AckMode.AUTO
    prefetch: int | None = None
    persistent: bool | None = None
    window: int = 0
    rate: float = 0.0

    @property
    def is_topic(self) -> bool:
        """Whether each message goes to all consumers of its destination."""
        return self.kind in (LoadKind.TOPIC, LoadKind.DURABLE)

    @property
    def ack_every(self) -> int:
        """How many messages a consumer settles with one ACK."""
        if self.ack is not AckMode.CLIENT:
            return 1
        # With all that it may have unsettled it would wait for ever.
        return max(1, min(_ACK_EVERY, self.prefetch // 2)) if self.prefetch else _ACK_EVERY

    def sources(self, consumer: int) -> list[int]:
        """The destinations that a consumer takes from; between them they take from all."""
        if self.consumers >= self.destinations:
            return [consumer % self.destinations]
        return list(range(consumer, self.destinations, self.consumers))

    def copies(self, destination: int) -> int:
        """How many deliveries a message to a destination makes."""
        if not self.is_topic:
            return 1
        return sum(destination in self.sources(consumer) for consumer in range(self.consumers))

    def quota(self, producer: int) -> int:
        """How many messages a producer sends."""
        share, rest = divmod(self.messages, self.producers)
        return share + (producer < rest)


@dataclass(slots=True)
class Tally:
    """What one client did; only its own thread writes here.

    Attributes:
        messages: how many it sent or received.
        size: bytes of their bodies.
        due: deliveries that follow from what it sent.
        ended: the time of the last one.
        times: how long its messages, or the answers to them, took.
    """

    messages: int = 0
    size: int = 0
    due: int = 0
    ended: float = 0.0
    times: Histogram = field(default_factory=Histogram)


@dataclass(frozen=True, slots=True)
class Flow:
    """One direction of a load: messages, bytes of their bodies, seconds."""

    messages: int
    size: int
    seconds: float

    @property
    def rate(self) -> float:
        """Messages a second, 0 if it took no time."""
        return self.messages / self.seconds if self.seconds > 0 else 0.0

    @property
    def bandwidth(self) -> float:
        """Bytes of bodies a second, 0 if it took no time."""
        return self.size / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What came of a load.

    Attributes:
        plan: what was planned.
        sent: messages, or requests.
        received: messages, or answers.
        missing: deliveries that did not come before the end.
        times: how long messages took, or answers; empty where it means nothing.
    """

    plan: Plan
    sent: Flow
    received: Flow
    missing: int
    times: Histogram
