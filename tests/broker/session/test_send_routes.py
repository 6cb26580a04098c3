"""Where SENDs go, worked out once for each destination."""

from __future__ import annotations

import pytest

from stompy.errors import ProtocolError
from stompy_broker.routing.directions import Directions
from stompy_broker.session.send_routes import SendRoutes


def test_a_destination_is_worked_out_once_however_many_there_are() -> None:
    routes = SendRoutes(Directions())
    texts = [b"/queue/once.%d" % number for number in range(10_000)]
    first = [routes.find(text) for text in texts]
    assert [routes.find(text) for text in texts] == first
    assert len(routes.known) == 10_000


def test_only_so_many_are_remembered() -> None:
    routes = SendRoutes(Directions())
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
        (b"/queue/$SYS.command", False),
    ],
)
def test_what_needs_nothing_but_routing_is_simple(text: bytes, simple: bool) -> None:
    assert SendRoutes(Directions()).find(text).simple is simple


def test_what_is_refused_is_not_remembered() -> None:
    routes = SendRoutes(Directions())
    with pytest.raises(ProtocolError):
        routes.find(b"/exchange/nobody/k")
    assert not routes.known
