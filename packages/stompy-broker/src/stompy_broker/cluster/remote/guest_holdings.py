"""What the consumers of one front have, at the owner (**hot path**: settling)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.cluster.remote.guest_consumer import GuestConsumer
from stompy_broker.cluster.remote.ownership import GuestTelling, Ownership
from stompy_broker.cluster.remote.verbs import (
    AttachVerb,
    DeliverEvent,
    DetachVerb,
    LinkEvent,
    MessageOrigin,
    ReturnVerb,
    SettleVerb,
    TookVerb,
    Visit,
)
from stompy_broker.message import Message
from stompy_broker.routing.answers import nobody_asks
from stompy_broker.routing.batching import AT_ONCE
from stompy_broker.routing.interface import RestorableQueue, Withdraw
from stompy_broker.routing.message_group import grouped
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.sequences import STEP
from stompy_broker.routing.terms import PLAIN, Terms


class _Awaited:
    """A message that a consumer has, and whose batch is perhaps told again.

    Args:
        sequence: the one that it had.
        holdings: of its front.
        consumer: who has it.

    Attributes:
        over: whether it was settled or given back meanwhile.
        rejection: how it was settled.
        back: whether it was given back.
    """

    __slots__ = ("_consumer", "_holdings", "back", "over", "rejection", "sequence")

    def __init__(self, sequence: int, holdings: GuestHoldings, consumer: GuestConsumer) -> None:
        self.sequence = sequence
        self.over = self.back = False
        self.rejection: Rejection | None = None
        self._holdings = holdings
        self._consumer = consumer

    def take(self, queue: RestorableQueue, message: Message) -> None:
        """The message came again: it is with its consumer, unless that is over."""
        consumer = self._consumer
        if message.head.traits.group is not None:
            message = grouped(message)
        queue.take_held(message, consumer.number)
        if self.back:
            queue.detach(consumer, [message])
        elif self.over:
            queue.settle(message, self.rejection)
        else:
            consumer.adopts(message)
            self._holdings.held[message.sequence] = (consumer, message)


class GuestHoldings:
    """The consumers of one front, and what they have.

    Args:
        telling: tells the front.
        owner: the group.

    Attributes:
        held: what its consumers have, by sequence.
        giving: its consumers that were given something in this turn.
        consumers: them, by their numbers there.
    """

    def __init__(self, telling: GuestTelling, owner: Ownership) -> None:
        self.held: dict[int, tuple[GuestConsumer, Message]] = {}
        self.giving: dict[GuestConsumer, None] = {}
        self.consumers: dict[int, GuestConsumer] = {}
        self._telling = telling
        self._owner = owner
        self._awaited: dict[int, _Awaited] = {}
        self._loose: dict[str, GuestConsumer] = {}  # have what nobody else has, by queue
        self._loosened: set[int] = set()
        self._aliases: dict[int, int] = {}  # how messages are called that came again
        self._refilled: dict[GuestConsumer, None] = {}
        self._lent = 0

    def add(self, event: LinkEvent) -> None:
        """Tell the front something at the end of the turn."""
        self._telling.add(event)

    def tell_soon(self) -> None:
        """Have the front be told what its consumers were given."""
        self._telling.tell_soon()

    def take_events(self) -> list[DeliverEvent]:
        """What its consumers were given in this turn."""
        events: list[DeliverEvent] = []
        for consumer in self.giving:
            events += consumer.take_events()
        self.giving.clear()
        self._lend(sum([consumer.lent for consumer in self.consumers.values()]))
        return events

    def _lend(self, size: int) -> None:
        if size != self._lent:
            self._owner.lend(size - self._lent)
            self._lent = size

    # -- coming and going -------------------------------------------------------------------

    def suspend(self) -> None:
        """Give nothing for now: its link was lost."""
        for consumer in self.consumers.values():
            consumer.wants = False
            consumer.queue.control(Withdraw([consumer]))
        self.giving.clear()

    def leave(self) -> None:
        """Take back what it has: it has gone."""
        self.suspend()  # none of its consumers is to be given what another one had
        by_consumer: dict[GuestConsumer, list[Message]] = {
            consumer: [] for consumer in self.consumers.values()
        }
        for consumer, message in self.let_go():
            by_consumer.setdefault(consumer, []).append(message)
        for consumer, messages in by_consumer.items():
            consumer.queue.detach(consumer, messages, lost=True)

    def let_go(self) -> list[tuple[GuestConsumer, Message]]:
        """Forget what it has; gives it."""
        self._lend(0)
        held, self.held = list(self.held.values()), {}
        self.consumers.clear()
        self.giving.clear()
        return held

    def begin_visit(self, told: Visit) -> None:
        """Leave with its consumers what they have, and take the rest back."""
        self.suspend()
        before, self.held = self.held, {}
        former, self.consumers = self.consumers, {}
        origins = told.origins
        self._lend(0)
        for one in told.consumers:
            queue = self._owner.queue(one.queue)
            if queue is None:
                continue
            consumer = former.pop(one.number, None)
            if consumer is not None and consumer.queue is not queue:
                former[one.number] = consumer
                consumer = None
            if consumer is None:
                consumer = self._new_consumer(one.number, queue, one.auto, one.prefetch, one.terms)
                queue.attach(consumer)
            self.consumers[one.number] = consumer
            consumer.begin_visit()
            consumer.wants = one.wants
            self._adopt(consumer, one.held, before, origins)
        for loose, temporary in ((told.loose, True), (told.kept, False)):
            for name, sequences in loose.items():
                consumer = self._loose_of(name)
                if consumer is not None:
                    self._adopt(consumer, sequences, before, origins)
                    if temporary:
                        self._loosened.update(sequences)
        self._take_back(before, former)

    def _take_back(
        self,
        left: dict[int, tuple[GuestConsumer, Message]],
        former: dict[int, GuestConsumer],
    ) -> None:
        """Return what the front does not have, and let consumers go that it does not have."""
        back: dict[GuestConsumer, list[Message]] = {one: [] for one in former.values()}
        for consumer, message in left.values():
            back.setdefault(consumer, []).append(message)
        staying = set(self.consumers.values())
        for consumer, messages in back.items():
            if consumer in staying:
                consumer.queue.take_back(consumer, messages)
            else:
                consumer.queue.detach(consumer, messages)

    def _adopt(
        self,
        consumer: GuestConsumer,
        sequences: Iterable[int],
        before: dict[int, tuple[GuestConsumer, Message]],
        origins: list[MessageOrigin],
    ) -> None:
        missing: list[int] = []
        for sequence in sequences:
            entry = before.pop(sequence, None)
            if entry is None:
                if sequence not in self.held:
                    missing.append(sequence)
                continue
            self.held[sequence] = (consumer, entry[1])
            consumer.adopts(entry[1])
        if not missing:
            return
        wanted = set(missing)
        for message in consumer.queue.adopt(wanted):
            wanted.discard(message.sequence)
            self.held[message.sequence] = (consumer, message)
            consumer.adopts(message)
        for sequence in wanted:
            self._await(sequence, consumer, origins)

    def _await(self, sequence: int, consumer: GuestConsumer, origins: list[MessageOrigin]) -> None:
        """Nobody knows a message yet that a consumer has: perhaps its batch comes again."""
        for origin in origins:
            if origin.first <= sequence < origin.first + origin.length * STEP:
                index = origin.start + (sequence - origin.first) // STEP
                key = origin.front, origin.batch, index
                again = self._owner.reissued.get(key)
                if again is None:
                    awaited = self._awaited[sequence] = _Awaited(sequence, self, consumer)
                    self._owner.awaited[key] = awaited
                else:
                    self._find_again(sequence, again, consumer)
                return

    def _find_again(self, sequence: int, again: int, consumer: GuestConsumer) -> None:
        """A message has come again under another number, before we heard that somebody has it."""
        adopted = consumer.queue.adopt({again})
        for message in adopted:
            self.held[sequence] = (consumer, message)
            consumer.adopts(message)
        if not adopted:
            self._aliases[sequence] = again

    def _loose_of(self, name: str) -> GuestConsumer | None:
        consumer = self._loose.get(name)
        queue = self._owner.queue(name)
        if queue is None:
            return None
        if consumer is None or consumer.queue is not queue:
            consumer = self._loose[name] = self._new_consumer(0, queue, auto=False, prefetch=0)
        return consumer

    def _new_consumer(
        self,
        away: int,
        queue: RestorableQueue,
        auto: bool,
        prefetch: int,
        terms: Terms = PLAIN,
    ) -> GuestConsumer:
        return GuestConsumer(self, away, queue, auto=auto, prefetch=prefetch, terms=terms)

    def end_of_repeats(self) -> None:
        """Everything was told again: what is loose still is over, as the log has it."""
        back: dict[GuestConsumer, list[Message]] = {}
        for sequence in self._loosened:
            entry = self.held.get(sequence)
            if entry is not None and entry[0].away == 0:
                del self.held[sequence]
                back.setdefault(entry[0], []).append(entry[1])
        self._loosened.clear()
        for consumer, messages in back.items():
            consumer.queue.detach(consumer, messages)

    def begin(self) -> None:
        """Have its consumers that want messages wait for them."""
        for consumer in self.consumers.values():
            if consumer.has_room:
                consumer.queue.resume(consumer)

    def refill(self) -> None:
        """Have those wait for messages again that have room again."""
        refilled, self._refilled = self._refilled, {}
        for consumer in refilled:
            if consumer.has_room:
                consumer.queue.resume(consumer)

    # -- its verbs --------------------------------------------------------------------------

    def settle(self, verb: SettleVerb) -> None:
        """End deliveries as the front says."""
        by_consumer: dict[GuestConsumer, list[Message]] = {}
        held, rejection = self.held, verb.rejection
        strange: set[int] = set()
        last, messages = None, []
        for sequence in verb.sequences:
            entry = held.pop(sequence, None)
            if entry is None:
                self._over(sequence, rejection)
                strange.add(self._aliases.pop(sequence, sequence))
                continue
            consumer, message = entry
            if consumer is not last:
                last, messages = consumer, by_consumer.setdefault(consumer, [])
            messages.append(message)
        for consumer, messages in by_consumer.items():
            consumer.settled(messages)
            _end(consumer.queue, messages, rejection)
            if consumer.wants:
                self._refilled[consumer] = None
        if strange and rejection is None:
            self._owner.settle_anywhere(verb.queue, strange)

    def take(self, sequences: Iterable[int]) -> dict[int, tuple[RestorableQueue, Message]]:
        """Take messages from consumers that have settled them, and give them."""
        taken: dict[int, tuple[RestorableQueue, Message]] = {}
        for sequence in sequences:
            entry = self.held.pop(sequence, None)
            if entry is not None:
                consumer, message = entry
                consumer.settled([message])
                taken[sequence] = consumer.queue, message
                if consumer.wants:
                    self._refilled[consumer] = None
        return taken

    def settle_for(self, sequences: set[int]) -> None:
        """Settle what somebody else has settled who had it before; they are taken out."""
        for sequence in sequences & self.held.keys():
            sequences.discard(sequence)
            consumer, message = self.held.pop(sequence)
            consumer.settled([message])
            consumer.queue.settle(message)
            self._refilled[consumer] = None

    def _over(
        self, sequence: int, rejection: Rejection | None = None, *, back: bool = False
    ) -> None:
        """What is perhaps told again is over already."""
        awaited = self._awaited.pop(sequence, None)
        if awaited is not None:
            awaited.over, awaited.rejection, awaited.back = True, rejection, back

    def want(self, number: int) -> None:
        """Have a consumer take messages."""
        consumer = self.consumers.get(number)
        if consumer is not None:
            consumer.wants = True
            self._refilled[consumer] = None

    def withdraw(self, number: int) -> None:
        """Have a consumer take none for now."""
        consumer = self.consumers.get(number)
        if consumer is not None:
            consumer.wants = False
            consumer.queue.control(Withdraw([consumer]))

    def took(self, verb: TookVerb) -> None:
        """Open the window of a consumer."""
        consumer = self.consumers.get(verb.consumer)
        if consumer is not None:
            consumer.took(verb.count, verb.size)
            self._refilled[consumer] = None

    def attach(self, verb: AttachVerb, answer: Callable[[ProtocolError | None], None]) -> None:
        """Let a consumer take part, if it does not so already."""
        number = verb.consumer
        queue = self._owner.queue(verb.queue)
        if queue is None:
            words = f"/queue/{verb.queue} is not there any more"
            answer(ProtocolError(ErrorCode.UNKNOWN_SUBSCRIPTION, words))
            return
        if number in self.consumers:
            answer(None)
            return
        consumer = self._new_consumer(number, queue, verb.auto, verb.prefetch, verb.terms)

        def done(error: ProtocolError | None = None, /) -> None:
            if error is None:
                self.consumers[number] = consumer
            answer(error)

        queue.attach(consumer, done)

    def detach(self, verb: DetachVerb) -> None:
        """Let a consumer go, and take back what it does not keep."""
        consumer = self.consumers.pop(verb.consumer, None)
        back = self._take_out(verb.back)
        if consumer is None:
            # It has gone before, or at another owner; what comes back is with whoever has it.
            for holder, messages in back.items():
                holder.queue.detach(holder, messages, lost=verb.lost)
            return
        kept = set(verb.kept)
        rest = [
            message
            for sequence, (holder, message) in self.held.items()
            if holder is consumer and sequence not in kept
        ]
        for message in rest:
            del self.held[message.sequence]
        mine = back.pop(consumer, [])
        consumer.wants = False
        consumer.queue.detach(consumer, mine, lost=verb.lost)
        for holder, messages in back.items():
            holder.queue.detach(holder, messages, lost=verb.lost)
        if rest:
            consumer.queue.detach(consumer, rest)

    def give_back(self, verb: ReturnVerb) -> None:
        """Take back what a consumer did not want."""
        consumer = self.consumers.get(verb.consumer)
        for holder, messages in self._take_out(verb.sequences).items():
            for message in messages:
                holder.settled([message])
            if holder is consumer:
                holder.queue.take_back(holder, messages)
                self._refilled[holder] = None
            else:
                holder.queue.detach(holder, messages)

    def _take_out(self, sequences: Iterable[int]) -> dict[GuestConsumer, list[Message]]:
        found: dict[GuestConsumer, list[Message]] = {}
        for sequence in sequences:
            entry = self.held.pop(sequence, None)
            if entry is None:
                self._over(sequence, back=True)
            else:
                found.setdefault(entry[0], []).append(entry[1])
        return found


def _end(queue: RestorableQueue, messages: list[Message], rejection: Rejection | None) -> None:
    """End deliveries, all of them in this turn."""
    if rejection is not None:
        for message in messages:
            queue.settle(message, rejection)
        return
    for at in range(0, len(messages), AT_ONCE):
        queue.settle_many(messages[at : at + AT_ONCE], None, None, nobody_asks)
