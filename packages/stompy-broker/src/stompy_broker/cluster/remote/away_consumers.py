"""The consumers of a front: queues elsewhere have messages for them (**hot path**)."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from stompy.errors import ProtocolError
from stompy_broker.cluster.remote.front_batch import Answered, Asking, FrontBatch
from stompy_broker.cluster.remote.verbs import (
    Answer,
    AttachVerb,
    DeliverEvent,
    DetachVerb,
    ResumeVerb,
    ReturnVerb,
    ToldConsumer,
    TookVerb,
    Verb,
    Visit,
    WithdrawVerb,
)
from stompy_broker.message import Message
from stompy_broker.routing.answers import Done
from stompy_broker.routing.consumer import Consumer, NotNow
from stompy_broker.routing.message_group import grouped
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.services import Services

log = logging.getLogger("stompy_broker.cluster")

WINDOW, WINDOW_BYTES = 1024, 1024 * 1024
"""How much may be on its way to a consumer that does not say how much it can have."""


class FrontQueue(Protocol):
    """What a front needs to know of a queue."""

    @property
    def name(self) -> str:
        """Of the queue, without prefix."""
        ...

    @property
    def is_stored(self) -> bool:
        """Whether persistent messages in it survive."""
        ...

    def make_wait(self, used: int, high: int) -> None:
        """Have who sends wait, or not (0)."""
        ...


class FrontTeller(Protocol):
    """What tells the owner of a group."""

    def add(self, verb: Verb) -> FrontBatch:
        """Tell a verb that has no answer of its own."""
        ...

    def ask(self, verb: Asking, answered: Answered) -> None:
        """Tell a verb that has one."""
        ...

    def settle(
        self, queue: FrontQueue, messages: Sequence[Message], rejection: Rejection | None
    ) -> None:
        """Tell that deliveries have ended."""
        ...


class AwayConsumer:
    """A consumer of a queue elsewhere.

    Args:
        number: at this front; never used again.
        consumer: it.
        queue: the name of its queue.

    Attributes:
        attached: whether the owner has said that it takes part.
        told: whether the owner knows that it takes messages.
        withdrawn: whether it wants nothing for now.
        parked: what arrived, and it had no room for.
        took: messages that it took and the owner was not told of.
        took_size: their bytes.
    """

    __slots__ = (
        "attached",
        "consumer",
        "number",
        "parked",
        "queue",
        "told",
        "took",
        "took_size",
        "withdrawn",
    )

    def __init__(self, number: int, consumer: Consumer, queue: FrontQueue) -> None:
        self.number = number
        self.consumer = consumer
        self.queue = queue
        self.attached = self.told = self.withdrawn = False
        self.parked: deque[Message] = deque()
        self.took = self.took_size = 0


class LeavingConsumer(NamedTuple):
    """A consumer whose queue comes here.

    Attributes:
        queue: what it consumes from.
        consumer: it.
        answered: told whether it takes part; None = it does already.
        gone: whether it has gone, and holds something yet.
    """

    queue: FrontQueue
    consumer: Consumer
    answered: Answered | None
    gone: bool


class AwayConsumers:
    """The consumers of one front.

    Args:
        teller: tells the owner.
        services: of the broker.

    Attributes:
        left: the numbers of those that queues here have for themselves now.
    """

    def __init__(self, teller: FrontTeller, services: Services) -> None:
        self.left: set[int] = set()
        self._teller = teller
        self._services = services
        self._consumers: dict[int, AwayConsumer] = {}
        self._by_consumer: dict[Consumer, AwayConsumer] = {}
        self._leavers: dict[Consumer, AwayConsumer] = {}  # gone, and hold something yet
        self._last = 0  # the last number

    def attach(self, queue: FrontQueue, consumer: Consumer, done: Done | None) -> None:
        """Tell that a consumer wants to take part; see `Queue.attach`."""
        self._last += 1
        away = AwayConsumer(self._last, consumer, queue)
        self._consumers[away.number] = self._by_consumer[consumer] = away
        prefetch = 0 if consumer.auto else consumer.prefetch
        verb = AttachVerb(away.number, queue.name, consumer.auto, prefetch, consumer.terms)
        self._teller.ask(verb, partial(self._attached, away, done))

    def _attached(self, away: AwayConsumer, done: Done | None, answer: Answer) -> None:
        if isinstance(answer, ProtocolError):
            self._consumers.pop(away.number, None)
            if self._by_consumer.get(away.consumer) is away:
                del self._by_consumer[away.consumer]
            if done is not None:
                done(answer)
            return
        away.attached = True
        if done is not None:
            done()

    def take_in(self, queue: FrontQueue, consumer: Consumer) -> None:
        """Take a consumer that took part while the group was here."""
        self._last += 1
        away = AwayConsumer(self._last, consumer, queue)
        away.attached = True
        self._consumers[away.number] = self._by_consumer[consumer] = away

    def keep_leaver(self, queue: FrontQueue, consumer: Consumer) -> None:
        """Take one that has gone while the group was here, and holds something yet."""
        self._last += 1
        self._leavers[consumer] = AwayConsumer(self._last, consumer, queue)

    def let_go(self, asked: Mapping[int, Answered]) -> list[LeavingConsumer]:
        """Give all of them to queues that are here from now on, in the order of their numbers.

        Args:
            asked: who takes the answer of those that do not take part yet, by their numbers.
        """
        leaving = [
            LeavingConsumer(away.queue, consumer, asked.get(away.number), gone=gone)
            for group, gone in ((self._by_consumer, False), (self._leavers, True))
            for consumer, away in group.items()
        ]
        self.left |= self._consumers.keys()
        self._consumers.clear()
        self._by_consumer.clear()
        self._leavers.clear()
        return leaving

    def resume(self, consumer: Consumer) -> None:
        """Hand over what has arrived, and have the owner go on."""
        away = self._by_consumer.get(consumer)
        if away is None or consumer.waiting:
            return
        consumer.waiting = True
        away.withdrawn = False
        if away.parked:
            self._hand_over(away)
        if not away.told:
            away.told = True
            self._teller.add(ResumeVerb(away.number))

    def withdraw(self, consumers: Iterable[Consumer]) -> None:
        """Have these get nothing from now on; what has arrived for them goes back."""
        for consumer in consumers:
            away = self._by_consumer.get(consumer)
            consumer.waiting = False
            if away is None:
                continue
            away.withdrawn = True
            if away.told:
                away.told = False
                self._teller.add(WithdrawVerb(away.number))
            self._give_back(away)

    def detach(
        self,
        queue: FrontQueue,
        consumer: Consumer,
        unsettled: Iterable[Message],
        *,
        lost: bool,
        done: Done | None,
    ) -> None:
        """Tell that a consumer has gone; see `Queue.detach`."""
        away = self._by_consumer.pop(consumer, None) or self._leavers.pop(consumer, None)
        consumer.waiting = False
        messages = list(unsettled)
        back = [message.sequence for message in messages]
        gone = set(back)
        kept = [one.sequence for one in consumer.holds() if one.sequence not in gone]
        number = 0
        if away is not None:
            number = away.number
            self._consumers.pop(number, None)
            away.parked.clear()
            if kept:
                self._leavers[consumer] = away
        memory = self._services.memory
        memory.used -= sum([message.size for message in messages])
        memory.check()
        batch = self._teller.add(DetachVerb(number, queue.name, lost, back, kept))
        if done is not None:
            batch.now.append((-1, done))

    def _hand_over(self, away: AwayConsumer) -> None:
        """Give a consumer what is parked for it, as long as it wants more."""
        consumer, parked = away.consumer, away.parked
        taken: list[Message] = []
        self._services.current_time.now = self._services.clock.now()
        deliver, more, refuses = consumer.deliver, consumer.waiting, False
        while parked and more:
            message = parked.popleft()
            try:
                more = deliver(message)
            except NotNow:
                parked.appendleft(message)
                more, refuses = False, True
            except Exception as error:
                self._cannot_write(away, message, error)
            else:
                taken.append(message)
        consumer.waiting = more
        if taken:
            self._took(away, taken)
        if refuses:
            # Others may have what was on its way to it.
            self.withdraw((consumer,))

    def _cannot_write(self, away: AwayConsumer, message: Message, error: Exception) -> None:
        """Take a message out of the way that cannot be written: a fault of ours."""
        log.error("/queue/%s: %s cannot be written", away.queue.name, message, exc_info=error)
        self._services.memory.used += message.size
        reason = f"{type(error).__name__}: {error}"
        self._teller.settle(away.queue, [message], Rejection(requeue=False, reason=reason))

    def _took(self, away: AwayConsumer, taken: list[Message]) -> None:
        size = sum([message.size for message in taken])
        self._services.memory.add(size)
        if away.consumer.auto:
            # Settled with what else this turn tells, so that most is never written.
            self._teller.settle(away.queue, taken, None)
            return
        away.took += len(taken)
        away.took_size += size
        if away.took * 4 >= WINDOW or away.took_size * 4 >= WINDOW_BYTES:
            self._teller.add(TookVerb(away.number, away.took, away.took_size))
            away.took = away.took_size = 0

    def _give_back(self, away: AwayConsumer) -> None:
        if away.parked:
            sequences = [message.sequence for message in away.parked]
            away.parked.clear()
            self._teller.add(ReturnVerb(away.number, sequences))

    def deliver(self, event: DeliverEvent) -> None:
        """Give a consumer what has arrived for it, or park it."""
        away = self._consumers.get(event.consumer)
        if away is None:
            return  # it has gone; the owner takes it back when it hears of that
        head, at, past = event.head, event.stamp, event.past
        messages = [
            Message(sequence, head, body, at, past)
            for sequence, body in zip(event.sequences, event.bodies, strict=True)
        ]
        if head.traits.group is not None:
            messages = [grouped(message, first=event.first) for message in messages]
        away.parked += messages
        if away.withdrawn:
            self._give_back(away)
        elif away.consumer.waiting:
            self._hand_over(away)

    def fail(self, number: int, error: ProtocolError) -> None:
        """The queue has given up on a consumer."""
        away = self._consumers.get(number)
        if away is not None:
            away.consumer.fail(error)

    def activate(self, number: int, *, active: bool) -> None:
        """Tell a consumer whether it is given messages, as its queue says."""
        away = self._consumers.get(number)
        if away is not None:
            away.consumer.activate(active=active)

    def give_back(self, number: int) -> None:
        """Have a consumer give back what it has, and what is on its way to it."""
        away = self._consumers.get(number)
        if away is not None:
            self._give_back(away)
            away.consumer.give_back()

    def tell(self, told: Visit) -> None:
        """Put into a visit what they are and have; what is parked for them comes again."""
        for away in self._consumers.values():
            away.parked.clear()  # it is in its queue, where the next owner finds it
            away.took = away.took_size = 0
            if not away.attached:
                continue
            consumer = away.consumer
            if not consumer.terms.single_active:
                # Its next owner says so if another one is.
                consumer.activate(active=True)
            away.told = not away.withdrawn and (away.told or consumer.waiting)
            prefetch = 0 if consumer.auto else consumer.prefetch
            held = [message.sequence for message in consumer.holds()]
            told.consumers.append(
                ToldConsumer(
                    away.number,
                    away.queue.name,
                    consumer.auto,
                    prefetch,
                    away.told,
                    held,
                    consumer.terms,
                )
            )
        for consumer, away in list(self._leavers.items()):
            holds = [message.sequence for message in consumer.holds()]
            if holds:
                told.kept.setdefault(away.queue.name, []).extend(holds)
            else:
                del self._leavers[consumer]
