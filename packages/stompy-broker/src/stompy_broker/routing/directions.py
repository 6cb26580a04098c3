"""Where else messages go than where their destination says, as the configuration has it.

Everything here is looked at once for each destination, and remembered by who asked.
"""

from __future__ import annotations

from collections.abc import Sequence

from stompy_broker.destinations.exchanges import Exchanges, ExchangeType
from stompy_broker.destinations.names import Destination, DestinationKind, parse_destination
from stompy_broker.destinations.virtual_topics import VirtualTopicNames
from stompy_broker.routing.distribution import (
    Distribution,
    PlainDistribution,
    RoutedDistribution,
    VirtualTopicDistribution,
)
from stompy_broker.routing.routes import RouteTable
from stompy_broker.routing.virtual_queues import VirtualQueues
from stompy_broker.routing_config import ExchangeConfig, RouteConfig, VirtualTopicsConfig


class Directions:
    """What the configuration of a broker says about ways of messages.

    Args:
        virtual_queues: the queues that there are of virtual topics.

    Attributes:
        exchanges: which there are.
        routes: ways from destinations to others.
        virtual_queues: the queues that there are of virtual topics.
    """

    def __init__(self, virtual_queues: VirtualQueues) -> None:
        self.exchanges = Exchanges()
        self.routes = RouteTable()
        self.virtual_queues = virtual_queues

    def renew(
        self,
        exchanges: Sequence[ExchangeConfig] = (),
        virtual_topics: VirtualTopicsConfig | None = None,
        routes: Sequence[RouteConfig] = (),
    ) -> None:
        """Go by what the configuration says. Virtual topics only before there are queues."""
        self.exchanges = Exchanges({one.name: ExchangeType(one.type) for one in exchanges})
        self.routes = RouteTable(routes)
        if virtual_topics is not None:
            self.virtual_queues.names = VirtualTopicNames(
                virtual_topics.match, virtual_topics.queues
            )
            self.virtual_queues.selector_aware = virtual_topics.selector_aware

    def lay_routes(self, routes: Sequence[RouteConfig]) -> bool:
        """Go by other routes from now on; say whether they are others."""
        changed = list(self.routes) != list(routes)
        if changed:
            self.routes = RouteTable(routes)
        return changed

    def resolve(self, destination: Destination) -> Destination:
        """A destination as everybody goes by it, who has to do with it.

        Raises:
            ProtocolError: there is no such exchange, or it cannot have that key.
        """
        names = self.virtual_queues.names
        if destination.is_pattern_of_queues and names.topics_of(destination.name):
            return Destination(destination.kind, destination.name, is_pattern=False)
        return self.exchanges.resolve(destination)

    def distribution(self, destination: Destination) -> Distribution | None:
        """Where messages go that are sent to a destination; None = only there."""
        own: Distribution | None = None
        is_topic = destination.kind is DestinationKind.TOPIC
        if is_topic and self.virtual_queues.names.is_topic(destination.name):
            own = VirtualTopicDistribution(destination, self.virtual_queues.of)
        if not len(self.routes):
            return own
        ways = self.routes.ways(destination, self._onward)
        if not ways:
            return own
        return RoutedDistribution(own or PlainDistribution(destination), ways)

    def _onward(self, destination: Destination) -> Distribution:
        resolved = self.resolve(destination)
        return self.distribution(resolved) or PlainDistribution(resolved)

    def describe(self, destination: Destination) -> list[str]:
        """Say where else messages of a destination go or come from, a line for each; for people."""
        names, lines = self.virtual_queues.names, []
        kind = self.exchanges.type_of(destination)
        if kind is not None:
            lines.append(f"a {kind} exchange")
        if destination.kind is DestinationKind.TOPIC and names.is_topic(destination.name):
            queues = f"/queue/{names.queues}{destination.name}"
            lines.append(f"a virtual topic: what is sent to it goes to {queues} as well")
        if destination.kind is DestinationKind.QUEUE:
            topics = names.topics_of(destination.name)
            if topics is not None:
                lines.append(f"gets what is sent to the virtual topic /topic/{topics}")
        return lines + self.routes.describe(destination)

    def origins(self, queue: Destination) -> list[Destination]:
        """Where messages in a queue may have been sent to, if it was not that queue."""
        topics = self.virtual_queues.names.topics_of(queue.name)
        found = self.routes.origins(queue)
        if topics is not None:
            found.append(parse_destination(f"{DestinationKind.TOPIC.value}{topics}"))
        return found
