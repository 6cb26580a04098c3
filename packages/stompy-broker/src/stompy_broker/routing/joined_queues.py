"""Several queues from which one consumer takes, as if they were one.

Each of them has an `Inlet` as its consumer. What the consumer takes, it takes by turns from those
that have something, and what it settles goes to the queue that it came from.

An inlet stays in the line of its queue while there is nothing for it. Credit is the consumer's,
so it may be used up meanwhile: then the inlet refuses what comes (`NotNow`), and waits in ``_out``
until the consumer goes on. So ten thousand queues with nothing in them cost nothing while a client
settles what it got from one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from typing import NoReturn

from stompy.errors import ProtocolError
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message
from stompy_broker.routing.answers import Done, Refused, when_all
from stompy_broker.routing.batching import AT_ONCE, BatchedWork, WorkBudget
from stompy_broker.routing.consumer import Consumer, NotNow
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.interface import (
    NAMED,
    Browse,
    Browsed,
    Order,
    Outcome,
    Queue,
    QueueFigures,
    QueueIdentity,
)
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.sequences import Sequences
from stompy_broker.routing.settlement_record import NOBODY, Taker
from stompy_broker.routing.terms import PLAIN

_DEFAULT = Policy()

_STEPS_AT_ONCE = 50
"""Queues that a consumer comes to, or leaves, before others have their turn."""
_TURNS_AT_ONCE, _TURNS_A_STEP = 500, 10
"""Turns that its queues have before others have theirs, and then in each step."""


class Inlet(Consumer):
    """Takes messages of one queue for a consumer of several.

    Args:
        joined: the queues.
        queue: the one.
        consumer: whom for.
        number: unique while the broker runs.

    Attributes:
        attached: whether its queue has let it in.
    """

    __slots__ = ("_joined", "attached", "queue")

    def __init__(self, joined: JoinedQueues, queue: Queue, consumer: Consumer, number: int) -> None:
        self.number = number
        self.auto, self.prefetch = consumer.auto, consumer.prefetch
        # What comes of topics is chosen where it is published.
        self.terms = PLAIN if queue.private else consumer.terms.under(queue.policy)
        self.waiting = self.attached = False
        self.queue = queue
        self._joined = joined

    def deliver(self, message: Message) -> bool:
        """Take a message for the consumer, if it takes any just now."""
        return self._joined.take(self, message)

    def taker(self) -> Taker:
        """Who the consumer is."""
        return self._joined.taker()

    def fail(self, reason: ProtocolError) -> None:
        """Give up on the consumer: one of its queues does."""
        self._joined.fail(reason)

    def activate(self, *, active: bool) -> None:
        """Tell the consumer whether it is the one in all its queues."""
        self._joined.activate(self, active=active)

    def give_back(self, only: Set[Message] | None = None) -> None:
        """Have the consumer give back what it has of this queue."""
        self._joined.give_back(self)

    def holds(self) -> Iterable[Message]:
        """What the consumer was given of this queue and has not settled."""
        return self._joined.held_of(self)


class JoinedQueues(Queue):
    """Several queues, as one consumer sees them. Nobody sends to it, and it has no figures.

    Args:
        destination: as the client wrote it.
        queues: the queues, in turn.
        found: more of them, which a pattern found; one that lets nobody in is left out.
        budget: for work on very many messages.
        new_number: gives numbers for consumers.
        pace: carries out steps, some at a time, so that others have their turn.
    """

    __slots__ = (
        "_again",
        "_batches",
        "_benched",
        "_consumer",
        "_ended",
        "_goes_on_later",
        "_going_on",
        "_inlets",
        "_named",
        "_new_number",
        "_origins",
        "_out",
        "_pace",
        "_stands_by",
        "_taken",
    )

    def __init__(
        self,
        destination: str,
        queues: Iterable[Queue],
        found: Iterable[Queue],
        budget: WorkBudget,
        new_number: Callable[[], int],
        pace: Callable[[Iterator[None]], None],
    ) -> None:
        self._identity = QueueIdentity(destination, destination, _DEFAULT, *NAMED)
        self._batches = BatchedWork(budget)
        self._new_number = new_number
        self._pace = pace
        self._consumer: Consumer | None = None
        named = dict.fromkeys(queues)
        self._inlets: dict[Queue, Inlet | None] = {**named, **dict.fromkeys(found)}
        self._named = frozenset(named)
        self._out: dict[Inlet, None] = {}  # in no line; whose turn it is stands first
        self._origins: dict[Message, Inlet] = {}  # of what is not settled
        self._again: dict[Message, list[Inlet]] = {}  # of what came from several
        self._going_on = self._goes_on_later = self._ended = False
        self._taken = 0
        self._benched: dict[Inlet, None] = {}  # where another consumer is given everything
        self._stands_by: bool | None = None  # whether there are any, as the consumer was told

    # -- which queues they are --------------------------------------------------------------

    @property
    def queues(self) -> list[Queue]:
        """The queues, in the order in which they were joined."""
        return list(self._inlets)

    def origin(self, message: Message) -> Queue:
        """The queue that a message came from, which is not settled."""
        return self._origins[message].queue

    def held_of(self, inlet: Inlet) -> list[Message]:
        """What the consumer has of one of the queues."""
        held = [message for message, origin in self._origins.items() if origin is inlet]
        return held + [message for message, more in self._again.items() if inlet in more]

    def join(self, queue: Queue) -> None:
        """Take from one more queue, unless it does not let the consumer in."""
        if self._ended or queue in self._inlets:
            return
        self._inlets[queue] = None
        if self._consumer is not None:
            self._attach(queue, self._consumer, self._has_joined)

    def _has_joined(self, inlet: Inlet, error: ProtocolError | None) -> None:
        if error is not None:
            self.leave(inlet.queue)
        elif self._consumer is not None and self._consumer.waiting:
            self._go_on()

    def leave(self, queue: Queue) -> None:
        """Take no more from a queue that has ended; what came from it is settled there."""
        inlet = self._inlets.pop(queue, None)
        if inlet is not None:
            self._out.pop(inlet, None)
            self._benched.pop(inlet, None)

    def release(self) -> None:
        """Break the circles that it makes with its consumers, which have gone."""
        self._inlets.clear()
        self._consumer = None

    def taker(self) -> Taker:
        """Who its consumer is."""
        return NOBODY if self._consumer is None else self._consumer.taker()

    # -- what a consumer does ---------------------------------------------------------------

    def attach(self, consumer: Consumer, done: Done | None = None) -> None:
        """Let a consumer take part in all of them, or in none."""
        self._consumer = consumer
        queues = self.queues
        part_done = when_all(len(queues) + 1, done or _nothing)
        self._in_steps(self._attach_each(queues, consumer, part_done), len(queues))

    def _attach_each(
        self, queues: list[Queue], consumer: Consumer, part_done: Done
    ) -> Iterator[None]:
        def told(inlet: Inlet, error: ProtocolError | None) -> None:
            if error is not None and inlet.queue not in self._named:
                self.leave(inlet.queue)  # somebody else has it for himself
                error = None
            part_done(error)

        for queue in queues:
            if self._ended or queue not in self._inlets:
                part_done()  # it is of no use any more
            else:
                self._attach(queue, consumer, told)
            yield
        part_done()

    def _in_steps(self, steps: Iterator[None], count: int) -> None:
        """Carry out so many steps: now, or some at a time."""
        if count > _STEPS_AT_ONCE:
            self._pace(steps)
        else:
            for _ in steps:
                pass

    def _attach(
        self,
        queue: Queue,
        consumer: Consumer,
        told: Callable[[Inlet, ProtocolError | None], None],
    ) -> None:
        inlet = self._inlets[queue] = Inlet(self, queue, consumer, self._new_number())

        def answered(error: ProtocolError | None = None, /) -> None:
            if error is None and self._inlets.get(queue) is inlet:
                inlet.attached = True
                self._out[inlet] = None
            told(inlet, error)

        queue.attach(inlet, answered)

    def detach(
        self,
        consumer: Consumer,
        unsettled: Iterable[Message] = (),
        *,
        lost: bool = False,
        done: Done | None = None,
    ) -> None:
        """Let the consumer go; what it did not settle returns to where it came from."""
        back: dict[Inlet, list[Message]] = {}
        for message in unsettled:
            back.setdefault(self._forget(message), []).append(message)
        # The client may have died on the oldest message, and on no other one.
        oldest = next(iter(back), None) if lost else None
        leaving = dict.fromkeys(back)
        if not self._ended:
            self._ended = True
            consumer.waiting = False
            leaving = dict.fromkeys(one for one in self._inlets.values() if one is not None)
            leaving.update(dict.fromkeys(back))
            self._out.clear()
        part_done = when_all(len(leaving) + 1, done or _nothing)
        # What comes back goes to others now; who has nothing may go later.
        for inlet, messages in back.items():
            inlet.queue.detach(inlet, messages, lost=lost and inlet is oldest, done=part_done)
        rest = [inlet for inlet in leaving if inlet not in back]
        self._in_steps(_detach_each(rest, part_done), len(rest))

    def resume(self, consumer: Consumer) -> None:
        """Go on: the consumer has room again."""
        if not self._ended and not consumer.waiting:
            consumer.waiting = True
            self._go_on()

    def _go_on(self) -> None:
        """Let the queues hand out, one message each in turn, as long as the consumer takes any."""
        if self._hand_out(_TURNS_AT_ONCE) or self._goes_on_later:
            return
        self._goes_on_later = True
        self._pace(self._go_on_later())

    def _go_on_later(self) -> Iterator[None]:
        while not self._hand_out(_TURNS_A_STEP):
            yield
        self._goes_on_later = False

    def _hand_out(self, turns: int) -> bool:
        """Give so many queues their turn; say whether that was all for now."""
        consumer, out = self._consumer, self._out
        if self._going_on or consumer is None:
            return True
        self._going_on = True
        try:
            while out and consumer.waiting:
                if not turns:
                    return False
                turns -= 1
                inlet = next(iter(out))
                del out[inlet]
                inlet.queue.resume(inlet)
        finally:
            self._going_on = False
        return True

    def take(self, inlet: Inlet, message: Message) -> bool:
        """Give the consumer a message of one of the queues; say whether to go on with that one.

        Raises:
            NotNow: it takes none for now.
        """
        consumer = self._consumer
        if consumer is None or not consumer.waiting:
            if not self._ended:
                self._out[inlet] = None
            raise NotNow
        more = consumer.deliver(message)
        self._taken += 1
        if not inlet.auto:
            self._remember(message, inlet)
        if not more:
            consumer.waiting = False
        elif not self._out:
            return True  # no other queue has anything
        self._out[inlet] = None
        return False

    def activate(self, inlet: Inlet, *, active: bool) -> None:
        """Tell the consumer if another one is given everything in one of the queues, or in none."""
        if active:
            self._benched.pop(inlet, None)
        else:
            self._benched[inlet] = None
        stands_by = bool(self._benched)
        if self._consumer is not None and stands_by is not self._stands_by:
            self._stands_by = stands_by
            self._consumer.activate(active=not stands_by)

    def give_back(self, inlet: Inlet) -> None:
        """Have the consumer give back what it has of one of the queues."""
        if self._consumer is not None:
            self._consumer.give_back(frozenset(self.held_of(inlet)))

    def fail(self, reason: ProtocolError) -> None:
        """Have the consumer fail, as one of the queues wants."""
        if self._consumer is not None:
            self._consumer.fail(reason)

    def settle(
        self, message: Message, rejection: Rejection | None = None, done: Done | None = None
    ) -> None:
        """End a delivery, in the queue that it came from."""
        self._forget(message).queue.settle(message, rejection, done)

    def settle_many(
        self,
        messages: Iterable[Message],
        rejection: Rejection | None,
        done: Done | None,
        then: Callable[[], None],
    ) -> None:
        """End very many deliveries, in steps, and then call ``then``."""
        plain = rejection is None and done is None
        if not (plain and isinstance(messages, list) and len(messages) <= AT_ONCE):
            self._batches.do(messages, lambda message: self.settle(message, rejection, done), then)
            return
        # What one read brought: together for each queue.
        by_inlet: dict[Inlet, list[Message]] = {}
        for message in messages:
            by_inlet.setdefault(self._forget(message), []).append(message)
        for inlet, some in by_inlet.items():
            inlet.queue.settle_many(some, None, None, _nothing)
        then()

    def control(self, order: Order, done: Callable[[Outcome], None] | None = None) -> None:
        """Give the consumer nothing for now: there are no other orders that it could have."""
        if self._consumer is not None:
            self._consumer.waiting = False
        if done is not None:
            done(1)

    # -- where messages came from -----------------------------------------------------------

    def _remember(self, message: Message, inlet: Inlet) -> None:
        if message in self._origins:
            # A topic's message is one object for all its subscribers.
            self._again.setdefault(message, []).append(inlet)
        else:
            self._origins[message] = inlet

    def _forget(self, message: Message) -> Inlet:
        again = self._again.get(message)
        if again is None:
            return self._origins.pop(message)
        inlet = again.pop()
        if not again:
            del self._again[message]
        return inlet

    # -- what it has not --------------------------------------------------------------------

    @property
    def delivered(self) -> int:
        """How many messages the consumer was given."""
        return self._taken

    @property
    def group(self) -> QueueGroup:
        """Each queue has its own."""
        return _nobodys()

    @property
    def sequences(self) -> Sequences:
        """Each queue has those of its group."""
        return _nobodys()

    @property
    def unshared(self) -> bool:
        """Nobody sends to it."""
        return True

    @property
    def is_stored(self) -> bool:
        """Nothing is in it."""
        return False

    @property
    def watermark(self) -> Watermark | None:
        """Nobody sends to it."""
        return None

    def publish(
        self, message: Message, done: Done | None = None, refused: Refused | None = None
    ) -> None:
        """Take no message: nobody sends to it."""
        _nobodys()

    def admit(self, count: int, before: int, done: Done) -> None:
        """Take no message: nobody sends to it."""
        _nobodys()

    def stats(
        self, done: Callable[[QueueFigures], None], known: QueueFigures | None = None
    ) -> None:
        """Give no figures: each queue has its own."""
        _nobodys()

    def browse(self, wanted: Browse, done: Callable[[Browsed], None]) -> None:
        """Show nothing: what waits, waits in the queues."""
        _nobodys()


def _detach_each(inlets: list[Inlet], part_done: Done) -> Iterator[None]:
    for inlet in inlets:
        inlet.queue.detach(inlet, done=part_done)
        yield
    part_done()


def queues_of(source: Queue) -> list[Queue]:
    """The queues that a subscription takes from: one, or those that are joined."""
    joined = source if isinstance(source, JoinedQueues) else None
    return [source] if joined is None else joined.queues


def by_queue(source: Queue, messages: list[Message]) -> dict[Queue, list[Message]]:
    """Messages that a subscription has and did not settle, by the queues that they came from."""
    joined = source if isinstance(source, JoinedQueues) else None
    if joined is None:
        return {source: messages}
    found: dict[Queue, list[Message]] = {}
    for message in messages:
        found.setdefault(joined.origin(message), []).append(message)
    return found


def _nobodys() -> NoReturn:
    raise AssertionError("asked of one of several queues that are joined, and not of all of them")


def _nothing(*_: object) -> None:
    """Do nothing more."""
