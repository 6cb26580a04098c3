"""The part of a transaction at the owner of its group: put into the log, then carried out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from stompy.errors import ProtocolError
from stompy_broker.cluster.log.log import Append
from stompy_broker.cluster.log.stored_share import SharingStore, StoredShare
from stompy_broker.cluster.remote.guests import Custody, Guests
from stompy_broker.cluster.remote.parts import PartVerb
from stompy_broker.cluster.remote.verbs import ExpireVerb, PublishVerb, SettleVerb
from stompy_broker.message import Message
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.interface import KEEP_GROUPS, Expire, RestorableQueue
from stompy_broker.routing.router import Router
from stompy_broker.routing.terms import PLAIN
from stompy_broker.timers import Timer

SHARE_SECONDS = 1.5
"""After so long without a word of the coordinator the log is asked what became of it."""


class _Nobody(Consumer):
    """Gives back what a transaction had that failed."""

    def __init__(self) -> None:
        # Each its own: compiled, what the class has is not what its consumers have.
        self.number = self.prefetch = 0
        self.auto = self.waiting = False
        self.terms = PLAIN

    def deliver(self, message: Message) -> bool:
        """Take nothing: it takes part in no queue."""
        return False

    def fail(self, reason: ProtocolError) -> None:
        """Nobody has to know."""


_NOBODY = _Nobody()


def _nobody_waits(share: Share) -> None:
    """Do nothing: it is in no line."""


class ShareTelling(Protocol):
    """How the coordinator is told of a share."""

    def offered(self, append: Append) -> None:
        """This is the record."""
        ...

    def refused(self, reason: str) -> None:
        """It takes no part, and never will."""
        ...

    def resolved(self, place: int) -> None:
        """It is in the log at that place; 0 = it is not, and never will be."""
        ...


class Share(StoredShare):
    """One such part.

    Args:
        verbs: what it tells.
        front: the name of the front whose it is; empty = it is of this broker.
        custody: what our own consumers had, by sequence; None = nothing.
        guests: the fronts of the group.
        router: of the broker.
        telling: tells the coordinator.
    """

    def __init__(
        self,
        verbs: Sequence[PartVerb],
        front: str,
        custody: Custody | None,
        guests: Guests,
        router: Router,
        telling: ShareTelling,
    ) -> None:
        super().__init__()
        self.telling = telling
        self._verbs = verbs
        self._front = front
        self._guests = guests
        self._router = router
        self._store: SharingStore | None = None
        self._timer: Timer = router.clock.timer(self.look)
        self._custody = guests.begin_custody() if custody is None else custody
        self._ended = False
        self.ended_up: Callable[[Share], None] = _nobody_waits
        self._published: list[tuple[RestorableQueue, list[Message], bool]] = []
        self._strange: dict[int, list[int]] = {}  # what nobody here knows, by verb
        for index, verb in enumerate(verbs):
            if isinstance(verb, SettleVerb):
                missing = [one for one in verb.sequences if one not in self._custody]
                if front or (missing and verb.rejection is None):
                    self._custody.update(guests.take(front, verb.queue, missing))
                strange = [one for one in verb.sequences if one not in self._custody]
                if strange:
                    self._strange[index] = strange

    # -- into the log -----------------------------------------------------------------------

    def gather(self) -> None:
        """Make what goes into the record: messages that come, and those that go."""
        self._router.note_time()
        # The end of a message that never was: no other record is the same, with or without it.
        self.removed.add(self._guests.take_sequence())
        for verb in self._verbs:
            if isinstance(verb, SettleVerb):
                if verb.rejection is None:
                    for sequence in verb.sequences:
                        self._gather_end(sequence)
                continue
            queue = self._guests.queue(verb.queue)
            if queue is None:
                continue  # of a durable subscription that was deleted meanwhile
            late = isinstance(verb, ExpireVerb)
            bodies = verb.bodies if isinstance(verb, PublishVerb) else [verb.body]
            past = verb.past if isinstance(verb, PublishVerb) else None
            messages = []
            for body in bodies:
                number = self._guests.take_sequence()
                message = Message(number, verb.head, body, self._guests.stamp(), past)
                if verb.head.traits.can_expire:
                    message.expires = self._guests.ends_at(verb.head)
                ttl = queue.policy.message_ttl
                if ttl:
                    ends = message.received_at + ttl
                    message.expires = min(message.expires or ends, ends)
                messages.append(message)
                if verb.head.persistent and queue.is_stored:
                    self.appended[number] = queue.destination, message
            self._published.append((queue, messages, late))

    def _gather_end(self, sequence: int) -> None:
        entry = self._custody.get(sequence)
        if entry is not None and entry[1].head.persistent and entry[0].is_stored:
            self.removed.add(sequence)

    def closed(self, store: SharingStore, append: Append) -> None:
        """Take note of the record that it is in, and offer it."""
        self._store = store
        self._timer.set(self._router.clock.now() + SHARE_SECONDS)
        self.telling.offered(append)

    def decide(self, place: int) -> None:
        """Take what the coordinator says: where it is in the log; 0 = it gives up."""
        if self._ended:
            return
        if self._store is None:
            self.give_back()
        elif place:
            self._timer.cancel()
            self._store.share_stored(self, place)
        else:
            self.look()

    def look(self) -> None:
        """Make it fail for ever, unless it is in the log already."""
        self._timer.cancel()
        if not self._ended and self._store is not None:
            self._store.append_without(self)

    # -- what became of it --------------------------------------------------------------------

    def is_in(self, place: int) -> None:
        """Carry it out: it is safe."""
        self._end()
        queues = iter(self._published)
        for index, verb in enumerate(self._verbs):
            if isinstance(verb, SettleVerb):
                self._settle(index, verb)
            elif self._guests.queue(verb.queue) is not None:
                self._publish(*next(queues))
        self._guests.end_custody(self._custody)
        self.telling.resolved(place)

    def _publish(self, queue: RestorableQueue, messages: list[Message], late: bool) -> None:
        for message in messages:
            if message.head.traits.group is not None:
                queue.control(KEEP_GROUPS)
            over = message.expires and message.expires <= self._router.wall()
            if late or (over and message.head.traits.can_expire):
                queue.control(Expire(message))
            else:
                queue.publish(message)

    def _settle(self, index: int, verb: SettleVerb) -> None:
        for sequence in verb.sequences:
            entry = self._custody.pop(sequence, None)
            if entry is not None:
                entry[0].settle(entry[1], verb.rejection)
        strange = self._strange.get(index)
        if strange and not self._front:
            if verb.rejection is None:
                self._guests.settle_anywhere(verb.queue, set(strange))
        elif strange:
            self._guests.settle_strange(
                self._front, SettleVerb(verb.queue, verb.rejection, strange)
            )

    def is_out(self) -> None:
        """Give back what it has: it is not in the log, and never will be."""
        self.give_back()
        self.telling.resolved(0)

    def give_back(self) -> None:
        """Put back what it would have settled."""
        if self._ended:
            return
        # Before anything else looks at them: they are out of the hands of the transaction.
        self._end()
        custody = list(self._custody.values())
        self._guests.end_custody(self._custody)
        for queue, message in custody:
            queue.detach(_NOBODY, [message])

    def lost(self, reason: str) -> None:
        """The group is not ours any more; its next owner finds in the log what became of it."""
        if not self._ended:
            self._end()
            self.telling.refused(reason)

    def _end(self) -> None:
        self._ended = True
        self._timer.end()
        self.ended_up(self)

    @property
    def ended(self) -> bool:
        """Whether it is known what became of it, or somebody else will know."""
        return self._ended
