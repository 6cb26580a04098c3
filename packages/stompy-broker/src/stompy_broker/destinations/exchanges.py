"""Which exchanges there are, and what their routing keys mean: by their types.

=========  =============================================  ==================================
type       SEND with a key goes to                        SUBSCRIBE with a key
=========  =============================================  ==================================
topic      subscribers whose key matches it               may have wildcards, as on topics
direct     subscribers of that key                        is that key
fanout     every subscriber; the key is not looked at     the same
headers    subscribers whose headers match; likewise      takes ``x-match`` and headers
=========  =============================================  ==================================
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.exchange_names import exchange_of, topic_of
from stompy_broker.destinations.names import Destination


class ExchangeType(StrEnum):
    """How an exchange looks at routing keys."""

    TOPIC = "topic"
    DIRECT = "direct"
    FANOUT = "fanout"
    HEADERS = "headers"


KEYLESS_TYPES = frozenset((ExchangeType.FANOUT, ExchangeType.HEADERS))

BUILT_IN: Mapping[str, ExchangeType] = {
    "amq.topic": ExchangeType.TOPIC,
    "amq.direct": ExchangeType.DIRECT,
    "amq.fanout": ExchangeType.FANOUT,
    "amq.headers": ExchangeType.HEADERS,
    "amq.match": ExchangeType.HEADERS,
}
"""Those that are always there."""


class Exchanges:
    """The exchanges of one broker.

    Args:
        declared: those that the configuration names, beside those that are always there.
    """

    def __init__(self, declared: Mapping[str, ExchangeType] | None = None) -> None:
        self._types = {**BUILT_IN, **(declared or {})}

    def type_of(self, destination: Destination) -> ExchangeType | None:
        """How the exchange of a destination looks at keys; None = it is of no exchange, or none."""
        if not destination.of_exchange:
            return None
        return self._types.get(exchange_of(destination.name)[0])

    def resolve(self, destination: Destination) -> Destination:
        """A destination as everybody goes by it: without a key that its exchange ignores.

        Raises:
            ProtocolError: there is no such exchange, or it cannot have that key.
        """
        if not destination.of_exchange:
            return destination
        exchange, key = exchange_of(destination.name)
        kind = self._types.get(exchange)
        if kind is None:
            raise ProtocolError(
                ErrorCode.BAD_DESTINATION,
                f"there is no exchange {exchange[:200]!r}; [[exchange]] in the configuration "
                "declares one",
            )
        if kind in KEYLESS_TYPES:
            return Destination(destination.kind, topic_of(exchange, ""), is_pattern=False)
        if not key:
            raise ProtocolError(
                ErrorCode.BAD_DESTINATION,
                f"{str(destination)[:200]!r} has no routing key, and {exchange[:200]!r} is a "
                f"{kind} exchange; write /exchange/{exchange[:200]}/KEY",
            )
        if kind is ExchangeType.DIRECT and destination.is_pattern:
            raise ProtocolError(
                ErrorCode.BAD_DESTINATION,
                f"{str(destination)[:200]!r} has a wildcard, and {exchange[:200]!r} is a direct "
                "exchange, which goes by whole keys",
            )
        return destination
