"""A queue wherever it is just now: here, at another broker, or with nobody (**hot path**).

It stands in the registry of each broker, and sessions keep it. Its verbs go to a local queue while
this broker owns its group, and else to the owner. When the group moves it brings its consumers
along, and what they hold stays with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from functools import partial

from stompy.errors import ProtocolError
from stompy_broker.cluster.remote.away_consumers import LeavingConsumer
from stompy_broker.cluster.remote.front import Front
from stompy_broker.cluster.remote.front_batch import Answered
from stompy_broker.cluster.remote.parts import Part
from stompy_broker.cluster.remote.remote_queue import RemoteQueue
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message
from stompy_broker.routing.answers import Done, Refused, nobody_asks
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.interface import (
    Browse,
    Browsed,
    Close,
    Expire,
    OfGroups,
    Order,
    Outcome,
    Queue,
    QueueFigures,
    QueueIdentity,
    QueueKind,
    RestorableQueue,
    ShareMemory,
)
from stompy_broker.routing.message_group import take_place_of
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.sequences import Sequences
from stompy_broker.routing.settings import QueueSettings


class PlacedQueue(RestorableQueue):
    """A queue of a group that some broker owns.

    Args:
        identity: what is known of it without asking.
        kind: what it is for.
        group: which it belongs to.
        front: tells the owner, while that is another broker.
        memory: memory in use.

    Attributes:
        kind: what it is for.
        local: the queue of this process; None = the group is elsewhere.
        ended: whether it was closed here, so that the next one of its name is another one.
        part: gathers what a COMMIT tells it just now; None = it is carried out.
    """

    def __init__(
        self,
        identity: QueueIdentity,
        kind: QueueKind,
        group: QueueGroup,
        front: Front,
        memory: Watermark,
    ) -> None:
        self._identity = identity
        self.kind = kind
        self._group = group
        self._front = front
        self._memory = memory
        self._remote = RemoteQueue(identity, group, front)
        self._at: Queue = self._remote
        self.local: RestorableQueue | None = None
        self.ended = False
        self.part: Part | None = None
        self._consumers: dict[Consumer, None] = {}
        self._leavers: dict[Consumer, None] = {}  # have gone, and hold something yet
        self._untold: list[Callable[[], None]] = []  # to be told as soon as it is here
        self._unknown: dict[int, Message] = {}  # with consumers, and not in the local queue

    # -- what stands beside the verbs -------------------------------------------------------

    @property
    def group(self) -> QueueGroup:
        """What it has in common with other queues."""
        return self._group

    @property
    def sequences(self) -> Sequences:
        """Numbers its messages, while it is here."""
        return self._group.sequences

    @property
    def unshared(self) -> bool:
        """Whether its messages must be its own."""
        return self._at.unshared

    @property
    def is_stored(self) -> bool:
        """Whether persistent messages in it survive."""
        return self._at.is_stored

    @property
    def watermark(self) -> Watermark | None:
        """What makes its senders wait."""
        return self._at.watermark

    @property
    def delivered(self) -> int:
        """Deliveries so far, while it is here."""
        return self._at.delivered

    @property
    def unused_here(self) -> bool:
        """Whether nobody uses it at this broker, so that it may be forgotten if it is elsewhere."""
        return self.local is None and not self._consumers and self._front.idle

    # -- the verbs --------------------------------------------------------------------------

    def publish(
        self, message: Message, done: Done | None = None, refused: Refused | None = None
    ) -> None:
        """Take a message, here or elsewhere."""
        if self.part is None:
            self._at.publish(message, done, refused)
        else:
            self.part.publish(self.name, message, done)

    def admit(self, count: int, before: int, done: Done) -> None:
        """Whether so many more messages would be taken."""
        self._at.admit(count, before, done)

    def attach(self, consumer: Consumer, done: Done | None = None) -> None:
        """Let a consumer take part, here or elsewhere."""
        self._consumers[consumer] = None
        if done is None:
            self._at.attach(consumer)
        else:
            self._at.attach(consumer, partial(self._attached, consumer, done))

    def _attached(
        self, consumer: Consumer, done: Done, error: ProtocolError | None = None, /
    ) -> None:
        if error is not None:
            self._consumers.pop(consumer, None)
        done(error)

    def detach(
        self,
        consumer: Consumer,
        unsettled: Iterable[Message] = (),
        *,
        lost: bool = False,
        done: Done | None = None,
    ) -> None:
        """Let a consumer go; what it did not settle returns to its place."""
        self._consumers.pop(consumer, None)
        back = list(unsettled)
        if self.local is not None:
            gone = {message.sequence for message in back}
            if any(message.sequence not in gone for message in consumer.holds()):
                self._leavers[consumer] = None
            else:
                self._leavers.pop(consumer, None)
            if self._unknown:
                back = self._known(back)
        self._at.detach(consumer, back, lost=lost, done=done)

    def resume(self, consumer: Consumer) -> None:
        """Go on: a consumer has room again."""
        self._at.resume(consumer)

    def settle(
        self, message: Message, rejection: Rejection | None = None, done: Done | None = None
    ) -> None:
        """End a delivery, here or elsewhere."""
        if self._unknown and not self._known([message]):
            if done is not None:
                done()
            return
        if self.part is None:
            self._at.settle(message, rejection, done)
        else:
            self.part.settle(self.name, self.local, message, rejection, done)

    def settle_many(
        self,
        messages: Iterable[Message],
        rejection: Rejection | None,
        done: Done | None,
        then: Callable[[], None],
    ) -> None:
        """End very many deliveries."""
        if self._unknown:
            every = list(messages)
            messages = self._known(every)
            if done is not None:
                for _ in range(len(every) - len(messages)):
                    done()
        self._at.settle_many(messages, rejection, done, then)

    def _known(self, messages: list[Message]) -> list[Message]:
        """Those of these that the local queue knows; the others are over."""
        unknown, known = self._unknown, []
        for message in messages:
            if unknown.pop(message.sequence, None) is None:
                known.append(message)
            else:
                self._memory.used -= message.size
        self._memory.check()
        return known

    def stats(
        self, done: Callable[[QueueFigures], None], known: QueueFigures | None = None
    ) -> None:
        """Give the counters, as the owner has them."""
        self._at.stats(done, known)

    def browse(self, wanted: Browse, done: Callable[[Browsed], None]) -> None:
        """Look at messages that wait."""
        self._at.browse(wanted, done)

    def control(self, order: Order, done: Callable[[Outcome], None] | None = None) -> None:
        """Carry out an order."""
        if self.part is not None and isinstance(order, Expire):
            self.part.expire(self.name, order.message)
            return
        if isinstance(order, ShareMemory | OfGroups):
            if self.local is not None:  # also before it serves
                self.local.control(order, done)
            elif done is not None:
                done(0)
            return
        if isinstance(order, Close):
            done = partial(self._closed, done or nobody_asks)
        self._at.control(order, done)

    def _closed(self, done: Callable[[Outcome], None], outcome: Outcome) -> None:
        if self.local is not None and not isinstance(outcome, ProtocolError):
            self.ended = True
        done(outcome)

    # -- what a store has kept --------------------------------------------------------------

    @property
    def _here(self) -> RestorableQueue:
        assert self.local is not None
        return self.local

    def configure(self, settings: QueueSettings) -> None:
        """Have settings that the store has kept."""
        self._here.configure(settings)

    def renew_policy(self, policy: Policy) -> None:
        """Behave by another policy from now on, here or once it is here."""
        super().renew_policy(policy)
        if self.local is not None:
            self.local.renew_policy(policy)

    def restore(self, message: Message, due: int) -> None:
        """Take a message back that the store has kept."""
        self._here.restore(message, due)

    def set_idle_since(self, when: float) -> None:
        """Nobody has taken part since then, on the clock."""
        self._here.set_idle_since(when)

    def adopt(self, sequences: Set[int]) -> list[Message]:
        """Take messages out that wait, because a consumer has them already."""
        return self._here.adopt(sequences)

    def take_held(self, message: Message, holder: int) -> None:
        """Take a message that comes in, and that a consumer has already."""
        self._here.take_held(message, holder)

    def abandon(self, held: Iterable[Message]) -> int:
        """End without a word to the store."""
        return self._here.abandon(held)

    # -- coming and going -------------------------------------------------------------------

    def come(self, local: RestorableQueue) -> None:
        """Be here, as soon as `serve` is called."""
        self.local = local

    def serve(self) -> None:
        """Pass everything to the queue that is here, from now on."""
        self._at = self._here
        untold, self._untold = self._untold, []
        for tell in untold:
            tell()

    def take_in(self, one: LeavingConsumer) -> list[Message]:
        """Take a consumer in that took part while the group was elsewhere.

        Returns:
            What it has and nobody else knows of.
        """
        local, consumer = self._here, one.consumer
        holds = list(consumer.holds())
        by_sequence = {message.sequence: message for message in holds}
        consumer.waiting = False
        if one.gone:
            self._leavers[consumer] = None
        elif one.answered is None:
            local.attach(consumer)
        else:
            local.attach(consumer, partial(self._told, one.answered))
        for own in local.adopt(by_sequence.keys()):
            # What the session has becomes the queue's own.
            message = by_sequence.pop(own.sequence)
            message.redelivery, message.expires = own.redelivery, own.expires
            take_place_of(own, message)
            self._memory.used -= own.ram
        self._unknown.update(by_sequence)
        return list(by_sequence.values())

    def _told(self, answered: Answered, error: ProtocolError | None = None, /) -> None:
        """Tell a consumer that it takes part, once what it does then comes to the local queue."""
        if self._at is self.local:
            answered(error)
        else:
            self._untold.append(partial(answered, error))

    def take_again(self, sequence: int, message: Message) -> None:
        """A message that a consumer has came again, and is known from now on."""
        own = self._unknown.pop(sequence, None)
        if own is None:
            return  # it was settled meanwhile
        self._memory.used -= own.size
        own.expires = message.expires
        self._here.take_held(own, 0)

    def settle_for(self, sequences: set[int]) -> None:
        """Settle what consumers here have: somebody has settled it who had it before."""
        for consumer in [*self._consumers, *self._leavers]:
            for message in consumer.holds():
                sequence = message.sequence
                if sequence in sequences and sequence not in self._unknown:
                    self._here.settle(message)
                    self._memory.used += message.size
                    self._unknown[sequence] = message

    def leave(self, held: Iterable[Message]) -> int:
        """Be elsewhere from now on, with the consumers and what they have.

        Args:
            held: what consumers at other brokers have.

        Returns:
            How many messages are lost, because no store has them.
        """
        local, self.local, every = self._here, None, list(held)
        if self._at is self._remote:
            return local.abandon(every)  # nobody has used it yet
        self._at = self._remote
        for consumer in self._consumers:
            every += consumer.holds()
            self._front.consumers.take_in(self._remote, consumer)
        for consumer in self._leavers:
            every += consumer.holds()
            self._front.consumers.keep_leaver(self._remote, consumer)
        self._leavers.clear()
        known = [message for message in every if message.sequence not in self._unknown]
        self._unknown.clear()
        return local.abandon(known)

    def __repr__(self) -> str:
        """Name and place."""
        return f"<PlacedQueue {self.destination} at {self._at!r}>"
