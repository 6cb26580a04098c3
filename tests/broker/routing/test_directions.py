"""Ways of messages that the configuration says."""

from __future__ import annotations

from stompy_broker.destinations.exchanges import ExchangeType
from stompy_broker.destinations.names import parse_destination
from stompy_broker.routing.directions import Directions
from stompy_broker.routing_config import ExchangeConfig


def test_exchanges_are_those_of_the_configuration() -> None:
    directions, logs = Directions(), parse_destination("/exchange/logs/k")
    assert directions.exchanges.type_of(logs) is None
    directions.renew([ExchangeConfig(name="logs", type="fanout")])
    assert directions.exchanges.type_of(logs) is ExchangeType.FANOUT
    directions.renew([])
    assert directions.exchanges.type_of(logs) is None
