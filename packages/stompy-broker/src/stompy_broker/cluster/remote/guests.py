"""All fronts of one group that is owned here.

A group that has come here is not served before its fronts have told what their clients hold, and
what may not be in the log; or have not done so for a while. So what is with a client stays there,
and what its front was told of a message that is not in the log goes before anybody else gets it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.cluster.link.link import Link
from stompy_broker.cluster.log.changes import FrontMark
from stompy_broker.cluster.log.store import LoggedStore
from stompy_broker.cluster.remote.guest import Guest
from stompy_broker.cluster.remote.link_batch import read_visit
from stompy_broker.cluster.remote.ownership import AwaitedMessage, GuestTelling
from stompy_broker.cluster.remote.tables import BATCH, VISIT, VerbError
from stompy_broker.cluster.remote.verbs import (
    ControlVerb,
    MessageOrigin,
    OriginEvent,
    SettleVerb,
    ToldBatch,
    Visit,
)
from stompy_broker.message import Message, MessageHead
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.interface import Outcome, RestorableQueue
from stompy_broker.routing.router import Router
from stompy_broker.routing.sequences import STEP, Sequences

log = logging.getLogger("stompy_broker.cluster")

GATHER_SECONDS = 1.0
"""So long is waited for fronts that have not told what they have."""

RELINK_SECONDS = 1.0
"""So long keeps a front what it has, after its link was lost."""


Custody = dict[int, tuple[RestorableQueue, Message]]
"""Messages that a transaction has until it is decided, and their queues, by sequence."""


@dataclass(frozen=True, slots=True)
class OwnedQueues:
    """How the queues of a group are reached by their names.

    Attributes:
        find: gives a queue, made if need be; None: it cannot be made.
        control: carries out an order, with all that the broker has to do with it.
        settle_here: settles what consumers of this broker have, for who had it before.
    """

    find: Callable[[str], RestorableQueue | None]
    control: Callable[[ControlVerb, Callable[[Outcome], None]], None]
    settle_here: Callable[[str, set[int]], None]


class Guests:
    """The fronts of one group that is owned here.

    Args:
        group: it.
        tenure: since it came here.
        store: its log.
        router: of the broker.
        soon: calls a function at the end of the present turn of the event loop.
        queues: its queues.
        serve: called when all fronts have told what they have, and before anything is done.
        expected: the brokers whose fronts are waited for.

    Attributes:
        gathering: whether fronts are still waited for.
        awaited: messages that may come again, by front, batch and index.
        reissued: what messages are called that did come again, by front, batch and index.
        unsafe: where messages come from that are not safe.
    """

    def __init__(
        self,
        group: QueueGroup,
        tenure: int,
        store: LoggedStore,
        router: Router,
        soon: Callable[[Callable[[], None]], object],
        queues: OwnedQueues,
        serve: Callable[[], None],
        expected: set[str],
    ) -> None:
        self.number = group.number
        self.tenure = tenure
        self.gathering = True
        self.awaited: dict[tuple[str, int, int], AwaitedMessage] = {}
        self.reissued: dict[tuple[str, int, int], int] = {}
        self.unsafe: deque[MessageOrigin] = deque()
        self._group = group
        self._store = store
        self._router = router
        self._soon = soon
        self._queues = queues
        self._serve = serve
        self._expected = set(expected)
        self._marks: Mapping[str, FrontMark] = store.fronts()
        self._guests: dict[str, Guest] = {}
        self._waiting: list[tuple[Guest, Visit | bytes]] = []
        self._leaving: dict[str, float] = {}  # whose link was lost, and until when they may return
        self._telling: list[GuestTelling] = []
        self._safe_sequence = 0
        self._closed = False
        self._custody: dict[int, Custody] = {}
        clock = router.clock
        self._timer = clock.timer(self._end_gathering)
        self._timer.set(clock.now() + GATHER_SECONDS)
        self._patience = clock.timer(self._lose_patience)
        if not self._expected:
            soon(self._end_gathering)

    # -- links ------------------------------------------------------------------------------

    def received(self, link: Link, kind: int, visit: int, message: bytes) -> None:
        """Take what a front tells.

        Raises:
            VerbError: it makes no sense.
        """
        if kind == VISIT:
            told = read_visit(message)
            guest = self._guest(told.front)
            self._leaving.pop(told.front, None)
            guest.arrive(link, visit)
            self._act(guest, told)
            self._expected.discard(told.front.rpartition("/")[0])
            if self.gathering and not self._expected:
                self._soon(self._end_gathering)
        elif kind == BATCH:
            for guest in self._guests.values():
                if guest.link is link and guest.visit == visit:
                    self._act(guest, message)
                    break

    def lost(self, link: Link) -> None:
        """Give those nothing whose link was lost; they may come again soon."""
        now = self._router.clock.now()
        for name, guest in self._guests.items():
            if guest.link is link:
                guest.suspend()
                self._leaving[name] = now + RELINK_SECONDS
        self._set_patience()

    def forget(self, broker: str) -> None:
        """Wait no more for a broker that says nothing, and take back what it has without a link.

        It may live all the same, and tell its batches again: how far it was is known as long as no
        other process of that broker comes.
        """
        for name, guest in self._guests.items():
            if name.rpartition("/")[0] == broker and guest.link is None:
                self._leaving.pop(name, None)
                guest.leave()
        self._expected.discard(broker)

    def _guest(self, name: str) -> Guest:
        guest = self._guests.get(name)
        if guest is None:
            broker = name.rpartition("/")[0]
            for other in {*self._guests, *self._marks}:
                if other != name and other.rpartition("/")[0] == broker:
                    self._drop(other)  # a process that is no more
            mark = self._store.fronts().get(name, FrontMark())
            guest = self._guests[name] = Guest(name, self, mark)
        return guest

    def _drop(self, name: str) -> None:
        guest = self._guests.pop(name, None)
        self._leaving.pop(name, None)
        if guest is not None:
            self._waiting = [one for one in self._waiting if one[0] is not guest]
            guest.leave()
        if name in self._store.index.fronts:
            self._store.keep_front(name, None)

    def _lose_patience(self) -> None:
        now = self._router.clock.now()
        for name, until in list(self._leaving.items()):
            if until <= now:
                del self._leaving[name]
                self._guests[name].leave()
        self._set_patience()

    def _set_patience(self) -> None:
        self._patience.set(min(self._leaving.values(), default=None))

    def close(self) -> None:
        """Carry out nothing more: the group goes elsewhere."""
        self._closed = True
        self._timer.end()
        self._patience.end()

    @property
    def every(self) -> list[Guest]:
        """All fronts that are known."""
        return list(self._guests.values())

    # -- what they tell ---------------------------------------------------------------------

    def _act(self, guest: Guest, told: Visit | bytes) -> None:
        if self._closed:
            return
        if self.gathering:
            if isinstance(told, Visit):  # what it told on another link comes again
                self._waiting = [one for one in self._waiting if one[0] is not guest]
            self._waiting.append((guest, told))
        elif isinstance(told, Visit):
            guest.begin_visit(told)
            guest.holdings.begin()
            guest.tell_soon()
        else:
            self._execute(guest, guest.reader.read(told))

    def _execute(self, guest: Guest, batch: ToldBatch) -> None:
        self._router.note_time()
        guest.execute(batch)

    def _execute_late(self, guest: Guest, told: bytes) -> None:
        """Carry out a batch that waited; one that makes no sense ends its own link only."""
        link = guest.link
        try:
            self._execute(guest, guest.reader.read(told))
        except VerbError as error:
            log.exception("%s: what came makes no sense", guest.name)
            if link is not None:
                link.close(str(error))

    def _end_gathering(self) -> None:
        if not self.gathering or self._closed:
            return
        if self._expected:
            log.info("group %d: not heard of %s", self.number, ", ".join(self._expected))
        self._timer.cancel()
        waiting, self._waiting = self._waiting, []
        for guest, told in waiting:
            if isinstance(told, Visit):
                guest.begin_visit(told)
        self.gathering = False
        self._serve()
        for guest, told in waiting:
            if not isinstance(told, Visit):
                self._execute_late(guest, told)
        for guest in self._guests.values():
            if guest.link is None:
                guest.suspend()  # it has told what it has, and was lost
            else:
                guest.holdings.begin()
                guest.tell_soon()

    # -- what guests need -------------------------------------------------------------------

    def queue(self, name: str) -> RestorableQueue | None:
        """A queue of the group, made if need be; None: it cannot be made."""
        return self._queues.find(name)

    def control(self, verb: ControlVerb, done: Callable[[Outcome], None]) -> None:
        """Carry out an order, with all that the broker has to do with it."""
        self._queues.control(verb, done)

    @property
    def sequences(self) -> Sequences:
        """Numbers the messages of the group."""
        return self._group.sequences

    def take_sequence(self) -> int:
        """Give out the next one."""
        numbers = self._group.sequences
        numbers.last += STEP
        return numbers.last

    def pass_over(self, sequence: int) -> None:
        """Give out none up to this one."""
        numbers = self._group.sequences
        if numbers.last <= sequence:
            numbers.last += ((sequence - numbers.last) // STEP + 1) * STEP

    def stamp(self) -> bytes:
        """What messages carry that come now."""
        return self._router.stamp

    def ends_at(self, head: MessageHead) -> int:
        """When a message of this head ends that comes now."""
        return head.ends_at(self._router.wall())

    def is_over(self, expires: int) -> bool:
        """Whether a time has come."""
        return expires <= self._router.wall()

    def refusal(self, head: MessageHead, queue: RestorableQueue) -> ProtocolError | None:
        """Why a message cannot be taken, whatever queue it is for."""
        stalled = self._group.stalled
        if stalled.full and stalled.refuses and head.traits.persistent and queue.is_stored:
            return ProtocolError(ErrorCode.STORE_UNAVAILABLE, stalled.refuses)
        return None

    def blocking(self, queue: RestorableQueue) -> Watermark | None:
        """What makes those wait who send to a queue."""
        own = queue.watermark
        if own is not None and own.full:
            return own
        if self._router.memory.full:
            return self._router.memory
        return self._group.blocking

    def settle_anywhere(self, queue: str, sequences: set[int]) -> None:
        """Settle messages for who had them before whoever has them now.

        Who was away for long settles what was given to another one meanwhile. Its ACK is confirmed,
        so that it must not come once more.
        """
        found = self.queue(queue)
        for guest in self._guests.values():
            guest.holdings.settle_for(sequences)
        if found is None or not sequences:
            return
        for message in found.adopt(sequences):
            sequences.discard(message.sequence)
            found.settle(message)
        if sequences:
            self._queues.settle_here(queue, sequences)

    def doubt(self) -> None:
        """All messages until now may have been delivered by another owner."""
        self._store.doubt(self._group.sequences.last)

    def originated(self, origin: MessageOrigin) -> None:
        """Tell the fronts where messages came from that they may be given."""
        self.unsafe.append(origin)
        event = OriginEvent(origin)
        for guest in self._guests.values():
            if guest.holdings.consumers:
                guest.add(event)

    def keep(self, guest: GuestTelling, mark: FrontMark | None, safe: Callable[[], None]) -> None:
        """Put into the log how far a front is, and call ``safe`` when all until now is."""
        if mark is not None:
            self._store.keep_front(guest.name, mark)
        self._store.sync(partial(self._safe, safe, self._group.sequences.last))

    def _safe(self, safe: Callable[[], None], sequence: int) -> None:
        self._safe_sequence = max(self._safe_sequence, sequence)
        unsafe = self.unsafe
        while unsafe and unsafe[0].first + (unsafe[0].length - 1) * STEP <= sequence:
            unsafe.popleft()
        safe()

    def tell_soon(self, guest: GuestTelling) -> None:
        """Tell a front at the end of the turn what was gathered for it."""
        if not self._telling:
            self._soon(self._tell)
        self._telling.append(guest)

    # -- what transactions have, until it is decided ------------------------------------------

    def begin_custody(self) -> Custody:
        """Have an empty place for messages that nobody else has for now."""
        custody: Custody = {}
        self._custody[id(custody)] = custody
        return custody

    def end_custody(self, custody: Custody) -> None:
        """Forget such a place."""
        self._custody.pop(id(custody), None)

    def take(self, front: str, name: str, sequences: Iterable[int]) -> Custody:
        """Take messages that a client of a front has settled, from whoever has them now."""
        guest = self._guests.get(front)
        taken = {} if guest is None else guest.take(sequences)
        missing = {one for one in sequences if one not in taken}
        for other in self._guests.values() if missing else ():
            taken |= other.take(missing)
        queue = self.queue(name) if missing else None
        if queue is not None:
            taken |= {one.sequence: (queue, one) for one in queue.adopt(missing - taken.keys())}
        return taken

    def settle_strange(self, front: str, verb: SettleVerb) -> None:
        """Settle what no consumer of a front has, as far as we know."""
        guest = self._guests.get(front)
        if guest is not None:
            guest.holdings.settle(verb)

    def let_go(self) -> dict[RestorableQueue, list[Message]]:
        """Forget what fronts have, by queue: it is not ours any more."""
        found: dict[RestorableQueue, list[Message]] = {}
        memory = self._router.memory
        for guest in self._guests.values():
            for consumer, message in guest.let_go():
                memory.used -= message.ram
                found.setdefault(consumer.queue, []).append(message)
        for custody in self._custody.values():
            for queue, message in custody.values():
                memory.used -= message.ram
                found.setdefault(queue, []).append(message)
            custody.clear()  # whoever has it settles nothing of it here any more
        self._custody.clear()
        memory.check()
        return found

    def tell(self) -> None:
        """Tell the fronts at once what was gathered for them."""
        self._tell()

    def _tell(self) -> None:
        telling, self._telling = self._telling, []
        for guest in telling:
            guest.tell(self._safe_sequence)

    def lend(self, size: int) -> None:
        """Count so many more bytes as being with clients, which only those can give back."""
        router = self._router
        router.loans.add(size)
        router.memory.add(-size)
        router.loans.check()
        router.memory.check()

    def now(self) -> float:
        """The time on the clock."""
        return self._router.clock.now()
