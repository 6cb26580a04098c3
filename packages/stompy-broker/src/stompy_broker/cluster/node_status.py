"""The cluster as one broker knows it: values for who wants to see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stompy_broker.cluster.membership.group_state import GroupStage
from stompy_broker.cluster.membership.members import Member


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
