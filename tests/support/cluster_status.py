"""A cluster that is as a test says, for the admin topics of real brokers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from tests.support.links import LinkEnd

from stompy_broker.admin.cluster_status import GroupFacts, MemberFacts, ServerFacts
from stompy_broker.admin.peers.peer_brokers import Peers
from stompy_broker.broker import Broker
from stompy_broker.config import BrokerConfig, load_config


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
    told: dict[int, GroupFacts] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)

    def owner_of(self, group: int) -> str:
        """The owner that the test names."""
        return self.owners.get(group, "")

    def members(self) -> Sequence[MemberFacts]:
        """The members that the test names, or this broker alone."""
        return self.known or [MemberFacts(self.broker)]

    def groups(self) -> Sequence[GroupFacts]:
        """The groups that have owners."""
        return [
            self.told.get(number)
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

    Attributes:
        links: its ends of links to others, by their ids.
    """

    def __init__(self, config: BrokerConfig | None, cluster: ToldCluster) -> None:
        super().__init__(config)
        self.cluster = cluster
        self.links: dict[str, QuickEnd] = {}

    @property
    def peers(self) -> Peers:
        """Its part that talks to other brokers."""
        peers = self._admin.peers
        assert peers is not None
        return peers

    def _cluster_status(self) -> ToldCluster:
        return self.cluster


class QuickEnd(LinkEnd):
    """An end of a link on which everything arrives in the next turn of the event loop."""

    def send(self, message: bytes | Sequence[bytes]) -> None:
        """Have a message arrive soon."""
        super().send(message)
        asyncio.get_running_loop().call_soon(self.deliver)

    def close(self, reason: str) -> None:
        """End the link soon."""
        super().close(reason)
        asyncio.get_running_loop().call_soon(self.deliver)


def joined(front: MemberBroker, peer: MemberBroker) -> QuickEnd:
    """Open a link for the admin topics of two brokers in one loop, in one direction.

    Returns:
        The end of the front; the peer's is its `other`.
    """
    here, there = front.peers, peer.peers
    near = QuickEnd(peer.cluster.broker, True, here, peer.cluster.facts)
    far = QuickEnd(front.cluster.broker, False, there, front.cluster.facts)
    near.other, far.other = far, near
    near.open()
    far.open()
    return near


@asynccontextmanager
async def members(*names: str) -> AsyncIterator[list[MemberBroker]]:
    """Brokers of one cluster in this loop, each linked to each; the first owns group 0."""
    known = [MemberFacts(name, address=f"{name}:61613", version="0.1") for name in names]
    config = load_config(overrides={"listen": {"port": 0}, "store": {"data": ""}})
    async with AsyncExitStack() as stack:
        brokers = []
        for name in names:
            cluster = ToldCluster(name, {0: names[0]}, known=list(known))
            brokers.append(await stack.enter_async_context(MemberBroker(config, cluster)))
        for front in brokers:
            for peer in brokers:
                if peer is not front:
                    front.links[peer.cluster.broker] = joined(front, peer)
        yield brokers
