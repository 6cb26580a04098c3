"""Where else messages go than to what their destination says, as the configuration has it.

Everything here is looked at once for each name, and remembered by who asked.
"""

from __future__ import annotations

from collections.abc import Sequence

from stompy_broker.destinations.exchanges import Exchanges, ExchangeType
from stompy_broker.routing_config import ExchangeConfig


class Directions:
    """What the configuration of a broker says about ways of messages.

    Attributes:
        exchanges: which there are.
    """

    def __init__(self) -> None:
        self.exchanges = Exchanges()

    def renew(self, exchanges: Sequence[ExchangeConfig]) -> None:
        """Go by what the configuration says."""
        declared = {one.name: ExchangeType(one.type) for one in exchanges}
        self.exchanges = Exchanges(declared)
