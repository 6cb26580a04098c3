"""One front as its owner sees it: its batches are carried out here, each in one turn.

What a front has was delivered to its consumers here, and is settled here when it says so. Its
number and what was refused go into the log with the changes themselves, so that the next owner
knows which batches are in there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from stompy.errors import ProtocolError
from stompy_broker.cluster.link.link import Link
from stompy_broker.cluster.log.changes import FrontMark
from stompy_broker.cluster.remote.events import EventsWriter, write_welcome
from stompy_broker.cluster.remote.guest_consumer import GuestConsumer
from stompy_broker.cluster.remote.guest_holdings import GuestHoldings
from stompy_broker.cluster.remote.link_batch import BatchReader
from stompy_broker.cluster.remote.ownership import Ownership
from stompy_broker.cluster.remote.publications import Publications
from stompy_broker.cluster.remote.values import error_of, error_row
from stompy_broker.cluster.remote.verbs import (
    AdmitVerb,
    Answer,
    AnswerEvent,
    AttachVerb,
    BrowseVerb,
    ControlVerb,
    DetachVerb,
    ExpireVerb,
    LinkEvent,
    NothingVerb,
    OnceVerb,
    OriginEvent,
    PublishVerb,
    ResumeVerb,
    ReturnVerb,
    SameFigures,
    SettleVerb,
    StatsVerb,
    ToldBatch,
    ToldEvents,
    TookVerb,
    Verb,
    Visit,
    WithdrawVerb,
)
from stompy_broker.message import Message, earlier_deliveries
from stompy_broker.routing.answers import Done
from stompy_broker.routing.interface import Expire, Outcome, QueueFigures, RestorableQueue


class Guest:
    """A front of one group, at the owner.

    Args:
        name: the front's: broker, a slash, and what tells its processes apart.
        owner: the group.
        mark: how far it is, as the log has it.

    Attributes:
        link: where it is told; None = it was lost.
        visit: tells apart how often it has begun to speak to us.
        reader: reads its batches.
        executed: the last of its batches that was carried out.
        safe: the last one that is safe.
        holdings: its consumers, and what they have.
    """

    def __init__(self, name: str, owner: Ownership, mark: FrontMark) -> None:
        self.name = name
        self.link: Link | None = None
        self.visit = 0
        self.reader = BatchReader()
        self.executed = self.safe = mark.number
        self.holdings = GuestHoldings(self, owner)
        self._publications = Publications(self, owner)
        self._owner = owner
        self._mark = mark
        self._writer = EventsWriter(owner.number, 0)
        self._events: list[LinkEvent] = []
        self._figures: dict[str, QueueFigures] = {}
        self._answers: list[tuple[int, int, Outcome]] = []  # of this turn, for the log
        self._batch, self._index = 0, 0  # of the verb that is carried out
        self._last = 0  # the last batch that it tells again
        self._dirty = False
        self._explicit = False  # whether the front wants an answer for each id
        self._doubtful = False  # whether the batch was perhaps carried out by another owner

    # -- what is told to the front ----------------------------------------------------------

    def add(self, event: LinkEvent) -> None:
        """Tell something at the end of the turn."""
        self._events.append(event)
        self.tell_soon()

    def tell_soon(self) -> None:
        """Have what is gathered be told at the end of the turn."""
        if not self._dirty:
            self._dirty = True
            self._owner.tell_soon(self)

    def tell(self, safe_sequence: int) -> None:
        """Tell what was gathered."""
        self._dirty = False
        events, self._events = self._events, []
        events += self.holdings.take_events()
        if self.link is not None:
            told = ToldEvents(self.executed, self.safe, safe_sequence, events)
            self.link.send(self._writer.write(told, self._owner.now()))

    def _answer(self, batch: int, index: int, answer: Answer = None) -> None:
        self.add(AnswerEvent(batch, index, answer))

    # -- coming and going -------------------------------------------------------------------

    def arrive(self, link: Link, visit: int) -> None:
        """Begin to listen to it, on a link."""
        self.link, self.visit = link, visit
        self.reader = BatchReader()
        self._writer = EventsWriter(self._owner.number, visit)
        self._events.clear()
        self._figures.clear()
        self._publications.forget()
        link.send(write_welcome(self._owner.number, visit, self._owner.tenure, self.executed))

    def begin_visit(self, told: Visit) -> None:
        """Leave with its consumers what they have, and take the rest back."""
        self.holdings.begin_visit(told)
        self._last = told.last
        for origin in self._owner.unsafe:
            self._events.append(OriginEvent(origin))
        if not told.last:
            self.holdings.end_of_repeats()

    def suspend(self) -> None:
        """Give it nothing for now: its link was lost."""
        self.link = None
        self.holdings.suspend()

    def leave(self) -> None:
        """Take back what it has: it has gone."""
        self.link = None
        self.holdings.leave()
        self._publications.forget()

    def take(self, sequences: Iterable[int]) -> dict[int, tuple[RestorableQueue, Message]]:
        """Take messages from its consumers, which have settled them; gives those that they had."""
        taken = self.holdings.take(sequences)
        self.holdings.refill()
        self.tell_soon()
        return taken

    def let_go(self) -> list[tuple[GuestConsumer, Message]]:
        """Forget what it has, which is not ours any more; gives it."""
        self._publications.forget()
        return self.holdings.let_go()

    # -- its batches ------------------------------------------------------------------------

    def execute(self, batch: ToldBatch) -> None:
        """Carry out a batch, or what is not in the log of one that is."""
        number = batch.number
        self._batch, self._index = number, 0
        if number <= self.executed:
            for verb in batch.verbs:
                self._repeat(verb)
            self._answer_again(number)
        else:
            self._doubtful = doubtful = batch.tenure not in (0, self._owner.tenure)
            self._explicit = batch.tenure != 0
            stored = False
            for verb in batch.verbs:
                if isinstance(verb, PublishVerb):
                    start = self._index
                    self._index = start + len(verb.bodies)
                    publish = self._publications.publish
                    stored = publish(verb, number, start, doubtful=doubtful) or stored
                elif isinstance(verb, SettleVerb):
                    self.holdings.settle(verb)
                    stored = True
                else:
                    stored = self._other(verb) or stored
            self.executed = number
            self._note(batch.confirmed, stored=stored)
        if number == self._last:
            self.holdings.end_of_repeats()
        self.holdings.refill()
        self.tell_soon()

    def _repeat(self, verb: Verb) -> None:
        """Carry out what no log keeps: who takes part, and what is asked."""
        if isinstance(verb, PublishVerb):
            self._index += len(verb.bodies)
        elif isinstance(verb, ControlVerb | OnceVerb):
            if isinstance(verb, OnceVerb):
                place = self._batch, self._index
                if not any(one[:2] == place for one in self._mark.answers):
                    self._answer(*place, 0)
            self._index += 1
        elif not isinstance(verb, SettleVerb | ExpireVerb):
            self._other(verb)

    def _note(self, confirmed: int, *, stored: bool) -> None:
        """Have the log know that the batch is in there."""
        answers: list[tuple[int, int, Outcome]] = [*self._answers, *self._publications.refused]
        self._answers.clear()
        self._publications.refused.clear()
        safe = partial(self._is_safe, self.executed)
        if not stored:
            if self.safe == self.executed - 1:
                self.safe = self.executed
            else:
                self._owner.keep(self, None, safe)
            return
        kept = [one for one in self._mark.answers if one[0] > confirmed]
        for batch, index, outcome in answers:
            row = error_row(outcome) if isinstance(outcome, ProtocolError) else outcome
            kept.append((batch, index, row))
        self._mark = FrontMark(self.executed, tuple(kept))
        self._owner.keep(self, self._mark, safe)

    def _is_safe(self, number: int) -> None:
        if number > self.safe:
            self.safe = number
            self.tell_soon()

    def _answer_again(self, number: int) -> None:
        for batch, index, row in self._mark.answers:
            if batch == number:
                answer = error_of(row) if isinstance(row, list) else row
                self._answer(batch, index, answer)

    def _other(self, verb: Verb) -> bool:
        """Carry out a verb; say whether the log has to know of it."""
        if isinstance(verb, ControlVerb):
            self._control(verb)
            return True
        if isinstance(verb, OnceVerb):
            return self._publish_once(verb)
        if isinstance(verb, ExpireVerb):
            queue = self._owner.queue(verb.queue)
            if queue is not None:
                number = self._owner.take_sequence()
                # It may be a dead letter already, at another broker.
                earlier = earlier_deliveries(0, 0, perhaps_more=self._doubtful)
                message = Message(number, verb.head, verb.body, self._owner.stamp(), earlier)
                queue.control(Expire(message))
            return True
        if isinstance(verb, NothingVerb):
            self._index += verb.count
        elif isinstance(verb, AttachVerb):
            self.holdings.attach(verb, self._answering())
        elif isinstance(verb, AdmitVerb | StatsVerb | BrowseVerb):
            self._ask(verb, self._answering())
        else:
            self._of_consumer(verb)
        return isinstance(verb, DetachVerb | ReturnVerb)

    def _of_consumer(self, verb: Verb) -> None:
        holdings = self.holdings
        match verb:
            case DetachVerb():
                holdings.detach(verb)
            case ReturnVerb():
                holdings.give_back(verb)
            case TookVerb():
                holdings.took(verb)
            case ResumeVerb(number):
                holdings.want(number)
            case WithdrawVerb(number):
                holdings.withdraw(number)

    def _answering(self) -> Callable[[Answer], None]:
        """What answers the verb that is carried out, whenever that may be."""
        index = self._index
        self._index = index + 1
        return partial(self._answer, self._batch, index)

    def _publish_once(self, verb: OnceVerb) -> bool:
        batch, index, explicit = self._batch, self._index, self._explicit
        self._index += 1

        def answer(outcome: Outcome) -> None:
            if outcome:
                self._answers.append((batch, index, outcome))
            if outcome or explicit:  # else it was taken, as the front takes for granted
                self._answer(batch, index, outcome)

        publish = self._publications.publish_once
        return publish(verb, batch, index, answer, doubtful=self._doubtful)

    def _control(self, verb: ControlVerb) -> None:
        batch, index = self._batch, self._index
        self._index += 1

        def done(outcome: Outcome) -> None:
            if self._batch == batch:
                self._answers.append((batch, index, outcome))
            self._answer(batch, index, outcome)

        self._owner.control(verb, done)

    def _ask(
        self, verb: AdmitVerb | StatsVerb | BrowseVerb, answer: Callable[[Answer], None]
    ) -> None:
        queue = self._owner.queue(verb.queue)
        if queue is None:
            answer(None)
        elif isinstance(verb, AdmitVerb):
            queue.admit(verb.count, verb.before, _as_done(answer))
        elif isinstance(verb, BrowseVerb):
            queue.browse(verb.wanted, answer)
        else:
            known = self._figures.get(verb.queue) if verb.known else None
            queue.stats(partial(self._counted, verb.queue, known, answer), known)

    def _counted(
        self,
        name: str,
        known: QueueFigures | None,
        answer: Callable[[Answer], None],
        figures: QueueFigures,
    ) -> None:
        if figures is known:
            answer(SameFigures())
        else:
            self._figures[name] = figures
            answer(figures)


def _as_done(answer: Callable[[Answer], None]) -> Done:
    def done(error: ProtocolError | None = None, /) -> None:
        answer(error)

    return done
