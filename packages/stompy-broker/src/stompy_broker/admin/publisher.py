"""Makes snapshots as often as somebody wants them, and passes on events.

Nothing is computed while nobody listens. All streams that are due together are made in one round,
in small steps between which messages flow, and share its ``tick``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain

from stompy.admin.rows import Event, Kind
from stompy.admin.snapshot import row_to_json
from stompy_broker.admin.cluster_status import PeerBrokers
from stompy_broker.admin.snapshots.snapshots import Snapshots
from stompy_broker.admin.streams import BUSY, EnvelopeWriter, Stream, Watcher
from stompy_broker.admin.tasks import Scheduler, Steps, Task
from stompy_broker.events import Events, Take
from stompy_broker.message import Message
from stompy_broker.session.sys_subscription import StreamSpec, SysSubscription
from stompy_broker.timers import Clock

GATHER_SECONDS = 0.02

log = logging.getLogger("stompy_broker.admin")


class Publisher:
    """The streams, and who has subscribed to them.

    Args:
        snapshots: makes the rows.
        events: what happens.
        writer: makes the messages.
        clock: says when.
        scheduler: for the steps of a round.
        broker: its id in the cluster; None = it belongs to none.

    Attributes:
        peers: tells what the other brokers of the cluster have; None = there are none.
    """

    def __init__(
        self,
        snapshots: Snapshots,
        events: Events,
        writer: EnvelopeWriter,
        clock: Clock,
        scheduler: Scheduler,
        broker: str | None = None,
    ) -> None:
        self.peers: PeerBrokers | None = None
        self._broker = broker
        self._snapshots = snapshots
        self._events = events
        self._writer = writer
        self._clock = clock
        self._scheduler = scheduler
        self._streams: dict[StreamSpec, Stream] = {}
        self._newcomers: list[tuple[Stream, Watcher]] = []
        self._expecting: list[list[tuple[Stream, Watcher]]] = []
        self._round: Task[None] | None = None
        self._timer = clock.timer(self._begin_round)
        self._rests_until = 0.0
        self._takes: dict[SysSubscription, Take] = {}
        self._last: tuple[Event | None, Message | None] = (None, None)

    def subscribe(
        self, subscription: SysSubscription, streams: Sequence[StreamSpec], events: str | None
    ) -> None:
        """Begin to offer these streams, and the events that match a pattern."""
        self.offer(subscription, streams)
        if events is not None:
            self._pass_on(subscription, events)

    def offer(self, subscription: Watcher, streams: Sequence[StreamSpec]) -> None:
        """Begin to offer these streams."""
        newcomers = []
        for wanted in streams:
            stream = self._streams.get(wanted)
            if stream is None:
                stream = self._streams[wanted] = Stream(wanted, self._writer)
            newcomers.append((stream, subscription))
        if streams:
            self._look()
        spread = [(wanted.kind, wanted.name) for wanted in streams if not wanted.own]
        if self.peers is None or not spread:
            self._newcomers += newcomers
            if streams:
                self._gather()
            return
        self._expecting.append(newcomers)
        self.peers.when_told(spread, partial(self._expected, newcomers))

    def _expected(self, newcomers: list[tuple[Stream, Watcher]]) -> None:
        """Go on with those who had to wait for what peers tell."""
        self._expecting = [those for those in self._expecting if those is not newcomers]
        here = [new for new in newcomers if not new[1].closed]
        if here:
            self._newcomers += here
            self._gather()

    def _look(self) -> None:
        """Look at what somebody wants, here and at peers, and at nothing else."""
        self._snapshots.watch(self._kinds())
        if self.peers is not None:
            wanted: dict[tuple[Kind, str], int] = {}
            for spec in self._streams:
                if not spec.own:
                    known = wanted.get((spec.kind, spec.name), spec.interval_ms)
                    wanted[spec.kind, spec.name] = min(known, spec.interval_ms)
            self.peers.watch(wanted)

    def _gather(self) -> None:
        """Wait a moment for others that belong together, so that one round serves them all."""
        self._wake(self._clock.now() + GATHER_SECONDS)

    def _wake(self, *when: float) -> None:
        """Make the next round then, or when a stream is due, but not before the rest is over."""
        due = [stream.due for stream in self._streams.values() if stream.due is not None]
        if when or due:
            self._timer.set(max(min([*when, *due]), self._rests_until))

    def unsubscribe(self, subscription: SysSubscription) -> None:
        """Offer a subscription nothing more."""
        self.withdraw(subscription)
        take = self._takes.pop(subscription, None)
        if take is not None:
            self._events.unwatch(take)
            if self.peers is not None:
                self.peers.unwatch_events(take)

    def withdraw(self, subscription: Watcher, only: StreamSpec | None = None) -> None:
        """Offer no more streams.

        Args:
            subscription: whom.
            only: which one; None = all.
        """

        def leaves(new: tuple[Stream, Watcher]) -> bool:
            return new[1] is subscription and (only is None or new[0].wanted == only)

        self._newcomers = [new for new in self._newcomers if not leaves(new)]
        for those in self._expecting:
            those[:] = [new for new in those if not leaves(new)]
        wanted = {stream for stream, _ in (*self._newcomers, *chain(*self._expecting))}
        for name, stream in list(self._streams.items()):
            if only is None or name == only:
                stream.subscriptions.pop(subscription, None)
            if not stream.subscriptions and stream not in wanted:
                del self._streams[name]
        self._look()
        if not self._streams:
            self._timer.cancel()

    def find(self, wanted: StreamSpec) -> Stream | None:
        """Find a stream that somebody has subscribed to, and that has a snapshot already."""
        stream = self._streams.get(wanted)
        return stream if stream is not None and stream.fresh else None

    def forget_unwatched(self) -> None:
        """Forget what was remembered for rows that nobody has subscribed to."""
        self._snapshots.watch(self._kinds())

    def close(self) -> None:
        """Make no more snapshots, and forget everything."""
        self._timer.cancel()
        self._streams.clear()
        self._newcomers.clear()
        self._expecting.clear()
        self._snapshots.watch(())

    def _kinds(self) -> Iterable[Kind]:
        return {wanted.kind for wanted in self._streams}

    # -- snapshots ----------------------------------------------------------------------------

    def _begin_round(self) -> None:
        if self._round is None and self._streams:
            steps = self._make_round()
            self._round = Task(self._scheduler, steps, self._end_round, self._failed)
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
        moment = self._snapshots.moment()
        for kind, name in {(stream.wanted.kind, stream.wanted.name): None for stream in due}:
            before = self._spent
            rows = yield from self._snapshots.rows(kind, name, moment)
            counting = self._spent - before
            for stream in due:
                if (stream.wanted.kind, stream.wanted.name) == (kind, name):
                    before = self._spent
                    if self.peers is None or stream.wanted.own:
                        yield from stream.publish(rows, moment)
                    else:
                        merged = self.peers.merge(kind, name, rows)
                        yield from stream.publish(merged.rows, moment, merged)
                    stream.schedule(self._clock.now(), counting + self._spent - before)
        for newcomer in newcomers:
            # It may have gone meanwhile, also while it is welcomed.
            if newcomer in self._newcomers:
                stream, subscription = newcomer
                yield from stream.welcome(subscription)
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

    def _pass_on(self, subscription: SysSubscription, pattern: str) -> None:
        def take(event: Event) -> None:
            subscription.tell(self._event_message(event))

        self._takes[subscription] = take
        for event in self._events.watch(pattern, take):
            subscription.tell(self._message(replace(event, replayed=True)))
        if self.peers is not None:
            self.peers.watch_events(pattern, take)

    def _event_message(self, event: Event) -> Message:
        """Make one message for all who get an event."""
        known, message = self._last
        if message is None or known is not event:
            message = self._message(event)
            self._last = (event, message)
        return message

    def _message(self, event: Event) -> Message:
        if event.broker is None and self._broker is not None:
            event = replace(event, broker=self._broker)
        data: dict[str, object] = {"data": row_to_json(event)}
        # What selectors look at; all of it is in the body too.
        more = {"severity": event.severity, "user": event.user, "about": event.destination}
        return self._writer.message(
            Kind.EVENT, f"event.{event.type}", event.id, event.at, data, more
        )
