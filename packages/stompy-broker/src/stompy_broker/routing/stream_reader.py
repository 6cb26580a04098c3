"""One reader: where it stands, who takes part in it, what they have and what they refused.

Mostly a reader is one consumer. Those who read under one name are one reader together: each message
goes to one of them, or one of them is given everything (`ActiveConsumer`).

What is refused comes again, after its delay, before anything that was not given yet. So a reader
never passes a message; it waits for it, and holds up no other reader.

Invariants:

* What stands before `StreamReader.place` was given, is not for this reader, or is not there.
* What was given is with a consumer, or in ``_back``, or settled; until it is settled it counts in
  memory.
* While anybody waits, either there is nothing to give, or what is to be given first is not due, or
  the reader is told when there is more.

**Hot path:** `StreamReader.hand_out` and `StreamReader.accept_all`.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterable, Sequence
from typing import Final

from stompy_broker.message import Message
from stompy_broker.routing.consumer import Consumer, NotNow
from stompy_broker.routing.message_source import MessageRun, RunReader
from stompy_broker.routing.reader_line import ReaderLine
from stompy_broker.routing.reader_message import ReaderMessage
from stompy_broker.routing.reader_owner import ReaderOwner
from stompy_broker.routing.reader_progress import ReaderProgress
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.stream_choice import StreamChoice

log = logging.getLogger("stompy_broker.queue")

_LOOK_AT_ONCE: Final = 1000
"""Messages that are not for a reader and are passed over before others have their turn."""

_GIVE_AT_ONCE: Final = 2000
"""Messages that a reader is given before others have their turn."""

_NO_VALUES: Final[frozenset[str]] = frozenset()

_ASIDE_SECONDS: Final = 60.0
"""After so long is tried again what could not be given up."""


class StreamReader(RunReader):
    """Reads a source at its own pace.

    Args:
        owner: whose messages it reads.
        number: unique in its queue; `ReaderMessage.reader` tells it.
        choice: which messages are for it; None = all.
        name: under which its place is kept; empty = it is not.

    Attributes:
        number: as above; another one after `seek`, so that what was given before settles nothing.
        name: as above.
        choice: as above.
        kept: the place that is kept under its name; -1 = none is.
        consumers: who takes part.
        unacked: messages that are with consumers.
        delivered: deliveries.
        redelivered: deliveries of what came back.
        acked: deliveries that were accepted.
        nacked: deliveries that were rejected.
        placed: whether it is known where it stands.
        progress: what became of its deliveries.
    """

    __slots__ = (
        "_at_it",
        "_back",
        "_index",
        "_line",
        "_owner",
        "_place",
        "_run",
        "_source",
        "_timer",
        "_waiting",
        "acked",
        "choice",
        "consumers",
        "delivered",
        "kept",
        "nacked",
        "name",
        "number",
        "placed",
        "progress",
        "redelivered",
        "unacked",
    )

    def __init__(
        self, owner: ReaderOwner, number: int, choice: StreamChoice | None = None, name: str = ""
    ) -> None:
        self._owner = owner
        self._source = owner.source
        self.number, self.name, self.choice = number, name, choice
        self.kept = -1
        self._line = line = ReaderLine(owner.identity, owner.clock, self.hand_out)
        self.consumers, self._waiting = line.consumers, line.waiting
        self.progress = ReaderProgress()
        self._back: list[tuple[int, float, ReaderMessage]] = []
        self._run: MessageRun | None = None
        self._index = 0
        self._place = 0
        self.unacked = self.delivered = self.redelivered = self.acked = self.nacked = 0
        self.placed = self._at_it = False
        self._timer = owner.clock.timer(self.hand_out)

    # -- where it stands --------------------------------------------------------------------

    @property
    def place(self) -> int:
        """The place of what is looked at next."""
        run = self._run
        if run is None:
            return self._place
        messages, index = run.messages, self._index
        return messages[index].place if index < len(messages) else run.end

    @property
    def first_unsettled(self) -> int:
        """The place before which everything is settled."""
        pending = self.progress.pending
        return pending[0] if pending else self.place

    def time_at(self, place: int) -> int | None:
        """When the message at a place came, if it is among those that are read just now."""
        run = self._run
        if run is None:
            return None
        index = run.index_of(place)
        if index >= len(run.messages) or run.messages[index].place != place:
            return None
        return run.messages[index].received_at

    @property
    def active(self) -> int:
        """`Consumer.number` of who is given everything; 0 = nobody is just now, or all are."""
        active = self._line.active
        return 0 if active is None else active.number

    @property
    def waiting_back(self) -> int:
        """How many messages came back and wait to be given again."""
        return len(self._back)

    def put_at(self, place: int, again_below: int = 0) -> None:
        """Have it stand somewhere, for the first time.

        Args:
            place: where.
            again_below: what stands before that may have been given before.
        """
        self._leave_run()
        self._place = place
        self.progress.again_below = again_below
        self.placed = True
        self.hand_out()

    def seek(self, place: int, number: int) -> None:
        """Go on elsewhere. What consumers have yet settles nothing more.

        Args:
            place: where.
            number: of the reader from now on.
        """
        for _, _, message in self._back:
            self._owner.memory.used -= message.size
        self._back.clear()
        self._owner.memory.check()
        self.progress.forget()
        self.number = number
        self.put_at(place)
        if self.name:
            self._keep_place()

    def _leave_run(self) -> None:
        self._place = self.place
        if self._run is not None:
            self._source.leave(self._run)
            self._run = None
        self._index = 0

    def _turn_page(self) -> bool:
        """Come to the next messages; false: it is told when there are any."""
        run, source, place = self._run, self._source, self.place
        if run is not None and run.grows:
            return source.wait(self)
        values, unfiltered = _NO_VALUES, True
        if self.choice is not None:
            values, unfiltered = self.choice.values, self.choice.unfiltered
        # Before the one before is left: what was read ahead belongs to that.
        following = source.run_at(place, self, values, unfiltered)
        self._leave_run()
        if self.name and not self.progress.pending:
            self._keep_place()  # although nothing of it was for this reader
        if following is None:
            return False
        if not following.messages and following.end <= place:
            source.leave(following)
            return source.wait(self)  # what was asked for is not there any more
        self._run, self._index = following, following.index_of(place)
        return True

    # -- who takes part ---------------------------------------------------------------------

    def come(self, consumer: Consumer) -> None:
        """Let a consumer take part."""
        self._line.come(consumer)

    def go(self, consumer: Consumer) -> None:
        """Let a consumer go; what it has comes by `give_back`."""
        self._line.go(consumer)

    def stand_back(self, consumers: Iterable[Consumer]) -> None:
        """Have consumers wait no more."""
        self._line.leave(consumers)

    def resume(self, consumer: Consumer) -> None:
        """Go on: a consumer has room again."""
        if self._line.wait(consumer):
            self.hand_out()

    # -- handing out ------------------------------------------------------------------------

    def hand_out(self) -> None:
        """Give what is to be given while anybody waits for it."""
        if self._at_it or not self._waiting or not self.placed or self._owner.paused:
            return
        self._at_it = True
        try:
            self._hand_out()
        finally:
            self._at_it = False
        if self.name and not self.progress.pending:
            self._keep_place()

    def _hand_out(self) -> None:  # noqa: C901 -- the hot path: a call for a part of it costs more
        waiting, source, progress = self._waiting, self._source, self.progress
        choice = self.choice
        given = looked = 0
        while waiting:
            if given >= _GIVE_AT_ONCE or looked >= _LOOK_AT_ONCE:
                self._timer.set(self._owner.clock.now())  # others have their turn
                return
            if self._back:
                if not self._give_again():
                    return
                given += 1
                continue
            run, index = self._run, self._index
            if run is None or index >= len(run.messages):
                if not self._turn_page():
                    return
                continue
            message = run.messages[index]
            if message.place >= source.end:
                if not source.wait(self):
                    return
                continue
            if not source.is_there(message) or (choice is not None and not choice.takes(message)):
                self._index = index + 1
                looked += 1
            elif message.place < progress.again_below:
                self._index = index + 1
                looked += 1
                self._take_up(message)
            elif choice is None and not source.has_gaps and len(waiting) == 1:
                given += self._give_many(run, index)
            elif self._give(message):
                self._index = index + 1
                given += 1

    def _give_many(self, run: MessageRun, index: int) -> int:  # noqa: C901 -- as above
        """Give what follows in a run to the one who waits, all of which is for it; says how much.

        Measured with ``benchmarks/streams.py``: a third less than to give each by itself.
        """
        consumer, messages = self._waiting[0], run.messages
        stop = min(len(messages), index + _GIVE_AT_ONCE, self._index_of_end(run))
        begun = index
        alone = run.readers == 1
        if not alone:
            self._share(run, messages[index:stop])
        number, auto, pending = self.number, consumer.auto, self.progress.pending
        memory = self._owner.memory
        given, more = messages[index], True
        try:
            for message in messages[index:stop]:
                if auto:
                    given = message if not message.reader else message.given_to(0)
                else:
                    # Who is alone in a run is given what is in it, and others have copies.
                    if alone and not message.reader:
                        message.reader = number
                        given = message
                    else:
                        given = message.given_to(number)
                    # Before it is delivered: what its consumer has is moved to the loans from here.
                    memory.used += given.size
                    pending.append(given.place)
                    self.unacked += 1
                more = consumer.deliver(given)
                index += 1
                if not more:
                    break
        except NotNow:
            self._undo(given)
            self.stand_back((consumer,))
        except Exception as error:
            self._undo(given)
            self._cannot_write(messages[index], error)
            index += 1
        else:
            if not more:
                self._waiting.clear()
                consumer.waiting = False
        if memory.used >= memory.high:
            memory.went_over()
        self.delivered += index - begun
        self._index = index
        return index - begun

    def _share(self, run: MessageRun, messages: list[ReaderMessage]) -> None:
        source = self._source
        for message in messages:
            if message.shared_tail is None:
                source.share(run, message)

    def _index_of_end(self, run: MessageRun) -> int:
        """Up to which index messages of a run may be given."""
        end = self._source.end
        return len(run.messages) if run.end <= end else run.index_of(end)

    def _give(self, message: ReaderMessage) -> bool:
        """Give a message for the first time; false: its consumer took nothing."""
        consumer = self._waiting[0] if len(self._waiting) == 1 else self._line.in_turn()
        run = self._run
        if run is not None and run.readers > 1 and message.shared_tail is None:
            self._source.share(run, message)
        if consumer.auto and not message.reader:
            given = message
        else:
            given = message.given_to(0 if consumer.auto else self.number)
        if not consumer.auto:
            # Before it is delivered: what its consumer has is moved to the loans from there.
            self._charge(given)
            self.progress.pending.append(given.place)
            self.unacked += 1
        try:
            more = consumer.deliver(given)
        except NotNow:
            self._undo(given)
            self.stand_back((consumer,))
            return False
        except Exception as error:
            self._undo(given)
            self._cannot_write(message, error)
            return True
        self.delivered += 1
        self._line.had_turn(consumer, more=more)
        return True

    def _undo(self, given: ReaderMessage) -> None:
        """Have a delivery not be one that its consumer did not take."""
        if given.reader:
            self.unacked -= 1
            self.progress.pending.pop()
            self._owner.memory.used -= given.size

    def _charge(self, given: ReaderMessage) -> None:
        memory = self._owner.memory
        memory.used += given.size
        if memory.used >= memory.high:
            memory.went_over()

    def _let_go(self, given: ReaderMessage) -> None:
        """Count a delivery no more: it is settled, or nobody is to have it."""
        memory = self._owner.memory
        memory.used -= given.size
        if memory.used <= memory.floor:
            memory.went_under()

    # -- what comes back --------------------------------------------------------------------

    def _take_up(self, message: ReaderMessage) -> None:
        """Come to a message that may have been given before, but for those that are settled."""
        progress = self.progress
        if progress.is_settled(message.place):
            return
        redelivery, due = progress.past_of(message.place)
        given = message.given_to(self.number, redelivery)
        self._charge(given)
        progress.pending.append(given.place)
        self._put_back(given, due)

    def _put_back(self, given: ReaderMessage, due: float) -> None:
        """Have a message be given again, before what was never given."""
        heapq.heappush(self._back, (given.place, due, given))

    def _give_again(self) -> bool:
        """Give what came back and is first; false: its time has not come."""
        back = self._back
        place, due, given = back[0]
        if due > self._owner.clock.now():
            self._timer.set(due)
            return False
        heapq.heappop(back)
        if not self._source.is_there(given):
            self._let_go(given)
            self.progress.settled(place)
            return True
        consumer = self._line.in_turn()
        self.delivered += 1
        self.redelivered += 1
        self.unacked += 1
        try:
            more = consumer.deliver(given)
        except NotNow:
            self.delivered -= 1
            self.redelivered -= 1
            self.unacked -= 1
            self._put_back(given, due)
            self.stand_back((consumer,))
            return True
        except Exception as error:
            self.delivered -= 1
            self.redelivered -= 1
            self.unacked -= 1
            self._cannot_write(given, error)
            self._let_go(given)
            self.progress.settled(place)
            return True
        if consumer.auto:
            self.unacked -= 1
            self._let_go(given)
            self.progress.settled(place)
        self._line.had_turn(consumer, more=more)
        return True

    def _cannot_write(self, message: ReaderMessage, error: Exception) -> None:
        """Pass over a message that cannot be written: a fault of ours."""
        destination = self._owner.identity.destination
        log.error("%s: %s cannot be written", destination, message, exc_info=error)
        self._owner.give_up(message, "unwritable", f"{type(error).__name__}: {error}")

    # -- what is settled --------------------------------------------------------------------

    def accept_all(self, messages: Sequence[Message]) -> None:
        """Take note that deliveries were accepted."""
        size = 0
        number, progress = self.number, self.progress
        pending, ahead = progress.pending, progress.ahead
        for message in messages:
            assert isinstance(message, ReaderMessage)
            size += message.size
            if message.reader == number:
                place = message.place
                if pending and pending[0] == place:
                    pending.popleft()
                else:
                    ahead.add(place)
        if ahead:
            progress.catch_up()
        self.unacked -= len(messages)
        self.acked += len(messages)
        memory = self._owner.memory
        memory.used -= size
        if memory.used <= memory.floor:
            memory.went_under()
        if self.name:
            self._keep_place()

    def reject(self, given: ReaderMessage, rejection: Rejection) -> None:
        """Take back what a consumer refused, or have a copy of it become a dead letter."""
        owner, policy = self._owner, self._owner.identity.policy
        final = owner.identity.final
        self.unacked -= 1
        self.nacked += 1
        given.returned(failed=rejection.failed)
        if not rejection.requeue and not final:
            self._give_up(given, "rejected", rejection.reason)
        elif rejection.exhausted(given.failures, policy) and not final:
            self._give_up(given, "nack", rejection.reason)
        else:
            wait = rejection.wait(given.failures, given.sequence, policy)
            self._come_back(given, owner.clock.now() + wait if wait > 0 else 0.0)
        owner.memory.check()
        self.hand_out()

    def give_back(self, messages: Sequence[ReaderMessage], *, lost: bool) -> None:
        """Take back what consumers have who went; ``lost``: the first delivery counts as failed."""
        policy, final = self._owner.identity.policy, self._owner.identity.final
        stays = bool(self.consumers or self.name)
        self.unacked -= len(messages)
        for given in messages:
            given.returned(failed=lost)
            lost = False
            if stays and policy.exhausted(given.failures) and not final:
                self._give_up(given, "delivery_limit", "")
            else:
                self._come_back(given, 0.0)
        self._owner.memory.check()
        if not self.consumers and not self.unacked:
            self._rest()
        else:
            self.hand_out()

    def _come_back(self, given: ReaderMessage, due: float) -> None:
        """Have a message come again, unless reading went on elsewhere or nobody is to have it."""
        if given.reader != self.number or not (self.consumers or self.name):
            self._let_go(given)
        else:
            self._put_back(given, due)

    def _give_up(self, given: ReaderMessage, cause: str, reason: str) -> None:
        """Pass over a message of which a copy becomes a dead letter; later, if it cannot now."""
        owner = self._owner
        if not owner.give_up(given, cause, reason):
            self._come_back(given, owner.clock.now() + _ASIDE_SECONDS)
            return
        self._let_go(given)
        if given.reader == self.number:
            self.progress.settled(given.place)
            if self.name:
                self._keep_place()

    def _keep_place(self) -> None:
        place = self.first_unsettled
        if place != self.kept:
            self.kept = place
            self._owner.keep_place(self.name, place)

    # -- the end ----------------------------------------------------------------------------

    def _rest(self) -> None:
        """Have nothing in memory while nobody takes part, but what is known of deliveries."""
        due = {place: when for place, when, _ in self._back if when}
        back = [given for _, _, given in self._back]
        for given in back:
            self._owner.memory.used -= given.size
        self._back.clear()
        self._owner.memory.check()
        self._timer.cancel()
        self._leave_run()
        self._place = self.progress.rewind(self._place, back, due)

    @property
    def is_over(self) -> bool:
        """Whether nobody takes part, nothing is to be settled, and nobody can come back to it."""
        return not (self.consumers or self.unacked or self.name)

    def close(self) -> None:
        """Give nobody anything any more. What consumers have is still counted."""
        self._line.close()
        self.name = ""
        self._rest()
        self._timer.end()
