"""Which exchanges there are, and what their types make of routing keys."""

from __future__ import annotations

import pytest

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.exchanges import Exchanges, ExchangeType
from stompy_broker.destinations.names import parse_destination

EXCHANGES = Exchanges({kind: kind for kind in ExchangeType})


def resolved(text: str) -> str:
    return str(EXCHANGES.resolve(parse_destination(text)))


@pytest.mark.parametrize("text", ["/queue/a", "/topic/a.*", "/exchange/topic/a.*"])
def test_what_is_clear_stays_as_it_is(text: str) -> None:
    destination = parse_destination(text)
    assert EXCHANGES.resolve(destination) is destination


@pytest.mark.parametrize("name", ["fanout", "headers"])
def test_a_key_that_is_not_looked_at_is_left_out(name: str) -> None:
    assert resolved(f"/exchange/{name}/a.b") == resolved(f"/exchange/{name}") == f"/exchange/{name}"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("/exchange/nobody/k", "there is no exchange 'nobody'; [[exchange]]"),
        ("/exchange/direct/a.*", "direct exchange, which goes by whole keys"),
        ("/exchange/amq.direct/>", "direct exchange, which goes by whole keys"),
        ("/exchange/direct", "has no routing key"),
        ("/exchange/topic", "has no routing key"),
    ],
)
def test_what_cannot_be_is_a_bad_destination(text: str, why: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        resolved(text)
    assert caught.value.error_code is ErrorCode.BAD_DESTINATION
    assert why in caught.value.Message


def test_types_are_told() -> None:
    assert EXCHANGES.type_of(parse_destination("/exchange/amq.match/k")) is ExchangeType.HEADERS
    assert EXCHANGES.type_of(parse_destination("/exchange/direct/k")) is ExchangeType.DIRECT
    assert EXCHANGES.type_of(parse_destination("/exchange/amq.topic/k")) is None
    assert EXCHANGES.type_of(parse_destination("/exchange/nobody/k")) is None
