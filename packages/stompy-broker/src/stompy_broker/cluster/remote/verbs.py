"""What a front tells an owner about queues, and what it is told: plain values.

A *batch* is a list of verbs, all that one turn of the event loop told to the queues of one group.
Verbs that are answered one by one have an index in their batch; a run of messages has one for
each message.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from stompy.errors import ProtocolError
from stompy_broker.message import MessageHead, Redelivery
from stompy_broker.routing.interface import Browse, Browsed, Order, QueueFigures
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.terms import PLAIN, Terms

Refusals = Callable[[ProtocolError], None] | None


@dataclass(slots=True)
class PublishVerb:
    """Messages of one head that go to one queue, in a row.

    Attributes:
        queue: its name.
        head: of all of them.
        refusable: whether they may be refused.
        past: what is known of earlier deliveries; a message that has any stands alone.
        bodies: theirs.
        refused: at the front, told when one of them is refused.
    """

    queue: str
    head: MessageHead
    refusable: bool
    past: Redelivery | None = None
    bodies: list[bytes] = field(default_factory=list)
    refused: list[Refusals] = field(default_factory=list)


@dataclass(slots=True)
class OnceVerb:
    """A message that is dropped if its duplicate id is known. It has an answer.

    Attributes:
        queue: its name.
        head: its headers.
        body: its body.
        value: the id.
        ttl: for how many milliseconds it is known; 0 = as the policy says.
        refusable: whether it may be refused.
        refused: at the front, told when it is.
    """

    queue: str
    head: MessageHead
    body: bytes
    value: bytes
    ttl: int
    refusable: bool
    refused: Refusals = None


@dataclass(slots=True)
class ExpireVerb:
    """A message whose time was over when it came."""

    queue: str
    head: MessageHead
    body: bytes


@dataclass(slots=True)
class SettleVerb:
    """Deliveries of one queue that end in one way.

    Attributes:
        queue: its name.
        rejection: why they were not accepted; None = they were.
        sequences: of the messages.
    """

    queue: str
    rejection: Rejection | None
    sequences: list[int] = field(default_factory=list)


@dataclass(slots=True)
class AttachVerb:
    """A consumer wants to take part. It has an answer.

    Attributes:
        consumer: its number at the front.
        queue: the name of the queue.
        auto: whether what it takes is settled.
        prefetch: deliveries that may be unsettled at once; 0 = no limit.
        terms: what it asks of its queue, beside messages.
    """

    consumer: int
    queue: str
    auto: bool
    prefetch: int
    terms: Terms = PLAIN


@dataclass(slots=True)
class DetachVerb:
    """A consumer goes.

    Attributes:
        consumer: its number at the front.
        queue: the name of the queue.
        lost: whether its connection was lost.
        back: what it gives back, oldest first.
        kept: what it will settle or give back later. All else that is with it comes back as well.
    """

    consumer: int
    queue: str
    lost: bool
    back: list[int]
    kept: list[int]


@dataclass(slots=True)
class ResumeVerb:
    """A consumer takes messages from now on."""

    consumer: int


@dataclass(slots=True)
class WithdrawVerb:
    """A consumer takes no messages for now; what is on its way comes back by `ReturnVerb`."""

    consumer: int


@dataclass(slots=True)
class ReturnVerb:
    """Messages that arrived for somebody who did not want them go back to their places."""

    consumer: int
    sequences: list[int] = field(default_factory=list)


@dataclass(slots=True)
class TookVerb:
    """A consumer took what was on its way to it.

    Attributes:
        consumer: its number at the front.
        count: how many messages.
        size: how many bytes they are.
    """

    consumer: int
    count: int
    size: int


@dataclass(slots=True)
class AdmitVerb:
    """Whether so many more messages would be taken. It has an answer."""

    queue: str
    count: int
    before: int


@dataclass(slots=True)
class StatsVerb:
    """The figures of a queue, or that they are those that were given last. It has an answer."""

    queue: str
    known: bool


@dataclass(slots=True)
class BrowseVerb:
    """A look at what waits. It has an answer."""

    queue: str
    wanted: Browse


@dataclass(slots=True)
class ControlVerb:
    """An order. It has an answer."""

    queue: str
    order: Order


@dataclass(slots=True)
class NothingVerb:
    """What needs no second try: indexes that are passed over."""

    count: int


Verb = (
    PublishVerb
    | OnceVerb
    | ExpireVerb
    | SettleVerb
    | AttachVerb
    | DetachVerb
    | ResumeVerb
    | WithdrawVerb
    | ReturnVerb
    | TookVerb
    | AdmitVerb
    | StatsVerb
    | BrowseVerb
    | ControlVerb
    | NothingVerb
)


class ToldBatch(NamedTuple):
    """A batch as it arrives.

    Attributes:
        number: of the batch; grows, for each front and group.
        confirmed: all up to this number are known to be safe.
        tenure: the one to which it was sent before; 0 = to none.
        verbs: what it tells.
    """

    number: int
    confirmed: int
    tenure: int
    verbs: list[Verb]


class MessageOrigin(NamedTuple):
    """Where messages come from that are not safe yet: sequences of the owner and their batch.

    Attributes:
        first: the sequence of the first of them; the others follow step by step.
        length: how many they are.
        front: which front sent them.
        batch: in which batch.
        start: the index of the first of them in there.
    """

    first: int
    length: int
    front: str
    batch: int
    start: int


@dataclass(slots=True)
class ToldConsumer:
    """A consumer as a front tells of it when it begins to speak to an owner.

    Attributes:
        number: its number at the front.
        queue: the name of its queue.
        auto: whether what it takes is settled.
        prefetch: deliveries that may be unsettled at once; 0 = no limit.
        wants: whether it takes messages.
        held: the sequences of what it has.
        terms: what it asks of its queue, beside messages.
    """

    number: int
    queue: str
    auto: bool
    prefetch: int
    wants: bool
    held: list[int]
    terms: Terms = PLAIN


@dataclass(slots=True)
class Visit:
    """How a front begins to speak to an owner about a group.

    Attributes:
        front: the broker, a slash, and what tells its processes apart.
        last: the last of the batches that are told again; 0 = there are none.
        consumers: its consumers that take part.
        loose: what these batches settle or give back, by queue.
        kept: what consumers have that have gone, by queue.
        origins: of what it has of messages that may not be safe.
    """

    front: str
    last: int = 0
    consumers: list[ToldConsumer] = field(default_factory=list)
    loose: dict[str, list[int]] = field(default_factory=dict)
    kept: dict[str, list[int]] = field(default_factory=dict)
    origins: list[MessageOrigin] = field(default_factory=list)


@dataclass(slots=True)
class DeliverEvent:
    """Messages of one head for one consumer, in a row.

    Attributes:
        consumer: its number at the front.
        head: of all of them.
        stamp: when they came, as `Message.stamp`.
        past: what is known of earlier deliveries; a message that has any stands alone.
        sequences: theirs.
        bodies: theirs.
        first: whether the consumer got none of its group before; such a message stands alone.
    """

    consumer: int
    head: MessageHead
    stamp: bytes
    past: Redelivery | None
    sequences: list[int]
    bodies: list[bytes]
    first: bool = False


class SameFigures(NamedTuple):
    """Nothing has happened since the figures that were given last."""


Answer = None | int | ProtocolError | QueueFigures | SameFigures | Browsed
"""What comes of a verb that has an answer of its own; None = it is done."""


@dataclass(slots=True)
class AnswerEvent:
    """The answer to one verb, or the refusal of one message.

    Attributes:
        batch: the number of the batch.
        index: of the verb in there.
        answer: it.
    """

    batch: int
    index: int
    answer: Answer


@dataclass(slots=True)
class FailEvent:
    """The queue gives up on a consumer."""

    consumer: int
    error: ProtocolError


@dataclass(slots=True)
class RoomEvent:
    """Whether who sends to a queue has to wait.

    Attributes:
        queue: its name.
        used: bytes in use; 0 = there is room.
        high: where senders begin to wait.
    """

    queue: str
    used: int
    high: int


@dataclass(slots=True)
class OriginEvent:
    """Where messages come from that the front may be given before they are safe."""

    origin: MessageOrigin


@dataclass(slots=True)
class ActiveEvent:
    """Whether a consumer is given messages, where one of a queue gets all of them."""

    consumer: int
    active: bool


@dataclass(slots=True)
class GiveBackEvent:
    """A consumer is to give back what it has: another one takes over."""

    consumer: int


LinkEvent = (
    DeliverEvent | AnswerEvent | FailEvent | RoomEvent | OriginEvent | ActiveEvent | GiveBackEvent
)


class ToldEvents(NamedTuple):
    """What an owner tells at the end of a turn.

    Attributes:
        executed: all batches up to this number are carried out.
        safe: all up to this number are safe.
        safe_sequence: all messages up to this one are.
        events: what happened, in order.
    """

    executed: int
    safe: int
    safe_sequence: int
    events: Sequence[LinkEvent]
