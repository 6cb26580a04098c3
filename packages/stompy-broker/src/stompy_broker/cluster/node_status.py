"""The cluster as one broker knows it: values for who wants to see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stompy_broker.cluster.membership.group_state import GroupStage
from stompy_broker.cluster.membership.members import Member
from stompy_broker.cluster.membership.membership import Membership


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """A broker of the cluster, as this one knows it.

    Attributes:
        member: what it has said last.
        alive: whether it lives.
        since: since when, in milliseconds since the epoch.
    """

    member: Member
    alive: bool
    since: int


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """A group, as this broker knows it.

    Attributes:
        number: which one.
        owner: who has it; empty = nobody.
        wanted: who should have it; empty = nobody can.
        stage: what this broker has to do with it.
        tenure: the highest tenure that is known.
        last: the place of the last entry in its log, as its owner says; 0 = unknown.
        replayed: how much of the log is read while it is taken over, from 0 to 1; None = it is not.
        damaged: whether something is missing in its log.
        since: since when it has that owner, in milliseconds since the epoch; 0 = unknown.
        standby: who would get it if its owner died, and reads its log along; empty = nobody does.
        behind: how many entries of the stream that one has not read yet, those of other groups
            included.
    """

    number: int
    owner: str
    wanted: str
    stage: GroupStage
    tenure: int
    last: int
    replayed: float | None
    damaged: bool
    since: int
    standby: str = ""
    behind: int = 0


def group_status(
    membership: Membership,
    number: int,
    last: int | None,
    replayed: float | None,
    since: int,
    reads: Mapping[int, int],
) -> GroupStatus:
    """Put together what a broker knows of a group.

    Args:
        membership: what it makes of all that it hears.
        number: of the group.
        last: the place of the last entry in its log, if it is ours; else its owner is asked.
        replayed: see `GroupStatus`.
        since: see `GroupStatus`.
        reads: the places that this broker has come to in the logs that it reads along.
    """
    group, members = membership.groups[number], membership.members.alive
    owner, heir = members.get(group.owner), membership.heir(number)
    if last is None:
        last = owner.claims[number].last if owner and number in owner.claims else 0
    if heir in members:
        reads = members[heir].reads
    follows = bool(heir) and number in reads
    return GroupStatus(
        number,
        group.owner,
        membership.wanted(number),
        group.stage,
        group.tenure,
        last,
        replayed,
        number in membership.unable,
        since,
        heir if follows else "",
        max(0, last - reads[number]) if follows else 0,
    )


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """The cluster, as this broker knows it.

    Attributes:
        members: all brokers that are known, this one first, and those that were lost lately.
        groups: all groups, by number.
        server: the NATS server that it is connected to, or was.
        leader: the server that leads the stream; empty = none does, or it is not known.
        servers: all that have the stream, and how each is: ``leader``, ``follower``, ``behind``
            (it gets what it has missed), ``lost``, or ``unknown``, while nobody leads.
        bytes: of all logs.
        trouble: why the servers cannot be used just now; empty = they can.
        twin: whether another process was heard with this broker's id.
        doubled: the ids that two other processes have.
    """

    members: tuple[MemberStatus, ...]
    groups: tuple[GroupStatus, ...]
    server: str
    leader: str
    servers: Mapping[str, str]
    bytes: int
    trouble: str
    twin: bool
    doubled: tuple[str, ...]
