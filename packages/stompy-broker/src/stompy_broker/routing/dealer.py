"""Who gets the next message of a queue whose consumers choose (**hot path** of such a queue).

A queue has one while at least one of its consumers has a selector, and then passes everything by
it. It does there what the queue itself does else, in the same order: a message goes to the consumer
that waits longest, of those that take it; what is handed out is the first message that any of those
who wait takes.

Invariants:

* Between two calls, nobody who waits has a message in his line that he may be given, unless the
  queue is paused or is fetching bodies from disk. So what comes in goes straight to who waits.
* What comes in while nobody waits at all is looked at when somebody does, or a moment later.
* ``ConsumerLine.waiting`` is empty. Who lines up is in ``ConsumerLine.end``, until it is looked at,
  and then in the turns of his line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from stompy.admin.rows import Event
from stompy.errors import ProtocolError
from stompy_broker.message import DEFAULT_PRIORITY, Message, MessageHead, MessageTraits
from stompy_broker.routing.accounts import Accounts
from stompy_broker.routing.answers import Done, when_safe
from stompy_broker.routing.consumer import Consumer, NotNow
from stompy_broker.routing.consumer_line import ConsumerLine, TurnKeeper
from stompy_broker.routing.discards import Discards
from stompy_broker.routing.expiry import Expiry
from stompy_broker.routing.interface import LineFigures, QueueIdentity
from stompy_broker.routing.length_limits import LengthLimits
from stompy_broker.routing.match_line import MatchLine
from stompy_broker.routing.paging import BodyReader, first_without_body
from stompy_broker.routing.ready_list import ReadyList
from stompy_broker.routing.services import Services
from stompy_broker.routing.wait_times import NOT_COUNTED, WaitHistogram
from stompy_broker.selectors.selector import compile_selector

ALWAYS_SOME: Final[deque[Message]] = deque(
    (Message(0, MessageHead(b"\n", MessageTraits(sized=True)), b"", b""),)
)
"""What a queue has in place of its ``fifo``, so that it always looks whether there is anything."""

STEP: Final = 1000
"""Messages that are looked at in one step, ..."""
STEP_SECONDS: Final = 0.002
"""... or as many as so long a time lets be."""
_COST: Final = 2
"""What one of them counts for, in the budget of all queues."""

_FEW: Final = 256
"""So many messages that nobody takes are looked at without a step."""

_LOOK_SECONDS: Final = 0.5
"""What comes in while nobody waits is looked at after so long."""

_MANY: Final = 20_000
"""So many messages of several priorities at most make a plain queue in one step."""

UNMATCHED_SECONDS: Final = 60.0
"""After so long it is told that messages wait that nobody takes."""

_MOST_LINES: Final = 1000
"""So many lines are told of at most."""

Dealt = tuple[int, int]
"""How many messages were delivered, and how many of these are with their consumers now."""

_NOTHING: Final[Dealt] = (0, 0)
_TAKEN: Final[Dealt] = (1, 0)
_HELD: Final[Dealt] = (1, 1)


class Dealer(TurnKeeper):
    """Deals the messages of one queue to consumers that choose.

    Args:
        queue: it.
        parts: its messages, its consumers that wait, its accounts, the reader of its bodies, and
            what gives up messages.
        watch: told of messages that come to wait: when they end, and how long a backlog is (None =
            it is none).
        services: of the broker.
        hand_out: has the queue hand out, when messages may be delivered that could not before.
        ended: called when nobody chooses any more, and the queue is a plain one again.

    Attributes:
        parking: the messages by line.
    """

    __slots__ = (
        "_accounts",
        "_awake",
        "_closed",
        "_consumer_line",
        "_dealt",
        "_discards",
        "_ended",
        "_everything",
        "_expiry",
        "_fifo",
        "_hand_out",
        "_heap",
        "_last_turn",
        "_limits",
        "_line_of",
        "_look_timer",
        "_looks_soon",
        "_queue",
        "_reader",
        "_ready",
        "_services",
        "_since",
        "_stale",
        "_stepping",
        "_timer",
        "_unacked",
        "_waiting",
        "parking",
    )

    def __init__(
        self,
        queue: QueueIdentity,
        parts: tuple[ReadyList, ConsumerLine, Accounts, BodyReader, Discards],
        watch: tuple[Expiry, LengthLimits | None],
        services: Services,
        hand_out: Callable[[], None],
        ended: Callable[[], None],
    ) -> None:
        self._queue = queue
        self._ready, self._consumer_line, self._accounts, self._reader, self._discards = parts
        self._expiry, self._limits = watch
        self.parking = self._ready.park()
        self._everything = self.parking.everything
        self._fifo, self._heap = self._ready.fifo, self._ready.heap
        self._services = services
        self._hand_out = hand_out
        self._ended = ended
        self._line_of: dict[Consumer, MatchLine] = {}
        self._awake: dict[MatchLine, None] = {}  # those that may have a message for who waits
        self._stale = True  # whether every line may
        self._last_turn = self._dealt = self._unacked = 0
        self._waiting = 0  # consumers, in all lines
        self._looks_soon = False
        self._look_timer = services.clock.timer(self._look)
        self._stepping = self._closed = False
        self._since: float | None = None
        self._timer = services.clock.timer(self._tell)
        self._consumer_line.begin_choosing(self)

    # -- consumers --------------------------------------------------------------------------

    def attach_all(self, consumers: Iterable[Consumer]) -> None:
        """Let consumers take part who were there before."""
        for consumer in consumers:
            self.attach(consumer)

    def attach(self, consumer: Consumer) -> None:
        """Let a consumer take part, in the line of its selector."""
        parking, text = self.parking, consumer.terms.selector
        try:
            line = parking.line(compile_selector(text)) if text else parking.everything
        except ProtocolError as error:
            # Whoever let it in has read the selector; but that may be a broker of another version.
            consumer.fail(error)
            return
        self._line_of[consumer] = line
        parking.join(line, consumer)
        self._watch()
        self._want_step()

    def detach(self, consumer: Consumer) -> None:
        """Let a consumer go."""
        line = self._line_of.pop(consumer, None)
        if line is not None:
            self._waiting -= line.leave({consumer})
            self.parking.leave(line, consumer)
            self._want_step()

    def leave(self, consumers: Iterable[Consumer]) -> None:
        """Let consumers wait no more: they have gone, or want nothing for now."""
        self._line_up()
        by_line: dict[MatchLine, set[Consumer]] = {}
        for consumer in consumers:
            line = self._line_of.get(consumer)
            if line is not None:
                by_line.setdefault(line, set()).add(consumer)
        for line, leaving in by_line.items():
            self._waiting -= line.leave(leaving)

    def next_for(self, message: Message) -> Consumer | None:
        """Who would get a message if it came now; None = nobody."""
        self._line_up()
        held = self._fifo or self._heap or self._reader.wanted is not None
        if held or self._consumer_line.paused:
            return None
        lines = self.parking.lines.values()
        line = self._first_in_turn([one for one in lines if one.turns and one.takes(message)])
        return None if line is None else line.turns[0][1]

    def _line_up(self) -> None:
        """Put those who came since to the end of their lines."""
        end = self._consumer_line.end
        while end:
            consumer = end.popleft()
            line = self._line_of.get(consumer)
            if line is None or not consumer.waiting:
                consumer.waiting = False  # it has gone again, or takes no part
                continue
            self._last_turn += 1
            self._waiting += 1
            line.turns.append((self._last_turn, consumer))
            self._awake[line] = None

    # -- messages ---------------------------------------------------------------------------

    def take(self, message: Message, done: Done | None) -> Dealt:
        """Take a message that comes in: to who waits for it, or to its place.

        Args:
            message: it.
            done: called when it is safe; None = nobody asks.
        """
        if self._waiting:
            dealt = self._take(message)
        else:
            dealt = _NOTHING
            self._accounts.keep(message)
            self._put_off(message)
        if done is not None:
            when_safe(self._accounts.store, message, done)
        return dealt

    def _take(self, message: Message) -> Dealt:
        accounts = self._accounts
        takers = self.parking.takers(message)
        kept = False
        held = self._fifo or self._heap or self._reader.wanted is not None
        if not held and not self._consumer_line.paused:
            line = self._first_in_turn(takers)
        else:
            line, self._stale = None, True
        while line is not None:
            consumer = line.turns[0][1]
            if not consumer.auto:
                if not kept:
                    accounts.keep(message)
                    kept = True
                accounts.mark_delivered(message, consumer.number)
            try:
                more = consumer.deliver(message)
            except NotNow:
                self._had_turn(line, more=False)
                line = self._first_in_turn(takers)
                continue
            except Exception as error:
                if not kept:
                    accounts.keep(message)  # it is in the queue now
                self._discards.cannot_write(message, error)
                self._had_turn(line, more=True)
                return 1, 0
            if self._waiting > 1 or not more:
                self._had_turn(line, more=more)
            return _TAKEN if consumer.auto else _HELD
        if kept:
            accounts.mark_returned(message, 0)
        else:
            accounts.keep(message)
        self._keep_waiting(message, takers)
        return _NOTHING

    def _keep_waiting(self, message: Message, takers: list[MatchLine]) -> None:
        self.parking.add(message, takers)
        if not takers:
            self._watch()
        self._note(message)

    def _put_off(self, message: Message) -> None:
        """Keep a message that nobody waits for, without looking who takes it."""
        if message.head.traits.priority == DEFAULT_PRIORITY:
            self._fifo.append(message)
        else:
            self._ready.place(message)
        if not self._looks_soon:
            self._looks_soon = True
            self._look_timer.set(self._services.clock.now() + _LOOK_SECONDS)
        self._note(message)

    def _look(self) -> None:
        """Look at what was put off."""
        self._looks_soon = False
        if self._fifo or self._heap:
            self._want_step()

    def _note(self, message: Message) -> None:
        """Note that a message waits: when it ends, and how many there are."""
        if message.expires:
            self._expiry.append(message.expires)
        if self._limits is not None:
            self._limits.watch_backlog()

    def _first_in_turn(self, takers: list[MatchLine]) -> MatchLine | None:
        """The line of the consumer that waits longest, of these and of who takes everything."""
        first: MatchLine | None = self._everything if self._everything.turns else None
        for line in takers:
            if line.turns and (first is None or line.turns[0][0] < first.turns[0][0]):
                first = line
        return first

    def _had_turn(self, line: MatchLine, *, more: bool) -> None:
        """Put the consumer that was served last in turn, or out of line if it wants no more."""
        turns = line.turns
        consumer = turns[0][1]
        if not more:
            turns.popleft()
            consumer.waiting = False
            self._waiting -= 1
            return
        self._last_turn += 1
        turns[0] = self._last_turn, consumer
        if len(turns) > 1:
            turns.rotate(-1)

    @property
    def _may_end(self) -> bool:
        """Whether the queue may be a plain one again, as far as is known.

        What consumers have may stand behind much that waits, and would be put in front of it.
        """
        if self.parking.lines:
            return False
        return not self._unacked or self._ready.ready <= _MANY

    def deal(self, waits: WaitHistogram | None, unacked: int) -> Dealt:
        """Hand out what is ready while somebody waits for it.

        Args:
            waits: counts how long messages waited; None = nobody wants to know.
            unacked: how many messages are with consumers.
        """
        self._unacked = unacked
        parking, reader = self.parking, self._reader
        self._look_again()
        if self._consumer_line.paused or reader.wanted is not None:
            self._stale = True
            return _NOTHING
        delivered = held = 0
        looks = _FEW
        while self._waiting:
            line = self._next_line() if self._awake else None
            if line is not None:
                message = line.messages.first
                assert message is not None
                if message.body is None:
                    reader.begin(first_without_body(iter(line.messages)))
                    self._stale = True
                    break
                line = self._take_out(message, line)
            elif not (self._fifo or self._heap):
                break
            elif not looks:
                self._stale = True
                self._want_step()
                break
            else:
                message = parking.pop_unsorted() if self._heap else self._fifo.popleft()
                line = self._sort_in(message)
                if line is None:
                    looks -= 1
                    continue
            if (message.expires or message.redelivery) and self._discards.ends(message):
                continue
            dealt = self._deliver(line, message, waits)
            delivered += dealt[0]
            held += dealt[1]
        self._watch()
        return delivered, held

    def _take_out(self, message: Message, line: MatchLine) -> MatchLine:
        """Take out a message that a line has; gives the line of the consumer whose turn it is."""
        claims = self.parking.take(message, line)
        others = claims if line is self._everything else claims - 1
        if others or (self._everything.turns and line is not self._everything):
            return self._whose_turn(line, message)
        return line

    def _sort_in(self, message: Message) -> MatchLine | None:
        """Find the line whose turn it is for a message that was not looked at, or sort it in."""
        takers = self.parking.takers(message)
        line = self._first_in_turn(takers)
        if line is not None and message.body is not None:
            return line
        self.parking.add(message, takers)
        if line is not None:  # its body has to be read
            self._awake[line] = None
        return None

    def _look_again(self) -> None:
        """See who lined up and what came back, and which lines may have a message for whom."""
        parking = self.parking
        self._line_up()
        if parking.has_jobs or self._may_end:
            self._want_step()
        if self._stale:
            self._stale = False
            for one in (parking.everything, *parking.lines.values()):
                if one.turns:
                    self._awake[one] = None

    def _next_line(self) -> MatchLine | None:
        """The line that has the first message, of those where somebody waits."""
        barrier = self.parking.barrier
        found: MatchLine | None = None
        first: Message | None = None
        awake = self._awake
        if len(awake) == 1 and barrier is None:
            line = next(iter(awake))
            if line.turns and line.reached is None and line.messages.count:
                return line
        for line in list(awake):
            message = self.parking.next_of(line, barrier) if line.turns else None
            if message is None:
                # Behind what was not looked at it may have one that is its turn later.
                if barrier is None or not line.turns or not line.messages.count:
                    del self._awake[line]
            elif first is None or _is_before(message, first):
                found, first = line, message
        return found

    def _whose_turn(self, line: MatchLine, message: Message) -> MatchLine:
        """The line of the consumer that waits longest, of those that take a message."""
        parking = self.parking
        for other in [self._everything, *parking.lines.values()]:
            if (
                other.turns
                and other.turns[0][0] < line.turns[0][0]
                and parking.takes(other, message)
            ):
                line = other
        return line

    def _deliver(self, line: MatchLine, message: Message, waits: WaitHistogram | None) -> Dealt:
        """Give a message to whose turn it is."""
        accounts, consumer = self._accounts, line.turns[0][1]
        self._dealt += 1
        try:
            more = consumer.deliver(message)
        except NotNow:
            self._had_turn(line, more=False)
            self.parking.place(message)
            return _NOTHING
        except Exception as error:
            self._discards.cannot_write(message, error)
            return _TAKEN
        if self._waiting > 1 or not more:
            self._had_turn(line, more=more)
        if consumer.auto:
            if waits is not None and not self._dealt & NOT_COUNTED:
                waits.add(message.received_at)
            accounts.let_go(message)
            return _TAKEN
        accounts.mark_delivered(message, consumer.number)
        return _HELD

    # -- steps ------------------------------------------------------------------------------

    def _want_step(self) -> None:
        if not self._stepping and not self._closed:
            self._stepping = True
            self._services.work_budget.wait(self)

    def go_on(self) -> None:
        """Look at some more messages. For `WorkBudget` only."""
        self._stepping = False
        if self._closed:
            return
        clock, budget, parking = self._services.clock, self._services.work_budget, self.parking
        until = clock.now() + STEP_SECONDS
        left = budget.left
        looked = parking.step(min(STEP, max(1, left // _COST)), lambda: clock.now() < until)
        late = clock.now() >= until
        budget.spend(max(left, 0) if late else min(_COST * looked, max(left, 0)))
        self._stale = True
        if self._may_end and not parking.busy and self._ready.unpark(_MANY):
            self._end()
            return
        if parking.busy:
            self._want_step()
        self._hand_out()

    def _end(self) -> None:
        """Have the queue be a plain one again."""
        self._line_up()
        turns = [consumer for _, consumer in self.parking.everything.turns]
        self.close()
        self._consumer_line.end_choosing(turns)
        self._ended()

    def close(self) -> None:
        """Do nothing any more."""
        self._closed = True
        self._timer.end()
        self._look_timer.end()

    # -- what nobody takes --------------------------------------------------------------------

    def figures(self) -> tuple[int, tuple[LineFigures, ...]]:
        """How many messages nobody takes, and the figures of the lines."""
        parking = self.parking
        if self._fifo or self._heap:
            self._want_step()  # whoever looks again sees what came of it
        lines = [
            LineFigures(
                text,
                len(line.consumers),
                line.messages.count,
                line.matched,
                parking.skipped(line),
            )
            for text, line in list(parking.lines.items())[:_MOST_LINES]
        ]
        return parking.unmatched, tuple(lines)

    def _watch(self) -> None:
        """Note since when messages wait that nobody takes."""
        if not self.parking.unmatched:
            if self._since is not None:
                self._since = None
                self._timer.cancel()
        elif self._since is None:
            self._since = self._services.clock.now()
            self._timer.set(self._since + UNMATCHED_SECONDS)

    def _tell(self) -> None:
        """Tell that messages wait that nobody takes, once; and why, if a selector has failed."""
        unmatched = self.parking.unmatched
        if not unmatched:
            self._since = None
            return
        selectors = list(self.parking.lines)
        detail: dict[str, object] = {"unmatched": unmatched, "selectors": selectors[:20]}
        failed = {
            text: line.selector.fault
            for text, line in self.parking.lines.items()
            if line.selector is not None and line.selector.fault is not None
        }
        if failed:
            detail["failed"] = failed
        self._services.events.tell(
            Event(
                type="queue.unmatched",
                severity="warn",
                destination=self._queue.destination,
                reason=f"no consumer that is there takes {unmatched} of its messages",
                detail=detail,
            )
        )


def _is_before(one: Message, other: Message) -> bool:
    """Whether a message is next, of two."""
    mine, others = one.head.traits.priority, other.head.traits.priority
    return one.sequence < other.sequence if mine == others else mine > others
