"""The messages of a queue that match one selector, and the consumers that said it."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable

from stompy_broker.message import Message
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.interface import Place
from stompy_broker.routing.ordered_messages import OrderedMessages
from stompy_broker.selectors.selector import Selector

Turn = tuple[int, Consumer]
"""When a consumer lined up, counted by the queue, and the consumer."""

BEGINNING: Place = (-1 << 60, 0)
"""A place before that of every message."""


class MatchLine:
    """One line of messages, and who takes them.

    Args:
        selector: what they match; None = the line has all of them.
        messages: those of the line.

    Attributes:
        selector: what they match; None = the line has all of them.
        messages: those of the line that wait, as far as the queue was looked through.
        consumers: who takes part with this selector.
        turns: those of them that wait for a message, in turn.
        reached: how far the queue was looked through for them; None = all of it.
        matched: how many messages matched, of all that were looked at.
        takes: whether a message belongs into the line.
        looked: how many messages the queue had looked at when the line was begun, less those that
            waited then and were looked at for this line alone.
    """

    __slots__ = (
        "consumers",
        "looked",
        "matched",
        "messages",
        "reached",
        "selector",
        "takes",
        "turns",
    )

    def __init__(self, selector: Selector | None, messages: OrderedMessages) -> None:
        self.selector = selector
        self.messages = messages
        self.consumers: dict[Consumer, None] = {}
        self.turns: deque[Turn] = deque()
        self.reached: Place | None = None
        self.matched = self.looked = 0
        self.takes: Callable[[Message], bool] = (
            _everything if selector is None else selector.matches
        )

    def stand(self, turn: int, consumer: Consumer) -> None:
        """Have a consumer wait where its turn is."""
        turns = self.turns
        if turns and turns[-1][0] > turn:
            turns.insert(bisect_right(turns, turn, key=_turn_of), (turn, consumer))
        else:
            turns.append((turn, consumer))

    def leave(self, consumers: set[Consumer]) -> int:
        """Let consumers wait no more; gives how many did."""
        staying = [turn for turn in self.turns if turn[1] not in consumers]
        leaving = len(self.turns) - len(staying)
        if leaving:
            self.turns.clear()
            self.turns.extend(staying)
        return leaving


def _turn_of(turn: Turn) -> int:
    """The number of a turn."""
    return turn[0]


def _everything(message: Message) -> bool:
    """Take a message, whatever it is."""
    return True
