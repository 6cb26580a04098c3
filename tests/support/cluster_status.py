"""A cluster that is as a test says, for the admin topics of real brokers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from stompy_broker.admin.cluster_status import GroupFacts, MemberFacts, ServerFacts
from stompy_broker.broker import Broker
from stompy_broker.config import BrokerConfig


@dataclass
class ToldCluster:
    """A `ClusterStatus` whose facts a test sets.

    Attributes:
        broker: id of this broker.
        owners: of the groups, by number; empty = nobody.
    """

    broker: str
    owners: dict[int, str] = field(default_factory=dict)
    name: str = "shop"
    known: list[MemberFacts] = field(default_factory=list)
    nats: list[ServerFacts] = field(default_factory=list)
    facts: dict[int, GroupFacts] = field(default_factory=dict)

    def owner_of(self, group: int) -> str:
        """The owner that the test names."""
        return self.owners.get(group, "")

    def members(self) -> Sequence[MemberFacts]:
        """The members that the test names, or this broker alone."""
        return self.known or [MemberFacts(self.broker)]

    def groups(self) -> Sequence[GroupFacts]:
        """The groups that have owners."""
        return [
            self.facts.get(number)
            or GroupFacts(number, owner, "owned" if owner else "nobody", tenure=1)
            for number, owner in sorted(self.owners.items())
        ]

    def servers(self) -> Sequence[ServerFacts]:
        """The servers that the test names."""
        return self.nats


class MemberBroker(Broker):
    """A broker that believes to belong to a cluster; its queues are all of group 0.

    Args:
        config: of the broker.
        cluster: what it belongs to.
    """

    def __init__(self, config: BrokerConfig | None, cluster: ToldCluster) -> None:
        super().__init__(config)
        self.cluster = cluster

    def _cluster_status(self) -> ToldCluster:
        return self.cluster
