"""A cluster as its admin topics show it: what the node of this broker knows, as their facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from stompy_broker.admin.cluster_status import GroupFacts, MemberFacts, ServerFacts
from stompy_broker.cluster.membership.group_state import GroupStage
from stompy_broker.cluster.membership.members import Standing
from stompy_broker.cluster.node import ClusterNode

_PERCENT = 100.0


class ClusterView:
    """The cluster as one broker knows it; a `stompy_broker.admin.cluster_status.ClusterStatus`.

    Args:
        node: of this broker.
        facts: gives what this broker says of itself on links.
        figures: gives records and bytes of the log of a group that is this broker's; else zeros.

    Attributes:
        name: of the cluster.
        broker: id of this broker.
    """

    def __init__(
        self,
        node: ClusterNode,
        facts: Callable[[], Mapping[str, str]],
        figures: Callable[[int], tuple[int, int]],
    ) -> None:
        self._figures = figures
        self._facts = facts
        self.name = node.settings.cluster
        self.broker = node.settings.broker
        self._node = node

    @property
    def facts(self) -> Mapping[str, str]:
        """What this broker says of itself on links."""
        return self._facts()

    def owner_of(self, group: int) -> str:
        """The id of the broker that owns a group; empty = nobody, as far as is known."""
        if group == self._node.home:
            return self.broker
        return self._node.owner_of(group)

    def members(self) -> list[MemberFacts]:
        """All brokers that are known, this one first."""
        return [
            MemberFacts(
                one.member.id,
                _state(one.member.standing, alive=one.alive),
                one.member.address,
                one.member.version,
                one.member.load * _PERCENT,
                one.since,
            )
            for one in self._node.status().members
        ]

    def groups(self) -> list[GroupFacts]:
        """All groups, by number."""
        return [
            GroupFacts(
                one.number,
                one.owner,
                "owned" if one.owner else _doing(one.stage, damaged=one.damaged),
                one.tenure,
                one.last,
                *self._figures(one.number),
                replayed_pct=None if one.replayed is None else one.replayed * _PERCENT,
                standby=one.standby,
                behind=one.behind,
                since_at=one.since or None,
            )
            for one in self._node.status().groups
        ]

    def servers(self) -> list[ServerFacts]:
        """The NATS servers that keep the logs."""
        status = self._node.status()
        return [
            ServerFacts(
                name,
                state,
                sync="always" if self._node.says_it_syncs(name) else "unknown",
                bytes=status.bytes,
            )
            for name, state in status.servers.items()
        ]


def _state(standing: Standing, *, alive: bool) -> str:
    if not alive:
        return "lost"
    return "alive" if standing is Standing.UP else "draining"


def _doing(stage: GroupStage, *, damaged: bool) -> str:
    if damaged:
        return "damaged"
    return "nobody" if stage is GroupStage.AWAY else stage.value
