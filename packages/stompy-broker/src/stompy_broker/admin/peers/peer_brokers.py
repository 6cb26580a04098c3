"""All peers of this broker, for those parts that answer for the whole cluster.

What several want of a peer is watched there once. A peer that does not tell its rows in time, or
to which there is no link, holds up nobody: its rows are missing, and the snapshot says so.
Nothing is watched at peers, and nothing computed by them, while nobody listens here.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from stompy.admin.command import CommandError, CommandErrorCode, Reply, Request
from stompy.admin.rows import Kind, Row
from stompy_broker.admin.asking import ask
from stompy_broker.admin.cluster_status import ClusterStatus, MergedRows, TakeEvent, TakePart
from stompy_broker.admin.peers.cluster_alarms import ClusterAlarms
from stompy_broker.admin.peers.peer_codec import decode
from stompy_broker.admin.peers.peer_link import PeerLink, PendingRequest, Watched
from stompy_broker.admin.peers.peer_requests import Commands, PeerRequests, RowStreams
from stompy_broker.admin.peers.row_merge import merge_rows
from stompy_broker.admin.tasks import Steps
from stompy_broker.cluster.link.link import Link
from stompy_broker.events import Events
from stompy_broker.routing.answers import nobody_asks
from stompy_broker.session.context import Client
from stompy_broker.timers import Clock

log = logging.getLogger("stompy_broker.admin")

_USUAL_MS = 1000
"""The interval of rows that are wanted once."""


class _Waiting:
    """Who waits until rows were told, or it took too long."""

    def __init__(
        self,
        missing: set[tuple[str, Watched]],
        clock: Clock,
        until: float,
        done: Callable[[], None],
    ) -> None:
        self.missing = missing
        self._done: Callable[[], None] | None = done
        self._timer = clock.timer(self.end)
        self._timer.set(until)

    @property
    def over(self) -> bool:
        """Whether nobody waits any more."""
        return self._done is None

    def end(self) -> None:
        """Go on, whether everything was told or not."""
        done, self._done = self._done, None
        self._timer.cancel()
        if done is not None:
            done()


class Peers:
    """The other brokers of the cluster. It is told of links, and of what comes on them.

    Args:
        cluster: which this broker belongs to.
        streams: where rows of this broker are offered.
        events: what happens here.
        commands: carries out commands.
        clock: for those who wait.
        set_alarm: takes the name of an alarm and its reason; empty = over.

    Attributes:
        alarms: of the cluster.
    """

    def __init__(
        self,
        cluster: ClusterStatus,
        streams: RowStreams,
        events: Events,
        commands: Commands,
        clock: Clock,
        set_alarm: Callable[[str, str], None],
    ) -> None:
        self.alarms = ClusterAlarms(cluster, clock, set_alarm)
        self._cluster = cluster
        self._streams = streams
        self._events = events
        self._commands = commands
        self._clock = clock
        self._links: dict[str, PeerLink] = {}
        self._requests: dict[Link, PeerRequests] = {}
        self._wanted: dict[Watched, int] = {}
        self._once: Counter[Watched] = Counter()
        self._waiting: list[_Waiting] = []
        self._takes: dict[TakeEvent, str] = {}

    def close(self) -> None:
        """Ask nobody anything more."""
        self.alarms.close()
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.end()

    @property
    def linked(self) -> Sequence[str]:
        """The ids of the peers that can be asked."""
        return tuple(self._links)

    # -- links ----------------------------------------------------------------------------------

    def opened(self, link: Link) -> None:
        """Ask a peer for all that is wanted of it, or expect what it asks."""
        if not link.outgoing:
            self._requests[link] = PeerRequests(link, self._streams, self._events, self._commands)
            return
        peer = self._links[link.peer] = PeerLink(link, self._clock.now, self._told)
        peer.watch(self._everything())
        for take, pattern in self._takes.items():
            peer.watch_events(pattern, take)
        self.alarms.linked(link.peer, link.facts)

    def received(self, link: Link, message: bytes) -> None:
        """Take what a peer says. What makes no sense ends the link."""
        try:
            said = decode(message)
            if said is None:
                return
            if link.outgoing:
                self._links[link.peer].take(said)
            else:
                self._requests[link].take(said)
        except (ValueError, KeyError, TypeError) as error:
            log.error(
                "broker %s: makes no sense in what it says of admin topics: %r", link.peer, error
            )
            link.close(f"a message of the admin topics makes no sense: {error!r}")

    def lost(self, link: Link, reason: str) -> None:
        """Forget what a peer told, and what it asked."""
        if not link.outgoing:
            self._requests.pop(link).lose()
            return
        self._links.pop(link.peer).lose(reason)
        for one in list(self._waiting):
            one.missing = {(peer, what) for peer, what in one.missing if peer != link.peer}
        self._end_waiting()
        self.alarms.unlinked(link.peer)

    # -- rows -----------------------------------------------------------------------------------

    def watch(self, wanted: dict[Watched, int]) -> None:
        """Have peers tell these rows from now on, and nothing else."""
        # The broker's own row is that of the one that was asked.
        self._wanted = {what: ms for what, ms in wanted.items() if what[0] is not Kind.BROKER}
        self._ask()

    def _everything(self) -> dict[Watched, int]:
        return {**dict.fromkeys(+self._once, _USUAL_MS), **self._wanted}

    def _ask(self) -> None:
        everything = self._everything()
        for peer in self._links.values():
            peer.watch(everything)

    def when_told(self, wanted: Sequence[Watched], go_on: Callable[[], None]) -> None:
        """Call once all peers have told these rows, or have had their interval to do so."""
        everything = self._everything()
        missing = {
            (name, what)
            for what in wanted
            if what in everything
            for name, peer in self._links.items()
            if peer.rows(what) is None
        }
        if not missing:
            go_on()
            return
        longest = max(everything[what] for _, what in missing) / 1000
        self._waiting.append(_Waiting(missing, self._clock, self._clock.now() + longest, go_on))

    def _told(self, peer: str, what: Watched) -> None:
        for one in self._waiting:
            one.missing.discard((peer, what))
        self._end_waiting()

    def _end_waiting(self) -> None:
        ended = [one for one in self._waiting if not one.missing or one.over]
        self._waiting = [one for one in self._waiting if one.missing and not one.over]
        for one in ended:
            one.end()

    def merge(self, kind: Kind, name: str, rows: Sequence[Row]) -> MergedRows:
        """Put the rows of this broker together with those that peers have told."""
        here = self._cluster.broker
        if kind is Kind.BROKER:
            return MergedRows(rows, (here,))
        told = {peer: link.rows((kind, name)) for peer, link in self._links.items()}
        others = {peer: found for peer, found in told.items() if found is not None}
        alive = [member.id for member in self._cluster.members() if member.state != "lost"]
        brokers = (here, *sorted(others))
        missing = tuple(sorted({*alive, *told} - set(brokers)))
        merged = merge_rows(kind, rows, list(others.values()), self._cluster.owner_of)
        return MergedRows(merged, brokers, missing)

    def gather(self, kind: Kind, name: str, rows: Sequence[Row]) -> Steps[MergedRows]:
        """Put the rows of this broker together with those that peers tell, who are asked once."""
        what = (kind, name)
        self._once[what] += 1
        self._ask()
        try:
            yield partial(self.when_told, [what])
            return self.merge(kind, name, rows)
        finally:
            self._once[what] -= 1
            self._ask()

    # -- events ---------------------------------------------------------------------------------

    def watch_events(self, pattern: str, take: TakeEvent) -> None:
        """Pass on what happens at peers and matches a pattern, also what did lately."""
        self._takes[take] = pattern
        for peer in self._links.values():
            peer.watch_events(pattern, take)

    def unwatch_events(self, take: TakeEvent) -> None:
        """Pass on nothing more to somebody who watches."""
        self._takes.pop(take, None)
        for peer in self._links.values():
            peer.unwatch_events(take)

    # -- commands -------------------------------------------------------------------------------

    def forward(
        self,
        broker: str,
        request: Request,
        client: Client,
        part: TakePart = nobody_asks,
    ) -> Steps[dict[str, object]]:
        """Have a peer carry out a command, and give what came of it.

        Args:
            broker: id of the peer.
            request: the command.
            client: who wants it.
            part: takes answers that are not the last one.

        Raises:
            CommandError: it failed there, or the link to the peer was lost.
        """
        peer = self._links.get(broker)
        if peer is None:
            raise CommandError(
                CommandErrorCode.CONFLICT,
                f"there is no link to broker {broker[:60]!r} just now, which would have to do it",
            )
        pending, numbers = PendingRequest(part), list[int]()

        def question(take: Callable[[Reply], None]) -> None:
            pending.done = take
            numbers.append(peer.command(request, client, pending))

        try:
            reply: Reply = yield from ask(question)
        finally:
            if numbers:
                peer.give_up(numbers[0])
        return dict(reply.checked())
