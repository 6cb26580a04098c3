"""What operators see of a queue and do to it: the part of `Queue` that no message passes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Set

from stompy_broker.message import Message
from stompy_broker.routing.accounts import Accounts
from stompy_broker.routing.consumer import Consumer, Halted
from stompy_broker.routing.flow_control import Pressure
from stompy_broker.routing.ready_list import Line
from stompy_broker.routing.settings import Setup
from stompy_broker.routing.stats import QueueStats


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

    @abstractmethod
    def _pump(self) -> None:
        """Hand out what is ready while somebody waits for it."""

    # -- looking ----------------------------------------------------------------------------

    def stats(self, done: Callable[[QueueStats], None]) -> None:
        """Give the counters."""
        done(
            QueueStats(
                name=self.name,
                ready=self.ready,
                delayed=len(self._line.delayed),
                unacked=self._unacked,
                consumers=len(self._consumers),
                bytes=self.bytes,
                published=self.published,
                delivered=self.delivered,
                acked=self.acked,
                nacked=self.nacked,
                redelivered=self.redelivered,
                expired=self.expired,
                dead_lettered=self.dead_lettered,
                dropped=self.dropped,
            )
        )

    @property
    def ready(self) -> int:
        """How many messages wait for a consumer."""
        return self._line.ready

    def browse(self) -> list[Message]:
        """What waits, next one first, and then what is delayed. Not for the hot path."""
        return self._line.sorted_messages()

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
