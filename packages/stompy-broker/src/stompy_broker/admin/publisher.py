"""Makes snapshots as often as somebody wants them, and passes on events.

Nothing is computed while nobody listens. All streams that are due together are made in one round,
in small steps between which messages flow, and share its ``tick``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from stompy.admin.rows import Event, Kind
from stompy.admin.snapshot import row_to_json
from stompy_broker.admin.snapshots.broker import Census
from stompy_broker.admin.streams import BUSY, Stream, Writer
from stompy_broker.admin.tasks import Steps, Work
from stompy_broker.events import Events, Take
from stompy_broker.message import Message
from stompy_broker.session.sys_subscription import Observation, Wanted
from stompy_broker.timers import Clock

GATHER_SECONDS = 0.02

log = logging.getLogger("stompy_broker.admin")


class Publisher:
    """The streams and who observes them.

    Args:
        census: knows everything.
        events: what happens.
        writer: makes the messages.
        clock: says when.
        soon: calls a function at the next turn of the event loop.
        cpu: gives the processor time of this thread, in seconds.
    """

    def __init__(
        self,
        census: Census,
        events: Events,
        writer: Writer,
        clock: Clock,
        soon: Callable[[Callable[[], None]], object],
        cpu: Callable[[], float],
    ) -> None:
        self._census = census
        self._events = events
        self._writer = writer
        self._clock = clock
        self._soon = soon
        self._cpu = cpu
        self._streams: dict[Wanted, Stream] = {}
        self._newcomers: list[tuple[Stream, Observation]] = []
        self._round: Work[None] | None = None
        self._alarm = clock.alarm(self._begin_round)
        self._rests_until = 0.0
        self._takes: dict[Observation, Take] = {}
        self._last: tuple[Event | None, Message | None] = (None, None)

    def observe(
        self, observation: Observation, streams: Sequence[Wanted], events: str | None
    ) -> None:
        """Begin to offer these streams, and the events that match a pattern."""
        for wanted in streams:
            stream = self._streams.get(wanted)
            if stream is None:
                stream = self._streams[wanted] = Stream(wanted, self._writer)
            self._newcomers.append((stream, observation))
        if streams:
            self._census.quiet(self._kinds())
            self._gather()
        if events is not None:
            self._pass_on(observation, events)

    def _gather(self) -> None:
        """Wait a moment for others that belong together, so that one round serves them all."""
        self._wake(self._clock.now() + GATHER_SECONDS)

    def _wake(self, *when: float) -> None:
        """Make the next round then, or when a stream is due, but not before the rest is over."""
        due = [stream.due for stream in self._streams.values() if stream.due is not None]
        if when or due:
            self._alarm.set(max(min([*when, *due]), self._rests_until))

    def forget(self, observation: Observation) -> None:
        """Offer it nothing more."""
        self._newcomers = [new for new in self._newcomers if new[1] is not observation]
        wanted = {stream for stream, _ in self._newcomers}
        for name, stream in list(self._streams.items()):
            stream.observations.pop(observation, None)
            if not stream.observations and stream not in wanted:
                del self._streams[name]
        take = self._takes.pop(observation, None)
        if take is not None:
            self._events.unwatch(take)
        self._census.quiet(self._kinds())
        if not self._streams:
            self._alarm.cancel()

    def find(self, wanted: Wanted) -> Stream | None:
        """A stream that somebody observes."""
        stream = self._streams.get(wanted)
        return stream if stream is not None and stream.fresh else None

    def tidy(self) -> None:
        """Somebody else has asked the census: forget what was remembered for that."""
        self._census.quiet(self._kinds())

    def close(self) -> None:
        """Make no more snapshots."""
        self._alarm.cancel()
        self._streams.clear()
        self._newcomers.clear()
        self._census.quiet(())

    def _kinds(self) -> Iterable[Kind]:
        return {wanted.kind for wanted in self._streams}

    # -- snapshots ----------------------------------------------------------------------------

    def _begin_round(self) -> None:
        if self._round is None and self._streams:
            steps = self._make_round()
            self._round = Work(steps, self._soon, self._end_round, self._failed, self._cpu)
            self._round.step()

    def _make_round(self) -> Steps[None]:
        now = self._clock.now()
        newcomers = list(self._newcomers)
        fresh = {stream for stream, _ in newcomers if not stream.fresh}
        due = [
            stream
            for stream in self._streams.values()
            if stream in fresh or (stream.due is not None and stream.due <= now)
        ]
        moment = self._census.moment()
        for kind, name in {(stream.wanted.kind, stream.wanted.name): None for stream in due}:
            before = self._spent
            rows = yield from self._census.rows(kind, name, moment)
            counting = self._spent - before
            for stream in due:
                if (stream.wanted.kind, stream.wanted.name) == (kind, name):
                    before = self._spent
                    yield from stream.publish(rows, moment)
                    stream.schedule(self._clock.now(), counting + self._spent - before)
        for newcomer in newcomers:
            # It may have gone meanwhile, also while it is welcomed.
            if newcomer in self._newcomers:
                stream, observation = newcomer
                yield from stream.welcome(observation)
                if newcomer in self._newcomers:
                    self._newcomers.remove(newcomer)

    @property
    def _spent(self) -> float:
        return 0.0 if self._round is None else self._round.spent

    def _end_round(self, _: None) -> None:
        # However many streams there are, all together they get a tenth of the time.
        self._rests_until = self._clock.now() + self._spent * (BUSY - 1)
        self._round = None
        if self._newcomers:
            self._gather()
        else:
            self._wake()

    def _failed(self, error: Exception) -> None:
        log.error("fault while snapshots were made", exc_info=error)
        now = self._clock.now()
        for stream in self._streams.values():
            stream.schedule(now, 0.0)
        self._end_round(None)

    # -- events -------------------------------------------------------------------------------

    def _pass_on(self, observation: Observation, pattern: str) -> None:
        def take(event: Event) -> None:
            observation.tell(self._event_message(event))

        self._takes[observation] = take
        for event in self._events.watch(pattern, take):
            observation.tell(self._message(replace(event, replayed=True)))

    def _event_message(self, event: Event) -> Message:
        """One message for all who get an event."""
        known, message = self._last
        if message is None or known is not event:
            message = self._message(event)
            self._last = (event, message)
        return message

    def _message(self, event: Event) -> Message:
        data: dict[str, object] = {"data": row_to_json(event)}
        return self._writer.message(Kind.EVENT, f"event.{event.type}", event.id, event.at, data)
