"""Routes that the configuration lays from destinations to others, found by the destination."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from stompy_broker.destinations.matcher import Matcher
from stompy_broker.destinations.names import Destination, DestinationKind, parse_destination
from stompy_broker.routing.distribution import (
    Distribution,
    RewrittenHeads,
    RouteTarget,
    RouteWay,
)
from stompy_broker.routing_config import RouteConfig
from stompy_broker.selectors.selector import compile_selector


class RouteTable:
    """The routes of one broker.

    Args:
        routes: them, in their order.
    """

    def __init__(self, routes: Sequence[RouteConfig] = ()) -> None:
        self._routes = tuple(routes)
        self._by_kind: dict[DestinationKind, Matcher[int]] = {
            DestinationKind.QUEUE: Matcher(),
            DestinationKind.TOPIC: Matcher(slashes=True),
        }
        for index, route in enumerate(routes):
            source = route.source_pattern
            self._by_kind[source.kind].add(source.name, index)

    def __iter__(self) -> Iterator[RouteConfig]:
        """Give all of them, in their order."""
        return iter(self._routes)

    def __getitem__(self, number: int) -> RouteConfig:
        """Give the one of a number."""
        return self._routes[number]

    def __len__(self) -> int:
        """Tell how many there are."""
        return len(self._routes)

    def at(self, destination: Destination) -> list[int]:
        """The numbers of the routes that begin at a destination, in their order."""
        matcher = self._by_kind.get(destination.kind)
        return [] if matcher is None else sorted(matcher.match(destination.name))

    def ways(
        self, destination: Destination, onward: Callable[[Destination], Distribution]
    ) -> list[RouteWay]:
        """The routes that begin at a destination.

        Args:
            destination: it.
            onward: gives where messages go that a route leads to another destination.
        """
        return [self._way(self._routes[index], onward) for index in self.at(destination)]

    @staticmethod
    def _way(route: RouteConfig, onward: Callable[[Destination], Distribution]) -> RouteWay:
        targets = [
            RouteTarget(RewrittenHeads(text, route.set), onward(parse_destination(text)))
            for text in route.to
        ]
        selector = compile_selector(route.selector) if route.selector else None
        return RouteWay(selector, route.mode == "move", targets)

    def describe(self, destination: Destination) -> list[str]:
        """Say which routes begin at a destination, and which lead to it, a line for each."""
        begin = [f"route.{index} {self._routes[index]}" for index in self.at(destination)]
        lead = [
            f"route.{index} leads here from {route.source}"
            for index, route in enumerate(self._routes)
            if destination in map(parse_destination, route.to)
        ]
        return begin + lead

    def origins(self, destination: Destination) -> list[Destination]:
        """Where messages may have been sent that routes lead to a destination."""
        return [
            route.source_pattern
            for route in self._routes
            if destination in map(parse_destination, route.to)
        ]
