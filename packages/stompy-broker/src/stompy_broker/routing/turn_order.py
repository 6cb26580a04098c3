"""Who waits for the messages of a queue that chooses, and whose turn it is (**hot path**).

Each consumer stands in the line of its selector. A turn is a number, lower first: of all who take
a message, who has the lowest one gets it, and is last then. It is counted, less very much for each
step of the consumer's priority, so that who has a higher one is before all others. Where one
consumer at a time gets everything, only that one stands in a line (`ActiveConsumer`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from stompy.errors import ProtocolError
from stompy_broker.message import Message
from stompy_broker.routing.active_consumer import ActiveConsumer
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.consumer_line import ConsumerLine
from stompy_broker.routing.interface import QueueIdentity
from stompy_broker.routing.match_line import MatchLine
from stompy_broker.routing.message_group import OwnLine
from stompy_broker.routing.parking import Parking
from stompy_broker.selectors.selector import compile_selector
from stompy_broker.timers import Clock

_PRIORITY: Final = 40
"""So many bits of a turn are the count; above them stands the priority."""


class TurnOrder:
    """The consumers of one queue that choose.

    Args:
        parking: the messages of the queue, by line.
        consumer_line: of the queue; who wants a message lines up there, and is fetched from it.
        queue: it.
        clock: rings.
        hand_out: has the queue hand out, when somebody else may be given messages.

    Attributes:
        awake: the lines that may have a message for who waits in them.
        awake_own: the same of those that have one consumer.
        line_of: in which line each consumer takes part.
        own_lines: what consumers have for themselves, because groups are theirs.
        renewed: called when somebody else may be given messages now; None = nobody asks.
        ranked: who takes part and has a priority, or asks to be the only one.
        waiting: how many consumers wait, in all lines.
    """

    __slots__ = (
        "_active",
        "_clock",
        "_consumer_line",
        "_everything",
        "_hand_out",
        "_last",
        "_parking",
        "_queue",
        "awake",
        "awake_own",
        "line_of",
        "own_lines",
        "ranked",
        "renewed",
        "waiting",
    )

    def __init__(
        self,
        parking: Parking,
        consumer_line: ConsumerLine,
        queue: QueueIdentity,
        clock: Clock,
        hand_out: Callable[[], None],
    ) -> None:
        self._queue = queue
        self._clock = clock
        self._hand_out = hand_out
        self._active: ActiveConsumer | None = None  # None = nobody asks to be the only one
        self.ranked: dict[Consumer, None] = {}
        self._parking = parking
        self._everything = parking.everything
        self._consumer_line = consumer_line
        self.line_of: dict[Consumer, MatchLine] = {}
        self.awake: dict[MatchLine, None] = {}
        self.awake_own: dict[OwnLine, None] = {}
        self.own_lines: dict[Consumer, OwnLine] = {}
        self.renewed: Callable[[], None] | None = None
        self.waiting = self._last = 0

    # -- consumers --------------------------------------------------------------------------

    def attach(self, consumer: Consumer) -> bool:
        """Let a consumer take part, in the line of its selector; false: it cannot."""
        parking, text = self._parking, consumer.terms.selector
        try:
            line = parking.line(compile_selector(text)) if text else self._everything
        except ProtocolError as error:
            # Whoever let it in has read the selector; but that may be a broker of another version.
            consumer.fail(error)
            return False
        self.line_of[consumer] = line
        parking.join(line, consumer)
        terms = consumer.terms
        if terms.priority or terms.single_active:
            self.ranked[consumer] = None
        if terms.single_active and self._active is None:
            present = [one for one in self.line_of if one is not consumer]
            self._active = ActiveConsumer(
                self._queue, self._clock, self._line_up_again, self._hand_out, present
            )
        if self._active is not None:
            self._active.come(consumer)
        return True

    def detach(self, consumer: Consumer) -> bool:
        """Let a consumer go; false: it took no part."""
        line = self.line_of.pop(consumer, None)
        if line is None:
            return False
        self.waiting -= line.leave({consumer})
        self._parking.leave(line, consumer)
        self.ranked.pop(consumer, None)
        if self._active is not None and not self._active.go(consumer):
            self._active = None
        return True

    def leave(self, consumers: Iterable[Consumer]) -> None:
        """Let consumers wait no more: they have gone, or want nothing for now."""
        self.line_up()
        if self._active is not None:
            self._active.leave(consumers)
        by_line: dict[MatchLine, set[Consumer]] = {}
        for consumer in consumers:
            line = self.line_of.get(consumer)
            if line is not None:
                by_line.setdefault(line, set()).add(consumer)
        for line, leaving in by_line.items():
            self.waiting -= line.leave(leaving)

    def line_up(self) -> None:
        """Put those who came since to the end of their lines."""
        end = self._consumer_line.end
        while end:
            consumer = end.popleft()
            line = self.line_of.get(consumer)
            if line is None or not consumer.waiting:
                consumer.waiting = False  # it has gone again, or takes no part
                continue
            if self._active is not None and not self._active.admits(consumer):
                continue
            self._last += 1
            self.waiting += 1
            if self.ranked:
                line.stand(self._turn_of(consumer), consumer)
            else:
                line.turns.append((self._last, consumer))
            self.awake[line] = None
            own = self.own_lines.get(consumer)
            if own is not None:
                self.awake_own[own] = None

    def _line_up_again(self) -> None:
        """Have everybody who waits line up again: somebody else may be given messages now."""
        end = self._consumer_line.end
        for line in (self._everything, *self._parking.lines.values()):
            end.extend([consumer for _, consumer in line.turns])
            line.turns.clear()
        self.waiting = 0
        if self._active is not None:
            end.extend(self._active.take_bench())
        if self.renewed is not None:
            self.renewed()

    def wake_all(self) -> None:
        """Have every line looked at where somebody waits."""
        self.wake(list(self._parking.lines.values()))
        for own in self.own_lines.values():
            if own.owner.waiting:
                self.awake_own[own] = None

    def wake(self, lines: list[MatchLine]) -> None:
        """Have lines looked at where somebody waits, and that of who takes everything."""
        if self._everything.turns:
            self.awake[self._everything] = None
        for line in lines:
            if line.turns:
                self.awake[line] = None

    # -- turns ------------------------------------------------------------------------------

    def next_for(self, message: Message) -> Consumer | None:
        """Who has the next turn, of those that take a message; None = nobody waits for it."""
        lines = self._parking.lines.values()
        line = self.first_of([one for one in lines if one.turns and one.takes(message)])
        return None if line is None else line.turns[0][1]

    def first_of(self, takers: list[MatchLine]) -> MatchLine | None:
        """The line of the consumer that waits longest, of these and of who takes everything."""
        first: MatchLine | None = self._everything if self._everything.turns else None
        for line in takers:
            if line.turns and (first is None or line.turns[0][0] < first.turns[0][0]):
                first = line
        return first

    def first_for(self, line: MatchLine, message: Message) -> MatchLine:
        """The line of the consumer that waits longest, of those that take a message.

        Args:
            line: one of them, where somebody waits.
            message: it.
        """
        parking = self._parking
        for other in [self._everything, *parking.lines.values()]:
            if (
                other.turns
                and other.turns[0][0] < line.turns[0][0]
                and parking.takes(other, message)
            ):
                line = other
        return line

    def had_turn(self, line: MatchLine, *, more: bool) -> None:
        """Put the consumer that was served last in turn, or out of line if it wants no more."""
        turns = line.turns
        consumer = turns[0][1]
        if not more:
            turns.popleft()
            consumer.waiting = False
            self.waiting -= 1
            return
        self._last += 1
        if self.ranked:
            turns.popleft()
            line.stand(self._turn_of(consumer), consumer)
            return
        turns[0] = self._last, consumer
        if len(turns) > 1:
            turns.rotate(-1)

    def _turn_of(self, consumer: Consumer) -> int:
        """The turn of a consumer that is last of those of its priority."""
        return self._last - (consumer.terms.priority << _PRIORITY)

    def close(self) -> None:
        """Do nothing any more: the queue has ended, or is a plain one again."""
        if self._active is not None:
            self._active.close()

    def had_own_turn(self, consumer: Consumer, *, more: bool) -> None:
        """Put a consumer last in turn, or out of line, that was given something of a group."""
        line = self.line_of[consumer]
        turns = line.turns
        if turns[0][1] is consumer:
            self.had_turn(line, more=more)
            return
        if more:
            return  # it was not its turn
        if turns[-1][1] is consumer:
            turns.pop()
        else:
            line.leave({consumer})
        consumer.waiting = False
        self.waiting -= 1
