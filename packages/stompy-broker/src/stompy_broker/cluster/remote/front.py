"""What a broker tells the owner of a group, and keeps until it is safe (**hot path**).

All that one turn of the event loop tells the queues of one group is one batch. Batches are
numbered. Each is kept until the owner has said that it is safe; if the owner goes, those that are
left are told to the next one, which knows from the log of the group which of them are in there.

While nobody owns the group, batches wait here.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from weakref import WeakValueDictionary

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.cluster.link.link import Link
from stompy_broker.cluster.remote.away_consumers import (
    AwayConsumers,
    FrontQueue,
    LeavingConsumer,
)
from stompy_broker.cluster.remote.events import EventsReader, read_welcome
from stompy_broker.cluster.remote.front_batch import (
    UNKNOWN_TENURE,
    Answered,
    Asking,
    FrontBatch,
)
from stompy_broker.cluster.remote.link_batch import BatchWriter, write_visit
from stompy_broker.cluster.remote.tables import VerbError
from stompy_broker.cluster.remote.verbs import (
    ActiveEvent,
    Answer,
    AnswerEvent,
    AttachVerb,
    ControlVerb,
    DeliverEvent,
    DetachVerb,
    ExpireVerb,
    FailEvent,
    GiveBackEvent,
    LinkEvent,
    MessageOrigin,
    NothingVerb,
    OnceVerb,
    OriginEvent,
    PublishVerb,
    RoomEvent,
    SettleVerb,
    ToldBatch,
    Verb,
    Visit,
)
from stompy_broker.message import Message
from stompy_broker.routing.answers import Done, Refused
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.interface import Close, PublishOnce
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.sequences import STEP
from stompy_broker.routing.services import Services

log = logging.getLogger("stompy_broker.cluster")

UNSAFE_BYTES = 4 * 1024 * 1024
"""Who sends to a group waits while so much of it is not safe yet."""

_ORIGINS = 4096
"""So many are remembered before it is looked which of them are of use."""


class Front:
    """One group, as seen from a broker that does not own it.

    Args:
        group: its number.
        name: of this front: broker, a slash, and what tells its processes apart.
        services: of the broker.
        soon: calls a function at the end of the present turn of the event loop.

    Attributes:
        watermark: makes senders wait while much is not safe yet.
        consumers: those that consume from queues of the group.
        queues: those that were made here, by name.
    """

    def __init__(
        self,
        group: int,
        name: str,
        services: Services,
        soon: Callable[[Callable[[], None]], object],
    ) -> None:
        self.group = group
        self.name = name
        self.watermark = Watermark(UNSAFE_BYTES)
        self.queues: WeakValueDictionary[str, FrontQueue] = WeakValueDictionary()
        self._services = services
        self._soon = soon
        self.consumers = AwayConsumers(self, services)
        self._number = 0
        self._open: FrontBatch | None = None
        self._publishing: PublishVerb | None = None  # the last verb, if it is one
        self._settling: SettleVerb | None = None
        self._unsafe: dict[int, FrontBatch] = {}
        self._owed: dict[tuple[int, int], tuple[Asking, Answered]] = {}  # of safe batches
        self._executed = self._safe = 0
        self._closes: dict[str, int] = {}  # queues that end if unused, in the open batch
        self._origins: deque[MessageOrigin] = deque()
        self._safe_sequence = 0
        self._link: Link | None = None
        self._visit = 0
        self._welcomed = False
        self._tenure = 0
        self._writer = BatchWriter(group, 0)
        self._reader = EventsReader()

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be safe or to be answered."""
        return not (self._unsafe or self._owed or self._open)

    @property
    def visiting(self) -> Link | None:
        """The link to the owner; None = there is none."""
        return self._link

    def now(self) -> float:
        """The time on the clock."""
        return self._services.clock.now()

    # -- telling ----------------------------------------------------------------------------

    def _begin(self) -> FrontBatch:
        self._number += 1
        batch = self._open = FrontBatch(self._number)
        self._soon(self._end_turn)
        return batch

    def add(self, verb: Verb) -> FrontBatch:
        """Tell a verb that has no answer of its own."""
        batch = self._open or self._begin()
        batch.verbs.append(verb)
        self._publishing = self._settling = None
        return batch

    def publish(
        self,
        name: str,
        is_stored: bool,
        message: Message,
        done: Done | None,
        refused: Refused | None,
    ) -> None:
        """Tell of a message that came to the queue of a name; see `Queue.publish`."""
        batch = self._open or self._begin()
        run, head, past, body = self._publishing, message.head, message.redelivery, message.body
        assert body is not None
        if (
            run is None
            or run.head is not head
            or run.queue != name
            or run.refusable is (refused is None)
            or past is not None
            or run.past is not None
        ):
            run = PublishVerb(name, head, refused is not None, past)
            batch.verbs.append(run)
            self._publishing, self._settling = run, None
            if self._closes:
                self._use(batch, name)
        run.bodies.append(body)
        run.refused.append(refused)
        size, index = message.size, batch.index
        batch.index = index + 1
        batch.size += size
        stored = is_stored and head.traits.persistent
        if not stored:
            batch.passing += size
        watermark = self.watermark
        watermark.used += size
        if watermark.used >= watermark.high:
            watermark.went_over()
        if done is not None:
            (batch.later if stored else batch.now).append((index, done))

    def publish_once(
        self, name: str, is_stored: bool, order: PublishOnce, answer: Answered
    ) -> None:
        """Tell of a message that came, and is dropped if its id is known; see `PublishOnce`."""
        message, once = order.message, order.duplicate_id
        assert message.body is not None
        refusable = order.refused is not None
        head, body = message.head, message.body
        verb = OnceVerb(name, head, body, once.value, once.ttl, refusable, order.refused)
        batch = self.add(verb)
        if self._closes:
            self._use(batch, name)
        size, index = message.size, batch.index
        batch.index = index + 1
        batch.size += size
        batch.answers[index] = (verb, answer)
        stored = is_stored and head.traits.persistent
        if not stored:
            batch.passing += size
        watermark = self.watermark
        watermark.used += size
        if watermark.used >= watermark.high:
            watermark.went_over()
        if order.done is not None:
            (batch.later if stored else batch.now).append((index, order.done))

    def expire(self, queue: FrontQueue, message: Message) -> None:
        """Tell of a message whose time was over when it came."""
        assert message.body is not None
        self.add(ExpireVerb(queue.name, message.head, message.body))

    def settle(
        self,
        queue: FrontQueue,
        messages: Sequence[Message],
        rejection: Rejection | None,
        done: Done | None = None,
    ) -> None:
        """Tell that deliveries have ended; ``done`` is called once for each."""
        batch = self._open or self._begin()
        run, name = self._settling, queue.name
        if run is None or run.queue != name or run.rejection is not rejection:
            run = SettleVerb(name, rejection)
            batch.verbs.append(run)
            self._publishing, self._settling = None, run
        run.sequences += [message.sequence for message in messages]
        memory = self._services.memory
        memory.used -= sum([message.size for message in messages])
        memory.check()
        if done is not None:
            for message in messages:
                stored = message.head.traits.persistent and queue.is_stored
                (batch.later if stored else batch.now).append((-1, done))

    def ask(self, verb: Asking, answered: Answered) -> None:
        """Tell something that has an answer of its own."""
        batch = self.add(verb)
        index = batch.index
        batch.index = index + 1
        batch.answers[index] = (verb, answered)
        if isinstance(verb, AttachVerb) and self._closes:
            self._use(batch, verb.queue)
        order = verb.order if isinstance(verb, ControlVerb) else None
        if isinstance(order, Close) and order.unused is not None:
            self._closes[verb.queue] = index

    def _use(self, batch: FrontBatch, name: str) -> None:
        """A queue is used in the turn in which it was to end if nobody uses it: it does not."""
        index = self._closes.pop(name, None)
        if index is None:
            return
        verb, answered = batch.answers.pop(index)
        batch.verbs[batch.verbs.index(verb)] = NothingVerb(1)
        error = ProtocolError(ErrorCode.SUBSCRIPTION_IN_USE, f"/queue/{name} is in use")
        batch.now.append((-1, _telling(answered, error)))

    def sync(self, done: Callable[[], None]) -> None:
        """Call ``done`` when all that was told so far is safe."""
        batch = self._open or (self._unsafe[self._number] if self._unsafe else None)
        if batch is None:
            done()
        else:
            batch.later.append((-1, _calling(done)))

    def let_go(self) -> list[LeavingConsumer]:
        """Give all consumers to queues that are here from now on."""
        self._end_turn()
        asked = {
            verb.consumer: batch.answers.pop(index)[1]
            for batch in self._unsafe.values()
            for index, (verb, _) in list(batch.answers.items())
            if isinstance(verb, AttachVerb)
        }
        return self.consumers.let_go(asked)

    # -- the end of a turn ------------------------------------------------------------------

    def _end_turn(self) -> None:
        batch, self._open = self._open, None
        self._publishing = self._settling = None
        self._closes.clear()
        if batch is None:
            return
        self._unsafe[batch.number] = batch
        if self._link is not None:
            self._send(self._link, batch, batch.verbs)

    def _send(self, link: Link, batch: FrontBatch, verbs: list[Verb]) -> None:
        told = ToldBatch(batch.number, self._safe, batch.tenure, verbs)
        batch.explicit = batch.tenure != 0
        link.send(self._writer.write(told))
        if self._welcomed:
            batch.sent(self._tenure)
        else:
            batch.unheard = True

    # -- who is told ------------------------------------------------------------------------

    def nowhere(self) -> None:
        """Nobody owns the group, or the link to the owner is lost: keep what is told."""
        self._link = None
        self._visit += 1  # what comes of earlier ones is not for us any more

    def visit(self, link: Link) -> None:
        """Tell everything that is not safe to the owner at the other end of a link."""
        self._end_turn()
        self.nowhere()
        self._link, self._welcomed = link, False
        self._writer, self._reader = BatchWriter(self.group, self._visit), EventsReader()
        self._executed = self._safe
        for remote in list(self.queues.values()):
            remote.make_wait(0, 0)
        told = self._state()
        link.send(write_visit(self.group, self._visit, told))
        known = {one.number for one in told.consumers} | self.consumers.left
        for batch in self._unsafe.values():
            if batch.unheard:
                batch.sent(UNKNOWN_TENURE)
            self._send(link, batch, list(batch.again(self._is_stored, known)))
        owed, self._owed = self._owed, {}
        for verb, answered in owed.values():
            self.ask(verb, answered)

    def _is_stored(self, name: str) -> bool:
        queue = self.queues.get(name)
        return queue is None or queue.is_stored

    def _state(self) -> Visit:
        """What the consumers here are and have, as of the first batch that is not safe."""
        told = Visit(self.name, max(self._unsafe, default=0))
        self.consumers.tell(told)
        told.loose = self.loose()
        lists = [one.held for one in told.consumers]
        lists += [*told.loose.values(), *told.kept.values()]
        told.origins += self.origins_of(sorted(chain.from_iterable(lists)))
        return told

    def loose(self) -> dict[str, list[int]]:
        """What is settled or given back by batches that are not safe, by queue."""
        loose: dict[str, list[int]] = {}
        for batch in self._unsafe.values():
            for verb in batch.verbs:
                if isinstance(verb, SettleVerb):
                    loose.setdefault(verb.queue, []).extend(verb.sequences)
                elif isinstance(verb, DetachVerb):
                    loose.setdefault(verb.queue, []).extend(verb.back)
        return loose

    def learn(self, origins: Iterable[MessageOrigin]) -> None:
        """Know where messages come from that were given here, and are not safe."""
        self._origins += origins

    def origins_of(self, sequences: list[int]) -> Iterator[MessageOrigin]:
        """Where those of these messages come from that may not be safe; sequences in order."""
        for origin in self._origins:
            at = bisect_left(sequences, origin.first)
            if at < len(sequences) and sequences[at] < origin.first + origin.length * STEP:
                yield origin

    # -- what the owner tells ---------------------------------------------------------------

    def welcome(self, visit: int, message: bytes) -> None:
        """Take note that the owner listens to us.

        Raises:
            VerbError: it makes no sense.
        """
        if visit != self._visit or self._link is None:
            return
        tenure, _ = read_welcome(message)
        if tenure < self._tenure:
            log.warning(
                "group %d: %s owned it once, and does not know", self.group, self._link.peer
            )
            self.nowhere()
            return
        self._tenure, self._welcomed = tenure, True
        for batch in self._unsafe.values():
            if batch.unheard:
                batch.sent(tenure)

    def refused(self, visit: int) -> None:
        """Take note that the broker at the other end does not own the group, or no more."""
        if visit == self._visit and self._link is not None:
            self.nowhere()

    def received(self, visit: int, message: bytes) -> None:
        """Take what the owner tells at the end of a turn.

        Raises:
            VerbError: it makes no sense.
        """
        if visit != self._visit or self._link is None:
            return
        told = self._reader.read(message, self._services.clock.now())
        if max(told.executed, told.safe) > self._number:
            raise VerbError(f"batch {max(told.executed, told.safe)} was never told")
        self._safe_sequence = max(self._safe_sequence, told.safe_sequence)
        for event in told.events:
            if isinstance(event, DeliverEvent):
                self.consumers.deliver(event)
            else:
                self._happened(event)
        self._note_progress(told.executed, told.safe)

    def _note_progress(self, executed: int, safe: int) -> None:
        unsafe, watermark = self._unsafe, self.watermark
        for number in range(self._executed + 1, executed + 1):
            batch = unsafe.get(number)
            if batch is not None:
                watermark.used -= batch.passing
                batch.size -= batch.passing
                batch.passing = 0
                batch.call_now()
        self._executed = max(self._executed, executed)
        for number in range(self._safe + 1, safe + 1):
            batch = unsafe.pop(number, None)
            if batch is not None:
                watermark.used -= batch.size
                batch.call_later()
                held = dict(batch.later)
                for index, (verb, answered) in batch.answers.items():
                    if not isinstance(verb, OnceVerb):
                        self._owed[number, index] = verb, answered
                    elif index in held:
                        self._owed[number, index] = verb, _first(answered, held[index])
        self._safe = max(self._safe, safe)
        watermark.check()

    def _happened(self, event: LinkEvent) -> None:
        match event:
            case AnswerEvent(batch, index, answer):
                self._answered(batch, index, answer)
            case FailEvent(number, error):
                self.consumers.fail(number, error)
            case ActiveEvent(number, active):
                self.consumers.activate(number, active=active)
            case GiveBackEvent(number):
                self.consumers.give_back(number)
            case RoomEvent(name, used, high):
                remote = self.queues.get(name)
                if remote is not None:
                    remote.make_wait(used, high)
            case OriginEvent(origin):
                self._origins.append(origin)
                if len(self._origins) >= _ORIGINS:
                    safe = self._safe_sequence
                    self._origins = deque(one for one in self._origins if _end(one) > safe)

    def _answered(self, number: int, index: int, answer: Answer) -> None:
        batch = self._unsafe.get(number)
        asked = self._owed.pop((number, index), None)
        if batch is not None:
            asked = batch.answers.pop(index, None)
            once = asked is not None and isinstance(asked[0], OnceVerb)
            if (asked is None or once) and isinstance(answer, ProtocolError):
                asked = None
                batch.refuse(index, answer)
        if asked is not None:
            asked[1](answer)
            if batch is not None and isinstance(asked[0], OnceVerb):
                batch.answered(index)


def _end(origin: MessageOrigin) -> int:
    """The sequence behind the last message of an origin."""
    return origin.first + origin.length * STEP


def _telling(answered: Answered, error: ProtocolError) -> Done:
    def tell(_: ProtocolError | None = None, /) -> None:
        answered(error)

    return tell


def _first(answered: Answered, done: Done) -> Answered:
    """Take an answer, and then tell that it is done: it was safe before."""

    def answer(answer: Answer) -> None:
        if isinstance(answer, ProtocolError):
            done(answer)
        else:
            answered(answer)
            done()

    return answer


def _calling(done: Callable[[], None]) -> Done:
    def call(_: ProtocolError | None = None, /) -> None:
        done()

    return call
