"""What the broker knows of a queue: ten verbs, all of them answered by callback.

A queue may live in this process or elsewhere. So whoever uses one names nothing but what stands
here, and takes every answer as it comes: before the verb returns, or many turns of the event loop
later. Answers to one queue's verbs come in the order in which the verbs were called.

* `Queue.publish`, `Queue.settle`, `Queue.attach`, `Queue.detach` and `Queue.resume` take effect in
  the order in which they were called, whenever they are answered. A consumer that is detached or
  withdrawn gets nothing from that moment on.
* Within one turn of the event loop, everything that is told to the queues of one group is one
  change of that group's store.
* What is refused had no effect.
* A refusal that nobody waits for does not happen: without ``done`` a verb is obeyed.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Final, NamedTuple

from stompy.compiler import mypyc_attr
from stompy.errors import ProtocolError
from stompy_broker.dedup_headers import DuplicateId
from stompy_broker.destinations.names import Destination
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message, MessageHead
from stompy_broker.routing.answers import Done, Refused
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.message_state import MessageState
from stompy_broker.routing.reading import StreamStart
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.selection import EVERYTHING, Selection
from stompy_broker.routing.sequences import Sequences
from stompy_broker.routing.settings import QueueSettings
from stompy_broker.routing.stream_orders import OfStreams, StreamFigures


class QueueKind(NamedTuple):
    """What a queue is for.

    Attributes:
        private: whether it is the backlog of a topic subscription that ends with its connection.
        durable: whether it is the backlog of a durable topic subscription.
        exclusive: whether it has one consumer at a time.
        volatile: whether it ends with its connection, so that nothing is stored.
        final: whether it is a dead-letter queue, which a message leaves by an ACK only.
        aware: whether copies of a topic's messages stay out of it that no consumer takes.
    """

    private: bool = False
    durable: bool = False
    exclusive: bool = False
    volatile: bool = False
    final: bool = False
    aware: bool = False


class QueueIdentity:
    """What is known of a queue without it; see `Queue`. The parts of a queue hold this, not it."""

    __slots__ = (
        "aware",
        "destination",
        "durable",
        "exclusive",
        "final",
        "name",
        "policy",
        "private",
        "volatile",
    )

    def __init__(  # noqa: PLR0913, PLR0917 -- what a kind of queues has, and beside that its name
        self,
        destination: str,
        name: str,
        policy: Policy,
        private: bool,
        durable: bool,
        exclusive: bool,
        volatile: bool,
        final: bool,
        aware: bool = False,
    ) -> None:
        self.destination, self.name, self.policy = destination, name, policy
        self.aware = aware
        self.private, self.durable, self.exclusive = private, durable, exclusive
        self.volatile, self.final = volatile, final

    @property
    def passing(self) -> bool:
        """Whether it is in use only while somebody consumes, whatever is in it."""
        return self.durable or self.policy.auto_delete

    @property
    def is_special(self) -> bool:
        """Whether messages have to be looked at as they come in."""
        policy = self.policy
        bounded = bool(policy.max_length or policy.max_length_bytes)
        looks = self.aware or bool(policy.message_ttl) or (bounded and not self.private)
        return looks or (self.replaces and bool(policy.value_header))

    @property
    def replaces(self) -> bool:
        """Whether its policy may have newer messages replace others; dead letters all stay."""
        return not (self.private or self.durable or self.final)


NAMED = QueueKind()
DEAD_LETTERS = QueueKind(final=True)
AWARE = QueueKind(aware=True)
TEMPORARY = QueueKind(volatile=True)
TOPIC_BACKLOG = QueueKind(private=True, volatile=True)
DURABLE_BACKLOG = QueueKind(durable=True, exclusive=True)
SHARED_BACKLOG = QueueKind(durable=True)


class LineFigures(NamedTuple):
    """What a queue tells of one selector that its consumers have.

    Attributes:
        selector: its text.
        consumers: how many consumers have it.
        ready: messages that wait and match.
        matched: messages that matched, of all that were looked at for it.
        skipped: messages that did not.
    """

    selector: str
    consumers: int
    ready: int
    matched: int
    skipped: int


class GroupFigures(NamedTuple):
    """A message group at one moment.

    Attributes:
        key: the value that its messages have in common.
        owner: `Consumer.number` of who gets them; 0 = whoever takes the next one.
        waiting: messages that wait, also for a time.
        unsettled: messages that consumers have.
        since: since when it has its owner, in milliseconds since the epoch; 0 = it has none.
        held_until: until when nothing of it comes, because a redelivery is delayed or somebody
            holds it, in milliseconds since the epoch; 0 = it goes on.
        shared: whether it is several groups in one, because there are too many.
    """

    key: str
    owner: int
    waiting: int
    unsettled: int
    since: int
    held_until: int
    shared: bool


class QueueFigures(NamedTuple):
    """A queue at one moment.

    Attributes:
        settings: what is kept of it, and of what operators decided.
        ready: messages that wait for a consumer.
        delayed: messages that wait out a redelivery delay.
        unacked: messages that are with consumers.
        consumers: how many consumers there are.
        bytes: size of everything in it, also of what is with consumers.
        in_use: whether anybody consumes from it or is about to, or anything is in it; of a durable
            subscription's backlog, and of what ends with its last consumer, only whether anybody
            does.
        full: whether its producers have to wait.
        published: messages that came in.
        delivered: deliveries, redeliveries included.
        acked: deliveries that were accepted.
        nacked: deliveries that were rejected.
        redelivered: deliveries of what came back.
        expired: messages whose time was over.
        dead_lettered: messages that were given up, and kept elsewhere.
        dropped: messages that were given up, and went nowhere.
        removed: messages that operators took out.
        replaced: messages whose place newer ones took that have the same key.
        duplicates: messages that were dropped because their duplicate id was known.
        duplicate_ids: how many of those are known.
        unmatched: messages that are ready, and that no consumer takes who is there: the selectors
            of all of them do not match. 0 while they are still looked at for a new one.
        lines: figures of the selectors that consumers have; of a thousand at most.
        groups: how many message groups it remembers.
        keys: of how many keys messages are in it, where newer ones replace others.
        idle_since: since when nobody takes part, on the clock; None while somebody does.
        created_at: since when there is this queue, in milliseconds since the epoch.
        oldest_at: when the message came that is next in line; None if none is.
        newest_at: when the message came that is last in line.
        next_offset: of a stream, the offset of the next message.
        readers: of a stream, how many readers there are, or have a place that is kept.
    """

    settings: QueueSettings
    ready: int
    delayed: int
    unacked: int
    consumers: int
    bytes: int
    in_use: bool
    full: bool
    published: int
    delivered: int
    acked: int
    nacked: int
    redelivered: int
    expired: int
    dead_lettered: int
    dropped: int
    removed: int
    replaced: int
    duplicates: int
    duplicate_ids: int
    unmatched: int
    lines: tuple[LineFigures, ...]
    groups: int
    keys: int
    idle_since: float | None
    created_at: int
    oldest_at: int | None
    newest_at: int | None
    next_offset: int = 0
    readers: int = 0


Place = tuple[int, int]
"""Where a message stands among all of its queue: its priority, negative, and its sequence."""


def place_of(message: Message) -> Place:
    """Where among all of its queue a message stands."""
    return -message.head.priority, message.sequence


@dataclass(frozen=True, slots=True)
class Browse:
    """A look at messages that wait; nothing about them changes.

    Attributes:
        selection: which are meant.
        skip: how many of those to leave out first.
        most: how many to give; None = all.
        bodies: give no more messages than have so many bytes together, but at least one, and give
            them with their bodies; 0 = no bodies are asked for, and those on disk stay there.
        states: which are meant, in one order (`stompy_broker.routing.browse_walk`), without those
            whose time is over; None = what is ready, next one first, then what is delayed.
        beyond: give those that stand behind this place in that order; None = from the beginning.
        groups: whether the groups are meant, and no messages; only where the queue is.
        stream: whether the readers of a stream are meant, and no messages.
        ages: with ``stream``: wait until it is read from disk by how much readers are behind.
        start: where in a stream to begin; None = at its oldest message. With `beyond` it says
            nothing.
    """

    selection: Selection = EVERYTHING
    skip: int = 0
    most: int | None = None
    bodies: int = 0
    states: frozenset[MessageState] | None = None
    beyond: Place | None = None
    groups: bool = False
    stream: bool = False
    ages: bool = False
    start: StreamStart | None = None


class Browsed(NamedTuple):
    """What a `Browse` found.

    Attributes:
        messages: to look at, not to change: those that are ready, next one first, then those that
            are delayed. A body that was asked for is None if its message was settled meanwhile.
        delayed: how many of them, at the end, are delayed.
        more: whether more are meant than these and those that were left out.
        states: where each of them is, if states were asked for.
        skipped: how many were left out first, if states were asked for.
        last: the highest sequence that a message of the queue could have; 0 = it was not asked.
        due: when each of them may be delivered, in milliseconds since the epoch, if states were
            asked for; 0 = it does not wait for a time.
        groups: if they were asked for.
        stream: if it was asked for; None = the queue is none.
        offsets: of messages of a stream, one for each.
    """

    messages: list[Message]
    delayed: int
    more: bool
    states: tuple[MessageState, ...] = ()
    skipped: int = 0
    last: int = 0
    due: tuple[int, ...] = ()
    groups: tuple[GroupFigures, ...] = ()
    stream: StreamFigures | None = None
    offsets: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Remove:
    """Forget messages that wait. The answer is how many did.

    Attributes:
        sequences: which.
        cause: why, in a word, for the history of the queue.
    """

    sequences: frozenset[int]
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Where one message goes, and as what.

    Attributes:
        sequence: of the message that waits.
        destination: a queue or topic.
        head: its headers there.
        deliveries: how often it counts as delivered there.
        failures: how many of those deliveries count as failed.
        body: what it has there in place of its own; None = its own.
    """

    sequence: int
    destination: Destination
    head: MessageHead
    deliveries: int = 0
    failures: int = 0
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """Send messages that wait elsewhere, in one change. The answer is how many went.

    It is refused, and nothing moves, if one of the destinations refuses a message.

    Attributes:
        transfers: which, and where to.
        copies: whether they stay as well.
        within: whether all go to the queue that they are in, which has room for them and is not
            asked.
    """

    transfers: Sequence[Transfer]
    copies: bool = False
    within: bool = False


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Give up messages that wait, by sequence, as if it had come to that by itself.

    The answer is how many waited.

    Attributes:
        sequences: which.
        cause: of their death, as dead letters tell it.
        reason: in words.
    """

    sequences: frozenset[int]
    cause: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Configure:
    """Have other settings from now on, and keep them: paused or not, for instance.

    Attributes:
        settings: they.
        first: whether that is how a queue is set up that somebody just made, so that one that was
            there already stays what it is.
    """

    settings: QueueSettings
    first: bool = False


@dataclass(frozen=True, slots=True)
class Expire:
    """Take a message whose time was over when it came. It counts, and is given up at once."""

    message: Message


@dataclass(frozen=True, slots=True)
class Foresee:
    """Say who would get a message if it came now; nothing changes.

    The answer is `Consumer.number` of that one; 0 = nobody, it would wait. Consumers of another
    broker have numbers here that say nothing there.
    """

    message: Message


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Give these consumers nothing for now. Those of many that want nothing are told together."""

    consumers: Sequence[Consumer]


@dataclass(frozen=True, slots=True)
class Close:
    """End, with everything that waits. What is with consumers ends when it is settled.

    Attributes:
        unused: for how many seconds it must not have been in use, or it is refused; a queue that
            somebody was attached to or published to since it was asked is in use (what
            `QueueIdentity.passing` says only if somebody was attached). None = end, whoever uses
            it.
        messages: whether it is in use while there are messages in it.
    """

    unused: float | None = None
    messages: bool = True


@dataclass(frozen=True, slots=True)
class ShareMemory:
    """Let messages in it have their memory in common with copies elsewhere, from now on.

    Whoever publishes a `CopiedMessage` to a queue with a name has to say so before.
    """


@dataclass(frozen=True, slots=True)
class Unschedule:
    """End what is to come later under a name. The answer is how many did."""

    name: str


@dataclass(frozen=True, slots=True)
class Reschedule:
    """Have messages that are to come later come at another time. The answer is how many will.

    Attributes:
        sequences: of the messages that wait.
        due: when, in milliseconds since the epoch; 0 = now, and what comes again and again also
            comes when it is due.
    """

    sequences: frozenset[int]
    due: int


OfSchedules = Unschedule | Reschedule
"""What is asked about messages that are to come later, where those wait; others have none."""


@dataclass(frozen=True, slots=True)
class KeepGroups:
    """Know of groups of messages from now on: a message that has one is about to be published.

    Whoever publishes one to a queue has to say so before.
    """


@dataclass(frozen=True, slots=True)
class AssignGroup:
    """Give a message group to a consumer. The answer is 1; 0 = something of it is unsettled.

    Attributes:
        key: its value.
        consumer: `Consumer.number`; 0 = whoever takes its next message.
    """

    key: str
    consumer: int


OfGroups = KeepGroups | AssignGroup
"""What is asked about message groups, where those are kept."""


class PublishOnce:
    """Take a message as `Queue.publish` does, unless its duplicate id is known.

    The answer is what clients call the message that it is a duplicate of, 0 = it was taken. It
    comes before ``done``, and not at all if the message is refused.

    Args:
        message: it.
        duplicate_id: what its sender calls it.
        done: called when it is safe, or the one that it is a duplicate of, unless it is refused.
        refused: told when it is refused; None = it was admitted before, and has to be taken.

    Attributes:
        message: as above.
        duplicate_id: as above.
        done: as above.
        refused: as above.
        put: puts it into the queue, because a consumer has it already; None = it is published.
    """

    __slots__ = ("done", "duplicate_id", "message", "put", "refused")

    def __init__(
        self,
        message: Message,
        duplicate_id: DuplicateId,
        done: Done | None = None,
        refused: Refused | None = None,
    ) -> None:
        self.message = message
        self.duplicate_id = duplicate_id
        self.done = done
        self.refused = refused
        self.put: Callable[[Message], None] | None = None


KEEP_GROUPS: Final = KeepGroups()
"""One for all."""

OfMessages = Remove | GiveUp | Move
"""What is asked about messages that wait."""

Order = (
    OfMessages
    | OfSchedules
    | Foresee
    | Configure
    | Expire
    | Withdraw
    | ShareMemory
    | OfGroups
    | OfStreams
    | PublishOnce
    | Close
)
"""What is asked of a queue now and then."""

Outcome = int | ProtocolError
"""How many messages an order concerned, or why it was refused."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Queue:
    """Where messages wait for consumers.

    What stands beside the verbs is what somebody has to know before or without asking, and never
    changes, except where it says so.

    Attributes:
        destination: as clients write it.
        name: without prefix.
        policy: how it behaves. May become another one when the configuration is read again.
        group: what it has in common with other queues.
        sequences: numbers its messages. That of its group, one step nearer for the hot path.
        private: whether it is the backlog of a topic subscription that ends with its connection.
        durable: whether it is the backlog of a durable topic subscription.
        volatile: whether it ends with its connection, so that nothing is stored.
        final: whether it is a dead-letter queue, which a message leaves by an ACK only.
        unshared: whether its messages must be its own; else a topic's message may be one object for
            all subscribers.
        is_stored: whether persistent messages in it survive. May change while a broker starts.
        watermark: makes producers wait, None = nothing of its own does. May come to be when an
            operator wants producers to wait.
        unused_here: whether it lives in another broker, and nobody here needs it just now.
        delivered: deliveries so far. A topic subscription reads its own here, rather than
            count each delivery twice.
    """

    __slots__ = ("_identity",)

    _identity: QueueIdentity

    @property
    def destination(self) -> str:  # noqa: D102
        return self._identity.destination

    @property
    def name(self) -> str:  # noqa: D102
        return self._identity.name

    @property
    def policy(self) -> Policy:  # noqa: D102
        return self._identity.policy

    @property
    @abstractmethod
    def group(self) -> QueueGroup: ...  # noqa: D102
    @property
    @abstractmethod
    def sequences(self) -> Sequences: ...  # noqa: D102
    @property
    def private(self) -> bool:  # noqa: D102
        return self._identity.private

    @property
    def durable(self) -> bool:  # noqa: D102
        return self._identity.durable

    @property
    def volatile(self) -> bool:  # noqa: D102
        return self._identity.volatile

    @property
    def final(self) -> bool:  # noqa: D102
        return self._identity.final

    @property
    @abstractmethod
    def unshared(self) -> bool: ...  # noqa: D102
    @property
    @abstractmethod
    def is_stored(self) -> bool: ...  # noqa: D102
    @property
    @abstractmethod
    def watermark(self) -> Watermark | None: ...  # noqa: D102
    @property
    @abstractmethod
    def delivered(self) -> int: ...  # noqa: D102
    @property
    def unused_here(self) -> bool:  # noqa: D102
        return False

    @abstractmethod
    def publish(
        self, message: Message, done: Done | None = None, refused: Refused | None = None
    ) -> None:
        """Take a message: to a consumer that waits for one, or to the end of the queue.

        Args:
            message: it.
            done: called when it is safe, unless it is refused.
            refused: told when it is refused; None = it was admitted before, and has to be taken.
        """

    @abstractmethod
    def admit(self, count: int, before: int, done: Done) -> None:
        """Whether so many more messages would be taken.

        Args:
            count: how many.
            before: how many bytes all but the last of them have.
            done: takes the answer.
        """

    @abstractmethod
    def attach(self, consumer: Consumer, done: Done | None = None) -> None:
        """Let a consumer take part. It gets its first message after `resume`.

        Args:
            consumer: who.
            done: called when it does; or it is refused: somebody else has the queue for himself.
        """

    @abstractmethod
    def detach(
        self,
        consumer: Consumer,
        unsettled: Iterable[Message] = (),
        *,
        lost: bool = False,
        done: Done | None = None,
    ) -> None:
        """Let a consumer go; what it did not settle returns to its place.

        Also for one that has gone already, and now gives back the rest. It gets nothing from the
        moment of the call.

        Args:
            consumer: who goes.
            unsettled: what it has of this queue, oldest first.
            lost: whether its connection was lost; it may have died on the oldest message.
            done: called when it has gone.
        """

    @abstractmethod
    def resume(self, consumer: Consumer) -> None:
        """Go on: a consumer has room again. Last in line, unless it stands there already."""

    @abstractmethod
    def settle(
        self, message: Message, rejection: Rejection | None = None, done: Done | None = None
    ) -> None:
        """End a delivery: it was accepted, or rejected in some way."""

    @abstractmethod
    def settle_many(
        self,
        messages: Iterable[Message],
        rejection: Rejection | None,
        done: Done | None,
        then: Callable[[], None],
    ) -> None:
        """End very many deliveries as `settle` does, in steps, and then call ``then``.

        ``done`` is called once for each of them.
        """

    @abstractmethod
    def stats(
        self, done: Callable[[QueueFigures], None], known: QueueFigures | None = None
    ) -> None:
        """Give the counters.

        Args:
            done: takes them.
            known: what was given before; the same object is given if nothing has happened since.
        """

    @abstractmethod
    def browse(self, wanted: Browse, done: Callable[[Browsed], None]) -> None:
        """Look at messages that wait."""

    @abstractmethod
    def control(self, order: Order, done: Callable[[Outcome], None] | None = None) -> None:
        """Carry out an order."""


@mypyc_attr(allow_interpreted_subclasses=True)
class RestorableQueue(Queue):
    """A queue whose messages a store of this broker has kept."""

    __slots__ = ()

    @abstractmethod
    def configure(self, settings: QueueSettings) -> None:
        """Have settings that the store has kept."""

    def renew_policy(self, policy: Policy) -> None:
        """Behave by another policy from now on: the configuration was read again."""
        self._identity.policy = policy

    @abstractmethod
    def restore(self, message: Message, due: int) -> None:
        """Take a message back that the store has kept."""

    @abstractmethod
    def set_idle_since(self, when: float) -> None:
        """Nobody has taken part since then, on the clock."""

    @abstractmethod
    def adopt(self, sequences: Set[int]) -> list[Message]:
        """Take messages out that wait, because a consumer has them; gives those that did."""

    def take_back(self, consumer: Consumer, messages: Iterable[Message]) -> None:
        """Take back what a consumer does not want that stays."""
        self.detach(consumer, messages)
        self.attach(consumer)

    @abstractmethod
    def take_held(self, message: Message, holder: int) -> None:
        """Take a message that comes in, and that a consumer has already.

        Args:
            message: it.
            holder: `Consumer.number` of who has it.
        """

    @abstractmethod
    def abandon(self, held: Iterable[Message]) -> int:
        """End without a word to the store: another broker has the messages from now on.

        Args:
            held: what consumers have.

        Returns:
            How many messages are lost, because no store has them.
        """
