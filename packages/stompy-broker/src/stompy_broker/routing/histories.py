"""The past of the queues of a broker: which there is, how much, and how it comes to an end.

The past of a queue outlives the queue. It goes by the policy of its name: what is older than that
says, and what is too much, goes now and then, a few logs at a time.

Invariant: while there is no history, no timer runs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial
from typing import Final, NamedTuple, Protocol

from stompy_broker.destinations.names import parse_destination
from stompy_broker.destinations.policy import Policies, Policy
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.delivery_times import CurrentTime
from stompy_broker.routing.group import QueueGroup, QueueGroups
from stompy_broker.routing.history_log import PREFIX, HistoryLog
from stompy_broker.store.entry_log import NO_ENTRIES, EntryLogs, LogEnds
from stompy_broker.timers import Clock

_SECONDS: Final = 10.0
"""How often is looked what has to go, ..."""
_AT_ONCE: Final = 50
"""... and at so many logs at a time, with a moment between them."""
_PAUSE: Final = 0.01


class HistoryServices(Protocol):
    """What histories need from the broker around them.

    Attributes:
        clock: says when to look what has to go.
        policies: say what is kept.
        groups: whose stores may have kept some.
        current_time: of what is going on.
    """

    clock: Clock
    current_time: CurrentTime
    policies: Policies
    groups: QueueGroups

    def wall(self) -> int:
        """Milliseconds since the epoch."""
        ...


class Past(NamedTuple):
    """What is kept of one queue.

    Attributes:
        destination: of the queue.
        ends: from where to where its log goes.
        logs: which have it.
        live: where it is written; None = there is no such queue any more.
    """

    destination: str
    ends: LogEnds
    logs: EntryLogs
    live: HistoryLog | None

    @property
    def log(self) -> str:
        """The name of its log."""
        return f"{PREFIX}{self.destination}"

    @property
    def records(self) -> int:
        """How many ends are written down in it."""
        return self.ends.next - self.ends.first


class Histories:
    """Knows the pasts of all queues.

    Args:
        services: of the broker.
    """

    def __init__(self, services: HistoryServices) -> None:
        self._services = services
        self._clock, self._wall = services.clock, services.wall
        self._logs: dict[EntryLogs, None] = {}
        self._live: dict[str, HistoryLog] = {}
        self._timer = self._clock.upkeep.timer(self._look)
        self._left: list[str] = []
        for group in services.groups.every:
            self._restore(group)

    def begin(
        self, destination: str, group: QueueGroup, consumers: Collection[Consumer]
    ) -> HistoryLog:
        """Have the past of a queue written from now on.

        Args:
            destination: of the queue.
            group: of the queue, whose store keeps logs.
            consumers: of the queue.
        """
        self._attend(group.store.logs)
        ended = partial(self._forget, destination)
        current = self._services.current_time
        live = HistoryLog(destination, group.store.logs, consumers, self._wall, current, ended)
        self._live[destination] = live
        return live

    def _forget(self, destination: str, live: HistoryLog) -> None:
        """Take note that a queue has ended; another one of its name may have begun."""
        if self._live.get(destination) is live:
            del self._live[destination]

    def _attend(self, logs: EntryLogs) -> None:
        """Know of the logs of a store, and see to it that they stay small enough."""
        if logs not in self._logs:
            self._logs[logs] = None
            self._timer.set(self._clock.upkeep.now() + _SECONDS)

    def _restore(self, group: QueueGroup) -> None:
        """Know of the logs that the store of a group has kept, if there are any."""
        if group.store.keeps_logs:
            logs = group.store.logs
            if any(name.startswith(PREFIX) for name in logs.ends()):
                self._attend(logs)

    def __iter__(self) -> Iterator[Past]:
        """Every past of which something is kept."""
        for logs in self._logs:
            for name, ends in logs.ends().items():
                if name.startswith(PREFIX):
                    destination = name.removeprefix(PREFIX)
                    yield Past(destination, ends, logs, self._live.get(destination))

    def every(self) -> Iterator[Past]:
        """Every past that there is, also of queues that nothing has left yet."""
        kept: set[str] = set()
        for past in self:
            kept.add(past.destination)
            yield past
        for destination, live in self._live.items():
            if destination not in kept:
                yield Past(destination, NO_ENTRIES, live.logs, live)

    def of(self, destination: str) -> Past | None:
        """The past of one queue; None = there is none. Nothing may have left it yet.

        Args:
            destination: of the queue, which may have ended.
        """
        name, live = f"{PREFIX}{destination}", self._live.get(destination)
        for logs in self._logs:
            ends = logs.ends_of(name)
            if ends.next or name in logs.ends():
                return Past(destination, ends, logs, live)
        return None if live is None else Past(destination, NO_ENTRIES, live.logs, live)

    def policy_of(self, destination: str) -> Policy:
        """What holds for the past of a queue."""
        place = parse_destination(destination)
        return self._services.policies.find(place.kind, place.name)

    # -- what has to go ---------------------------------------------------------------------

    def _look(self) -> None:
        """Let go of what is too old, or too much."""
        left = self._left or [past.destination for past in self]
        some, self._left = left[:_AT_ONCE], left[_AT_ONCE:]
        for destination in some:
            past = self.of(destination)
            if past is not None:
                self._shorten(past)
        self._timer.set(self._clock.upkeep.now() + (_PAUSE if self._left else _SECONDS))

    def _shorten(self, past: Past) -> None:
        policy = self.policy_of(past.destination)
        if not policy.history:
            past.logs.drop(past.log)
            self._forgotten(past, self._wall())
            return
        if past.records:
            since = self._wall() - policy.history_ms
            past.logs.find_time(past.log, since, partial(self._cut, past, since))
        if policy.history_bytes and past.ends.bytes > policy.history_bytes:
            cut = partial(self._cut, past, self._wall())
            past.logs.find_bytes(past.log, policy.history_bytes, cut)

    def _cut(self, past: Past, since: int, first: int) -> None:
        """Let go of what is before a place, and so of nothing that left later than a time."""
        if first > past.ends.first:
            past.logs.cut(past.log, first)
            self._forgotten(past, since)

    @staticmethod
    def _forgotten(past: Past, since: int) -> None:
        """Take note that what left before a time is not known any more."""
        if past.live is not None:
            past.live.known_from = max(past.live.known_from, since)
