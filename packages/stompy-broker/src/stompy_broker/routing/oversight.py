"""What operators see of a queue and do to it: the part of `Queue` that no message passes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Set

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.message import Message
from stompy_broker.routing.accounts import Accounts
from stompy_broker.routing.browsing import browse, copies_to_read, read_bodies
from stompy_broker.routing.consumer import Consumer, Halted
from stompy_broker.routing.flow_control import Pressure
from stompy_broker.routing.interface import (
    Browse,
    Browsed,
    Configure,
    Move,
    Order,
    Outcome,
    QueueFigures,
    Remove,
    Withdraw,
)
from stompy_broker.routing.ready_list import Line
from stompy_broker.routing.services import Services
from stompy_broker.routing.settings import Setup


class Oversight(Accounts, ABC):
    """A queue as operators have to do with it.

    Attributes:
        name: without prefix.
        subscriptions: how many subscriptions want to take part or do.
        published: messages that came in.
        delivered: deliveries, redeliveries included.
        acked: deliveries that were accepted.
        nacked: deliveries that were rejected.
        redelivered: deliveries of what came back.
        expired: messages whose time was over.
        dead_lettered: messages that were given up, and kept elsewhere.
        dropped: messages that were given up, and went nowhere.
        removed: messages that operators took out.
        setup: what is kept of it, and of what operators decided.
    """

    name: str
    subscriptions: int
    published: int
    delivered: int
    acked: int
    nacked: int
    redelivered: int
    expired: int
    dead_lettered: int
    dropped: int
    removed: int
    setup: Setup
    _line: Line
    _consumers: dict[Consumer, None]
    _waiting: deque[Consumer]
    _halts: set[str]
    _unacked: int
    durable: bool
    created_at: int
    idle_since: float | None
    _house: Services

    @property
    @abstractmethod
    def in_use(self) -> bool:
        """Whether anybody consumes from it or is about to, or anything is in it."""

    @property
    @abstractmethod
    def subscribed(self) -> bool:
        """Whether anybody consumes from it or is about to."""

    @abstractmethod
    def _pump(self) -> None:
        """Hand out what is ready while somebody waits for it."""

    @abstractmethod
    def step_out(self, *consumers: Consumer) -> None:
        """Consumers want nothing for now."""

    @abstractmethod
    def close(self) -> None:
        """The queue ends, and what is in it."""

    # -- looking ----------------------------------------------------------------------------

    def stats(
        self, done: Callable[[QueueFigures], None], known: QueueFigures | None = None
    ) -> None:
        """Give the counters, or what is known already."""
        state = self.state
        if known is not None and known.state == state:
            done(known)
            return
        line = self._line
        first, last = line.first, line.fresh[-1] if line.fresh else line.first
        done(
            QueueFigures(
                state,
                self.setup,
                line.ready,
                len(line.delayed),
                self._unacked,
                len(self._consumers),
                self.bytes,
                self.subscribed if self.durable else self.in_use,
                self.pressure is not None and self.pressure.full,
                self.published,
                self.delivered,
                self.acked,
                self.nacked,
                self.redelivered,
                self.expired,
                self.dead_lettered,
                self.dropped,
                self.removed,
                self.created_at,
                self.idle_since,
                None if first is None else _came_at(first),
                None if last is None else _came_at(last),
            )
        )

    @property
    def ready(self) -> int:
        """How many messages wait for a consumer."""
        return self._line.ready

    def browse(self, wanted: Browse, done: Callable[[Browsed], None]) -> None:
        """Look at what waits. Not for the hot path."""
        browse(self._line, wanted, self._house.shift, self._house.store, done)

    @property
    def state(self) -> tuple[object, ...]:
        """While this is the same, nothing has happened here. There may be many to look at."""
        line = self._line
        return (
            self.published,
            self.delivered,
            self.bytes,
            self._unacked,
            len(line.fresh),
            len(line.ordered),
            self.subscriptions,
            self.setup,
        )

    @property
    def delayed(self) -> int:
        """How many messages wait out a redelivery delay."""
        return len(self._line.delayed)

    @property
    def unacked(self) -> int:
        """How many messages are with consumers."""
        return self._unacked

    @property
    def consumers(self) -> int:
        """How many consumers there are."""
        return len(self._consumers)

    @property
    def line(self) -> Line:
        """Who waits; to look at, not to change."""
        return self._line

    def control(self, order: Order, done: Callable[[Outcome], None] | None = None) -> None:
        """Carry out an order."""
        told = done or _nobody_asks
        if isinstance(order, Remove):
            told(len(self.take_out(order.sequences)))
        elif isinstance(order, Move):
            self._move(order, told)
        elif isinstance(order, Configure):
            self._house.store.keep_queue(self.name, order.settings.to_stored())
            self.configure(order.settings)
            told(0)
        elif isinstance(order, Withdraw):
            self.step_out(*order.consumers)
            told(0)
        elif order.unused is not None and self._was_used(order.unused):
            told(ProtocolError(ErrorCode.SUBSCRIPTION_IN_USE, f"{self.destination} is in use"))
        else:
            waiting = len(self._line)
            self.close()
            told(waiting)

    def configure(self, settings: Setup) -> None:
        """Have these settings from now on."""
        before, self.setup = self.setup, settings
        if settings.paused:
            self.pause()
        elif before.paused:
            self.proceed()
        if settings.intake_paused != before.intake_paused:
            self.hold_intake(settings.intake_paused)

    def _was_used(self, seconds: float) -> bool:
        in_use = self.subscribed if self.durable else self.in_use
        since = self.idle_since
        return in_use or since is None or since + seconds > self._house.clock.now()

    def _move(self, order: Move, done: Callable[[Outcome], None]) -> None:
        copies = copies_to_read(self._line.find({t.sequence for t in order.transfers}))
        bodies = {message.sequence: message for message in copies}

        def move() -> None:
            house, transfers = self._house, []
            for transfer in order.transfers:
                message = bodies.get(transfer.sequence)
                if message is not None and message.body is not None:
                    transfers.append((transfer, message.body))
            try:
                for transfer, _ in transfers:
                    house.admit(transfer.destination, transfer.head)
            except ProtocolError as error:
                done(error)
                return
            gone = {transfer.sequence for transfer, _ in transfers}
            if not order.copies:
                gone = {message.sequence for message in self.take_out(gone)}
            house.note_time()
            for transfer, body in transfers:
                if transfer.sequence in gone:
                    house.republish(transfer.destination, transfer.head, body, transfer.deliveries)
            done(len(gone))

        read_bodies(self._house.store, copies, move)

    # -- doing ------------------------------------------------------------------------------

    def pause(self, reason: str = "") -> None:
        """Deliver nothing until `proceed` was called with the same reason, and every other one."""
        self._halts.add(reason)
        if not isinstance(self._waiting, Halted):
            waiting, self._waiting = self._waiting, Halted(self._waiting)
            waiting.clear()  # who is handing out stops

    def proceed(self, reason: str = "") -> None:
        """Deliver again, if nothing else is in the way."""
        self._halts.discard(reason)
        if self._halts:
            return
        self._waiting = deque(self._waiting)
        self._pump()

    def hold_intake(self, held: bool) -> None:
        """Make whoever sends to it wait, or no more."""
        if self.pressure is None:
            self.pressure = Pressure(0)
            self.pressure.used = self.bytes
        if held:
            self.pressure.hold()
        else:
            self.pressure.open()

    def take_out(self, sequences: Set[int]) -> list[Message]:
        """Forget messages that wait, by sequence; gives those that did."""
        line, taken = self._line, []
        # In order they are first in line, and need no search.
        while (first := line.first) and first.sequence in sequences:
            taken.append(line.pop())
        if len(taken) < len(sequences):
            taken += line.take_out(lambda message: message.sequence in sequences)
        for message in taken:
            self._let_go(message)
        line.prioritized = line.prioritized and bool(line.ordered)
        self.removed += len(taken)
        return taken


def _nobody_asks(outcome: Outcome) -> None:
    """An order whose outcome is of no interest."""


def _came_at(message: Message) -> int | None:
    """When a message came; None if nobody wrote that down."""
    return message.received_at if message.stamp else None
