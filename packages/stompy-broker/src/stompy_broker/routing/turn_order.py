"""Who waits for the messages of a queue that chooses, and whose turn it is (**hot path**).

Each consumer stands in the line of its selector. A turn is a number, lower first: of all who take
a message, who has the lowest one gets it, and is last then.
"""

from __future__ import annotations

from collections.abc import Iterable

from stompy.errors import ProtocolError
from stompy_broker.message import Message
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.consumer_line import ConsumerLine
from stompy_broker.routing.match_line import MatchLine
from stompy_broker.routing.parking import Parking
from stompy_broker.selectors.selector import compile_selector


class TurnOrder:
    """The consumers of one queue that choose.

    Args:
        parking: the messages of the queue, by line.
        consumer_line: of the queue; who wants a message lines up there, and is fetched from it.

    Attributes:
        awake: the lines that may have a message for who waits in them.
        line_of: in which line each consumer takes part.
        waiting: how many consumers wait, in all lines.
    """

    __slots__ = (
        "_consumer_line",
        "_everything",
        "_last",
        "_parking",
        "awake",
        "line_of",
        "waiting",
    )

    def __init__(self, parking: Parking, consumer_line: ConsumerLine) -> None:
        self._parking = parking
        self._everything = parking.everything
        self._consumer_line = consumer_line
        self.line_of: dict[Consumer, MatchLine] = {}
        self.awake: dict[MatchLine, None] = {}
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
        return True

    def detach(self, consumer: Consumer) -> bool:
        """Let a consumer go; false: it took no part."""
        line = self.line_of.pop(consumer, None)
        if line is None:
            return False
        self.waiting -= line.leave({consumer})
        self._parking.leave(line, consumer)
        return True

    def leave(self, consumers: Iterable[Consumer]) -> None:
        """Let consumers wait no more: they have gone, or want nothing for now."""
        self.line_up()
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
            self._last += 1
            self.waiting += 1
            line.turns.append((self._last, consumer))
            self.awake[line] = None

    def wake_all(self) -> None:
        """Have every line looked at where somebody waits."""
        for line in (self._everything, *self._parking.lines.values()):
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
        turns[0] = self._last, consumer
        if len(turns) > 1:
            turns.rotate(-1)
