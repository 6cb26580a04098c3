"""What a cluster has agreed on for good: how its queues are grouped, and a number for each broker.

Both stand in the log, in an entry of their own, which is replaced by appending another one behind
it. Who groups queues otherwise would look for messages where they are not. And whoever numbers
messages needs a number that nobody else has, for a message-id is unique (`routing.group`).
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, replace

from stompy_broker.cluster.membership.groups import HOME_GROUPS, MOST_NAMED_GROUPS


class RosterError(Exception):
    """A broker does not fit into the cluster; the text says why."""


@dataclass(frozen=True, slots=True)
class Roster:
    """What the brokers of a cluster have agreed on.

    Attributes:
        layout: how queues are grouped, see `GroupMap.layout`.
        brokers: their names, each at its place.
    """

    layout: str
    brokers: tuple[str, ...] = ()

    def write(self) -> bytes:
        """As it stands in the log."""
        return json.dumps({"layout": self.layout, "brokers": self.brokers}).encode()

    @classmethod
    def read(cls, octets: bytes) -> Roster:
        """Read what `write` has written.

        Raises:
            RosterError: it is something else.
        """
        try:
            told = json.loads(octets)
            return cls(str(told["layout"]), tuple(map(str, told["brokers"])))
        except (ValueError, KeyError, TypeError) as error:
            raise RosterError(f"the roster of the cluster makes no sense: {error!r}") from None

    def home(self, broker: str) -> int:
        """The number of the group of what belongs to this broker alone.

        Raises:
            KeyError: it has none yet.
        """
        if broker not in self.brokers:
            raise KeyError(broker)
        return MOST_NAMED_GROUPS + self.brokers.index(broker)

    def enter(self, broker: str, layout: str, alive: Collection[str]) -> Roster:
        """The roster with a broker in it; the same one if it is there already.

        Args:
            broker: who comes.
            layout: how it groups queues.
            alive: whose places may not be given to somebody else.

        Raises:
            RosterError: it groups queues otherwise, or there is no place for it.
        """
        if layout != self.layout:
            raise RosterError(
                f"this broker groups queues as {layout}, and the cluster as {self.layout}; "
                "`groups` and each [[cluster.group]] must be the same everywhere, and stay"
            )
        if broker in self.brokers:
            return self
        if len(self.brokers) < HOME_GROUPS:
            return replace(self, brokers=(*self.brokers, broker))
        for place, other in enumerate(self.brokers):
            if other not in alive:
                brokers = (*self.brokers[:place], broker, *self.brokers[place + 1 :])
                return replace(self, brokers=brokers)
        raise RosterError(f"{HOME_GROUPS} brokers are in the cluster, and that is the most")
