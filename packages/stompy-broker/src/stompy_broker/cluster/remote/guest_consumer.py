"""What stands, in a queue of its owner, for a consumer at another broker (**hot path**)."""

from __future__ import annotations

from collections.abc import Sequence, Set
from itertools import count
from typing import Protocol

from stompy.errors import ProtocolError
from stompy_broker.cluster.remote.away_consumers import WINDOW, WINDOW_BYTES
from stompy_broker.cluster.remote.verbs import (
    ActiveEvent,
    DeliverEvent,
    FailEvent,
    GiveBackEvent,
    LinkEvent,
)
from stompy_broker.message import Message
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.interface import RestorableQueue
from stompy_broker.routing.message_group import GroupedMessage
from stompy_broker.routing.terms import PLAIN, Terms

_UNLIMITED = 1 << 60

_numbers = count(1 << 40)
"""No consumer of a session has such a high number."""


class GuestOutput(Protocol):
    """Where what is told to a front is gathered in one turn."""

    held: dict[int, tuple[GuestConsumer, Message]]
    giving: dict[GuestConsumer, None]

    def add(self, event: LinkEvent) -> None:
        """Tell something at the end of the turn."""
        ...

    def tell_soon(self) -> None:
        """Have what is gathered be told at the end of the turn."""
        ...


class GuestConsumer(Consumer):
    """A consumer at a front.

    It has an exact credit: deliveries that may be unsettled, as its client asked for. Who does not
    say that, or needs no acknowledgement, has a window of what may be on its way. What the front's
    consumer took without acknowledgement is settled when the front says so.

    Args:
        output: of its front.
        away: its number at the front.
        queue: which it consumes from.
        auto: whether what it takes is settled there.
        prefetch: deliveries that may be unsettled at once; 0 = no limit.
        terms: what it asks of the queue, beside messages.

    Attributes:
        wants: whether it takes messages.
        events: what it was given in this turn.
        lent: bytes that it has.
    """

    def __init__(
        self,
        output: GuestOutput,
        away: int,
        queue: RestorableQueue,
        *,
        auto: bool,
        prefetch: int,
        terms: Terms = PLAIN,
    ) -> None:
        self.number = next(_numbers)
        self.auto = False
        self.waiting = False
        self.prefetch = prefetch
        self.terms = terms
        self.away = away
        self.queue = queue
        self.takes = auto
        self.wants = False
        self.events: list[DeliverEvent] = []
        self.lent = 0
        self._output = output
        self._run: DeliverEvent | None = None
        self._credit = prefetch or _UNLIMITED
        self._window = _UNLIMITED if prefetch else WINDOW
        self._bytes = WINDOW_BYTES

    def deliver(self, message: Message) -> bool:
        """Put a message among what is told at the end of the turn."""
        output, sequence, size = self._output, message.sequence, message.size
        output.held[sequence] = (self, message)
        self._credit -= 1
        self._window -= 1
        self._bytes -= size
        self.lent += size
        run, body, past = self._run, message.body, message.redelivery
        first = isinstance(message, GroupedMessage) and message.first
        assert body is not None
        if (
            run is None
            or run.head is not message.head
            or run.stamp is not message.stamp
            or past is not None
            or run.past is not None
            or first
            or run.first
        ):
            if run is None:
                if not output.giving:
                    output.tell_soon()
                output.giving[self] = None
            run = DeliverEvent(self.away, message.head, message.stamp, past, [], [], first)
            self._run = run
            self.events.append(run)
        run.sequences.append(sequence)
        run.bodies.append(body)
        return self._credit > 0 and self._window > 0 and self._bytes > 0

    def take_events(self) -> list[DeliverEvent]:
        """Give what it was given in this turn."""
        events, self.events, self._run = self.events, [], None
        return events

    def fail(self, reason: ProtocolError) -> None:
        """Tell the front that the queue gives up on it."""
        self._output.add(FailEvent(self.away, reason))

    def activate(self, *, active: bool) -> None:
        """Tell the front whether it is given messages."""
        self._output.add(ActiveEvent(self.away, active))

    def give_back(self, only: Set[Message] | None = None) -> None:
        """Ask the front for what it has."""
        self._output.add(GiveBackEvent(self.away))

    def settled(self, messages: Sequence[Message]) -> None:
        """Give credit back for deliveries that are over."""
        size = sum([message.size for message in messages])
        self._credit += len(messages)
        self.lent -= size
        if self.takes:
            self._window += len(messages)
            self._bytes += size

    def took(self, number: int, size: int) -> None:
        """Open the window: so much arrived at the client."""
        self._window += number
        self._bytes += size

    def adopts(self, message: Message) -> None:
        """Count a message that it has already."""
        self._credit -= 1
        self.lent += message.size

    def begin_visit(self) -> None:
        """Nothing is on its way any more, and what it has is told next."""
        self._credit = self.prefetch or _UNLIMITED
        self._window = _UNLIMITED if self.prefetch else WINDOW
        self._bytes = WINDOW_BYTES
        self.lent = 0
        self.take_events()

    def shows(self) -> list[Message]:
        """What it has, to be looked at: the front decides what becomes of it."""
        held = list(self._output.held.values())
        return [message for consumer, message in held if consumer is self]

    @property
    def has_room(self) -> bool:
        """Whether it may be given one more message."""
        return self.wants and self._credit > 0 and self._window > 0 and self._bytes > 0
