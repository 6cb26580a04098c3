"""Where SENDs go, worked out once for each destination."""

from __future__ import annotations

import pytest
from tests.support.house import make_directions

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.routing_config import RouteConfig
from stompy_broker.session.send_routes import SendRoutes


def test_a_destination_is_worked_out_once_however_many_there_are() -> None:
    routes = SendRoutes(make_directions())
    texts = [b"/queue/once.%d" % number for number in range(10_000)]
    first = [routes.find(text) for text in texts]
    assert [routes.find(text) for text in texts] == first
    assert len(routes.known) == 10_000


def test_only_so_many_are_remembered() -> None:
    routes = SendRoutes(make_directions())
    for number in range(40_000):
        routes.find(b"/queue/once.%d" % number)
    assert len(routes.known) <= 16_384


@pytest.mark.parametrize(
    ("text", "simple"),
    [
        (b"/queue/a", True),
        (b"/topic/a", True),
        (b"/exchange/amq.direct/a", True),
        (b"/reply-queue/a", True),
        (b"/temp-queue/a", False),
        (b"/amq/queue/a", False),
        (b"/stream/a", False),
        (b"/queue/$SYS.command", False),
        (b"/queue/a,/queue/b", False),
        (b"/topic/VirtualTopic.a", False),
        (b"/queue/VirtualTopic.a", True),
        (b"/queue/routed", False),
    ],
)
def test_what_needs_nothing_but_routing_is_simple(text: bytes, simple: bool) -> None:
    directions = make_directions()
    directions.renew(
        routes=[RouteConfig.model_validate({"from": "/queue/routed", "to": ["/queue/b"]})]
    )
    assert SendRoutes(directions).find(text).simple is simple


@pytest.mark.parametrize("part", ["/temp-queue/a", "/queue/$SYS.command", "/queue/$x", "/queue/*"])
def test_what_cannot_be_one_of_several(part: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        SendRoutes(make_directions()).read(f"/queue/a,{part}")
    assert caught.value.error_code is ErrorCode.BAD_DESTINATION


def test_parts_are_told_as_they_were_written() -> None:
    route = SendRoutes(make_directions()).read("/queue/a,topic://b,/topic/c")
    assert [part.text for part in route.parts] == [
        "/queue/a",
        "topic://b",
        "/topic/c",
    ]
    assert str(route.destination) == "/queue/a"


def test_what_is_refused_is_not_remembered() -> None:
    routes = SendRoutes(make_directions())
    with pytest.raises(ProtocolError):
        routes.find(b"/exchange/nobody/k")
    assert not routes.known


def test_a_stream_needs_a_look_whether_it_is_one_and_nothing_else() -> None:
    directions = make_directions()
    directions.renew(
        routes=[RouteConfig.model_validate({"from": "/queue/routed", "to": ["/stream/b"]})]
    )
    routes = SendRoutes(directions)
    assert routes.find(b"/stream/a").streams
    for other in (b"/queue/a", b"/stream/a,/queue/b", b"/stream/routed"):
        assert not routes.find(other).streams
