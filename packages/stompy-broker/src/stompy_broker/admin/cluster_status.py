"""What the admin topics have to know of the cluster that a broker belongs to: an interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from stompy.admin.command import Request
from stompy.admin.rows import Event, Kind, Row
from stompy_broker.admin.tasks import Steps
from stompy_broker.routing.answers import nobody_asks
from stompy_broker.routing.interface import Queue
from stompy_broker.session.context import Client


@dataclass(frozen=True, slots=True)
class MemberFacts:
    """A broker of the cluster, as this one knows it.

    Attributes:
        id: of the broker.
        state: ``alive``, ``draining`` or ``lost``.
        address: where it takes connections.
        version: of stompy-broker.
        load: how busy it says it is, in percent of one core.
        since_at: since when it is in that state, in milliseconds since the epoch; None = unknown.
    """

    id: str
    state: str = "alive"
    address: str = ""
    version: str = ""
    load: float = 0.0
    since_at: int | None = None


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """A group of queues, as this broker knows it.

    Attributes:
        number: of the group.
        owner: id of the broker that owns it; empty = nobody does.
        state: ``owned``, ``nobody``, or what this broker is doing to own it.
        tenure: how often the owner has changed; 0 = unknown.
        last_sequence: number of the last record in the log; 0 = unknown.
        records: how many the log has; 0 = unknown.
        bytes: of the log; 0 = unknown.
        replayed_pct: how much of the log is read, while it is; else None.
        standby: id of the broker that reads its log along, to take it over; empty = none does.
        behind: how many places in the stream that one has not read yet.
        since_at: since when it has that owner, in milliseconds since the epoch; None = unknown.
    """

    number: int
    owner: str = ""
    state: str = "nobody"
    tenure: int = 0
    last_sequence: int = 0
    records: int = 0
    bytes: int = 0
    replayed_pct: float | None = None
    standby: str = ""
    behind: int = 0
    since_at: int | None = None


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """A NATS server of the cluster.

    Attributes:
        name: of the server.
        state: ``leader`` or ``follower`` of the stream, ``behind`` while it gets what it has
            missed, ``lost``, or ``unknown`` while nobody leads.
        address: where it is.
        version: of nats-server.
        sync: how it syncs: ``always``, an interval, or ``unknown``.
        bytes: of the logs that it keeps; 0 = unknown.
    """

    name: str
    state: str = "follower"
    address: str = ""
    version: str = ""
    sync: str = "unknown"
    bytes: int = 0


class ClusterStatus(Protocol):
    """The cluster as this broker knows it.

    Attributes:
        name: of the cluster.
        broker: id of this broker.
        facts: what this broker says of itself on links: what must be the same everywhere.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def broker(self) -> str: ...  # noqa: D102
    @property
    def facts(self) -> Mapping[str, str]: ...  # noqa: D102

    def owner_of(self, group: int) -> str:
        """The id of the broker that owns a group; empty = nobody does, as far as is known."""
        ...

    def members(self) -> Sequence[MemberFacts]:
        """All brokers that are known, this one included."""
        ...

    def groups(self) -> Sequence[GroupFacts]:
        """All groups, by number."""
        ...

    def servers(self) -> Sequence[ServerFacts]:
        """The NATS servers, as far as they are known."""
        ...


@dataclass(frozen=True, slots=True)
class MergedRows:
    """The rows of all brokers that have told theirs.

    Attributes:
        rows: them.
        brokers: ids of these brokers.
        missing: ids of those that are alive and have not told theirs in time.
    """

    rows: Sequence[Row]
    brokers: tuple[str, ...]
    missing: tuple[str, ...] = ()


TakeEvent = Callable[[Event], None]
TakePart = Callable[[Mapping[str, object]], None]


class PeerBrokers(Protocol):
    """The other brokers of the cluster, as those parts see them that answer for all of them."""

    @property
    def linked(self) -> Sequence[str]:
        """The ids of the peers that can be asked."""
        ...

    def watch(self, wanted: dict[tuple[Kind, str], int]) -> None:
        """Have peers tell these rows from now on, and nothing else.

        Args:
            wanted: kinds and names, each with the interval in milliseconds.
        """
        ...

    def when_told(self, wanted: Sequence[tuple[Kind, str]], go_on: Callable[[], None]) -> None:
        """Call once all peers have told these rows, or have had time enough to."""
        ...

    def merge(self, kind: Kind, name: str, rows: Sequence[Row]) -> MergedRows:
        """Put the rows of this broker together with those that peers have told."""
        ...

    def gather(self, kind: Kind, name: str, rows: Sequence[Row]) -> Steps[MergedRows]:
        """Put the rows of this broker together with those that peers tell, who are asked once."""
        ...

    def watch_events(self, pattern: str, take: TakeEvent) -> None:
        """Pass on what happens at peers and matches a pattern, also what did lately."""
        ...

    def unwatch_events(self, take: TakeEvent) -> None:
        """Pass on nothing more to somebody who watches."""
        ...

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
        ...


def tail_of(cluster: ClusterStatus | None) -> str:
    """What the ids of rows end in, so that those of one cluster differ: ``@`` and the broker."""
    return "" if cluster is None else f"@{cluster.broker}"


def lives_here(cluster: ClusterStatus | None, queue: Queue) -> bool:
    """Whether this broker has a named queue; without a cluster it has all of them."""
    return cluster is None or cluster.owner_of(queue.group.number) == cluster.broker
