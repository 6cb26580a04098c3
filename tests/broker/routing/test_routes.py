"""Routes, found by the destination at which they begin."""

from __future__ import annotations

from stompy_broker.destinations.names import Destination, parse_destination
from stompy_broker.routing.distribution import PlainDistribution
from stompy_broker.routing.routes import RouteTable
from stompy_broker.routing_config import RouteConfig

ROUTES = [
    {"from": "/queue/a.*", "to": ["/queue/x", "/topic/y"], "set": {"h": "1"}},
    {"from": "/topic/a.*", "to": ["/queue/z"], "mode": "move", "selector": "n = 1"},
    {"from": "/queue/a.b", "to": ["/queue/x"]},
]
TABLE = RouteTable([RouteConfig.model_validate(one) for one in ROUTES])


def test_routes_are_found_in_their_order() -> None:
    found = {text: TABLE.at(parse_destination(text)) for text in ("/queue/a.b", "/topic/a.b", "q")}
    assert found == {"/queue/a.b": [0, 2], "/topic/a.b": [1], "q": []}
    assert TABLE.at(parse_destination("/reply-queue/a.b")) == []
    assert len(TABLE) == 3


def test_a_way_has_what_the_route_says() -> None:
    asked: list[str] = []

    def onward(destination: Destination) -> PlainDistribution:
        asked.append(str(destination))
        return PlainDistribution(destination)

    (way,) = TABLE.ways(parse_destination("/topic/a.b"), onward)
    assert way.moves
    assert way.selector is not None
    assert way.selector.text == "n = 1"
    first, _ = TABLE.ways(parse_destination("/queue/a.b"), onward)
    assert (first.moves, first.selector, len(first.targets)) == (False, None, 2)
    assert asked == ["/queue/z", "/queue/x", "/topic/y", "/queue/x"]


def test_origins_are_where_routes_to_it_begin() -> None:
    origins = TABLE.origins(parse_destination("/queue/x"))
    assert [str(one) for one in origins] == ["/queue/a.*", "/queue/a.b"]
