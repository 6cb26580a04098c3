"""Ways of messages that the configuration says."""

from __future__ import annotations

import pytest
from tests.support.house import make_directions, make_head

from stompy_broker.destinations.exchanges import ExchangeType
from stompy_broker.destinations.names import parse_destination
from stompy_broker.message import Message, stamp
from stompy_broker.routing.directions import Directions
from stompy_broker.routing_config import ExchangeConfig, RouteConfig, VirtualTopicsConfig


def route(**settings: object) -> RouteConfig:
    return RouteConfig.model_validate({"from": settings.pop("source"), **settings})


def ways(directions: Directions, destination: str, **headers: str) -> list[str]:
    """Where a message goes, in order."""
    distribution = directions.distribution(parse_destination(destination))
    if distribution is None:
        return [destination]
    message = Message(1, make_head(destination, **headers), b"", stamp(0))
    return [part.head.headers()["destination"] for part in distribution.parts(message)]


def test_exchanges_are_those_of_the_configuration() -> None:
    directions, logs = make_directions(), parse_destination("/exchange/logs/k")
    assert directions.exchanges.type_of(logs) is None
    directions.renew([ExchangeConfig(name="logs", type="fanout")])
    assert directions.exchanges.type_of(logs) is ExchangeType.FANOUT
    directions.renew()
    assert directions.exchanges.type_of(logs) is None


def test_most_destinations_have_nothing_to_do_with_it() -> None:
    directions = make_directions("Consumer.A.VirtualTopic.x")
    for text in ("/queue/a", "/topic/a", "/queue/VirtualTopic.x", "/exchange/amq.direct/k"):
        assert directions.distribution(parse_destination(text)) is None


def test_a_virtual_topic_goes_to_the_queues_that_there_are() -> None:
    directions = make_directions("Consumer.A.VirtualTopic.x", "Consumer.B.VirtualTopic.y")
    assert ways(directions, "/topic/VirtualTopic.x") == [
        "/topic/VirtualTopic.x",
        "/queue/Consumer.A.VirtualTopic.x",
    ]
    directions.renew(virtual_topics=VirtualTopicsConfig(match=""))
    assert ways(directions, "/topic/VirtualTopic.x") == ["/topic/VirtualTopic.x"]


def test_routes_follow_each_other_and_lead_to_virtual_topics() -> None:
    directions = make_directions("Consumer.A.VirtualTopic.x")
    routes = [
        route(source="/queue/a", to=["/queue/b", "/topic/VirtualTopic.x"], mode="move"),
        route(source="/queue/b", to=["/queue/c"], selector="n > 1"),
    ]
    directions.renew(routes=routes)
    rest = ["/topic/VirtualTopic.x", "/queue/Consumer.A.VirtualTopic.x"]
    assert ways(directions, "/queue/a") == ["/queue/b", *rest]
    assert ways(directions, "/queue/a", n="2") == ["/queue/b", "/queue/c", *rest]


@pytest.mark.parametrize(
    ("queue", "origins"),
    [
        ("/queue/Consumer.A.VirtualTopic.x", ["/topic/VirtualTopic.x"]),
        ("/queue/Consumer.A.VirtualTopic.>", ["/topic/VirtualTopic.>"]),
        ("/queue/b", ["/queue/a.*"]),
        ("/queue/a.b", []),
    ],
)
def test_where_messages_of_a_queue_may_come_from(queue: str, origins: list[str]) -> None:
    directions = make_directions()
    directions.renew(routes=[route(source="/queue/a.*", to=["/queue/b"])])
    assert [str(one) for one in directions.origins(parse_destination(queue))] == origins


def test_a_queue_of_a_virtual_topic_may_be_called_by_a_wildcard() -> None:
    directions = make_directions()
    for name, is_pattern in (("Consumer.A.VirtualTopic.>", False), ("Consumer.A.Other.>", True)):
        destination = directions.resolve(parse_destination(f"/queue/{name}"))
        assert (destination.name, destination.is_pattern) == (name, is_pattern)
