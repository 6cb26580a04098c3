"""Queues that answer every verb some turns of the event loop later, and refuse at random.

A `DelayingQueue` stands before a local queue, as one would that lives in another process: what it
is told waits in one line for its group, is carried out in that order, and is answered after that.
So whatever is built on a queue that answers at once shows here.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Set
from functools import partial
from random import Random

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.broker import Broker
from stompy_broker.config import BrokerConfig
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message
from stompy_broker.routing.answers import Done, Refused
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.factory import QueueFactory
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.interface import (
    KEEP_GROUPS,
    Browse,
    Browsed,
    Close,
    Configure,
    Expire,
    Order,
    Outcome,
    QueueFigures,
    QueueKind,
    RestorableQueue,
    Withdraw,
)
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.sequences import Sequences
from stompy_broker.routing.services import Services
from stompy_broker.routing.settings import QueueSettings
from stompy_broker.store.interface import MessageStore
from stompy_broker.virtual_clock import Time

Act = Callable[[], None]
Soon = Callable[[Act], object]

REFUSED = "the queue is somewhere else, and has bad days"


class Line:
    """What was told to the queues of one group and is not carried out yet, in order.

    Args:
        soon: calls a function at the next turn of the event loop.
        random: says how many turns each takes, and what is refused.
        refuses: how much of what may be refused is; 0 to 1.
    """

    def __init__(self, soon: Soon, random: Random, refuses: float = 0.0) -> None:
        self.random = random
        self.refuses = refuses
        self._soon = soon
        self._waiting: deque[Act] = deque()
        self._turns = 0

    def add(self, act: Act) -> None:
        """Carry something out, when it is its turn."""
        self._waiting.append(act)
        if len(self._waiting) == 1:
            self._begin()

    def refusal(self) -> ProtocolError | None:
        """Whether something is refused, now and then."""
        if self.random.random() < self.refuses:
            return ProtocolError(ErrorCode.QUEUE_FULL, REFUSED)
        return None

    def _begin(self) -> None:
        self._turns = self.random.randrange(3)
        self._soon(self._turn)

    def _turn(self) -> None:
        if self._turns:
            self._turns -= 1
            self._soon(self._turn)
            return
        # Some go together, as what comes in one packet does.
        for _ in range(self.random.randrange(1, 4)):
            if self._waiting:
                act = self._waiting[0]
                try:
                    act()
                finally:
                    self._waiting.popleft()
        if self._waiting:
            self._begin()


class DelayingGroup(QueueGroup):
    """A group whose queues delay; it is safe when they have carried out what they were told."""

    __slots__ = ("line",)
    line: Line

    def sync(self, done: Callable[[], None]) -> None:
        """Call ``done`` once everything told to its queues so far is safe."""
        self.line.add(partial(super().sync, done))


class DelayingQueue(RestorableQueue):
    """A queue that takes its time.

    Args:
        inner: the queue that it stands for.
        line: what its group was told.
    """

    def __init__(self, inner: RestorableQueue, line: Line) -> None:
        self._inner = inner
        self._line = line
        self._told = 0  # how often it was published or attached to
        self._attached = 0
        self._withdrawn: Counter[Consumer] = Counter()  # how often each consumer was

    def renew_policy(self, policy: Policy) -> None:
        self._inner.renew_policy(policy)

    # -- what stands beside the verbs -------------------------------------------------------

    @property
    def destination(self) -> str:
        return self._inner.destination

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def policy(self) -> Policy:
        return self._inner.policy

    @property
    def group(self) -> QueueGroup:
        return self._inner.group

    @property
    def sequences(self) -> Sequences:
        return self._inner.sequences

    @property
    def private(self) -> bool:
        return self._inner.private

    @property
    def durable(self) -> bool:
        return self._inner.durable

    @property
    def volatile(self) -> bool:
        return self._inner.volatile

    @property
    def final(self) -> bool:
        return self._inner.final

    @property
    def unshared(self) -> bool:
        return self._inner.unshared

    @property
    def is_stored(self) -> bool:
        return self._inner.is_stored

    @property
    def watermark(self) -> Watermark | None:
        return self._inner.watermark

    @property
    def delivered(self) -> int:
        return self._inner.delivered

    @property
    def unused_here(self) -> bool:
        return self._inner.unused_here

    # -- the verbs --------------------------------------------------------------------------

    def publish(
        self, message: Message, done: Done | None = None, refused: Refused | None = None
    ) -> None:
        self._told += 1

        def act() -> None:
            error = self._line.refusal() if refused is not None else None
            if error is not None and refused is not None:
                refused(error)
                return
            # As an owner does: the queue may have become a plain one since the front told it.
            if message.head.traits.group is not None:
                self._inner.control(KEEP_GROUPS)
            self._inner.publish(message, done, refused)

        self._line.add(act)

    def admit(self, count: int, before: int, done: Done) -> None:
        def act() -> None:
            error = self._line.refusal()
            if error is not None:
                done(error)
            else:
                self._inner.admit(count, before, done)

        self._line.add(act)

    def attach(self, consumer: Consumer, done: Done | None = None) -> None:
        self._told += 1
        self._attached += 1

        def act() -> None:
            error = self._line.refusal() if done is not None else None
            if error is not None and done is not None:
                done(error)
            else:
                self._inner.attach(consumer, done)

        self._line.add(act)

    def detach(
        self,
        consumer: Consumer,
        unsettled: Iterable[Message] = (),
        *,
        lost: bool = False,
        done: Done | None = None,
    ) -> None:
        # It gets nothing from now on, however long it takes to tell.
        self._withdraw([consumer])
        back = list(unsettled)
        self._line.add(lambda: self._inner.detach(consumer, back, lost=lost, done=done))

    def resume(self, consumer: Consumer) -> None:
        withdrawn = self._withdrawn[consumer]

        def act() -> None:
            if withdrawn == self._withdrawn[consumer]:
                self._inner.resume(consumer)

        self._line.add(act)

    def _withdraw(self, consumers: Iterable[Consumer]) -> None:
        some = list(consumers)
        self._withdrawn.update(some)
        self._inner.control(Withdraw(some))

    def settle(
        self, message: Message, rejection: Rejection | None = None, done: Done | None = None
    ) -> None:
        self._line.add(lambda: self._inner.settle(message, rejection, done))

    def settle_many(
        self,
        messages: Iterable[Message],
        rejection: Rejection | None,
        done: Done | None,
        then: Callable[[], None],
    ) -> None:
        some = list(messages)
        self._line.add(lambda: self._inner.settle_many(some, rejection, done, then))

    def stats(
        self, done: Callable[[QueueFigures], None], known: QueueFigures | None = None
    ) -> None:
        self._line.add(lambda: self._inner.stats(done, known))

    def browse(self, wanted: Browse, done: Callable[[Browsed], None]) -> None:
        self._line.add(lambda: self._inner.browse(wanted, done))

    def control(self, order: Order, done: Callable[[Outcome], None] | None = None) -> None:
        if isinstance(order, Withdraw):
            self._withdraw(order.consumers)
            return
        if isinstance(order, Expire):
            self._told += 1
        told = self._attached if self.durable else self._told

        def act() -> None:
            now = self._attached if self.durable else self._told
            if isinstance(order, Close) and order.unused is not None and told != now:
                if done is not None:
                    done(ProtocolError(ErrorCode.SUBSCRIPTION_IN_USE, "it is used again"))
                return
            error = None if isinstance(order, Close | Configure | Expire) else self._line.refusal()
            if error is not None and done is not None:
                done(error)
            else:
                self._inner.control(order, done)

        self._line.add(act)

    # -- what a store has kept --------------------------------------------------------------

    def configure(self, settings: QueueSettings) -> None:
        self._inner.configure(settings)

    def restore(self, message: Message, due: int) -> None:
        self._inner.restore(message, due)

    def set_idle_since(self, when: float) -> None:
        self._inner.set_idle_since(when)

    def adopt(self, sequences: Set[int]) -> list[Message]:
        return self._inner.adopt(sequences)

    def take_back(self, consumer: Consumer, messages: Iterable[Message]) -> None:
        self._inner.take_back(consumer, messages)

    def take_held(self, message: Message, holder: int) -> None:
        self._inner.take_held(message, holder)

    def abandon(self, held: Iterable[Message]) -> int:
        return self._inner.abandon(held)


class DelayingFactory(QueueFactory):
    """Makes queues that delay.

    Args:
        soon: calls a function at the next turn of the event loop.
        seed: for what is left to chance.
        refuses: how much of what may be refused is; 0 to 1.
        groups: how many groups there are.
    """

    def __init__(self, soon: Soon, seed: int = 1, refuses: float = 0.0, groups: int = 1) -> None:
        self._soon = soon
        self._random = Random(seed)
        self._refuses = refuses
        self._groups = groups

    def group(
        self, number: int, store: MessageStore, now_ms: int, disk: Watermark, stalled: Watermark
    ) -> QueueGroup:
        group = DelayingGroup(number, store, now_ms, disk, stalled)
        group.line = Line(self._soon, self._random, self._refuses)
        return group

    def group_of(self, name: str) -> int:
        return sum(name.encode()) % self._groups

    def queue(
        self,
        destination: str,
        name: str,
        policy: Policy,
        kind: QueueKind,
        services: Services,
        group: QueueGroup,
    ) -> RestorableQueue:
        assert isinstance(group, DelayingGroup)
        inner = super().queue(destination, name, policy, kind, services, group)
        return DelayingQueue(inner, group.line)


class DelayingBroker(Broker):
    """A broker whose queues answer late.

    Args:
        config: the settings.
        seed: for what is left to chance.
        refuses: how much of what may be refused is; 0 to 1.
        time: see `Broker`.
    """

    def __init__(
        self,
        config: BrokerConfig | None = None,
        *,
        seed: int = 1,
        refuses: float = 0.0,
        time: Time = "real",
    ) -> None:
        super().__init__(config, time=time)
        self._seed = seed
        self._refuses = refuses

    def _queue_factory(self) -> QueueFactory:
        return DelayingFactory(self._source.soon, self._seed, self._refuses)
